"""Small wrongs done to a stored notebook, to see whether the run notices."""

import re
from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal

from nbformat import NotebookNode

from tests.notebooks.guard import texts
from tests.notebooks.nbval_tolerance import Tolerance
from tools.notebooks import is_check

# A float that stands alone, is not zero, and is not a duration (durations are not compared).
_FLOAT = re.compile(r"(?<![\w.,-])(?=[\d.]*[1-9])\d+\.\d+(?!\w|\.\w|,\d| ?(?:s|ms|µs|min)\b)")
_INTEGER = re.compile(r"(?<![\w.,×/:-])[1-9]\d*(?![\w.,:/]|\d| ?(?:s|ms|µs|min|MB|GB|threads)\b)")
_WORD = re.compile(r"(?<![\w.-])[A-Za-z]{4,}(?![\w.-])")
_LETTERS = re.compile(r"[^\W\d_]{2,}")


def change_number(notebook: NotebookNode, relative: float) -> NotebookNode:
    """Move the first float that a CHECK cell stored.

    Parameters
    ----------
    notebook : NotebookNode
    relative : float
        0.1 makes 2.00 into 2.20; as many decimals are printed as before.

    Returns
    -------
    NotebookNode
        A changed copy.
    """
    factor = 1 + Decimal(str(relative))

    def moved(match: re.Match[str]) -> str:
        number = Decimal(match.group())
        return str((number * factor).quantize(number))

    return _change_first(notebook, lambda text: _FLOAT.sub(moved, text, count=1))


def change_token(notebook: NotebookNode, old: str, new: str) -> NotebookNode:
    """Put `new` in the place of the first `old` that a CHECK cell stored.

    Parameters
    ----------
    notebook : NotebookNode
    old, new : str

    Returns
    -------
    NotebookNode
        A changed copy.
    """
    return _change_first(notebook, lambda text: text.replace(old, new, 1))


def first_word(notebook: NotebookNode) -> str:
    """Return the first word that a CHECK cell stored.

    Parameters
    ----------
    notebook : NotebookNode

    Returns
    -------
    str
    """
    stored = "\n".join(text for cell in _check_cells(notebook) for text in texts(cell.outputs).values())
    match = _WORD.search(stored)
    if match is None:
        raise ValueError("no CHECK cell has stored a word")
    return match.group()


def _check_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and is_check(cell)]


def _change_first(notebook: NotebookNode, change: Callable[[str], str]) -> NotebookNode:
    """Apply `change` to the printed texts of CHECK cells until it does something."""
    changed = deepcopy(notebook)
    for cell in _check_cells(changed):
        for output in cell.outputs:
            if output.output_type != "stream" or output.name != "stdout":
                continue
            text = change(output.text)
            if text != output.text:
                output.text = text
                return changed
    raise ValueError("no CHECK cell has stored what was to be changed")


def wrong_texts(text: str, tolerance: Tolerance) -> dict[str, str]:
    """Make one wrong copy of a printed text for each of its lines: a float beyond its tolerance, an integer, a word.

    Parameters
    ----------
    text : str
    tolerance : Tolerance
        What the cell allows.

    Returns
    -------
    dict[str, str]
        The wrong text by what was changed.
    """
    copies = {}
    lines = text.split("\n")
    for number, line in enumerate(lines):
        for kind, change in (("float", _beyond(tolerance)), ("integer", _next_integer), ("word", _other_word)):
            wrong = change(line)
            if wrong != line:
                copy = "\n".join([*lines[:number], wrong, *lines[number + 1 :]])
                copies[f"{kind} of line {number + 1}: {line.strip()[:60]!r}"] = copy
    return copies


def _beyond(tolerance: Tolerance) -> Callable[[str], str]:
    def moved(match: re.Match[str]) -> str:
        number = match.group()
        value = Decimal(number)
        step = tolerance.allowed(number, number) + 2 * Decimal(1).scaleb(value.as_tuple().exponent)
        return str((value + step).quantize(value))

    return lambda line: _FLOAT.sub(moved, line, count=1)


def _next_integer(line: str) -> str:
    return _INTEGER.sub(lambda match: str(int(match.group()) + 1), line, count=1)


def _other_word(line: str) -> str:
    pattern = _WORD if _WORD.search(line) else _LETTERS
    return pattern.sub(lambda match: match.group()[::-1] + "x", line, count=1)
