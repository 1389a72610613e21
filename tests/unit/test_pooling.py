"""The three poolings against a loop over positions, under both paddings."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokalign_helpers.models.pooling import last_token, mean, weighted_mean


def loop_last(states):
    return states[-1]


def loop_mean(states):
    return [sum(state[j] for state in states) / len(states) for j in range(len(states[0]))]


def loop_weighted(states):
    total = len(states) * (len(states) + 1) / 2
    return [sum((i + 1) * s[j] for i, s in enumerate(states)) / total for j in range(len(states[0]))]


POOLINGS = [
    pytest.param(last_token, loop_last, id="last"),
    pytest.param(mean, loop_mean, id="mean"),
    pytest.param(weighted_mean, loop_weighted, id="weighted"),
]
NUMBERS = st.floats(-1000, 1000, width=32)


@st.composite
def batches(draw):
    """Texts of unlike lengths: for each, its list of states."""
    d = draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    state = st.lists(NUMBERS, min_size=d, max_size=d)
    return [draw(st.lists(state, min_size=n, max_size=n)) for n in lengths]


def pad(texts, side, filler):
    length, d = max(map(len, texts)), len(texts[0][0])
    hidden = torch.full((len(texts), length, d), filler)
    mask = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, states in enumerate(texts):
        place = slice(0, len(states)) if side == "right" else slice(length - len(states), length)
        hidden[row, place], mask[row, place] = torch.tensor(states), 1
    return hidden, mask


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("pooling", "loop"), POOLINGS)
@given(texts=batches(), filler=NUMBERS)
def test_pooling_equals_a_loop_over_the_real_tokens(pooling, loop, side, texts, filler):
    pooled = pooling(*pad(texts, side, filler))
    expected = torch.tensor([loop(states) for states in texts])
    torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("pooling", "loop"), POOLINGS)
@given(texts=batches())
def test_pooling_does_not_depend_on_the_side_of_the_padding(pooling, loop, texts):
    left, right = pooling(*pad(texts, "left", 7.0)), pooling(*pad(texts, "right", -7.0))
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-3)


def test_weighted_mean_of_two_tokens_is_one_third_and_two_thirds():
    hidden, mask = pad([[[3.0], [6.0]]], "left", 0.0)
    assert weighted_mean(hidden, mask).item() == pytest.approx(5.0)


@pytest.mark.parametrize(("pooling", "loop"), POOLINGS)
def test_pooling_keeps_the_type_of_half_precision_states(pooling, loop):
    hidden, mask = pad([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]], "right", 0.0)
    pooled = pooling(hidden.bfloat16(), mask)
    assert pooled.dtype == torch.bfloat16
    assert pooled[1].tolist() == [5.0, 6.0]
