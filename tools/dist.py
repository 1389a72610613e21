"""Build the sdist and, from it, the wheel; install the wheel in an empty environment and try it there.

``python -m tools.dist FOLDER``. To be quick, the empty environment borrows the dependencies of the interpreter that
runs this (a .pth file); the package itself, its data and its notebooks come from the wheel alone.
"""

import argparse
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from tools.notebooks import REPOSITORY

BUILD = "import sys, setuptools.build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
SMOKE = """import importlib.metadata, pathlib, sys
import tokalign_helpers as ta
home = pathlib.Path(ta.__file__).parent
assert home.is_relative_to(sys.prefix), home
print(importlib.metadata.version("tokalign-helpers"), ta.data_dir().relative_to(home))
assert list(ta.data_dir().glob("adapters/*/*.safetensors")) and list((home / "notebooks").glob("0*.ipynb"))
assert (home / "course" / "colab_lacks.txt").is_file()
assert len(ta.load_two_labels()) > 100
from tokalign_helpers.exercises import ex00
ex00.q3.check("b")
"""


def python(folder: Path, borrow: bool) -> Path:
    """Make an empty environment.

    Parameters
    ----------
    folder : Path
    borrow : bool
        Let it see the packages of the running interpreter, behind its own.

    Returns
    -------
    Path
        Its interpreter.
    """
    venv.create(folder, with_pip=True)
    found = folder / "bin" / "python"
    if borrow:
        own = next((folder / "lib").glob("python*")) / "site-packages"
        (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return found


def build(output: Path) -> tuple[Path, Path]:
    """Build the sdist and, from it alone, the wheel.

    Parameters
    ----------
    output : Path
        The folder where both appear.

    Returns
    -------
    tuple[Path, Path]
        The sdist and the wheel.

    Raises
    ------
    ValueError
        If the wheel would install anything beside the package.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        builder = python(folder / "builder", borrow=False)
        subprocess.check_call([builder, "-m", "pip", "install", "-q", "setuptools>=77"])
        sdist = _build(builder, "build_sdist", output, REPOSITORY)
        with tarfile.open(sdist) as packed:
            packed.extractall(folder / "source", filter="data")
        wheel = _build(builder, "build_wheel", output, next((folder / "source").iterdir()))
    strangers = beside_the_package(wheel)
    if strangers:
        raise ValueError(f"{wheel.name} carries {', '.join(strangers)}; it must carry the package alone")
    return sdist, wheel


def _build(builder: Path, what: str, output: Path, source: Path) -> Path:
    command = [builder, "-c", BUILD, what, str(output)]
    done = subprocess.run(command, cwd=source, check=True, stdout=subprocess.PIPE, text=True)
    return output / done.stdout.splitlines()[-1]


def beside_the_package(wheel: Path) -> list[str]:
    """Name what a wheel would install at the top level besides the package and its metadata.

    Parameters
    ----------
    wheel : Path

    Returns
    -------
    list[str]
    """
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    return sorted(top for top in tops if top != "tokalign_helpers" and not top.endswith(".dist-info"))


def main(arguments: list[str] | None = None) -> int:
    """Build and try; returns 0, or raises what went wrong."""
    parser = argparse.ArgumentParser("python -m tools.dist", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the sdist and the wheel appear")
    output = parser.parse_args(arguments).folder.resolve()
    output.mkdir(parents=True, exist_ok=True)
    built = build(output)
    with tempfile.TemporaryDirectory() as scratch:
        empty = python(Path(scratch) / "empty", borrow=True)
        subprocess.check_call([empty, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", built[1]])
        subprocess.check_call([empty, "-I", "-c", SMOKE], cwd=scratch)
    for file in built:
        print(f"{file.name}, {file.stat().st_size / 1e6:.1f} MB, installed and tried")
    return 0


if __name__ == "__main__":
    sys.exit(main())
