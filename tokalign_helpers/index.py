"""Search: exact, over sparse vectors; with dense and BM25 search beside it to compare with.

A *run* is ``{query: {document: score}}``, the best documents of each query; it is what
:mod:`~tokalign_helpers.evaluation` judges.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from tokalign_helpers.checks import whole_number
from tokalign_helpers.decoding import TokenDecoder

Run = dict[str, dict[str, float]]


class SparseIndex:
    """Exact search over sparse vectors, by token: an inverted index that scipy calls a CSC matrix.

    Parameters
    ----------
    vocabulary_size : int
        V; vectors of another width are refused.
    """

    def __init__(self, vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size
        self.ids: list[str] = []
        self._known: set[str] = set()
        self._parts: list[sparse.csr_array] = []
        self._inverted: sparse.csc_array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: Sequence[str], vectors: sparse.csr_array) -> None:
        """Add documents; all of them or, after an error, none.

        Parameters
        ----------
        ids : Sequence[str], n of them
        vectors : csr_array, (n, V)
            From :func:`~tokalign_helpers.sparse.sparsify_documents`.

        Raises
        ------
        TypeError
            If an id is no string.
        ValueError
            If an id is there already or twice, the numbers of ids and rows differ, or the width is not V.
        """
        ids, vectors = check_documents(ids, vectors, self.vocabulary_size, self._known)
        self.ids += ids
        self._known.update(ids)
        self._parts.append(vectors)
        self._inverted = None

    def search(
        self, queries: sparse.csr_array, k: int = 10, *, workers: int | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return the k best documents of each query. Exact: no document is skipped.

        Parameters
        ----------
        queries : csr_array, (n, V)
            From :func:`~tokalign_helpers.sparse.sparsify_queries`.
        k : int
        workers : int, optional
            Threads that share the queries. Default: one a core.

        Returns
        -------
        list of lists of (id, score), best first
            Documents that share no token with the query are left out; equal scores stand in the order of adding.

        Raises
        ------
        ValueError
            If the width is not V, or k is no whole number from 1 on.
        """
        queries = check_queries(queries, self.vocabulary_size, k)
        inverted = self._columns()
        spans = list(zip(queries.indptr[:-1], queries.indptr[1:], strict=True))

        def one(span: tuple[int, int]) -> list[tuple[str, float]]:
            here = slice(*span)
            return self._best(_scores(inverted, queries.indices[here], queries.data[here]), k)

        if len(spans) == 1 or workers == 1:
            return [one(span) for span in spans]
        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            return list(pool.map(one, spans))

    def explain(self, query: sparse.csr_array, document: str, decoder: TokenDecoder) -> pd.DataFrame:
        """Say which tokens made a document match.

        Parameters
        ----------
        query : csr_array, (1, V)
        document : str
            Its id.
        decoder : TokenDecoder

        Returns
        -------
        DataFrame
            ``token``, ``query`` and ``document`` (their weights), ``score`` (the product), largest first; the scores
            add up to the document's.

        Raises
        ------
        ValueError
            If there is no such document.
        """
        if document not in self._known:
            raise ValueError(f"no document {document!r} in the index")
        row = self._columns()[[self.ids.index(document)], :].tocoo()
        weights = dict(zip(row.coords[1].tolist(), row.data.tolist(), strict=True))
        query = sparse.csr_array(query)
        shared = [(t, w) for t, w in zip(query.indices.tolist(), query.data.tolist(), strict=True) if t in weights]
        table = pd.DataFrame(
            [(decoder.token(t), w, weights[t], w * weights[t]) for t, w in shared],
            columns=["token", "query", "document", "score"],
        )
        return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder; it appears whole or not at all.

        Parameters
        ----------
        folder : str or Path
            Replaced if it is there.
        """
        folder, inverted = Path(folder), self._columns()
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
        try:
            arrays = {"indptr": inverted.indptr, "indices": inverted.indices, "data": inverted.data}
            for name, array in arrays.items():
                np.save(staging / f"{name}.npy", array, allow_pickle=False)
            sizes = {f.name: f.stat().st_size for f in staging.iterdir()}
            about = {"vocabulary_size": self.vocabulary_size, "ids": self.ids, "sizes": sizes}
            (staging / "index.json").write_text(json.dumps(about), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | Path, vocabulary_size: int | None = None) -> "SparseIndex":
        """Open a saved index; its arrays are mapped into memory, not read.

        Parameters
        ----------
        folder : str or Path
        vocabulary_size : int, optional
            What the caller's decoder has, to be checked.

        Returns
        -------
        SparseIndex

        Raises
        ------
        ValueError
            If a file is missing or cut short, or the index is of another vocabulary.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            short = [name for name, size in about["sizes"].items() if (folder / name).stat().st_size != size]
            arrays = (
                [np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("data", "indices", "indptr")]
                if not short
                else []
            )
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{folder} holds no whole index ({error})") from error
        if short:
            raise ValueError(f"{folder} holds no whole index: {short[0]} was cut short")
        width = about["vocabulary_size"]
        if vocabulary_size not in (None, width):
            raise ValueError(f"the index in {folder} is over {width} tokens, not {vocabulary_size}: another model's")
        index = cls(width)
        index.ids, index._known = about["ids"], set(about["ids"])
        index._inverted = sparse.csc_array(tuple(arrays), shape=(len(index.ids), width), copy=False)
        return index

    def _columns(self) -> sparse.csc_array:
        if self._inverted is None or self._parts:
            parts = ([self._inverted.tocsr()] if self._inverted is not None else []) + self._parts
            empty = sparse.csr_array((0, self.vocabulary_size), dtype=np.float32)
            columns = sparse.vstack(parts or [empty], format="csr").tocsc()
            if columns.nnz < np.iinfo(np.int32).max:  # scipy keeps 8 bytes a place where one of the parts did
                columns.indices, columns.indptr = columns.indices.astype(np.int32), columns.indptr.astype(np.int32)
            self._inverted = columns
            self._parts = []
        return self._inverted

    def _best(self, scores: np.ndarray, k: int) -> list[tuple[str, float]]:
        places = best_places(scores, k)
        return [(self.ids[i], float(scores[i])) for i in places if scores[i] != 0]


