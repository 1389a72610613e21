"""The one way to load an embedder: by a name of the table, a name on the hub, a folder, an adapter, or your own row."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tokalign_helpers.basics.assets import MODELS, data_dir, default_model_path, model_path, quiet_transformers
from tokalign_helpers.basics.checks import shown
from tokalign_helpers.models.adapters import merge_adapter
from tokalign_helpers.models.embedders import EMBEDDERS, EmbedderSpec, LoadingPlan, plan_loading, spec_of
from tokalign_helpers.models.embedding import Embedder, load_parts
from tokalign_helpers.models.heads import Head
from tokalign_helpers.models.hub import adapter_folder, check_pickles, is_folder, move_to
from tokalign_helpers.models.pooling import Pooling
from tokalign_helpers.models.published import POOLINGS, read_published

Parts = tuple[PreTrainedModel, PreTrainedTokenizerBase, Tensor, Head | None]


def load_embedder(
    embedder: str | Path | EmbedderSpec,
    *,
    device: str | None = None,
    dtype: str | None = None,
    pickles: Sequence[str] = (),
    **how: Any,
) -> Embedder:
    """Load an embedder.

    Parameters
    ----------
    embedder : str, Path or EmbedderSpec
        A name in :data:`EMBEDDERS`; a name on the Hugging Face hub (``owner/name``) or a local folder, with a language
        model, a sentence-transformers model or a PEFT adapter in it; or a row of your own.
    device : str, optional
        Default: a GPU if there is one, else the CPU. The course's own embedders are float32 wherever they run.
    dtype : str, optional
        A key of :data:`~tokalign_helpers.models.embedders.DTYPES`. Default: the most exact one that fits.
    pickles : Sequence[str]
        Names of pickled files that may be read where an embedder has no safetensors, such as ``pytorch_model.bin``.
        A pickle can hold code: name it only if you trust whoever made it. What the embedder's row names is read.
    **how
        For an embedder that the table lacks, as it was trained: ``pooling``, ``template``, ``backbone``, …; see
        :func:`describe_embedder`. Default: what its files say.

    Returns
    -------
    Embedder
        The course's own embedders share their backbone's weights in memory.

    Raises
    ------
    ValueError
        If there is none of that name (the message suggests the nearest), its adapter is one that a reader makes (the
        message says how), or it does not fit into memory (the message says what does). If its files do not say how it
        pools, the backbone is not its backbone, or an adapter does not fit.
    AssetError
        If its files cannot be fetched.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> embedder = ta.load_embedder("smol-eol")
    >>> embedder.dimension
    576
    >>> embedder.template
    'This sentence : "{text}" means in one word:"'
    """
    spec = embedder if isinstance(embedder, EmbedderSpec) and not how else describe_embedder(embedder, **how)
    pickles = (*spec.pickles, *pickles)
    if spec.packaged:
        model, tokenizer, unembedding, head = _backbone()
        if spec.adapters:
            check_pickles([], _on_the_hub(spec), pickles)
            model = _adapted([_adapter(name, spec.revision, pickles) for name in spec.adapters])
    else:
        model, tokenizer, unembedding, head = _fetched(spec, plan_loading(spec, dtype, device), pickles)
    return Embedder(spec.name, model, tokenizer, unembedding, spec.pooling, spec.input_format, spec.unit_length, head)


def load_embedders(names: Sequence[str]) -> dict[str, Embedder]:
    """Load several embedders.

    Parameters
    ----------
    names : Sequence[str]
        As for :func:`load_embedder`.

    Returns
    -------
    dict[str, Embedder]
        In the order of `names`.

    Raises
    ------
    ValueError, AssetError
        As :func:`load_embedder`.
    """
    return {name: load_embedder(name) for name in names}


def describe_embedder(
    source: str | Path | EmbedderSpec,
    *,
    backbone: str | Path | None = None,
    pooling: str | Pooling | None = None,
    template: str | None = None,
    revision: str = "main",
    attention: str | None = None,
    query_prompt: str | None = None,
    pickles: Sequence[str] = (),
) -> EmbedderSpec:
    """Return the row of an embedder: the table's, or for one that the table lacks, one made from its files.

    Parameters
    ----------
    source : str, Path or EmbedderSpec
        As for :func:`load_embedder`.
    backbone : str or Path, optional
        The LLM that it was made from, whose decoder layer reads its vectors. Default: what an adapter names, else
        `source` itself, for an LLM used as it is.
    pooling : str or Pooling, optional
        A key of :data:`~tokalign_helpers.models.published.POOLINGS`, or a function such as ``tokalign_helpers.mean``.
        Default: what sentence-transformers' files say.
    template, attention, query_prompt
        As :func:`~tokalign_helpers.models.published.read_published`.
    revision : str
        Branch, tag or commit of `source` on the hub.
    pickles : Sequence[str]
        Names of pickled files that may be read where there are no safetensors. A pickle can hold code: name it only if
        you trust whoever made it.

    Returns
    -------
    EmbedderSpec

    Raises
    ------
    ValueError
        If there is none of that name, the files do not say how it pools, or options are given for an embedder in the
        table; or as :func:`~tokalign_helpers.models.published.read_published`.
    HubError
        If the hub has nothing of that name, or cannot be reached.
    """
    given = [backbone, pooling, template, attention, query_prompt]
    if isinstance(source, EmbedderSpec) or str(source) in EMBEDDERS:
        row = source if isinstance(source, EmbedderSpec) else spec_of(str(source))
        if revision != "main" or any(value is not None for value in given):
            raise ValueError(
                f"{row.name!r} is in the table, which says how it is read; change its row with dataclasses.replace"
            )
        return row
    if not isinstance(source, str | Path):
        raise ValueError(f"the embedder is {shown(source)}; give a name, a folder or a row")
    if not is_folder(source) and not {"/", os.sep} & set(str(source)):
        return spec_of(str(source))  # which suggests what may have been meant
    found = read_published(
        source,
        revision,
        backbone=backbone,
        pooling=pooling,
        template=template,
        attention=attention,
        query_prompt=query_prompt,
    )
    if found.pooling is None:
        raise ValueError(f"{source} does not say how it pools; give pooling: {', '.join(POOLINGS)}, or a function")
    return EmbedderSpec(
        name=Path(source).name,
        backbone=found.base or str(backbone or source),
        pooling=found.pooling,
        input_format=found.input_format,
        adapters=(str(source),) if found.is_adapter else (),
        made_by="your own",
        license="see its card",
        weights="" if found.is_adapter else str(source),
        revision=revision,
        backbone_revision=revision if not backbone and not found.is_adapter else "main",
        pickles=tuple(pickles),
        unit_length=found.unit_length,
    )


def adapters_dir() -> Path:
    """Return the folder of the course's own adapters, one folder each."""
    return data_dir() / "adapters"


