"""Held out in other spelling, inside a longer text, and nearly so; found by a search that misses nothing."""

import random
import re

import pytest

import tokalign_helpers as ta
from tokalign_helpers.training import held_out
from tokalign_helpers.training.held_out import HeldOut, measured_texts

SENTENCE = "From 1989 until 1992, the government tried to solve the war."


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE,
        "from 1989 until 1992 the GOVERNMENT tried to solve the war",
        f"A sentence before. {SENTENCE} Another after it.",
        "From 1989 until 1993, the government tried to solve the war.",  # 9 of 11 words
        "the war: to solve, tried government, the 1992 until 1989 from",
        "tiger",
        "Tiger!",
    ],
)
def test_held(text):
    assert HeldOut([SENTENCE, "tiger"]).holds(text)


@pytest.mark.parametrize(
    "text", ["From 1990 until 1993, the government tried to end the war.", "tigers", "a tiger in a cage", "", "…"]
)
def test_not_held(text):
    assert not HeldOut([SENTENCE, "tiger"]).holds(text)


def test_a_sentence_of_a_held_document_is_held():
    assert HeldOut([f"Many words stand here. {SENTENCE}"]).holds(SENTENCE)


def test_the_quick_search_finds_what_comparing_with_all_finds():
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abcdefghijklmnop", k=draw.randint(4, 12))) for _ in range(300)]
    held, asked = texts[:150], texts[150:]
    kept = HeldOut(held)

    def near(text):
        own = set(text.split())
        sets = [set(other.split()) for other in held]
        return text in held or any(len(own & s) >= 0.8 * len(own | s) for s in sets if min(len(s), len(own)) >= 4)

    expected = [near(text) for text in asked]
    assert [kept.holds(text) for text in asked] == expected
    assert {True, False} == set(expected)


def test_every_set_at_hand_is_measured(tmp_path):
    (tmp_path / "stsb").mkdir()
    for part, text in (("dev", "In development."), ("test", "In test.")):
        (tmp_path / "stsb" / f"sts-{part}.csv").write_text(f"g\tf\ty\t1\t4.0\t{text}\tAnother text.\n")
    seen = set(measured_texts(tmp_path))
    assert {"In development.", "In test.", "tiger", *held_out.load_sentences(1000, seed=0)} <= seen
    assert set(held_out.load_minimal_pairs()["text2"]) | set(held_out.load_two_labels()["text"]) <= seen
    assert len(seen - set(measured_texts())) == 3


def test_all_written_pairs_are_measured():
    seen = set(measured_texts())
    for file in (ta.data_dir() / "texts").glob("*.csv"):
        if "text1" in file.read_text(encoding="utf-8").partition("\n")[0]:
            pairs = ta.load_minimal_pairs(file)
            assert {*pairs["text1"], *pairs["text2"]} <= seen, file.name


def test_every_adapter_was_trained_apart_or_says_what_it_has_seen():
    folders = [folder for folder in (ta.data_dir() / "adapters").iterdir() if folder.is_dir()]
    assert folders
    for folder in folders:
        card = (folder / "README.md").read_text(encoding="utf-8")
        apart = "Kept out of training" in card
        seen = re.search(r"## What it has seen\n.*?\b\d+ of the 1,000 sentences", card, re.DOTALL)
        assert apart or seen, folder.name
