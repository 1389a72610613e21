"""What instructors are told fits the notebooks: reading times, and the figures that slides name."""

import re

import nbformat
import pytest

from tools.notebooks import NOTEBOOKS, REPOSITORY, choose

PATHS = {path.stem[:2]: path for path in choose(NOTEBOOKS, [])}
DOCS = REPOSITORY / "docs"
ROW = re.compile(r"^\| (\d\d) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)


@pytest.mark.parametrize("number", PATHS)
def test_reading_times_are_those_of_the_notebook(number):
    cells = nbformat.read(PATHS[number], as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    exercises = sum(map(int, re.findall(r"^### Exercise.*\((\d+) minutes", prose, re.MULTILINE)))
    reading = len(re.findall(r"\w+", prose)) / 200 + sum(cell.cell_type == "code" for cell in cells) / 2
    given = {row[0]: list(map(int, row[1:])) for row in ROW.findall((DOCS / "instructors.md").read_text("utf-8"))}
    said = given[number]
    assert sum(said[:2]) == said[2] and said[1] == exercises, f"docs/instructors.md: {exercises} minutes of exercises"
    assert abs(said[0] - reading) <= 0.2 * reading, f"docs/instructors.md: {reading:.0f} minutes of reading"


def test_slides_name_cells_that_have_a_figure():
    links = re.findall(r"\(\.\./notebooks/([^#)]+)#([\w-]+)\)", (DOCS / "slides.md").read_text("utf-8"))
    assert len(links) >= 10
    for name, place in links:
        cells = nbformat.read(NOTEBOOKS / name, as_version=4).cells
        outputs = [output for cell in cells if cell.id == place for output in cell.get("outputs", [])]
        assert any("image/png" in output.get("data", {}) for output in outputs), f"docs/slides.md: {name}#{place}"
