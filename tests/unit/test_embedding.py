import copy
import hashlib
import re
import struct
import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import tokalign_helpers as ta
from tests.unit.conftest import save_llama
from tokalign_helpers.models import loading
from tokalign_helpers.models.embedding import bidirectional_mask
from tokalign_helpers.models.hub import HubError
from tokalign_helpers.models.keys import weights_digest
from tokalign_helpers.models.pooling import last_token
from tokalign_helpers.models.published import SMOL
from tokalign_helpers.models.shipped import ship_embeddings

TEXTS = ["A short one.", "What diseases are parrots prone to?", "No", "The river flooded the village after three days."]
RAW = ["smol-last", "smol-mean", "smol-wmean", "smol-eol"]
ODD = {
    "emoji": "🦜🦜🎉",
    "right to left": "ما هي أمراض الببغاوات؟ מהן מחלות התוכים",
    "quotes and slots": 'He said: "what {text} means in one word: "',
    "control characters": "a\x00b\u2028c",
}


@pytest.fixture(scope="module")
def embedders():
    return ta.load_embedders(RAW)


def test_a_loaded_embedder_is_named_after_its_folder(tiny_folder):
    load = partial(ta.load_embedder, tiny_folder, pooling=last_token)
    assert load().name == tiny_folder.name


def test_the_digest_of_weights_is_the_same_on_every_machine_and_in_every_version():
    layer = torch.nn.Linear(2, 1)
    layer.load_state_dict({"weight": torch.tensor([[1.0, -2.0]]), "bias": torch.tensor([0.5])})
    bytes_ = struct.pack("<f", 0.5), struct.pack("<2f", 1, -2)
    expected = hashlib.blake2b(b"bias torch.float32 (1,)" + bytes_[0], digest_size=16)
    expected.update(b"weight torch.float32 (1, 2)" + bytes_[1])
    assert weights_digest(layer) == weights_digest(layer) == expected.hexdigest()
    with torch.no_grad():
        layer.bias.add_(1)
    assert weights_digest(layer) != expected.hexdigest()


def test_the_mask_for_both_directions_hides_the_padding_alone():
    seen = bidirectional_mask(torch.tensor([[1, 1, 0], [1, 1, 1]]), torch.float32)
    assert seen.shape == (2, 1, 3, 3)
    hidden = torch.finfo(torch.float32).min
    assert seen[0, 0].tolist() == [[0, 0, hidden]] * 3
    assert not seen[1].any()


def test_the_decoder_layer_of_a_model_of_another_width_is_refused(tiny_folder, tokenizer, tmp_path):
    wide = save_llama(tmp_path / "wide", tokenizer, hidden=32)
    with pytest.raises(ValueError, match=r"reads vectors of 32 numbers, but .* makes 16: .* is not its backbone"):
        ta.load_embedder(tiny_folder, pooling=last_token, backbone=wide)
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(["one more"])
    more = save_llama(tmp_path / "more", tokenizer)
    with pytest.warns(UserWarning, match="have different vocabularies"):
        ta.load_embedder(tiny_folder, pooling=last_token, backbone=more)


def one_by_one(embedder, text):
    """Embed without batches, padding or the package's pooling."""
    ids = embedder.tokenizer(embedder.template.replace("{text}", text)).input_ids
    with torch.inference_mode():
        states = embedder.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]
    weights = {
        "last_token": torch.eye(len(ids))[-1],
        "mean": torch.ones(len(ids)) / len(ids),
        "weighted_mean": torch.arange(1, len(ids) + 1) / sum(range(1, len(ids) + 1)),
    }[embedder.pooling.__name__]
    return weights @ states