def check_documents(
    ids: Iterable[str], vectors: sparse.sparray, width: int, known: Collection[str] = ()
) -> tuple[list[str], sparse.csr_array]:
    """Check documents for an index, and bring them to one form; every engine takes and refuses the same.

    Parameters
    ----------
    ids : Iterable[str], n of them
    vectors : sparse array, (n, width)
        In any of scipy's formats. A weight is a finite float32 number and not negative.
    width : int
        V of the index.
    known : Collection[str]
        Ids that are taken.

    Returns
    -------
    ids : list[str]
    vectors : csr_array, (n, width), float32
        A copy: columns ascending, each once, no zeros.

    Raises
    ------
    TypeError
        If an id is no string, or the vectors are not sparse.
    ValueError
        If an id is taken or there twice, the numbers of ids and rows differ, the width is another, or a weight is
        negative, NaN, infinite or too large for float32.
    """
    ids = _check_ids(ids, known)
    if sparse.issparse(vectors) and vectors.shape != (len(ids), width):
        raise ValueError(
            f"{len(ids)} ids came with vectors of the shape {vectors.shape}; expected ({len(ids)}, {width}): "
            "vectors of another vocabulary do not fit"
        )
    return ids, _canonical(vectors, lambda row: f"document {ids[row]!r}")


def check_queries(queries: sparse.sparray, width: int, k: int = 1) -> sparse.csr_array:
    """Check queries for an index, and bring them to one form; every engine takes and refuses the same.

    Parameters
    ----------
    queries : sparse array, (n, width)
        In any of scipy's formats, weights as for :func:`check_documents`.
    width : int
        V of the index.
    k : int
        How many documents are asked for.

    Returns
    -------
    csr_array, (n, width), float32
        A copy: columns ascending, each once, no zeros.

    Raises
    ------
    TypeError
        If the queries are not sparse.
    ValueError
        If the width is another, k is no whole number from 1, or a weight is none.
    """
    whole_number(k, "k")
    if sparse.issparse(queries) and queries.shape[-1] != width:
        raise ValueError(f"the queries are {queries.shape[-1]} wide, the index {width}")
    return _canonical(queries, lambda row: f"query {row}")


