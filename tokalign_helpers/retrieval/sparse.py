"""Embeddings → sparse vectors over the vocabulary; queries → token sets (paper, section 5). No training.

Sparse vectors are scipy's ``csr_array``: one row for each text, one column for each token. Documents keep their K best
aligned tokens; queries are their literal tokens plus M aligned ones; the score of a pair is one sparse dot product.

No weight is negative. A token whose score is not above 0 does not align with the text, so it is left out even where K
would have room for it: inverted indexes say "not in this document" with 0, a hit is a document whose score is above 0,
and engines such as Milvus or Elasticsearch's rank_features take no negative weights.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from tokalign_helpers.basics.checks import whole_number
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.retrieval.index import Run, SparseIndex, sparse_run

PORTION = 4096  # embeddings made sparse at a time: 50 MB of tokens and scores at k = 1,000

WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "raw": lambda scores: np.maximum(scores, 0),  # the paper's; it does not say what happens to negative scores
    "log": lambda scores: np.log1p(np.maximum(scores, 0)),  # as SPLADE: a strong token counts, but not alone
}


def sparsify_documents(decoder: TokenDecoder, h: Tensor, k: int = 1000, *, weights: str = "log") -> sparse.csr_array:
    """Keep the k best aligned tokens of each embedding.

    Parameters
    ----------
    decoder : TokenDecoder
        The decoder layer that names and scores the tokens.
    h : Tensor, (n, d)
        Any adjustment comes before; see :mod:`~tokalign_helpers.reading.spectrum`.
    k : int, from 1 to V
        How many tokens to keep for each document.
    weights : str
        ``raw``: the scores, as in the paper, where they are above 0. ``log``: log(1 + score) of those.

    Returns
    -------
    csr_array, (n, V), float32
        At most k non-zeros in each row, all above 0; columns ascending.

    Raises
    ------
    ValueError
        If the weights are unknown, or as :meth:`TokenDecoder.top_tokens`.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> embedder = ta.load_embedder("smol-sim")
    >>> vectors = ta.sparsify_documents(embedder.decoder, embedder.embed(["Parrots eat seeds."]), k=5)
    >>> vectors.shape, vectors.nnz
    ((1, 49152), 5)
    """
    if weights not in WEIGHTS:
        raise ValueError(f"unknown weights {weights!r}; known: {', '.join(WEIGHTS)}")
    return best_tokens(decoder, h, k, WEIGHTS[weights])


def best_tokens(
    decoder: TokenDecoder,
    h: Tensor,
    k: int,
    weigh: Callable[[np.ndarray], np.ndarray],
    change: Callable[[Tensor], Tensor] = lambda h: h,
) -> sparse.csr_array:
    """Keep of each embedding its k best tokens, weighted; `PORTION` embeddings at a time.

    Beside the result itself, memory holds one portion, whatever n is.

    Parameters
    ----------
    decoder : TokenDecoder
    h : Tensor, (n, d)
    k : int, from 1 to V
    weigh : Callable
        Scores → weights of the same shape, none negative; a weight of 0 leaves the token out.
    change : Callable
        (n, d) → (n, d), applied to each portion of the embeddings before they are decoded.

    Returns
    -------
    csr_array, (n, V), float32
        Columns ascending.

    Raises
    ------
    ValueError
        As :meth:`TokenDecoder.top_tokens`.
    """
    k = whole_number(k, "k", 1, decoder.vocabulary_size, called="V")
    places = np.int32 if len(h) * k <= np.iinfo(np.int32).max else np.int64
    data, columns = np.empty(len(h) * k, dtype=np.float32), np.empty(len(h) * k, dtype=places)
    ends, filled = np.zeros(len(h) + 1, dtype=places), 0
    for start in range(0, max(1, len(h)), PORTION):  # once for no embeddings too: their width may be wrong
        ids, scores = decoder.top_tokens(change(h[start : start + PORTION]), k)
        ids, order = ids.sort(dim=1)
        weights = weigh(scores.gather(1, order).numpy()).astype(np.float32)
        kept = weights != 0
        counts = np.count_nonzero(kept, axis=1)
        ends[start + 1 : start + 1 + len(ids)] = filled + np.cumsum(counts)
        here = slice(filled, filled := filled + int(counts.sum()))
        data[here], columns[here] = weights[kept], ids.numpy()[kept]
    return sparse.csr_array((data[:filled], columns[:filled], ends), shape=(len(h), decoder.vocabulary_size))


def unit_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    """Bring every row to length 1; a row without tokens stays empty.

    Parameters
    ----------
    matrix : csr_array, (n, V)
        Changed in place, so that no second copy is held.

    Returns
    -------
    csr_array, (n, V)
        The same matrix.
    """
    from sklearn.preprocessing import normalize

    if matrix.shape[0]:
        normalize(matrix, copy=False)
    return matrix


def sparsify_queries(
    decoder: TokenDecoder,
    literal: Sequence[set[int]],
    h: Tensor | None = None,
    m: int = 0,
    *,
    importance: np.ndarray | None = None,
    expansion: float = 1.0,
) -> sparse.csr_array:
    """Represent each query by its literal tokens and its m best aligned ones.

    Parameters
    ----------
    decoder : TokenDecoder
        The decoder layer that names and scores the tokens.
    literal : Sequence[set[int]], n of them
        From :meth:`Embedder.literal_tokens`.
    h : Tensor, (n, d), optional
        Embeddings of the queries; needed for m > 0.
    m : int, from 0 to V
        How many aligned tokens to add to each query.
    importance : ndarray, (V,), optional
        A weight for every token, such as :func:`token_importance`; none negative. Default: 1, as in the paper.
    expansion : float
        Weight of a token that is aligned but not literal; not negative.

    Returns
    -------
    csr_array, (n, V), float32

    Raises
    ------
    ValueError
        If m is out of range, m > 0 without embeddings, a token is not of the vocabulary, or a weight is negative, not
        finite or too large for float32.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> embedder, queries = ta.load_embedder("smol-sim"), ["What do parrots eat?"]
    >>> literal = embedder.literal_tokens(queries)
    >>> ta.sparsify_queries(embedder.decoder, literal).nnz == len(literal[0])
    True
    """
    m = whole_number(m, "m", 0, decoder.vocabulary_size, called="V")
    if m and (h is None or len(h) != len(literal)):
        raise ValueError("m > 0 needs aligned tokens: give one embedding for each query")
    if not 0 <= expansion < np.inf:
        raise ValueError(f"expansion is {expansion}; a weight must be finite and not negative")
    if importance is not None:
        importance = np.asarray(importance)
        if importance.shape != (decoder.vocabulary_size,):
            raise ValueError(f"importance has the shape {importance.shape}; expected ({decoder.vocabulary_size},)")
        wrong = np.flatnonzero(~((importance >= 0) & (importance < np.inf)))
        if len(wrong):
            raise ValueError(
                f"importance[{wrong[0]}] is {importance[wrong[0]]}; a weight must be finite and not negative"
            )
    aligned = [[]] * len(literal) if h is None or not m else decoder.top_tokens(h, m)[0].tolist()
    weight = [
        dict.fromkeys(more, expansion) | dict.fromkeys(own, 1.0) for own, more in zip(literal, aligned, strict=True)
    ]
    rows = np.repeat(np.arange(len(weight)), [len(tokens) for tokens in weight])
    columns = np.array([token for tokens in weight for token in tokens], dtype=np.int64)
    _check_tokens(columns, decoder.vocabulary_size)
    with np.errstate(over="ignore"):
        values = np.array([value for tokens in weight for value in tokens.values()], dtype=np.float32)
        if importance is not None:
            values = (values * importance[columns]).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("a token weighs more than float32 can hold; lower expansion or importance")
    return _rows(rows, columns, values, (len(weight), decoder.vocabulary_size))


def aligned_vectors(
    literal: Sequence[set[int]],
    *,
    decoder: TokenDecoder,
    q: Tensor,
    h: Tensor,
    k: int = 1000,
    m: int = 100,
    weights: str = "raw",
    importance: np.ndarray | None = None,
    expansion: float = 1.0,
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Sparsify both sides of a search. The defaults are the paper's.

    Parameters
    ----------
    literal : Sequence[set[int]], n of them
        Literal tokens of the queries, from :meth:`Embedder.literal_tokens`.
    decoder : TokenDecoder
        The decoder layer that names and scores the tokens.
    q : Tensor, (n, d)
        Embeddings of the queries.
    h : Tensor, (m, d)
        Embeddings of the documents.
    k, weights
        As :func:`sparsify_documents`.
    m, importance, expansion
        As :func:`sparsify_queries`.

    Returns
    -------
    queries : csr_array, (n, V), float32
    documents : csr_array, (m, V), float32

    Raises
    ------
    ValueError
        As :func:`sparsify_documents` and :func:`sparsify_queries`.
    """
    asked = sparsify_queries(decoder, literal, q, m, importance=importance, expansion=expansion)
    return asked, sparsify_documents(decoder, h, k, weights=weights)


