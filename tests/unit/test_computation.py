"""The version of the computation is held to vectors that it made: ``python -m tests.unit.test_computation`` keeps some.

A red test here means: what a text is embedded as has changed. Give ``VERSION`` in ``models/embedding.py`` a new number,
so that no cached vector of the old computation is used, run the command above and ``data/embeddings/make.py``.
"""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tokalign_helpers as ta
from tokalign_helpers.basics.assets import data_dir
from tokalign_helpers.basics.files import sha256, write_text
from tokalign_helpers.models import embedding, pooling, shipped
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.models.shipped import read_shipped

KEPT = Path(__file__).with_name("computation.json")
SHOWN = 24  # numbers of a vector that are kept
CLOSELY = 1e-4  # of a vector's length; two machines differ by about 1e-6
# What none of the shipped texts shows: cutting, brackets, spans, both directions, other poolings, odd characters.
READINGS = {
    "cut": ({"max_tokens": 4}, "Parrots are prone to diseases of the beak and of the feathers."),
    "cut, without a template": ({"max_tokens": 3, "template": "{text}"}, "One two three four five six seven."),
    "brackets": ({"brackets": ("<|im_start|>", "<|im_end|>"), "template": "{text}"}, "A parrot."),
    "a span": ({"span": "text", "pooling": pooling.mean, "template": "About birds: {text}"}, "A parrot in a garden."),
    "both directions": ({"attention": "full", "pooling": pooling.mean}, "A quiet garden."),
    "the first token": ({"attention": "full", "pooling": pooling.first_token}, "A quiet garden."),
    "weighted": ({"pooling": pooling.weighted_mean, "template": "{text}"}, "The parrot spoke."),
    "odd characters": ({}, "ما هي 🦜 — “quoted” {text}\tand a tab"),
}


def made_of(name: str) -> list[float]:
    changes, text = READINGS[name]
    other = "Another text, longer than most of those, so that there is padding in the batch for the one that counts."
    pooled = {"pooling": changes.pop("pooling")} if "pooling" in (changes := dict(changes)) else {}
    embedder = replace(ta.load_embedder("smol-eol-spaced").with_input_format(**changes), **pooled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cut, as it was asked for
        return embedder.embed([text, other], cache=False)[0, :SHOWN].tolist()


def problems(folder: Path) -> list[str]:
    """Say what of the shipped embeddings is not of this version."""
    made = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    there = {file.name: sha256(file) for file in folder.glob("*.safetensors")}
    found = [f"{name} is not the file that was made" for name in there | made["files"]
             if there.get(name) != made["files"].get(name)]  # fmt: skip
    if made["version"] != embedding.VERSION:
        found.append(f"the files are of version {made['version']}; the computation is of version {embedding.VERSION}")
    return found


def test_the_shipped_embeddings_are_of_this_version():
    assert not problems(data_dir() / "embeddings")


def test_a_new_version_needs_new_files(monkeypatch, tmp_path):
    monkeypatch.setattr(embedding, "VERSION", embedding.VERSION + 1)
    assert problems(data_dir() / "embeddings") == [
        f"the files are of version {embedding.VERSION - 1}; the computation is of version {embedding.VERSION}"
    ]
    (tmp_path / "a.safetensors").write_bytes(b"a")
    made = {"version": embedding.VERSION, "files": {"a.safetensors": "another", "b.safetensors": "gone"}}
    (tmp_path / "made.json").write_text(json.dumps(made))
    assert len(problems(tmp_path)) == 2


@pytest.mark.parametrize("name", READINGS)
def test_what_no_shipped_text_shows_is_of_this_version_too(name):
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    assert kept["version"] == embedding.VERSION
    expected, now = torch.tensor(kept["vectors"][name]), torch.tensor(made_of(name))
    assert (now - expected).norm() < CLOSELY * expected.norm()


def _no_mask(prompts, device, pad=embedding.pad):
    ids, mask = pad(prompts, device)
    return ids, torch.ones_like(mask)


def _rounded(model, *given, forward=embedding._forward):
    hidden, mask = forward(model, *given)
    return hidden.half().float(), mask


def _wordy(self, texts, *given, read=Embedder._read, **more):
    return read(self, [f"{text} " for text in texts], *given, **more)


def _begun(self, ids):
    return [self.tokenizer.bos_token_id, *ids]


CHANGES = {
    "padding counts": (embedding, "pad", _no_mask),
    "half precision": (embedding, "_forward", _rounded),
    "a space more": (Embedder, "_read", _wordy),
    "a token more": (Embedder, "_bracketed", _begun),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_computation_does_not_pass_under_the_old_version(smol, monkeypatch, tmp_path, change):
    monkeypatch.setattr(shipped, "AGREE", CLOSELY)
    file = data_dir() / "embeddings" / "words-smol-eol.safetensors"
    read_shipped(smol, ta.load_rated_words(), file, 3)
    monkeypatch.setattr(*change)
    monkeypatch.setenv("TOKALIGN_EMBEDDING_CACHE", str(tmp_path / "empty"))  # the version alone keeps the old ones out
    with pytest.raises(ValueError, match="differs from smol-eol in . of 3 texts"):
        read_shipped(smol, ta.load_rated_words(), file, 3)


if __name__ == "__main__":
    vectors = {name: made_of(name) for name in READINGS}
    write_text(KEPT, json.dumps({"version": embedding.VERSION, "vectors": vectors}, indent=1) + "\n")
