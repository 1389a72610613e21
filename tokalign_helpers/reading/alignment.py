"""Aligned tokens and the paper's three rates (section 3): how much of a text its own embedding gives back."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tokalign_helpers.basics.checks import check_texts, whole_number
from tokalign_helpers.basics.statistics import Interval, bootstrap_interval, jackknife_interval, share_interval
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.models.embedding import Embedder, embed_all

RATES = ("Hit@K", "LAR", "GAR")


def aligned_tokens(embedder: Embedder, texts: Sequence[str], k: int = 10) -> pd.DataFrame:
    """Read what the embeddings of texts say: their k aligned tokens, best first.

    Parameters
    ----------
    embedder : Embedder
    texts : Sequence[str], n of them
    k : int, from 1 to V

    Returns
    -------
    DataFrame, n · k rows
        ``text`` (its position), ``rank`` (from 1), ``token`` (readable; ``▁`` is a space), ``id``, ``score``,
        ``in_text``: is this very id among the text's own tokens? ``folded_in_text``: the same, case and leading
        space aside. ``begins_word``: do its three or more letters begin a word of the text, as "par" begins "parrots"?

    Raises
    ------
    TypeError, ValueError
        As :meth:`Embedder.embed` and :meth:`TokenDecoder.top_tokens`.
    """
    texts = check_texts(texts)
    return read_tokens(embedder, embedder.embed(texts), texts, k)


def read_tokens(embedder: Embedder, h: Tensor, texts: Sequence[str], k: int = 10) -> pd.DataFrame:
    """Read embeddings that may have been changed since they were made, as :func:`aligned_tokens` does.

    Parameters
    ----------
    embedder : Embedder
        Whose decoder layer reads.
    h : Tensor, (n, d)
    texts : Sequence[str], n of them
    k : int, from 1 to V

    Returns
    -------
    DataFrame
        As :func:`aligned_tokens`.

    Raises
    ------
    TypeError, ValueError
        As :meth:`TokenDecoder.top_tokens`; or if there are not as many texts as embeddings.
    """
    texts = check_texts(texts)
    if len(h) != len(texts):
        raise ValueError(f"{len(h)} embeddings for {len(texts)} texts")
    ids, scores = embedder.decoder.top_tokens(h, k)
    literal = embedder.literal_tokens(texts)
    classes, folded = fold(embedder.decoder, ids, literal)
    table = pd.DataFrame(
        {
            "text": np.repeat(np.arange(len(texts)), k),
            "rank": np.tile(np.arange(1, k + 1), len(texts)),
            "token": [embedder.decoder.token(token) for token in ids.flatten().tolist()],
            "id": ids.flatten().numpy(),
            "score": scores.flatten().numpy(),
        }
    )
    table["in_text"] = _members(ids, literal)
    table["folded_in_text"] = _members(classes, folded)
    words = [re.findall(r"\w+", text.casefold()) for text in texts]
    begins = zip(table["text"], table["token"].str.lstrip("▁").str.casefold(), strict=True)
    table["begins_word"] = [len(s) >= 3 and any(word.startswith(s) for word in words[i]) for i, s in begins]
    return table


def hit_at_k(aligned: Tensor, literal: Sequence[set[int]], k: int = 10) -> float:
    """Return Hit@K: the share of texts of which at least one token is among their k aligned ones.

    Parameters
    ----------
    aligned : Tensor, (n, at least k), int64
        Aligned token ids, best first, as :meth:`TokenDecoder.top_tokens` gives them.
    literal : Sequence[set[int]], n of them
        T_s of each text; a text with an empty set is left out.
    k : int, from 1

    Returns
    -------
    float, from 0 to 1

    Raises
    ------
    ValueError
        If k is no whole number from 1 on, too few aligned tokens are given, or no text has tokens.
    """
    k = whole_number(k, "k")
    return float(np.mean(_hits(*_usable(aligned, literal, k), k)))


def local_alignment_rate(aligned: Tensor, literal: Sequence[set[int]]) -> float:
    """Return LAR: the mean share of a text's |T_s| tokens that are among its |T_s| aligned ones.

    Parameters
    ----------
    aligned : Tensor, (n, at least max |T_s|), int64
    literal : Sequence[set[int]], n of them

    Returns
    -------
    float, from 0 to 1
    """
    return float(np.mean(_local(*_usable(aligned, literal))))


def global_alignment_rate(aligned: Tensor, literal: Sequence[set[int]]) -> float:
    """Return GAR: the share of all distinct tokens of the texts that some text's embedding gives back.

    Parameters
    ----------
    aligned : Tensor, (n, at least max |T_s|), int64
    literal : Sequence[set[int]], n of them

    Returns
    -------
    float, from 0 to 1
        Near 0 for an embedder that answers every text with the same few tokens.
    """
    aligned, literal = _usable(aligned, literal)
    return len(set().union(*matched_tokens(aligned, literal))) / len(set().union(*literal))


def rates(aligned: Tensor, literal: Sequence[set[int]], k: int = 10) -> pd.DataFrame:
    """Return Hit@K, LAR and GAR with 95 % intervals.

    Parameters
    ----------
    aligned : Tensor, (n, at least max(k, max |T_s|)), int64
    literal : Sequence[set[int]], n of them
    k : int
        Of Hit@K.

    Returns
    -------
    DataFrame, 3 rows
        ``rate`` (its name), ``value``, ``low``, ``high``. Hit@K is a share of texts: Clopper and Pearson's interval.
        LAR is a mean: percentile bootstrap over texts. GAR is a ratio of unions: jackknife. See
        :mod:`~tokalign_helpers.basics.statistics`; with fewer than 20 texts LAR and GAR have no interval, and the
        bounds are NaN.

    Raises
    ------
    ValueError
        If k is no whole number from 1 on, too few aligned tokens are given, or no text has tokens.
    """
    k = whole_number(k, "k")
    aligned, literal = _usable(aligned, literal, k)
    found = (share_interval(_hits(aligned, literal, k)), bootstrap_interval(_local(aligned, literal)))
    intervals = (*found, _global_interval(aligned, literal))
    return pd.DataFrame([(name, *i) for name, i in zip(RATES, intervals, strict=True)],
                        columns=["rate", "value", "low", "high"])  # fmt: skip


def alignment_rates(
    embedders: Mapping[str, Embedder], texts: Sequence[str], k: int = 10, *, folded: bool = False
) -> pd.DataFrame:
    """Measure how well embedders align with the tokens of texts.

    Parameters
    ----------
    embedders : Mapping[str, Embedder]
    texts : Sequence[str], n of them
    k : int
        Of Hit@K.
    folded : bool
        Also count a token that differs from one of the text only in case or a leading space. Not the paper's
        definition; name it when you quote it.

    Returns
    -------
    DataFrame, 3 rows an embedder
        ``embedder`` and the columns of :func:`rates`.
    """
    texts = check_texts(texts)
    tables = []
    for name, h in embed_all(embedders, texts).items():
        aligned, literal = read(embedders[name], h, texts, k, folded=folded)
        tables.append(rates(aligned, literal, k).assign(embedder=name))
    return pd.concat(tables, ignore_index=True)[["embedder", "rate", "value", "low", "high"]]


def read(
    embedder: Embedder, h: Tensor, texts: Sequence[str], k: int = 10, *, folded: bool = False
) -> tuple[Tensor, list[set[int]]]:
    """Return what the rates compare: enough aligned tokens of the embeddings h, and the texts' own tokens.

    Parameters
    ----------
    embedder : Embedder
    h : Tensor, (n, d)
        Embeddings of the texts, changed or not.
    texts : Sequence[str], n of them
    k : int
        At least so many aligned tokens.
    folded : bool
        As :func:`alignment_rates`.

    Returns
    -------
    aligned : Tensor, (n, max(k, max |T_s|)), int64
    literal : list[set[int]], n of them
        Of the texts as they are given, also where the embedder cuts them (see :meth:`Embedder.literal_tokens`).

    Raises
    ------
    TypeError, ValueError
        As :meth:`Embedder.literal_tokens` and :meth:`TokenDecoder.top_tokens`; or if there are not as many texts as
        embeddings.
    """
    k = whole_number(k, "k")
    literal = embedder.literal_tokens(texts)
    if len(h) != len(literal):
        raise ValueError(f"{len(h)} embeddings for {len(literal)} texts")
    aligned, _ = embedder.decoder.top_tokens(h, max(k, *map(len, literal)))
    return fold(embedder.decoder, aligned, literal) if folded else (aligned, literal)


def fold(decoder: TokenDecoder, aligned: Tensor, literal: Sequence[set[int]]) -> tuple[Tensor, list[set[int]]]:
    """Replace token ids by their class under :attr:`TokenDecoder.folded`, on both sides of the comparison.

    Parameters
    ----------
    decoder : TokenDecoder
    aligned : Tensor, (n, k), int64
    literal : Sequence[set[int]], n of them

    Returns
    -------
    aligned : Tensor, (n, k), int64
    literal : list[set[int]]
    """
    classes = decoder.folded
    return classes[aligned], [{int(classes[token]) for token in tokens} for tokens in literal]


def matched_tokens(aligned: Tensor, literal: Sequence[set[int]]) -> list[set[int]]:
    """Return the tokens that LAR counts: of each text, those among its |T_s| aligned ones.

    Parameters
    ----------
    aligned : Tensor, (n, at least max |T_s|), int64
    literal : Sequence[set[int]], n of them

    Returns
    -------
    list[set[int]], n of them
        Empty for a text without tokens.
    """
    return [set(row[: len(tokens)].tolist()) & tokens for row, tokens in zip(aligned, literal, strict=True)]


def frequent_answers(literal: Sequence[set[int]], k: int) -> Tensor:
    """Make the control that reads nothing: to every text it answers with the tokens that stand in most texts.

    Parameters
    ----------
    literal : Sequence[set[int]], n of them
    k : int

    Returns
    -------
    Tensor, (n, k), int64
        In place of an embedder's aligned tokens.

    Raises
    ------
    ValueError
        If k is no whole number from 1 on, or the texts have fewer than k distinct tokens.
    """
    k = whole_number(k, "k")
    counts = Counter(token for tokens in literal for token in sorted(tokens))
    if len(counts) < k:
        raise ValueError(f"the texts have {len(counts)} distinct tokens; k is {k}")
    return torch.tensor([token for token, _ in counts.most_common(k)]).expand(len(literal), k)


def shuffled(literal: Sequence[set[int]], *, seed: int = 0) -> list[set[int]]:
    """Make the control of chance: each text gets the token set of another text.

    Parameters
    ----------
    literal : Sequence[set[int]], n of them
    seed : int

    Returns
    -------
    list[set[int]], n of them
        No set stays in its place.
    """
    order = np.random.default_rng(seed).permutation(len(literal))
    partner = np.empty(len(literal), dtype=int)
    partner[order] = np.roll(order, 1)  # one cycle through all texts
    return [literal[i] for i in partner]


def _class(decoder: TokenDecoder, token: int) -> int | None:
    """Return a token's folded class; None where the decoder layer has no row for it: it can never be aligned."""
    return int(decoder.folded[token]) if token < decoder.vocabulary_size else None


