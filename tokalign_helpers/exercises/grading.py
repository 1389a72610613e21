"""Grade submitted notebooks: each answer runs in a confined process, and another process judges it.

The process that runs a learner's code holds one socket and nothing else. Over it the judge asks for the answer, which
arrives as data; an answer that is a function stays where it is, and the judge calls it over the socket. So nothing
that the notebook prints, patches or exits with can be taken for a verdict. ``sandbox`` says how it is confined.

Not covered: reading the files of the user who grades (run it under an account of its own, or in a container, when the
submissions come from strangers), processes started through C on purpose (they are confined as well and are killed
afterwards, but nothing limits their number), and an answer that is copied from ``.solution()``.
"""

import contextlib
import ctypes
import functools
import importlib
import json
import multiprocessing
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

from tokalign_helpers.assets import cache_dir
from tokalign_helpers.cache import embedding_cache_dir, fill_cache
from tokalign_helpers.datasets import sentences
from tokalign_helpers.embedders import load_embedders
from tokalign_helpers.embedding import embed_all
from tokalign_helpers.exercises import Question, sandbox
from tokalign_helpers.exercises.submission import ANSWER, Answer, read_submission
from tokalign_helpers.exercises.wire import Channel, decode, encode

VERDICTS = ("right", "wrong", "empty", "error", "time out", "refused")
_CACHED = 500 * 2**20  # bytes of cached embeddings that are copied for an answer to draw on


@dataclass(frozen=True)
class Limits:
    """What one answer may use.

    Parameters
    ----------
    seconds : float
        By the clock, and of processor time on each of two cores.
    gigabytes : float
        Address space; PyTorch alone takes about 2.
    """

    seconds: float = 180
    gigabytes: float = 8


class AnswerError(Exception):
    """The learner's own code raised, in its own process."""


class _Refused(Exception):
    """The learner's own code tried what it may not."""


def grade(path: Path, limits: Limits = Limits()) -> pd.DataFrame:  # noqa: B008
    """Grade one submission.

    It forks: call it from a process that has done nothing with PyTorch yet, as the command line does.

    Parameters
    ----------
    path : Path
    limits : Limits

    Returns
    -------
    DataFrame
        One row a question: ``question``, ``verdict`` (one of :data:`VERDICTS`), ``message``.

    Raises
    ------
    ValueError
        If it is no notebook of the course.
    """
    number, answers = read_submission(path)
    try:
        module = importlib.import_module(f"tokalign_helpers.exercises.ex{number}")
    except ModuleNotFoundError:
        raise ValueError(f"{path} imports the exercises ex{number}, which the course does not have") from None
    joblib.cpu_count(only_physical_cores=True)  # k-means asks it, by a program, once in a process; an answer may not
    if any(answer.source for answer in answers.values()):
        _embed_before(getattr(module, "EMBEDDED", ()))
    rows = []
    for place, question in enumerate(module.QUESTIONS, start=1):
        verdict, message = grade_answer(question, answers.get(place, Answer()), limits)
        rows.append({"question": f"{number}.q{place}", "verdict": verdict, "message": _one_line(message)})
    return pd.DataFrame(rows)


@functools.cache
def _embed_before(names: tuple[str, ...]) -> None:
    """Fill the cache in a process of its own, as this one must do nothing with PyTorch."""
    if not names:
        return
    process = multiprocessing.get_context("fork").Process(target=embed_shared, args=(names,))
    process.start()
    process.join()  # when it fails, it says so, and each answer embeds for itself


def embed_shared(names: Sequence[str]) -> None:
    """Put the embeddings of the course's 1,000 sentences into the cache, for several answers to draw on.

    Parameters
    ----------
    names : Sequence[str]
        Of embedders.
    """
    texts, embedders = sentences(1000, seed=0), load_embedders(names)
    fill_cache(embedders, texts, "sentences")
    embed_all(embedders, texts)


def grade_answer(question: Question, answer: Answer, limits: Limits) -> tuple[str, str]:
    """Run one answer and judge it.

    Parameters
    ----------
    question : Question
    answer : Answer
    limits : Limits

    Returns
    -------
    tuple[str, str]
        Verdict and message.
    """
    if answer.problem:
        return "error", answer.problem
    if not answer.source:
        return "empty", "not answered"
    before, started = _children(), set()
    _adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as scratch:
        near, far = socket.socketpair()
        verdict, out = os.pipe()
        try:
            started.add(_fork(lambda: _serve(answer.source, far, Path(scratch).resolve(), limits), far.fileno()))
            started.add(_fork(lambda: _judge(question, near, out), near.fileno(), out))
            near.close(), far.close(), os.close(out)
            return _await(verdict, limits.seconds)
        finally:
            os.close(verdict)
            _end(started | (_children() - before))


def _fork(work: Callable[[], None], keep: int, also: int = -1) -> int:
    """Do the work in a new session that holds no other file of this process, and silently."""
    sys.stdout.flush(), sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    try:
        os.setsid()
        silent = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(silent, standard)
        for opened in set(range(3, 4096)) - {keep, also}:
            with contextlib.suppress(OSError):
                os.close(opened)
        work()
    finally:
        os._exit(0)


