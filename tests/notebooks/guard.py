"""What nbval lets through: a notebook stripped of its outputs, half run, or with a path of somebody's machine."""

import re
from collections.abc import Iterable, Iterator
from statistics import median

from nbformat import NotebookNode

from tools.notebooks import CHECK, WIDGET_VIEW, is_check

TITLE = re.compile(r"# \d\d · \S")
LONGEST_CELL = 25  # lines; more needs scrolling
LONGEST_MEDIAN = 7  # lines of code
WIDEST = 100  # characters of a line, of code or of output

_RAISES_TAGS = {"raises-exception", "nbval-raises-exception"}
_SKIP_TAGS = {"nbval-skip", "nbval-ignore-output", "skip-execution"}
_TAGS = _RAISES_TAGS | _SKIP_TAGS | {CHECK}
_COMMENT = re.compile(r"^.*#\s*(?:NB|PYTEST_)VAL.*$", re.MULTILINE)  # nbval reads these as it reads tags
_PRINT = re.compile(r"^[^#\n]*\bprint\(", re.MULTILINE)
_MACHINE_PATH = re.compile(r"(?<![\w.-])/(?:home|root|tmp|work|Users)/")
_PROGRESS_BAR = re.compile(r"\d%\|")
_BASE64 = re.compile(r"base64,[A-Za-z0-9+/=]+")  # an image inside HTML can spell /tmp/ by chance


def may_raise(cell: NotebookNode) -> bool:
    """Return whether an exception in this cell is part of the lesson."""
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
        Empty for a sound CHECK cell, and for one that does not claim to be any.
    """
    tags = cell.metadata.get("tags", [])
    problems = [f"a comment where a tag belongs: {line.strip()!r}" for line in _COMMENT.findall(cell.source)]
    problems += [f"a tag that nothing reads: {tag!r}" for tag in tags if tag not in _TAGS]
    if not is_check(cell):
        return problems
    if not _PRINT.search(cell.source):
        problems.append("a CHECK cell without print(")
    if _SKIP_TAGS.intersection(tags):
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
    lines = [line for text in texts(cell.outputs).values() for line in text.splitlines()]
    return problems + [f"an output of {len(line)} characters: {line[:40]!r}…" for line in lines if len(line) > WIDEST]


def source_problems(cell: NotebookNode) -> list[str]:
    """List what makes a code cell hard to read: too many lines, or too wide ones.

    Parameters
    ----------
    cell : NotebookNode

    Returns
    -------
    list[str]
    """
    lines = cell.source.splitlines()
    problems = [f"a line of {len(line)} characters: {line[:40]!r}…" for line in lines if len(line) > WIDEST]
    if len(lines) > LONGEST_CELL and not _is_setup(cell):
        problems.append(f"{len(lines)} lines; more than {LONGEST_CELL} need scrolling")
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
        for problem in (*check_problems(cell), *output_problems(cell), *source_problems(cell)):
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
    usual = median([len(_code_lines(cell)) for cell in cells if not _is_setup(cell)] or [0])
    if usual > LONGEST_MEDIAN:
        found.append(f"half of the code cells have {usual:g} lines or more; {LONGEST_MEDIAN} is the most")
    return found


def _is_setup(cell: NotebookNode) -> bool:
    """Return whether a cell is the set-up, which is folded."""
    return cell.source.startswith("# @title")


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
    lines = [line for line in cell.source.splitlines() if line.strip()]
    return lines[0].strip()[:60] if lines else "empty"


def _code_lines(cell: NotebookNode) -> list[str]:
    """Return a cell's lines without blank ones and comments."""
    return [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