@pytest.mark.parametrize("name", RAW)
def test_equals_one_text_at_a_time(embedders, name):
    h = embedders[name].embed(TEXTS, cache=False)
    expected = torch.stack([one_by_one(embedders[name], text) for text in TEXTS])
    assert h.dtype == torch.float32
    torch.testing.assert_close(h, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_odd_texts_have_an_embedding_and_tokens(embedders, text):
    table = ta.aligned_tokens(embedders["smol-eol"], [text], k=5)
    assert len(table) == 5
    assert table["score"].notna().all()


def test_a_very_long_text_is_cut_with_one_warning(embedders):
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than 512 tokens") as caught:
        h = embedders["smol-eol"].embed(["word " * 20_000, "short"], cache=False)
    assert len(caught) == 1
    assert torch.isfinite(h).all()


def test_cutting_spares_the_template(embedders):
    short = embedders["smol-eol"].with_input_format(max_tokens=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cut = short.embed(["one two three four five six"], cache=False)
    torch.testing.assert_close(cut, short.embed(["one two three"], cache=False))


@pytest.mark.parametrize(
    ("texts", "error", "said"),
    [
        ([], ValueError, "texts is empty"),
        ("a text", TypeError, "put it in a list"),
        (["a", None], TypeError, r"texts\[1\] is None; every text must be a str"),
        (["a", "  "], ValueError, r"texts\[1\] is '  ', which has no tokens"),
    ],
)
def test_bad_texts(embedders, texts, error, said):
    with pytest.raises(error, match=said):
        embedders["smol-eol"].embed(texts)


@pytest.mark.parametrize("template", ["no slot", "{text} and {text}"])
def test_a_template_has_one_slot(embedders, template):
    with pytest.raises(ValueError, match="exactly once"):
        embedders["smol-eol"].with_template(template)


def test_all_that_a_vector_depends_on_is_in_the_fingerprint(embedders):
    eol = embedders["smol-eol"]
    others = [eol.with_template("{text}"), eol.with_template("{text}!"), embedders["smol-mean"]]
    others.append(eol.with_input_format(max_tokens=7))
    assert len({e.fingerprint for e in [eol, *others]}) == 5
    assert re.fullmatch("[0-9a-f]{32}", eol.fingerprint)  # it names a file
    assert ta.load_embedder("smol-eol").fingerprint == eol.fingerprint


def test_cached_vectors_are_the_computed_ones(embedders, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(tmp_path))
    first = embedders["smol-eol"].embed(TEXTS)
    monkeypatch.setattr("tokalign_helpers.models.embedding._forward", None)  # the model must not be needed again
    torch.testing.assert_close(embedders["smol-eol"].embed(TEXTS[::-1]), first.flip(0), atol=0, rtol=0)


def test_a_damaged_cache_is_told_and_replaced(embedders, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(tmp_path))
    first = embedders["smol-eol"].embed(TEXTS)
    (file,) = tmp_path.glob("*.sqlite")
    file.write_bytes(b"no database" * 1000)
    with pytest.warns(UserWarning, match="embedding cache"):
        again = embedders["smol-eol"].embed(TEXTS)
    torch.testing.assert_close(again, first)


def test_a_cache_that_cannot_be_written_is_told(embedders, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot write the embedding cache"):
        assert embedders["smol-eol"].embed(TEXTS).shape == (4, 576)


SHIPPED = [f"A parrot and {n} gardens." for n in range(40)]


def test_the_cache_is_filled_once_some_embeddings_agree(tiny, tmp_path, monkeypatch, passes, recwarn):
    ship_embeddings({"tiny": tiny, "other": tiny}, SHIPPED, "few", folder=tmp_path)
    expected = tiny.embed(SHIPPED)
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(tmp_path / "cold"))
    passes.clear()
    ta.fill_cache({"tiny": tiny}, SHIPPED, "few", folder=tmp_path, checked=5)
    assert sum(passes) == 5
    assert torch.equal(tiny.embed(SHIPPED), expected)
    ta.fill_cache({"tiny": tiny}, SHIPPED, "few", folder=tmp_path / "not looked at")
    assert sum(passes) == 5
    assert not recwarn.list


def test_shipped_embeddings_of_something_else_are_not_used(tiny, tmp_path, monkeypatch):
    ship_embeddings({"tiny": tiny, "other": tiny}, SHIPPED, "few", folder=tmp_path)
    (tmp_path / "half-tiny.safetensors").write_bytes(b"half")
    save_file(
        {"embeddings": torch.full((40, tiny.dimension), torch.nan)}, tmp_path / "nan-tiny.safetensors", about(tmp_path)
    )
    save_file({"embeddings": torch.ones(40, 3)}, tmp_path / "short-tiny.safetensors", about(tmp_path))
    with pytest.raises(ValueError, match="checked is 0; it must be a whole number, 1 or more"):
        ta.fill_cache({"tiny": tiny}, SHIPPED, "few", folder=tmp_path, checked=0)
    other = tiny.with_template("Not {text}", "other")
    for case, (embedder, texts, collection, said) in enumerate(
        [
            (tiny, SHIPPED[::-1], "few", "belongs to other texts"),
            (other, SHIPPED, "few", "few-other.safetensors differs from other in 16 of 16 texts compared"),
            (tiny, SHIPPED, "nan", "differs from tiny in 16 of 16 texts compared"),
            (tiny, SHIPPED, "short", "holds vectors of 3 numbers; tiny makes"),
            (tiny, SHIPPED, "half", "cannot be read"),
            (tiny, SHIPPED, "missing", "cannot be read"),
        ]
    ):
        monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(tmp_path / f"cold {case}"))
        with pytest.warns(UserWarning, match=f"{said}.*; the 40 texts will be embedded"):
            ta.fill_cache({embedder.name: embedder}, texts, collection, folder=tmp_path)
        assert torch.equal(embedder.embed(texts), embedder.embed(texts, cache=False))


def about(folder):
    with safe_open(folder / "few-tiny.safetensors", "pt") as held:
        return held.metadata()


@pytest.fixture
def closely(monkeypatch):
    """Compare with shipped embeddings as closely as the same computation allows; see test_computation."""
    monkeypatch.setattr("tokalign_helpers.models.shipped.AGREE", 1e-4)


@pytest.mark.parametrize(
    "name", ["smol-last", "smol-wmean", "smol-cse", "smol-eol", "smol-sim", "smol-rel", "smol-distil"]
)
def test_the_course_ships_embeddings_of_the_sentences_it_draws(name, monkeypatch, tmp_path, recwarn, closely):
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(tmp_path))
    ta.fill_cache({name: ta.load_embedder(name)}, ta.load_sentences(1000, seed=0), "sentences", checked=3)
    assert not recwarn.list


