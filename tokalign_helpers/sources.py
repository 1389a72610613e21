"""Which embedder is in these files: a folder or a name on the hub → a row as those of the table."""

import json
from pathlib import Path

from tokalign_helpers.embedders import EMBEDDERS, SMOL, EmbedderSpec
from tokalign_helpers.hub import ON_THE_HUB, settings_folder
from tokalign_helpers.input_format import SLOT, InputFormat
from tokalign_helpers.pooling import Pooling, first_token, last_token, mean, weighted_mean

POOLINGS: dict[str, Pooling] = {"last": last_token, "mean": mean, "wmean": weighted_mean, "cls": first_token}
# What sentence-transformers calls them, in its older and its newer files.
_THEIRS = {
    "pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last",
    "pooling_mode_weightedmean_tokens": "wmean", "cls": "cls", "mean": "mean", "lasttoken": "last",
    "weightedmean": "wmean",
}  # fmt: skip
_KEPT = ("Transformer", "Pooling", "Normalize")  # the length of a vector does not change the order of its tokens


def describe(
    source: str | Path,
    *,
    backbone: str | None = None,
    pooling: str | None = None,
    template: str | None = None,
    revision: str = "main",
) -> EmbedderSpec:
    """Make a row for an embedder that the table lacks.

    Parameters
    ----------
    source : str or Path
        A name on the hub or a local folder: a language model, a sentence-transformers model, or a LoRA adapter.
    backbone : str, optional
        The LLM that it was made from. Default: what an adapter names, else `source` itself.
    pooling : str, optional
        A key of :data:`POOLINGS`. Default: what sentence-transformers' files say.
    template : str, optional
        Default: what sentence-transformers' files say, else the bare text.
    revision : str

    Returns
    -------
    EmbedderSpec

    Raises
    ------
    ValueError
        If the pooling is nowhere said, or there is a layer after it, so that no decoder layer reads the vectors. If an
        adapter's base is no model that can be found, and no backbone is given.
    HubError
        If there is nothing of that name.
    """
    if str(source) in EMBEDDERS:
        return EMBEDDERS[str(source)]
    folder = settings_folder(source, revision)
    adapter = _json(folder / "adapter_config.json")
    said = _pooling(folder, source)
    if pooling not in (None, *POOLINGS):
        raise ValueError(f"unknown pooling {pooling!r}; known: {', '.join(POOLINGS)}")
    chosen = pooling or said
    if chosen is None:
        raise ValueError(f"{source} does not say how it pools; say pooling: {', '.join(POOLINGS)}")
    prompts = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
    document = next((prompts[name] for name in ("document", "passage") if prompts.get(name)), "")
    limit = _json(folder / "sentence_bert_config.json").get("max_seq_length") or 512
    excluded = _json(folder / "1_Pooling" / "config.json").get("include_prompt") is False
    return EmbedderSpec(
        name=Path(source).name,
        backbone=backbone or (_base(adapter, source) if adapter else str(source)),
        pooling=POOLINGS[chosen],
        adapters=(str(source),) if adapter else (),
        made_by="your own",
        license="see its card",
        weights="" if adapter else str(source),
        revision=revision,
        input_format=InputFormat(
            template=template or document + SLOT,
            max_tokens=int(limit),
            span="text" if excluded else "all",
            query_template=prompts["query"] + SLOT if prompts.get("query") and not template else "",
        ),
    )


def _base(adapter: "dict", source: str | Path) -> str:
    """Return what an adapter was trained on, if that is a name on the hub or a folder that is here."""
    base = adapter.get("base_model_name_or_path")
    if isinstance(base, str) and base:
        here = base == SMOL or Path(base).expanduser().is_dir()
        if here or ON_THE_HUB.fullmatch(base):
            return base
    raise ValueError(
        f"the adapter {source} names {base!r} as its base, which is neither a folder here nor a name on the hub; "
        "say backbone"
    )


def _pooling(folder: Path, source: str | Path) -> str | None:
    """Read sentence-transformers' list of modules; refuse what stands between pooling and vector."""
    modules = _json(folder / "modules.json", [])
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    strange = [kind for kind in kinds if kind not in _KEPT]
    if strange:
        raise ValueError(f"{source} has a {strange[0]} layer after its pooling; no decoder layer reads such vectors")
    about = _json(folder / "1_Pooling" / "config.json")
    named = about.get("pooling_mode")
    modes = [named] if isinstance(named, str) else [name for name, on in about.items() if on is True]
    found = [_THEIRS[mode] for mode in modes if mode in _THEIRS]
    if about and len(found) != 1:
        raise ValueError(f"{source} pools in a way that is not known here: {', '.join(modes)}")
    return found[0] if found else None


def _json(file: Path, default: "object" = None) -> "dict | list":
    if not file.is_file():
        return {} if default is None else default
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); fetch it again") from error
