"""Install the course into a virtual environment, and repair one: ``python3 tools/install.py [--venv FOLDER]``.

Runs under any Python, before anything is installed, so it imports nothing else. A stamp in the environment says what it
was made from. Without a stamp (the first installation was broken off), in another place than the stamp says (the clone
was moved: its programs point to the old place), or with an interpreter that is gone, the environment is built again;
with another lock it is brought up to date; else nothing happens.
"""

from __future__ import annotations  # so that an old Python gets as far as the message that it is too old

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK, CUDA_LOCK = ROOT / "requirements.lock", ROOT / "requirements-cuda.lock"
STAMP = ".installed"
OLDEST, NEWEST = (3, 11), (3, 14)  # of Python, that the lock covers
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# What the packages without a wheel are built with. They come first, and from the lock: a build of its own choice would
# fetch the newest, unchecked.
BUILD = ("packaging", "setuptools", "setuptools-scm", "vcs-versioning")
# mwparserfromhell has no wheel for Python 3.14 yet. As pure Python it needs no compiler, and is hardly slower here.
BUILD_ENVIRONMENT = {"WITH_EXTENSION": "0"}
ENTRY = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(?:.*\\\n)*.*\n?", re.MULTILINE)


class Problem(Exception):
    """A problem that the user can solve, in one line."""


def unsupported(version: tuple[int, int], system: str, machine: str) -> str | None:
    """Return why the lock cannot be installed here.

    Parameters
    ----------
    version : tuple[int, int]
        Of Python.
    system, machine : str
        As ``sys.platform`` and ``platform.machine()`` have them.

    Returns
    -------
    str | None
        One line; None when it can.
    """
    if not OLDEST <= version <= NEWEST:
        return (
            "Python {}.{} to {}.{} is needed, and this is {}.{}. With another one: make PYTHON=python3.13 …, "
            "or python3.13 tools/install.py".format(*OLDEST, *NEWEST, *version)
        )
    if system == "darwin" and machine == "x86_64":
        return "PyTorch has no releases for Macs with an Intel processor any more: use Colab, Binder or a dev container"
    return None


def entries(lock: str) -> dict[str, str]:
    """Split a lock into its packages.

    Parameters
    ----------
    lock : str
        Text of a requirements file with hashes.

    Returns
    -------
    dict[str, str]
        By name: the requirement, with its marker and hashes. A package with two versions for two Pythons has both.
    """
    found: dict[str, str] = {}
    for entry in ENTRY.finditer(lock):
        name = re.sub(r"[-_.]+", "-", entry[1]).lower()
        found[name] = found.get(name, "") + entry[0]
    return found


def python_of(venv: Path) -> Path:
    """Return where the interpreter of a virtual environment is, or would be."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(venv: Path) -> dict[str, str]:
    """Return what an environment depends on: its place, the locks, and what the package itself declares."""
    sources = b"".join(path.read_bytes() for path in (LOCK, CUDA_LOCK, ROOT / "pyproject.toml"))
    return {"place": str(venv.resolve()), "clone": str(ROOT), "sources": hashlib.sha256(sources).hexdigest()}


def stamped(venv: Path) -> Mapping[str, str]:
    """Read an environment's stamp; empty where there is none, or one that cannot be read."""
    try:
        found = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def why_anew(venv: Path, wanted: Mapping[str, str]) -> str | None:
    """Return why an environment has to be built again.

    Parameters
    ----------
    venv : Path
    wanted : Mapping[str, str]
        Its :func:`fingerprint`.

    Returns
    -------
    str | None
        One line; None when it is whole, though perhaps out of date.
    """
    found = stamped(venv)
    if not venv.exists():
        return f"Making {venv.name}"
    if not found:
        return f"{venv.name} was never finished: building it again"
    if any(found.get(key) != wanted[key] for key in ("place", "clone")):
        return f"This clone has been moved, and the programs in {venv.name} point to the old place: building it again"
    if not python_of(venv).exists():  # a link to nothing does not
        return f"The Python that {venv.name} was made with is gone: building it again"
    return None


def holds_something_else(venv: Path) -> bool:
    """Return whether a path holds anything but a virtual environment or an empty folder; it is not emptied."""
    if venv.is_dir():
        return not (venv / "pyvenv.cfg").exists() and any(venv.iterdir())
    return venv.exists()


def has_gpu() -> bool:
    """Return whether the NVIDIA driver lists a device."""
    if not shutil.which("nvidia-smi"):
        return False
    try:
        said = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "GPU" in said.stdout


