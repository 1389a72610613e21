"""The sparse recipe, judged against its definition in plain dense arithmetic."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tokalign_helpers as ta
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.models.heads import Head
from tokalign_helpers.reading.explain import tight_decoder, tight_map
from tokalign_helpers.retrieval import recipe as module
from tokalign_helpers.retrieval import sparse as sparse_module
from tokalign_helpers.retrieval.recipe import SparseRecipe, keep_largest

V, D = 60, 8


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def decoder(tokenizer):
    skewed = random(V, D, seed=0) * torch.linspace(0.2, 3, D) + 1  # directions that count many times, and a common part
    return TokenDecoder(skewed, tokenizer)


H, Q = random(30, D, seed=1) * torch.linspace(3, 0.3, D) + 2, random(5, D, seed=2) + 2
LITERAL = [{i % V, (7 * i) % V} for i in range(30)]
ASKED = [{1, 2}, {3}, set(), {59}, {5, 7, 9}]


@pytest.fixture(scope="module")
def recipe(decoder):
    return SparseRecipe.fit(decoder, H, LITERAL, k=20, m=15)


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


def defined(decoder, h, k, scale=200.0):
    """The recipe's rows, by hand: whitened, unit length, tight frame, best positive ones, log, unit length."""
    frame = tight_decoder(decoder).double()
    scores = unit(ta.postprocessing.whiten(H, 0.25)(h)).double() @ frame.T
    bound = scores.sort(dim=1, descending=True).values[:, k - 1 : k]
    kept = torch.where((scores >= bound) & (scores > 0), torch.log1p(scale * scores.clamp(min=0)), 0.0)
    return unit(kept)


def test_documents_are_the_definitions(decoder, recipe):
    found = recipe.documents(H)
    assert found.has_sorted_indices and found.data.min() > 0 and found.dtype == np.float32
    np.testing.assert_allclose(found.toarray(), defined(decoder, H, 20), atol=1e-5)


def test_queries_add_literal_tokens_by_their_rarity(decoder, recipe):
    idf = ta.token_importance(LITERAL, V)
    own = np.zeros((5, V))
    for row, tokens in zip(own, ASKED, strict=True):
        row[list(tokens)] = idf[list(tokens)]
        row /= np.linalg.norm(row) or 1
    np.testing.assert_allclose(recipe.queries(ASKED, Q).toarray(), defined(decoder, Q, 15) + own, atol=1e-5)


def test_with_all_tokens_of_the_tight_frame_the_dot_product_is_the_cosine(decoder, recipe):
    """Not so in E_g itself, whose common directions count many times."""
    z, cosines = recipe.mapped(H), unit(recipe.change(H)) @ unit(recipe.change(H)).T
    scores = decoder.scores(z)
    torch.testing.assert_close(scores @ scores.T, cosines, atol=1e-5, rtol=0)
    plain = unit(decoder.scores(unit(recipe.change(H))))
    assert (plain @ plain.T - cosines).abs().max() > 0.1


def test_the_map_makes_the_frame(decoder):
    torch.testing.assert_close(decoder.weight @ tight_map(decoder), tight_decoder(decoder), atol=1e-5, rtol=1e-5)


def test_more_tokens_come_nearer_to_the_cosine(decoder):
    """The signed dot product of the K largest coordinates, from few tokens to all."""
    scores = decoder.scores(SparseRecipe.fit(decoder, H, LITERAL).mapped(H))
    cosines, gaps = scores @ scores.T, []
    for k in (5, 15, 30, V):
        kept = keep_largest(scores, k)
        assert ((kept != 0).sum(dim=1) == k).all() and (kept[kept != 0] == scores[kept != 0]).all()
        gaps.append(float((kept @ kept.T - cosines).square().mean()))
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 1e-10


