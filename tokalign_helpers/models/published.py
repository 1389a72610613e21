"""What the files of a published embedder say about how it is read: sentence-transformers' and PEFT's.

A folder or a name on the hub → :class:`Published`. Nothing is loaded, and code that lies beside a model is never run.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tokalign_helpers.basics.checks import first_line, is_number, shown
from tokalign_helpers.models.hub import ADAPTER_CONFIG, ON_THE_HUB, is_folder, settings_folder
from tokalign_helpers.models.input_format import SLOT, InputFormat
from tokalign_helpers.models.pooling import Pooling, first_token, last_token, mean, weighted_mean

SMOL = "SmolLM2-135M-Instruct"  # the course's own backbone, which is not a name on the hub
POOLINGS: dict[str, Pooling] = {"last": last_token, "mean": mean, "wmean": weighted_mean, "cls": first_token}
# What sentence-transformers calls them, in its older and its newer files.
_THEIRS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_weightedmean_tokens": "wmean",
    "cls": "cls",
    "mean": "mean",
    "lasttoken": "last",
    "weightedmean": "wmean",
}
_KNOWN = ("Transformer", "Pooling", "Normalize")
_DOCUMENT = ("document", "passage", "corpus")
ENDLESS = 10**9  # what a tokenizer says that knows no limit
Kind = TypeVar("Kind", dict, list, str)


@dataclass(frozen=True)
class Published:
    """How an embedder reads texts, according to its files.

    Parameters
    ----------
    pooling : Pooling, optional
        None: the files do not say.
    input_format : InputFormat
        How a text is read.
    unit_length : bool
        Whether each vector is scaled to length 1.
    base : str
        What an adapter was trained on. Empty: the files are a whole model.
    """

    pooling: Pooling | None
    input_format: InputFormat
    unit_length: bool
    base: str

    @property
    def is_adapter(self) -> bool:
        """Whether the files are an adapter, and not a whole model."""
        return bool(self.base)


def read_published(
    source: str | Path,
    revision: str = "main",
    *,
    backbone: str | Path | None = None,
    pooling: str | Pooling | None = None,
    template: str | None = None,
    attention: str | None = None,
    query_prompt: str | None = None,
) -> Published:
    """Read what an embedder's files say about it.

    Parameters
    ----------
    source : str or Path
        A name on the hub or a local folder: a language model, a sentence-transformers model, or a PEFT adapter.
    revision : str
        Branch, tag or commit on the hub.
    backbone : str or Path, optional
        For an adapter whose files name no base that can be found.
    pooling : str or Pooling, optional
        A key of :data:`POOLINGS`, or a function. Default: what the files say.
    template : str, optional
        Default: the prompt for documents, else the default prompt, else the bare text.
    attention : str, optional
        As :class:`~tokalign_helpers.models.input_format.InputFormat`. It must be given where the model brings code of
        its own.
    query_prompt : str, optional
        The name of the prompt for queries. Default: ``query``, or the first that has *query* in its name.

    Returns
    -------
    Published

    Raises
    ------
    ValueError
        If the vectors pass through a layer that no decoder layer reads; if the pooling or prompt is unknown; if an
        adapter's base cannot be found; or if the model brings code of its own and `attention` is not given.
    HubError
        If nothing of that name exists.
    """
    folder = settings_folder(source, revision)
    adapter, config = _json(folder / ADAPTER_CONFIG, dict), _json(folder / "config.json", dict)
    own_code = _of_kind(config.get("auto_map"), dict, folder / "config.json", "auto_map")
    if attention is None and "AutoModel" in own_code:
        raise ValueError(
            f"{source} brings code of its own ({own_code['AutoModel']}), which is never run and may read in both "
            "directions; give attention='full' if it does, 'causal' if not"
        )
    layers = _layers(folder, source)
    format_ = _format(folder, template, query_prompt, source, excluded=_excludes_prompt(folder, layers))
    return Published(
        pooling=_pooling(pooling, folder, layers, source),
        input_format=replace(format_, attention=attention or "causal"),
        unit_length="Normalize" in layers,
        base=(str(backbone) if backbone else _base(adapter, source)) if adapter else "",
    )


def _layers(folder: Path, source: str | Path) -> dict[str, str]:
    """Read sentence-transformers' list of modules: kind → folder. Refuse anything between pooling and vector."""
    file, layers = folder / "modules.json", {}
    for module in _json(file, list):
        named = _of_kind(module, dict, file, "a module")
        kind = _of_kind(named.get("type", ()), str, file, "the type of a module")
        layers[kind.rpartition(".")[2]] = str(named.get("path", ""))
    strange = [kind for kind in layers if kind not in _KNOWN]
    if "Dense" in strange:
        raise ValueError(
            f"{source} has a Dense layer after its pooling: its vectors are in a space of their own, not in that of "
            "the language model, so no decoder layer reads them; choose an embedder without one"
        )
    if strange:
        raise ValueError(f"{source} has a {strange[0]} layer, which is not known here; only {', '.join(_KNOWN)} are")
    if layers.get("Transformer"):
        raise ValueError(
            f"{source} keeps its model in the sub-folder {layers['Transformer']}; give that folder, and pooling"
        )
    return layers


