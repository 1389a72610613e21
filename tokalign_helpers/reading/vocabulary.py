"""What kind of thing a token is, so that "meaningful tokens" is a number and not an opinion."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from tokalign_helpers.basics.checks import whole_number
from tokalign_helpers.datasets.labelled import load_lexicon
from tokalign_helpers.datasets.wikipedia import load_sentences
from tokalign_helpers.models.decoding import TokenDecoder

KINDS = ("content word", "function word", "word piece", "number", "punctuation", "other")
CONTRACTIONS = {"s", "t", "re", "ve", "ll", "d", "m", "isn", "don", "didn", "doesn", "wasn", "weren", "couldn"}
# Content words that scikit-learn's list, made for indexing, holds as well.
# fmt: off
NOT_FUNCTION = {
    "bill", "bottom", "cry", "describe", "detail", "fire", "fill", "find", "found", "interest", "mill", "mine",
    "move", "part", "serious", "show", "side", "sincere", "system", "thick", "thin", "top",
}
# fmt: on


@lru_cache(maxsize=1)
def function_words() -> frozenset[str]:
    """Return scikit-learn's English stop words less the content words among them, and contractions."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return (ENGLISH_STOP_WORDS - NOT_FUNCTION) | CONTRACTIONS | {"does", "did", "doing", "having", "just"}


def token_kinds(decoder: TokenDecoder) -> np.ndarray:
    """Sort the vocabulary into kinds by rules that anyone can check.

    * content word: occurs as a word in the packaged Wikipedia sentences; one of three or four letters, which may be
      a fragment of a name, at least 3 times
    * function word: on scikit-learn's list of English stop words, or a contraction
    * word piece: other letters, such as "ization" or "par"
    * number, punctuation: only digits; only marks and spaces
    * other: control tokens, stray bytes, code, other scripts

    Parameters
    ----------
    decoder : TokenDecoder
        The decoder layer that names and scores the tokens.

    Returns
    -------
    ndarray of str, (V,)
        Members of :data:`KINDS`. Case and a leading space do not matter.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> decoder = ta.load_embedder("smol-eol").decoder
    >>> kinds = ta.token_kinds(decoder)
    >>> [f"{decoder.token(i)}: {kinds[i]}" for i in (260, 8741)]
    ['▁the: function word', '▁hazard: content word']
    """
    return np.array([token_kind(decoder.token(i)) for i in range(decoder.vocabulary_size)])


def token_kind(token: str) -> str:
    """Return the kind of one token, given as :meth:`TokenDecoder.token` writes it.

    Parameters
    ----------
    token : str
        The token, as people read it.

    Returns
    -------
    str, a member of :data:`KINDS`
    """
    token = re.sub(r"\\[nrt]|\\x0[bc]", " ", token)  # white space, as TokenDecoder.token writes it
    word = token.lstrip("▁").casefold()
    if re.fullmatch(r"[a-z]+(?:'[a-z]+)?", word):
        if word.strip("'") in function_words():
            return "function word"
        needed = 1 if len(word) >= 5 else 3
        return "content word" if len(word) >= 3 and word_counts()[word] >= needed else "word piece"
    if word.lstrip("'") in CONTRACTIONS:
        return "function word"
    if re.fullmatch(r"[0-9]+(?:[.,][0-9]+)?", word):
        return "number"
    if re.fullmatch(r"<[0-9A-F]{2}>.*|<\|.*\|>", token):
        return "other"
    return "punctuation" if re.fullmatch(r"[\W_▁]*", word) and word.isascii() else "other"


@lru_cache(maxsize=1)
def word_counts() -> Counter[str]:
    """Return how often each lower-case word occurs in the packaged Wikipedia sentences.

    Returns
    -------
    Counter[str]
        0 for a word that is not there.
    """
    return Counter(word for sentence in load_sentences() for word in re.findall(r"[a-z]+", sentence.lower()))


