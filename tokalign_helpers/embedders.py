"""Which embedders exist, as data, and loading them by name."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokalign_helpers.assets import default_model_path, quiet_transformers
from tokalign_helpers.embedding import EOL, SLOT, Embedder, load_llm
from tokalign_helpers.pooling import Pooling, last_token, mean, weighted_mean

SMOL = "SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class EmbedderSpec:
    """What makes an embedder: a row of the table below, never a branch in the code."""

    name: str
    backbone: str
    pooling: Pooling
    template: str = SLOT
    made_by: str = "as it is"
    license: str = "Apache-2.0"


EMBEDDERS: dict[str, EmbedderSpec] = {
    spec.name: spec
    for spec in (
        EmbedderSpec("smol-last", SMOL, last_token),
        EmbedderSpec("smol-mean", SMOL, mean),
        EmbedderSpec("smol-wmean", SMOL, weighted_mean),
        EmbedderSpec("smol-eol", SMOL, last_token, EOL, made_by="prompt"),
    )
}


def load_embedder(name: str) -> Embedder:
    """Load an embedder of :data:`EMBEDDERS`. For one of your own see :meth:`Embedder.from_pretrained`.

    Parameters
    ----------
    name : str

    Returns
    -------
    Embedder
        Embedders of one backbone share its weights in memory.

    Raises
    ------
    ValueError
        If there is none of that name; the message suggests the nearest.
    AssetError
        If the default model cannot be fetched.
    """
    if name not in EMBEDDERS:
        near = difflib.get_close_matches(name, EMBEDDERS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown embedder {name!r}{hint} Known: {', '.join(EMBEDDERS)}")
    spec = EMBEDDERS[name]
    return Embedder(spec.name, *_backbone(), spec.pooling, spec.template)


def load_embedders(names: Sequence[str]) -> dict[str, Embedder]:
    """Load several embedders.

    Parameters
    ----------
    names : Sequence[str]

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


@lru_cache(maxsize=1)
def _backbone() -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Tensor]:
    with quiet_transformers():
        return load_llm(default_model_path())
