"""The times of search: every retriever finds what plain arithmetic finds, and each row says what it is."""

import itertools
import runpy

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import tokalign_helpers as ta

WORDS = [["parrot", "seed"], ["sea", "calm"], ["parrot", "sea", "sea"], ["seed"], ["owl", "night"], ["calm", "night"]]


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ta.data_dir() / "results" / "seconds.py"))


@pytest.fixture(scope="module")
def real(script):
    draw = np.random.default_rng(0)
    dense = [draw.normal(size=(rows, 5)).astype(np.float32) for rows in (6, 3)]
    tokens = [sparse.random_array((rows, 30), density=0.4, rng=draw, dtype=np.float32, format="csr") for rows in (6, 3)]
    words = (WORDS, [["parrot"], ["night", "calm"], ["sea"]])
    return script["Material"](tuple(dense), {"recipe": tuple(tokens), "SPLADE": tuple(tokens)}, words)


def scores_of(hits):
    return [score for _, score in hits]


def check(hits, scores):
    """Demand the ten best, each with its own score; which of equal ones is of no matter."""
    wanted = np.sort(scores)[::-1][:10]
    assert scores_of(hits) == pytest.approx(wanted[: len(hits)], rel=1e-5)
    assert (wanted[len(hits) :] <= 0).all()
    assert [scores[int(name)] for name, _ in hits] == pytest.approx(scores_of(hits), rel=1e-5)
    assert len({name for name, _ in hits}) == len(hits)


def test_the_real_documents_come_first_and_further_ones_are_drawn_from_them(script):
    few, many = script["drawn"](4, 6), script["drawn"](1000, 6)
    assert few.tolist() == [0, 1, 2, 3] and many[:6].tolist() == [0, 1, 2, 3, 4, 5]
    assert len(many) == 1000 and set(many.tolist()) == set(range(6))
    assert many[:500].tolist() == script["drawn"](500, 6).tolist()


@pytest.mark.parametrize("threads", [1, 2])
def test_every_search_finds_the_best(script, real, threads):
    documents = script["drawn"](25, 6)
    (h, q), (vectors, queries) = real.dense, real.tokens["recipe"]
    for built, scores in (
        (script["dense"](h, q, documents), q @ h[documents].T),
        (script["by_tokens"](vectors, queries, documents), (queries @ vectors[documents].T).toarray()),
        (script["by_tokens"](vectors, queries, documents, shard=7), (queries @ vectors[documents].T).toarray()),
    ):
        found = [*built.search(slice(0, 1), threads), *built.search(slice(1, 3), threads)]
        for hits, row in zip(found, scores, strict=True):
            check(hits, row)
    assert script["product"](h, q, documents).search(slice(1, 3), threads) == pytest.approx(q[1:3] @ h[documents].T)


def test_words_are_found_as_the_package_finds_them(script, real):
    texts, questions = ([" ".join(words) for words in side] for side in real.words)
    documents = script["drawn"](25, 6)
    ways = [script["by_words"](*real.words, documents, alone=alone) for alone in (True, False)]
    wanted = ta.bm25_run(dict(enumerate(questions)), {str(i): texts[d] for i, d in enumerate(documents)}, k=10)
    for built, threads in itertools.product(ways, (1, 2)):
        for query, hits in enumerate(built.search(slice(0, 3), threads)):
            assert [s for s in scores_of(hits) if s > 0] == pytest.approx(list(wanted[query].values()), rel=1e-5)


def test_what_is_in_memory_is_counted(script, real):
    documents, (vectors, queries) = script["drawn"](25, 6), real.tokens["recipe"]
    built = script["by_tokens"](vectors, queries, documents, shard=10)
    tokens = vectors[documents].nnz
    assert built.megabytes * 1e6 == 8 * tokens + 3 * 4 * (vectors.shape[1] + 1) and built.note == "3 indexes"
    assert built.threads == (1, 2) and script["by_tokens"](vectors, queries, documents).threads == (1,)
    assert script["dense"](*real.dense, documents).megabytes * 1e6 == 25 * 5 * 4
    assert built.seconds > 0


def test_a_size_that_does_not_fit_says_so_and_has_no_times(script, real, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 100}))
    found = pd.DataFrame(script["searching"](real, before(script), 25))
    of = found[found["retriever"] == "recipe"]
    assert of["what"].tolist() == ["build", "memory"] and of["value"].isna().all()
    assert of["note"].str.startswith("does not fit: it needs 0.0 GB, 0.0 are free").all()
    assert {"dense", "BM25"} <= set(found.loc[found["what"] == "end to end", "retriever"])


def before(script):
    return {(name, threads): np.full(3, 0.5) for name in script["RETRIEVERS"] for threads in (1, 2)}


def test_rows_of_a_size(script, real):
    found = pd.DataFrame(script["searching"](real, before(script), 25))
    found = found.set_index(["what", "retriever", "threads", "asked"])
    times = found[found["unit"] == "ms"]
    assert (
        (times["low"] <= times["value"]).all() and (times["value"] <= times["high"]).all() and (times["low"] > 0).all()
    )
    alone = found.loc[("search", "recipe", 1, "one by one"), "value"]
    for threads in (1, 2):  # one query is searched by one thread
        whole = found.loc[("end to end", "recipe", threads, "one by one"), "value"]
        assert whole == pytest.approx(500 + alone)
        dense = found.loc[("search", "dense", threads, "one by one"), "value"]
        ratio = found.loc[("search, of dense", "recipe", threads, "one by one"), "value"]
        assert ratio == pytest.approx(alone / dense)
    assert not found.index.duplicated().any()


def test_a_ratio_has_the_interval_of_the_same_queries(script):
    dense = np.random.default_rng(0).uniform(1, 100, size=40)
    found = script["of_ratio"](dense / 2, dense)
    assert found["value"] == pytest.approx(0.5)
    noisy = script["of_ratio"](dense * np.random.default_rng(1).uniform(0.4, 0.6, size=40), dense)
    assert noisy["low"] < noisy["value"] < noisy["high"]
    assert script["of_times"]([0.001] * 90 + [0.01] * 10)["value"] == pytest.approx(1)
