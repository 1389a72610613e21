"""Open the course in JupyterLab: ``python -m tools.lab``. Fetches the model first, and makes the copies to work in."""

import argparse
import os
import subprocess
import sys

from tokalign_helpers.__main__ import main as command
from tools import working_copy
from tools.notebooks import REPOSITORY

FIRST = "00_start_here.ipynb"


def jupyter(user: int | None) -> list[str]:
    """Return the command that opens the first notebook.

    Parameters
    ----------
    user : int | None
        Number of the user who runs it, where the system has such numbers. In a container one is root, 0, and Jupyter
        refuses to run for root unless it is asked to.

    Returns
    -------
    list[str]
    """
    allowed = ["--allow-root"] if user == 0 else []
    return [sys.executable, "-m", "jupyter", "lab", *allowed, str(working_copy.WORK / FIRST)]


def main(arguments: list[str] | None = None) -> int:
    """Prepare and open; returns the exit code of what failed, or Jupyter takes over this process."""
    argparse.ArgumentParser("python -m tools.lab", description=__doc__.splitlines()[0]).parse_args(arguments)
    failed = command(["fetch"]) or working_copy.main([])
    if failed:
        return failed
    found = jupyter(os.getuid() if hasattr(os, "getuid") else None)
    os.chdir(REPOSITORY)
    if os.name != "nt":  # there execv would return to the prompt at once
        os.execv(found[0], found)
    return subprocess.call(found)


if __name__ == "__main__":
    sys.exit(main())
