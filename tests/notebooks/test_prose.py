"""Every figure that a reader meets is printed by a cell that is checked, and nobody reads "skipped"."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.notebooks import CHECK, NOTEBOOKS, choose
from tools.prose import main, problems


def save(folder, *cells, name="05_made.ipynb"):
    nbformat.write(new_notebook(cells=list(cells)), folder / name)
    return folder / name


def printed(text, *tags):
    output = new_output("stream", name="stdout", text=text)
    return new_code_cell("print(x)", outputs=[output], metadata={"tags": list(tags)})


@pytest.mark.parametrize("path", choose(NOTEBOOKS, []), ids=lambda path: path.stem[:2])
def test_every_figure_is_covered(path):
    assert list(problems(path)) == []


@pytest.mark.parametrize(
    ("prose", "uncovered"),
    [
        ("It is 0.517.", []),
        ("It is 0.52, about 0.5.", []),
        ("It is 0.54.", ["0.54"]),
        ("It falls by 0.118 (−0.118).", []),
        ("It falls by −0.119 to .25", ["−0.119", ".25"]),
        ("The paper keeps 0.285 and 0.789.", ["0.285"]),
        ("See `v0.9` and [arXiv 2406.17378](https://arxiv.org/abs/2406.17378), sections 4.3 and 4.4.", []),
        ("Of 1,000 texts 12 have it; version 5.10.1 too.", []),
    ],
)
def test_prose(prose, uncovered, tmp_path):
    path = save(tmp_path, printed("cosine 0.517 [-0.118, 12]", CHECK), new_markdown_cell(prose))
    assert list(problems(path)) == [f"05 [1] prose: {figure}" for figure in uncovered]


def test_the_figure_stands_above_its_prose(tmp_path):
    path = save(tmp_path, new_markdown_cell("It is 0.517."), printed("0.517", CHECK))
    assert list(problems(path)) == ["05 [0] prose: 0.517"]


def test_another_notebook_is_quoted_by_its_number(tmp_path):
    save(tmp_path, printed("0.614", CHECK), name="04_other.ipynb")
    path = save(tmp_path, new_markdown_cell("Notebook 04 has 0.61."), new_markdown_cell("And 0.61 again."))
    assert list(problems(path)) == ["05 [1] prose: 0.61"]


def test_outputs(tmp_path):
    path = save(tmp_path, printed("0.517"), printed("no data here: skipped", CHECK), printed("0.7", CHECK))
    assert list(problems(path)) == ["05 [0] output: 0.517", "05 [1] output: skipped"]


def test_the_command(capsys):
    assert main(["--only", "00"]) == 0
    assert capsys.readouterr().out == "every figure is covered\n"


def test_a_notebook_that_is_not_there_is_no_success():
    with pytest.raises(SystemExit, match="no notebook begins with 99"):
        main(["--only", "99"])
