"""Resolve the locks for every platform and Python at once: ``python -m tools.lock``, with uv installed.

A version that is locked stays, unless pyproject.toml rules it out; to renew all, delete the locks first.
``requirements.lock`` is what everyone installs; ``requirements-cuda.lock`` the libraries that only torch's build for
NVIDIA GPUs on Linux needs. torch's entry has the hashes of both builds, so that either passes.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from tools.install import CPU_INDEX, CUDA_LOCK, LOCK, NEWEST, OLDEST, ROOT, entries

# What is locked beside the package's own dependencies and those of its tests.
BESIDE = """\
torch==2.13.0
setuptools>=77
setuptools-scm>=8; python_version >= "3.14"
"""
CUDA = re.compile(r"(nvidia|cuda)-.*|triton")
HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
WHEEL = re.compile(r"torch-([\d.]+)%2Bcpu-cp(3\d+)-cp\2-manylinux\w+_(?:x86_64|aarch64)\.whl#sha256=([0-9a-f]{64})")
HEAD = """\
# Written by `make lock`, for Linux, macOS and Windows and Python {} to {}. tools/install.py installs it.
"""
CUDA_HEAD = HEAD + "# Only for torch's build for NVIDIA GPUs, on Linux, beside requirements.lock.\n"


def resolve(kept: str) -> str:
    """Let uv resolve everything, from PyPI.

    Parameters
    ----------
    kept : str
        A lock whose versions are preferred.

    Returns
    -------
    str
        A requirements file with markers and hashes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        beside, output = Path(scratch) / "beside.in", Path(scratch) / "requirements.txt"
        beside.write_text(BESIDE, encoding="utf-8")
        output.write_text(without_hashes(kept), encoding="utf-8")  # uv would keep those, too
        command = [
            sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal",
            "--python-version", ".".join(map(str, OLDEST)),
            "--fork-strategy", "fewest", "--generate-hashes", "--no-header", "--no-annotate", "--no-config",
            "--default-index", "https://pypi.org/simple", "--extra", "test", "-o", output, "pyproject.toml", beside,
        ]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True)
        return output.read_text(encoding="utf-8")


def without_hashes(lock: str) -> str:
    """Return a lock's requirements alone, with their markers."""
    return "".join(entry.split(" \\\n")[0] + "\n" for entry in entries(lock).values())


def cpu_hashes(page: str, version: str) -> list[str]:
    """Find the hashes of torch's builds without CUDA, for Linux.

    Parameters
    ----------
    page : str
        What PyTorch's index says about torch.
    version : str
        Of torch.

    Returns
    -------
    list[str]
        ``sha256:…``, of every Python that is locked for and both processors.
    """
    pythons = {f"3{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)}
    return [f"sha256:{found[3]}" for found in WHEEL.finditer(page) if found[1] == version and found[2] in pythons]


def with_hashes(entry: str, more: Iterable[str]) -> str:
    """Add hashes to an entry of a lock.

    Parameters
    ----------
    entry : str
    more : Iterable[str]

    Returns
    -------
    str
        The same entry, every hash once, in order.
    """
    requirement = entry.split(" \\\n")[0]
    lines = [requirement, *(f"--hash={value}" for value in sorted({*HASH.findall(entry), *more}))]
    return " \\\n    ".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write both locks; returns 0."""
    argparse.ArgumentParser("python -m tools.lock", description=__doc__.splitlines()[0]).parse_args(arguments)
    old = "".join(path.read_text(encoding="utf-8") for path in (LOCK, CUDA_LOCK) if path.is_file())
    found = {name: entry for name, entry in entries(resolve(old)).items() if not _only_elsewhere(entry)}
    version = re.search(r"==([^\s;]+)", found["torch"])[1]
    found["torch"] = with_hashes(found["torch"], _cpu_hashes_now(version, entries(old).get("torch", "")))
    span = [".".join(map(str, bound)) for bound in (OLDEST, NEWEST)]
    for path, head, cuda in ((LOCK, HEAD, False), (CUDA_LOCK, CUDA_HEAD, True)):
        chosen = [entry for name, entry in found.items() if bool(CUDA.fullmatch(name)) == cuda]
        path.write_text(head.format(*span) + "".join(chosen), encoding="utf-8")
        print(f"{len(chosen)} packages in {path.name}")
    return 0


def _only_elsewhere(entry: str) -> bool:
    """Return whether a package is for browsers alone, which uv counts among the platforms."""
    return "sys_platform == 'emscripten'" in entry.partition("\n")[0]


def _cpu_hashes_now(version: str, old: str) -> list[str]:
    """Ask PyTorch's index; where it cannot be reached, the hashes that the lock has of the same version still hold."""
    try:
        with urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=60) as answer:
            return cpu_hashes(answer.read().decode("utf-8"), version)
    except (urllib.error.URLError, TimeoutError) as error:
        if f"torch=={version} " not in old:
            said = f"{CPU_INDEX} cannot be reached ({error}), and torch {version} is new to the lock"
            raise SystemExit(said) from None
        print(f"{CPU_INDEX} cannot be reached ({error}): torch {version} keeps the hashes that it has", file=sys.stderr)
        return HASH.findall(old)


if __name__ == "__main__":
    sys.exit(main())