def aligned_run(
    queries: Mapping[str, set[int]],
    documents: Iterable[str],
    *,
    decoder: TokenDecoder,
    q: Tensor,
    h: Tensor,
    **settings: Any,
) -> Run:
    """Search with aligned tokens from end to end: sparsify both sides, index, search. The defaults are the paper's.

    Parameters
    ----------
    queries : Mapping[str, set[int]], n of them
        Name → literal tokens.
    documents : Mapping or Sequence of str
        Names, in the order of the rows of h.
    decoder, q, h
        As :func:`aligned_vectors`.
    **settings
        ``k``, ``m``, ``weights``, ``importance``, ``expansion``, as :func:`aligned_vectors`.

    Returns
    -------
    Run
        The 100 best documents of each query.

    Raises
    ------
    ValueError
        As :func:`aligned_vectors`; or if two documents have the same name, or there are not as many as rows of h.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> embedder, documents = ta.load_embedder("smol-sim"), ["Parrots eat seeds.", "The sea is calm."]
    >>> queries = {"q": embedder.literal_tokens(["What do parrots eat?"])[0]}
    >>> q, h = embedder.embed(["What do parrots eat?"]), embedder.embed(documents)
    >>> run = ta.aligned_run(queries, ["birds", "sea"], decoder=embedder.decoder, q=q, h=h)
    >>> max(run["q"], key=run["q"].get)
    'birds'
    """
    asked, held = aligned_vectors(list(queries.values()), decoder=decoder, q=q, h=h, **settings)
    return sparse_run(queries, SparseIndex.of(documents, held), q=asked)


