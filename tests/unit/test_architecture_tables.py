"""The commands that fill ``data/architectures``: their rules, on small input, and what they left behind."""

import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import tokalign_helpers as ta

FOLDER = ta.data_dir() / "architectures"
FREQUENCIES = {
    ("hund", "de"): 4.9, ("hund", "sv"): 4.8, ("hund", "en"): 2.0, ("dog", "en"): 5.0, ("in", "en"): 7.3,
    ("in", "de"): 7.2, ("hotel", "es"): 4.8, ("hotel", "en"): 4.9, ("hotel", "de"): 4.7, ("penyakit", "id"): 4.6,
    ("perro", "es"): 5.0, ("xq", "en"): 2.9,
}  # fmt: skip


@pytest.fixture
def languages(monkeypatch):
    made = SimpleNamespace(zipf_frequency=lambda word, language: FREQUENCIES.get((word, language), 0.0))
    monkeypatch.setitem(sys.modules, "wordfreq", made)
    return runpy.run_path(str(FOLDER / "languages.py"))


@pytest.mark.parametrize(
    ("token", "own", "expected"),
    [
        ("▁Hund", "de", "own"),
        ("▁Hund", "es", "other"),  # German, in a Spanish text
        ("▁dog", "de", "English"),
        ("▁dog", "en", "own"),
        ("▁in", "de", "own"),  # as frequent in both: the text's own before English
        ("hotel", "es", "own"),
        ("hotel", "zh", "English"),  # English before the others
        ("▁penyakit", "de", "other"),
        ("▁perro", "es", "own"),
        ("鹦鹉", "zh", "own"),
        ("鹦", "de", "other"),
        ("さくら", "zh", "other"),
        ("собака", "de", "other"),
        ("🦜", "zh", "no word"),
        ("▁", "de", "no word"),
        ("2024", "en", "no word"),
        ("a", "en", "no word"),
        ("xq", "en", "no word"),  # less than one in a million
        ("<0xE4>", "zh", "no word"),
        ("dog's", "en", "no word"),
    ],
)
def test_the_language_of_a_token(languages, token, own, expected):
    assert languages["class_of"](token, own) == expected


def test_the_sentences_stand_in_every_language():
    texts = pd.read_csv(ta.data_dir() / "texts" / "languages.csv")
    assert list(texts.columns) == ["en", "de", "es", "zh"]
    assert len(texts) >= 20 and not texts.isna().any(axis=None)
    assert not any(texts[language].duplicated().any() for language in texts)
    assert all("\u4e00" <= char <= "\u9fff" or char in "，。、" for text in texts["zh"] for char in text)


def test_how_far_embeddings_moved():
    moves = runpy.run_path(str(FOLDER / "pairs.py"))["moves"]
    along = np.tile([-6.0, 1.0, -2.0], (40, 1)) + np.linspace(-0.1, 0.1, 40)[:, None]
    found = dict(moves(along))
    assert found["v_1"].estimate == pytest.approx(-6)
    assert found["v_1"].low < -6 < found["v_1"].high
    assert found["next largest |v_j|"].estimate == pytest.approx(2) and found["its j"].estimate == 3
    assert found["|v_1| / next"].estimate == pytest.approx(3)
    assert found["share of u_1 in the mean move"].estimate == pytest.approx(36 / 41)
    assert found["texts that moved down"].estimate == 1


def test_with_float32_weights_llama_cpp_has_our_states():
    table = pd.read_csv(FOLDER / "llama_cpp.csv").set_index(["embedder", "llama.cpp"])
    for name in ("smol-last", "gemma-last"):
        whole, few = table.loc[(name, "float32, our token ids")], table.loc[(name, "few bits, our token ids")]
        assert len(whole) == 10
        assert whole["cosine"].min() >= 0.9999 and whole["cosine, less the mean"].min() >= 0.9999
        own = table.loc[(name, "few bits, their own tokenizer")]
        assert own["cosine"].tolist() == few["cosine"].tolist()  # the same tokens
