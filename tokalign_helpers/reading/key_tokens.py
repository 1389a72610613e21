"""Which tokens of a text are its key tokens, by two definitions that anyone can check, and how many of them align."""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tokalign_helpers.basics.checks import check_texts
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.reading.alignment import Alignment

WORD = re.compile(r"[^\W_](?:[\w'’-]*[^\W_])?")  # letters and digits, hyphens and apostrophes inside


def distinctive_tokens(literal: Sequence[set[int]], share: float = 1 / 3) -> list[set[int]]:
    """Return, for each text, the tokens that occur in the fewest other texts: its best by tf-idf.

    A token counts once in T_s, so tf is 1 and the order is that of idf.

    Parameters
    ----------
    literal : Sequence[set[int]], n of them
        T_s of each text.
    share : float, above 0 up to 1
        Of a text's tokens, rounded up.

    Returns
    -------
    list[set[int]], n of them
        Of tokens that occur in equally many texts, those with the lower id come first.

    Raises
    ------
    ValueError
        If the share is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it must be above 0 and at most 1")
    texts = Counter(token for tokens in literal for token in tokens)
    return [set(sorted(t, key=lambda token: (texts[token], token))[: math.ceil(share * len(t))]) for t in literal]


def tokens_of_words(embedder: Embedder, texts: Sequence[str], words: Sequence[Sequence[str]]) -> list[set[int]]:
    """Return the tokens of each text that lie in given words of it, folded.

    Parameters
    ----------
    embedder : Embedder
        Whose tokenizer splits the texts.
    texts : Sequence[str], n of them
        The texts that hold the words.
    words : Sequence[Sequence[str]], n of them
        Words as they occur in the text; every occurrence counts.

    Returns
    -------
    list[set[int]], n of them
        Classes of tokens under :attr:`TokenDecoder.folded`, to compare with :meth:`Alignment.folded`.

    Raises
    ------
    ValueError
        If there are not as many lists of words as texts, or a word does not occur in its text.
    """
    texts = check_texts(texts)
    if len(texts) != len(words):
        raise ValueError(f"{len(words)} lists of words for {len(texts)} texts")
    classes, found = embedder.decoder.folded, []
    for text, marked in zip(texts, words, strict=True):
        places = [match.span() for match in WORD.finditer(text) if _bare(match.group()) in set(marked)]
        missing = set(marked) - {_bare(text[start:end]) for start, end in places}
        if missing:
            raise ValueError(f"{min(missing)!r} is not a word of {text[:80]!r}")
        read = embedder.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        found.append(
            {
                int(classes[token])
                for token, (start, end) in zip(read.input_ids, read.offset_mapping, strict=True)
                if any(start < stop and end > begin for begin, stop in places)
            }
        )
    return found


def key_shares(alignment: Alignment, key: Sequence[set[int]]) -> pd.DataFrame:
    """Compute, for each text, the share of key tokens among all its tokens and among those that align.

    Parameters
    ----------
    alignment : Alignment, n texts
        From :func:`~tokalign_helpers.reading.alignment.align`.
    key : Sequence[set[int]], n of them
        Each text's key tokens, as the alignment counts tokens (folded or not); what is not a token of the text is left
        out.

    Returns
    -------
    DataFrame, n rows
        ``text``: the share of key tokens among the text's tokens, which is what picking tokens of the text at random
        would give. ``aligned``: the same among the tokens that align (:meth:`Alignment.matched`); NaN where none does.
        ``key recalled`` and ``others recalled``: which share of the key tokens, and of the others, aligns.

    Raises
    ------
    ValueError
        If there are not as many sets as texts.
    """
    if len(key) != len(alignment.literal):
        raise ValueError(f"{len(key)} sets of key tokens for {len(alignment.literal)} texts")
    rows = []
    for own, matched, wanted in zip(alignment.literal, alignment.matched_tokens(), key, strict=True):
        wanted, others = own & wanted, own - wanted
        rows.append(
            (
                _share(wanted, own),
                _share(matched & wanted, matched),
                _share(matched & wanted, wanted),
                _share(matched & others, others),
            )
        )
    return pd.DataFrame(rows, columns=["text", "aligned", "key recalled", "others recalled"])


def word_agreement(texts: Sequence[str], first: Sequence[Sequence[str]], second: Sequence[Sequence[str]]) -> float:
    """Return how far two people agree on which words of texts to mark: Cohen's κ over all words.

    Parameters
    ----------
    texts : Sequence[str], n of them
        The texts that both people marked.
    first, second : Sequence[Sequence[str]], n of them
        The words that each of them marked.

    Returns
    -------
    float
        1 for the same marks, 0 for chance.
    """
    from sklearn.metrics import cohen_kappa_score

    marks: tuple[list[bool], list[bool]] = ([], [])
    for text, *both in zip(texts, first, second, strict=True):
        for word in sorted({_bare(word) for word in WORD.findall(text)}):
            for column, marked in zip(marks, both, strict=True):
                column.append(word in set(marked))
    return float(cohen_kappa_score(*marks))


def _bare(word: str) -> str:
    """Return a word without a possessive 's."""
    return re.sub(r"['’]s$", "", word)


def _share(part: set[int], whole: set[int]) -> float:
    return len(part) / len(whole) if whole else np.nan
