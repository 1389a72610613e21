"""The paper's claims and what this course found: ``data/paper_claims.csv``, filled from the notebooks' stored outputs.

A row says what the paper claims and where, which notebook shows it, and by a regular expression where our figure is in
the outputs of that notebook's CHECK cells. ``make claims`` fills them in.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from tokalign_helpers.basics.assets import data_dir
from tokalign_helpers.basics.lines import csv_rows

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = ("reproduced", "scaled-down", "not reproduced", "not run here")
COLUMNS = ("id", "claim", "where", "paper", "ours", "model", "verdict", "notebook", "pattern", "form")


def load_claims() -> "pd.DataFrame":
    """Return the ledger.

    Returns
    -------
    DataFrame
        ``claim``, ``where`` (in the paper), ``paper`` (its figure), ``ours``, ``model``, ``verdict`` (one of
        :data:`VERDICTS`; ``scaled-down``: seen, but on a smaller model or less data), ``notebook``.
    """
    import pandas as pd

    table = pd.DataFrame(read_ledger(data_dir() / "paper_claims.csv"))
    return table[["claim", "where", "paper", "ours", "model", "verdict", "notebook"]]


def load_paper_retrieval() -> "pd.DataFrame":
    """Return the paper's nDCG@10 of dense and of training-free sparse retrieval (section 5).

    Returns
    -------
    DataFrame
        ``system``, ``kind`` (dense or sparse), and a column for each collection.
    """
    import pandas as pd

    return pd.read_csv(data_dir() / "paper_retrieval.csv")


def read_ledger(file: Path) -> list[dict[str, str]]:
    """Read the rows of a ledger and refuse those that claim more than they show.

    Parameters
    ----------
    file : Path
        The CSV file.

    Returns
    -------
    list[dict[str, str]]

    Raises
    ------
    ValueError
        If a column is missing, an id occurs twice, a verdict is unknown, or a verdict other than ``not run here``
        has no pattern to find its figure by; the message names the line.
    """
    rows = []
    seen: set[str] = set()
    for number, row in csv_rows(file, COLUMNS):
        if len(row) != len(COLUMNS):
            raise ValueError(f"{file.name}, line {number}: the columns must be {', '.join(COLUMNS)}")
        if row["verdict"] not in VERDICTS:
            raise ValueError(f"{file.name}, line {number}: {row['verdict']!r} is not a verdict; known: {VERDICTS}")
        if row["id"] in seen:
            raise ValueError(f"{file.name}, line {number}: the id {row['id']!r} is already in use")
        shown = bool(row["notebook"] and row["pattern"] and row["form"])
        if shown != (row["verdict"] != "not run here"):
            raise ValueError(f"{file.name}, line {number}: a figure needs a run, and a run a verdict: {row['claim']!r}")
        seen.add(row["id"])
        rows.append(row)
    return rows
