"""The students' and the solutions' versions are made from one source, and stay in step with it."""

import os
import subprocess
import sys

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tokalign_helpers.exercises.grader import kernel
from tokalign_helpers.exercises.grader.submission import find_answers
from tools import versions
from tools.notebooks import NOTEBOOKS, REPOSITORY, choose, read

PATHS = choose(NOTEBOOKS, [])
CELL = "decode = 1  # a hint\nex.q1.check(decode)"


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem[:2])
def test_both_versions_ask_every_question_and_change_nothing_else(path):
    source, student, solution = read(path), *(make(read(path)) for make in versions.VERSIONS.values())
    asked = len(versions.questions(source))
    assert set(find_answers(code(source))) == set(range(1, asked + 1))
    assert [bool(answer.source) for answer in find_answers(code(student)).values()] == [False] * asked
    assert [bool(answer.source) for answer in find_answers(code(solution)).values()] == [True] * asked
    assert not any(cell.get("outputs") for cell in student.cells + solution.cells)
    for before, blank, filled in zip(source.cells, student.cells, solution.cells, strict=True):
        if not versions.CHECK.search(before.source):
            assert before.source == blank.source == filled.source


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem[:2])
def test_the_source_has_no_answer_in_it(path):
    assert code(versions.student_version(read(path))) == code(read(path))


def test_an_answer_is_blanked_and_filled():
    notebook = new_notebook(cells=[new_code_cell("from tokalign_helpers.exercises import ex00 as ex\n" + CELL)])
    assert "decode = ...  # a hint\n" in versions.student_version(notebook).cells[0].source
    assert "def decode(" in versions.solution_version(notebook).cells[0].source


def test_a_quiz_is_blanked_and_filled():
    cell = new_code_cell('from tokalign_helpers.exercises import ex00 as ex\nquiz = "aaa"\nex.quiz.check(quiz)')
    notebook = new_notebook(cells=[cell])
    assert "\nquiz = ...\n" in versions.student_version(notebook).cells[0].source
    assert '\nquiz = "dac"\n' in versions.solution_version(notebook).cells[0].source


@pytest.mark.slow
@pytest.mark.skipif(not kernel.is_confining(), reason="this kernel cannot confine an answer, so nothing is graded")
def test_the_solutions_are_graded_right_and_the_students_versions_empty(tmp_path):
    versions.main([str(tmp_path)])
    for kind, verdict in (("students", "empty"), ("solutions", "right")):
        made = [str(tmp_path / kind / path.name) for path in PATHS]
        command = [sys.executable, "-m", "tokalign_helpers.exercises", "grade", "--csv", *made]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment)
        lines = [line.split(",") for line in done.stdout.splitlines() if "ipynb," in line]
        expected = [f"{path.stem[:2]}.q{n + 1}" for path in PATHS for n in range(len(versions.questions(read(path))))]
        assert [(line[1], line[2]) for line in lines] == [(q, verdict) for q in expected], done.stdout + done.stderr
