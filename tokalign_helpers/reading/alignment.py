"""Aligned tokens and the paper's three rates (section 3): how many of a text's tokens its own embedding aligns with."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tokalign_helpers.basics.checks import check_texts, whole_number
from tokalign_helpers.basics.statistics import Interval, bootstrap_interval, jackknife_interval, share_interval
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.models.embedding import Embedder, embed_all

RATES = ("Hit@K", "LAR", "GAR")
REFERENCE_RANK = 100  # scores have no zero that means something: bars begin at the token of this rank


def aligned_tokens(embedder: Embedder, texts: Sequence[str], k: int = 10) -> pd.DataFrame:
    """Read what the embeddings of texts say: their k aligned tokens, best first.

    Parameters
    ----------
    embedder : Embedder
        The embedder to read with.
    texts : Sequence[str], n of them
        The texts to read.
    k : int, from 1 to V
        How many tokens to return for each text.

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

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> table = ta.aligned_tokens(ta.load_embedder("smol-sim"), ["Parrots eat seeds."], k=3)
    >>> table[["rank", "token", "in_text"]]
       rank   token  in_text
    0     1  ▁Seeds    False
    1     2  ▁seeds     True
    2     3   ▁They    False
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
        Embeddings, one row for each text.
    texts : Sequence[str], n of them
        The texts that were embedded.
    k : int, from 1 to V
        How many tokens to return for each embedding.

    Returns
    -------
    DataFrame
        As :func:`aligned_tokens`.

    Raises
    ------
    TypeError, ValueError
        As :meth:`TokenDecoder.top_tokens`; or if there are not as many texts as embeddings.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> embedder, texts = ta.load_embedder("smol-sim"), ["Parrots eat seeds.", "The sea is calm."]
    >>> h = embedder.embed(texts)
    >>> ta.read_tokens(embedder, h - h.mean(dim=0), texts, k=2)[["text", "token"]]
       text      token
    0     0     ▁Seeds
    1     0     ▁seeds
    2     1      ▁calm
    3     1  ▁calmness
    """
    texts = check_texts(texts)
    if len(h) != len(texts):
        raise ValueError(f"{len(h)} embeddings for {len(texts)} texts")
    ids, scores = embedder.decoder.top_tokens(h, k)
    literal = embedder.literal_tokens(texts)
    classes = embedder.decoder.folded
    folded = [{int(classes[token]) for token in tokens} for tokens in literal]
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
    table["folded_in_text"] = _members(classes[ids], folded)
    words = [re.findall(r"\w+", text.casefold()) for text in texts]
    begins = zip(table["text"], table["token"].str.lstrip("▁").str.casefold(), strict=True)
    table["begins_word"] = [len(s) >= 3 and any(word.startswith(s) for word in words[i]) for i, s in begins]
    return table


@dataclass(frozen=True, eq=False)
class Alignment:
    """What the three rates compare: the aligned tokens of n embeddings, and the texts' own tokens.

    Made by :func:`align`; or by hand, of tokens from anywhere.

    Parameters
    ----------
    aligned : Tensor, (n, at least max |T_s|), int64
        Aligned token ids, best first, as :meth:`TokenDecoder.top_tokens` returns them.
    literal : Sequence[set[int]], n of them
        T_s of each text. A text with an empty set counts for none of the rates.
    decoder : TokenDecoder, optional
        Whose tokens they are; :meth:`folded` needs it.

    Raises
    ------
    ValueError
        If there are not as many rows as texts, no text has tokens, or a row is too short for its text.

    Examples
    --------
    >>> import torch
    >>> import tokalign_helpers as ta
    >>> alignment = ta.Alignment(torch.tensor([[5, 7, 2], [9, 4, 1]]), [{5, 2}, {3}])
    >>> alignment.hit_at(1), alignment.lar, alignment.gar
    (0.5, 0.25, 0.3333333333333333)
    """

    aligned: Tensor
    literal: Sequence[set[int]]
    decoder: TokenDecoder | None = None

    def __post_init__(self) -> None:
        if len(self.aligned) != len(self.literal):
            raise ValueError(f"{len(self.aligned)} rows of aligned tokens for {len(self.literal)} texts")
        if not any(self.literal):
            raise ValueError("no text has any token; there is nothing to measure")
        self._check_length(max(map(len, self.literal)))

    def hit_at(self, k: int = 10) -> float:
        """Return Hit@K: the share of texts of which at least one token is among their k aligned ones.

        Parameters
        ----------
        k : int, from 1
            How many aligned tokens of each text to look at.

        Returns
        -------
        float, from 0 to 1

        Raises
        ------
        ValueError
            If k is not a whole number, 1 or more, or there are fewer than k aligned tokens.
        """
        return float(np.mean(self._hits(k)))

    @property
    def lar(self) -> float:
        """LAR, from 0 to 1: the mean share of a text's |T_s| tokens that are among its |T_s| aligned ones."""
        return float(np.mean(self._local()))

    @property
    def gar(self) -> float:
        """GAR, from 0 to 1: the share of all distinct tokens of the texts that are aligned with some text.

        It is near 0 for an embedder that answers every text with the same few tokens.
        """
        return len(set().union(*self.matched_tokens())) / len(set().union(*self.literal))

    def rates(self, k: int = 10) -> pd.DataFrame:
        """Return Hit@K, LAR and GAR with 95 % intervals.

        Parameters
        ----------
        k : int
            Of Hit@K.

        Returns
        -------
        DataFrame, 3 rows
            ``rate`` (its name), ``value``, ``low``, ``high``. Hit@K is a share of texts: Clopper and Pearson's
            interval. LAR is a mean: percentile bootstrap over texts. GAR is a ratio of unions: jackknife. See
            :mod:`~tokalign_helpers.basics.statistics`; with fewer than 20 texts LAR and GAR have no interval, and the
            bounds are NaN.

        Raises
        ------
        ValueError
            As :meth:`hit_at`.

        Examples
        --------
        >>> import torch
        >>> import tokalign_helpers as ta
        >>> literal = [{5, 2}, {3}]
        >>> ta.Alignment(torch.tensor([[5, 7], [9, 4]]), literal).rates(k=1)
            rate     value       low      high
        0  Hit@K  0.500000  0.012579  0.987421
        1    LAR  0.250000       NaN       NaN
        2    GAR  0.333333       NaN       NaN
        """
        intervals = (share_interval(self._hits(k)), bootstrap_interval(self._local()), self._global())
        rows = [(name, *interval) for name, interval in zip(RATES, intervals, strict=True)]
        return pd.DataFrame(rows, columns=["rate", "value", "low", "high"])

    def matched_tokens(self) -> list[set[int]]:
        """Return the tokens that LAR counts: of each text, those among its |T_s| aligned ones.

        Returns
        -------
        list[set[int]], n of them
            Empty for a text without tokens.

        Examples
        --------
        >>> import torch
        >>> import tokalign_helpers as ta
        >>> ta.Alignment(torch.tensor([[5, 7], [9, 4]]), [{5, 2}, {3}]).matched_tokens()
        [{5}, set()]
        """
        rows = zip(self.aligned, self.literal, strict=True)
        return [set(row[: len(tokens)].tolist()) & tokens for row, tokens in rows]

    def folded(self) -> "Alignment":
        """Return the same without regard to case and leading space: not the paper's definition, so say so when quoting.

        Returns
        -------
        Alignment
            Of classes of tokens (:attr:`TokenDecoder.folded`) in place of tokens.

        Raises
        ------
        ValueError
            If the alignment was made without a decoder.
        """
        if self.decoder is None:
            raise ValueError("this alignment has no decoder, which knows what differs in case or leading space only")
        classes = self.decoder.folded
        literal = [{int(classes[token]) for token in tokens} for tokens in self.literal]
        return Alignment(classes[self.aligned], literal)

    def shuffled_baseline(self, *, seed: int = 0) -> "Alignment":
        """Return the baseline of chance: each text is compared with the tokens of another text.

        Parameters
        ----------
        seed : int
            Seed of the random choice; the same seed gives the same result.

        Returns
        -------
        Alignment
            In which no text has its own tokens.
        """
        order = np.random.default_rng(seed).permutation(len(self.literal))
        partner = np.empty(len(self.literal), dtype=int)
        partner[order] = np.roll(order, 1)  # one cycle through all texts
        return replace(self, literal=[self.literal[i] for i in partner])

    def frequency_baseline(self, k: int | None = None) -> "Alignment":
        """Return the baseline that reads nothing: every text gets the tokens that occur in most texts.

        Parameters
        ----------
        k : int, optional
            How many tokens. Default: as many as the alignment itself has, or as there are distinct ones.

        Returns
        -------
        Alignment

        Raises
        ------
        ValueError
            If k is not a whole number, 1 or more, or the texts have fewer than k distinct tokens.
        """
        counts = Counter(token for tokens in self.literal for token in sorted(tokens))
        k = min(self.aligned.shape[1], len(counts)) if k is None else whole_number(k, "k")
        if len(counts) < k:
            raise ValueError(f"the texts have {len(counts)} distinct tokens; k is {k}")
        answer = torch.tensor([token for token, _ in counts.most_common(k)])
        return replace(self, aligned=answer.expand(len(self.literal), k))

    def head(self, n: int) -> "Alignment":
        """Return the alignment of the first n texts.

        Parameters
        ----------
        n : int, from 1 to the number of texts
            How many texts to keep.

        Returns
        -------
        Alignment
        """
        n = whole_number(n, "n", 1, len(self.literal), called="the number of texts")
        return replace(self, aligned=self.aligned[:n], literal=self.literal[:n])

    def _check_length(self, needed: int) -> None:
        if self.aligned.shape[1] < needed:
            raise ValueError(f"there are {self.aligned.shape[1]} aligned tokens for each text; {needed} are needed")

    def _hits(self, k: int) -> list[bool]:
        k = whole_number(k, "k")
        self._check_length(k)
        rows = zip(self.aligned, self.literal, strict=True)
        return [not tokens.isdisjoint(row[:k].tolist()) for row, tokens in rows if tokens]

    def _local(self) -> list[float]:
        return [len(m) / len(tokens) for m, tokens in zip(self.matched_tokens(), self.literal, strict=True) if tokens]

    def _global(self) -> Interval:
        """Leave each text out in turn: only tokens that no other text has (or matches) go with it."""
        matches = self.matched_tokens()
        matched, present = (Counter(token for tokens in sets for token in tokens) for sets in (matches, self.literal))
        without = []
        for match, tokens in zip(matches, self.literal, strict=True):
            if tokens:
                lost = sum(matched[token] == 1 for token in match)
                gone = sum(present[token] == 1 for token in tokens)
                without.append((len(matched) - lost) / max(1, len(present) - gone))
        return jackknife_interval(len(matched) / len(present), without, bounds=(0, 1))