def _prompts(folder: Path) -> tuple[dict[str, str], str]:
    """Return the prompts by their names, and the one that is used where none is named."""
    file = folder / "config_sentence_transformers.json"
    about = _json(file, dict)
    named = _of_kind(about.get("prompts"), dict, file, "prompts")
    prompts = {name: text for name, text in named.items() if isinstance(text, str)}
    return prompts, prompts.get(_of_kind(about.get("default_prompt_name"), str, file, "default_prompt_name"), "")


def _format(
    folder: Path, template: str | None, query_prompt: str | None, source: str | Path, *, excluded: bool
) -> InputFormat:
    """Return the input format given by the prompts and limits in the files."""
    (prompts, usual), limit = _prompts(folder), _limit(folder)
    span = "rest" if excluded else "all"
    found = InputFormat(max_length=limit, max_tokens=limit or InputFormat.max_tokens, span=span)
    if query_prompt is not None and query_prompt not in prompts:
        raise ValueError(f"{source} has no prompt {query_prompt!r}; known: {', '.join(prompts) or 'none'}")
    if template is not None:
        return replace(found, template=template)
    document = next((prompts[name] for name in _DOCUMENT if prompts.get(name)), usual)
    asked = query_prompt or next((name for name in ("query", *prompts) if _asks(name) and prompts.get(name)), None)
    query = prompts[asked] if asked else ""
    asking = "" if query == document else _braces(query) + SLOT
    return replace(found, template=_braces(document) + SLOT, query_template=asking)


def _asks(name: str) -> bool:
    return "query" in name.lower() or "queries" in name.lower()


def _braces(prompt: str) -> str:
    """Remove our own placeholder for the text from a prompt, which would then have two."""
    return prompt.replace(SLOT, "text")


def _limit(folder: Path) -> int:
    """Return how many tokens are read at most, from whichever file says so; 0: none does."""
    found = [
        _json(folder / "sentence_bert_config.json", dict).get("max_seq_length"),
        _json(folder / "tokenizer_config.json", dict).get("model_max_length"),
    ]
    known = [int(limit) for limit in found if is_number(limit) and 0 < limit < ENDLESS]
    return min(known, default=0) if (folder / "modules.json").is_file() else 0


def _pooling(
    given: str | Pooling | None, folder: Path, layers: Mapping[str, str], source: str | Path
) -> Pooling | None:
    if callable(given):
        return given
    if given is not None and given not in POOLINGS:
        raise ValueError(f"unknown pooling {given!r}; known: {', '.join(POOLINGS)}")
    if given is not None:
        return POOLINGS[given]
    about = _json(folder / layers.get("Pooling", "1_Pooling") / "config.json", dict)
    named = about.get("pooling_mode")
    modes = [name for name, on in about.items() if on is True and name.startswith("pooling_mode_")]
    modes = modes if named is None else [str(named)]
    found = [_THEIRS[mode] for mode in modes if mode in _THEIRS]
    if about and (len(found) != 1 or len(modes) != 1):
        raise ValueError(f"{source} pools in a way that is not known here: {', '.join(modes) or 'unnamed'}")
    return POOLINGS[found[0]] if found else None


def _excludes_prompt(folder: Path, layers: Mapping[str, str]) -> bool:
    return _json(folder / layers.get("Pooling", "1_Pooling") / "config.json", dict).get("include_prompt") is False


def _base(adapter: Mapping[str, object], source: str | Path) -> str:
    """Return what an adapter was trained on, if that is a name on the hub or a folder that is here."""
    base = adapter.get("base_model_name_or_path")
    if isinstance(base, str) and base and (base == SMOL or is_folder(base) or ON_THE_HUB.fullmatch(base)):
        return base
    raise ValueError(
        f"the adapter {source} names {shown(base)} as its base, which is neither a folder here nor a name on the hub; "
        "give backbone"
    )


def _json(file: Path, kind: type[Kind]) -> Kind:
    """Read what must be of one kind, dict or list; where there is no file, it is empty."""
    if not file.is_file():
        return kind()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({first_line(error)}); fetch it again") from error
    return _of_kind(found, kind, file, "it")


def _of_kind(value: object, kind: type[Kind], file: Path, name: str) -> Kind:
    """Return an entry of a file if it is of one kind; where there is none, it is empty."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ValueError(f"{file} is damaged ({name} is {shown(value)}, not a {kind.__name__}); fetch it again")
    return value
