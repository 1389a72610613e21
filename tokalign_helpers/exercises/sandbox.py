"""Take from this process, for good, what an answer has no need of: writing elsewhere, sockets, processes, memory.

Three layers, each as far as an ordinary user's process can go. Resource limits hold everywhere on Unix. Landlock, on
Linux 5.13 and later, lets the kernel refuse every write outside one folder, and on later kernels TCP and signals to
other processes too. An audit hook refuses the same, and new processes, for whatever goes through Python. The hook can
be got round by code that calls C through ctypes; Landlock cannot. Nothing here hides files from being read.
"""

import ctypes
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

REFUSED: list[str] = []  # what the hook refused, in order
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS = {  # event: which of its arguments are paths that change
    "os.remove": (0,), "os.rename": (0, 1), "os.mkdir": (0,), "os.rmdir": (0,), "os.link": (0, 1),
    "os.symlink": (1,), "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,),
    "os.setxattr": (0,), "os.removexattr": (0,), "sqlite3.connect": (0,),
}  # fmt: skip
_NEVER = (
    "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "os.spawn", "os.kill", "os.killpg",
    "subprocess.Popen", "pty.spawn", "socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo",
    "webbrowser.open",
)  # fmt: skip


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def confine(folder: Path, *, seconds: int, gigabytes: float) -> None:
    """Confine this process and all that it starts.

    Parameters
    ----------
    folder : Path
        The one place it may write to.
    seconds : int
        Processor time.
    gigabytes : float
        Address space.
    """
    memory = int(gigabytes * 2**30)
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 256 * 2**20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
    ):
        _lower(limit, value)
    restrict_writes(folder)
    _hook(folder.resolve())


def _lower(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    try:
        resource.setrlimit(limit, (value, value))
    except (OSError, ValueError):  # macOS has no limit of the address space
        return


def landlock_version() -> int:
    """Return the kernel's version of Landlock; 0 where there is none."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return 0
    return max(0, ctypes.CDLL(None, use_errno=True).syscall(444, None, ctypes.c_size_t(0), 1))


def restrict_writes(folder: Path) -> bool:
    """Let the kernel refuse this process every write outside a folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    bool
        False where the kernel has no Landlock.
    """
    version = landlock_version()
    if not version:
        return False
    # Bits 1, 4 to 12 of the first version: write to, remove and make files of every kind; 13 and 14 came later.
    files = 0b1_1111_1111_0010 | (1 << 13 if version >= 2 else 0) | (1 << 14 if version >= 3 else 0)
    rules = _Ruleset(files, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    libc = ctypes.CDLL(None, use_errno=True)
    ruleset = libc.syscall(444, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    for place, allowed in ((folder, files), (Path("/dev/null"), 1 << 1 | (1 << 14 if version >= 3 else 0))):
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
        libc.syscall(445, ruleset, 1, ctypes.byref(_Beneath(allowed, handle)), 0)
        os.close(handle)
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges: without it only root may go on
    done = libc.syscall(446, ruleset, 0) == 0
    os.close(ruleset)
    return done


def _hook(folder: Path) -> None:
    def hook(event: str, arguments: tuple) -> None:
        problem = _problem(folder, event, arguments)
        if problem:
            REFUSED.append(problem)
            raise PermissionError(f"refused: {problem}")

    sys.addaudithook(hook)


def _problem(folder: Path, event: str, arguments: tuple) -> str:
    if event in _NEVER:
        return event
    if event == "open":
        path, mode, flags = arguments
        writes = (isinstance(flags, int) and flags & _WRITES) or set(mode or "") & set("wax+")
        return f"writing to {os.fsdecode(path)}" if writes and _is_outside(folder, path) else ""
    changed = [arguments[number] for number in _PATHS.get(event, ())]
    outside = [path for path in changed if path != ":memory:" and _is_outside(folder, path)]
    return f"{event} {os.fsdecode(outside[0])}" if outside else ""


def _is_outside(folder: Path, path: Any) -> bool:
    if isinstance(path, int) or path is None:  # a file that is open already
        return False
    real = os.path.realpath(os.fsdecode(path))
    return real not in (str(folder), os.devnull) and not real.startswith(f"{folder}{os.sep}")
