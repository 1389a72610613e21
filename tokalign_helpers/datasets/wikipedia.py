"""Sentences and passages of the packaged Wikipedia articles."""

import bz2
import importlib.metadata
import random
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tokalign_helpers.basics.assets import ASSETS, asset_path, cache_dir
from tokalign_helpers.basics.checks import whole_number
from tokalign_helpers.basics.files import write_text
from tokalign_helpers.basics.lines import lines

PASSAGE = 3  # sentences
PARSING = 1  # version of the parser below; raised whenever its sentences change


def load_sentences(n: int | None = None, *, seed: int = 0) -> list[str]:
    """Return natural English sentences of Wikipedia, 8 to 40 words each, from 106 articles.

    Parameters
    ----------
    n : int, optional
        How many, drawn without replacement. Default: all, in the order of the articles.
    seed : int
        Seed of the random choice.

    Returns
    -------
    list[str]

    Raises
    ------
    ValueError
        If n is not a whole number from 1 to as many as there are.
    AssetError
        If the text cannot be fetched.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> texts = ta.load_sentences(1000, seed=0)
    >>> len(texts), len(texts[0].split())
    (1000, 24)
    """
    everything = [sentence for _, sentence in _all_sentences()]
    if n is None:
        return everything
    n = whole_number(n, "n", 1, len(everything), called="the number of sentences")
    return random.Random(seed).sample(everything, n)


class Passage(NamedTuple):
    """Consecutive sentences of one article."""

    article: str
    sentences: tuple[str, ...]


def load_passages(part: str) -> list[Passage]:
    """Return passages of three sentences of Wikipedia.

    Parameters
    ----------
    part : str
        ``train``: from every second article; the course's own adapters have seen these. ``test``: from the others.

    Returns
    -------
    list[Passage]
        In the order of the articles; the sentences left over at an article's end are dropped.

    Raises
    ------
    ValueError
        If there is no such part.
    AssetError
        If the text cannot be fetched.
    """
    if part not in ("train", "test"):
        raise ValueError(f"unknown part {part!r}; known: train, test")
    articles: dict[str, list[str]] = {}
    for title, sentence in _all_sentences():
        articles.setdefault(title, []).append(sentence)
    return [
        Passage(title, tuple(own[start : start + PASSAGE]))
        for title, own in list(articles.items())[part == "test" :: 2]
        for start in range(0, len(own) - PASSAGE + 1, PASSAGE)
    ]


def _parsed_file() -> Path:
    """Return where the sentences are kept: named after all that they depend on, the parsing by its version."""
    parser = importlib.metadata.version("mwparserfromhell")
    return cache_dir() / "texts" / f"wikipedia-{PARSING}-{ASSETS['wikipedia'].sha256[:12]}-{parser}.txt"


@lru_cache(maxsize=1)
def _all_sentences() -> tuple[tuple[str, str], ...]:
    """Return (article, sentence) pairs. Parse once (about 15 s), keep the plain text."""
    kept = _parsed_file()
    if kept.is_file():
        rows = (line.partition("\t") for _, line in lines(kept))
        return tuple((title, sentence) for title, _, sentence in rows)
    found: dict[str, str] = {}
    for title, article in _articles(asset_path("wikipedia")):
        for sentence in _split(article):
            found.setdefault(sentence, title)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, "\n".join(f"{title}\t{s}" for s, title in found.items()))
    except OSError:  # a read-only cache: parse again next time
        pass
    return tuple((title, sentence) for sentence, title in found.items())


def _articles(path: Path) -> Iterator[tuple[str, str]]:
    """Yield title and markup of every article of the dump, redirects left out."""
    title = ""
    with bz2.open(path) as stream:
        for _, element in ElementTree.iterparse(stream):
            text = element.text or ""
            if element.tag.endswith("}title"):
                title = text
            if element.tag.endswith("}text") and text and not text.lower().startswith("#redirect"):
                yield title, text


def _split(markup: str) -> Iterator[str]:
    import mwparserfromhell

    code = mwparserfromhell.parse(_without_floats(markup), skip_style_tags=True)
    for tag in code.filter_tags(matches=lambda node: node.tag in ("ref", "table", "gallery", "math")):
        try:
            code.remove(tag)
        except ValueError:  # it was inside one that is already removed
            continue
    for paragraph in code.strip_code(normalize=True, collapse=True).splitlines():
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", _tidy(paragraph)):
            if _is_natural(sentence):
                yield sentence


def _without_floats(markup: str) -> str:
    """Drop images and tables, whose captions and cells would read as sentences."""
    markup = re.sub(r"\{\|.*?\n\|\}", "", markup, flags=re.S)
    nested = r"\[\[(?:File|Image|Category|[a-z\-]{2,12}):(?:[^\[\]]|\[\[[^\[\]]*\]\]|\[[^\[\]]*\])*\]\]"
    return re.sub(nested, "", markup)


def _tidy(text: str) -> str:
    text = text.replace("'''", "").replace("''", "").replace("\u00a0", " ")
    text = re.sub(r"\s*\(\s*[;,]?\s*\)", "", text)  # what a removed template leaves: "( )"
    return re.sub(r"\s+", " ", text).strip()


ABBREVIATION = re.compile(r"(?:\b[A-Z]|\b(?:Mr|Mrs|Dr|St|Jr|Sr|vs|etc|ca|cf|c|e\.g|i\.e|No|vol|Vol|ed|al))\.$")


def _is_natural(sentence: str) -> bool:
    words = sentence.split()
    return (
        8 <= len(words) <= 40
        and re.match(r"[A-Z][a-z]*[ ,']", sentence) is not None
        and sentence[-1] in ".!?"
        and not ABBREVIATION.search(sentence)
        and re.search(r"[\[\]{}|=<>*\\^_~]|https?:|\.[A-Z]|thumb|px\b|\(\s|\$\s|\s[,;.)]", sentence) is None
        and sentence.count("(") == sentence.count(")")
        and sentence.count('"') % 2 == 0
        and sentence.isprintable()
        and sum(word[0].islower() for word in words) >= len(words) / 2
    )
