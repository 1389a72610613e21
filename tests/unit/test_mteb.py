"""MTEB run from end to end on the sparse encoder, against the package's own run and evaluation; no hub, no download."""

import json

import numpy as np
import pytest

import tokalign_helpers as ta

mteb = pytest.importorskip("mteb", reason="mteb is not installed")
theirs = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
from datasets import Dataset  # noqa: E402
from mteb.abstasks.retrieval import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402

from tokalign_helpers.retrieval.interop import recipe_encoder, sparse_encoder  # noqa: E402

K, M, WEIGHTS = 60, 20, "log"


class Likes(AbsTaskRetrieval):
    metadata = TaskMetadata(
        name="Likes", type="Retrieval", description="Who likes what", category="t2t", modalities=["text"],
        dataset={"path": "likes", "revision": "1"}, eval_splits=["test"], eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )  # fmt: skip

    def load_data(self, num_proc=None, **_):
        documents, queries, relevant = ta.load_likes_collection()
        corpus, asked = (
            Dataset.from_list([{"id": name, "text": text} for name, text in texts.items()])
            for texts in (documents, queries)
        )
        whole = {"corpus": corpus, "queries": asked, "relevant_docs": relevant, "top_ranked": None}
        self.dataset, self.data_loaded = {"default": {"test": whole}}, True


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No name of a model is looked up, and nothing is kept where the user's results are."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def collection():
    return ta.load_likes_collection()


@pytest.fixture
def embedder(tiny):
    return tiny.with_input_format(query_template="ask: {text}", max_tokens=40)


def evaluate(model, folder=None, cache=None):
    return mteb.evaluate(
        model, Likes(), cache=cache, show_progress_bar=False, prediction_folder=folder, co2_tracker=False
    )


def embeddings(embedder, collection):
    """Return those of the documents and of the queries, and the queries' literal tokens."""
    documents, queries = list(collection.documents.values()), list(collection.queries.values())
    embed = lambda reader, texts: reader.embed(texts, cache=False, progress=False)  # noqa: E731
    return embed(embedder, documents), embed(embedder.for_queries(), queries), embedder.literal_tokens(queries)


def own_run(embedder, collection, k=K, m=M, idf=None):
    h, q, literal = embeddings(embedder, collection)
    index = ta.SparseIndex.of(collection.documents, ta.sparsify_documents(embedder.decoder, h, k, weights=WEIGHTS))
    vectors = ta.sparsify_queries(embedder.decoder, literal, q, m, importance=idf)
    return ta.sparse_run(collection.queries, index, q=vectors)


def ranked(model, folder):
    """Return what MTEB says of a model, its nDCG@10, and its run."""
    result = evaluate(model, folder)
    (scores,) = result.task_results[0].scores["test"]
    (file,) = folder.glob("*.json")
    return result, scores["ndcg_at_10"], json.loads(file.read_text(encoding="utf-8"))["default"]["test"]


def ours(run, collection):
    return ta.evaluate_run(run, collection.relevant)["nDCG@10"].mean()


def agree(model, run, collection, folder):
    """Compare MTEB's figure with ours, and its run with ours score by score."""
    result, ndcg, found = ranked(model, folder)
    assert ndcg == pytest.approx(ours(run, collection), abs=1e-4)  # it has five decimals
    assert 0.1 < ndcg < 0.9  # neither nothing nor everything is found
    assert set(found) == set(run)
    for query, hits in run.items():
        np.testing.assert_allclose([found[query][name] for name in hits], list(hits.values()), rtol=1e-4, atol=1e-5)
    return result


@pytest.fixture
def idf(embedder):
    return np.linspace(0.5, 2, embedder.decoder.vocabulary_size).astype(np.float32)


def test_mteb_finds_what_the_package_finds(embedder, idf, collection, tmp_path):
    encoder = sparse_encoder(embedder, K, M, weights=WEIGHTS, importance=idf)
    run = own_run(embedder, collection, idf=idf)
    made = agree(encoder, run, collection, tmp_path / "made")
    encoder.save_pretrained(str(tmp_path / "saved"))
    again = theirs.SparseEncoder(str(tmp_path / "saved"), trust_remote_code=True, device="cpu")
    loaded = agree(again, run, collection, tmp_path / "loaded")
    assert made.model_name == loaded.model_name == "tokalign/tiny"
    assert made.model_revision == loaded.model_revision


def test_mteb_finds_by_a_recipe_what_the_recipe_finds(embedder, collection, tmp_path):
    h, q, literal = embeddings(embedder, collection)
    recipe = ta.SparseRecipe.fit(embedder.decoder, h, embedder.literal_tokens(collection.documents.values()), k=K, m=M)
    run = recipe.run(dict(zip(collection.queries, literal, strict=True)), collection.documents, q=q, h=h)
    agree(recipe_encoder(embedder, recipe), run, collection, tmp_path)


def test_mteb_takes_it_for_a_sparse_encoder(embedder, tmp_path):
    from mteb.models import ModelMeta, SparseEncoderWrapper

    encoder = sparse_encoder(embedder, K, M)
    meta = ModelMeta.from_sparse_encoder_model(encoder)
    assert meta.model_type == ["sparse"] and meta.loader is SparseEncoderWrapper
    assert (meta.similarity_fn_name.value, meta.max_tokens) == ("dot", 40)
    assert meta.embed_dim == embedder.decoder.vocabulary_size
    encoder.save_pretrained(str(tmp_path))
    wrapped = SparseEncoderWrapper(str(tmp_path), trust_remote_code=True, device="cpu")
    scores = [evaluate(model).task_results[0].get_score() for model in (wrapped, encoder)]
    assert scores[0] == scores[1]


def test_results_that_mteb_keeps_are_those_of_one_encoder(embedder, tmp_path):
    cache = mteb.ResultCache(cache_path=tmp_path)
    encoders = [sparse_encoder(embedder, k, m, weights=WEIGHTS) for k, m in ((K, M), (2, 0))]
    encoders.append(sparse_encoder(embedder, K, M, weights=WEIGHTS))
    encoders[-1].max_seq_length = 2
    kept = [evaluate(encoder, cache=cache).task_results[0].get_score() for encoder in encoders]
    assert kept == [evaluate(encoder).task_results[0].get_score() for encoder in encoders]
    assert len(set(kept)) == 3


def test_where_few_documents_share_a_token_mteb_ranks_the_others_too(embedder, collection, tmp_path):
    run = own_run(embedder, collection, 2, 0)
    _, ndcg, found = ranked(sparse_encoder(embedder, 2, 0, weights=WEIGHTS), tmp_path)
    sharing = {query: {name: score for name, score in hits.items() if score} for query, hits in found.items()}
    assert {query: set(hits) for query, hits in sharing.items()} == {query: set(hits) for query, hits in run.items()}
    assert ours(sharing, collection) == pytest.approx(ours(run, collection))
    assert ours(found, collection) == pytest.approx(ndcg, abs=1e-4)
    assert ours(run, collection) < ndcg - 0.05
