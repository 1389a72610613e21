"""Ask in which language a text's aligned tokens are: ``python data/architectures/languages.py``.

The texts are ``data/texts/languages.csv``: the same in English, German, Spanish and Chinese. Each embedding is read
as it is and with the common part moved away, which the first 500 of the course's 1,000 English sentences give
(``λ = −mean(hᵀu_1)`` along ``u_1``). Writes ``languages.csv`` beside this file: for each text language the share of the
ten best tokens in each class, with a 95 % interval over texts; and ``language_tokens.csv``, the tokens of three.

The classes, by a rule that was written before anything was measured (:func:`language_of`); word frequencies come from
``pip install wordfreq==3.1.1``, which only this command needs:

* no word: nothing but bytes, digits, punctuation, emoji, one Latin letter, or letters that are a word of no language;
* Han characters alone: Chinese (Japanese in Han characters counts as Chinese, too); another script than Latin: other;
* Latin letters: the language in which the word is most frequent, out of :data:`LATIN`, if it is at least one in a
  million there; English before others, and the text's own before all, where that is within a factor of two.

A piece of a word that happens to be a word counts as that word.
"""

import argparse
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from wordfreq import zipf_frequency

import tokalign_helpers as ta
from tokalign_helpers.course.claims import write_results

RESULTS, TOKENS = (Path(__file__).parent / f"{name}.csv" for name in ("languages", "language_tokens"))
EMBEDDERS = ("smol-last", "gemma-last")
LATIN = ("en", "de", "es", "fr", "it", "pt", "nl", "pl", "id", "tr", "sv", "fi", "cs", "da", "ro", "ca", "hu", "vi")
FREQUENT = 3.0  # Zipf: one in a million
FACTOR = float(np.log10(2))
K = 10
SHOWN = 3  # sentences


def language_of(token: str, own: str) -> str:
    """Return the language of a token in a text of the language `own`; ``other``, or empty for no word."""
    word = token.replace("▁", " ").strip().casefold()
    if not word or not all(unicodedata.category(c)[0] in "LM" for c in word):
        return ""
    names = [unicodedata.name(c, "") for c in word if unicodedata.category(c)[0] == "L"]
    if all(name.startswith("CJK UNIFIED") for name in names):
        return "zh"
    if not all(name.startswith("LATIN") for name in names):
        return "other"
    if len(word) < 2:
        return ""
    frequency = {language: zipf_frequency(word, language) for language in LATIN}
    best = max(frequency.values())
    close = [language for language, value in frequency.items() if value >= max(FREQUENT, best - FACTOR)]
    if not close:
        return ""
    return next((language for language in (own, "en") if language in close), "other")


def class_of(token: str, own: str) -> str:
    """Name the class of a token, as the table has it."""
    language = language_of(token, own)
    if language == own:
        return "own"
    return {"en": "English", "": "no word"}.get(language, "other")


def tokens_of(embedder: ta.Embedder, texts: pd.DataFrame) -> pd.DataFrame:
    """Read the texts of every language as they are and moved: K tokens for each, with their classes."""
    fitting = embedder.embed(ta.load_sentences(1000, seed=0)[:500])
    components = ta.PrincipalComponents.fit(fitting)
    along = float((fitting @ components.direction(1)).mean())
    found = []
    for language in texts.columns:
        own = texts[language].tolist()
        h = embedder.embed(own)
        for state, vectors in (("as it is", h), ("moved", components.adjust(h, -along))):
            tokens = ta.read_tokens(embedder, vectors, own, K)[["text", "token"]].rename(columns={"text": "sentence"})
            classes = [class_of(token, language) for token in tokens["token"]]
            found.append(tokens.assign(embedder=embedder.name, state=state, text=language, tokens=classes))
    return pd.concat(found)


def shares(tokens: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Return the share of each class among the tokens of a text, with an interval over texts."""
    for (name, state, language), own in tokens.groupby(["embedder", "state", "text"], sort=False):
        for kind in ("own", "English", "other", "no word"):
            interval = ta.bootstrap_interval((own["tokens"] == kind).groupby(own["sentence"]).mean().to_numpy())
            if kind != "English" or language != "en":
                about = {"embedder": name, "state": state, "text": language, "tokens": kind}
                yield about | {"value": interval.estimate, "low": interval.low, "high": interval.high}


def shown(tokens: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Return the tokens themselves, of the first sentences."""
    keys = ["embedder", "state", "text", "sentence"]
    for key, own in tokens[tokens["sentence"] < SHOWN].groupby(keys, sort=False):
        yield dict(zip(keys, key, strict=True)) | {"tokens": " ".join(own["token"])}


def main() -> None:
    """Read the texts with every embedder, or with those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("embedders", nargs="*", default=EMBEDDERS, help=f"of {', '.join(EMBEDDERS)}; default: all")
    asked = parser.parse_args().embedders
    torch.set_grad_enabled(False)
    texts = pd.read_csv(ta.data_dir() / "texts" / "languages.csv")
    tokens = pd.concat([tokens_of(ta.load_embedder(name), texts) for name in asked])
    for file, rows in ((RESULTS, shares(tokens)), (TOKENS, shown(tokens))):
        write_results(file, pd.DataFrame(list(rows)), "python data/architectures/languages.py")


if __name__ == "__main__":
    main()
