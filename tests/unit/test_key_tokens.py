"""Key tokens: by how few texts have them, and by marks that people made."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tokalign_helpers as ta
from tokalign_helpers.reading.key_tokens import distinctive_tokens, key_shares, tokens_of_words, word_agreement

SETS = st.lists(st.sets(st.integers(0, 20), min_size=1, max_size=9), min_size=1, max_size=6)


@given(SETS, st.floats(0.05, 1))
def test_distinctive_tokens_are_the_rarest_of_their_text(literal, share):
    for own, best in zip(literal, distinctive_tokens(literal, share), strict=True):
        assert best <= own
        assert len(best) == math.ceil(share * len(own))
        count = {token: sum(token in tokens for tokens in literal) for token in own}
        assert all(count[a] <= count[b] for a in best for b in own - best)


@pytest.mark.parametrize("share", [0, -1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        distinctive_tokens([{1}], share)


def test_the_tokens_of_a_word_are_found_wherever_it_stands(tiny):
    text = "The parrot's garden has a parrot, a gardener and a well-known Parrot."
    (found,) = tokens_of_words(tiny, [text], [["parrot", "well-known"]])
    read = tiny.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    classes = tiny.decoder.folded
    expected = set()
    for token, (start, end) in zip(read.input_ids, read.offset_mapping, strict=True):
        if any(start < stop and end > begin for begin, stop in ((4, 12), (26, 32), (51, 61))):
            expected.add(int(classes[token]))
    assert found == expected
    with pytest.raises(ValueError, match="'garde' is not a word of .The parrot"):
        tokens_of_words(tiny, [text], [["garde"]])
    with pytest.raises(ValueError, match="2 lists of words for 1 texts"):
        tokens_of_words(tiny, [text], [[], []])


def test_the_shares_of_key_tokens():
    alignment = ta.Alignment(torch.tensor([[1, 2, 9, 9], [8, 8, 8, 8]]), [{1, 2, 3, 4}, {5, 6}])
    shares = key_shares(alignment, [{1, 3, 7}, {5}])
    assert shares.iloc[0].tolist() == [0.5, 0.5, 0.5, 0.5]
    assert shares.iloc[1].isna().tolist() == [False, True, False, False]
    assert shares["key recalled"].tolist() == [0.5, 0.0]
    with pytest.raises(ValueError, match="1 sets of key tokens for 2 texts"):
        key_shares(alignment, [{1}])


def test_agreement_is_cohens_kappa():
    texts, marks = ["a parrot sings loud", "the garden sleeps"], [["parrot"], ["garden"]]
    assert word_agreement(texts, marks, marks) == 1
    # 7 words; both mark parrot, one of them garden besides: observed 6/7, by chance (2·1 + 5·6) / 49.
    expected = (6 / 7 - 32 / 49) / (1 - 32 / 49)
    assert word_agreement(texts, marks, [["parrot"], []]) == pytest.approx(expected)
