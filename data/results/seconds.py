"""Time dense, sparse and word search side by side, among 2,540 to a million documents.

``python data/results/seconds.py`` writes ``seconds.csv`` beside this file, all of it in one run of one process, so that
every ratio compares times of the same machine and the same hour. It takes about ten minutes and 12 GB of memory.

The first 2,540 documents are the passages of notebook 04, embedded by ``smol-eol`` as there. All further ones are drawn
from them, with replacement: their vectors, sparse rows and words are real ones, and the lists of the inverted indexes
as long as in a real collection in which tokens are as frequent, but many documents are alike.

Among more than `SHARD` documents the sparse vectors stand in several indexes of that size, each of which is searched,
and whose best hits are put together: all are in memory at once, and each document is there. (One index of a million
documents with a thousand tokens each takes as much memory, 8 GB, but twice that while it is built.) A size for which
the memory is too small gets a row that says so, and no times.

A row says ``what`` was measured, of which ``embedder`` (that of a text alone, before any search) and ``retriever``,
among how many documents ``n`` (0: before any search), with how many ``threads``, with queries asked ``one by one`` or
``together``, and in which ``unit``. ``value`` is the median. ``low`` and ``high`` are the 5th and the 95th percentile
of the times; of a ratio to dense, that is, of two medians over the same queries, they are the bounds of its 95 %
bootstrap interval over queries. One query is searched by one thread in one index; several indexes share the threads.
Where a retriever has no time of its own for one query and two threads, its time with one thread is compared with dense
search by two. BM25 is scored by bm25s on numpy, without numba, and the package finds the best, as everywhere in the
course; ``BM25, bm25s alone`` lets bm25s find them itself, which takes long where most scores are zero.
"""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from heapq import nlargest
from itertools import chain
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pandas as pd
import psutil
import torch
from bm25s.tokenization import Tokenized
from scipy import sparse
from threadpoolctl import threadpool_limits

import tokalign_helpers as ta
from tokalign_helpers.basics.statistics import bootstrap
from tokalign_helpers.course.claims import write_results
from tokalign_helpers.models.splade import Splade, load_splade
from tokalign_helpers.retrieval.index import best_places
from tokalign_helpers.retrieval.sparse import aligned_vectors

FILE = Path(__file__).with_suffix(".csv")
SIZES = (2540, 10_000, 50_000, 200_000, 1_000_000)
SHARD = 100_000
THREADS = (1, 2)
QUERIES = 50
DOCUMENTS = 40  # encoded together, to be timed
EMBEDDERS = ("smol-eol", "smol-distil")  # the first made the vectors that are searched; both are timed
RETRIEVERS = ("dense", "paper's recipe", "recipe", "SPLADE", "BM25")
BEST = 10
REPEATS = 3
GIGABYTES = 12e-9  # for each token of each document, while the last index is built: 8 bytes, and some copies of a part
Row = dict[str, object]
Hits = list[list[tuple[str, float]]]
Times = tuple[np.ndarray, np.ndarray]  # of each query, and of a document in each of some repeats; in seconds


@dataclass(frozen=True)
class Built:
    """One retriever with its documents.

    Parameters
    ----------
    search : Callable, optional
        Which queries, how many threads → what was found. None: the documents do not fit into memory.
    megabytes : float
        Of what a search reads.
    seconds : float
        What it took to build, from encoded documents to the first query; 0 where there is nothing to build.
    threads : tuple[int, ...]
        How many threads one query can use.
    note : str
        What a reader of the times has to know.
    """

    search: Callable[[slice, int], object] | None
    megabytes: float
    seconds: float = 0.0
    threads: tuple[int, ...] = (1,)
    note: str = ""


@dataclass(frozen=True)
class Material:
    """Real documents and queries, in the form that each retriever reads.

    Parameters
    ----------
    dense : tuple of two ndarray, (m, d) and (queries, d)
        At length 1.
    tokens : dict[str, tuple of two csr_array]
        Retriever → documents and queries.
    words : tuple of two lists of lists of str
    """

    dense: tuple[np.ndarray, np.ndarray]
    tokens: dict[str, tuple[sparse.csr_array, sparse.csr_array]]
    words: tuple[list[list[str]], list[list[str]]]