def _await(verdict: int, seconds: float) -> tuple[str, str]:
    """Wait for the judge's line, and no longer than that."""
    deadline, received = time.monotonic() + seconds, b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([verdict], [], [], left)[0]:
            return "time out", f"no answer within {seconds:g} s"
        part = os.read(verdict, 2**16)
        if not part:
            break
        received += part
    if not received:
        return "error", "the judge could not read the answer"
    return tuple(json.loads(received))


def _judge(question: Question, near: socket.socket, out: int) -> None:
    """Be the process that judges: of the answer it sees data only."""
    channel = Channel(near)
    try:
        verdict = _verdict(question, channel)
    except _Refused as error:
        verdict = "refused", str(error)
    except AnswerError as error:
        verdict = "error", str(error)
    except (EOFError, OSError):
        verdict = "error", "the process ended before it gave an answer"
    except Exception as error:  # a message made to break the judge
        verdict = "error", f"the answer cannot be read: {type(error).__name__}"
    os.write(out, json.dumps([verdict[0], verdict[1][:2000]]).encode())


def _verdict(question: Question, channel: Channel) -> tuple[str, str]:
    failed: list[Exception] = []

    def remote(number: int) -> Callable:
        def call(*positional: Any, **named: Any) -> Any:
            try:
                channel.send({"call": number, "given": encode([list(positional), named], [])})
                return decode(_value(channel.receive()), remote)
            except Exception as error:
                failed.append(error)
                raise

        return call

    answer = decode(_value(channel.receive()), remote)
    if answer is ... or answer == "<not answered>":
        return "empty", "not answered"
    try:
        problem = question.judge(answer)
    except Exception as error:  # as Question.check does: an answer of a wrong kind may break the judge's own lines
        problem = f"your answer stopped with {type(error).__name__}: {error}"
    if failed:
        raise failed[0]
    return ("wrong", problem) if problem else ("right", "")


def _value(message: dict[str, Any]) -> Any:
    if message.get("refused"):
        raise _Refused(str(message["refused"]))
    if "raised" in message:
        raise AnswerError(str(message["raised"]))
    return message["value"]


def _serve(source: str, far: socket.socket, scratch: Path, limits: Limits) -> None:
    """Be the process of the learner's code: confine it, run it, answer the judge's calls."""
    _move_home(scratch)
    os.chdir(scratch)
    sandbox.confine(scratch, seconds=int(2 * limits.seconds) + 1, gigabytes=limits.gigabytes)
    channel, functions = Channel(far), []
    scope: dict[str, Any] = {"__name__": "__main__"}

    def first() -> Any:
        exec(compile(source, "<answer>", "exec"), scope)  # the learner's code, in the process made for it
        return "<not answered>" if scope[ANSWER] is ... else scope[ANSWER]

    channel.send(_attempt(first, functions))
    while True:
        message = channel.receive()
        positional, named = decode(message["given"], lambda number: functions[number])
        channel.send(_attempt(lambda m=message, p=positional, n=named: functions[m["call"]](*p, **n), functions))


def _attempt(work: Callable[[], Any], functions: list[Callable]) -> dict[str, Any]:
    try:
        message = {"value": encode(work(), functions)}
    except BaseException as error:  # SystemExit and KeyboardInterrupt are no way out
        message = {"raised": f"{type(error).__name__}: {error}"}
        if isinstance(error, PermissionError) and not sandbox.REFUSED:
            sandbox.REFUSED.append(str(error))
    if sandbox.REFUSED:
        message["refused"] = sandbox.REFUSED[0]
    return message


def _move_home(scratch: Path) -> None:
    """Point everything that has a place of its own into the scratch folder; models stay readable where they are."""
    models, vectors = cache_dir(), embedding_cache_dir()
    own = scratch / "embeddings"
    own.mkdir()
    cached = list(vectors.glob("*.sqlite")) if vectors.is_dir() else []
    if sum(path.stat().st_size for path in cached) < _CACHED:
        for path in cached:
            shutil.copy(path, own)
    os.environ.update(
        {name: str(scratch) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR")},
        TOKALIGN_CACHE=str(models),
        TOKALIGN_EMBEDDING_CACHE=str(own),
        HF_HUB_OFFLINE="1",
    )
    tempfile.tempdir = str(scratch)
    sys.dont_write_bytecode = True


def _adopt_orphans() -> None:
    """On Linux, become the parent of what the answer's process leaves behind, so that it is found."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _children() -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found


def _end(processes: set[int]) -> None:
    """Kill processes, their groups, and what they leave to us, until nothing is left."""
    before = _children() - processes
    while processes:
        for process in processes:
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(process, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process, 0)
        processes = _children() - before


def _one_line(text: str) -> str:
    """Make a message of somebody else fit for a table: no line ends, no control characters, not too long."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(plain.split())[:200]
