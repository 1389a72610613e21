"""The table of grades: one header, one row for each question, and a last line that counts. Imports the standard library only.

What comes from learners (names of files, messages) is printed without control characters, and as CSV so that no
spreadsheet takes a field for a formula.
"""

import contextlib
import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from tokalign_helpers.exercises.grader import NOT_JUDGED, VERDICTS

COLUMNS = ("notebook", "question", "verdict", "message")
ALL_RIGHT, NOT_ALL_RIGHT, SOME_NOT_JUDGED = 0, 1, 3
_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "TOKALIGN_CACHE",
    "TOKALIGN_EMBEDDING_CACHE",
    "TMPDIR",
    "SYSTEMROOT",
)


class _Process(NamedTuple):
    """A process that was started, and the pipes to it and from it."""

    process: subprocess.Popen[bytes]
    given: IO[bytes]
    said: IO[bytes]


@dataclass
class Worker:
    """The process that grades, started again when it dies.

    Parameters
    ----------
    seconds : float
        For each answer.
    gigabytes : float
        Address space of an answer.
    unsafe : bool
        Run answers even where the kernel cannot confine them.
    """

    seconds: float
    gigabytes: float
    unsafe: bool = False
    _process: _Process | None = field(default=None, repr=False)

    def grade(self, path: Path) -> Iterator[dict[str, str]]:
        """Grade one notebook.

        Parameters
        ----------
        path : Path
            The notebook.

        Yields
        ------
        dict
            ``question``, ``verdict``, ``message``.
        """
        process = self._started()
        try:
            process.given.write(os.fsencode(os.path.abspath(path)) + b"\0")
            process.given.flush()
        except OSError:
            yield self._died(process)
            return
        rows = 0
        for line in iter(process.said.readline, b""):
            message = _message(line)
            if message.get("ended"):
                if not rows:
                    yield _not_judged("its supervisor said nothing")
                return
            if "verdict" in message:
                rows += 1
                yield message
        yield self._died(process)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.given.close()
            self._process.process.wait()
            self._process.said.close()
            self._process = None

    def _started(self) -> _Process:
        if self._process is None:
            home = str(Path(__file__).resolve().parents[3])  # where the package itself lies
            command = [
                sys.executable,
                "-P",
                "-m",
                "tokalign_helpers.exercises.grader.worker",
                str(os.getpid()),
                str(self.seconds),
                str(self.gigabytes),
                "unsafe" if self.unsafe else "safe",
            ]
            environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PYTHONPATH": home}
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd="/")
            assert process.stdin is not None and process.stdout is not None  # both are pipes
            self._process = _Process(process, process.stdin, process.stdout)
        return self._process

    def _died(self, process: _Process) -> dict[str, str]:
        self._process = None
        with contextlib.suppress(OSError):  # what was not sent any more
            process.given.close()
        process.said.close()
        return _not_judged(f"the process that grades died (status {process.process.wait()})")


def grade_all(paths: Sequence[Path], worker: Worker, *, as_csv: bool = False) -> int:
    """Grade notebooks and print their table, each row when it is known; the last line, on standard error, counts.

    Parameters
    ----------
    paths : Sequence[Path]
        The notebooks.
    worker : Worker
        The process that grades them.
    as_csv : bool
        Comma-separated values instead of columns.

    Returns
    -------
    int
        0 when every answer is right, 1 when one is not, 3 when a notebook could not be judged.
    """
    names = [printable(os.fspath(path)) for path in paths]
    show = _csv_rows() if as_csv else _columns(max(map(len, names), default=0))
    show(COLUMNS)
    counts: Counter[str] = Counter()
    judged = set(paths)
    for name, path in zip(names, paths, strict=True):
        for row in worker.grade(path):
            verdict = row["verdict"] if row["verdict"] in VERDICTS else NOT_JUDGED
            counts[verdict] += 1
            show((name, printable(row["question"]), verdict, printable(row["message"], 200)))
            if verdict == NOT_JUDGED:
                judged.discard(path)
    found = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
    failed = len(set(paths)) - len(judged)
    tail = f"; {failed} could not be judged" if failed else ""
    print(f"{len(paths)} notebooks, {counts.total()} rows: {found}{tail}", file=sys.stderr)
    return SOME_NOT_JUDGED if failed else ALL_RIGHT if set(counts) <= {"right"} else NOT_ALL_RIGHT


def printable(text: str, longest: int = 1000) -> str:
    """Make somebody else's text fit for a table: one line, printable, valid, not too long.

    Parameters
    ----------
    text : str
        Any text.
    longest : int
        Characters.

    Returns
    -------
    str
    """
    valid = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() else " " for c in valid).split())[:longest]


def _csv_rows() -> Callable[[Sequence[str]], None]:
    writer = csv.writer(sys.stdout, lineterminator="\n")

    def show(row: Sequence[str]) -> None:
        writer.writerow([f"'{value}" if value[:1] in ("=", "+", "-", "@") else value for value in row])
        sys.stdout.flush()

    return show


def _columns(widest: int) -> Callable[[Sequence[str]], None]:
    widths = (max(widest, len(COLUMNS[0])), len(COLUMNS[1]), max(map(len, VERDICTS)))

    def show(row: Sequence[str]) -> None:
        cells = [value.ljust(width) for value, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip(), flush=True)

    return show


def _message(line: bytes) -> dict:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _not_judged(why: str) -> dict[str, str]:
    return {"question": "all", "verdict": NOT_JUDGED, "message": why}
