"""Break every public helper once and see whether a test notices: ``python -m tools.mutants [--only sparse]``.

A first run of the unit tests writes down which test calls which helper. Then, helper by helper, a forked process
makes the helper's result wrong and runs the tests that call it, quickest first, until one fails. What survives is
listed, and the exit code is 1.
"""

import argparse
import contextlib
import dataclasses
import importlib
import inspect
import io
import itertools
import json
import os
import pkgutil
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import tokalign_helpers

REPOSITORY = Path(__file__).resolve().parents[1]
SUITE = ["-q", "-p", "no:cacheprovider", "-p", "no:nbval"]
PATIENCE = 300  # seconds for the tests of one mutant


def helpers() -> dict[str, FunctionType]:
    """Find the public functions, methods and properties of the package.

    Returns
    -------
    dict[str, FunctionType]
        ``module.name`` or ``module.Class.name`` → the function that holds the code.
    """
    found = {}
    for entry in pkgutil.walk_packages(tokalign_helpers.__path__, "tokalign_helpers."):
        short = entry.name.removeprefix("tokalign_helpers.")
        if short.split(".")[0] in ("data", "notebooks"):
            continue
        try:
            module = importlib.import_module(entry.name)
        except ModuleNotFoundError:  # of an extra that is not installed
            continue
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != entry.name:
                continue
            if getattr(value, "_is_protocol", False):
                continue  # it has no code of its own
            members = vars(value).items() if inspect.isclass(value) else [(None, value)]
            for member, held in members:
                function = _function(held)
                if function and not (member or "").startswith("_") and function.__module__ == entry.name:
                    found[".".join(filter(None, (short, name, member)))] = function
    return found


def _function(held: Any) -> FunctionType | None:
    """Unwrap decorators to find the function that was written in the module."""
    for name in ("fget", "func", "__func__"):
        held = getattr(held, name, None) or held
    held = inspect.unwrap(held) if callable(held) else held
    written = isinstance(held, FunctionType) and held.__code__.co_filename.endswith(".py")
    return held if written else None


def kept() -> list[Any]:
    """Find the public helpers that cache their results."""
    modules = [sys.modules[name] for name in sys.modules if name.startswith("tokalign_helpers.")]
    public = [value for module in modules for name, value in vars(module).items() if not name.startswith("_")]
    return [value for value in public if hasattr(value, "cache_clear")]


def replace(function: FunctionType, by: Callable[[Callable], Callable]) -> None:
    """Change what a function does, wherever it was imported to.

    Parameters
    ----------
    function : FunctionType
        Its code object is exchanged, so that every reference to it sees the change.
    by : Callable
        Takes the original, returns its replacement.
    """
    original = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    function.__signature__ = inspect.signature(function)
    key = f"_instead_{function.__qualname__.replace('.', '_')}"
    function.__globals__[key] = wraps(original)(by(original))
    scope: dict[str, Any] = {}
    exec(f"def call(*args, **kwargs):\n    return {key}(*args, **kwargs)", scope)
    function.__defaults__ = function.__kwdefaults__ = None
    function.__code__ = scope["call"].__code__.replace(co_freevars=function.__code__.co_freevars)


