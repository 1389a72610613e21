"""Sparse vectors, exact search and its files, judged against plain loops."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import tokalign_helpers as ta
from tokalign_helpers.datasets.wikipedia import load_passages
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.retrieval.index import SparseIndex, best_places
from tokalign_helpers.retrieval.sparse import feature_names, indices_and_values

V = 40


@pytest.fixture(scope="module")
def decoder(tokenizer):
    return TokenDecoder(torch.randn(V, 6, generator=torch.Generator().manual_seed(0)), tokenizer)


def embeddings(n=9):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


def random_rows(n, share=0.2, seed=0):
    return sparse.random_array((n, V), density=share, format="csr", rng=np.random.default_rng(seed), dtype=np.float32)


FORMULAS = {"raw": lambda x: max(x, 0), "log": lambda x: np.log1p(max(x, 0))}


@pytest.mark.parametrize(("weights", "formula"), FORMULAS.items())
def test_documents_keep_their_best_tokens(decoder, weights, formula):
    h = embeddings()
    found = ta.sparsify_documents(decoder, h, 12, weights=weights).toarray()
    for row, scores in zip(found, (h @ decoder.weight.T).numpy(), strict=True):
        best = sorted(range(V), key=lambda i: -scores[i])[:12]
        expected = np.zeros(V)
        expected[best] = [formula(scores[i]) for i in best]
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weights", FORMULAS)
def test_no_weight_is_negative_though_k_has_room(decoder, weights):
    found = ta.sparsify_documents(decoder, embeddings(), V, weights=weights)
    scores = embeddings() @ decoder.weight.T
    assert (scores < 0).any()
    assert found.nnz == (scores > 0).sum()
    assert found.data.min() > 0


def test_queries_are_literal_tokens_and_aligned_ones(decoder):
    h, literal = embeddings(2), [{1, 2}, {3}]
    aligned = decoder.top_tokens(h, 4)[0].tolist()
    found = ta.sparsify_queries(decoder, literal, h, 4, expansion=0.5).toarray()
    for row, own, more in zip(found, literal, aligned, strict=True):
        assert set(np.flatnonzero(row)) == own | set(more)
        assert all(row[i] == (1 if i in own else 0.5) for i in own | set(more))
    weighted = ta.sparsify_queries(decoder, literal, importance=np.arange(V, dtype=np.float32)).toarray()
    assert (weighted[0, 1], weighted[0, 2], weighted[1, 3]) == (1, 2, 3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda d: ta.sparsify_documents(d, embeddings(), V + 1), "from 1 to V = 40"),
        (lambda d: ta.sparsify_documents(d, embeddings(), 3, weights="tf"), "unknown weights 'tf'; known: raw"),
        (lambda d: ta.sparsify_queries(d, [{1}], m=-1), "from 0 to V = 40"),
        (lambda d: ta.sparsify_queries(d, [{1}], m=2), "give one embedding for each query"),
        (lambda d: ta.sparsify_queries(d, [{1}], expansion=-0.5), "expansion is -0.5"),
        (lambda d: ta.sparsify_queries(d, [{1}], expansion=float("nan")), "expansion is nan"),
        (lambda d: ta.sparsify_queries(d, [{1}], importance=np.ones(3)), r"the shape \(3,\); expected \(40,\)"),
        (lambda d: ta.sparsify_queries(d, [{1}], importance=np.arange(V) - 1), r"importance\[0\] is -1"),
        (lambda d: ta.sparsify_queries(d, [{1}], importance=[1e39] * V), "a token weighs more than float32"),
        (
            lambda d: ta.sparsify_queries(d, [set()], embeddings(1), 2, expansion=1e39),
            "a token weighs more than float32",
        ),
        (lambda d: ta.sparsify_queries(d, [{1}, {V}]), r"the id 40; ids lie in 0\.\.39"),
        (lambda d: ta.token_importance([{1, -1}], V), r"the id -1; ids lie in 0\.\.39"),
        (lambda d: ta.token_importance([{1}], None), "vocabulary_size is None"),
        (lambda d: ta.vector_tokens(random_rows(1), d, names=["a"]), "1 names for 40 tokens"),
    ],
)
def test_what_is_out_of_range_is_refused(decoder, call, said):
    with pytest.raises(ValueError, match=said):
        call(decoder)


@given(n=st.integers(1, 30), q=st.integers(1, 4), k=st.integers(1, 35), seed=st.integers(0, 50))
def test_search_is_the_full_sort(n, q, k, seed):
    documents, queries = random_rows(n, seed=seed), random_rows(q, seed=seed + 100)
    index = SparseIndex(V)
    half = n // 2
    index.add([f"d{i}" for i in range(half)], documents[:half])
    index.add([f"d{i}" for i in range(half, n)], documents[half:])
    scores = queries.toarray().astype(np.float64) @ documents.toarray().astype(np.float64).T
    for row, hits in zip(scores, index.search(queries, k), strict=True):
        expected = [i for i in sorted(range(n), key=lambda i: (-row[i], i)) if row[i] > 0][:k]
        assert [name for name, _ in hits] == [f"d{i}" for i in expected]
        np.testing.assert_allclose([score for _, score in hits], row[expected], rtol=1e-9)


def test_an_explanation_adds_up_to_the_score(tokenizer):
    decoder = TokenDecoder(torch.zeros(V, 2), tokenizer)
    index, queries = SparseIndex(V), random_rows(1, 0.5, seed=7)
    index.add(["a", "b"], random_rows(2, 0.5))
    (hits,) = index.search(queries)
    for name, score in hits:
        table = index.explain(queries, name, decoder)
        assert table["score"].sum() == pytest.approx(score, rel=1e-5)
        assert table["score"].is_monotonic_decreasing
    with pytest.raises(ValueError, match="no document 'z'"):
        index.explain(queries, "z", decoder)


def test_saved_loaded_and_added_to(tmp_path):
    rows, queries = random_rows(20), random_rows(3, seed=5)
    index = SparseIndex(V)
    index.add([f"d{i}" for i in range(15)], rows[:15])
    index.save(tmp_path / "index")
    again = SparseIndex.load(tmp_path / "index", V)
    assert again.search(queries) == index.search(queries)
    again.add([f"d{i}" for i in range(15, 20)], rows[15:])
    index.add([f"d{i}" for i in range(15, 20)], rows[15:])
    assert again.search(queries) == index.search(queries)
    assert [p.name for p in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize(
    ("ids", "width", "error", "said"),
    [
        (["a", "a"], V, ValueError, r"ids\[1\] is 'a', which is already in use"),
        (["a", 5], V, TypeError, r"ids\[1\] is 5; a document's id must be a str"),
        (["a", "old"], V, ValueError, "'old', which is already in use"),
        (["a"], V, ValueError, "expected"),
        (["a", "b"], V + 1, ValueError, "another vocabulary"),
    ],
)
def test_bad_documents_are_refused_whole(ids, width, error, said):
    index = SparseIndex(V)
    index.add(["old"], random_rows(1))
    rows = sparse.csr_array((2, width), dtype=np.float32)
    with pytest.raises(error, match=said):
        index.add(ids, rows)
    assert index.ids == ["old"]


def test_nothing_matches_nothing():
    index = SparseIndex(V)
    empty = sparse.csr_array((1, V), dtype=np.float32)
    assert index.search(empty) == [[]]
    index.add(["a"], empty)
    assert index.search(random_rows(1)) == [[]]
    with pytest.raises(ValueError, match="k is 0"):
        index.search(empty, 0)
    with pytest.raises(ValueError, match="the queries are 3 wide"):
        index.search(sparse.csr_array((1, 3)))


def test_best_places_breaks_ties_by_order():
    assert best_places(np.array([1.0, 3, 3, 2, 3]), 2).tolist() == [1, 2]


@given(st.lists(st.integers(-3, 9), min_size=1, max_size=700), st.integers(1, 40), st.sampled_from([np.float32, float]))
def test_best_places_are_the_head_of_the_full_sort(values, k, dtype):
    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    assert best_places(np.array(values, dtype=dtype), k).tolist() == expected


def test_the_same_vectors_in_other_forms(decoder):
    matrix = ta.sparsify_documents(decoder, embeddings(), 5)
    torch.testing.assert_close(ta.to_torch(matrix).to_dense(), torch.from_numpy(matrix.toarray()))
    lists = ta.vector_tokens(matrix, decoder, 3)
    for form in ("csc", "coo"):
        assert ta.vector_tokens(matrix.asformat(form), decoder, 3) == lists
        torch.testing.assert_close(ta.to_torch(matrix.asformat(form)).to_dense(), torch.from_numpy(matrix.toarray()))
    for row, pairs in zip(matrix.toarray(), lists, strict=True):
        assert [weight for _, weight in pairs] == pytest.approx(sorted(row, reverse=True)[: len(pairs)])


def test_multiply_adds_is_the_mean_overlap():
    a, b = random_rows(7), random_rows(11, seed=3)
    overlaps = (a.toarray() != 0).astype(float) @ (b.toarray() != 0).T
    assert ta.multiply_adds(a, b) == pytest.approx(overlaps.mean())


def test_dense_and_bm25_runs():
    documents = {"x": "parrots eat seeds", "y": "rivers flood villages", "z": "the parrot sleeps"}
    run = ta.bm25_run({"q": "parrots and seeds", "none": "zebra", "stop": "the of"}, documents)
    assert (list(run["q"]), run["none"], run["stop"]) == (["x"], {}, {})
    h = torch.tensor([[1.0, 0], [0, 1], [2, 2]])
    dense = ta.dense_run(["q"], list(documents), q=torch.tensor([[5.0, 0]]), h=h)
    assert dense["q"] == pytest.approx({"x": 1, "z": 0.5**0.5, "y": 0})


def test_runs_are_judged_as_by_hand():
    relevant = {"a": {"x": 1, "y": 2}, "b": {"x": 1}, "c": {"x": 0}, "d": {"z": 1}}
    run = {"a": {"x": 3.0, "z": 2.0, "y": 1.0}, "b": {"z": 1.0, "x": 0.5}, "d": {}}
    found = ta.evaluate_run(run, relevant)
    assert list(found.index) == ["a", "b", "d"]
    ideal = 2 + 1 / np.log2(3)
    assert found.loc["a", "nDCG@10"] == pytest.approx((1 + 2 / np.log2(4)) / ideal)
    assert found["RR"].to_list() == pytest.approx([1, 0.5, 0])
    assert found["R@100"].to_list() == [1, 1, 0]
    with pytest.raises(ValueError, match="nothing to judge"):
        ta.evaluate_run(run, {"a": {"x": 0}})


def test_fusion():
    one, two = {"q": {"x": 10.0, "y": 5.0, "z": 0.0}}, {"q": {"z": 1.0, "y": 0.5}}
    assert ta.fuse([one, two])["q"] == pytest.approx({"x": 0.5, "y": 0.25, "z": 0.5})
    ranks = ta.reciprocal_rank_fusion([one, two], k=1)["q"]
    assert ranks == pytest.approx({"x": 1 / 2, "y": 1 / 3 + 1 / 3, "z": 1 / 4 + 1 / 2})


def beir(folder, corpus='{"_id": "d", "title": "T", "text": "x"}\n', qrels="q\td\t1\n"):
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text(corpus)
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "why"}) + "\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    return folder


def test_a_beir_folder(tmp_path):
    assert ta.load_beir(beir(tmp_path)) == ({"d": "T x"}, {"q": "why"}, {"q": {"d": 1}})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"corpus": '{"_id": "d", "text": "x"}\n{"_id": '}, "corpus.jsonl, line 2"),
        ({"corpus": '{"_id": "d"}\n'}, "corpus.jsonl, line 1"),
        ({"qrels": "q\tunknown\t1\n"}, "test.tsv, line 2"),
    ],
)
def test_a_broken_beir_folder_names_file_and_line(tmp_path, changed, said):
    with pytest.raises(ValueError, match=said):
        ta.load_beir(beir(tmp_path, **changed))


def test_the_offline_collection():
    documents, queries, relevant = ta.load_cloze_collection()
    assert len(documents) >= 2000
    assert len(queries) == len(relevant) == 400
    for name, text in queries.items():
        (answer,) = relevant[name]
        assert text not in documents[answer]
    articles = {part: {p.article for p in load_passages(part)} for part in ("train", "test")}
    assert articles["train"].isdisjoint(articles["test"])
    with pytest.raises(ValueError, match="unknown part"):
        load_passages("dev")


def test_a_search_from_end_to_end(decoder):
    h, q, literal = embeddings(9), embeddings(11)[9:], {"a": {1, 2}, "b": {3}}
    names, importance = [f"d{i}" for i in range(9)], np.linspace(0.5, 2, V).astype(np.float32)
    found = ta.aligned_run(literal, names, decoder=decoder, q=q, h=h, k=20, m=5, weights="log", importance=importance)
    scores = (h @ decoder.weight.T).numpy()
    for (name, own), row in zip(literal.items(), (q @ decoder.weight.T).numpy(), strict=True):
        asked = own | set(np.argsort(-row)[:5].tolist())
        for place, document in enumerate(names):
            kept = set(np.argsort(-scores[place])[:20].tolist())
            expected = sum(importance[t] * np.log1p(max(scores[place, t], 0)) for t in asked & kept)
            assert found[name].get(document, 0) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_token_in_fewer_texts_is_worth_more():
    found = ta.token_importance([{0, 1}, {0}, {0, 1}, {0}], 3)
    expected = [np.log(1 + (4 - n + 0.5) / (n + 0.5)) for n in (4, 2, 0)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_cranfield(tmp_path):
    (tmp_path / "cran.all.1400.xml").write_text(
        "<doc><docno> 1 </docno><text>\nlift of\na wing .\n</text></doc><doc><docno>2</docno><text> </text></doc>"
        "<doc><docno>3</docno><text>a flat plate</text></doc>"
    )
    (tmp_path / "cran.qry.xml").write_text("<top><num>5</num><title>\nwhat is\nlift .</title></top>"
                                           "<top><num>9</num><title>nobody judged this</title></top>")  # fmt: skip
    (tmp_path / "cranqrel.trec.txt").write_text("1 0 1 2\n1 0 2 4\n1 0 3 -1\n")
    documents, queries, relevant = ta.load_cranfield(tmp_path)
    assert documents == {"1": "lift of a wing .", "3": "a flat plate"}
    assert queries == {"1": "what is lift ."}
    assert relevant == {"1": {"1": 2, "3": 0}}
    (tmp_path / "cranqrel.trec.txt").unlink()
    with pytest.raises(FileNotFoundError, match="cranqrel"):
        ta.load_cranfield(tmp_path)


@pytest.mark.parametrize("form", ["csr", "coo", "csc"])
def test_engines_get_each_token_once_with_a_positive_weight(form):
    rows, columns, weights = [0, 0, 0, 2, 2], [3, 1, 3, 4, 0], [1.0, 2.0, 0.5, 0.0, 3.0]
    matrix = sparse.coo_array((np.array(weights, np.float32), (rows, columns)), shape=(3, 5)).asformat(form)
    assert indices_and_values(matrix) == [([1, 3], [2.0, 1.5]), ([], []), ([0], [3.0])]


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_engines_get_no_weight_that_they_would_refuse(weight):
    with pytest.raises(ValueError, match="it must be finite and not negative"):
        indices_and_values(sparse.csr_array(np.array([[0, weight]], np.float32)))


def test_the_names_and_weights_for_rank_features_are_those_it_takes(decoder):
    matrix = random_rows(3)
    for features in ta.vector_tokens(matrix, decoder, names=feature_names(decoder)):
        assert features and all(name and "." not in name and weight > 0 for name, weight in features)
        assert len(dict(features)) == len(features)