def best_places(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the places of the k largest numbers, best first; equal ones in their order.

    Parameters
    ----------
    scores : ndarray, (n,)
    k : int

    Returns
    -------
    ndarray, (min(k, n),)

    Raises
    ------
    ValueError
        If k is no whole number from 1 on.
    """
    k = whole_number(k, "k")
    if k < len(scores):
        bound = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= bound)
    else:
        places = np.arange(len(scores))
    return places[np.argsort(-scores[places], kind="stable")][:k]


def sparse_run(
    index: SparseIndex, queries: Mapping[str, object] | Sequence[str], vectors: sparse.csr_array, k: int = 100
) -> Run:
    """Search for every query.

    Parameters
    ----------
    index : SparseIndex
    queries : Mapping or Sequence of str
        Their names, in the order of the rows.
    vectors : csr_array, (n, V)
    k : int

    Returns
    -------
    Run
    """
    return {name: dict(hits) for name, hits in zip(queries, index.search(vectors, k), strict=True)}


def dense_run(
    queries: Mapping[str, object] | Sequence[str], q: Tensor, documents: Sequence[str], h: Tensor, k: int = 100
) -> Run:
    """Search by the cosine of embeddings, exactly.

    Parameters
    ----------
    queries : Mapping or Sequence of str
        Names, in the order of the rows of q.
    q : Tensor, (n, d)
    documents : Sequence of str
        Names, in the order of the rows of h.
    h : Tensor, (m, d)
    k : int

    Returns
    -------
    Run
    """
    names = list(documents)
    scores = (torch.nn.functional.normalize(q, dim=1) @ torch.nn.functional.normalize(h, dim=1).T).numpy()
    return {
        query: {names[i]: float(row[i]) for i in best_places(row, k)}
        for query, row in zip(queries, scores, strict=True)
    }


def bm25_run(queries: Mapping[str, str], documents: Mapping[str, str], k: int = 100) -> Run:
    """Search by BM25 over words (bm25s with Lucene's variant, k1 = 1.5, b = 0.75, English stop words left out).

    Parameters
    ----------
    queries, documents : Mapping[str, str]
        Name → text.
    k : int

    Returns
    -------
    Run
        Documents without a word of the query are left out.
    """
    names = list(documents)
    import bm25s

    split = lambda texts: bm25s.tokenize(list(texts), stopwords="en", return_ids=False, show_progress=False)  # noqa: E731
    engine = bm25s.BM25(method="lucene")
    engine.index(split(documents.values()), show_progress=False)
    run: Run = {}
    for query, words in zip(queries, split(queries.values()), strict=True):
        scores = engine.get_scores(words) if words else np.zeros(len(names))
        run[query] = {names[i]: float(scores[i]) for i in best_places(scores, k) if scores[i] > 0}
    return run


def _scores(inverted: sparse.csc_array, tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Add up the columns of a query's tokens: (n,), float64."""
    return inverted[:, tokens] @ weights.astype(np.float64)


def _check_ids(ids: Iterable[object], known: Collection[str]) -> list[str]:
    if isinstance(ids, str):
        raise TypeError(f"ids is the str {ids!r}; give a list of them")
    found: dict[str, None] = {}  # a set that keeps the order
    for position, name in enumerate(ids):
        if not isinstance(name, str):
            raise TypeError(f"ids[{position}] is {name!r}; a document's id must be a str")
        if name in known or name in found:
            raise ValueError(f"ids[{position}] is {name!r}, which is there already; ids must differ")
        found[str(name)] = None
    return list(found)


def _canonical(vectors: sparse.sparray, name_of: Callable[[int], str]) -> sparse.csr_array:
    """Copy to float32 CSR with sorted columns, each once and above 0; refuse what is no weight."""
    if not sparse.issparse(vectors):
        raise TypeError(f"the vectors are a {type(vectors).__name__}; expected a sparse array of scipy's")
    if vectors.ndim != 2 or vectors.dtype.kind not in "buif":
        raise ValueError(
            f"the vectors have {vectors.ndim} dimensions and hold {vectors.dtype}; expected 2 and real numbers"
        )
    if hasattr(vectors, "check_format"):  # scipy's loops in C trust the places of a matrix made by hand
        try:
            vectors.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(f"the vectors are no valid {vectors.format.upper()} matrix: {error}") from None
    rows = vectors if vectors.format == "csr" else vectors.astype(np.float64).tocsr()  # which may add up integers
    small = max(*rows.shape, rows.nnz) <= np.iinfo(np.int32).max
    places = [part.astype(np.int32 if small else np.int64) for part in (rows.indices, rows.indptr)]
    rows = sparse.csr_array((rows.data, *places), shape=rows.shape)  # anew: flags that the caller's carries may be old
    if not rows.has_canonical_format:
        rows = rows.astype(np.float64)  # small integers would overflow in the sum
        rows.sum_duplicates()
    with np.errstate(over="ignore"):
        data = rows.data.astype(np.float32)
    wrong = np.flatnonzero(~((data >= 0) & (data < np.inf)))
    if len(wrong):
        row = int(np.searchsorted(rows.indptr, wrong[0], side="right")) - 1
        raise ValueError(
            f"{name_of(row)}: the weight of token {rows.indices[wrong[0]]} is {rows.data[wrong[0]]:g}; "
            "a weight must be a finite float32 number and not negative"
        )
    rows = sparse.csr_array((data, rows.indices, rows.indptr), shape=rows.shape)
    if not data.all():
        rows.eliminate_zeros()
    return rows
