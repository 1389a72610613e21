"""Which embedder is in these files: a folder or a name on the hub → a row as those of the table."""

from collections.abc import Sequence
from pathlib import Path

from tokalign_helpers.models.embedders import EMBEDDERS, EmbedderSpec
from tokalign_helpers.models.published import POOLINGS, published


def describe(
    source: str | Path,
    *,
    backbone: str | None = None,
    pooling: str | None = None,
    template: str | None = None,
    revision: str = "main",
    attention: str | None = None,
    query_prompt: str | None = None,
    pickles: Sequence[str] = (),
) -> EmbedderSpec:
    """Make a row for an embedder that the table lacks.

    Parameters
    ----------
    source : str or Path
        A name on the hub or a local folder: a language model, a sentence-transformers model, or a LoRA adapter.
    backbone : str, optional
        The LLM that it was made from. Default: what an adapter names, else `source` itself.
    pooling : str, optional
        A key of :data:`~tokalign_helpers.models.published.POOLINGS`. Default: what sentence-transformers' files say.
    template, attention, query_prompt
        As :func:`~tokalign_helpers.models.published.published`.
    revision : str
    pickles : Sequence[str]
        Names of pickled files that may be read where there are no safetensors. A pickle can hold code: name it only if
        you trust whoever made it.

    Returns
    -------
    EmbedderSpec

    Raises
    ------
    ValueError
        If the files do not say how it pools; or as :func:`~tokalign_helpers.models.published.published`.
    HubError
        If there is nothing of that name.
    """
    if str(source) in EMBEDDERS:
        return EMBEDDERS[str(source)]
    found = published(
        source, revision, backbone=backbone, pooling=pooling, template=template, attention=attention,
        query_prompt=query_prompt,
    )  # fmt: skip
    if found.pooling is None:
        raise ValueError(f"{source} does not say how it pools; say pooling: {', '.join(POOLINGS)}")
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
