"""The SparseEncoder made from an embedder: saved and loaded by sentence-transformers itself, on tiny random models."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import tokalign_helpers as ta
from tests.unit.conftest import CORPUS
from tokalign_helpers.models.heads import Head

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


def test_the_words_of_a_prompt_are_no_literal_tokens_of_the_query(embedder):
    encoder = sparse_encoder(embedder, 50, 10)
    q = embedder.for_queries().embed([f"the beak: {text}" for text in QUERIES], cache=False, progress=False)
    expected = ta.sparsify_queries(embedder.decoder, embedder.literal_tokens(QUERIES), q, 10).toarray()
    found = encoder.encode_query(QUERIES, prompt="the beak: ").to_dense()
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_a_limit_set_on_the_encoder_is_the_limit_of_the_embedder(embedder):
    encoder = sparse_encoder(embedder, 50, 10)
    assert encoder.max_seq_length == 20
    encoder.max_seq_length = 2
    expected = both(sparse_encoder(embedder.with_input_format(max_tokens=2), 50, 10))
    assert all(torch.equal(found, own) for found, own in zip(both(encoder), expected, strict=True))
    with pytest.raises(ValueError, match="max_tokens is 0"):
        encoder.max_seq_length = 0


def identity(encoder):
    return encoder.model_card_data.model_name, encoder.model_card_data.base_model_revision


def test_encoders_with_other_vectors_have_other_revisions(embedder, tiny_folder, tmp_path):
    h, literal = embedder.embed(CORPUS, cache=False, progress=False), embedder.literal_tokens(CORPUS)
    recipe = ta.SparseRecipe.fit(embedder.decoder, h, literal, k=50, m=20)
    idf = np.ones(embedder.decoder.vocabulary_size, dtype=np.float32)
    encoders = [
        sparse_encoder(embedder, 50, 10),
        sparse_encoder(embedder, 50, 9),
        sparse_encoder(embedder, 50, 10, importance=idf),
        sparse_encoder(embedder, 50, 10, importance=idf * 2),
        sparse_encoder(embedder.with_template("Say {text}"), 50, 10),
        recipe_encoder(embedder, recipe),
        recipe_encoder(embedder, replace(recipe, own=0.5)),
    ]
    names, revisions = zip(*map(identity, encoders), strict=True)
    assert set(names) == {"tokalign/tiny"} and len(set(revisions)) == len(encoders)
    for encoder in (encoders[2], encoders[-1]):
        encoder.save_pretrained(str(tmp_path / "saved"))
        assert identity(loaded(tmp_path / "saved")) == identity(encoder)
    encoder = encoders[0]
    encoder.max_seq_length = 2
    assert identity(encoder)[1] not in revisions


def test_what_cannot_be_recognised_has_a_revision_of_its_own(tiny):
    class Odd:
        def __call__(self, hidden, mask):
            return hidden[:, 0] * len(open(__file__).read())

    odd = replace(tiny, pooling=Odd(), name="some/odd: one")
    first, second = (identity(sparse_encoder(odd, 50, 10)) for _ in range(2))
    assert first[0] == second[0] == "tokalign/some-odd-one"
    assert first[1] != second[1]


def test_a_name_that_was_given_stays(embedder):
    from sentence_transformers.sparse_encoder.model_card import SparseEncoderModelCardData

    encoder = sparse_encoder(embedder, 50, 10)
    given = SparseEncoderModelCardData(model_name="me/mine")
    again = theirs.SparseEncoder(modules=[encoder[0]], model_card_data=given, device="cpu")
    assert identity(again) == ("me/mine", identity(encoder)[1])


@pytest.mark.parametrize("tied", [True, False])
def test_an_encoder_moves_with_all_its_parts(tiny_folder, tied):
    embedder = ta.load_embedder(tiny_folder, pooling=ta.last_token)
    own = embedder.model.get_input_embeddings().weight.detach() if tied else embedder.unembedding
    embedder = replace(embedder, unembedding=own, head=Head(16, torch.zeros(len(own))))
    h, literal = embedder.embed(CORPUS, cache=False, progress=False), embedder.literal_tokens(CORPUS)
    recipe = ta.SparseRecipe.fit(embedder.decoder, h, literal, k=50, m=20)
    encoder = recipe_encoder(embedder, recipe).to("meta")  # the one other device that every machine has
    moved = encoder[0].embedder
    tensors = (moved.model.get_input_embeddings().weight, moved.unembedding, moved.head.bias)
    assert {tensor.device.type for tensor in (*tensors, encoder[0].recipe.decoder.weight)} == {"meta"}


def test_an_encoder_stays_on_the_device_of_its_embedder(embedder):
    before = embedder.model
    encoder = sparse_encoder(embedder, 50, 10)
    assert encoder.half()[0].embedder is embedder and embedder.model is before
