from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from tokalign_helpers.reading.postprocessing import (
    Change,
    embed_filter,
    frequency_direction,
    no_change,
    remove_top,
    shift_first,
    spectrum_basis,
    token_counts,
    whiten,
)


def embeddings(n=60, d=12, seed=0):
    drawn = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return drawn * torch.linspace(3, 0.5, d) + torch.linspace(-1, 4, d)


def unembedding(vocabulary=300, d=12, seed=5):
    drawn = torch.randn(vocabulary, d, generator=torch.Generator().manual_seed(seed))
    return drawn @ torch.randn(d, d, generator=torch.Generator().manual_seed(seed + 1)) + 1


def first_direction(h):
    return np.linalg.svd(h.double().numpy(), full_matrices=False)[2][0]


def test_no_change_leaves_all_as_it_is():
    h = embeddings()
    torch.testing.assert_close(no_change(12)(h), h)
    assert no_change(12).dimensions == 12


def test_one_shift_for_all_makes_the_mean_coordinate_zero():
    fitted, other = embeddings(seed=1), embeddings(seed=2)
    u = first_direction(fitted)
    amount = -np.mean([float(row @ u) for row in fitted.double().numpy()])
    expected = np.stack([row + amount * u for row in other.double().numpy()])
    np.testing.assert_allclose(shift_first(fitted)(other), expected, atol=1e-4)


def test_a_shift_of_each_text_takes_u_1_out_of_it():
    fitted, other = embeddings(seed=1), embeddings(seed=2)
    u = first_direction(fitted)
    expected = np.stack([row - (row @ u) * u for row in other.double().numpy()])
    change = remove_top(fitted, 1, centered=False)
    np.testing.assert_allclose(change(other), expected, atol=1e-4)
    assert change.dimensions == 11


@pytest.mark.parametrize("n", [0, 1, 3])
def test_all_but_the_top_subtracts_mean_and_directions(n):
    fitted, other = embeddings(seed=1), embeddings(seed=2)
    mean = fitted.double().numpy().mean(axis=0)
    directions = np.linalg.svd(fitted.double().numpy() - mean, full_matrices=False)[2][:n]
    rows = []
    for row in other.double().numpy() - mean:
        for direction in directions:
            row = row - (row @ direction) * direction
        rows.append(row)
    change = remove_top(fitted, n)
    np.testing.assert_allclose(change(other), np.stack(rows), atol=1e-4)
    assert change.dimensions == 12 - n


@pytest.mark.parametrize("power", [0, 0.25, 0.5])
def test_whitening_divides_by_the_shrunk_standard_deviations(power):
    fitted, other = embeddings(seed=1), embeddings(seed=2)
    estimate = LedoitWolf().fit(fitted.double().numpy())
    variances, directions = np.linalg.eigh(estimate.covariance_)
    coordinates = (other.double().numpy() - estimate.location_) @ directions / variances**power
    np.testing.assert_allclose(whiten(fitted, power)(other), coordinates @ directions.T, atol=1e-4)


def test_whitened_texts_have_unit_covariance():
    h = embeddings(100_000)  # so many that nothing is shrunk
    np.testing.assert_allclose(np.cov(whiten(h)(h).T.double().numpy()), np.eye(12), atol=0.02)


@pytest.mark.parametrize(("share", "kept", "start"), [(1, 12, 0), (0.5, 6, 3), (0.25, 3, 4), (0.01, 1, 5)])
def test_the_filter_keeps_the_middle_singular_vectors(share, kept, start):
    weight, h = unembedding(), embeddings()
    vectors = np.linalg.svd(weight.double().numpy(), full_matrices=False)[2][start : start + kept]
    expected = h.double().numpy() @ vectors.T @ vectors
    np.testing.assert_allclose(embed_filter(weight, share)(h), expected, atol=1e-3)
    basis = spectrum_basis(weight, share)
    assert basis.shape == (12, kept)
    assert embed_filter(weight, share).dimensions == kept
    np.testing.assert_allclose((h @ basis).norm(dim=1), np.linalg.norm(expected, axis=1), rtol=1e-4)


def test_changes_follow_one_another():
    h = embeddings()
    first, second = whiten(embeddings(seed=3), 0.2), embed_filter(unembedding(), 0.5)
    torch.testing.assert_close(first.then(second)(h), second(first(h)), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(first.then(second)(h), first(second(h)), atol=1e-2)


def test_the_frequency_direction_is_the_least_squares_fit():
    weight, generator = unembedding(), np.random.default_rng(0)
    counts = torch.from_numpy(generator.integers(0, 50, size=300))
    seen = counts.numpy() > 0
    design = np.column_stack([weight.double().numpy()[seen], np.ones(seen.sum())])
    fitted = np.linalg.lstsq(design, np.log(counts.numpy()[seen]), rcond=None)[0][:-1]
    np.testing.assert_allclose(frequency_direction(weight, counts), fitted / np.linalg.norm(fitted), atol=1e-4)


def test_the_frequency_direction_is_found_again():
    weight = unembedding()
    planted = torch.nn.functional.normalize(torch.linspace(-1, 1, 12), dim=0)
    counts = torch.exp(weight @ planted * 0.3 + 9).round().long()
    assert float(frequency_direction(weight, counts) @ planted) == pytest.approx(1, abs=0.01)


def test_tokens_are_counted_with_their_repeats(tiny):
    texts = ["The parrot spoke to the parrots.", "What diseases are parrots prone to?", "to to to"]
    expected = [0] * tiny.decoder.vocabulary_size
    for text in texts:
        for token in tiny.tokenizer(text, add_special_tokens=False).input_ids:
            expected[token] += 1
    assert token_counts(tiny, texts).tolist() == expected
    assert max(expected) > 1
    rows = max(tiny.tokenizer(texts, add_special_tokens=False).input_ids[0])  # the tokenizer knows more tokens
    few = SimpleNamespace(tokenizer=tiny.tokenizer, decoder=SimpleNamespace(vocabulary_size=rows))
    assert token_counts(few, texts).tolist() == expected[:rows]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h: remove_top(h, -1), "n is -1"),
        (lambda h: remove_top(h, 13), "the number of components is 13"),
        (lambda h: whiten(h, 0.6), "the power is 0.6"),
        (lambda h: embed_filter(h, 0), "the share is 0"),
        (lambda h: embed_filter(h, 1.1), "the share is 1.1"),
        (lambda h: frequency_direction(h, torch.ones(3)), r"\(3,\) counts for 60 tokens"),
        (lambda h: frequency_direction(h, torch.arange(60) < 12), "only 12 tokens occur"),
        (lambda h: Change(torch.eye(3), torch.zeros(3))(h), r"\(60, 12\); expected \(n, 3\)"),
        (lambda h: no_change(12).then(no_change(3)), r"\(1, 12\); expected \(n, 3\)"),
        (lambda h: whiten(h / 0), "an embedding holds NaN or Inf; it cannot be whitened"),
    ],
)
def test_what_cannot_be_done_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(embeddings())


def test_what_does_not_vary_cannot_be_whitened():
    with pytest.raises(ValueError, match="no variance to whiten"):
        whiten(torch.ones(20, 5), 0.25)
