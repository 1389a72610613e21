"""The sparse vectors are the definition's; texts of any length, in any order and company get their own."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from tokalign_helpers.models import splade
from tokalign_helpers.models.splade import Splade, load_splade

TEXTS = ["The parrot spoke to the parrots in the garden.", "A quiet garden.", "parrot"]


def made_splade(tokenizer, *, max_tokens=256):
    """A random encoder over the tests' own vocabulary; its logits are large enough to differ."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=256, initializer_range=0.3,
    )  # fmt: skip
    padded = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, pad_token="<|end|>")
    return Splade(BertForMaskedLM(config).eval().requires_grad_(False), padded, max_tokens)


def alone(teacher, text):
    """log(1 + relu), then the maximum over the tokens, of one text without padding."""
    ids = teacher.tokenizer(text, truncation=True, max_length=teacher.max_tokens).input_ids
    with torch.no_grad():
        logits = teacher.model(torch.tensor([ids])).logits[0]
    return torch.log1p(torch.relu(logits)).amax(dim=0)


@pytest.mark.parametrize("room", [1, 400 * 30, 1 << 26])
def test_a_vector_is_the_definitions_in_any_company(tokenizer, monkeypatch, room):
    monkeypatch.setattr(splade, "LOGITS", room)
    teacher = made_splade(tokenizer)
    expected = torch.stack([alone(teacher, text) for text in TEXTS])
    torch.testing.assert_close(teacher.vectors(TEXTS), expected, atol=1e-5, rtol=1e-4)
    sparse = teacher.encode(TEXTS)
    assert sparse.shape == (3, len(tokenizer)) and sparse.nnz < 3 * len(tokenizer)
    np.testing.assert_allclose(sparse.toarray(), expected, atol=1e-5, rtol=1e-4)


def test_a_long_text_is_cut_and_no_text_refused(tokenizer):
    teacher = made_splade(tokenizer, max_tokens=4)
    assert torch.equal(teacher.vectors([TEXTS[0]]), teacher.vectors([TEXTS[0] + " And more."]))
    with pytest.raises(ValueError, match="give at least one text"):
        teacher.encode([])


def test_the_packaged_one_knows_what_a_parrot_has_to_do_with():
    teacher = load_splade(device="cpu")
    vectors = teacher.encode(
        ["What diseases are parrots prone to?", "Birds get psittacosis.", "Shares fell on Monday."]
    )
    scores = (vectors @ vectors.T).toarray()
    assert scores[0, 1] > scores[0, 2] and scores[0, 1] > scores[1, 2]
    best = vectors[[0]].toarray()[0].argsort()[::-1][:4]
    assert {"parrot", "disease"} <= set(teacher.tokenizer.convert_ids_to_tokens(best.tolist()))
