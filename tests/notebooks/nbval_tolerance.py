"""A pytest plugin that makes nbval compare CHECK cells as text in which a float may move a little.

Another CPU or another BLAS moves the last digits of a float, and nothing else: words, integers and identifiers
are compared as they are. Load it with ``-p tests.notebooks.nbval_tolerance``; without ``--nbval`` or
``--nbval-lax`` it does nothing.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import zip_longest

import pytest
from nbformat import NotebookNode

from tests.notebooks.guard import check_problems, texts
from tools.notebooks import OUTPUT_WAIT, kernel_environment

# A number ends where no word goes on: neither in 0.6B nor in 1.2.3 is there one.
_NUMBER = r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d+)?(?:[eE][-+]?\d+)?(?!\w|\.\w)"
# Tried in this order: a number with the padding around it, a run of spaces, a word or an identifier
# (Qwen2.5-0.6B), digits that are no number (1.2.3), any other character.
_TOKEN = re.compile(rf"\s*{_NUMBER}\s*|\s+|[\w.\-]*[^\W\d][\w.\-]*|[\w.]+|.")
_FLOAT = re.compile(rf"(?=.*[.eE]){_NUMBER}")
_RULE = re.compile(r"([-=_─━])\1{3,}")  # the line under a table's head is as long as its widest number
_COMMENT = re.compile(r"^# tolerance:(.*)$", re.MULTILINE)
_STATED = re.compile(r" *(\d+(?:\.\d+)?)(%?)(?: .*)?")


@dataclass(frozen=True)
class Tolerance:
    """How far a float may move: the largest of three allowances.

    Parameters
    ----------
    relative : Decimal
        Share of the stored number.
    absolute : Decimal
        In the number's own unit.
    units : Decimal
        Times the last printed decimal. A number without decimals (1e-05) has no such unit.
    """

    relative: Decimal = Decimal("0.02")
    absolute: Decimal = Decimal(0)
    units: Decimal = Decimal("1.5")

    def allowed(self, stored: str, got: str) -> Decimal:
        """Return how far `got` may be from `stored`; of two lengths of decimals the longer one counts."""
        unit = min(_unit(stored), _unit(got))
        return max(self.relative * abs(_value(stored)), self.absolute, self.units * unit)


DEFAULT = Tolerance()


def stated_tolerance(source: str) -> Tolerance:
    """Read the comment line ``# tolerance: 5%`` or ``# tolerance: 0.03`` of a cell.

    Parameters
    ----------
    source : str
        Of a code cell.

    Returns
    -------
    Tolerance
        A percentage takes the place of the default's 2 %; rounding may still move the last decimal. An absolute
        one is all that is allowed. Without a comment, the default.
    """
    stated = _COMMENT.findall(source)
    if not stated:
        return DEFAULT
    match = _STATED.fullmatch(stated[0])
    if len(stated) > 1 or match is None:
        raise ValueError(f"cannot read the tolerance {stated}; write '# tolerance: 5%' or '# tolerance: 0.03'")
    number = Decimal(match[1])
    return Tolerance(relative=number / 100) if match[2] else Tolerance(Decimal(0), number, Decimal(0))


def differences(stored: str, got: str, tolerance: Tolerance = DEFAULT) -> list[str]:
    """Compare two printed texts, floats within a tolerance and all else exactly.

    Parameters
    ----------
    stored : str
    got : str
    tolerance : Tolerance

    Returns
    -------
    list[str]
        A line for each difference, for people to read; empty when the texts agree.
    """
    found = []
    pairs = zip_longest(stored.rstrip().split("\n"), got.rstrip().split("\n"))
    for number, (old, new) in enumerate(pairs, start=1):
        if old is None:
            found.append(f"line {number}: not stored, got {new!r}")
        elif new is None:
            found.append(f"line {number}: stored {old!r}, got nothing")
        else:
            found += [f"line {number}: {change}" for change in _line_differences(old, new, tolerance)]
    return found


def _line_differences(stored: str, got: str, tolerance: Tolerance) -> Iterator[str]:
    old, new = tokens(stored), tokens(got)
    if _without_floats(old) != _without_floats(new):
        yield f"stored {stored!r}, got {got!r}"
        return
    for before, after in zip(old, new, strict=True):
        if not is_float(before):
            continue
        allowed = tolerance.allowed(before, after)
        if abs(_value(before) - _value(after)) > allowed:
            yield f"stored {before}, got {after} (it may move by {allowed.normalize():g}) in {got!r}"


def _without_floats(line: list[str]) -> list[str]:
    return ["<float>" if is_float(token) else token for token in line]


def tokens(line: str) -> list[str]:
    """Split a line into numbers, words and single characters; padding beside a number is dropped.

    Parameters
    ----------
    line : str

    Returns
    -------
    list[str]
    """
    plain = _RULE.sub(r"\1\1\1", line.rstrip())
    return [match.group().strip() or " " for match in _TOKEN.finditer(plain)]


def is_float(token: str) -> bool:
    """Return whether a token is a number with a decimal point or an exponent."""
    return _FLOAT.fullmatch(token) is not None


def _value(number: str) -> Decimal:
    return Decimal(number.replace(",", "").replace("−", "-"))


def _unit(number: str) -> Decimal:
    """Return the worth of the last printed decimal: 0.01 for 0.53, 1E-7 for 1.20e-05, and 0 for 1e-05."""
    return Decimal(1).scaleb(_value(number).as_tuple().exponent) if "." in number else Decimal(0)


def compare_outputs(item: pytest.Item, got: list[NotebookNode], stored: list[NotebookNode]) -> bool:
    """Stand in for the method of nbval's cell: compare texts, and leave the report where nbval looks for it.

    Parameters
    ----------
    item : pytest.Item
        nbval's IPyNbCell.
    got : list[NotebookNode]
    stored : list[NotebookNode]

    Returns
    -------
    bool
        True when they agree.
    """
    tolerance = stated_tolerance(item.cell.source)
    before, after = texts(stored), texts(got)
    report = []
    for name in sorted(before.keys() | after.keys()):
        old, new = (item.sanitize(side.get(name, "")) for side in (before, after))
        report += [f"{name}, {difference}" for difference in differences(old, new, tolerance)]
    item.comparison_traceback = report
    return not report


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the environment that nbval's kernels inherit."""
    if _runs_notebooks(config):
        os.environ.update(kernel_environment(os.environ))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give every cell our comparison, a longer wait, and a time limit that lets nbval's own strike first."""
    if not _runs_notebooks(config):
        return
    for item in filter(_is_cell, items):
        item.compare_outputs = partial(compare_outputs, item)
        item.output_timeout = OUTPUT_WAIT
        if config.pluginmanager.hasplugin("timeout"):
            item.add_marker(pytest.mark.timeout(config.option.nbval_cell_timeout + 3 * OUTPUT_WAIT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a CHECK cell that nbval would pass for having nothing to compare."""
    result = yield
    if _is_cell(item):
        problems = check_problems(item.cell)
        if problems:
            item.raise_cell_error("; ".join(problems))
    return result


def _runs_notebooks(config: pytest.Config) -> bool:
    return bool(config.getoption("nbval", False) or config.getoption("nbval_lax", False))


def _is_cell(item: pytest.Item) -> bool:
    """Tell nbval's cells by name: importing nbval here would be too early for pytest."""
    return type(item).__name__ == "IPyNbCell"
