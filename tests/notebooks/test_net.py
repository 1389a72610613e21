"""Proof of the net: what is wrong turns the run red, and what another machine may do does not."""

import os
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.notebooks.guard import problems
from tests.notebooks.wrong_copies import change_number, change_token, first_word
from tools.notebooks import CHECK, REPOSITORY, THREADS, kernel_environment, read, without_outputs
from tools.run import execute

OPTIONS = [
    *(
        "-p",
        "tests.notebooks.nbval_tolerance",
        "-p",
        "no:cacheprovider",
        "-c",
        "pyproject.toml",
        "--color=no",
    ),
    *("--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600"),
    *("--nbval-sanitize-with", "tests/notebooks/sanitize.cfg"),
]
START = REPOSITORY / "notebooks" / "00_start_here.ipynb"
HELPER = """SCORE = 0.5312

def nearest():
    return "apple"
"""
CELLS = {
    "set-up": "import os, sys, warnings\nfrom tests.notebooks import guard\nimport helper",
    "float": "print(f'cosine {helper.SCORE:.3f}')",
    "integer": "print('rank', 1234)",
    "token": "print('nearest:', helper.nearest())",
    "changing": "import time\nprint(f'{time.time():.2f} s', object())",
    "threads": "print(os.environ['OMP_NUM_THREADS'], 'threads')",
    "stderr": "print(os.getpid(), file=sys.stderr)\nprint('words only')",
    "last": "x = 1",
}


def made(cells):
    notebook = new_notebook(cells=[new_markdown_cell("# 00 · A made notebook"), *map(new_code_cell, cells)])
    for cell in notebook.cells[1:]:
        cell.metadata["tags"] = [CHECK] if "print(" in cell.source else []
    return notebook


def executed(notebook, folder):
    fixed = kernel_environment({})
    outcome = execute(notebook, folder, {**os.environ, **fixed})
    assert outcome.error == ""
    return notebook


def with_source(notebook, number, source, tags=()):
    changed = nbformat.from_dict(notebook)
    changed.cells[1 + number].source = source
    changed.cells[1 + number].metadata["tags"] = list(tags)
    return changed


def red_notebooks(folder):
    """Run nbval over a folder and return the names of the notebooks in which a cell failed."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", *OPTIONS, f"--junitxml={report}", str(folder)]
    environment = {name: value for name, value in os.environ.items() if name not in (*THREADS, "PYTHONPATH")}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert report.exists(), done.stdout + done.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    assert {_name(case) for case in cases} == {path.stem for path in folder.glob("**/*.ipynb")}, done.stdout
    red = {_name(case) for case in cases if {child.tag for child in case} & {"failure", "error"}}
    assert (done.returncode != 0) == bool(red), done.stdout
    return red


def _name(case):
    return case.get("classname").removesuffix(".ipynb").split(".")[-1]


@pytest.fixture(scope="module")
def red(tmp_path_factory):
    """Run a green notebook and all its wrong copies in one go."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "changed").mkdir()
    (folder / "helper.py").write_text(HELPER)
    (folder / "changed" / "helper.py").write_text(HELPER.replace("apple", "pear"))
    good = executed(made(CELLS.values()), folder)
    assert problems(good) == []
    last = list(CELLS).index("last")
    copies = {
        "same": good,
        "number_within": change_number(good, 0.01),
        "number_beyond": change_number(good, 0.05),
        "token": change_token(good, "apple", "pear"),
        "integer": change_token(good, "1234", "1235"),
        "stripped": without_outputs(good),
        "raises": with_source(good, last, "1 / 0"),
        "meant_to_raise": with_source(good, last, "1 / 0", ["raises-exception"]),
        "ignored": with_source(good, 2, "print('rank', 9)", [CHECK, "nbval-ignore-output"]),
        "ignored_by_comment": with_source(good, 2, "# NBVAL_IGNORE_OUTPUT\nprint('rank', 9)", [CHECK]),
        "misspelt_tag": with_source(good, 2, "print('rank', 9)", [CHECK + "s"]),
        "bad_tolerance": with_source(good, 1, CELLS["float"] + "\n# tolerance: some", [CHECK]),
        "changed/helper_line": good,
    }
    for name, notebook in copies.items():
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return red_notebooks(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["same", "number_within", "meant_to_raise"])
def test_stays_green(red, name):
    assert name not in red


@pytest.mark.slow
@pytest.mark.parametrize("name", ["number_beyond", "token", "integer", "helper_line", "stripped"])
def test_a_wrong_output_turns_red(red, name):
    assert name in red


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raises", "ignored", "ignored_by_comment", "misspelt_tag", "bad_tolerance"])
def test_a_faulty_cell_turns_red(red, name):
    assert name in red


def stored():
    """Make a notebook with outputs, without a kernel."""
    notebook = made(CELLS.values())
    output = nbformat.v4.new_output("stream", name="stdout", text="rank 3, 1.2 s, cosine 0.531 apple\n")
    notebook.cells[2].update(outputs=[output], execution_count=1)
    return notebook


def test_change_number_skips_integers_and_durations_and_leaves_the_original():
    notebook = stored()
    changed = change_number(notebook, 0.5)
    assert changed.cells[2].outputs[0].text == "rank 3, 1.2 s, cosine 0.796 apple\n"
    assert notebook.cells[2].outputs[0].text == "rank 3, 1.2 s, cosine 0.531 apple\n"


def test_a_wrong_copy_that_changes_nothing_is_an_error():
    with pytest.raises(ValueError, match="no CHECK cell"):
        change_token(stored(), "no such token", "x")


def test_stripped_checks_are_found_by_the_guard():
    found = "\n".join(problems(without_outputs(stored())))
    assert "was not run" in found
    assert "without a stored text output" in found


@pytest.mark.slow
@pytest.mark.skipif(not START.exists(), reason="the first notebook is not there")
def test_a_notebook_of_the_course(tmp_path):
    notebook = read(START)
    word = first_word(notebook)
    shutil.copy(START, tmp_path / "same.ipynb")
    nbformat.write(change_number(notebook, 2.0), tmp_path / "number.ipynb")
    nbformat.write(change_token(notebook, word, word[::-1] + "x"), tmp_path / "token.ipynb")
    assert red_notebooks(tmp_path) == {"number", "token"}