def token_importance(literal: Sequence[set[int]], vocabulary_size: int) -> np.ndarray:
    """Return how well each token distinguishes texts: BM25's inverse document frequency.

    Parameters
    ----------
    literal : Sequence[set[int]], n of them
        T_s of the documents.
    vocabulary_size : int
        V, the number of tokens.

    Returns
    -------
    ndarray, (V,), float32

    Raises
    ------
    ValueError
        If V is not a whole number, 1 or more, or a token is not of the vocabulary.
    """
    holding = np.zeros(whole_number(vocabulary_size, "vocabulary_size"))
    for tokens in literal:
        own = np.array(list(tokens), dtype=np.int64)
        _check_tokens(own, vocabulary_size)
        holding[own] += 1
    return np.log1p((len(literal) - holding + 0.5) / (holding + 0.5)).astype(np.float32)


def multiply_adds(queries: sparse.csr_array, documents: sparse.csr_array) -> float:
    """Return the expected multiply-adds of scoring one query against one document, counted as SPLADE does.

    Parameters
    ----------
    queries, documents : csr_array, (·, V)
        Sparse vectors of both sides.

    Returns
    -------
    float
        Sum over tokens of p(token in a query) · p(token in a document). A dense pair costs d.
    """
    used = [(matrix != 0).sum(axis=0) / matrix.shape[0] for matrix in (queries, documents)]
    return float(np.asarray(used[0]).ravel() @ np.asarray(used[1]).ravel())


def vector_tokens(
    matrix: sparse.csr_array, decoder: TokenDecoder, k: int | None = None, *, names: Sequence[str] | None = None
) -> list[list[tuple[str, float]]]:
    """Return sparse vectors as lists of (token, weight), best first: what people and search engines read.

    For people the tokens are what :meth:`TokenDecoder.token` says. An engine should get names instead: two tokens may
    read alike (LLaMA's byte tokens do), and the ``rank_features`` of Elasticsearch and OpenSearch refuse a name with a
    dot, as in ``▁U.S``, and a weight that is not positive.

    Parameters
    ----------
    matrix : sparse array, (n, V)
        In any of scipy's formats.
    decoder : TokenDecoder
        The decoder layer that names and scores the tokens.
    k : int, optional
        How many of each. Default: all.
    names : Sequence[str], V of them, optional
        What the tokens are called, such as :func:`feature_names`; the same for documents and queries.

    Returns
    -------
    list of lists of (str, float)

    Raises
    ------
    ValueError
        If k is not a whole number, 1 or more, or there are not V names.
    """
    k = None if k is None else whole_number(k, "k")
    if names is not None and len(names) != matrix.shape[1]:
        raise ValueError(f"{len(names)} names for {matrix.shape[1]} tokens; every token of the vocabulary needs one")
    matrix = matrix.tocsr()
    rows = []
    for start, end in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        order = np.argsort(-matrix.data[start:end], kind="stable")[:k] + start
        tokens = matrix.indices[order].tolist()
        called = [decoder.token(token) if names is None else names[token] for token in tokens]
        rows.append(list(zip(called, matrix.data[order].tolist(), strict=True)))
    return rows


