"""Where the course's notebooks are, how to read them, and the environment that their kernels get."""

import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = REPOSITORY / "notebooks"
OUTPUT_WAIT = 60  # seconds for what a finished cell has sent; nbval's own 5 are too few on a busy machine
CHECK = "nbval-check-output"  # the tag of a cell whose output nbval compares; learners need not see it
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def choose(folder: Path, only: list[str]) -> list[Path]:
    """List the notebooks of a folder in order.

    Parameters
    ----------
    folder : Path
    only : list[str]
        How their names begin; empty for all.

    Returns
    -------
    list[Path]

    Raises
    ------
    SystemExit
        If there is none: what does nothing must not pass for a success.
    """
    found = [path for path in sorted(folder.glob("*.ipynb")) if not only or path.name.startswith(tuple(only))]
    if not found:
        raise SystemExit(f"no notebook{' begins with ' + ' or '.join(only) if only else ''} in {folder}")
    return found


def read(path: Path) -> NotebookNode:
    """Read a notebook, in the current format."""
    return nbformat.read(path, as_version=4)


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of a notebook as it is before it has run.

    Parameters
    ----------
    notebook : NotebookNode

    Returns
    -------
    NotebookNode
    """
    changed = deepcopy(notebook)
    for cell in changed.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return changed


def is_check(cell: Mapping[str, Any]) -> bool:
    """Return whether a code cell is a CHECK cell: its tags make nbval compare its output.

    Parameters
    ----------
    cell : Mapping[str, Any]
        As nbformat or as JSON has it.

    Returns
    -------
    bool
    """
    return CHECK in cell.get("metadata", {}).get("tags", [])


def kernel_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a kernel needs: this repository's code, and fixed thread counts, so that last digits hold still.

    Parameters
    ----------
    environment : Mapping[str, str]
        The caller's; its thread counts win.

    Returns
    -------
    dict[str, str]
        The variables to set.
    """
    path = [str(REPOSITORY), *filter(None, [environment.get("PYTHONPATH")])]
    return {name: environment.get(name, "2") for name in THREADS} | {"PYTHONPATH": os.pathsep.join(path)}