@pytest.mark.parametrize("portion", [1, 7, 30, 4096])
def test_portions_change_nothing(recipe, monkeypatch, portion):
    whole = recipe.documents(H)
    monkeypatch.setattr(sparse_module, "PORTION", portion)
    found = recipe.documents(H)
    assert (found.indptr == whole.indptr).all() and (found.indices == whole.indices).all()
    np.testing.assert_allclose(found.data, whole.data, rtol=1e-4)
    assert recipe.documents(H[:0]).shape == (0, V)


def test_memory_holds_one_portion_beyond_the_result(tokenizer, monkeypatch):
    wide = TokenDecoder(random(2000, D, seed=3), tokenizer)
    some = SparseRecipe.fit(wide, H, LITERAL, k=500, m=500)
    h = random(4000, D, seed=4)
    monkeypatch.setattr(sparse_module, "PORTION", 64)
    tracemalloc.start()
    found = some.documents(h)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = h.shape[0] * 500 * 8
    assert found.nnz > 0.8 * h.shape[0] * 500
    assert peak < 1.3 * size


def test_a_recipe_comes_back_as_it_was_saved(decoder, recipe, tmp_path):
    recipe.save(tmp_path / "recipe.safetensors")
    again = SparseRecipe.load(tmp_path / "recipe.safetensors", decoder)
    assert (again.documents(H) != recipe.documents(H)).nnz == 0
    assert (again.queries(ASKED, Q) != recipe.queries(ASKED, Q)).nnz == 0
    assert (again.k, again.m, again.scale, again.own) == (20, 15, 200.0, 1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.safetensors"]


def changed(path, edit):
    tensors, about = load_file(path), {"kind": module.KIND}
    with module.safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["recipe"])
    edit(tensors, about)
    save_file(tensors, path, {"recipe": json.dumps(about)})


DAMAGES = {
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:-9]), "no recipe that can be read"),
    "no safetensors": (lambda p: p.write_bytes(b"{}"), "no recipe that can be read"),
    "empty": (lambda p: p.write_bytes(b""), "no recipe that can be read"),
    "a flipped byte": (lambda p: p.write_bytes(p.read_bytes()[:-5] + b"\x07" + p.read_bytes()[-4:]), "SHA-256"),
    "other tensors": (lambda p: save_file({"a": torch.zeros(2)}, p), "something else"),
    "a setting that is none": (lambda p: changed(p, lambda t, a: a.update(k="many")), "k is 'many'"),
    "more tokens than there are": (lambda p: changed(p, lambda t, a: a.update(k=V + 1)), "from 1 to V = 60"),
    "no scale": (lambda p: changed(p, lambda t, a: a.pop("scale")), "scale"),
    "a scale of NaN": (lambda p: changed(p, lambda t, a: a.update(scale=float("nan"))), "scale is nan"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line(decoder, recipe, tmp_path, damage):
    path = tmp_path / "recipe.safetensors"
    recipe.save(path)
    spoil, said = DAMAGES[damage]
    spoil(path)
    with pytest.raises(ValueError, match=said) as refused:
        SparseRecipe.load(path, decoder)
    assert "\n" not in str(refused.value)


def test_no_file_and_another_models_file_are_refused(decoder, recipe, tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"write it with SparseRecipe\.save"):
        SparseRecipe.load(tmp_path / "none", decoder)
    recipe.save(tmp_path / "recipe")
    for other in (random(V, D, seed=9), random(V + 1, D, seed=0)):
        with pytest.raises(ValueError, match="another model's decoder"):
            SparseRecipe.load(tmp_path / "recipe", TokenDecoder(other, tokenizer))
    half = TokenDecoder(decoder.weight.bfloat16(), tokenizer)  # the same model in 16 bits
    assert SparseRecipe.load(tmp_path / "recipe", half).documents(H).nnz > 0


def test_a_bias_is_left_out_and_an_encoders_head_refused(decoder, tokenizer, recipe):
    biased = TokenDecoder(decoder.weight, tokenizer, Head(D, bias=random(V, seed=5)))
    found = SparseRecipe.fit(biased, H, LITERAL, k=20, m=15)
    assert (found.documents(H) != recipe.documents(H)).nnz == 0
    encoder = TokenDecoder(decoder.weight, tokenizer, Head(D, transform=torch.nn.Linear(D, D)))
    with pytest.raises(ValueError, match="not linear"):
        SparseRecipe.fit(encoder, H, LITERAL)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"power": 0.6}, "the power is 0.6"),
        ({"k": 0}, "k is 0"),
        ({"m": -1}, "m is -1"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"own": -1.0}, "own is -1.0"),
        ({"own": float("inf")}, "own is inf"),
    ],
)
def test_settings_are_checked(decoder, settings, said):
    with pytest.raises(ValueError, match=said):
        SparseRecipe.fit(decoder, H, LITERAL, **settings)