def clock(work: Callable[[], object]) -> float:
    """Return how many seconds a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Let torch and the libraries behind numpy use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


def of_times(seconds: Sequence[float] | np.ndarray, **what: object) -> Row:
    """Return a row of times: their median, and their 5th and 95th percentile, in milliseconds."""
    low, middle, high = np.percentile(1000 * np.asarray(seconds), [5, 50, 95])
    return {**what, "unit": "ms", "value": middle, "low": low, "high": high}


def of_ratio(ours: np.ndarray, dense: np.ndarray, **what: object) -> Row:
    """Return a row that compares the times of the same queries: the ratio of their medians, with its interval."""
    low, high = bootstrap(lambda some: np.median(ours[some], axis=1) / np.median(dense[some], axis=1), len(ours))
    return {**what, "unit": "of dense", "value": np.median(ours) / np.median(dense), "low": low, "high": high}


def split(texts: list[str]) -> list[list[str]]:
    """Return the words of texts, as :func:`tokalign_helpers.bm25_run` takes them."""
    return bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)


def drawn(n: int, real: int) -> np.ndarray:
    """Return which of the real documents each of n documents is: first each once, then at random."""
    return np.concatenate([np.arange(real), np.random.default_rng(0).integers(real, size=max(0, n - real))])[:n]


def dense(h: np.ndarray, q: np.ndarray, documents: np.ndarray) -> Built:
    """Return dense search: a matrix product, and the best of each row."""
    matrix = h[documents]

    def search(which: slice, _: int) -> Hits:
        return [[(str(i), float(row[i])) for i in best_places(row, BEST)] for row in q[which] @ matrix.T]

    return Built(search, matrix.nbytes / 1e6, threads=THREADS)


def product(h: np.ndarray, q: np.ndarray, documents: np.ndarray) -> Built:
    """Return the matrix product of dense search alone, into memory that is there already."""
    matrix, scores = h[documents], np.zeros((len(q), len(documents)), dtype=np.float32)

    def search(which: slice, _: int) -> np.ndarray:
        return np.matmul(q[which], matrix.T, out=scores[which])

    return Built(search, matrix.nbytes / 1e6, threads=THREADS)


def by_tokens(vectors: sparse.csr_array, queries: sparse.csr_array, documents: np.ndarray, shard: int = SHARD) -> Built:
    """Return exact search in as many sparse indexes as it takes, of at most `shard` documents each."""
    needed = vectors.nnz / vectors.shape[0] * len(documents) * GIGABYTES
    free = psutil.virtual_memory().available / 1e9
    if needed > free:
        return Built(None, np.nan, np.nan, note=f"does not fit: it needs {needed:.1f} GB, {free:.1f} are free")
    indexes, seconds = [], 0.0
    for start in range(0, len(documents), shard):
        rows = vectors[documents[start : start + shard]]
        names = [str(i) for i in range(start, start + rows.shape[0])]
        begun = time.perf_counter()
        indexes.append(ta.SparseIndex.of(names, rows))
        indexes[-1].search(queries[[0]], BEST)  # it is inverted at the first search
        seconds += time.perf_counter() - begun

    def search(which: slice, threads: int) -> Hits:
        asked, alone = queries[which], which.stop - which.start == 1  # indexes share the threads if queries cannot
        work = lambda index: index.search(asked, BEST, workers=1 if alone else threads)  # noqa: E731
        found = side_by_side(work, indexes, threads if alone else 1)
        return [nlargest(BEST, chain(*hits), key=lambda hit: hit[1]) for hits in zip(*found, strict=True)]

    parts = [part for index in indexes for part in index._inverted()]
    size = sum(part.data.nbytes + part.indices.nbytes + part.indptr.nbytes for part in parts)
    several = len(indexes) > 1
    return Built(
        search, size / 1e6, seconds, THREADS if several else (1,), f"{len(indexes)} indexes" if several else ""
    )


def by_words(texts: list[list[str]], queries: list[list[str]], documents: np.ndarray, *, alone: bool = False) -> Built:
    """Return search by bm25s, for which texts and queries are split into words already.

    Unless bm25s is left `alone`, it scores the documents and the package finds the best, as in ``bm25_run``.
    """
    known = {word: place for place, word in enumerate(dict.fromkeys(chain(*texts)))}
    ids = [[known[word] for word in words] for words in texts]
    corpus, engine = Tokenized([ids[i] for i in documents], known), bm25s.BM25(method="lucene")
    seconds = clock(lambda: engine.index(corpus, show_progress=False))

    def one(words: list[str]) -> list[tuple[str, float]]:
        scores = engine.get_scores(words)
        return [(str(i), float(scores[i])) for i in best_places(scores, BEST)]

    def search(which: slice, threads: int) -> Hits:
        if not alone:
            return side_by_side(one, queries[which], threads)
        workers = threads if threads > 1 else 0  # 0: none beside its own
        found = engine.retrieve(queries[which], k=BEST, show_progress=False, n_threads=workers)
        return [[(str(i), float(score)) for i, score in zip(*row, strict=True)] for row in zip(*found, strict=True)]

    size = sum(engine.scores[name].nbytes for name in ("data", "indices", "indptr"))
    return Built(search, size / 1e6, seconds)


def side_by_side(work: Callable[[Any], Any], parts: Sequence[Any], threads: int) -> list[Any]:
    """Do a work for each part, by so many threads."""
    if threads == 1 or len(parts) == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def material(texts: list[str], questions: list[str], embedder: ta.Embedder, splade: Splade) -> Material:
    """Encode real documents and queries in every way."""
    decoder, h, q = embedder.decoder, embedder.embed(texts), embedder.embed(questions)
    literal = embedder.literal_tokens(questions)
    recipe = ta.SparseRecipe.fit(decoder, h, embedder.literal_tokens(texts))
    asked, held = aligned_vectors(literal, decoder=decoder, q=q, h=h)
    tokens = {
        "paper's recipe": (held, asked),
        "recipe": (recipe.documents(h), recipe.queries(literal, q)),
        "SPLADE": (splade.encode(texts), splade.encode(questions)),
    }
    unit_h, unit_q = (torch.nn.functional.normalize(x.float(), dim=1).numpy() for x in (h, q))
    return Material((unit_h, unit_q), tokens, (split(texts), split(questions)))


def encoded(
    query: Callable[[list[str]], object],
    document: Callable[[list[str]], object],
    texts: list[str],
    questions: list[str],
) -> Times:
    """Time the encoding of documents, together, and of queries, one by one."""
    query(questions[:1])  # a first call is slower
    each = [clock(lambda question=question: query([question])) for question in questions]
    return np.array(each), np.array([clock(lambda: document(texts)) for _ in range(REPEATS)]) / len(texts)


def reading(embedder: ta.Embedder, texts: list[str], questions: list[str]) -> dict[str, Times]:
    """Time what an embedder takes before a search, and what the recipes for its tokens add to that."""
    decoder, literal = embedder.decoder, embedder.literal_tokens
    embed = partial(embedder.embed, cache=False, progress=False)
    vectors = dict(zip([*texts, *questions], embed([*texts, *questions]), strict=True))
    h = lambda some: torch.stack([vectors[text] for text in some])  # noqa: E731
    recipe = ta.SparseRecipe.fit(decoder, h(texts), literal(texts))
    steps = {
        "paper's recipe": (
            lambda some: ta.sparsify_queries(decoder, literal(some), h(some), 100),
            lambda some: ta.sparsify_documents(decoder, h(some), weights="raw"),
        ),
        "recipe": (lambda some: recipe.queries(literal(some), h(some)), lambda some: recipe.documents(h(some))),
    }
    alone = encoded(embed, embed, texts, questions)
    added = {name: encoded(*both, texts, questions) for name, both in steps.items()}
    return {"dense": alone} | {name: (alone[0] + more[0], alone[1] + more[1]) for name, more in added.items()}


def encoding(
    texts: list[str], questions: list[str], embedders: dict[str, ta.Embedder], splade: Splade
) -> Iterator[tuple[str, str, int, Times]]:
    """Yield what was timed before a search: embedder (none for SPLADE and BM25), retriever, threads, times."""
    for threads in THREADS:
        with limited(threads):
            for name, embedder in embedders.items():
                for retriever, times in reading(embedder, texts, questions).items():
                    yield name, retriever, threads, times
            yield "", "SPLADE", threads, encoded(splade.encode, splade.encode, texts, questions)
            yield "", "BM25", threads, encoded(split, split, texts, questions)


def searching(real: Material, before: dict[tuple[str, int], np.ndarray], n: int) -> Iterator[Row]:
    """Time every search among n documents, alone and with the encoding of the query before it."""
    documents = drawn(n, len(real.words[0]))
    ways: dict[str, Callable[[np.ndarray], Built]] = {
        "dense": partial(dense, *real.dense),
        "product alone": partial(product, *real.dense),
        **{name: partial(by_tokens, *sides) for name, sides in real.tokens.items()},
        "BM25": partial(by_words, *real.words),
        "BM25, bm25s alone": partial(by_words, *real.words, alone=True),
    }
    single: dict[tuple[str, int], np.ndarray] = {}
    for retriever, build in ways.items():
        built = build(documents)
        about = {"retriever": retriever, "n": n, "note": built.note}
        yield {"what": "build", **about, "threads": 1, "unit": "s", "value": built.seconds}
        yield {"what": "memory", **about, "threads": 1, "unit": "MB", "value": built.megabytes}
        for threads, asked, seconds in search_times(built, len(real.words[1]), 5 if n <= 50_000 else 2):
            yield of_times(seconds, what="search", **about, threads=threads, asked=asked)
            if asked == "one by one":
                single[retriever, threads] = seconds
        del built  # before the next one is built: two do not fit
        gc.collect()
    for retriever in RETRIEVERS:
        for threads in THREADS if (retriever, 1) in single else ():
            about = {"retriever": retriever, "n": n, "threads": threads, "asked": "one by one"}
            alone, than = single.get((retriever, threads), single[retriever, 1]), single["dense", threads]
            whole = before[retriever, threads] + alone
            yield of_times(whole, what="end to end", **about)
            if retriever != "dense":
                yield of_ratio(alone, than, what="search, of dense", **about)
                yield of_ratio(whole, before["dense", threads] + than, what="end to end, of dense", **about)


def search_times(built: Built, queries: int, repeats: int) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield threads, how the queries were asked, and seconds: of each query, its median, or of all together."""
    ask = lambda start, stop, threads: clock(partial(built.search, slice(start, stop), threads))  # noqa: E731
    for threads in THREADS if built.search else ():
        with limited(threads):
            ask(0, 1, threads)  # a first call is slower
            if threads in built.threads:
                times = [[ask(i, i + 1, threads) for i in range(queries)] for _ in range(repeats)]
                yield threads, "one by one", np.median(times, axis=0)
            yield threads, "together", np.array([ask(0, queries, threads) for _ in range(repeats)]) / queries


