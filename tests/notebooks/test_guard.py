import json
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.notebooks.guard import WIDEST, problems, texts
from tokalign_helpers.course import notebook as course_notebook
from tools.notebooks import CHECK, NOTEBOOKS, REPOSITORY, WIDGET_VIEW, choose, read

PATHS = choose(NOTEBOOKS, [])


def printed(text, stream="stdout"):
    return new_output("stream", name=stream, text=text)


def shown(**data):
    return new_output("display_data", data={kind.replace("_", "/", 1): value for kind, value in data.items()})


def sound():
    cells = [new_code_cell(f"print({n})", outputs=[printed(f"{n}\n")]) for n in range(4)]
    for count, cell in enumerate(cells, start=1):
        cell.execution_count = count
        cell.metadata["tags"] = [CHECK]
    return new_notebook(cells=[new_markdown_cell("# 03 · A title\n\nWords."), *cells])


def with_source(source):
    notebook = sound()
    notebook.cells[1].source = source
    return notebook


def with_output(output):
    notebook = sound()
    notebook.cells[1].outputs.append(output)
    return notebook


def with_cell(**changes):
    notebook = sound()
    notebook.cells[1].update(changes)
    return notebook


def tagged(*tags, output=None):
    notebook = with_output(output) if output else sound()
    notebook.cells[1].metadata["tags"] = list(tags)
    return notebook


def titled(source):
    notebook = sound()
    notebook.cells[0].source = source
    return notebook


def with_long_cells():
    notebook = sound()
    for cell in notebook.cells[1:]:
        cell.source += "\nx = 1" * 7 + "\n\n# why"
    return notebook


LONG = "\n".join(["x = 1"] * 26)
RAISED = new_output("error", ename="ValueError", evalue="no", traceback=["no"])
WRONG = {
    "a CHECK cell that was not run": with_cell(execution_count=None),
    "without a stored text output": with_cell(outputs=[shown(image_png="aGk=")]),
    "a comment where a tag belongs: '# NBVAL_CHECK_OUTPUT'": with_source("# NBVAL_CHECK_OUTPUT\nprint(0)"),
    "a comment where a tag belongs: '## NBVAL_SKIP'": with_source("print(0)\n  ## NBVAL_SKIP"),
    "a tag that nothing reads: 'nbval-check-outputs'": tagged("nbval-check-outputs"),
    "a tag that nothing reads: 'check'": tagged(CHECK, "check"),
    "without print(": with_source("x  # print(x)"),
    "nbval skips or ignores": tagged(CHECK, "nbval-skip"),
    "skips or ignores": tagged(CHECK, "nbval-ignore-output"),
    "fresh kernel: execution counts [9, 2, 3, 4]": with_cell(execution_count=9),
    "a stored error: ValueError": with_output(RAISED),
    "a path of a machine: '/home/me/x.py:3: Wrong'": with_output(printed("/home/me/x.py:3: Wrong\n", "stderr")),
    "a path of a machine: '/root/x'": with_output(printed("/root/x")),
    "a path of a machine: 'in /tmp/x'": with_output(shown(text_plain="in /tmp/x")),
    "a path of a machine: '<a href=file:///work/x>'": with_output(shown(text_html="<a href=file:///work/x>")),
    "a stored progress bar": with_output(printed("  0%|          | 0/10", "stderr")),
    "an output of 101 characters: 'xxxx": with_output(printed(f"0\n{'x' * 101}\n")),
    "an output of 102 characters: '1111": with_output(shown(text_plain="1" * 102)),
    "a line of 101 characters: \"print('yyy": with_source(f"print('{'y' * 92}')"),
    "3 CHECK cells, fewer than 4": tagged(),
    "26 lines; more than 25 need scrolling": with_source(LONG),
    "the first cell is not markdown": titled("# A title"),
    "half of the code cells have 8 lines or more": with_long_cells(),
}
FINE = {
    "sound": sound(),
    "a long set-up cell": with_source("# @title Set-up\nprint(0)\n" + LONG),
    "a cell meant to raise": tagged("raises-exception", output=RAISED),
    "a cell meant to raise, as nbval names it": tagged("nbval-raises-exception", output=RAISED),
    "an address on the web": with_output(shown(text_html="<a href='https://a.org/home/x'>")),
    "lines as wide as the page": with_output(printed("x" * 100)),
    "a picture that spells a path": with_output(shown(image_png="aa/tmp/aa")),
    "a picture in HTML that spells a path": with_output(shown(text_html="<img src='data:;base64,a+/tmp/a'>")),
}


