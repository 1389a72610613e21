"""Runs: made over odd collections, judged, fused; and the file of results that is made of them."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tokalign_helpers as ta
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.retrieval.index import best_places
from tokalign_helpers.retrieval.sparse import feature_names


@pytest.mark.parametrize("documents", [{}, {"a": ""}, {"a": "the of", "b": "and"}])
def test_bm25_over_nothing_finds_nothing(documents):
    assert ta.bm25_run({"q": "parrots", "stop": "the"}, documents) == {"q": {}, "stop": {}}


def test_bm25_without_queries():
    assert ta.bm25_run({}, {"a": "parrots"}) == {}
    for documents in ({"a": "parrots", "b": "seeds"}, {}):
        with pytest.raises(ValueError, match="k is 0"):
            ta.bm25_run({"q": "parrots"}, documents, k=0)


@pytest.mark.parametrize("text", [None, float("nan"), 3, b"parrots"])
def test_bm25_reads_strings(text):
    with pytest.raises(TypeError, match="the document 'a' is .*; every text must be a str"):
        ta.bm25_run({"q": "parrots"}, {"a": text})
    with pytest.raises(TypeError, match="the query 'q' is .*; every text must be a str"):
        ta.bm25_run({"q": text}, {"a": "parrots"})


def test_names_must_fit_the_rows_of_a_dense_search():
    q, h = torch.eye(2), torch.eye(3)[:, :2]
    for queries, documents, said in (
        (["a", "b"], ["x", "y"], "2 names for the documents came with 3 rows"),
        (["a", "a"], ["x", "y", "z"], "two queries are called 'a'"),
        (["a", "b"], ["x", "y", "x"], "two documents are called 'x'"),
    ):
        with pytest.raises(ValueError, match=said):
            ta.dense_run(queries, documents, q=q, h=h)
    with pytest.raises(ValueError, match="the embedding of document 'y' holds NaN or Inf"):
        ta.dense_run(["a", "b"], ["x", "y", "z"], q=q, h=torch.tensor([[1.0, 0], [torch.nan, 0], [0, 1]]))
    for odd in (torch.ones(3, 3), torch.ones(3), torch.ones(3, 2, 1)):
        with pytest.raises(ValueError, match=r"q has the shape \(2, 2\) and h \(3,.*; expected \(n, d\) and \(m, d\)"):
            ta.dense_run(["a", "b"], ["x", "y", "z"], q=q, h=odd)
    with pytest.raises(ValueError, match="k is 0"):
        best_places(np.arange(3.0), 0)


def test_numbers_of_any_kind_are_judged():
    plain = ta.evaluate_run({"1": {"2": 3.0, "3": 2.0}}, {"1": {"3": 2, "4": 1}})
    for grade in (np.int64, float, np.float64, np.float32):
        for score in (float, int, np.float32, np.int64, torch.tensor):
            found = ta.evaluate_run({1: {2: score(3), 3: score(2)}}, {1: {"3": grade(2), "4": grade(1)}})
            pd.testing.assert_frame_equal(found, plain)


def test_a_negative_grade_is_not_relevant():
    run, judged = {"q": {"x": 2.0, "y": 1.0}}, {"q": {"x": -1, "y": 1}}
    pd.testing.assert_frame_equal(ta.evaluate_run(run, judged), ta.evaluate_run(run, {"q": {"x": 0, "y": 1}}))


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 150), st.integers(1, 40))
def test_runs_are_judged_as_trec_eval_judges_them(random, hits, judged):
    ir_measures = pytest.importorskip("ir_measures")  # has no wheel for Linux on ARM
    ids = [f"d{place}" for place in range(200)]
    run = {"q": {document: float(random.randint(0, 30)) for document in random.sample(ids, hits)}}
    relevant = {"q": {document: random.randint(0, 3) for document in random.sample(ids, judged)}}
    relevant["q"]["d0"] = 1
    measures = [ir_measures.nDCG @ 10, ir_measures.R @ 100, ir_measures.RR]
    wanted = {str(found.measure): found.value for found in ir_measures.iter_calc(measures, relevant, run)}
    assert ta.evaluate_run(run, relevant).loc["q"].to_dict() == pytest.approx(wanted, abs=1e-12)


def test_scores_that_differ_beyond_single_precision_keep_their_order():
    for low, high in ((1.0, 1.0 + 1e-12), (1e200, 1e300), (1e38, np.inf)):
        assert ta.evaluate_run({"q": {"a": high, "z": low}}, {"q": {"a": 1}}).loc["q", "RR"] == 1


@pytest.mark.parametrize(
    ("run", "relevant", "said"),
    [
        ({"q": {"x": float("nan")}}, {"q": {"x": 1}}, "query 'q': the score nan is not a number"),
        ({"q": {"x": "1"}}, {"q": {"x": 1}}, "query 'q': the score '1' is not a number"),
        ({"q": {"x": None}}, {"q": {"x": 1}}, "query 'q': the score None is not a number"),
        ({"q": {"x": 1.0}}, {"q": {"x": 0.5}}, "query 'q': the grade 0.5 is not a whole number"),
        ({"q": {"x": 1.0}}, {"q": {"x": 2**40}}, "query 'q': the grade 1099511627776 is not a whole number up to 1000"),
        ({"q": {"x": 1.0}}, {"q": {"x": float("nan")}}, "query 'q': the grade nan"),
        ({"q": {"x": 1.0}}, {"q": {1.0: 1}}, "query 'q': 1.0 is not an id"),
        ({"q": {"1": 1.0, 1: 2.0}}, {"q": {"1": 1}}, "query 'q': a document occurs twice"),
        ({1: {"x": 1.0}, "1": {"x": 1.0}}, {"1": {"x": 1}}, "query '1': it occurs twice"),
        ({"q": 5}, {"q": {"x": 1}}, "query 'q': "),
        ({"q": {"x": 10**400}}, {"q": {"x": 1}}, "query 'q': int too large"),
        ({"q": {"x": 1.0}}, {"q": {"x": 10**400}}, "query 'q': int too large"),
    ],
)
def test_what_cannot_be_judged_names_the_query(run, relevant, said):
    with pytest.raises(ValueError, match=said):
        ta.evaluate_run(run, relevant)


def test_a_single_hit_counts_in_full():
    dense, bm25 = {"q": {"a": 0.80, "b": 0.79, "c": 0.78, "x": 0.60}}, {"q": {"x": 12.0}}
    found = ta.fuse([dense, bm25])["q"]
    assert found == pytest.approx({"a": 0.5, "b": 0.475, "c": 0.45, "x": 0.5})


def test_hits_that_are_all_alike_count_in_full():
    found = ta.fuse([{"q": {"x": 3.0, "y": 3.0}}, {"q": {"x": 1.0, "y": 0.5, "z": 0.0}}, {"q": {}}])["q"]
    assert found == pytest.approx({"x": 2 / 3, "y": 1 / 3 + 1 / 6, "z": 0})


def test_equal_scores_share_a_rank():
    hits = {"a": 2.0, "b": 2.0, "c": 1.0}
    found = ta.reciprocal_rank_fusion([{"q": hits}], k=1)["q"]
    assert found == pytest.approx({"a": 1 / 2, "b": 1 / 2, "c": 1 / 4})
    assert found == ta.reciprocal_rank_fusion([{"q": dict(reversed(hits.items()))}], k=1)["q"]


@pytest.mark.parametrize("fusion", [ta.fuse, ta.reciprocal_rank_fusion])
def test_a_score_that_is_no_number_is_not_fused(fusion):
    with pytest.raises(ValueError, match="query 'q': the score nan"):
        fusion([{"q": {"x": 1.0}}, {"q": {"x": float("nan")}}])


@pytest.mark.parametrize("weights", [[1.0], [], [0.5, float("nan")], np.ones((2, 1)), 1.0, "ab", ["a", "b"]])
def test_a_weight_for_each_run(weights):
    run = {"q": {"x": 1.0}}
    with pytest.raises(ValueError, match="expected 2 finite numbers, one for each run"):
        ta.fuse([run, run], weights=weights)
    assert ta.fuse([run, run], weights=np.array([1, 2]))["q"] == {"x": 3}


def test_nothing_fused_is_nothing():
    assert ta.fuse([]) == ta.reciprocal_rank_fusion([]) == {}


@pytest.mark.parametrize("odd", [None, [("q", {"x": 1})], "q"])
def test_what_is_no_run_is_refused(odd):
    run = {"q": {"x": 1}}
    for ask in (lambda: ta.evaluate_run(odd, run), lambda: ta.evaluate_run(run, odd), lambda: ta.fuse([run, odd])):
        with pytest.raises(TypeError, match="expected a mapping from queries to documents and numbers, not "):
            ask()


class Tokens:
    """A decoder whose tokens are as awkward as those of real models."""

    said = ("▁U.S", "%", "%2E", ".", "A", "A", "", "", "A%#5")
    vocabulary_size = len(said)
    token = said.__getitem__


def test_every_token_has_a_name_of_its_own():
    from urllib.parse import unquote

    names = feature_names(Tokens)
    assert len(set(names)) == len(names) and all(names) and not any("." in name for name in names)
    assert names[:5] == ["▁U%2ES", "%25", "%252E", "%2E", "A"]
    assert [unquote(name.split("%#")[0]) for name in names[:8]] == list(Tokens.said[:8])


def test_vectors_under_the_names_of_an_engine(tokenizer):
    decoder = TokenDecoder(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), tokenizer)
    matrix = ta.sparsify_documents(decoder, torch.randn(4, 6, generator=torch.Generator().manual_seed(1)), 5)
    names = feature_names(decoder)
    place = {name: token for token, name in enumerate(names)}
    for row, plain, named in zip(
        matrix.toarray(), ta.vector_tokens(matrix, decoder), ta.vector_tokens(matrix, decoder, names=names), strict=True
    ):
        assert [weight for _, weight in plain] == [weight for _, weight in named]
        assert {place[name]: weight for name, weight in named} == {i: row[i] for i in np.flatnonzero(row)}
