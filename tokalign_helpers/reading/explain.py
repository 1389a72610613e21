"""How close are two texts, and why? The dot product of their embeddings, split exactly over the tokens."""

from collections.abc import Callable
from functools import lru_cache

import pandas as pd
import torch
from torch import Tensor

from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.reading.postprocessing import gram_matrix


def tight_decoder(decoder: TokenDecoder) -> Tensor:
    """Return the decoder layer's matrix, made a tight frame: Ẽ = E_g (E_gᵀE_g)^(−1/2).

    Ẽ spans what E_g spans, but its columns are orthonormal, so (Ẽa)·(Ẽb) = a·b for all embeddings a and b. That is not
    so for E_g itself, where frequent directions count many times.

    Parameters
    ----------
    decoder : TokenDecoder
        The decoder layer that names and scores the tokens.

    Returns
    -------
    Tensor, (V, d), float32

    Raises
    ------
    ValueError
        If E_g does not have full rank; then no matrix over tokens keeps all dot products. Or if the decoder is an
        encoder's head, which is not linear.
    """
    return _tight(decoder)


def tight_map(decoder: TokenDecoder) -> Tensor:
    """Return (E_gᵀE_g)^(−1/2): the tight frame reads an embedding as E_g reads the mapped one.

    Parameters
    ----------
    decoder : TokenDecoder

    Returns
    -------
    Tensor, (d, d), float32, symmetric
        Ẽa = E_g (map a), so that no second matrix over the vocabulary has to be kept.

    Raises
    ------
    ValueError
        As :func:`tight_decoder`.
    """
    return _root(decoder).float()


@lru_cache(maxsize=2)
def _tight(decoder: TokenDecoder) -> Tensor:
    root = _root(decoder)
    return torch.cat([(rows.double() @ root).float() for rows in decoder.weight.cpu().split(8192)])


@lru_cache(maxsize=2)
def _root(decoder: TokenDecoder) -> Tensor:
    if decoder.head is not None and decoder.head.transform is not None:
        raise ValueError("the head of an encoder is not linear; its scores do not split over tokens")
    values, vectors = torch.linalg.eigh(gram_matrix(decoder.weight))
    if values[0] <= values[-1] * 1e-12:
        raise ValueError("the decoder layer's matrix does not have full rank; an exact decomposition does not exist")
    return (vectors / values.sqrt()) @ vectors.T


def token_contributions(decoder: TokenDecoder, a: Tensor, b: Tensor) -> pd.DataFrame:
    """Split the cosine of two embeddings over tokens: exact, and the same for (a, b) and (b, a).

    Parameters
    ----------
    decoder : TokenDecoder
        The decoder layer that names and scores the tokens.
    a, b : Tensor, (d,)
        The two embeddings.

    Returns
    -------
    DataFrame, V rows, largest contribution first
        ``token``, ``a`` and ``b`` (how much of the token each embedding holds: its coordinate in the tight frame), and
        ``contribution``, their product. The contributions add up to the cosine.

    Raises
    ------
    ValueError
        If an embedding is not a (d,) vector or has the length 0.
    """
    d = decoder.dimension
    if a.shape != (d,) or b.shape != (d,):
        raise ValueError(f"the embeddings have the shapes {tuple(a.shape)} and {tuple(b.shape)}; expected ({d},)")
    if not a.norm() > 0 or not b.norm() > 0:
        raise ValueError("an embedding has the length 0; it has no direction to compare")
    frame = tight_decoder(decoder)
    left, right = (frame @ torch.nn.functional.normalize(h.float(), dim=0) for h in (a, b))
    table = pd.DataFrame({"id": range(len(frame)), "a": left.numpy(), "b": right.numpy()})
    table["contribution"] = (left.double() * right.double()).numpy()
    table.insert(0, "token", [decoder.token(i) for i in range(len(frame))])
    return table.sort_values("contribution", ascending=False, kind="stable", ignore_index=True)


def shared_tokens(decoder: TokenDecoder, a: Tensor, b: Tensor, k: int = 50) -> list[str]:
    """Return the tokens that are among the k aligned ones of both embeddings, in the order of the first.

    Parameters
    ----------
    decoder : TokenDecoder
        The decoder layer that names and scores the tokens.
    a, b : Tensor, (d,)
        The two embeddings.
    k : int
        How many aligned tokens of each embedding to compare.

    Returns
    -------
    list[str]
    """
    ids, _ = decoder.top_tokens(torch.stack([a, b]), k)
    other = set(ids[1].tolist())
    return [decoder.token(i) for i in ids[0].tolist() if i in other]


def pair_similarities(
    embedder: Embedder, pairs: pd.DataFrame, change: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return the cosine of both sides of every pair.

    Parameters
    ----------
    embedder : Embedder
        The embedder to read with.
    pairs : DataFrame, n rows
        The first two columns hold texts.
    change : Callable, optional
        (m, d) → (m, d), applied to the embeddings first, such as an adjustment.

    Returns
    -------
    Tensor, (n,), from −1 to 1

    Examples
    --------
    >>> import pandas as pd
    >>> import tokalign_helpers as ta
    >>> pairs = pd.DataFrame({"a": ["I like apples.", "I like apples."], "b": ["Apples are good.", "It rains."]})
    >>> cosines = ta.pair_similarities(ta.load_embedder("smol-sim"), pairs)
    >>> bool(cosines[0] > cosines[1])
    True
    """
    sides = [pairs.iloc[:, column].tolist() for column in (0, 1)]
    texts = list(dict.fromkeys(sides[0] + sides[1]))
    h = embedder.embed(texts)
    unit = torch.nn.functional.normalize(change(h) if change else h, dim=1)
    place = {text: i for i, text in enumerate(texts)}
    left, right = ([place[text] for text in side] for side in sides)
    return (unit[left] * unit[right]).sum(dim=1)
