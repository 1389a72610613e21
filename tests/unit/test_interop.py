"""The SparseEncoder made from an embedder: saved and loaded by sentence-transformers itself, on tiny random models."""

import json

import numpy as np
import pytest
import torch

import tokalign_helpers as ta
from tests.unit.conftest import CORPUS

theirs = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
from tokalign_helpers.retrieval.interop import recipe_encoder, sparse_encoder  # noqa: E402

QUERIES = ["What diseases?", "a quiet garden"]


def loaded(folder):
    return theirs.SparseEncoder(str(folder), trust_remote_code=True, device="cpu")


def both(encoder):
    return [encode(QUERIES).to_dense() for encode in (encoder.encode_document, encoder.encode_query)]


@pytest.fixture(params=[ta.EOL, "{text}"])
def embedder(request, tiny):
    return tiny.with_input_format(template=request.param, query_template="ask: {text}", max_tokens=20)


@pytest.mark.parametrize("weights", ["raw", "log"])
def test_a_saved_encoder_gives_the_same_vectors(embedder, weights, tmp_path):
    idf = np.linspace(0.5, 2, embedder.decoder.vocabulary_size).astype(np.float32)
    encoder = sparse_encoder(embedder, 50, 10, weights=weights, importance=idf)
    encoder.save_pretrained(str(tmp_path / "saved"))
    for found, expected in zip(both(loaded(tmp_path / "saved")), both(encoder), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)
    h = embedder.embed(QUERIES, cache=False, progress=False)
    expected = ta.sparsify_documents(embedder.decoder, h, 50, weights=weights).toarray()
    np.testing.assert_allclose(both(encoder)[0].numpy(), expected, atol=1e-5)


def test_a_query_is_read_as_the_embedder_reads_queries(embedder):
    q = embedder.for_queries().embed(QUERIES, cache=False, progress=False)
    literal = embedder.literal_tokens(QUERIES)
    expected = ta.sparsify_queries(embedder.decoder, literal, q, 10).toarray()
    np.testing.assert_allclose(both(sparse_encoder(embedder, 50, 10))[1].numpy(), expected, atol=1e-5)


def test_a_saved_recipe_gives_the_same_vectors(embedder, tmp_path):
    h, literal = embedder.embed(CORPUS, cache=False, progress=False), embedder.literal_tokens(CORPUS)
    recipe = ta.SparseRecipe.fit(embedder.decoder, h, literal, k=50, m=20)
    encoder = recipe_encoder(embedder, recipe)
    encoder.save_pretrained(str(tmp_path / "saved"))
    again = loaded(tmp_path / "saved")
    for found, expected in zip(both(again), both(encoder), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)
    expected = recipe.documents(embedder.embed(QUERIES, cache=False, progress=False)).toarray()
    np.testing.assert_allclose(both(again)[0].numpy(), expected, atol=1e-5)


def test_the_files_name_the_class_and_the_kind_that_other_tools_look_for(embedder, tmp_path):
    sparse_encoder(embedder, 50, 10).save_pretrained(str(tmp_path))
    (module,) = json.loads((tmp_path / "modules.json").read_text())
    assert module["type"] == "tokalign_helpers.retrieval.interop.AlignedTokens"
    if int(theirs.__version__.split(".")[0]) >= 6:
        about = json.loads((tmp_path / "config_sentence_transformers.json").read_text())
        assert about["model_type"] == "SparseEncoder" and about["similarity_fn_name"] == "dot"


def test_what_a_file_cannot_hold_is_refused(tiny, tmp_path):
    from dataclasses import replace

    encoder = sparse_encoder(replace(tiny, pooling=lambda hidden, mask: hidden[:, 0]), 50, 10)
    with pytest.raises(ValueError, match="which a file cannot hold; only last, mean, wmean, cls can be saved"):
        encoder.save_pretrained(str(tmp_path))


def test_a_damaged_folder_is_one_line(embedder, tmp_path):
    sparse_encoder(embedder, 50, 10).save_pretrained(str(tmp_path))
    (config,) = tmp_path.glob("*/config.json")
    config.write_text("{}")
    with pytest.raises(ValueError, match="is no sparse encoder that can be read; save it again") as caught:
        loaded(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_prompt_is_set_before_the_texts(embedder):
    encoder = sparse_encoder(embedder, 50, 10)
    with_prompt = encoder.encode_document(QUERIES, prompt="the beak: ").to_dense()
    by_hand = encoder.encode_document([f"the beak: {text}" for text in QUERIES]).to_dense()
    assert torch.equal(with_prompt, by_hand)