def align(embedder: Embedder, texts: Sequence[str], h: Tensor | None = None, *, k: int = 10) -> Alignment:
    """Put the aligned tokens of texts beside the texts' own.

    Parameters
    ----------
    embedder : Embedder
        Whose decoder layer reads.
    texts : Sequence[str], n of them
        The texts to measure on.
    h : Tensor, (n, d), optional
        Embeddings of the texts that were changed since they were made. Default: the embedder embeds the texts.
    k : int
        The least number of aligned tokens to keep for each text, for Hit@K.

    Returns
    -------
    Alignment
        Of the texts as they are given, also where the embedder cuts them (see :meth:`Embedder.literal_tokens`).

    Raises
    ------
    TypeError, ValueError
        As :meth:`Embedder.embed` and :meth:`TokenDecoder.top_tokens`; or if there are not as many texts as embeddings.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> alignment = ta.align(ta.load_embedder("smol-sim"), ["Parrots eat seeds.", "The sea is calm."])
    >>> alignment.hit_at(10)
    1.0
    >>> round(alignment.folded().lar, 3)
    0.3
    """
    k = whole_number(k, "k")
    texts = check_texts(texts)
    h = embedder.embed(texts) if h is None else h
    literal = embedder.literal_tokens(texts)
    if len(h) != len(literal):
        raise ValueError(f"{len(h)} embeddings for {len(literal)} texts")
    aligned, _ = embedder.decoder.top_tokens(h, max(k, *map(len, literal)))
    return Alignment(aligned, literal, embedder.decoder)