def test_queries_and_their_tokens_must_agree(recipe):
    with pytest.raises(ValueError, match="4 sets of literal tokens came with 5 embeddings"):
        recipe.queries(ASKED[:4], Q)
    with pytest.raises(ValueError, match=f"the id {V}; ids lie"):
        recipe.queries([{V}], Q[:1])
    with pytest.raises(ValueError, match=r"expected \(n, 8\)"):
        recipe.documents(H[:, :4])


def test_without_aligned_tokens_a_query_is_its_literal_ones(recipe):
    alone = replace(recipe, m=0).queries(ASKED, Q)
    assert [set(row.indices.tolist()) for row in (alone[[i]] for i in range(5))] == ASKED
    aligned = replace(recipe, own=0.0).queries(ASKED, Q).toarray()
    np.testing.assert_allclose(aligned, recipe.queries([set()] * 5, Q).toarray())


def test_what_the_embeddings_share_does_not_count(decoder, recipe):
    """The same part added to all texts, and to what is fitted, leaves every vector as it was."""
    shift = 50 * random(1, D, seed=6)
    moved = SparseRecipe.fit(decoder, H + shift, LITERAL, k=20, m=15)
    np.testing.assert_allclose(moved.documents(H + shift).toarray(), recipe.documents(H).toarray(), atol=1e-3)


def test_a_run_is_the_search_of_an_index(recipe):
    queries = dict(zip("abcde", ASKED, strict=True))
    names = [f"d{i}" for i in range(30)]
    run = recipe.run(queries, names, q=Q, h=H, k=4)
    scores = (recipe.queries(ASKED, Q) @ recipe.documents(H).T).toarray()
    for found, row in zip(run.values(), scores, strict=True):
        np.testing.assert_allclose(list(found.values()), np.sort(row)[::-1][:4], rtol=1e-5)


@pytest.mark.parametrize(
    ("h", "literal", "settings", "said"),
    [
        (H.numpy(), LITERAL, {}, "whitening needs a tensor of embeddings"),
        (H[:0], [], {}, "whitening needs a tensor of embeddings"),
        (H[0], LITERAL, {}, "whitening needs a tensor of embeddings"),
        (H, LITERAL[:3], {}, "3 sets of literal tokens came with 30 embeddings"),
        (H, LITERAL, {"k": "10"}, "k is '10'; it must be a whole number"),
        (H, LITERAL, {"m": -1}, "m is -1"),
        (H, LITERAL, {"scale": "a"}, "scale is 'a'; it must be a finite number above 0"),
        (H, LITERAL, {"own": None}, "own is None; it must be a finite number"),
        (H, LITERAL, {"own": True}, "own is True"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(decoder, h, literal, settings, said):
    with pytest.raises(ValueError, match=said):
        SparseRecipe.fit(decoder, h, literal, **settings)


def test_coordinates_are_a_matrix():
    with pytest.raises(ValueError, match=r"the coordinates have the shape \(4,\); expected \(n, V\)"):
        keep_largest(torch.ones(4), 2)
