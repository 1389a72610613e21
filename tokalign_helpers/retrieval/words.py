"""BM25 as sparse vectors over words, so that words and tokens can stand side by side in one index.

BM25 is a sum over the words of a query, and what a word adds depends on the document alone. So it is a sparse dot
product like any other: documents hold a weight for each of their words, queries count theirs. Put beside the columns
of the vocabulary, one search in one engine gives the convex fusion of both.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tokalign_helpers.basics.checks import check_texts, shown


@dataclass(frozen=True, eq=False)
class WordColumns:
    """The words of a collection as columns, with BM25's weights. Make them with :meth:`fit`.

    Parameters
    ----------
    columns : dict[str, int]
        Word → column, W of them.
    documents : csr_array, (n, W), float32
        What each word adds to the score of each document.
    bounds : ndarray, (W,), float32
        The most that a word adds to the score of any document.
    """

    columns: dict[str, int]
    documents: sparse.csr_array
    bounds: np.ndarray

    @classmethod
    def fit(cls, documents: Sequence[str]) -> "WordColumns":
        """Weigh the words of documents as :func:`~tokalign_helpers.retrieval.index.bm25_run` does.

        Parameters
        ----------
        documents : Sequence[str], n of them

        Returns
        -------
        WordColumns

        Raises
        ------
        TypeError, ValueError
            If the documents are not texts, or none has a word that is not a stop word.
        """
        import bm25s

        split = _words(documents)
        if not any(split):
            raise ValueError(f"no document holds a word to search for; the first is {shown(next(iter(documents), ''))}")
        engine = bm25s.BM25(method="lucene")
        engine.index(split, show_progress=False)
        columns = {word: column for word, column in engine.vocab_dict.items() if word}
        parts = (engine.scores[name] for name in ("data", "indices", "indptr"))
        width = len(engine.scores["indptr"]) - 1
        found = sparse.csc_array(tuple(parts), shape=(len(split), width)).tocsr()
        return cls(columns, found, np.asarray(found.max(axis=0).todense(), dtype=np.float32).ravel())

    def queries(self, texts: Sequence[str]) -> sparse.csr_array:
        """Return queries whose scores lie between 0 and 1, in BM25's order.

        Parameters
        ----------
        texts : Sequence[str], n of them

        Returns
        -------
        csr_array, (n, W), float32
            How often each word stands in the query, divided by what its words could add up to at most. Words that no
            document holds are left out.
        """
        rows, columns, values = [], [], []
        for row, words in enumerate(_words(texts)):
            counts = Counter(self.columns[word] for word in words if word in self.columns)
            most = sum(count * float(self.bounds[column]) for column, count in counts.items())
            for column, count in counts.items():
                rows.append(row)
                columns.append(column)
                values.append(count / most)
        places = (np.array(rows, dtype=np.int32), np.array(columns, dtype=np.int32))
        matrix = sparse.csr_array((np.array(values, np.float32), places), shape=(len(texts), len(self.bounds)))
        matrix.sort_indices()
        return matrix


def side_by_side(tokens: sparse.csr_array, words: sparse.csr_array, *, weight: float | None = None) -> sparse.csr_array:
    """Put the columns of words behind those of tokens: one vector, one index, one search.

    Parameters
    ----------
    tokens : csr_array, (n, V)
    words : csr_array, (n, W)
    weight : float, from 0 to 1, optional
        Of queries: how much the tokens count; the words count 1 − weight. Documents take none, so that the weight can
        be changed without indexing them again.

    Returns
    -------
    csr_array, (n, V + W), float32

    Raises
    ------
    ValueError
        If there are not as many rows of the one as of the other, or the weight is out of range.
    """
    if tokens.shape[0] != words.shape[0]:
        raise ValueError(f"{tokens.shape[0]} rows of tokens came with {words.shape[0]} rows of words")
    if weight is None:
        return sparse.hstack([tokens, words], format="csr")
    if not isinstance(weight, int | float | np.floating) or not 0 <= weight <= 1:
        raise ValueError(f"the weight is {shown(weight)}; it must be from 0 (words alone) to 1 (tokens alone)")
    return sparse.hstack([np.float32(weight) * tokens, np.float32(1 - weight) * words], format="csr")


def _words(texts: Sequence[str]) -> list[list[str]]:
    import bm25s

    return bm25s.tokenize(check_texts(texts), stopwords="en", return_ids=False, show_progress=False)
