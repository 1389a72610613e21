"""The SparseEncoder made from an embedder; skipped where the extra ``interop`` is not installed."""

import numpy as np
import pytest
import torch

import tokalign_helpers as ta

TEXTS = ["The parrot spoke.", "A garden without birds is quiet.", "What diseases?"]


@pytest.fixture
def embedder():
    return ta.load_embedder("smol-eol")


def test_the_encoder_gives_the_packages_vectors(embedder):
    pytest.importorskip("sentence_transformers")
    from tokalign_helpers.retrieval.interop import sparse_encoder

    idf = np.linspace(0.5, 2, embedder.decoder.vocabulary_size).astype(np.float32)
    encoder = sparse_encoder(embedder, 50, 10, weights="log", importance=idf)
    h = embedder.embed(TEXTS, cache=False, progress=False)
    documents = ta.sparsify_documents(embedder.decoder, h, 50, weights="log").toarray()
    queries = ta.sparsify_queries(embedder.decoder, embedder.literal_tokens(TEXTS), h, 10, importance=idf).toarray()
    for encode, expected in ((encoder.encode_document, documents), (encoder.encode_query, queries)):
        found = encode(TEXTS)
        assert found.layout in (torch.sparse_coo, torch.sparse_csr)
        np.testing.assert_allclose(found.to_dense().numpy(), expected, rtol=1e-4, atol=1e-4)
    similarity = encoder.similarity(encoder.encode_query(TEXTS), encoder.encode_document(TEXTS))
    np.testing.assert_allclose(similarity.numpy(), queries @ documents.T, rtol=1e-3)


def test_its_evaluator_runs_on_the_encoder(embedder, tmp_path):
    pytest.importorskip("sentence_transformers")
    from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator

    from tokalign_helpers.retrieval.interop import sparse_encoder

    corpus = {str(i): text for i, text in enumerate(TEXTS)}
    judge = SparseInformationRetrievalEvaluator({"q": TEXTS[0]}, corpus, {"q": {"0"}}, ndcg_at_k=[3], map_at_k=[3],
                                                mrr_at_k=[3], accuracy_at_k=[1], precision_recall_at_k=[1])  # fmt: skip
    found = judge(sparse_encoder(embedder, 200, 10), output_path=str(tmp_path))
    assert found["dot_ndcg@3"] == 1
