"""Fill the ledger of the paper's claims, and from it the README's table and lines: ``python -m tools.ledger``.

``data/paper_claims.csv`` says by a regular expression where in a notebook's stored outputs our figure stands. Without
``--write`` the ledger and the README are only compared, and the exit code is 1 when one of them is out of date.
"""

import argparse
import csv
import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tokalign_helpers.basics.files import write_text
from tokalign_helpers.course.claims import COLUMNS, read_ledger
from tools.findings import findings
from tools.notebooks import NOTEBOOKS, REPOSITORY, is_check

LEDGER, README = REPOSITORY / "data" / "paper_claims.csv", REPOSITORY / "README.md"


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
        if cell["cell_type"] == "code" and is_check(cell):
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
        If the notebook is missing, or neither its CHECK cells nor the row's file of results hold what the pattern looks
        for.
    """
    if row["verdict"] == "not run here":
        return ""
    notebooks = sorted(folder.glob(f"{row['notebook']}_*.ipynb"))
    if not notebooks:
        raise ValueError(f"claim {row['id']}: there is no notebook {row['notebook']}")
    if row["file"]:
        where, text = row["file"], (REPOSITORY / row["file"]).read_text(encoding="utf-8")
    else:
        where, text = f"a CHECK cell of {notebooks[0].name}", stored_outputs(notebooks[0])
    match = re.search(row["pattern"], text, re.DOTALL | re.MULTILINE)
    if match is None:
        raise ValueError(f"claim {row['id']}: nothing in {where} matches {row['pattern']!r}")
    return row["form"].format(*[_short(group) for group in match.groups()])


def _short(group: str) -> str:
    """Round what a file of results has with more digits than a reader needs."""
    return f"{float(group):.3f}" if re.fullmatch(r"-?\d*\.\d{4,}", group) else group


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
        As :func:`tokalign_helpers.course.claims.read_ledger` and :func:`found`.
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
    lines = ["| the paper's claim | in the paper | here | verdict | scale |", "|---|---|---|---|---|"]
    for row in rows:
        names = sorted(folder.glob(f"{row['notebook']}_*.ipynb")) if row["notebook"] else []
        link = f" ([{row['notebook']}](notebooks/{names[0].name}))" if names else ""
        scale = f"{row['scale']}: {row['model']}" if row["scale"] else row["model"]
        cells = [row["claim"], f"{row['paper']} ({row['where']})", f"{row['ours']}{link}", row["verdict"], scale]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") or "–" for cell in cells) + " |")
    return between_marks(readme, "claims", lines)


def between_marks(readme: str, name: str, lines: list[str]) -> str:
    """Replace what stands between the README's two marks of a name.

    Parameters
    ----------
    readme : str
        Its text.
    name : str
        Such as ``claims``.
    lines : list[str]

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the marks are missing.
    """
    marked = re.compile(rf"(<!-- {name}: .*? -->)\n(?:.*?\n)?(<!-- end of {name} -->)", re.DOTALL)
    if not marked.search(readme):
        raise ValueError(f"the README has no marks <!-- {name}: … --> and <!-- end of {name} -->")
    return marked.sub(lambda match: "\n".join([match[1], *lines, match[2]]), readme)


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
    try:
        fresh = {LEDGER: record(LEDGER, NOTEBOOKS)}
        rows = list(csv.DictReader(io.StringIO(fresh[LEDGER])))
        readme = with_table(README.read_text(encoding="utf-8"), rows, NOTEBOOKS)
        fresh[README] = between_marks(readme, "findings", findings(rows))
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


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns what :func:`bring_up_to_date` does."""
    parser = argparse.ArgumentParser("python -m tools.ledger", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write what is out of date")
    return bring_up_to_date(write=parser.parse_args(arguments).write)


if __name__ == "__main__":
    sys.exit(main())