@pytest.mark.parametrize("expected", WRONG.keys())
def test_finds(expected):
    minimum = 4 if "fewer than 4" in expected else 3
    assert any(expected in problem for problem in problems(WRONG[expected], minimum))


@pytest.mark.parametrize("name", FINE.keys())
def test_passes(name):
    assert problems(FINE[name], minimum_checks=3) == []


def test_each_wrong_is_one_problem():
    assert len(problems(with_cell(outputs=[]))) == 1


def test_an_empty_code_cell_has_no_count():
    notebook = sound()
    notebook.cells.append(new_code_cell(""))
    assert problems(notebook) == []


def test_an_empty_notebook_is_no_crash():
    assert len(problems(new_notebook())) == 2


def test_texts_leave_widgets_stderr_and_pictures_out():
    widget = new_output("display_data", data={"text/plain": "  0%|", WIDGET_VIEW: {"model_id": "a"}})
    left_out = [printed("warning", "stderr"), shown(image_png="aGk="), shown(text_html="<b>"), widget]
    outputs = [printed("a\n"), *left_out, printed("b\n"), shown(text_plain="c")]
    assert texts(outputs) == {"stdout": "a\nb\n", "output 1": "c"}


def test_there_are_notebooks():
    assert PATHS


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_notebook(path):
    assert problems(read(path)) == []


def ruff(*arguments):
    """Run the linter from the repository's root and return its findings."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=json", *map(str, arguments)]
    return json.loads(subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).stdout)


FAULTS = {
    "B023": "for x in [1]:\n    y = [lambda: x]",
    "E501": f"x = '{'y' * 96}'",
    "E731": "double = lambda x: 2 * x",
    "I001": "import tempfile\nimport json\n\nprint(json, tempfile)",
}


@pytest.mark.parametrize("rule", FAULTS)
def test_the_linter_sees_what_is_wrong_in_a_notebook(rule, tmp_path):
    nbformat.write(new_notebook(cells=[new_code_cell(FAULTS[rule])]), tmp_path / "made.ipynb")
    config = (NOTEBOOKS / "ruff.toml").read_text(encoding="utf-8").replace("../pyproject", f"{REPOSITORY}/pyproject")
    (tmp_path / "ruff.toml").write_text(config, encoding="utf-8")
    assert [found["code"] for found in ruff(tmp_path)] == [rule]


def test_notebooks_are_linted_and_formatted_with_everything_else():
    assert ruff("notebooks") == []
    command = [sys.executable, "-m", "ruff", "format", "--no-cache", "--check", "notebooks"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert f"{len(choose(NOTEBOOKS, []))} files already formatted" in done.stdout


def test_only_the_set_up_cell_imports_what_its_notebook_does_not_use():
    found = ruff("--isolated", "--select=F401", "notebooks")
    assert {(item["filename"], item["cell"]) for item in found} == {
        (item["filename"], number)
        for item in found
        for number, cell in enumerate(read(item["filename"]).cells, start=1)
        if cell.source.startswith("# @title")
    }


def test_one_width_for_code_and_outputs():
    assert f"\nline-length = {WIDEST} " in (NOTEBOOKS / "ruff.toml").read_text(encoding="utf-8")
    assert course_notebook.WIDTH == WIDEST
