"""What the course measures on, kept out of what its adapters are trained on, in other spelling and nearly so too."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokalign_helpers.basics.assets import data_dir
from tokalign_helpers.datasets.collections import load_beir, load_cranfield
from tokalign_helpers.datasets.labelled import load_minimal_pairs, load_two_labels
from tokalign_helpers.datasets.ratings import load_lee_documents, load_rated_words, load_sts_pairs
from tokalign_helpers.datasets.wikipedia import load_passages, load_sentences

NEAR = 0.8  # share of common words from which on two sentences count as the same
FEW = 4  # texts of fewer different words must be equal to count as the same
WRITTEN_PAIRS = ("minimal_pairs", "natural_negations", "duplicate_questions", "word_triples")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


class HeldOut:
    """Texts that training must not see.

    Two texts are the same if their words are, whatever their case and punctuation, or if the words they share are at
    least four fifths of all their words. A longer text is searched sentence by sentence.

    Parameters
    ----------
    texts : Iterable[str]
        The texts that training must not see.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        parts = {_words(part) for text in texts for part in _parts(text)} - {()}
        self._exact = parts
        self._sets = [set(words) for words in parts if len(set(words)) >= FEW]
        self._frequency = Counter(word for words in self._sets for word in words)
        self._rare: dict[str, list[int]] = defaultdict(list)
        for number, words in enumerate(self._sets):
            for word in self._prefix(words):
                self._rare[word].append(number)

    def holds(self, text: str) -> bool:
        """Return whether a text, or a sentence of it, is one of these or nearly so.

        Parameters
        ----------
        text : str
            Any text.

        Returns
        -------
        bool
        """
        return any(self._holds(_words(part)) for part in _parts(text))

    def _holds(self, words: tuple[str, ...]) -> bool:
        if words in self._exact:
            return True
        own = set(words)
        if len(own) < FEW:
            return False
        candidates = {number for word in self._prefix(own) for number in self._rare.get(word, ())}
        return any(len(own & other) >= NEAR * len(own | other) for other in map(self._sets.__getitem__, candidates))

    def _prefix(self, words: set[str]) -> list[str]:
        """Return the rarest words: of two sets that share enough, one of these at least is shared (Chaudhuri 2006)."""
        rarest_first = sorted(words, key=lambda word: (self._frequency[word], word))
        return rarest_first[: len(words) - math.ceil(NEAR * len(words)) + 1]


def measured_texts(folder: Path | None = None) -> Iterator[str]:
    """Yield every text that the course measures on.

    Parameters
    ----------
    folder : Path, optional
        With ``stsb``, ``scifact`` and ``cranfield``, as far as they are at hand.

    Yields
    ------
    str
        Sentences, rated words, documents, passages and queries; of the STS benchmark development and test.
    """
    yield from load_sentences(1000, seed=0)
    yield from (sentence for passage in load_passages("test") for sentence in passage.sentences)
    yield from load_rated_words()
    yield from load_lee_documents()[0]
    for name in WRITTEN_PAIRS:
        pairs = load_minimal_pairs(data_dir() / "texts" / f"{name}.csv")
        yield from [*pairs["text1"], *pairs["text2"]]
    yield from load_two_labels()["text"]
    if folder and (folder / "stsb").is_dir():
        for part in ("dev", "test"):
            pairs = load_sts_pairs(folder / "stsb", part)
            yield from [*pairs["text1"], *pairs["text2"]]
    for name, load in (("scifact", lambda path: load_beir(path, "train")), ("cranfield", load_cranfield)):
        if folder and (folder / name).is_dir():
            collection = load(folder / name)
            yield from [*collection.documents.values(), *collection.queries.values()]


def _parts(text: str) -> list[str]:
    """Return the text and, where it has several, its sentences."""
    found = SENTENCE_END.split(text.strip())
    return [text, *found] if len(found) > 1 else [text]


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", text.casefold()))
