"""Files that appear whole or not at all. Imports nothing else of the package, so that every module may use it.

A writer works on a *partial* beside the target and renames it at the end. The partial's name says which process on
which machine is writing, so that the next writer can tell a file in the making from one whose process was killed.
"""

import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ABANDONED = 24 * 3600  # seconds after which a partial of another machine counts as left behind
_HOST = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:40] or "host"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield the partial to write to; when the block ends without an error it takes the place of `path` in one step.

    Parameters
    ----------
    path : str or Path
        A file. Its folder must exist. Until the last moment an older file of that name stays readable.

    Yields
    ------
    Path
        Does not exist yet. A file opened there gets the permissions that the umask allows.

    Raises
    ------
    OSError
        If the disk refuses; the partial is removed and `path` is as it was.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; give the name of a file")
    remove_partials(path)
    partial = partial_of(path)
    try:
        yield partial
        with partial.open("rb+") as written:  # on the disk before the name points to it
            os.fsync(written.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8; it appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        Where to write.
    text : str
        What to write.

    Raises
    ------
    OSError
        As :func:`replacing`.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def partial_of(path: Path) -> Path:
    """Return a fresh name beside `path` for what this process is about to write.

    Parameters
    ----------
    path : Path
        The file or folder that will be written.

    Returns
    -------
    Path
        ``.<name>.<host>.<pid>.<random>.partial``, in the same folder.
    """
    return path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.{uuid.uuid4().hex[:8]}.partial")


def remove_partials(path: Path) -> list[Path]:
    """Remove the partials of `path`, files and folders, whose process is gone.

    Parameters
    ----------
    path : Path
        The target that they were to become; it is not touched itself.

    Returns
    -------
    list[Path]
        What was removed.
    """
    removed = abandoned(path)
    for partial in removed:
        if partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
    return removed


def abandoned(path: Path) -> list[Path]:
    """Return the partials of `path` whose process is gone.

    Parameters
    ----------
    path : Path
        The target that they were to become.

    Returns
    -------
    list[Path]
    """
    found = []
    for partial in path.parent.glob(f".{_literal(path.name)}.*.partial"):
        owner = re.fullmatch(r"([A-Za-z0-9-]+)\.(\d+)\.[0-9a-f]{8}\.partial", partial.name[len(path.name) + 2 :])
        if owner and _is_abandoned(partial, owner[1], int(owner[2])):
            found.append(partial)
    return found


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Parameters
    ----------
    path : str or Path
        The file to hash.

    Returns
    -------
    str
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _literal(name: str) -> str:
    """Escape what a glob pattern would take for a wildcard."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _is_abandoned(partial: Path, host: str, pid: int) -> bool:
    if host == _HOST:
        return not _is_alive(pid)
    try:
        return time.time() - partial.stat().st_mtime > ABANDONED
    except OSError:  # somebody else removed it
        return False


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # signal 0 would end the process there
        import psutil

        return psutil.pid_exists(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
