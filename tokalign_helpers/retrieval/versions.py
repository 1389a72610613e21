"""A folder whose files are replaced in one step. A new version is written beside the old one, which stays readable.

::

    index.json             names the version that counts, with the size and the SHA-256 of each of its files
    version-0f1e2d3c4b5a/  the files
    .lock                  held for the moment in which a version takes over

Only ``index.json`` is ever replaced; the files of a version never change once they are there.
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from tokalign_helpers.basics.files import partial_of, sha256, write_text

POINTER, LOCK = "index.json", ".lock"
KIND = "tokalign sparse index, 2"
_VERSION = re.compile(r"version-[0-9a-f]{12}")
_OURS = re.compile(rf"{_VERSION.pattern}|{re.escape(LOCK)}|\.{re.escape(POINTER)}\..*\.partial")

T = TypeVar("T")


def save_version(folder: Path, write: Callable[[Path], None], about: Mapping[str, object]) -> None:
    """Write a new version of a folder. Of several writers at the same time, the last one to finish wins.

    Parameters
    ----------
    folder : Path
        Made if it is not there. What else lies in it stays.
    write : Callable
        Called with an empty folder, into which it writes files.
    about : Mapping
        What JSON can hold; :func:`open_version` hands it to the reader.

    Raises
    ------
    ValueError
        If the folder is a file, or has something in it but no index; nothing is touched.
    OSError
        If the disk refuses; the old version stays.
    """
    _refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pointer, version = folder / POINTER, f"version-{uuid.uuid4().hex[:12]}"
    staging = partial_of(pointer)  # so that the sweep for the pointer's partials takes it too, if we are killed
    try:
        staging.mkdir()
        write(staging)
        files = {file.name: _sealed(file) for file in staging.iterdir()}
        text = json.dumps({"kind": KIND, **about, "version": version, "files": files}, indent=1)
        with FileLock(folder / LOCK):
            staging.rename(folder / version)
            write_text(pointer, text)
            for other in folder.iterdir():  # whoever is about to name one of these would hold the lock
                if _VERSION.fullmatch(other.name) and other.name != version:
                    shutil.rmtree(other, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def open_version(folder: Path, names: Collection[str], read: Callable[[Path, dict], T], *, verify: bool = True) -> T:
    """Read the version of a folder that counts.

    Parameters
    ----------
    folder : Path
        A folder that :func:`save_version` has written to.
    names : Collection[str]
        Of the files that a version must have.
    read : Callable
        Called with the folder of the version and the `about` of :func:`save_version`.
    verify : bool
        Whether to compare the SHA-256 of every file, which reads all of them. Sizes are always compared.

    Returns
    -------
    T
        What `read` returned.

    Raises
    ------
    ValueError
        If the folder holds no index, or a file is missing, cut short or changed.
    """
    about = _about(folder)
    while True:
        try:
            _check_files(folder / about["version"], names, about["files"], verify=verify)
            return read(folder / about["version"], about)
        except FileNotFoundError as error:
            newer = _about(folder)
            if newer == about:
                raise ValueError(f"{folder} holds no whole index: {error.filename} is missing") from error
            about = newer  # another version took over while we were reading


def _sealed(file: Path) -> dict[str, object]:
    with file.open("rb+") as written:  # on the disk before the pointer names it
        os.fsync(written.fileno())
    return {"bytes": file.stat().st_size, "sha256": sha256(file)}


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give a folder for the index")
    if not folder.is_dir() or all(_OURS.fullmatch(entry.name) for entry in folder.iterdir()):
        return
    try:
        _about(folder)
    except ValueError as error:
        raise ValueError(f"{error}, but other files; nothing was written: give a new or an empty folder") from None


def _about(folder: Path) -> dict:
    try:
        about = json.loads((folder / POINTER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no index") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{folder} holds no index that can be read: {POINTER}: {error}") from error
    if isinstance(about, dict) and "sizes" in about:
        raise ValueError(f"{folder} holds an index of an older format, without checksums; build and save it again")
    sound = (
        isinstance(about, dict)
        and about.get("kind") == KIND
        and _VERSION.fullmatch(str(about.get("version")))
        and isinstance(about.get("files"), dict)
        and all(isinstance(seal, dict) and seal.keys() == {"bytes", "sha256"} for seal in about["files"].values())
    )
    if not sound:
        raise ValueError(f"{folder} holds no index of ours ({POINTER} is something else)")
    return about


def _check_files(version: Path, names: Collection[str], seals: Mapping[str, dict], *, verify: bool) -> None:
    for name in names:
        if name not in seals:
            raise ValueError(f"{version.parent} holds no whole index: {POINTER} does not name {name}")
        file, seal = version / name, seals[name]
        size = file.stat().st_size
        if size != seal["bytes"]:
            raise ValueError(
                f"{file} has {size} bytes, not {seal['bytes']}: cut short or changed; build the index again"
            )
        if verify and sha256(file) != seal["sha256"]:
            raise ValueError(f"{file} was changed: its SHA-256 differs; build the index again")
