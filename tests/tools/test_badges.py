import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from tools import badges
from tools.notebooks import REPOSITORY, choose, read

FIRST = choose(REPOSITORY / "notebooks", [])[0]


def test_every_badge_and_set_up_cell_has_the_address_of_pyproject():
    assert badges.stale(REPOSITORY / "notebooks") == [], "run make badges"


def test_a_new_address_or_version_is_written_everywhere(tmp_path):
    moved = badges.with_address(read(FIRST), FIRST.name, "https://github.com/new/home", "9.9.9")
    text = "\n".join(cell.source for cell in moved.cells)
    assert f"github/new/home/blob/v9.9.9/notebooks/{FIRST.name}" in text
    assert "git+https://github.com/new/home@v9.9.9" in text
    assert 'ta.setup("9.9.9")' in text
    nbformat.write(moved, tmp_path / FIRST.name)
    assert badges.stale(tmp_path) == [FIRST.name]


def test_a_notebook_without_a_badge_is_told():
    with pytest.raises(ValueError, match="lacks its Colab badge"):
        badges.with_address(new_notebook(cells=[new_markdown_cell("# 01 · A")]), "a.ipynb", "h", "1")
