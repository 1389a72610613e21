"""Make two versions of each notebook: for students, without answers and outputs, and with the solutions filled in.

``python -m tools.versions FOLDER`` writes them to ``FOLDER/students`` and ``FOLDER/solutions``.
"""

import argparse
import ast
import importlib
import re
import sys
from pathlib import Path
from typing import Any

from nbformat import NotebookNode, write

from tokalign_helpers.exercises import Question
from tools.notebooks import NOTEBOOKS, choose, read, without_outputs

IMPORT = re.compile(r"^from tokalign_helpers\.exercises import ex(\d\d) as (\w+)$", re.MULTILINE)
CHECK = re.compile(r"^(\w+)\.(q\d+|quiz)\.check\((\w+)\)[ \t]*(?:#.*)?$", re.MULTILINE)


def questions(notebook: NotebookNode) -> tuple[Question, ...]:
    """Return the questions that a notebook asks.

    Parameters
    ----------
    notebook : NotebookNode

    Returns
    -------
    tuple[Question, ...]
        None for a notebook without exercises.
    """
    module = _module(notebook)
    return module.QUESTIONS if module else ()


def _module(notebook: NotebookNode) -> Any:
    found = IMPORT.search("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code"))
    return importlib.import_module(f"tokalign_helpers.exercises.ex{found[1]}") if found else None


def student_version(notebook: NotebookNode) -> NotebookNode:
    """Blank every answer, drop every output.

    Parameters
    ----------
    notebook : NotebookNode

    Returns
    -------
    NotebookNode
        A changed copy.
    """
    changed = without_outputs(notebook)
    for cell in changed.cells:
        for check in list(CHECK.finditer(cell.source)) if cell.cell_type == "code" else ():
            cell.source = _with_answer(cell.source, check[3], f"{check[3]} = ...", keep_comment=True)
    return changed


def solution_version(notebook: NotebookNode) -> NotebookNode:
    """Fill every answer in from the question's own solution, which the tests run.

    Parameters
    ----------
    notebook : NotebookNode

    Returns
    -------
    NotebookNode
        A changed copy, without outputs.
    """
    changed, module = student_version(notebook), _module(notebook)
    for cell in changed.cells:
        for check in list(CHECK.finditer(cell.source)) if cell.cell_type == "code" else ():
            answer = getattr(module, check[2]).answer
            cell.source = _with_answer(cell.source, check[3], answer, keep_comment=False)
    return changed


def _with_answer(source: str, name: str, answer: str, keep_comment: bool) -> str:
    """Replace the last statement that gives `name` its value, with the comment behind it."""
    given = [
        s
        for s in ast.parse(source).body
        if (isinstance(s, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in s.targets))
        or (isinstance(s, ast.FunctionDef) and s.name == name)
    ]
    if not given:
        raise ValueError(f"no statement gives {name} a value in {source!r}")
    lines = source.splitlines()
    first, last = given[-1].lineno - 1, given[-1].end_lineno
    comment = lines[last - 1][given[-1].end_col_offset :] if keep_comment else ""
    return "\n".join([*lines[:first], *(answer + comment).splitlines(), *lines[last:]])


VERSIONS = {"students": student_version, "solutions": solution_version}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0."""
    parser = argparse.ArgumentParser("python -m tools.versions", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the folders students and solutions are made")
    folder = parser.parse_args(arguments).folder
    for version, make in VERSIONS.items():
        (folder / version).mkdir(parents=True, exist_ok=True)
        for path in choose(NOTEBOOKS, []):
            write(make(read(path)), folder / version / path.name)
        print(f"{len(list((folder / version).glob('*.ipynb')))} notebooks in {folder / version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
