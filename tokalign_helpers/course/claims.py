"""The paper's claims and what this course found: ``data/paper_claims.csv``, filled from the notebooks' stored outputs.

A row says what the paper claims and where, which notebook shows it, and by a regular expression where in the outputs of
that notebook's CHECK cells our figure stands. ``python -m tokalign_helpers claims`` compares, ``--write`` fills in.
"""

import csv
import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tokalign_helpers.basics.assets import data_dir
from tokalign_helpers.basics.files import write_text
from tokalign_helpers.basics.lines import csv_rows

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = ("reproduced", "scaled-down", "not reproduced", "not run here")
COLUMNS = ("id", "claim", "where", "paper", "ours", "model", "verdict", "notebook", "pattern", "form")
MARKER = "# NBVAL_CHECK_OUTPUT"
TABLE = re.compile(r"(<!-- claims: .*? -->)\n(?:.*?\n)?(<!-- end of claims -->)", re.DOTALL)


def claims() -> "pd.DataFrame":
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


def paper_retrieval() -> "pd.DataFrame":
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

    Returns
    -------
    list[dict[str, str]]

    Raises
    ------
    ValueError
        If a column is missing, an id is there twice, a verdict is unknown, or a verdict other than ``not run here``
        has no pattern to find its figure by; the message names the line.
    """
    rows = []
    seen: set[str] = set()
    for number, row in csv_rows(file, COLUMNS):
        if len(row) != len(COLUMNS):
            raise ValueError(f"{file.name}, line {number}: the columns must be {', '.join(COLUMNS)}")
        if row["verdict"] not in VERDICTS:
            raise ValueError(f"{file.name}, line {number}: {row['verdict']!r} is no verdict; known: {VERDICTS}")
        if row["id"] in seen:
            raise ValueError(f"{file.name}, line {number}: the id {row['id']!r} is there already")
        shown = bool(row["notebook"] and row["pattern"] and row["form"])
        if shown != (row["verdict"] != "not run here"):
            raise ValueError(f"{file.name}, line {number}: a figure needs a run, and a run a verdict: {row['claim']!r}")
        seen.add(row["id"])
        rows.append(row)
    return rows


def stored_outputs(notebook: Path) -> str:
    """Return what the CHECK cells of a notebook have printed, as it is stored.

    Parameters
    ----------
    notebook : Path

    Returns
    -------
    str
    """
    printed = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code" and MARKER in "".join(cell["source"]).splitlines():
            streams = [output for output in cell["outputs"] if output.get("name") == "stdout"]
            printed += ["".join(output["text"]) for output in streams]
    return "\n".join(printed)


def found(row: Mapping[str, str], folder: Path) -> str:
    """Return our figure for a claim, as the notebook's stored outputs have it.

    Parameters
    ----------
    row : Mapping[str, str]
    folder : Path
        Of the notebooks.

    Returns
    -------
    str
        Empty for a claim that is not run here.

    Raises
    ------
    ValueError
        If the notebook is missing or none of its CHECK cells prints what the pattern looks for.
    """
    if row["verdict"] == "not run here":
        return ""
    notebooks = sorted(folder.glob(f"{row['notebook']}_*.ipynb"))
    if not notebooks:
        raise ValueError(f"claim {row['id']}: there is no notebook {row['notebook']}")
    match = re.search(row["pattern"], stored_outputs(notebooks[0]), re.DOTALL | re.MULTILINE)
    if match is None:
        raise ValueError(f"claim {row['id']}: no CHECK cell of {notebooks[0].name} prints {row['pattern']!r}")
    return row["form"].format(*match.groups())


def record(file: Path, folder: Path) -> str:
    """Return the ledger's text with our figures as the notebooks have them now.

    Parameters
    ----------
    file : Path
        The ledger.
    folder : Path
        Of the notebooks.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        As :func:`read_ledger` and :func:`found`.
    """
    rows = [{**row, "ours": found(row, folder)} for row in read_ledger(file)]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def with_table(readme: str, rows: list[dict[str, str]], folder: Path) -> str:
    """Put the ledger between the README's two marks.

    Parameters
    ----------
    readme : str
        Its text.
    rows : list[dict[str, str]]
    folder : Path
        Of the notebooks.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the marks are missing.
    """
    if not TABLE.search(readme):
        raise ValueError("the README has no marks <!-- claims: … --> and <!-- end of claims -->")
    lines = ["| the paper's claim | in the paper | here | on | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        names = sorted(folder.glob(f"{row['notebook']}_*.ipynb")) if row["notebook"] else []
        link = f" ([{row['notebook']}](notebooks/{names[0].name}))" if names else ""
        cells = [row["claim"], f"{row['paper']} ({row['where']})", f"{row['ours']}{link}", row["model"], row["verdict"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") or "–" for cell in cells) + " |")
    return TABLE.sub(lambda match: "\n".join([match[1], *lines, match[2]]), readme)


def bring_up_to_date(*, write: bool) -> int:
    """Compare the ledger and the README with the notebooks, or bring them up to date.

    Parameters
    ----------
    write : bool
        Write what is out of date instead of naming it.

    Returns
    -------
    int
        0; 1 if something is out of date; 2 if a claim's figure cannot be found.
    """
    root = data_dir().parent
    ledger, readme, notebooks = root / "data" / "paper_claims.csv", root / "README.md", root / "notebooks"
    try:
        fresh = {ledger: record(ledger, notebooks)}
        rows = list(csv.DictReader(io.StringIO(fresh[ledger])))
        fresh[readme] = with_table(readme.read_text(encoding="utf-8"), rows, notebooks)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    stale = [file for file, text in fresh.items() if file.read_text(encoding="utf-8") != text]
    if write:
        for file in stale:
            write_text(file, fresh[file])
        stale = []
    for file in stale:
        print(f"{file.name} is out of date: run `make claims`", file=sys.stderr)
    return 1 if stale else 0
