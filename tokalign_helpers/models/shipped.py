"""Embeddings that come with the package because they take minutes to compute; compared with the embedder before use."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tokalign_helpers.basics.assets import data_dir
from tokalign_helpers.basics.checks import check_texts, whole_number
from tokalign_helpers.basics.files import replacing
from tokalign_helpers.models.cache import EmbeddingCache, text_key
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.models.keys import NotKeyableError

AGREE = 1e-3  # of a vector's length: what two machines may differ by


def ship_embeddings(
    embedders: Mapping[str, Embedder], texts: Sequence[str], collection: str, *, folder: str | Path | None = None
) -> None:
    """Embed texts and write the files that :func:`fill_cache` reads, in float32.

    Parameters
    ----------
    embedders, texts, collection, folder
        As :func:`fill_cache`; the folder is created if it is missing.

    Raises
    ------
    TypeError, ValueError
        As :meth:`Embedder.embed`.
    OSError
        If the files cannot be written.
    """
    texts = check_texts(texts)
    for name, embedder in embedders.items():
        file = _shipped_file(folder, collection, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as partial:
            save_file({"embeddings": embedder.embed(texts).contiguous()}, partial, {"texts": _texts_digest(texts)})


def fill_cache(
    embedders: Mapping[str, Embedder],
    texts: Sequence[str],
    collection: str,
    *,
    folder: str | Path | None = None,
    checked: int = 16,
) -> None:
    """Put embeddings that come with the package into the cache, after embedding a sample again and comparing.

    To compute all of them, leave this call out; nothing else changes. Where a file is missing, damaged
    or belongs to other texts or another embedder, a warning says so and the texts are embedded when needed.

    Parameters
    ----------
    embedders : Mapping[str, Embedder]
        By name.
    texts : Sequence[str], n of them
        All texts of the collection, in its order.
    collection : str
        The file is ``<collection>-<name of the embedder>.safetensors``.
    folder : str or Path, optional
        Default: ``embeddings`` of :func:`~tokalign_helpers.basics.assets.data_dir`.
    checked : int
        How many texts are embedded again, evenly spread; n or more: all.

    Raises
    ------
    TypeError, ValueError
        If `checked` is not a whole number, 1 or more, or as :func:`~tokalign_helpers.basics.checks.check_texts`.
    """
    checked = whole_number(checked, "checked")
    texts = check_texts(texts)
    for name, embedder in embedders.items():
        try:
            cache = EmbeddingCache(embedder.fingerprint, embedder.dimension)
        except NotKeyableError as error:
            warnings.warn(f"the vectors of {name!r} are not cached: {error}", stacklevel=2)
            continue
        if not cache.load(texts, torch.empty(len(texts), embedder.dimension)):
            continue
        try:
            cache.store(texts, read_shipped(embedder, texts, _shipped_file(folder, collection, name), checked))
        except ValueError as error:
            warnings.warn(f"{error}; the {len(texts)} texts will be embedded", stacklevel=2)


def read_shipped(embedder: Embedder, texts: Sequence[str], file: Path, checked: int) -> Tensor:
    """Return the embeddings of a file of :func:`ship_embeddings`, some of them compared with new ones.

    Parameters
    ----------
    embedder, texts, checked
        As :func:`fill_cache`.
    file : Path
        The file to read.

    Returns
    -------
    Tensor, (n, d), float32

    Raises
    ------
    ValueError
        If the file cannot be read, belongs to other texts, or differs from what the embedder computes now.
    """
    try:
        with safe_open(file, "pt") as held:
            about, h = held.metadata() or {}, held.get_tensor("embeddings")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file} cannot be read ({error})") from error
    if about.get("texts") != _texts_digest(texts) or len(h) != len(texts):
        raise ValueError(f"{file} belongs to other texts")
    places = np.unique(np.linspace(0, len(texts) - 1, min(checked, len(texts))).astype(int)).tolist()
    again = embedder.embed([texts[place] for place in places])
    if again.shape[1] != h.shape[1]:
        raise ValueError(f"{file} holds vectors of {h.shape[1]} numbers; {embedder.name} makes {again.shape[1]}")
    same = (h[places] - again).norm(dim=1) <= AGREE * again.norm(dim=1)  # never true of nan
    if not same.all():
        raise ValueError(f"{file} differs from {embedder.name} in {int((~same).sum())} of {len(places)} texts compared")
    return h


def _shipped_file(folder: str | Path | None, collection: str, name: str) -> Path:
    return Path(folder or data_dir() / "embeddings") / f"{collection}-{name}.safetensors"


def _texts_digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(b"".join(map(text_key, texts))).hexdigest()