class Pip:
    """The pip of one interpreter, and what it installs from.

    Parameters
    ----------
    python : Path
    scratch : Path
        A folder for parts of a lock.
    """

    def __init__(self, python: Path, scratch: Path) -> None:
        self.python, self.scratch = python, scratch

    def install(self, *arguments: str | Path) -> bool:
        """Run ``pip install``; returns whether it succeeded."""
        command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
        return not subprocess.run(command, cwd=ROOT, env={**os.environ, **BUILD_ENVIRONMENT}).returncode

    def locked(self, parts: Iterable[str], *arguments: str) -> bool:
        """Install exactly these entries of a lock, each file checked against its hashes."""
        file = self.scratch / "requirements.txt"
        file.write_text("".join(parts), encoding="utf-8")
        return self.install("--require-hashes", "--no-deps", "--no-build-isolation", *arguments, "-r", file)


def install(python: Path) -> None:
    """Install what the lock names, and the package from this folder.

    Parameters
    ----------
    python : Path
        Of an environment.

    Raises
    ------
    Problem
        If pip fails; it has said why.
    """
    lock = entries(LOCK.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        pip = Pip(python, Path(scratch))
        cuda = needs_cuda(pip, lock["torch"]) if sys.platform == "linux" else False
        rest = list(lock.values())
        if cuda:
            rest += entries(CUDA_LOCK.read_text(encoding="utf-8")).values()
        print("Installing the locked packages (a few minutes, once)", flush=True)
        done = pip.locked(lock[name] for name in BUILD) and pip.locked(rest)
        if not (done and pip.install("--no-deps", "--no-build-isolation", "-e", ROOT)):
            raise Problem("The installation failed; pip says why above. 'Where it installs' in README.md may help")


def needs_cuda(pip: Pip, torch: str) -> bool:
    """Choose between the two builds of torch for Linux, and install the one without CUDA.

    Parameters
    ----------
    pip : Pip
    torch : str
        Its entry of the lock.

    Returns
    -------
    bool
        True where the build of PyPI has to be taken, which needs NVIDIA's libraries.
    """
    if has_gpu():
        print("There is an NVIDIA GPU: taking torch with CUDA (4.5 GB on disk)", flush=True)
        return True
    print("There is no NVIDIA GPU: taking torch without CUDA (0.8 GB on disk) from PyTorch's own index", flush=True)
    if pip.locked([torch], "--retries", "2", "--index-url", CPU_INDEX):
        return False
    print("PyTorch's own index cannot be used: taking torch with CUDA (4.5 GB on disk) from PyPI", flush=True)
    return True


def build(venv: Path) -> None:
    """Make an empty virtual environment with pip in it.

    Parameters
    ----------
    venv : Path
        What is there already is removed.

    Raises
    ------
    Problem
        If Python cannot make one; it has said why.
    """
    if subprocess.run([sys.executable, "-m", "venv", "--clear", venv]).returncode:
        raise Problem(
            f"{sys.executable} cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv"
        )


def bring_up_to_date(venv: Path) -> None:
    """Bring a virtual environment to the state that the lock describes.

    Parameters
    ----------
    venv : Path

    Raises
    ------
    Problem
        If it cannot be made or filled, or if something else is there.
    """
    if holds_something_else(venv):
        raise Problem(f"{venv} is not empty and not a virtual environment; name another folder")
    wanted = fingerprint(venv)
    reason = why_anew(venv, wanted)
    if reason is None and stamped(venv) == wanted:
        return
    print(reason or "The lock has changed: bringing the packages up to date", flush=True)
    if reason:
        build(venv)
    (venv / STAMP).unlink(missing_ok=True)  # broken off from here on, it counts as never finished
    install(python_of(venv))
    partial = venv / f"{STAMP}.new"
    partial.write_text(json.dumps(wanted), encoding="utf-8")
    partial.replace(venv / STAMP)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list[str], optional
        Default: those of the process.

    Returns
    -------
    int
        0, or 1 after one line on stderr.
    """
    parser = argparse.ArgumentParser("tools/install.py", description="Install the course from the lock.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="a virtual environment (.venv)")
    given = parser.parse_args(arguments)
    try:
        problem = unsupported(sys.version_info[:2], sys.platform, platform.machine())
        if problem:
            raise Problem(problem)
        bring_up_to_date(given.venv)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