def _fetched(spec: EmbedderSpec, chosen: LoadingPlan, pickles: Sequence[str]) -> Parts:
    """Load model, tokenizer and decoder layer from the hub or from local folders, as the plan says."""
    if missing := [name for name in spec.adapters if _made_by_its_reader(name)]:
        raise ValueError(
            f"the adapter {missing[0]} does not come with the course: its backbone has terms of its own. Make it with "
            f"'python -m tokalign_helpers.training {missing[0]} --data .'"
        )
    if not chosen.fits:
        raise ValueError(str(chosen))
    half = torch.float16 if chosen.dtype == "float16" else torch.bfloat16
    dtype = torch.float32 if chosen.dtype == "float32" else half
    if spec.backbone in MODELS and not spec.weights and not spec.adapters:
        return _course_model(spec.backbone, chosen.device, dtype, chosen.dtype == "4bit")
    backbone = (model_path(spec.backbone) if spec.backbone in MODELS else spec.backbone, spec.backbone_revision)
    return load_parts(
        (spec.weights, spec.revision) if spec.weights else backbone,
        backbone,
        [
            (adapters_dir() / name, "main") if _of_the_course(name) else _pinned(name, spec.revision)
            for name in spec.adapters
        ],
        pickles=pickles,
        device=chosen.device,
        dtype=dtype,
        four_bit=chosen.dtype == "4bit",
    )


@lru_cache(maxsize=1)
def _course_model(name: str, device: str, dtype: torch.dtype, four_bit: bool) -> Parts:
    """Load a further model of the course once, for all embedders on it: they differ in pooling and prompt only."""
    folder = (model_path(name), "main")
    return load_parts(folder, folder, [], pickles=(), device=device, dtype=dtype, four_bit=four_bit)


def _adapter(name: str, revision: str = "main", pickles: Sequence[str] = ()) -> Path:
    """Return an adapter's folder: one of the course's own, a local one, or one from the hub."""
    if _of_the_course(name):
        return adapters_dir() / name
    return adapter_folder(*_pinned(name, revision), pickles)


def _of_the_course(name: str) -> bool:
    return Path(name).name == name and (adapters_dir() / name / "adapter_config.json").is_file()


def _made_by_its_reader(name: str) -> bool:
    """Return whether an adapter is that of a row of the table, neither shipped nor made yet."""
    return name in EMBEDDERS and not _of_the_course(name) and not Path(name).is_dir()


def _pinned(name: str, revision: str) -> tuple[str, str]:
    """Split an adapter's name on the hub at its @ into the name and the revision."""
    repo, at, own = name.partition("@")
    return (repo, own) if at and not Path(name).is_dir() else (name, revision)


def _on_the_hub(spec: EmbedderSpec) -> list[tuple[str, str]]:
    """List the adapters that do not come with the course, each with its revision."""
    return [_pinned(name, spec.revision) for name in spec.adapters if not _of_the_course(name)]


def _adapted(folders: Sequence[Path]) -> PreTrainedModel:
    """Return the packaged model with adapters merged in; kept in memory while their files are what they were."""
    stamps = tuple(
        tuple((f.name, f.stat().st_mtime_ns) for f in sorted(folder.glob("adapter_*"))) for folder in folders
    )
    return _merged_backbone(tuple(folder.resolve() for folder in folders), stamps)


@lru_cache(maxsize=8)
def _merged_backbone(folders: tuple[Path, ...], stamps: tuple[object, ...]) -> PreTrainedModel:
    model = _backbone()[0]
    for folder in folders:
        model = merge_adapter(model, folder)
    return model


@lru_cache(maxsize=1)
def _backbone() -> Parts:
    with quiet_transformers():
        return _packaged(default_model_path())


def _packaged(folder: Path) -> Parts:
    """Take a language model apart whose files are whole: the body f, the tokenizer, the decoder layer."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    llm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    move_to(llm, "cuda" if torch.cuda.is_available() else "cpu").eval().requires_grad_(False)
    layer = llm.get_output_embeddings()
    bias = getattr(layer, "bias", None)
    head = None if bias is None else Head(layer.weight.shape[1], bias.detach().float())
    body = llm.base_model
    assert isinstance(body, PreTrainedModel)  # a language model's own body is one, too
    return body, tokenizer, layer.weight, head