def rows(sizes: Sequence[int] = SIZES) -> Iterator[Row]:
    """Encode the collection, then time encoding, and search at every size."""
    collection = ta.load_cloze_collection(300, seed=0)
    texts, questions = list(collection.documents.values()), list(collection.queries.values())[:QUERIES]
    embedders, splade = ta.load_embedders(EMBEDDERS), load_splade()
    ta.fill_cache({EMBEDDERS[0]: embedders[EMBEDDERS[0]]}, texts, "passages")
    real = material(texts, questions, embedders[EMBEDDERS[0]], splade)
    before: dict[tuple[str, int], np.ndarray] = {}
    for retriever, (held, asked) in real.tokens.items():
        share = ta.multiply_adds(asked, held) / real.dense[0].shape[1]
        yield {
            "what": "multiply-adds, of dense",
            "retriever": retriever,
            "n": 0,
            "threads": 1,
            "unit": "of dense",
            "value": share,
        }
    for embedder, retriever, threads, (query, document) in encoding(texts[:DOCUMENTS], questions, embedders, splade):
        about = {"embedder": embedder, "retriever": retriever, "n": 0, "threads": threads}
        yield of_times(query, what="encode a query", **about, asked="one by one")
        yield of_times(document, what="encode a document", **about, asked="together")
        before.setdefault((retriever, threads), query)  # of the first embedder
    del embedders, splade  # the largest index needs the memory
    for n in sizes:
        yield from searching(real, before, n)


def main() -> None:
    """Measure everything, say each row as it comes, and write the table."""
    found = []
    for row in rows():
        print(*row.values(), flush=True)
        found.append(row)
    columns = ["what", "embedder", "retriever", "n", "threads", "asked", "unit", "value", "low", "high", "note"]
    write_results(FILE, pd.DataFrame(found)[columns], "python data/results/seconds.py")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