def _members(ids: Tensor, sets: Sequence[set[int]]) -> list[bool]:
    return [token in tokens for row, tokens in zip(ids.tolist(), sets, strict=True) for token in row]


def _usable(aligned: Tensor, literal: Sequence[set[int]], k: int = 1) -> tuple[Tensor, list[set[int]]]:
    """Leave out texts without tokens; refuse lists too short to hold what the definition asks for."""
    if len(aligned) != len(literal):
        raise ValueError(f"{len(aligned)} rows of aligned tokens for {len(literal)} texts")
    keep = [i for i, tokens in enumerate(literal) if tokens]
    if not keep:
        raise ValueError("no text has any token; there is nothing to measure")
    needed = max(k, max(len(literal[i]) for i in keep))
    if aligned.shape[1] < needed:
        raise ValueError(f"{aligned.shape[1]} aligned tokens a text are given; the definition needs {needed}")
    return aligned[torch.tensor(keep)], [literal[i] for i in keep]


def _hits(aligned: Tensor, literal: list[set[int]], k: int) -> list[bool]:
    return [not tokens.isdisjoint(row[:k].tolist()) for row, tokens in zip(aligned, literal, strict=True)]


def _local(aligned: Tensor, literal: list[set[int]]) -> list[float]:
    matches = matched_tokens(aligned, literal)
    return [len(match) / len(tokens) for match, tokens in zip(matches, literal, strict=True)]


