"""The page of the paper's claims: a table on a wide window, cards on a phone, each linked to the cells it rests on."""

import csv
import re
from collections import Counter
from collections.abc import Mapping
from html import escape
from pathlib import Path

import nbformat
from nbformat import NotebookNode

CHECK = "nbval-check-output"
VERDICTS = {
    "reproduced": "The figures satisfy the row's rule, in every case that the rule names.",
    "partly": "They satisfy it in some of the cases, or to the degree that the rule calls partly.",
    "not reproduced": "They satisfy the rule's condition for failing, or satisfy the rule in no case.",
    "not run here": "It needs models too large for a laptop; `make reproduce` measures some of them on a GPU.",
}
LABELS = {"rule": "rule", "found": "what we found", "verdict": "verdict", "scale": "scale"}
INTRODUCTION = """Each claim was given a rule that says what would count as reproducing it. Most rules were written when
figures of an earlier run were known. *Scaled-down* means a much smaller model or less data than the paper's: it says
how far a verdict reaches, and is no verdict. Figures are read out of the stored output of the linked cells, or out of a
file of results that the cell draws, and a test fails when they differ. Brackets hold 95 % intervals."""


def anchor(number: str, cell: NotebookNode) -> str:
    """Name the place of a cell on its page, by the cell's own id, which stays when cells are added or moved.

    Parameters
    ----------
    number : str
        Of the notebook, two digits.
    cell : NotebookNode

    Returns
    -------
    str
    """
    return f"nb{number}-{cell.id.lower()}"


def carrying_cells(row: Mapping[str, str], notebook: NotebookNode) -> list[NotebookNode]:
    """Find the cells whose output holds a claim's figures, or that read the file which does.

    Parameters
    ----------
    row : Mapping[str, str]
        Of the ledger.
    notebook : NotebookNode

    Returns
    -------
    list[NotebookNode]
        In their order; empty if there is none.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if row["file"]:
        parts = Path(row["file"]).with_suffix("").parts[1:]
        return [cell for cell in code if all(f'"{part}' in cell.source for part in parts)][:1]
    checked = [cell for cell in code if CHECK in cell.metadata.get("tags", [])]
    ends, text = [], ""
    for cell in checked:
        printed = ["".join(output["text"]) for output in cell.outputs if output.get("name") == "stdout"]
        text += "\n".join([*printed, ""])  # as tools/ledger.py joins them
        ends.append(len(text))
    match = re.search(row["pattern"], text, re.DOTALL | re.MULTILINE)
    places = [match.start(i) for i in range(1, match.re.groups + 1)] if match else []
    return [
        cell
        for cell, start, end in zip(checked, [0, *ends], ends, strict=False)
        if any(start <= place < end for place in places)
    ]


def claims_page(table: Path, notebooks: Path) -> str:
    """Write the ledger as a page.

    Parameters
    ----------
    table : Path
        CSV.
    notebooks : Path
        The folder of the notebooks.

    Returns
    -------
    str
        Markdown; the table in it is HTML, whose cells say their column's name for where they stand as cards.

    Raises
    ------
    ValueError
        If no cell carries a claim that was run.
    """
    # By hand: what builds the pages has none of the course's packages, whose own reader checks the file.
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    paths = {path.name[:2]: path for path in notebooks.glob("*.ipynb")}
    read = {number: nbformat.read(path, as_version=4) for number, path in paths.items()}
    counts = Counter(row["verdict"] for row in rows)
    definitions = [
        f'<dt id="{_slug(name)}">{name} <span class="count">{counts[name]} of {len(rows)} claims</span></dt>'
        f"<dd>{_inline(meaning)}</dd>"
        for name, meaning in VERDICTS.items()
    ]
    body = []
    for row in rows:
        number = row["notebook"]
        links = _links(row, paths[number], read[number]) if number else ""
        body.append(_row(row, links))
    head = "".join(
        f'<th role="columnheader" scope="col">{name}</th>' for name in ("the paper's claim", *LABELS.values())
    )
    return "\n".join([
        "# The paper's claims, and what we found", "",
        INTRODUCTION, "",
        "## What a verdict means", "",
        '<dl class="verdicts">', *definitions, "</dl>", "",
        "## The claims", "",
        '<table class="claims" role="table"><thead role="rowgroup">',
        f'<tr role="row">{head}</tr>', '</thead><tbody role="rowgroup">', *body, "</tbody></table>", "",
    ])  # fmt: skip


def _links(row: Mapping[str, str], path: Path, notebook: NotebookNode) -> str:
    """Write the links to the cells that carry a claim."""
    cells = carrying_cells(row, notebook)
    if not cells:
        raise ValueError(f"claim {row['id']}: no cell of {path.name} holds its figures; see its pattern or file")
    number = row["notebook"]
    links = [
        f'<a href="{path.stem}.html#{anchor(number, cell)}">notebook {number}, cell {cell.execution_count}</a>'
        for cell in cells
    ]
    return "; ".join(links)


def _row(row: Mapping[str, str], links: str) -> str:
    """Write one claim."""
    scale = f"{row['scale']}: {row['model']}" if row["scale"] else row["model"]
    cells = {
        "claim": f'{_inline(row["claim"])}<p class="aside">In the paper: {_inline(row["paper"])} '
        f"({_inline(row['where'])})</p>",
        "rule": _inline(row["rule"]),
        "found": _inline(row["ours"]) + (f'<p class="aside">{links}</p>' if links else ""),
        "verdict": f'<a class="verdict {_slug(row["verdict"])}" href="#{_slug(row["verdict"])}">{row["verdict"]}</a>',
        "scale": _inline(scale),
    }
    columns = [_cell(name, text) for name, text in cells.items()]
    return f'<tr role="row" id="claim-{row["id"]}">{"".join(columns)}</tr>'


def _cell(name: str, text: str) -> str:
    """Write one cell, with its column's name for a card; an empty one is left out of a card."""
    label = f' data-label="{LABELS[name]}"' if name in LABELS else ""
    return f'<td role="cell" class="{name}{"" if text else " empty"}"{label}>{text or "–"}</td>'


def _inline(text: str) -> str:
    """Escape a text; what stands between backticks is code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text, quote=False))


def _slug(verdict: str) -> str:
    return f"verdict-{verdict.replace(' ', '-')}"
