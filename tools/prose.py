"""List figures that no check covers: ``python -m tools.prose [--only 05]``.

A decimal in a notebook's prose must be printed by a CHECK cell above it, or stand in a file of the paper's figures; one
that is quoted from another notebook, which the same cell names, must be printed there. A decimal in a stored output
must be in a CHECK cell's, where nbval compares it. And no stored output says "skipped".
"""

import argparse
import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

from tools.notebooks import NOTEBOOKS, REPOSITORY, choose, is_check, read
from tools.run import RUN_TIME, SKIPPED

PAPER = ("paper_claims.csv", "paper_retrieval.csv")
NOT_PROSE = re.compile(
    r"`[^`\n]*`|https?://\S+|arXiv:? ?\d{4}\.\d{4,5}|\$\$.*?\$\$|!?\[!\[.*?\)\]\(.*?\)"
    r"|[Ss]ections? \d\.\d(?:(?: and | to |, )\d\.\d)*",
    re.DOTALL,
)
DECIMAL = re.compile(r"(?<![\w.])[-−+]?\d*\.(\d+)(?![\w.]*\w)")
NAMED = re.compile(r"[Nn]otebooks? (\d\d)(?:(?:,| and| to) (\d\d))*|\]\((\d\d)_")


def figures(text: str) -> dict[str, float]:
    """Return the decimals of a text, as they are written and as numbers without their sign."""
    found = [match[0] for match in DECIMAL.finditer(text)]
    return {written: abs(float(written.replace("−", "-"))) for written in found}


def covered(written: str, printed: list[float]) -> bool:
    """Say whether a number that was printed rounds to the written one; a difference may be written without its sign."""
    digits = len(written.partition(".")[2])
    value = abs(float(written.replace("−", "-")))
    return any(abs(value - number) <= 0.5 * 10**-digits + 1e-9 for number in printed)


def checked(cells: list[NotebookNode]) -> list[float]:
    """Return all decimals and whole numbers that CHECK cells have printed."""
    text = "\n".join(
        output.text
        for cell in cells
        if cell.cell_type == "code" and is_check(cell)
        for output in cell.outputs
        if output.output_type == "stream"
    )
    return [float(number) for number in re.findall(r"\d*\.?\d+", text)]


def of_the_paper() -> list[float]:
    """Return the paper's own figures, which no notebook computes."""
    found: list[float] = []
    for name in PAPER:
        with (REPOSITORY / "data" / name).open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                said = row["paper"] if "paper" in row else " ".join(row.values())
                found += figures(said).values()
    return found


def problems(path: Path) -> Iterator[str]:
    """Yield what no check covers in one notebook, a line each: where, and what.

    Parameters
    ----------
    path : Path
        Of a notebook; those that it quotes lie beside it.

    Yields
    ------
    str
        ``05 [12] prose: 0.531`` or ``05 [13] output: skipped``; cells are counted from 0.
    """
    cells, paper = read(path).cells, of_the_paper()
    for place, cell in enumerate(cells):
        where = f"{path.name[:2]} [{place}]"
        if cell.cell_type == "markdown":
            text = NOT_PROSE.sub(" ", RUN_TIME.sub("", cell.source))
            printed = checked(cells[:place]) + paper
            for other in sorted({name for match in NAMED.finditer(cell.source) for name in match.groups() if name}):
                printed += [n for file in path.parent.glob(f"{other}_*.ipynb") for n in checked(read(file).cells)]
            yield from (f"{where} prose: {written}" for written in figures(text) if not covered(written, printed))
            continue
        for output in cell.get("outputs", []):
            text = output.get("text", "")
            if SKIPPED.search(text):
                yield f"{where} output: skipped"
            if not is_check(cell):
                yield from (f"{where} output: {written}" for written in figures(text))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 1 if a figure is not covered."""
    parser = argparse.ArgumentParser("python -m tools.prose", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="01", help="how the notebooks' names begin")
    options = parser.parse_args(arguments)
    found = [problem for path in choose(NOTEBOOKS, options.only) for problem in problems(path)]
    print("\n".join(found) or "every figure is covered")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
