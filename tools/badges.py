"""Write the repository's address and the version into badges and set-up cells: ``python -m tools.badges``.

The address stands in ``[project.urls]`` of pyproject.toml, the version in ``[project]``, and nowhere else by hand.
"""

import re
import sys
import tomllib
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools.notebooks import REPOSITORY, choose, read

BADGE = re.compile(r"https://colab\.research\.google\.com/github/[^)\s]+?\.ipynb")
SOURCE = re.compile(r'git\+https?://[^"\'\s]+')
SETUP = re.compile(r'\bta\.setup\("[^"]*"\)')


def address() -> tuple[str, str]:
    """Return the repository's address and the course's version, as pyproject.toml has them."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Homepage"].rstrip("/"), project["version"]


def with_address(notebook: NotebookNode, name: str, home: str, version: str) -> NotebookNode:
    """Put address and version where a notebook has them.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place.
    name : str
        Its file's.
    home, version : str

    Returns
    -------
    NotebookNode
        The same one.

    Raises
    ------
    ValueError
        If it lacks the badge, the source in its set-up cell, or the call of ``ta.setup``.
    """
    owner = home.removeprefix("https://github.com/")
    wanted = {
        BADGE: f"https://colab.research.google.com/github/{owner}/blob/v{version}/notebooks/{name}",
        SOURCE: f"git+{home}@v{version}",
        SETUP: f'ta.setup("{version}")',
    }
    found = set()
    for cell in notebook.cells:
        for pattern, text in wanted.items():
            cell.source, times = pattern.subn(lambda _, text=text: text, cell.source)
            found |= {pattern} if times else set()
    if len(found) < len(wanted):
        raise ValueError(f"{name} lacks its Colab badge, the git+https source, or ta.setup(…)")
    return notebook


def stale(folder: Path) -> list[str]:
    """Name the notebooks that have another address or version.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list[str]
    """
    paths = choose(folder, [])
    return [path.name for path in paths if with_address(read(path), path.name, *address()) != read(path)]


def main() -> int:
    """Rewrite the stale ones, and nothing else in them; returns 0."""
    folder = REPOSITORY / "notebooks"
    for name in stale(folder):
        nbformat.write(with_address(read(folder / name), name, *address()), folder / name)
        print(f"rewritten: {name}")
    print(f"{len(choose(folder, []))} notebooks point to {address()[0]} at v{address()[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