def alignment_rates(embedders: Mapping[str, Embedder], texts: Sequence[str], k: int = 10) -> pd.DataFrame:
    """Measure how well embedders align with the tokens of texts.

    Parameters
    ----------
    embedders : Mapping[str, Embedder]
        The embedders by name.
    texts : Sequence[str], n of them
        The texts to measure on.
    k : int
        Of Hit@K.

    Returns
    -------
    DataFrame, 3 rows for each embedder
        ``embedder`` and the columns of :meth:`Alignment.rates`.
    """
    texts = check_texts(texts)
    tables = []
    for name, h in embed_all(embedders, texts).items():
        tables.append(align(embedders[name], texts, h, k=k).rates(k).assign(embedder=name))
    return pd.concat(tables, ignore_index=True)[["embedder", "rate", "value", "low", "high"]]


def _class(decoder: TokenDecoder, token: int) -> int | None:
    """Return a token's folded class; None where the decoder layer has no row for it: it can never be aligned."""
    return int(decoder.folded[token]) if token < decoder.vocabulary_size else None


def _members(ids: Tensor, sets: Sequence[set[int]]) -> list[bool]:
    return [token in tokens for row, tokens in zip(ids.tolist(), sets, strict=True) for token in row]


def marked_pieces(embedder: Embedder, text: str, aligned: Iterable[int]) -> list[tuple[str, bool]]:
    """Cut a text at its tokens and say which of them its own embedding aligns with.

    Parameters
    ----------
    embedder : Embedder
        The embedder to read with.
    text : str
        The text to cut.
    aligned : Iterable[int]
        Ids of its aligned tokens, such as the column ``id`` of :func:`aligned_tokens`.

    Returns
    -------
    list of (str, bool)
        The pieces, in order, joined they are the text; is the piece among the aligned tokens, case and leading space
        aside?
    """
    decoder = embedder.decoder
    classes = {_class(decoder, token) for token in aligned}
    tokens = embedder.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    pieces, done = [], 0
    for token, (start, end) in zip(tokens.input_ids, tokens.offset_mapping, strict=True):
        if start > done:
            pieces.append((text[done:start], False))
        if end > done:  # several byte tokens may share one character
            pieces.append((text[max(start, done) : end], _class(decoder, token) in classes))
            done = end
    return [*pieces, (text[done:], False)] if done < len(text) else pieces