def lexicon_tokens(decoder: TokenDecoder, labelling: str, *, nearest: int = 0) -> dict[str, set[int]]:
    """Return the tokens that stand for each label of the course's texts.

    Parameters
    ----------
    decoder : TokenDecoder
        The decoder layer that names and scores the tokens.
    labelling : str
        ``topic`` or ``emotion``.
    nearest : int
        For each word, also this many tokens whose rows of the decoder layer's matrix have the largest cosine with it,
        as long as they are not tokens of another label.

    Returns
    -------
    dict[str, set[int]]
        Label → token ids. A word counts with any case and with or without a leading space, if it is one token.

    Raises
    ------
    ValueError
        If the labelling is unknown, or `nearest` is not a whole number, 0 or more.
    """
    nearest = whole_number(nearest, "nearest", 0, decoder.vocabulary_size - 1, called="V − 1")
    table = load_lexicon()
    if labelling not in set(table["labelling"]):
        raise ValueError(f"unknown labelling {labelling!r}; known: {', '.join(sorted(set(table['labelling'])))}")
    table = table[table["labelling"] == labelling]
    forms: dict[str, list[int]] = {}
    for token in range(decoder.vocabulary_size):
        forms.setdefault(decoder.token(token).lstrip("▁").casefold(), []).append(token)
    found = {
        label: {t for word in words for t in forms.get(word, [])} for label, words in table.groupby("label")["word"]
    }
    if nearest:
        unit = torch.nn.functional.normalize(decoder.weight.float(), dim=1)
        taken = set().union(*found.values())
        near = {
            label: set((unit[sorted(tokens)] @ unit.T).topk(nearest + 1, dim=1).indices.flatten().tolist()) - taken
            for label, tokens in found.items()
        }
        owners = Counter(token for tokens in near.values() for token in tokens)
        found = {label: tokens | {t for t in near[label] if owners[t] == 1} for label, tokens in found.items()}
    return found


def kind_shares(token_sets: Iterable[Iterable[int]], kinds: Sequence[str]) -> pd.Series:
    """Return which share of the tokens in all sets together is of each kind.

    Parameters
    ----------
    token_sets : Iterable of iterables of int
        One for each text, such as rows of aligned ids.
    kinds : Sequence[str], (V,)
        From :func:`token_kinds`.

    Returns
    -------
    Series
        Indexed by :data:`KINDS`; sums to 1, or all 0 where there is no token.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> kinds = ["content word", "function word", "content word", "number"]
    >>> shares = ta.kind_shares([[0, 1], [2, 1]], kinds)
    >>> shares[shares > 0]
    content word     0.5
    function word    0.5
    dtype: float64
    """
    counts = Counter(kinds[token] for tokens in token_sets for token in tokens)
    total = max(1, counts.total())
    return pd.Series({kind: counts[kind] / total for kind in KINDS})


def recall_by_frequency(
    matches: Sequence[set[int]], literal: Sequence[set[int]], bins: Sequence[float] = (0, 0.002, 0.01, 0.05, 1)
) -> pd.DataFrame:
    """Split what is matched by how common a token is: in which share of the texts it occurs.

    Parameters
    ----------
    matches : Sequence[set[int]], n of them
        From :func:`~tokalign_helpers.reading.alignment.Alignment.matched`.
    literal : Sequence[set[int]], n of them
        T_s of each text.
    bins : Sequence[float]
        Edges of the shares, ascending; a bin contains its upper edge.

    Returns
    -------
    DataFrame
        ``texts`` (the bin, as text), ``tokens`` (occurrences in texts) and ``recall`` (share of them matched).
    """
    frequency = Counter(token for tokens in literal for token in tokens)
    present, found = np.zeros(len(bins) - 1), np.zeros(len(bins) - 1)
    for match, tokens in zip(matches, literal, strict=True):
        for token in tokens:
            place = int(np.searchsorted(bins, frequency[token] / len(literal))) - 1
            present[place] += 1
            found[place] += token in match
    names = [f"{100 * low:g}–{100 * high:g} %" for low, high in zip(bins[:-1], bins[1:], strict=True)]
    with np.errstate(invalid="ignore"):
        return pd.DataFrame({"texts": names, "tokens": present.astype(int), "recall": found / present})
