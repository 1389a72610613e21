"""What instructors are told fits the notebooks: reading times, and the figures that slides name."""

import re

import nbformat
import pytest

from tools.notebooks import NOTEBOOKS, REPOSITORY, choose

PATHS = {path.stem[:2]: path for path in choose(NOTEBOOKS, [])}
DOCS = REPOSITORY / "docs"
ROW = re.compile(r"^\| (\d\d) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
TITLE = re.compile(r"^\*Time for learners: about (\d+) minutes, (\d+) of them for the exercises(?:; (\d+) more)?", re.M)
HEADING = re.compile(r"^(#{2,3}) (.*)$")


def minutes(cells):
    """Return the minutes to read what is not optional, and what is: 200 words or one code cell a minute.

    The set-up cell and the list of sources count for nothing, exercises for what they say.
    """
    taken, heading, depth, optional = [0.0, 0.0], "", 0, False
    for cell in cells:
        if cell.cell_type == "code":
            taken[optional] += not cell.source.startswith("# @title")
            continue
        for line in cell.source.splitlines():
            if found := HEADING.match(line):
                heading = found[2]
                if not optional or len(found[1]) <= depth:
                    depth, optional = len(found[1]), heading.endswith("· optional")
            if heading != "Sources":
                taken[optional] += len(re.findall(r"\w+", line)) / 200
    return taken


@pytest.mark.parametrize("number", PATHS)
def test_reading_times_are_those_of_the_notebook(number):
    cells = nbformat.read(PATHS[number], as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    exercises = sum(map(int, re.findall(r"^### Exercise.*\((\d+) minutes", prose, re.MULTILINE)))
    found = minutes(cells)
    given = {row[0]: list(map(int, row[1:])) for row in ROW.findall((DOCS / "instructors.md").read_text("utf-8"))}
    reading, asked, together, optional = given[number]
    assert (asked, together) == (exercises, reading + exercises), f"docs/instructors.md: {exercises} min of exercises"
    assert abs(reading - found[0]) <= 0.1 * found[0] + 1, f"docs/instructors.md: {found[0]:.0f} minutes of reading"
    assert abs(optional - found[1]) <= 0.1 * found[1] + 1, f"docs/instructors.md: {found[1]:.0f} minutes are optional"
    assert together <= 60, "a notebook takes an hour at most; mark a section '· optional'"
    assert TITLE.findall(cells[0].source) == [(str(together), str(exercises), str(optional) if optional else "")]


def test_slides_name_cells_that_have_a_figure():
    links = re.findall(r"\(\.\./notebooks/([^#)]+)#([\w-]+)\)", (DOCS / "slides.md").read_text("utf-8"))
    assert len(links) >= 10
    for name, place in links:
        cells = nbformat.read(NOTEBOOKS / name, as_version=4).cells
        outputs = [output for cell in cells if cell.id == place for output in cell.get("outputs", [])]
        assert any("image/png" in output.get("data", {}) for output in outputs), f"docs/slides.md: {name}#{place}"
