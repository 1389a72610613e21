"""Every stored value of every CHECK cell of the course, changed once, must be noticed: no kernel, no model."""

import re

import pytest

from tests.notebooks.guard import texts
from tests.notebooks.nbval_tolerance import DEFAULT, differences, stated_tolerance
from tests.notebooks.wrong_copies import wrong_texts
from tools.notebooks import NOTEBOOKS, REPOSITORY, choose, is_check, read

CELLS = [
    pytest.param(cell, id=f"{path.stem[:2]}-{number}")
    for path in choose(NOTEBOOKS, [])
    for number, cell in enumerate(c for c in read(path).cells if c.cell_type == "code")
    if is_check(cell)
]


def sanitizer():
    """Read sanitize.cfg as nbval does: what it replaces is not compared."""
    lines = (REPOSITORY / "tests/notebooks/sanitize.cfg").read_text(encoding="utf-8")
    rules = re.findall(r"^regex: (.*)\nreplace: (.*)$", lines, re.MULTILINE)

    def clean(text):
        for pattern, replacement in rules:
            text = re.sub(pattern, replacement, text)
        return text

    return clean


CLEAN = sanitizer()


@pytest.mark.parametrize("cell", CELLS)
def test_no_change_of_a_stored_value_survives(cell):
    tolerance = stated_tolerance(cell.source)
    tried, survivors = 0, []
    for stored in texts(cell.outputs).values():
        assert differences(CLEAN(stored), CLEAN(stored), tolerance) == []
        for name, wrong in wrong_texts(stored, tolerance).items():
            if CLEAN(wrong) == CLEAN(stored):
                continue  # a time or an address: not compared on purpose
            tried += 1
            if not differences(CLEAN(stored), CLEAN(wrong), tolerance):
                survivors.append(name)
    assert survivors == []
    assert tried, "this cell compares nothing"


def test_a_loose_comparison_would_be_seen():
    wrong = wrong_texts("cosine 0.531 of 12 apple", DEFAULT)
    assert len(wrong) == 3
    assert all(differences("cosine 0.531 of 12 apple", text) for text in wrong.values())
