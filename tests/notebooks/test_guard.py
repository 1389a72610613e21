import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.notebooks.guard import MARKER, problems, texts
from tools.notebooks import NOTEBOOKS, WIDGET_VIEW, choose, read

PATHS = choose(NOTEBOOKS, [])


def printed(text, stream="stdout"):
    return new_output("stream", name=stream, text=text)


def shown(**data):
    return new_output("display_data", data={kind.replace("_", "/", 1): value for kind, value in data.items()})


def sound():
    cells = [new_code_cell(f"{MARKER}\nprint({n})", outputs=[printed(f"{n}\n")]) for n in range(4)]
    for count, cell in enumerate(cells, start=1):
        cell.execution_count = count
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


def tagged(tag, output=None):
    notebook = with_output(output) if output else sound()
    notebook.cells[1].metadata["tags"] = [tag]
    return notebook


def titled(source):
    notebook = sound()
    notebook.cells[0].source = source
    return notebook


def with_long_cells():
    notebook = sound()
    for cell in notebook.cells[1:]:
        cell.source += "\nx = 1" * 9
    return notebook


LONG = "\n".join(["x = 1"] * 26)
RAISED = new_output("error", ename="ValueError", evalue="no", traceback=["no"])
WRONG = {
    "a CHECK cell that was not run": with_cell(execution_count=None),
    "without a stored text output": with_cell(outputs=[shown(image_png="aGk=")]),
    "not a bare marker: '# NBVAL_CHECK_OUTPUT of this'": with_source(f"{MARKER} of this\nprint(0)"),
    "not a bare marker: '## NBVAL_CHECK_OUTPUT'": with_source("## NBVAL_CHECK_OUTPUT\nprint(0)"),
    "not a bare marker: ' # NBVAL_CHECK_OUTPUT'": with_source(" # NBVAL_CHECK_OUTPUT\nprint(0)"),
    "the marker is not the first line": with_source(f"x = 1\n{MARKER}\nprint(0)"),
    "without print(": with_source(f"{MARKER}\nx  # print(x)"),
    "nbval skips or ignores": tagged("nbval-skip"),
    "skips or ignores": with_source(f"{MARKER}\n# NBVAL_IGNORE_OUTPUT\nprint(0)"),
    "fresh kernel: execution counts [9, 2, 3, 4]": with_cell(execution_count=9),
    "a stored error: ValueError": with_output(RAISED),
    "a path of a machine: '/home/me/x.py:3: Wrong'": with_output(printed("/home/me/x.py:3: Wrong\n", "stderr")),
    "a path of a machine: '/root/x'": with_output(printed("/root/x")),
    "a path of a machine: 'in /tmp/x'": with_output(shown(text_plain="in /tmp/x")),
    "a path of a machine: '<a href=file:///work/x>'": with_output(shown(text_html="<a href=file:///work/x>")),
    "a stored progress bar": with_output(printed("  0%|          | 0/10", "stderr")),
    "3 CHECK cells, fewer than 4": with_source("print(0)"),
    "26 lines; more than 25 need scrolling": with_source(LONG),
    "the first cell is not markdown": titled("# A title"),
    "half of the code cells have 11 lines or more": with_long_cells(),
}
FINE = {
    "sound": sound(),
    "a long set-up cell": with_source("# @title Set-up\n" + LONG),
    "a cell meant to raise": tagged("raises-exception", RAISED),
    "a cell meant to raise, as nbval names it": tagged("nbval-raises-exception", RAISED),
    "an address on the web": with_output(shown(text_html="<a href='https://a.org/home/x'>")),
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
