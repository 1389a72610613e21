"""Run every notebook as Colab would: ``.venv-colab/bin/python -m tools.colab [--only 00]``.

The interpreter that runs this file has Colab's versions (tools/colab_has.txt) and not the package: the set-up cell
installs it, from a wheel that is built here and named by its path and its SHA-256, as a release's would be. Only
``colab_stand_in``, by which a kernel believes that it is Colab's, and torch differ from Colab itself.
"""

import argparse
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tokalign_helpers.basics.files import sha256
from tools.badges import with_address
from tools.dist import build
from tools.notebooks import NOTEBOOKS, REPOSITORY, THREADS, choose, read
from tools.run import execute

STAND_IN = REPOSITORY / "tools" / "colab_stand_in"
PACKAGE = "tokalign-helpers"


def versions() -> dict[str, str]:
    """Return what is installed, without the package itself and without what the set-up cell adds."""
    importlib.invalidate_caches()
    return {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}


def of_file(wheel: Path) -> str:
    """Return the address of a wheel on this machine, pinned as a release's is."""
    return f"{wheel.resolve().as_uri()}#sha256={sha256(wheel)}"


def environment() -> dict[str, str]:
    """Return what makes a kernel believe that it is Colab's; it does not see this checkout."""
    threads = {name: os.environ.get(name, "2") for name in THREADS}
    return {**threads, **os.environ, "PYTHONPATH": str(STAND_IN)}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0 when every notebook ran and no installed version was changed."""
    parser = argparse.ArgumentParser("python -m tools.colab", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="00", help="how the notebooks' names begin")
    only = parser.parse_args(arguments).only
    subprocess.check_call([sys.executable, "-m", "pip", "uninstall", "-q", "-y", PACKAGE])
    before, failures = versions(), 0
    with tempfile.TemporaryDirectory() as scratch:
        source = of_file(build(Path(scratch))[1])
        for path in choose(NOTEBOOKS, only):
            notebook = with_address(read(path), path.name, source=source)
            outcome = execute(notebook, Path(scratch), environment(), path.stem)
            failures += bool(outcome.error)
            print(f"{path.stem:<40} {'FAILED' if outcome.error else 'ok':<8} {outcome.seconds:>8.1f} s", flush=True)
            print(outcome.error, end="\n" if outcome.error else "", flush=True)
    after = versions()
    changed = [f"{name} {old} → {after.get(name)}" for name, old in before.items() if after.get(name) != old]
    print("changed by the set-up cell:", ", ".join(changed) or "nothing")
    print("added by it:", ", ".join(sorted(after.keys() - before.keys())) or "nothing")
    return int(bool(failures or changed))


if __name__ == "__main__":
    sys.exit(main())
