"""Pairs of texts or words, and how similar people found them."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from tokalign_helpers.basics.assets import asset_path
from tokalign_helpers.basics.lines import as_number, lines, naming_line

WORD_RATINGS = {"wordsim353": ("wordsim353", "\t"), "simlex999": ("simlex999", "\t")}


def load_word_ratings(name: str) -> pd.DataFrame:
    """Return pairs of words with human ratings.

    Parameters
    ----------
    name : str
        ``wordsim353``: relatedness and similarity mixed, 0–10 (Finkelstein et al. 2002). ``simlex999``: similarity
        proper, 0–10 (Hill et al. 2015).

    Returns
    -------
    DataFrame
        Columns ``word1``, ``word2``, ``rating``.

    Raises
    ------
    ValueError
        If there is no such set.
    """
    if name not in WORD_RATINGS:
        raise ValueError(f"unknown ratings {name!r}; known: {', '.join(WORD_RATINGS)}")
    asset, separator = WORD_RATINGS[name]
    table = pd.read_csv(
        asset_path(asset),
        sep=separator,
        comment="#",
        header=None,
        names=["word1", "word2", "rating"],
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
        dtype={"rating": str},
    )
    table["rating"] = pd.to_numeric(table["rating"], errors="coerce")  # one of the files has a row of column names
    return table.dropna(ignore_index=True)


def load_rated_words() -> list[str]:
    """Return the distinct words of all :func:`load_word_ratings`, in alphabetical order."""
    tables = [load_word_ratings(name) for name in WORD_RATINGS]
    return sorted({word for table in tables for column in ("word1", "word2") for word in table[column]})


def load_sts_pairs(folder: str | Path, part: str = "test") -> pd.DataFrame:
    """Return sentence pairs of the STS benchmark with human ratings, from a local folder.

    Parameters
    ----------
    folder : str or Path
        With ``sts-train.csv``, ``sts-dev.csv``, ``sts-test.csv`` as Cer et al. (2017) distribute them.
    part : str
        ``train``, ``dev`` or ``test``.

    Returns
    -------
    DataFrame
        Columns ``text1``, ``text2``, ``rating`` (0–5), ``source`` (such as ``images``).

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If a line has fewer than seven fields or its rating is not a number; the message names it.
    """
    file, rows = Path(folder) / f"sts-{part}.csv", []
    for place, line in lines(file):
        fields = line.split("\t")
        with naming_line(file, place):
            if len(fields) < 7:
                raise ValueError(f"{len(fields)} fields; a line has at least 7, separated by tabs")
            rows.append((fields[5], fields[6], as_number(fields[4]), fields[1]))
    return pd.DataFrame(rows, columns=["text1", "text2", "rating", "source"])


def load_lee_documents() -> tuple[list[str], np.ndarray]:
    """Return 50 short news stories and how similar people judged every pair of them (Lee et al. 2005).

    Returns
    -------
    texts : list[str], 50 of them
    similarity : ndarray, (50, 50), from 0 to 1, symmetric
    """
    texts = [line.strip() for _, line in lines(asset_path("lee-documents"), encoding="latin-1")]
    upper = np.loadtxt(asset_path("lee-similarities"))
    return texts, np.triu(upper) + np.triu(upper, 1).T
