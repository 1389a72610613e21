"""The decoder layer against a full sort, its refusals, and how tokens are written for people."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from tests.unit.families import pieces_tokenizer
from tokalign_helpers.models.decoding import ROWS, TokenDecoder
from tokalign_helpers.models.heads import Head
from tokalign_helpers.reading.vocabulary import token_kind


def random_decoder(vocabulary, d, seed=0, tokenizer=None):
    return TokenDecoder(torch.randn(vocabulary, d, generator=torch.Generator().manual_seed(seed)), tokenizer)


def embeddings(n, d, seed=1):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def assert_is_the_head_of_a_full_sort(decoder, h, k):
    ids, scores = decoder.top_tokens(h, k)
    everything = h @ decoder.weight.T
    assert ids.shape == scores.shape == (len(h), k)
    assert (ids.dtype, scores.dtype) == (torch.int64, torch.float32)
    torch.testing.assert_close(scores, everything.sort(descending=True).values[:, :k], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores, everything.gather(1, ids), rtol=1e-5, atol=1e-5)
    assert all(len(set(row)) == k for row in ids.tolist())


@given(n=st.integers(1, 6), d=st.integers(1, 8), vocabulary=st.integers(1, 40), seed=st.integers(0, 99), data=st.data())
def test_top_tokens_are_the_head_of_a_full_sort(n, d, vocabulary, seed, data):
    k = data.draw(st.integers(1, vocabulary))
    assert_is_the_head_of_a_full_sort(random_decoder(vocabulary, d, seed), embeddings(n, d, seed), k)


@pytest.mark.parametrize("n", [1, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 3])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_top_tokens_are_right_whatever_the_last_chunk_holds(n, k):
    assert_is_the_head_of_a_full_sort(random_decoder(60, 5), embeddings(n, 5), k)


def test_equal_scores_fill_the_list_with_different_tokens():
    ids, scores = TokenDecoder(torch.ones(5, 2), None).top_tokens(torch.ones(1, 2), 5)
    assert sorted(ids[0].tolist()) == [0, 1, 2, 3, 4]
    assert scores.tolist() == [[2.0] * 5]


def test_scores_are_the_plain_product_without_normalisation():
    decoder, h = random_decoder(30, 4), embeddings(3, 4)
    torch.testing.assert_close(decoder.scores(h), h @ decoder.weight.T)
    torch.testing.assert_close(decoder.scores(10 * h), 10 * decoder.scores(h))


def test_no_embeddings_give_empty_lists():
    ids, scores = random_decoder(10, 3).top_tokens(torch.empty(0, 3), 4)
    assert ids.shape == scores.shape == (0, 4)


def test_half_precision_weights_give_float32_scores():
    decoder = TokenDecoder(random_decoder(30, 4).weight.bfloat16(), None)
    assert decoder.scores(embeddings(2, 4)).dtype == torch.float32
    assert decoder.top_tokens(embeddings(2, 4), 3)[1].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("widened", [1, 12, 13, 1 << 22])
def test_scores_of_half_precision_weights_are_computed_in_float32(dtype, widened, monkeypatch):
    """Whatever part of the matrix is widened at a time; as exact as the weights allow."""
    monkeypatch.setattr("tokalign_helpers.models.decoding.WIDENED", widened)
    decoder, h = TokenDecoder(random_decoder(30, 4).weight.to(dtype), None), embeddings(3, 4)
    expected = (h.double() @ decoder.weight.double().T).float()
    torch.testing.assert_close(decoder.scores(h), expected, atol=1e-5, rtol=1e-5)
    ids, scores = decoder.top_tokens(h, 7)
    torch.testing.assert_close(scores, expected.topk(7).values, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(expected.gather(1, ids), scores, atol=1e-5, rtol=1e-5)


def test_a_thousand_scores_at_16_bits_are_a_thousand_numbers():
    decoder = TokenDecoder(random_decoder(5000, 16).weight.bfloat16(), None)
    _, scores = decoder.top_tokens(embeddings(1, 16), 1000)
    assert len(scores.unique()) > 950


def test_no_second_matrix_is_held_in_float32(monkeypatch):
    monkeypatch.setattr("tokalign_helpers.models.decoding.WIDENED", 100)
    decoder = TokenDecoder(random_decoder(60, 10).weight.bfloat16(), None)
    parts = list(decoder._parts())
    assert [(part.dtype, len(part)) for _, part in parts] == [(torch.float32, 10)] * 6
    whole = random_decoder(60, 10)
    ((_, part),) = whole._parts()
    assert part.data_ptr() == whole.weight.data_ptr()  # float32 weights are read where they are


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_bias_is_added_to_every_score(dtype, monkeypatch):
    monkeypatch.setattr("tokalign_helpers.models.decoding.WIDENED", 20)
    plain = TokenDecoder(random_decoder(30, 4).weight.to(dtype), None)
    bias = torch.arange(30.0)
    biased, h = TokenDecoder(plain.weight, None, Head(4, bias)), embeddings(2, 4)
    torch.testing.assert_close(biased.scores(h), plain.scores(h) + bias)
    _, scores = biased.top_tokens(h, 30)
    torch.testing.assert_close(scores, (plain.scores(h) + bias).sort(descending=True).values)


def test_decoding_changes_neither_embeddings_nor_weights():
    decoder, h = random_decoder(30, 4), embeddings(3, 4)
    weight_before, h_before = decoder.weight.clone(), h.clone()
    decoder.top_tokens(h, 5)
    assert torch.equal(decoder.weight, weight_before)
    assert torch.equal(h, h_before)


def test_embeddings_that_are_being_trained_can_be_read():
    h = embeddings(2, 4).requires_grad_()
    ids, _ = random_decoder(30, 4).top_tokens(h, 3)
    assert torch.equal(ids, random_decoder(30, 4).top_tokens(h.detach(), 3)[0])


@pytest.mark.parametrize("k", [0, -1, 31, 2.0, "3", None, True])
def test_k_out_of_range_or_not_a_whole_number_is_refused(k):
    with pytest.raises(ValueError, match=rf"k is {k!r}; it must be a whole number from 1 to V = 30"):
        random_decoder(30, 4).top_tokens(embeddings(2, 4), k)


@pytest.mark.parametrize("k", [np.int64(3), torch.tensor(3)])
def test_k_may_be_any_kind_of_whole_number(k):
    decoder, h = random_decoder(30, 4), embeddings(2, 4)
    assert torch.equal(decoder.top_tokens(h, k)[0], decoder.top_tokens(h, 3)[0])


@pytest.mark.parametrize("method", ["scores", "top_tokens"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_embedding_with_nan_or_inf_is_refused_by_its_position(method, value):
    h = embeddings(4, 4)
    h[2, 1] = value
    arguments = (h,) if method == "scores" else (h, 3)
    with pytest.raises(ValueError, match="embedding 2 holds NaN or Inf"):
        getattr(random_decoder(30, 4), method)(*arguments)


@pytest.mark.parametrize("shape", [(2, 5), (4,), (1, 2, 4)])
def test_embeddings_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"the shape \(.*\); this decoder reads \(n, 4\)"):
        random_decoder(30, 4).top_tokens(torch.zeros(shape), 3)


@pytest.fixture
def reader(tokenizer):
    return random_decoder(len(tokenizer), 2, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("text", "shown"),
    [(" parrot", "▁parrot"), ("W", "W"), (" ", "▁"), ("\n", r"\n"), ("\t", r"\t"), ("<|end|>", "<|end|>")],
)
def test_a_token_is_written_so_that_spaces_and_line_breaks_show(reader, tokenizer, text, shown):
    (token_id,) = tokenizer(text).input_ids
    assert reader.token(token_id) == shown


def test_the_bytes_of_a_split_character_are_named(reader, tokenizer):
    assert [reader.token(i) for i in tokenizer("🦜").input_ids] == ["<F0>", "<9F>", "<A6>", "<9C>"]


def test_every_token_has_a_string(reader):
    strings = [reader.token(i) for i in range(reader.vocabulary_size)]
    assert all(strings)
    assert "\ufffd" not in "".join(strings)


def test_rows_of_a_padded_vocabulary_are_named_by_their_number(tokenizer):
    """Many models have more rows than tokens, so that the matrix is a multiple of 64 or 128."""
    size = len(tokenizer)
    padded = random_decoder(size + 3, 2, tokenizer=tokenizer)
    assert [padded.token(size + i) for i in range(3)] == [f"<unused {size + i}>" for i in range(3)]
    assert token_kind(padded.token(size)) == "other"
    assert len(set(padded.folded[size:].tolist())) == 3  # two of them are not one word in two spellings


def small_vocabulary(vocabulary, decoder=None):
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    if decoder:
        made.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def test_a_gap_in_the_numbering_is_named_as_well():
    reader = random_decoder(6, 2, tokenizer=small_vocabulary({"<unk>": 0, "beak": 1, "wing": 5}))
    assert [reader.token(i) for i in (1, 2, 5)] == ["beak", "<unused 2>", "wing"]


@pytest.mark.parametrize("token", ["\u202egnirts", "a\u200bb", "\x1b[2Jgone", "\x9b2J", "\u2066x\u2069", "\ue000"])
@pytest.mark.parametrize("mark", ["", "▁"])
def test_no_stored_token_reaches_the_screen_raw(token, mark):
    reader = random_decoder(2, 2, tokenizer=small_vocabulary({"<unk>": 0, mark + token: 1}))
    shown = reader.token(1)
    assert shown.isprintable()
    assert shown == mark + "".join(c if c.isprintable() else repr(c)[1:-1] for c in token)


def test_the_bytes_of_sentencepiece_are_named_once():
    tokenizer = pieces_tokenizer()
    reader = random_decoder(len(tokenizer), 2, tokenizer=tokenizer)
    ids = tokenizer.convert_tokens_to_ids(["<0xE2>", "<0x80>", "<0xFF>", "<0x0A>", "<0x41>"])
    assert [reader.token(i) for i in ids] == ["<E2>", "<80>", "<FF>", r"\n", "A"]


def test_the_sign_for_a_lost_character_is_no_byte():
    reader = random_decoder(2, 2, tokenizer=small_vocabulary({"<unk>": 0, "é\ufffd": 1}, decoders.Fuse()))
    assert reader.token(1) == "é\ufffd"


@pytest.mark.parametrize("token_id", [-1, 30, 1.5, True, None])
def test_a_token_outside_the_vocabulary_is_refused(token_id, tokenizer):
    with pytest.raises(ValueError, match=rf"token_id is {token_id}; it must be a whole number from 0 to V − 1 = 29"):
        random_decoder(30, 2, tokenizer=tokenizer).token(token_id)


def test_folding_joins_tokens_that_differ_in_case_or_leading_space(smol):
    words = ("bird", " bird", "Bird", " Bird", " birds")
    bird, spaced, capital, both, other = smol.decoder.folded[[smol.tokenizer(w).input_ids[0] for w in words]]
    assert bird == spaced == capital == both
    assert other != bird


def test_folding_names_a_class_by_its_smallest_id(reader):
    classes = reader.folded
    assert classes.shape == (reader.vocabulary_size,)
    assert (classes <= torch.arange(reader.vocabulary_size)).all()
    assert torch.equal(classes[classes], classes)
