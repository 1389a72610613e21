import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tokalign_helpers as ta
from tokalign_helpers.reading.spectrum import PrincipalComponents


def embeddings(n=60, d=12, seed=0):
    drawn = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return drawn * torch.linspace(3, 0.5, d) + torch.linspace(-1, 4, d)


@pytest.mark.parametrize("centered", [False, True])
@given(n=st.integers(2, 40), d=st.integers(2, 12), seed=st.integers(0, 99))
def test_equals_the_singular_value_decomposition(centered, n, d, seed):
    h = embeddings(n, d, seed)
    matrix = (h.double() - h.double().mean(0) if centered else h.double()).numpy()
    _, values, vectors = np.linalg.svd(matrix, full_matrices=False)
    found = PrincipalComponents.fit(h, centered=centered)
    rank = len(found.directions)
    assert rank == np.linalg.matrix_rank(matrix)
    np.testing.assert_allclose(found.energies, values[:rank] ** 2, rtol=1e-6)
    assert found.total == pytest.approx((matrix**2).sum())
    clear = np.flatnonzero(np.diff(values[:rank], append=0, prepend=values[0] * 2) ** 2 > 1e-3 * values[:1] ** 2)
    for j in set(clear[:-1]) & set(clear + 1) & set(range(rank)):  # well apart from both neighbours
        assert abs(float(vectors[j] @ found.directions[j].double().numpy())) == pytest.approx(1, abs=1e-4)
    gram = found.directions @ found.directions.T
    torch.testing.assert_close(gram, torch.eye(rank), atol=1e-5, rtol=0)


def test_chunks_and_one_matrix_agree():
    h = embeddings(500)
    whole, parts = PrincipalComponents.fit(h), PrincipalComponents.fit(iter(h.split(37)))
    torch.testing.assert_close(whole.directions, parts.directions)
    assert (whole.n, parts.n) == (500, 500)


def test_the_sign_makes_the_mean_coordinate_positive():
    for sign in (1, -1):
        h = sign * embeddings()
        assert ((h @ PrincipalComponents.fit(h).directions.T).mean(0) >= -1e-5).all()


def test_variation_is_the_mean_shift_along_each_component():
    before, after = embeddings(seed=1), embeddings(seed=2)
    components = PrincipalComponents.fit(before)
    by_hand = [np.mean([float((a - b) @ u) for a, b in zip(after, before, strict=True)]) for u in components.directions]
    np.testing.assert_allclose(components.variation(before, after), by_hand, atol=1e-5)
    with pytest.raises(ValueError, match="they must be pairs"):
        components.variation(before, after[:5])


@pytest.mark.parametrize("j", [1, 3])
def test_contributions_add_up(j):
    h = embeddings()
    components = PrincipalComponents.fit(h)
    part, rest = components.contribution(h, j)
    torch.testing.assert_close(part + rest, h)
    torch.testing.assert_close(rest @ components.direction(j), torch.zeros(len(h)), atol=1e-5, rtol=0)


def test_adjusting_moves_along_the_component_only():
    h = embeddings()
    components = PrincipalComponents.fit(h)
    moved = components.adjust(h, -2.5, 2) - h
    torch.testing.assert_close(moved @ components.direction(2), torch.full((len(h),), -2.5))
    torch.testing.assert_close(moved @ components.direction(1), torch.zeros(len(h)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("amount", [float("nan"), float("inf")])
def test_the_amount_must_be_finite(amount):
    h = embeddings()
    with pytest.raises(ValueError, match="must be a finite number"):
        PrincipalComponents.fit(h).adjust(h, amount)


@pytest.mark.parametrize(
    ("h", "m", "said"),
    [
        (torch.zeros(0, 4), None, "there are no embeddings"),
        (torch.zeros(5, 4), None, "nothing varies"),
        (
            torch.ones(5, 4),
            2,
            "the number of components is 2; it must be a whole number from 1 to the rank of these 5 embeddings = 1",
        ),
        (
            embeddings(3),
            4,
            "the number of components is 4; it must be a whole number from 1 to the rank of these 3 embeddings = 3",
        ),
        (torch.full((2, 3), float("nan")), None, "embedding 0 holds NaN"),
        (torch.ones(3), None, "not rows of one"),
    ],
)
def test_what_cannot_be_fitted_is_told(h, m, said):
    with pytest.raises(ValueError, match=said):
        PrincipalComponents.fit(h, m)


def test_identical_texts_have_one_component():
    found = PrincipalComponents.fit(torch.ones(5, 4))
    torch.testing.assert_close(found.directions, torch.full((1, 4), 0.5))
    assert float(found.shares[0]) == pytest.approx(1)
    with pytest.raises(ValueError, match="j is 2; it must be a whole number from 1 to 1"):
        found.direction(2)
    with pytest.raises(ValueError, match=r"expected \(n, 4\)"):
        found.adjust(torch.ones(2, 5), 1.0)


def test_saved_and_loaded(tmp_path):
    found = PrincipalComponents.fit(embeddings(), 3)
    found.save(tmp_path / "u.safetensors")
    again = PrincipalComponents.load(tmp_path / "u.safetensors")
    assert torch.equal(again.directions, found.directions)
    assert (again.n, again.total) == (found.n, found.total)
    (tmp_path / "u.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="holds no principal components"):
        PrincipalComponents.load(tmp_path / "u.safetensors")


def test_a_sweep_reads_what_was_moved(tiny):
    texts = ["What diseases are parrots prone to?", "A garden without birds is a quiet garden."]
    h = tiny.embed(texts)
    u = ta.random_directions(tiny.dimension, 1)[0]
    table = ta.sweep(tiny, h, texts, u, [0, 50.0], k=3)
    assert table["LAR"][1] == ta.align(tiny, texts, h + 50 * u).lar
    assert table["amount"].to_list() == [0, 50]


def test_random_directions_are_unit_vectors():
    drawn = ta.random_directions(100, 7, seed=1)
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(7))
    assert not torch.equal(drawn, ta.random_directions(100, 7, seed=2))
