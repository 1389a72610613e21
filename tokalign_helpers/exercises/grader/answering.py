"""Run one answer in a confined process, and judge it in another.

The process that runs a learner's code holds one socket and nothing else. Over it the judge asks for the answer, which
arrives as data; an answer that is a function stays where it is, and the judge calls it over the socket. So nothing
that the notebook prints, patches or exits with can be taken for a verdict. :mod:`.kernel` says how it is confined.
"""

import asyncio
import contextlib
import inspect
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tokalign_helpers.basics.assets import cache_dir, data_dir
from tokalign_helpers.exercises import Question
from tokalign_helpers.exercises.grader import kernel
from tokalign_helpers.exercises.grader.submission import KEEP, Answer
from tokalign_helpers.exercises.grader.wire import Channel, decode, encode
from tokalign_helpers.models.cache import embedding_cache_dir

SCRATCH = 256 * 2**20  # bytes that an answer may write, beside the embeddings it is given
ENTRIES = 5_000  # files and folders, likewise
LOOK = 0.25  # seconds between two looks at them
_CACHED = 500 * 2**20  # bytes of cached embeddings that are copied for an answer to draw on
_NOTHING = "<not answered>"


@dataclass(frozen=True)
class Limits:
    """What one answer may use.

    Parameters
    ----------
    seconds : float
        By the clock, and of processor time on each of two cores.
    gigabytes : float
        Address space; PyTorch alone takes about 2.
    unsafe : bool
        Run it even where the kernel cannot confine it.
    """

    seconds: float = 180
    gigabytes: float = 8
    unsafe: bool = False


class AnswerError(Exception):
    """The learner's own code raised, in its own process."""


class _Refused(Exception):
    """The learner's own code tried something forbidden."""


def grade_answer(question: Question, answer: Answer, limits: Limits) -> tuple[str, str]:
    """Run one answer and judge it.

    Parameters
    ----------
    question : Question
        The exercise that it answers.
    answer : Answer
        As :func:`~tokalign_helpers.exercises.grader.submission.read_submission` finds it.
    limits : Limits
        What an answer may use.

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
    kernel.adopt_orphans()
    scratch = Path(tempfile.mkdtemp(prefix="answer-")).resolve()
    near, far = socket.socketpair()
    verdict, out = os.pipe()
    try:
        _give_embeddings(scratch)
        given = _size(scratch)
        started.add(_fork(lambda: _serve(answer.source, far, scratch, limits), far.fileno()))
        started.add(_fork(lambda: _judge(question, near, out, limits), near.fileno(), out))
        near.close()
        far.close()
        os.close(out)
        return _await(verdict, limits.seconds, scratch, given)
    finally:
        os.close(verdict)
        _end(started | (_children() - before))
        remove_tree(scratch)


def remove_tree(folder: Path) -> None:
    """Remove a folder that somebody else filled: nested deeper than Python's own stack, or than a path may be long."""
    try:
        shutil.rmtree(folder)
    except (RecursionError, OSError):
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False, capture_output=True)


def _fork(work: Callable[[], None], keep: int, also: int = -1) -> int:
    """Do the work in a new session that holds no other file of this process, silently, and ends with it."""
    sys.stdout.flush(), sys.stderr.flush()
    parent = os.getpid()
    process = os.fork()
    if process:
        return process
    try:
        os.setsid()
        kernel.end_with_the_parent(parent)
        silent = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(silent, standard)
        for opened in [int(name) for name in os.listdir("/dev/fd")]:
            if opened > 2 and opened not in (keep, also):
                with contextlib.suppress(OSError):
                    os.close(opened)
        work()
    finally:
        os._exit(0)


