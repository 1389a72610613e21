"""The paper's claims and what this course found: ``data/paper_claims.csv``, filled from the notebooks' stored outputs.

A row says what the paper claims and where, the rule for its verdict, which notebook shows it, and by a regular
expression where in the outputs of that notebook's CHECK cells, or in a file of results, our figure stands. ``make
claims`` fills them in.
"""

import datetime
import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tokalign_helpers.basics.assets import data_dir
from tokalign_helpers.basics.files import sha256, write_text
from tokalign_helpers.basics.lines import csv_rows
from tokalign_helpers.basics.statistics import Interval

if TYPE_CHECKING:
    import pandas as pd

MADE = "made.json"
VERDICTS = ("reproduced", "partly", "not reproduced", "not run here")
SCALES = ("scaled-down", "the paper's", "")  # a far smaller model or less data; as in the paper; not run
COLUMNS = (
    "id",
    "claim",
    "where",
    "paper",
    "rule",
    "ours",
    "verdict",
    "scale",
    "model",
    "notebook",
    "file",
    "pattern",
    "form",
)
SHOWN = ("claim", "where", "paper", "rule", "ours", "verdict", "scale", "model", "notebook")


def load_claims() -> "pd.DataFrame":
    """Return the ledger.

    Returns
    -------
    DataFrame
        ``claim``, ``where`` (in the paper), ``paper`` (its figure), ``rule`` (when the verdict is "reproduced", when
        "not"; all between is "partly"), ``ours``, ``verdict`` (one of :data:`VERDICTS`), ``scale`` (``scaled-down``: on
        a smaller model or less data than the paper's), ``model``, ``notebook``.
    """
    import pandas as pd

    table = pd.DataFrame(read_ledger(data_dir() / "paper_claims.csv"))
    return table[list(SHOWN)]


def load_paper_retrieval() -> "pd.DataFrame":
    """Return the paper's nDCG@10 of dense and of training-free sparse retrieval (section 5).

    Returns
    -------
    DataFrame
        ``system``, ``kind`` (dense or sparse), and a column for each collection.
    """
    import pandas as pd

    return pd.read_csv(data_dir() / "paper_retrieval.csv")


def load_results(table: str, folder: str = "results") -> "pd.DataFrame":
    """Return figures that were measured beforehand, because they need data or time that a notebook has not.

    Parameters
    ----------
    table : str
        A file of the folder, without its ending.
    folder : str
        Inside ``data``.

    Returns
    -------
    DataFrame
        What was measured, then ``value`` and the bounds ``low`` and ``high`` of its 95 % interval; for times, of which
        ``value`` is the median, their 5th and 95th percentile. Its ``attrs`` hold the ``command`` that makes it, the
        ``date``, and the SHA-256 of the table and of the files it was made ``from``.

    Raises
    ------
    ValueError
        If there is no such table, or it is not the one that its command wrote.
    """
    notes = data_dir() / folder / MADE
    if not notes.is_file():
        raise ValueError(f"there are no results in a folder {folder!r}; there are some in 'results'")
    made = json.loads(notes.read_text(encoding="utf-8"))
    if table not in made:
        raise ValueError(f"there are no results {table!r}; known: {', '.join(made)}")
    file = notes.with_name(f"{table}.csv")
    if sha256(file) != made[table]["sha256"]:
        raise ValueError(f"{file} was changed after {made[table]['date']}; make it again: {made[table]['command']}")
    found = _read(file)
    found.attrs = made[table]
    return found


