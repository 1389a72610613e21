"""A pytest plugin that fails when a notebook takes over twice the time that its own title cell states.

Load it with ``-p tests.notebooks.nbval_budget``; without ``--nbval`` or ``--nbval-lax`` it does nothing.
``tools/budget.py`` measures and states the times.
"""

from pathlib import Path

import pytest

from tools import budget
from tools.notebooks import REPOSITORY


class Budget:
    """Adds up the cells' times and compares them at the end."""

    def __init__(self) -> None:
        self.seconds: dict[Path, float] = {}
        self.lines: list[str] = []
        self.loop = budget.loop_seconds()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add set-up, call and tear-down of a cell."""
        path = REPOSITORY / report.nodeid.split("::")[0]
        if path.suffix == ".ipynb":
            self.seconds[path] = self.seconds.get(path, 0.0) + report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session for a notebook over its budget."""
        now = max(self.loop, budget.loop_seconds())
        kept = budget.kept_loops()
        for path, taken in self.seconds.items():
            stated = budget.stated_seconds(path) if path.is_file() else None
            if stated is None or path.name not in kept:
                continue
            allowed = budget.allowed_seconds(stated, kept[path.name], now)
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
