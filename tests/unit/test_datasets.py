"""The sentences of Wikipedia are parsed once, and again only when what they depend on has changed."""

import importlib.metadata
from dataclasses import replace

import pytest

from tokalign_helpers.basics.assets import ASSETS, asset_path
from tokalign_helpers.datasets import wikipedia

PARSED_ANEW = ("Albedo", "A", "Achilles", "Actrius")  # short ones near the beginning


@pytest.fixture
def parsed(monkeypatch, tmp_path):
    """Count how often a small dump is parsed; every call looks for the kept file, as a new process does."""
    times = []
    monkeypatch.setattr(wikipedia, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(wikipedia, "asset_path", lambda name: tmp_path / name)
    monkeypatch.setattr(wikipedia, "_articles", lambda path: times.append(path) or iter([("Parrots", "markup")]))
    monkeypatch.setattr(wikipedia, "_split", lambda markup: iter(["A parrot.", "A bird — of a kind."]))
    return times


def read():
    return wikipedia._all_sentences.__wrapped__()


def test_the_text_is_parsed_once_whatever_stands_in_the_source(parsed, monkeypatch, tmp_path):
    expected = (("Parrots", "A parrot."), ("Parrots", "A bird — of a kind."))
    source = tmp_path / "wikipedia.py"
    for code in ("first = 1", "first = 1  # a comment", "a_new_loader = 2"):
        source.write_text(code)
        monkeypatch.setattr(wikipedia, "__file__", str(source))
        assert read() == expected
    assert len(parsed) == 1
    assert len(list((tmp_path / "texts").iterdir())) == 1  # nothing half-written is left


CHANGED = {
    "the parsing": lambda patch: patch.setattr(wikipedia, "PARSING", wikipedia.PARSING + 1),
    "the dump": lambda patch: patch.setitem(ASSETS, "wikipedia", replace(ASSETS["wikipedia"], sha256="f" * 64)),
    "the parser": lambda patch: patch.setattr(importlib.metadata, "version", lambda name: "99.0"),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED.keys())
def test_the_text_is_parsed_again_once_something_it_depends_on_has_changed(parsed, monkeypatch, change):
    read()
    change(monkeypatch)
    read(), read()
    assert len(parsed) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(parsed, monkeypatch, tmp_path):
    (tmp_path / "texts").write_text("no folder")
    assert read() == read()
    assert len(parsed) == 2


def test_the_kept_sentences_are_those_of_this_version_of_the_parsing():
    """Red? The code that makes sentences makes others: give ``PARSING`` a new number."""
    everything = wikipedia._all_sentences()
    kept = {title: [s for t, s in everything if t == title] for title in PARSED_ANEW}
    order = list(dict.fromkeys(title for title, _ in everything))
    left = set(PARSED_ANEW) & set(order)
    for title, markup in wikipedia._articles(asset_path("wikipedia")):
        if title in left:
            earlier = {s for t, s in everything if order.index(t) < order.index(title)}
            again = [s for s in dict.fromkeys(wikipedia._split(markup)) if s not in earlier]
            assert again == kept[title], f"{title}: a new PARSING is due"
            left.remove(title)
        if not left:
            break
    assert not left
    assert len(kept["Albedo"]) > 50
