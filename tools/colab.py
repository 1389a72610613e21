"""Run every notebook as Colab would: ``.venv-colab/bin/python -m tools.colab [--only 00]``.

The interpreter that runs this file has Colab's versions (tools/colab.txt) and not the package: the set-up
cell installs it. ``colab_stand_in`` replaces Colab's module, and the address that pip would clone by this checkout.
Only the torch that pip can install differs from Colab's own.
"""

import argparse
import importlib.metadata
import os
import subprocess
import sys

from tools.notebooks import NOTEBOOKS, REPOSITORY, THREADS, choose, read
from tools.run import execute

STAND_IN = REPOSITORY / "tools" / "colab_stand_in"
PACKAGE = "tokalign-helpers"


def versions() -> dict[str, str]:
    """Return what is installed, without the package itself and without what the set-up cell adds."""
    importlib.invalidate_caches()
    return {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0 when every notebook ran and no installed version was changed."""
    parser = argparse.ArgumentParser("python -m tools.colab", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="00", help="how the notebooks' names begin")
    only = parser.parse_args(arguments).only
    subprocess.check_call([sys.executable, "-m", "pip", "uninstall", "-q", "-y", PACKAGE])
    before, failures = versions(), 0
    environment = {
        **{name: os.environ.get(name, "2") for name in THREADS},
        **os.environ,
        "PYTHONPATH": str(STAND_IN),
        "TOKALIGN_CHECKOUT": str(REPOSITORY),
    }
    for path in choose(NOTEBOOKS, only):
        outcome = execute(read(path), path.parent, environment, path.stem)
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