def wrong(value: Any) -> Any:
    """Return a result of the same kind that is not the right one.

    Parameters
    ----------
    value : Any

    Returns
    -------
    Any
        Numbers move, booleans flip, texts and collections lose or change something; anything else becomes None.
    """
    for kinds, change in WRONGS:
        if isinstance(value, kinds):
            return change(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _wrong_field(value)
    if inspect.isfunction(value) or inspect.ismethod(value):
        return lambda *args, **kwargs: wrong(value(*args, **kwargs))
    if isinstance(value, Iterator):
        return itertools.islice(value, 1, None)
    return contextlib.nullcontext() if isinstance(value, contextlib.AbstractContextManager) else None


def _wrong_array(value: Any) -> Any:
    if value.dtype in (bool, torch.bool):
        return ~value
    if value.dtype == object or not len(getattr(value, "shape", ())):
        return value * 2 + 1 if value.dtype != object else value[1:]
    return value + 1


def _wrong_field(value: Any) -> Any:
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        counts = not isinstance(held, bool) and "version" not in field.name
        if field.init and counts and isinstance(held, FIELDS):
            with contextlib.suppress(ValueError, TypeError):
                changed = dataclasses.replace(value, **{field.name: wrong(held)})
                if repr(getattr(changed, field.name)) != repr(held):  # some set a field themselves
                    return changed
    return None


def _wrong_tuple(value: tuple) -> tuple:
    if hasattr(value, "_fields"):
        return type(value)(*map(wrong, value))
    return tuple(map(wrong, value)) or (None,)


FIELDS = (int, float, np.ndarray, torch.Tensor, pd.DataFrame, tuple, list, dict, str)
WRONGS: list[tuple[Any, Callable]] = [
    ((bool, np.bool_), lambda v: not v),
    ((int, np.integer), lambda v: v + 1),
    ((float, np.floating), lambda v: v * 1.5 + 1),
    (str, lambda v: v[: len(v) // 2] + "broken"),
    (Path, lambda v: v.with_name("broken-" + v.name)),
    ((np.ndarray, torch.Tensor), _wrong_array),
    (scipy.sparse.spmatrix, lambda v: v * 2),
    (scipy.sparse.sparray, lambda v: v * 2),
    (pd.DataFrame, lambda v: v.iloc[:-1]),
    (tuple, _wrong_tuple),
    (list, lambda v: v[:-1] if v else [None]),
    ((set, frozenset), lambda v: type(v)(sorted(v, key=str)[:-1]) if v else type(v)([None])),
    (dict, lambda v: dict(list(v.items())[:-1]) if v else {"broken": None}),
]


class Recorder:
    """A pytest plugin that writes down the calls, the kinds of results and the time of every test."""

    def __init__(self, elsewhere: Path) -> None:
        self.process = os.getpid()
        self.elsewhere = elsewhere  # where the processes that a test forks write their calls down
        self.test = ""
        self.calls: dict[str, set[str]] = {}
        self.gives: dict[str, bool] = {}  # whether anything but None ever came back
        self.seconds: dict[str, float] = {}

    def watch(self, name: str, function: FunctionType) -> None:
        """Write down every call of a helper from now on."""

        def by(original: Callable) -> Callable:
            def call(*args: Any, **kwargs: Any) -> Any:
                if os.getpid() != self.process:
                    self._from_a_fork(name)
                self.calls.setdefault(name, set()).add(self.test)
                result = original(*args, **kwargs)
                self.gives[name] = self.gives.get(name, False) or result is not None
                return result

            return call

        replace(function, by)

    def _from_a_fork(self, name: str) -> None:
        with contextlib.suppress(OSError), self.elsewhere.open("a", encoding="utf-8") as lines:
            lines.write(f"{name}\t{self.test}\n")

    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Remember which test runs; caches are cleared, so that no test sees results of another."""
        self.test = item.nodeid
        for held in kept():
            held.cache_clear()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up set-up, call and tear-down."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration


def record(tests: list[str]) -> dict[str, Any]:
    """Run tests once, in a forked process, and return what the recorder saw.

    Parameters
    ----------
    tests : list[str]
        Files or folders.

    Returns
    -------
    dict[str, Any]
        ``calls``: helper → tests; ``gives``: helper → whether anything but None came back; ``seconds``: test → time.
    """
    with tempfile.TemporaryDirectory() as folder:
        return json.loads(_forked(lambda: _record(tests, Path(folder) / "calls")))


def _record(tests: list[str], elsewhere: Path) -> str:
    elsewhere.touch()
    recorder = Recorder(elsewhere)
    for name, function in helpers().items():
        recorder.watch(name, function)
    with contextlib.redirect_stdout(sys.stderr):
        pytest.main([*SUITE, *tests], plugins=[recorder])
    for line in elsewhere.read_text(encoding="utf-8").splitlines():
        name, test = line.split("\t")
        recorder.calls.setdefault(name, set()).add(test)
    calls = {name: sorted(t for t in tests if t) for name, tests in recorder.calls.items()}
    return json.dumps({"calls": calls, "gives": recorder.gives, "seconds": recorder.seconds})


def caught(name: str, seen: dict[str, Any]) -> str:
    """Break one helper and run the tests that call it, quickest first.

    Parameters
    ----------
    name : str
        Of :func:`helpers`.
    seen : dict
        Of :func:`record`.

    Returns
    -------
    str
        The test that failed, "" when none did.
    """
    tests = sorted(seen["calls"].get(name, []), key=lambda test: seen["seconds"].get(test, 0))
    if not tests:
        return ""

    def attempt() -> str:
        first = FirstFailure()
        silent = not seen["gives"].get(name)
        replace(helpers()[name], lambda f: (lambda *a, **k: None) if silent else (lambda *a, **k: wrong(f(*a, **k))))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = pytest.main([*SUITE, "-x", *tests], plugins=[first])
        return first.test or ("" if code == pytest.ExitCode.OK else f"no test ran: {code!s}")

    return _forked(attempt, PATIENCE)


class FirstFailure:
    """A pytest plugin that remembers the first test that failed."""

    test = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the first."""
        if report.failed and not self.test:
            self.test = report.nodeid


def _forked(work: Callable[[], str], patience: float | None = None) -> str:
    """Run something in a copy of this process; whatever it started is stopped with it, or after its seconds."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(read)
        answer = work()
        with os.fdopen(write, "w") as out:
            out.write(answer)
        os._exit(0)
    os.close(write)
    answer, done, end = b"", 0, time.monotonic() + (patience or float("inf"))
    with os.fdopen(read, "rb", buffering=0) as back:
        while not done and time.monotonic() < end:
            if not select.select([back], [], [], 0.2)[0]:
                done, status = os.waitpid(child, os.WNOHANG)  # what it forked may hold the pipe open
                continue
            part = back.read(1 << 20)
            if not part:
                break
            answer += part
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not done:
        _, status = os.waitpid(child, 0)
    return answer.decode() or ("the process died or ran too long" if status else "")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0 when no mutant survived."""
    parser = argparse.ArgumentParser("python -m tools.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="how the helpers' names begin")
    kept = REPOSITORY / "build" / "calls.json"
    parser.add_argument("--calls", type=Path, default=kept, help="what an older run wrote down")
    parser.add_argument("--tests", nargs="+", help="these files' tests alone, and nothing kept")
    options = parser.parse_args(arguments)
    os.chdir(REPOSITORY)
    if options.tests:
        seen = record(options.tests)
    else:
        if not options.calls.is_file():
            options.calls.parent.mkdir(parents=True, exist_ok=True)
            options.calls.write_text(json.dumps(record(["tests/unit", "tests/scale"]), indent=1), encoding="utf-8")
        seen = json.loads(options.calls.read_text(encoding="utf-8"))
    names = [name for name in helpers() if name.startswith(tuple(options.only) or "")]
    since = "" if options.tests else f", says {options.calls}; without that file it is found out again"
    survivors = []
    for number, name in enumerate(names, start=1):
        start = time.monotonic()
        by = caught(name, seen)
        survivors += [] if by else [name]
        how = by or ("SURVIVED" if seen["calls"].get(name) else f"no test calls it{since}")
        print(f"{number:>4}/{len(names)} {name:<55} {time.monotonic() - start:>5.1f} s  {how}", flush=True)
    print(f"{len(names) - len(survivors)} of {len(names)} caught; survivors: {', '.join(survivors) or 'none'}")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
