"""A pytest plugin that fails when a notebook takes over twice the time that its own title cell states.

Machines differ, so a short loop of matrix products is timed beside the notebooks: by ``make run WRITE=1``, which
writes the title's times and keeps the loop's in ``budget.json``, and by the test. Load it with
``-p tests.notebooks.budget``; without ``--nbval`` or ``--nbval-lax`` it does nothing.
"""

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.nbval_tolerance import REPOSITORY, kernel_environment

LOOPS = Path(__file__).with_name("budget.json")
TIMES = 2.0  # how much longer than its title says a notebook may take
SLACK = 20.0  # seconds; a start of the kernel on a busy disk
FIRST = re.compile(r"^\*Run time on 2 CPU cores: (\d+) (s|min) the first time", re.MULTILINE)
LOOP = """
import time, numpy
a, b = numpy.ones((1024, 1536), 'float32'), numpy.ones((1536, 1536), 'float32')
times = []
for _ in range(40):
    start = time.perf_counter()
    a @ b
    times.append(time.perf_counter() - start)
print(sum(times[5:]))
"""


def loop_seconds() -> float:
    """Time the loop in a process of its own, with the kernels' number of threads.

    Returns
    -------
    float
        Median of three.
    """
    environment = {**os.environ, **kernel_environment(os.environ)}
    runs = [subprocess.check_output([sys.executable, "-c", LOOP], env=environment) for _ in range(3)]
    return statistics.median(map(float, runs))


def stated_seconds(path: Path) -> float | None:
    """Read the first run's time out of a notebook's title cell; None where there is none."""
    match = FIRST.search(nbformat.read(path, as_version=4).cells[0].source)
    return float(match[1]) * (60 if match[2] == "min" else 1) if match else None


def allowed_seconds(stated: float, loop_then: float, loop_now: float) -> float:
    """Return how long a notebook may take here.

    Parameters
    ----------
    stated : float
        In its title, seconds.
    loop_then, loop_now : float
        The loop's seconds where the title was written, and here. A slower machine gets more, a quicker one not less.

    Returns
    -------
    float
    """
    return TIMES * stated * max(1.0, loop_now / loop_then) + SLACK


def keep_loop(path: Path, seconds: float) -> None:
    """Store the loop's time beside which a notebook's title was written."""
    kept = json.loads(LOOPS.read_text(encoding="utf-8")) if LOOPS.is_file() else {}
    kept = dict(sorted((kept | {path.name: round(seconds, 3)}).items()))
    LOOPS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


class Budget:
    """Adds up the cells' times and compares them at the end."""

    def __init__(self) -> None:
        self.seconds: dict[Path, float] = {}
        self.lines: list[str] = []
        self.loop = loop_seconds()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add set-up, call and tear-down of a cell."""
        path = REPOSITORY / report.nodeid.split("::")[0]
        if path.suffix == ".ipynb":
            self.seconds[path] = self.seconds.get(path, 0.0) + report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session for a notebook over its budget."""
        now = max(self.loop, loop_seconds())
        kept = json.loads(LOOPS.read_text(encoding="utf-8")) if LOOPS.is_file() else {}
        for path, taken in self.seconds.items():
            stated = stated_seconds(path) if path.is_file() else None
            if stated is None or path.name not in kept:
                continue
            allowed = allowed_seconds(stated, kept[path.name], now)
            over = taken > allowed
            self.lines.append(f"{'OVER ' if over else ''}{path.stem}: {taken:.0f} s of {allowed:.0f} s")
            if over and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        """Print a line a notebook."""
        terminalreporter.section("run time of the notebooks, and twice what their titles say, on this machine")
        terminalreporter.write_line("\n".join(self.lines))


def pytest_configure(config: pytest.Config) -> None:
    """Join in where notebooks run."""
    if config.getoption("nbval", False) or config.getoption("nbval_lax", False):
        config.pluginmanager.register(Budget(), "notebook-budget")
