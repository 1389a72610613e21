"""What nbval lets through: a notebook stripped of its outputs, half run, or with a path of somebody's machine."""

import re
from collections.abc import Iterable, Iterator
from statistics import median

from nbformat import NotebookNode

from tools.notebooks import WIDGET_VIEW

MARKER = "# NBVAL_CHECK_OUTPUT"
TITLE = re.compile(r"# \d\d · \S")
LONGEST_CELL = 25  # lines; more needs scrolling
LONGEST_MEDIAN = 10

_RAISES_TAGS = {"raises-exception", "nbval-raises-exception"}
_SKIP_TAGS = {"nbval-skip", "skip-execution"}
_OVERRIDES = re.compile(r"^\s*#+\s*(NBVAL_SKIP|NBVAL_IGNORE_OUTPUT)\s*$", re.MULTILINE)
_PRINT = re.compile(r"^[^#\n]*\bprint\(", re.MULTILINE)
_MACHINE_PATH = re.compile(r"(?<![\w.-])/(?:home|root|tmp|work|Users)/")
_PROGRESS_BAR = re.compile(r"\d%\|")
_BASE64 = re.compile(r"base64,[A-Za-z0-9+/=]+")  # an image inside HTML can spell /tmp/ by chance


def is_check(cell: NotebookNode) -> bool:
    """Say whether a code cell has the bare marker line, which makes nbval compare its output."""
    return MARKER in cell.source.splitlines()


def may_raise(cell: NotebookNode) -> bool:
    """Say whether an exception in this cell is part of the lesson."""
    return bool(_RAISES_TAGS.intersection(cell.metadata.get("tags", [])))


def texts(outputs: Iterable[NotebookNode]) -> dict[str, str]:
    """Collect what is compared of a cell's outputs.

    Parameters
    ----------
    outputs : Iterable[NotebookNode]

    Returns
    -------
    dict[str, str]
        ``stdout``, all of it; ``output 1``, ``output 2``, …, the text of each value shown, widgets left out;
        ``error``, where the cell raised.
    """
    found: dict[str, str] = {}
    shown = 0
    for output in outputs:
        if output.output_type == "stream" and output.name == "stdout":
            found["stdout"] = found.get("stdout", "") + output.text
        elif output.output_type == "error":
            found["error"] = f"{output.ename}: {output.evalue}"
        elif "data" in output and "text/plain" in output.data and WIDGET_VIEW not in output.data:
            shown += 1
            found[f"output {shown}"] = output.data["text/plain"]
    return found


def check_problems(cell: NotebookNode) -> list[str]:
    """List what makes a code cell's check void.

    Parameters
    ----------
    cell : NotebookNode
        A code cell, with its outputs as stored.

    Returns
    -------
    list[str]
        Empty for a sound CHECK cell, and for a cell that does not mention the marker.
    """
    lines = cell.source.splitlines()
    problems = [f"not a bare marker: {line!r}" for line in lines if MARKER[2:] in line and line != MARKER]
    if not is_check(cell):
        return problems
    if lines[0] != MARKER:
        problems.append("the marker is not the first line")
    if not _PRINT.search(cell.source):
        problems.append("a CHECK cell without print(")
    if _OVERRIDES.search(cell.source) or _SKIP_TAGS.intersection(cell.metadata.get("tags", [])):
        problems.append("a CHECK cell that nbval skips or ignores")
    if cell.execution_count is None:
        problems.append("a CHECK cell that was not run")
    if not any(text.strip() for text in texts(cell.outputs).values()):
        problems.append("a CHECK cell without a stored text output")
    return problems


def output_problems(cell: NotebookNode) -> list[str]:
    """List what must not be stored in a code cell's outputs: errors, paths of a machine, progress bars.

    Parameters
    ----------
    cell : NotebookNode

    Returns
    -------
    list[str]
    """
    problems = []
    for output in cell.outputs:
        if output.output_type == "error" and not may_raise(cell):
            problems.append(f"a stored error: {output.ename}")
        for text in _written(output):
            plain = _BASE64.sub("", text)
            if _MACHINE_PATH.search(plain):
                problems.append(f"a path of a machine: {_line_with(_MACHINE_PATH, plain)!r}")
            if _PROGRESS_BAR.search(plain):
                problems.append(f"a stored progress bar: {_line_with(_PROGRESS_BAR, plain)!r}")
    return problems


def problems(notebook: NotebookNode, minimum_checks: int = 4) -> list[str]:
    """List everything that makes a committed notebook unfit, or its checks empty.

    Parameters
    ----------
    notebook : NotebookNode
        As stored, with its outputs.
    minimum_checks : int
        How many CHECK cells it must have.

    Returns
    -------
    list[str]
        One line for each problem; empty when there is none. Code cells are counted from 0, as nbval does.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = [] if _has_title(notebook) else ["the first cell is not markdown that begins '# NN · '"]
    for number, cell in enumerate(code):
        for problem in (*check_problems(cell), *output_problems(cell), *_length_problems(cell)):
            found.append(f"Cell {number} ({_first_line(cell)}): {problem}")
    checks = sum(is_check(cell) for cell in code)
    if checks < minimum_checks:
        found.append(f"{checks} CHECK cells, fewer than {minimum_checks}")
    return found + _run_problems([cell for cell in code if cell.source.strip()])


def _has_title(notebook: NotebookNode) -> bool:
    first = notebook.cells[0] if notebook.cells else None
    return first is not None and first.cell_type == "markdown" and TITLE.match(first.source) is not None


def _run_problems(cells: list[NotebookNode]) -> list[str]:
    """Look at all non-empty code cells at once: the order they ran in, and their usual length."""
    found = []
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        found.append(f"not run once from top to bottom in a fresh kernel: execution counts {counts}")
    usual = median([_lines(cell) for cell in cells] or [0])
    if usual > LONGEST_MEDIAN:
        found.append(f"half of the code cells have {usual:g} lines or more; {LONGEST_MEDIAN} is the most")
    return found


def _length_problems(cell: NotebookNode) -> list[str]:
    if _lines(cell) <= LONGEST_CELL or cell.source.startswith("# @title"):
        return []
    return [f"{_lines(cell)} lines; more than {LONGEST_CELL} need scrolling"]


def _written(output: NotebookNode) -> Iterator[str]:
    """Yield every text of an output; pictures are bytes in disguise and are left out."""
    if output.output_type == "stream":
        yield output.text
    elif output.output_type == "error":
        yield "\n".join([output.evalue, *output.traceback])
    else:
        for kind, value in output.data.items():
            if isinstance(value, str) and (not kind.startswith("image/") or kind == "image/svg+xml"):
                yield value


def _line_with(pattern: re.Pattern[str], text: str) -> str:
    return next((line.strip() for line in text.splitlines() if pattern.search(line)), "")[:100]


def _first_line(cell: NotebookNode) -> str:
    lines = [line for line in cell.source.splitlines() if line.strip() and line != MARKER]
    return lines[0].strip()[:60] if lines else "empty"


def _lines(cell: NotebookNode) -> int:
    return len(cell.source.strip().splitlines())