def _global_interval(aligned: Tensor, literal: list[set[int]]) -> Interval:
    """Leave each text out in turn: only tokens that no other text has (or matches) go with it."""
    matches = matched_tokens(aligned, literal)
    matched, present = (Counter(token for tokens in sets for token in tokens) for sets in (matches, literal))
    without = []
    for match, tokens in zip(matches, literal, strict=True):
        lost = sum(matched[token] == 1 for token in match)
        gone = sum(present[token] == 1 for token in tokens)
        without.append((len(matched) - lost) / max(1, len(present) - gone))
    return jackknife_interval(len(matched) / len(present), without, bounds=(0, 1))


def marked_pieces(embedder: Embedder, text: str, k: int = 10) -> list[tuple[str, bool]]:
    """Cut a text at its tokens and say which of them its own embedding gives back.

    Parameters
    ----------
    embedder : Embedder
    text : str
    k : int
        How many aligned tokens count.

    Returns
    -------
    list of (str, bool)
        The pieces, in order, joined they are the text; is the piece a token among the k aligned ones, case and
        leading space aside?

    Raises
    ------
    TypeError, ValueError
        As :func:`aligned_tokens`.
    """
    decoder = embedder.decoder
    ids, _ = decoder.top_tokens(embedder.embed([text]), k)
    aligned = set(decoder.folded[ids[0]].tolist())
    tokens = embedder.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    pieces, done = [], 0
    for token, (start, end) in zip(tokens.input_ids, tokens.offset_mapping, strict=True):
        if start > done:
            pieces.append((text[done:start], False))
        if end > done:  # several byte tokens may share one character
            pieces.append((text[max(start, done) : end], _class(decoder, token) in aligned))
            done = end
    return [*pieces, (text[done:], False)] if done < len(text) else pieces