def feature_names(decoder: TokenDecoder) -> list[str]:
    """Give every token a name that search engines accept for a feature: without dots, not empty, all different.

    Parameters
    ----------
    decoder : TokenDecoder
        The decoder layer that names and scores the tokens.

    Returns
    -------
    list[str], V of them
        The token with ``%25`` for a percent sign and ``%2E`` for a dot, which ``urllib.parse.unquote`` turns back. One
        that reads as an earlier one does, or as nothing, ends with ``%#`` and its id. A name's place is the token's id.
    """
    names: list[str] = []
    seen = {""}
    for token in range(decoder.vocabulary_size):
        name = decoder.token(token).replace("%", "%25").replace(".", "%2E")
        names.append(f"{name}%#{token}" if name in seen else name)
        seen.add(name)
    return names


def indices_and_values(matrix: sparse.csr_array) -> list[tuple[list[int], list[float]]]:
    """Return sparse vectors as the two lists that engines with a sparse type read: ids of tokens, and their weights.

    Qdrant takes ``SparseVector(indices=indices, values=values)``, Milvus ``dict(zip(indices, values))``. Elasticsearch
    and OpenSearch want names instead: :func:`vector_tokens` with :func:`feature_names`.

    Parameters
    ----------
    matrix : sparse array, (n, V)
        In any of scipy's formats.

    Returns
    -------
    list of (list[int], list[float]), n of them
        Ids ascending, each once; weights of 0 are left out. Both lists are empty where a text has no token, which
        Milvus refuses: leave that document out.

    Raises
    ------
    ValueError
        If a weight is negative or not finite: no engine would rank by it as we do.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> from tokalign_helpers.retrieval.sparse import indices_and_values
    >>> embedder = ta.load_embedder("smol-sim")
    >>> vectors = ta.sparsify_documents(embedder.decoder, embedder.embed(["Parrots eat seeds."]), k=5)
    >>> [(indices, values)] = indices_and_values(vectors)
    >>> len(indices), min(values) > 0
    (5, True)
    """
    matrix = sparse.csr_array(matrix, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    wrong = np.flatnonzero(~((matrix.data > 0) & (matrix.data < np.inf)))
    if len(wrong):
        raise ValueError(f"a weight is {matrix.data[wrong[0]]}; it must be finite and not negative")
    parts = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    return [(matrix.indices[start:end].tolist(), matrix.data[start:end].tolist()) for start, end in parts]


def to_torch(matrix: sparse.csr_array) -> Tensor:
    """Return the same vectors as a torch sparse tensor in CSR layout.

    Parameters
    ----------
    matrix : sparse array, (n, V)
        In any of scipy's formats.

    Returns
    -------
    Tensor, (n, V), float32, sparse CSR
    """
    matrix = matrix.tocsr()
    rows, columns, values = (torch.from_numpy(part.copy()) for part in (matrix.indptr, matrix.indices, matrix.data))
    return torch.sparse_csr_tensor(rows, columns, values, size=matrix.shape, dtype=torch.float32)


def _check_tokens(tokens: np.ndarray, vocabulary_size: int) -> None:
    beyond = tokens[(tokens < 0) | (tokens >= vocabulary_size)]
    if len(beyond):
        raise ValueError(f"the literal tokens hold the id {beyond[0]}; ids lie in 0..{vocabulary_size - 1}")


def _rows(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    kept = values != 0
    matrix = sparse.csr_array(
        (values[kept].astype(np.float32), (rows[kept].astype(np.int32), columns[kept].astype(np.int32))), shape=shape
    )
    matrix.sort_indices()
    return matrix
