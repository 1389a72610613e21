"""The process that grades: takes the notebooks' names one by one, and forks a supervisor for each.

Started by :mod:`.command` with a clean environment and without the caller's folder on Python's path. What a supervisor
finds goes to standard output, one line of JSON for each row; the worker itself sees no row, so that the process of one
learner's answer, which is forked from here, holds nothing of another's.
"""

import functools
import importlib
import json
import multiprocessing
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import joblib

from tokalign_helpers.basics.files import abandoned, partial_of
from tokalign_helpers.datasets.wikipedia import load_sentences
from tokalign_helpers.exercises.grader import NOT_JUDGED, kernel
from tokalign_helpers.exercises.grader.answering import Limits, grade_answer, remove_tree
from tokalign_helpers.exercises.grader.submission import Answer, read_submission
from tokalign_helpers.models.embedding import embed_all
from tokalign_helpers.models.loading import load_embedders
from tokalign_helpers.models.shipped import fill_cache

BEFORE = 900.0  # seconds for what several answers need, embedded before their time runs
EACH = 20.0  # seconds beside an answer's own: starting and ending its processes
QUESTIONS = 9  # at most, in a notebook
# What answers import: once, before the forks. matplotlib runs a program when it first looks for fonts, and no answer may.
IMPORTED_BEFORE = (
    "matplotlib.font_manager",
    "tokalign_helpers.course.plots",
    "tokalign_helpers.course.widgets",
    "tokalign_helpers.examination",
    "tokalign_helpers.reading.postprocessing",
    "peft",
    "scipy.stats",
    "sklearn.cluster",
    "bm25s",
)


def grade(path: Path, limits: Limits) -> Iterator[dict[str, str]]:
    """Grade one submission.

    Parameters
    ----------
    path : Path
        The notebook.
    limits : Limits
        What an answer may use.

    Yields
    ------
    dict
        ``question``, ``verdict``, ``message``: one row for each question of the notebook.

    Raises
    ------
    ValueError
        If it is not a notebook of the course.
    """
    number, answers = read_submission(path)
    try:
        module = importlib.import_module(f"tokalign_helpers.exercises.ex{number}")
    except ModuleNotFoundError:
        raise ValueError(f"it imports the exercises ex{number}, which the course does not have") from None
    if any(answer.source for answer in answers.values()):
        _embed_before(tuple(getattr(module, "EMBEDDED", ())))
    for place, question in enumerate(module.QUESTIONS, start=1):
        try:
            verdict, message = grade_answer(question, answers.get(place, Answer()), limits)
        except Exception as error:  # every question gets its row
            verdict, message = NOT_JUDGED, f"the grader failed: {type(error).__name__}: {error}"
        yield {"question": f"{number}.q{place}", "verdict": verdict, "message": message}


def embed_shared(names: Sequence[str]) -> None:
    """Put the embeddings of the course's 1,000 sentences into the cache, for several answers to draw on.

    Parameters
    ----------
    names : Sequence[str]
        Of embedders.
    """
    texts, embedders = load_sentences(1000, seed=0), load_embedders(names)
    fill_cache(embedders, texts, "sentences")
    embed_all(embedders, texts)


def _embed_before(names: tuple[str, ...]) -> None:
    """Fill the cache, once in a run and in a process of its own: this one forks, and must do nothing with PyTorch."""
    done = Path(tempfile.gettempdir()) / f"embedded-{'-'.join(names)}"
    if not names or done.exists():
        return
    process = multiprocessing.get_context("fork").Process(target=embed_shared, args=(names,))
    process.start()
    process.join()  # when it fails, it says so, and each answer embeds for itself
    done.touch()


def supervise(path: Path, limits: Limits, out: int) -> None:
    """Grade one notebook in a process of its own, and write its rows.

    Whatever a notebook does to the process that reads it, this one goes on and says so.

    Parameters
    ----------
    path : Path
        The notebook.
    limits : Limits
        What an answer may use.
    out : int
        The open file that the rows are written to.
    """
    write = functools.partial(_write, out)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            kernel.end_with_the_parent(parent)
            os.setpgid(0, 0)
            for row in grade(path, limits):
                write(row)
            write({"done": True})
        except (MemoryError, RecursionError, ValueError, OSError) as error:
            write({"question": "all", "verdict": NOT_JUDGED, "message": str(error) or type(error).__name__})
        except BaseException as error:
            write({"question": "all", "verdict": NOT_JUDGED, "message": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(0)
    status = _wait(child, BEFORE + QUESTIONS * (limits.seconds + EACH))
    if status is None:
        write({"question": "all", "verdict": NOT_JUDGED, "message": "it took far too long; its processes were ended"})
    elif status:
        write({"question": "all", "verdict": NOT_JUDGED, "message": f"its supervisor died (status {status})"})


def _wait(child: int, seconds: float) -> int | None:
    """Wait for a child and return its status; None if it had to be killed because its time was over."""
    handle, deadline = os.pidfd_open(child) if hasattr(os, "pidfd_open") else -1, time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if handle >= 0:
                select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
            time.sleep(0.05)
    finally:
        if handle >= 0:
            os.close(handle)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _write(out: int, row: dict) -> None:
    line = json.dumps(row, ensure_ascii=True).encode()
    os.write(out, b"\n" + line[:8000] + b"\n" if len(line) <= 8000 else b"\n" + _shorter(row) + b"\n")


def _shorter(row: dict) -> bytes:
    return json.dumps(row | {"message": str(row.get("message", ""))[:1000]}, ensure_ascii=True).encode()


def sweep_scratch(stem: Path) -> None:
    """Remove the scratch folders of graders that were killed.

    Parameters
    ----------
    stem : Path
        What their names begin with, as :func:`~tokalign_helpers.basics.files.partial_of` writes them.
    """
    for folder in abandoned(stem):
        remove_tree(folder)


def main() -> int:
    """Grade what standard input names, each name ended by a zero byte; answer each with rows and a line ``ended``.

    Returns
    -------
    int
    """
    parent, seconds, gigabytes, unsafe = sys.argv[1:5]
    kernel.end_with_the_parent(int(parent))
    kernel.adopt_orphans()
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no row
    limits = Limits(float(seconds), float(gigabytes), unsafe == "unsafe")
    joblib.cpu_count(only_physical_cores=True)  # k-means asks it, by a program, once in a process; an answer may not
    for name in IMPORTED_BEFORE:
        importlib.import_module(name)
    stem = Path(tempfile.gettempdir()) / "tokalign-grader"
    sweep_scratch(stem)
    scratch = partial_of(stem)
    scratch.mkdir(mode=0o700)
    tempfile.tempdir = str(scratch)
    os.environ["TMPDIR"] = str(scratch)
    _write(out, {"ready": True})
    try:
        for file in _names(sys.stdin.buffer.fileno()):
            supervise(Path(os.fsdecode(file)), limits, out)
            _write(out, {"ended": True})
    finally:
        remove_tree(scratch)
    return 0


def _names(handle: int) -> Iterator[bytes]:
    read = b""
    while part := os.read(handle, 2**16):
        *names, read = (read + part).split(b"\0")
        yield from names


if __name__ == "__main__":
    sys.exit(main())
