"""Exact search over sparse vectors, with dense and BM25 search to compare it with.

A *run* is ``{query: {document: score}}``, the best documents of each query; it is what
:mod:`~tokalign_helpers.retrieval.evaluation` judges.
"""

import json
import os
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from tokalign_helpers.basics.checks import whole_number
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.retrieval.versions import open_version, save_version

Run = dict[str, dict[str, float]]
Names = Mapping[str, object] | Sequence[str]  # of queries or documents: a mapping's keys, or a list

ARRAYS = ("data", "indices", "indptr")  # of a CSC matrix, and the names of their files


class SparseIndex:
    """Exact search over sparse vectors, by token: an inverted index that scipy calls a CSC matrix.

    A weight is a finite float32 number and not negative; a hit is a document whose score is above 0. What was added is
    inverted at the next search and merged with parts of about its size, so that each document is merged a few times
    only, however often one adds and searches. Searches may run side by side in threads; changes may not.

    Parameters
    ----------
    vocabulary_size : int
        V; vectors of another width are refused.

    Raises
    ------
    ValueError
        If V is not a whole number, 1 or more.

    Examples
    --------
    >>> from scipy import sparse
    >>> import tokalign_helpers as ta
    >>> index = ta.SparseIndex(4)
    >>> index.add(["a", "b"], sparse.csr_array([[0, 2.0, 0, 1.0], [3.0, 0, 0, 0]]))
    >>> index.search(sparse.csr_array([[1.0, 1.0, 0, 0]]))
    [[('b', 3.0), ('a', 2.0)]]
    """

    def __init__(self, vocabulary_size: int) -> None:
        vocabulary_size = whole_number(vocabulary_size, "vocabulary_size")
        self.vocabulary_size = vocabulary_size
        self._rows: dict[str, int] = {}  # in the order of adding
        self._names: list[str] = []  # by row; rows of removed documents stay until the next _compact
        self._removed = array("q")  # those rows
        self._parts: list[sparse.csr_array | sparse.csc_array] = []  # oldest first; CSC once it is inverted

    def __len__(self) -> int:
        return len(self._rows)

    @classmethod
    def of(cls, ids: Iterable[str], vectors: sparse.sparray) -> "SparseIndex":
        """Return an index of documents.

        Parameters
        ----------
        ids : Iterable[str], n of them
            One for each document, all different.
        vectors : sparse array, (n, V)
            As :meth:`add`.

        Returns
        -------
        SparseIndex

        Raises
        ------
        TypeError, ValueError
            As :meth:`add`.
        """
        index = cls(vectors.shape[1])
        index.add(ids, vectors)
        return index

    @property
    def ids(self) -> list[str]:
        """The ids of the documents, in the order of adding."""
        return list(self._rows)

    def add(self, ids: Iterable[str], vectors: sparse.sparray, *, replace: bool = False) -> None:
        """Add documents; all of them or, after an error, none.

        Parameters
        ----------
        ids : Iterable[str], n of them
            One for each document, all different.
        vectors : sparse array, (n, V)
            From :func:`~tokalign_helpers.retrieval.sparse.sparsify_documents`. A copy is kept.
        replace : bool
            Whether a document whose id is in the index replaces the old one. It counts as newly added: among
            equal scores it comes last.

        Raises
        ------
        TypeError
            If an id is not a string, or the vectors are not sparse.
        ValueError
            If an id occurs twice, or is in the index and `replace` is not set, the numbers of ids and rows differ, the
            width is not V, or a weight is negative, NaN, infinite or too large for float32.
        """
        ids, vectors = check_documents(ids, vectors, self.vocabulary_size, () if replace else self._rows)
        self._forget([name for name in ids if name in self._rows])
        self._rows.update(zip(ids, range(len(self._names), len(self._names) + len(ids)), strict=True))
        self._names += ids
        self._parts.append(vectors)

    def remove(self, ids: Iterable[str]) -> None:
        """Remove documents; all of them or, after an error, none.

        Parameters
        ----------
        ids : Iterable[str]
            Ids of documents.

        Raises
        ------
        TypeError
            If an id is not a string.
        ValueError
            If there is no such document, or an id is given twice.
        """
        ids = check_ids(ids)
        for name in ids:
            self._row_of(name)
        self._forget(ids)

    def search(
        self, queries: sparse.sparray, k: int = 10, *, workers: int | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return the k best documents of each query. Exact: no document is skipped.

        Parameters
        ----------
        queries : sparse array, (n, V)
            From :func:`~tokalign_helpers.retrieval.sparse.sparsify_queries`.
        k : int
            How many documents to return for each query.
        workers : int, optional
            Threads that share the queries. Default: one for each core.

        Returns
        -------
        list of lists of (id, score), best first
            Documents that share no token with the query are left out; equal scores are in the order of adding.

        Raises
        ------
        TypeError
            If the queries are not sparse.
        ValueError
            If the width is not V, k or the number of threads is not a whole number, 1 or more, or a weight is
            negative, NaN, infinite or too large for float32.
        """
        queries = check_queries(queries, self.vocabulary_size, k)
        workers = (os.cpu_count() or 1) if workers is None else whole_number(workers, "workers")
        parts, removed = self._inverted(), np.array(self._removed)

        def one(place: int) -> list[tuple[str, float]]:
            here = slice(queries.indptr[place], queries.indptr[place + 1])
            scores = _scores(parts, queries.indices[here], queries.data[here])
            scores[removed] = 0
            return [(self._names[i], float(scores[i])) for i in best_places(scores, k) if scores[i] > 0]

        places = range(queries.shape[0])
        if len(places) == 1 or workers == 1:
            return [one(place) for place in places]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(one, places))

    def explain(self, query: sparse.sparray, document: str, decoder: TokenDecoder) -> pd.DataFrame:
        """Show which tokens made a document match.

        Parameters
        ----------
        query : sparse array, (1, V)
            The sparse vector of one query.
        document : str
            Its id.
        decoder : TokenDecoder
            The decoder layer that names and scores the tokens.

        Returns
        -------
        DataFrame
            ``token``, ``query`` and ``document`` (their weights), ``score`` (the product), largest first; the scores
            add up to the document's.

        Raises
        ------
        TypeError
            If the query is not sparse.
        ValueError
            If there is no such document, there is not one query, its width is not V, or a weight is not valid.
        """
        row = self._row_of(document)
        query = check_queries(query, self.vocabulary_size)
        if query.shape[0] != 1:
            raise ValueError(f"{query.shape[0]} queries were given; explain one at a time, such as queries[[0]]")
        for part in self._inverted():
            if row < part.shape[0]:
                break
            row -= part.shape[0]
        weights = part[:, query.indices][[row], :].toarray()[0]
        table = pd.DataFrame(
            [
                (decoder.token(token), asked, held, asked * held)
                for token, asked, held in zip(
                    query.indices.tolist(), query.data.tolist(), weights.tolist(), strict=True
                )
                if held
            ],
            columns=["token", "query", "document", "score"],
        )
        return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder. A new version takes over in one step; the old one is readable until then.

        Parameters
        ----------
        folder : str or Path
            New, empty, or with an index in it, which is replaced; other files in it stay.

        Raises
        ------
        ValueError
            If the folder has something in it but no index; nothing is touched.
        OSError
            If the disk refuses; an index that was there before stays.
        """
        matrix = self._compact()

        def write(version: Path) -> None:
            for name in ARRAYS:
                np.save(version / f"{name}.npy", getattr(matrix, name), allow_pickle=False)
            (version / "ids.json").write_text(json.dumps(self.ids), encoding="utf-8")

        save_version(Path(folder), write, {"vocabulary_size": self.vocabulary_size, "documents": len(self)})

    @classmethod
    def load(cls, folder: str | Path, vocabulary_size: int | None = None, *, verify: bool = True) -> "SparseIndex":
        """Open a saved index; its arrays are mapped into memory, not read.

        Parameters
        ----------
        folder : str or Path
            Where the index was saved.
        vocabulary_size : int, optional
            What the caller's decoder has, to be checked.
        verify : bool
            Whether to compare checksums, which reads all files once. Without it a changed weight goes unnoticed; sizes,
            shapes, bounds and ids are always checked. A million documents of 100 tokens, 0.8 GB, take 1.1 s with
            checksums and 0.6 s without (``make bench ONLY=growth``).

        Returns
        -------
        SparseIndex

        Raises
        ------
        ValueError
            If there is no index, a file is missing, cut short or changed, or the index is of another vocabulary.
        """

        def read(version: Path, about: dict) -> SparseIndex:
            width, n = (
                whole_number(about.get(name), f"{version.parent}: {name}", least)
                for name, least in (("vocabulary_size", 1), ("documents", 0))
            )
            if vocabulary_size not in (None, width):
                raise ValueError(
                    f"the index in {folder} has {width} tokens, not {vocabulary_size}: it is another model's"
                )
            index = cls(width)
            index._names = _read_ids(version / "ids.json", n)
            index._rows = {name: row for row, name in enumerate(index._names)}
            index._parts = [_read_columns(version, (len(index._names), width))]
            return index

        return open_version(Path(folder), [*(f"{name}.npy" for name in ARRAYS), "ids.json"], read, verify=verify)

    def _row_of(self, document: str) -> int:
        if document not in self._rows:
            raise ValueError(f"no document {document!r} in the index")
        return self._rows[document]

    def _forget(self, ids: list[str]) -> None:
        self._removed.extend(self._rows.pop(name) for name in ids)
        if len(self._names) > 2 * len(self._rows):  # each compaction is paid for by as many removals
            self._compact()

    def _inverted(self) -> list[sparse.csc_array]:
        """Invert what was added, and merge: a part is at least twice as large as the one after it."""
        parts = [part for part in self._parts if part.format == "csc"]
        added = [part for part in self._parts if part.format == "csr"]
        if added:
            parts.append(sparse.vstack(added, format="csr").tocsc())
            while len(parts) > 1 and _size(parts[-2]) < 2 * _size(parts[-1]):
                parts[-2:] = [sparse.vstack(parts[-2:], format="csc")]
            self._parts = parts  # in one step: searches side by side come to the same
        return parts

    def _compact(self) -> sparse.csc_array:
        """Make one matrix of all parts, without removed documents."""
        empty = sparse.csc_array((0, self.vocabulary_size), dtype=np.float32)
        parts = self._inverted() or [empty]
        matrix = parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csc")
        if len(self._names) > len(self._rows):
            matrix = matrix[np.array(list(self._rows.values()), dtype=np.int32), :]
            self._names = list(self._rows)
            self._rows = {name: row for row, name in enumerate(self._names)}
            self._removed = array("q")
        self._parts = [matrix]
        return matrix


def check_ids(ids: Iterable[object], known: Collection[str] = ()) -> list[str]:
    """Check the ids of documents; every engine takes and refuses the same.

    Parameters
    ----------
    ids : Iterable[str]
        Ids of documents.
    known : Collection[str]
        Ids that are already in use.

    Returns
    -------
    list[str]

    Raises
    ------
    TypeError
        If an id is not a string.
    ValueError
        If an id is taken or occurs twice.
    """
    if isinstance(ids, str):
        raise TypeError(f"ids is the str {ids!r}; give a list of them")
    found: dict[str, None] = {}  # a set that keeps the order
    for position, name in enumerate(ids):
        if not isinstance(name, str):
            raise TypeError(f"ids[{position}] is {name!r}; a document's id must be a str")
        if name in known or name in found:
            raise ValueError(f"ids[{position}] is {name!r}, which is already in use; ids must differ")
        found[str(name)] = None
    return list(found)


def check_documents(
    ids: Iterable[str], vectors: sparse.sparray, width: int, known: Collection[str] = ()
) -> tuple[list[str], sparse.csr_array]:
    """Check documents for an index, and bring them to one form; every engine takes and refuses the same.

    Parameters
    ----------
    ids : Iterable[str], n of them
        One for each document, all different.
    vectors : sparse array, (n, width)
        In any of scipy's formats. A weight is a finite float32 number and not negative.
    width : int
        V of the index.
    known : Collection[str]
        Ids that are already in use.

    Returns
    -------
    ids : list[str]
    vectors : csr_array, (n, width), float32
        A copy: columns ascending, each once, no zeros.

    Raises
    ------
    TypeError
        If an id is not a string, or the vectors are not sparse.
    ValueError
        If an id is taken or occurs twice, the numbers of ids and rows differ, the width differs, or a weight is
        negative, NaN, infinite or too large for float32.
    """
    ids = check_ids(ids, known)
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
        If the width differs, k is not a whole number, 1 or more, or a weight is not valid.
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
        The numbers to rank.
    k : int
        How many places to return.

    Returns
    -------
    ndarray, (min(k, n),)

    Raises
    ------
    ValueError
        If k is not a whole number, 1 or more.
    """
    k = whole_number(k, "k")
    if k < len(scores):
        height = max(1, min(64, len(scores) // (4 * k)))
        heads = scores[: len(scores) // height * height].reshape(height, -1).max(axis=0)  # the best of each group
        bound = np.partition(heads, len(heads) - k)[len(heads) - k]  # k of them, so k scores at least, reach it
        places = np.flatnonzero(scores >= bound)
    else:
        places = np.arange(len(scores))
    return places[np.argsort(-scores[places], kind="stable")][:k]


def sparse_run(queries: Names, index: SparseIndex, *, q: sparse.csr_array, k: int = 100) -> Run:
    """Search by the sparse vectors of queries in an index.

    Parameters
    ----------
    queries : Mapping or Sequence of str
        Names, in the order of the rows of q.
    index : SparseIndex
        With the documents in it.
    q : csr_array, (n, V)
        From :func:`~tokalign_helpers.retrieval.sparse.sparsify_queries`.
    k : int
        How many documents of each query.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If two queries have the same name, or there are not as many as rows; or as :meth:`SparseIndex.search`.

    Examples
    --------
    >>> from scipy import sparse
    >>> import tokalign_helpers as ta
    >>> index = ta.SparseIndex.of(["a", "b"], sparse.csr_array([[0, 2.0], [3.0, 0]]))
    >>> ta.sparse_run(["q"], index, q=sparse.csr_array([[1.0, 0]]))
    {'q': {'b': 3.0}}
    """
    names = _distinct(queries, q.shape[0], "queries")
    return {name: dict(hits) for name, hits in zip(names, index.search(q, k), strict=True)}


def dense_run(queries: Names, documents: Names, *, q: Tensor, h: Tensor, k: int = 100) -> Run:
    """Search by the cosine of embeddings, exactly.

    Parameters
    ----------
    queries : Mapping or Sequence of str
        Names, in the order of the rows of q.
    documents : Mapping or Sequence of str
        Names, in the order of the rows of h.
    q : Tensor, (n, d)
        Embeddings of the queries.
    h : Tensor, (m, d)
        Embeddings of the documents.
    k : int
        How many documents of each query.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If two documents or queries have the same name, there are not as many as rows, q and h are not matrices of the
        same width, an embedding holds NaN or Inf, or k is less than 1.

    Examples
    --------
    >>> import torch
    >>> import tokalign_helpers as ta
    >>> q, h = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> ta.dense_run(["q"], ["a", "b"], q=q, h=h)
    {'q': {'a': 1.0, 'b': 0.0}}
    """
    if q.ndim != 2 or h.ndim != 2 or q.shape[1] != h.shape[1]:
        raise ValueError(f"q has the shape {tuple(q.shape)} and h {tuple(h.shape)}; expected (n, d) and (m, d)")
    asking, names = _distinct(queries, len(q), "queries"), _distinct(documents, len(h), "documents")
    for what, vectors in (("query", q), ("document", h)):
        if not torch.isfinite(vectors).all():
            bad = int((~torch.isfinite(vectors)).any(dim=1).nonzero()[0])
            raise ValueError(f"the embedding of {what} {(asking if vectors is q else names)[bad]!r} holds NaN or Inf")
    scores = (torch.nn.functional.normalize(q, dim=1) @ torch.nn.functional.normalize(h, dim=1).T).numpy()
    return {
        query: {names[i]: float(row[i]) for i in best_places(row, k)} for query, row in zip(asking, scores, strict=True)
    }


def bm25_run(queries: Mapping[str, str], documents: Mapping[str, str], *, k: int = 100) -> Run:
    """Search by BM25 over words (bm25s with Lucene's variant, k1 = 1.5, b = 0.75, English stop words left out).

    Parameters
    ----------
    queries, documents : Mapping[str, str]
        Name → text.
    k : int
        How many documents to return for each query.

    Returns
    -------
    Run
        Documents without a word of the query are left out: all of them where there is no document, or none with a word
        that is no stop word.

    Raises
    ------
    TypeError
        If a document or a query is not a string.
    ValueError
        If k is not a whole number, 1 or more.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> documents = {"birds": "Parrots eat seeds.", "sea": "The sea is calm."}
    >>> list(ta.bm25_run({"q": "What do parrots eat?"}, documents)["q"])
    ['birds']
    """
    import bm25s

    k = whole_number(k, "k")
    for what, texts in (("document", documents), ("query", queries)):
        for name, text in texts.items():
            if not isinstance(text, str):
                raise TypeError(f"the {what} {name!r} is {text!r:.80}; every text must be a str")
    names = list(documents)
    split = lambda texts: bm25s.tokenize(list(texts), stopwords="en", return_ids=False, show_progress=False)  # noqa: E731
    engine, words_of = bm25s.BM25(method="lucene"), split(documents.values())
    if not any(words_of):  # bm25s cannot make an index of no word at all
        return {query: {} for query in queries}
    engine.index(words_of, show_progress=False)
    run: Run = {}
    for query, words in zip(queries, split(queries.values()), strict=True):
        scores = engine.get_scores(words) if words else np.zeros(len(names))
        run[query] = {names[i]: float(scores[i]) for i in best_places(scores, k) if scores[i] > 0}
    return run


def _distinct(names: Iterable[str], rows: int, what: str) -> list[str]:
    names = list(names)
    if len(names) != rows:
        raise ValueError(f"{len(names)} names for the {what} came with {rows} rows")
    if len(set(names)) != rows:
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two {what} are called {twice!r}; names must differ")
    return names


def _scores(parts: Sequence[sparse.csc_array], tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Add up the columns of a query's tokens: (n,), float64."""
    weights = weights.astype(np.float64)
    found = [part[:, tokens] @ weights for part in parts]
    return found[0] if len(found) == 1 else np.concatenate([np.zeros(0), *found])


def _size(part: sparse.csc_array) -> int:
    return part.nnz + part.shape[0]


def _read_ids(file: Path, n: int) -> list[str]:
    try:
        ids = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(ids, list) or len(check_ids(ids)) != n:
            raise ValueError(f"it does not hold {n} ids")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} was changed: {error}; build the index again") from error
    return ids


def _read_columns(version: Path, shape: tuple[int, int]) -> sparse.csc_array:
    """Map the arrays of a CSC matrix; nothing in them may lead scipy's loops out of bounds."""
    try:
        data, indices, indptr = (np.load(version / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
    except FileNotFoundError:
        raise
    except Exception as error:  # a broken header comes out of numpy as any of ten kinds of error
        raise ValueError(f"{version} holds a broken array ({error}); build the index again") from error
    sound = (
        data.dtype == np.float32
        and indices.dtype == indptr.dtype
        and indices.dtype in (np.int32, np.int64)
        and data.shape == indices.shape == (data.size,)
        and indptr.shape == (shape[1] + 1,)
        and indptr[0] == 0
        and indptr[-1] == data.size
        and (indptr[:-1] <= indptr[1:]).all()
        and (data.size == 0 or (indices.min() >= 0 and indices.max() < shape[0]))
    )
    if not sound:
        raise ValueError(f"{version} holds arrays that make no index of {shape[0]} documents; build it again")
    return sparse.csc_array((data, indices, indptr), shape=shape, copy=False)


def _canonical(vectors: sparse.sparray, name_of: Callable[[int], str]) -> sparse.csr_array:
    """Copy to float32 CSR with sorted columns, each once and above 0; refuse what is not a weight."""
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
            raise ValueError(f"the vectors are not a valid {vectors.format.upper()} matrix: {error}") from None
    rows = vectors if vectors.format == "csr" else vectors.astype(np.float64).tocsr()  # which may add up integers
    small = max(*rows.shape, rows.nnz) <= np.iinfo(np.int32).max
    places = [part.astype(np.int32 if small else np.int64) for part in (rows.indices, rows.indptr)]
    rows = sparse.csr_array((rows.data, *places), shape=rows.shape)  # again: flags that the caller's carries may be old
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
    rows.data = data
    if not data.all():
        rows.eliminate_zeros()
    return rows
