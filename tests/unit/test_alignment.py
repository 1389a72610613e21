import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tokalign_helpers as ta
from tokalign_helpers.reading.alignment import marked_pieces

V = 30
TOKEN_SETS = st.lists(st.sets(st.integers(0, V - 1), min_size=1, max_size=8), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(TOKEN_SETS, st.integers(1, 8), st.integers(0, 1000))
def test_the_rates_are_their_set_definitions(literal, k, seed):
    order = torch.stack(
        [torch.randperm(V, generator=torch.Generator().manual_seed(seed + i)) for i in range(len(literal))]
    )
    rows = order.tolist()
    own = [set(row[: len(t)]) & t for row, t in zip(rows, literal, strict=True)]
    hits = [bool(set(row[:k]) & t) for row, t in zip(rows, literal, strict=True)]
    alignment = ta.Alignment(order, literal)
    assert alignment.hit_at(k) == pytest.approx(sum(hits) / len(hits))
    local = sum(len(o) / len(t) for o, t in zip(own, literal, strict=True)) / len(literal)
    assert alignment.lar == pytest.approx(local)
    whole = len(set().union(*own)) / len(set().union(*literal))
    assert alignment.gar == pytest.approx(whole)
    table = alignment.rates(k).set_index("rate")
    assert table["value"].to_list() == pytest.approx([sum(hits) / len(hits), local, whole])
    assert not (table["low"] > table["value"]).any()  # so few texts have no interval but for Hit@K
    assert not (table["value"] > table["high"]).any()
    assert table.loc["Hit@K", ["low", "high"]].notna().all()


def test_a_text_without_tokens_is_left_out():
    aligned = torch.tensor([[1, 2], [3, 4]])
    alignment = ta.Alignment(aligned, [{1}, set()])
    assert alignment.lar == alignment.gar == alignment.hit_at(1) == 1.0
    assert alignment.matched_tokens() == [{1}, set()]


def test_too_few_aligned_tokens_are_refused():
    with pytest.raises(ValueError, match="there are 2 aligned tokens for each text; 3 are needed"):
        ta.Alignment(torch.tensor([[1, 2]]), [{1, 2, 3}])
    with pytest.raises(ValueError, match="there are 2 aligned tokens for each text; 5 are needed"):
        ta.Alignment(torch.tensor([[1, 2]]), [{1}]).hit_at(5)
    with pytest.raises(ValueError, match="no text has any token"):
        ta.Alignment(torch.tensor([[1, 2]]), [set()])
    with pytest.raises(ValueError, match="2 rows of aligned tokens for 1 texts"):
        ta.Alignment(torch.tensor([[1, 2], [3, 4]]), [{1}])
    smol = ta.load_embedder("smol-wmean")
    with pytest.raises(ValueError, match="1 embeddings for 2 texts"):
        ta.align(smol, ["a", "b"], torch.zeros(1, smol.dimension))


def test_folding_puts_case_and_leading_space_aside(tiny):
    token = {text: tiny.tokenizer(text, add_special_tokens=False).input_ids for text in ("Parrot", " parrot")}
    plain, spaced = (ids[0] for ids in token.values())
    classes = tiny.decoder.folded
    alignment = ta.Alignment(torch.tensor([[plain]]), [{spaced}], tiny.decoder)
    assert alignment.lar == 0
    assert alignment.folded().lar == float(classes[plain] == classes[spaced])
    with pytest.raises(ValueError, match="has no decoder"):
        ta.Alignment(torch.tensor([[1]]), [{1}]).folded()


def test_the_alignment_of_the_first_texts():
    alignment = ta.Alignment(torch.tensor([[1, 2], [3, 4], [5, 6]]), [{1}, {4}, {6, 7}])
    assert alignment.head(2).lar == (1 + 0) / 2
    with pytest.raises(ValueError, match="from 1 to the number of texts = 3"):
        alignment.head(4)


def test_frequent_answers_are_the_commonest_tokens():
    alignment = ta.Alignment(torch.zeros(3, 5, dtype=int), [{1, 2}, {1, 3}, {1, 2}])
    assert alignment.frequency_baseline(2).aligned.tolist() == [[1, 2]] * 3
    assert alignment.frequency_baseline().aligned.tolist() == [[1, 2, 3]] * 3
    assert alignment.frequency_baseline(2).literal == alignment.literal
    with pytest.raises(ValueError, match="3 distinct tokens; k is 9"):
        alignment.frequency_baseline(9)


def test_shuffled_keeps_no_set_in_its_place():
    literal = [{i} for i in range(50)]
    mixed = ta.Alignment(torch.zeros(50, 1, dtype=int), literal).shuffled_baseline().literal
    assert sorted(map(min, mixed)) == list(range(50))
    assert all(a != b for a, b in zip(literal, mixed, strict=True))


def test_aligned_tokens_say_which_stand_in_the_text():
    eol = ta.load_embedder("smol-eol")
    text = "Cats sleep most of the day, and cats hunt at night."
    table = ta.aligned_tokens(eol, [text, "Another text."], k=20)
    first = table[table["text"] == 0]
    assert first["rank"].to_list() == list(range(1, 21))
    assert first["score"].is_monotonic_decreasing
    assert set(first["id"][first["in_text"]]) == set(first["id"]) & eol.literal_tokens([text])[0]
    assert (first["folded_in_text"] | ~first["in_text"]).all()
    assert first["in_text"].any()


@pytest.mark.parametrize("text", ["Cats sleep, cats hunt.", "🦜 a 🎉🎉", "  two  spaces ", "naïve café"])
def test_marked_pieces_joined_are_the_text(text):
    pieces = marked_pieces(ta.load_embedder("smol-eol"), text, range(0, 49_152, 7))
    assert "".join(piece for piece, _ in pieces) == text


def test_k_beyond_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="49,?152"):
        ta.aligned_tokens(ta.load_embedder("smol-eol"), ["a text"], k=49_153)