def _await(verdict: int, seconds: float, scratch: Path, given: tuple[int, int]) -> tuple[str, str]:
    """Wait for the judge's line, and no longer than that; look at what the answer writes meanwhile."""
    deadline, received = time.monotonic() + seconds, b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return "time out", f"no answer within {seconds:g} s"
        size, entries = _size(scratch)
        if size > given[0] + SCRATCH or entries > given[1] + ENTRIES:
            return "refused", f"it wrote more than {SCRATCH >> 20} MB or {ENTRIES:,} files"
        if not select.select([verdict], [], [], min(left, LOOK))[0]:
            continue
        part = os.read(verdict, 2**16)
        if not part:
            break
        received += part
    if not received:
        return "error", "the judge could not read the answer"
    return tuple(json.loads(received))


def _size(folder: Path) -> tuple[int, int]:
    """Add up the bytes on the disk and the entries of a folder; it stops counting when there are far too many."""
    size, entries, folders = 0, 0, [str(folder)]
    while folders and entries <= 4 * ENTRIES:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as found:
            for entry in found:
                entries += 1
                with contextlib.suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
    return size, entries


def _judge(question: Question, near: socket.socket, out: int, limits: Limits) -> None:
    """Be the process that judges: of the answer it sees data only."""
    kernel.forbid_tracing()
    kernel.limit_resources(seconds=int(2 * limits.seconds) + 1, gigabytes=limits.gigabytes)
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
    if answer is ... or (isinstance(answer, str) and answer == _NOTHING):
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
    seconds = int(2 * limits.seconds) + 1
    held = kernel.confine(scratch, (cache_dir(), data_dir()), seconds=seconds, gigabytes=limits.gigabytes)
    channel = Channel(far)
    functions: list[Callable] = []
    if not (held or limits.unsafe):
        channel.send({"refused": "this kernel cannot confine it"})
        return
    given: list[Any] = []
    scope: dict[str, Any] = {"__name__": "__main__", KEEP: given.append, "display": _nothing, "get_ipython": _Shell}

    def first() -> Any:
        code = compile(source, "<answer>", "exec", flags=PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, scope))  # the learner's code, in the process made for it
        else:
            exec(code, scope)
        return _NOTHING if not given or given[-1] is ... else given[-1]

    channel.send(_attempt(first, functions))
    while True:
        message = channel.receive()
        positional, named = decode(message["given"], lambda number: functions[number])
        channel.send(_attempt(partial(_call, functions, message["call"], positional, named), functions))


def _call(functions: list[Callable], number: int, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
    return functions[number](*positional, **named)


def _attempt(work: Callable[[], Any], functions: list[Callable]) -> dict[str, Any]:
    try:
        message = {"value": encode(work(), functions)}
    except BaseException as error:  # SystemExit and KeyboardInterrupt must not escape either
        message = {"raised": f"{type(error).__name__}: {error}"}
        if isinstance(error, PermissionError) and not kernel.REFUSED:
            kernel.REFUSED.append(str(error))
    if kernel.REFUSED:
        message["refused"] = kernel.REFUSED[0]
    return message


class _Shell:
    """Replaces IPython where a cell has a magic or a shell command: it does nothing."""

    def __getattr__(self, name: str) -> Callable:
        return _nothing

    def getoutput(self, *given: Any, **named: Any) -> list[str]:
        """Return what ``!command`` printed: nothing."""
        return []


def _nothing(*given: Any, **named: Any) -> None:
    return None


def _give_embeddings(scratch: Path) -> None:
    """Copy the cached embeddings into an answer's folder, where it may add its own."""
    own, vectors = scratch / "embeddings", embedding_cache_dir()
    own.mkdir()
    cached = list(vectors.glob("*.sqlite")) if vectors.is_dir() else []
    if sum(path.stat().st_size for path in cached) < _CACHED:
        for path in cached:
            shutil.copyfile(path, own / path.name)


def _move_home(scratch: Path) -> None:
    """Point everything that has a place of its own into the scratch folder; models stay readable where they are."""
    models = cache_dir()
    os.environ.update(
        {name: str(scratch) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "IPYTHONDIR")},
        TOKALIGN_CACHE=str(models),
        TOKALIGN_EMBEDDING_CACHE=str(scratch / "embeddings"),
        HF_HUB_OFFLINE="1",
    )
    tempfile.tempdir = str(scratch)
    sys.dont_write_bytecode = True


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