def test_prompteol_is_spelt_as_its_authors_spell_it():
    """A space before the colon and none after it; the last token, whose state is taken, is the colon with its mark."""
    eol = ta.load_embedder("smol-eol")
    assert eol.template == 'This sentence : "{text}" means in one word:"'
    assert eol.tokenizer.tokenize(eol.template.format(text="a"))[-1] == ':"'
    for name in ("smol-sim", "smol-rel", "smol-distil", "smol-asked"):
        assert ta.EMBEDDERS[name].input_format == eol.input_format and ta.EMBEDDERS[name].raw == "smol-eol"


@pytest.mark.parametrize("name", ["smol-eol", "smol-sim", "smol-rel", "smol-distil"])
def test_the_course_ships_embeddings_of_the_rated_words(name, monkeypatch, tmp_path, recwarn, closely):
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(tmp_path))
    ta.fill_cache({name: ta.load_embedder(name)}, ta.load_rated_words(), "words", checked=3)
    assert not recwarn.list


def test_the_course_ships_embeddings_of_the_passages_of_its_own_collection(monkeypatch, tmp_path, recwarn, closely):
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(tmp_path))
    texts = list(ta.load_cloze_collection(300, seed=0).documents.values())
    ta.fill_cache({"smol-eol": ta.load_embedder("smol-eol")}, texts, "passages", checked=3)
    assert not recwarn.list


@pytest.mark.parametrize("name", ["topic", "emotion"])
def test_the_course_ships_embeddings_of_the_labelled_texts_under_instructions(
    name, monkeypatch, tmp_path, recwarn, closely
):
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(tmp_path))
    plain, trained = ta.load_embedder("smol-eol"), ta.load_embedder("smol-sim")
    embedders = {
        "smol-eol": plain.with_instruction(name),
        "smol-eol-before": plain.with_template(f'The {name}. This sentence : "{{text}}" In one word:"'),
        "smol-eol-after": plain.with_template(f'This sentence : "{{text}}" The {name}. In one word:"'),
    }
    embedders["smol-sim"] = trained.with_instruction(name)
    texts = ta.load_two_labels()["text"].tolist()
    ta.fill_cache({f"{key}-{name}": e for key, e in embedders.items()}, texts, "two-labels", checked=3)
    assert not recwarn.list


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'smol-eol'"):
        ta.load_embedder("smol-eool")


def test_parrots():
    tokens = set(ta.aligned_tokens(ta.load_embedder("smol-eol"), ["What diseases are parrots prone to?"], 12)["token"])
    assert {"par", "Par"} <= tokens


def test_weights_of_ones_own_on_the_packaged_backbone_are_loaded(tmp_path, tokenizer, tiny_folder, monkeypatch):
    own = save_llama(tmp_path / "own", tokenizer, seed=7)
    monkeypatch.setattr(loading, "model_path", lambda name: tiny_folder)
    row = ta.EmbedderSpec("mine", SMOL, last_token, weights=str(own))
    assert not row.packaged
    mine = ta.load_embedder(row, device="cpu", dtype="float32")
    raw, alone = (ta.load_embedder(folder, pooling=last_token) for folder in (tiny_folder, own))
    texts = ["A parrot.", "A quiet garden."]
    assert torch.equal(mine.embed(texts), alone.embed(texts))
    assert not torch.equal(mine.embed(texts), raw.embed(texts))
    assert torch.equal(mine.unembedding, raw.unembedding)
    with pytest.raises(HubError, match="no folder .*nowhere"):
        ta.load_embedder(replace(row, weights=str(tmp_path / "nowhere")))


def test_embedders_of_the_same_backbone_share_one_decoder(tiny):
    """Each would spell out its vocabulary again."""
    assert replace(tiny, name="another").decoder is tiny.decoder
    assert tiny.with_template("a {text}").decoder is tiny.decoder
    assert replace(tiny, unembedding=tiny.unembedding.clone()).decoder is not tiny.decoder


@pytest.mark.parametrize("name", [None, 5, ["smol-eol"]])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match="the embedder is .*; give a name, a folder or a row"):
        ta.load_embedder(name)


def test_a_misspelt_name_is_not_looked_for_on_the_hub():
    with pytest.raises(ValueError, match="unknown embedder 'smol-oel'; did you mean 'smol-rel' or 'smol-eol'"):
        ta.load_embedder("smol-oel")


def test_a_name_on_the_hub_ends_in_one_line_where_there_is_no_hub(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubError, match=r"^facebook/opt-125m[^\n]*$"):
        ta.load_embedder("facebook/opt-125m", pooling="last")


def test_a_row_of_the_table_takes_no_second_opinion():
    with pytest.raises(ValueError, match="'smol-eol' is in the table, which says how it is read"):
        ta.load_embedder("smol-eol", pooling="mean")
