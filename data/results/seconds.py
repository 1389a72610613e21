"""Time dense, sparse and word search side by side; ``make.py --only seconds`` writes what :func:`rows` yields.

The documents are the 2,540 passages of notebook 04, encoded by ``smol-eol``. A larger collection is drawn from them,
with replacement, so that its vectors have the statistics of real ones. Beyond `BLOCK` documents the sparse and word
indexes hold one block and are searched as often as it fits into the collection: as many multiplications, in 12 GB of
memory. Dense vectors are held whole. A time is what one query takes, in milliseconds: the median, with its bootstrap
interval.
"""

import time
from collections.abc import Callable, Iterator

import bm25s
import numpy as np
import torch
from scipy import sparse
from threadpoolctl import threadpool_limits

import tokalign_helpers as ta
from tokalign_helpers.basics.statistics import bootstrap
from tokalign_helpers.models.splade import load_splade

SIZES = (2540, 50_000, 1_000_000)
BLOCK = 50_000
BATCH = 50  # queries asked at once
SINGLE = 20  # queries asked one by one
REPEATS = 5
BEST = 10
Search = Callable[[slice], object]


def seconds(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def row(times: list[float], **what: object) -> dict[str, object]:
    """Return a row of the table: what was timed, then the median in milliseconds and its 95 % interval."""
    found = 1000 * np.array(times)
    low, high = bootstrap(lambda rows: np.median(found[rows], axis=1), len(found))
    return {**what, "value": float(np.median(found)), "low": low, "high": high}


def timed(search: Search, **what: object) -> Iterator[dict[str, object]]:
    """Time queries one by one, and a batch of them; a first query, which builds the index, is not counted."""
    search(slice(0, 1))
    single = [seconds(lambda i=i: search(slice(i, i + 1))) for _ in range(REPEATS) for i in range(SINGLE)]
    yield row(single, **what, asked="one by one")
    batch = [seconds(lambda: search(slice(0, BATCH))) / BATCH for _ in range(REPEATS)]
    yield row(batch, **what, asked="fifty at once")


def dense_search(h: np.ndarray, q: np.ndarray, *, bare: bool) -> Search:
    """Multiply; unless it is to be the bare product, also find the best documents."""

    def search(which: slice) -> object:
        scores = q[which] @ h.T
        return scores if bare else np.argpartition(-scores, BEST, axis=1)[:, :BEST]

    return search


def sparse_search(documents: sparse.csr_array, queries: sparse.csr_array, times: int, threads: int) -> Search:
    """Search the exact index, as often as its block fits into the collection."""
    index = ta.SparseIndex(documents.shape[1])
    index.add([str(i) for i in range(documents.shape[0])], documents)
    return lambda which: [index.search(queries[which], BEST, workers=threads) for _ in range(times)]


def word_search(texts: list[str], questions: list[str], times: int) -> Search:
    """Search by bm25s; it finds the best documents itself."""
    engine, split = bm25s.BM25(method="lucene"), lambda some: bm25s.tokenize(some, stopwords="en", show_progress=False)
    engine.index(split(texts), show_progress=False)
    return lambda which: [
        engine.retrieve(split(questions[which]), k=BEST, show_progress=False, n_threads=1) for _ in range(times)
    ]


def rows() -> Iterator[dict[str, object]]:
    """Time the encoding of texts, then every search at every size with one thread and with two."""
    collection = ta.load_cloze_collection(300, seed=0)
    texts, questions = list(collection.documents.values()), list(collection.queries.values())[:BATCH]
    embedder, splade = ta.load_embedder("smol-eol"), load_splade()
    ta.fill_cache({"smol-eol": embedder}, texts, "passages")
    h, q = embedder.embed(texts), embedder.embed(questions)
    recipe = ta.SparseRecipe.fit(embedder.decoder, h, embedder.literal_tokens(texts))
    asked = recipe.queries(embedder.literal_tokens(questions), q)
    sides = {"recipe": (recipe.documents(h), asked), "SPLADE": (splade.encode(texts), splade.encode(questions))}
    unit = [torch.nn.functional.normalize(x, dim=1).numpy() for x in (h, q)]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            yield from encoding(embedder, splade, recipe, texts, questions, threads)
            for n in SIZES:
                yield from searching(n, threads, texts, questions, sides, unit)


def encoding(
    embedder: ta.Embedder, splade: object, recipe: ta.SparseRecipe, texts: list[str], asked: list[str], threads: int
) -> Iterator[dict[str, object]]:
    """Time what comes before a search: 20 documents and 20 queries, each by itself."""

    def embed(text: str) -> torch.Tensor:
        return embedder.embed([text], cache=False, progress=False)

    ways: dict[str, tuple[Callable, Callable]] = {
        "dense": (embed, embed),
        "recipe": (
            lambda text: recipe.documents(embed(text)),
            lambda text: recipe.queries(embedder.literal_tokens([text]), embed(text)),
        ),
        "SPLADE": (lambda text: splade.encode([text]),) * 2,
        "BM25": (lambda text: bm25s.tokenize([text], stopwords="en", show_progress=False),) * 2,
    }
    for retriever, (document, query) in ways.items():
        for what, encode, some in (("encode a document", document, texts), ("encode a query", query, asked)):
            encode(some[0])
            times = [seconds(lambda t=t, encode=encode: encode(t)) for t in some[:SINGLE]]
            yield row(times, what=what, retriever=retriever, n=0, threads=threads, asked="one by one")


def searching(
    n: int, threads: int, texts: list[str], asked: list[str], sides: dict, unit: list[np.ndarray]
) -> Iterator[dict[str, object]]:
    """Time every search among n documents."""
    block = min(n, BLOCK)
    drawn = np.arange(n) if n == len(texts) else np.random.default_rng(0).integers(0, len(texts), n)
    about = {"what": "search", "n": n, "threads": threads}
    for retriever, bare in (("dense", False), ("dense, product only", True)):
        yield from timed(dense_search(unit[0][drawn], unit[1], bare=bare), **about, retriever=retriever)
    for retriever, (documents, queries) in sides.items():
        found = sparse_search(documents[drawn[:block]], queries, n // block, threads)
        yield from timed(found, **about, retriever=retriever)
    words = word_search([texts[i] for i in drawn[:block]], asked, n // block)
    yield from timed(words, **about, retriever="BM25")