def write_results(
    file: Path,
    table: "pd.DataFrame",
    command: str,
    sources: Mapping[str, Path] = MappingProxyType({}),
    *,
    by: Sequence[str] = (),
    digits: int = 4,
) -> None:
    """Write a table, and note beside it when, by which command and from which files it was made.

    Parameters
    ----------
    file : Path
        The CSV file; ``made.json`` in its folder is brought up to date.
    table : DataFrame
        For :func:`load_results`.
    command : str
        What makes the table again.
    sources : Mapping[str, Path]
        What to call the files that it was made from, and where they lie.
    by : Sequence[str]
        Columns that tell what was measured. Rows of the file that have other values there stay, and the table's rows
        take the place of those that have the same. None: the table replaces the file.
    digits : int
        After the point.

    Raises
    ------
    ValueError
        If the file has other columns than the table, so that its rows could not stay beside them.
    """
    import pandas as pd

    table = table.round(digits)
    if by and file.is_file():
        kept = _read(file)
        if set(kept.columns) != set(table.columns):
            raise ValueError(f"{file} has the columns {list(kept.columns)}, not {list(table.columns)}; remove it first")
        parts: dict[Hashable, pd.DataFrame] = {}
        for part in (kept, table):
            parts |= dict(iter(part.groupby(list(by), sort=False)))
        table = pd.concat(parts.values())
    write_text(file, table.to_csv(index=False, lineterminator="\n"))
    notes = file.with_name(MADE)
    made = json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() else {}
    made[file.stem] = {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "sha256": sha256(file),
        "from": {name: sha256(path) for name, path in sources.items()},
    }
    write_text(notes, json.dumps(dict(sorted(made.items())), indent=1) + "\n")


def row(interval: Interval, called: str = "value", **what: object) -> dict[str, object]:
    """Return a row of such a table: what was measured, then the estimate and the ends of its interval.

    Parameters
    ----------
    interval : Interval
    called : str
        Column of the estimate.
    **what
        The columns before it.

    Returns
    -------
    dict[str, object]
    """
    return {**what, called: interval.estimate, "low": interval.low, "high": interval.high}


def interval_table(table: "pd.DataFrame", rows: str, columns: str, value: str = "value") -> "pd.DataFrame":
    """Lay estimates and their intervals out in rows and columns, to be read.

    Parameters
    ----------
    table : DataFrame
        As :func:`load_results` returns it, or a part of it that holds each pair of row and column once.
    rows, columns : str
        Columns of the table, whose values name the rows and the columns; they stay in their order.
    value : str
        The column of the estimates.

    Returns
    -------
    DataFrame
        Of texts, such as ``0.109 [0.099, 0.118]``; empty where nothing was measured.

    Raises
    ------
    ValueError
        If a pair of row and column stands there twice, or the table lacks a column.
    """
    missing = [name for name in (rows, columns, value, "low", "high") if name not in table]
    if missing:
        raise ValueError(f"the table has no column {missing[0]!r}; it has {', '.join(map(str, table.columns))}")
    keys = table[[rows, columns]]
    if keys.duplicated().any():
        twice = keys[keys.duplicated()].iloc[0].tolist()
        raise ValueError(
            f"{rows} {twice[0]!r} and {columns} {twice[1]!r} stand there twice; pick one part of the table"
        )
    told = [str(Interval(*found)) for found in table[[value, "low", "high"]].to_numpy(float)]
    wide = table.assign(told=told).pivot(index=rows, columns=columns, values="told").fillna("")
    return wide.loc[table[rows].unique(), table[columns].unique()]


def _read(file: Path) -> "pd.DataFrame":
    """Read a table; what is empty is no number, and everywhere else a text."""
    import pandas as pd

    return pd.read_csv(file, keep_default_na=False, na_values={name: [""] for name in ("value", "low", "high")})


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
        If a column is missing, an id occurs twice, a verdict or a scale is unknown, or a verdict other than ``not run
        here`` has no rule, no scale, or no pattern to find its figure by; the message names the line.
    """
    rows = []
    seen: set[str] = set()
    for number, row in csv_rows(file, COLUMNS):
        if len(row) != len(COLUMNS):
            raise ValueError(f"{file.name}, line {number}: the columns must be {', '.join(COLUMNS)}")
        if row["verdict"] not in VERDICTS:
            raise ValueError(f"{file.name}, line {number}: {row['verdict']!r} is not a verdict; known: {VERDICTS}")
        if row["scale"] not in SCALES:
            raise ValueError(f"{file.name}, line {number}: {row['scale']!r} is not a scale; known: {SCALES}")
        if row["id"] in seen:
            raise ValueError(f"{file.name}, line {number}: the id {row['id']!r} is already in use")
        shown = all(row[name] for name in ("notebook", "rule", "scale", "pattern", "form"))
        if shown != (row["verdict"] != "not run here"):
            raise ValueError(f"{file.name}, line {number}: a figure needs a run, and a run a verdict: {row['claim']!r}")
        seen.add(row["id"])
        rows.append(row)
    return rows
