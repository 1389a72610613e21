"""Write a repository's address into the notebooks' badges and set-up cells, or remove it: ``python -m tools.badges``.

The notebooks are committed without an address, so that nobody who registers a name can reach a learner's Colab. A
release writes its own: ``--repo owner/name`` with ``--commit``, 40 hexadecimal digits, or with ``--wheel``, the file
that the release carries, whose SHA-256 pip then checks. Without ``--repo`` the address is removed again. The version
of ``[project]`` in pyproject.toml is written into the set-up cells either way.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tokalign_helpers.basics.files import sha256, write_text
from tools.notebooks import NOTEBOOKS, REPOSITORY, choose, read
from tools.run import RUN_TIME

BRANCH = "colab"  # where the release job puts the notebooks that it has written an address into
SETUP_CELL = REPOSITORY / "tools" / "setup_cell.py"
SERVER = "https://github.com"
COLAB = "https://colab.research.google.com"
OPEN = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]"
BADGE = re.compile(rf"\n\n{re.escape(OPEN)}\([^)\s]*\)")
FOLDED = "# @title Set-up\n"
HIDDEN = {"cellView": "form", "jupyter": {"source_hidden": True}}  # folded on Colab, and in JupyterLab
REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")


def version() -> str:
    """Return the course's version, as pyproject.toml has it."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def at_commit(repo: str, commit: str) -> str:
    """Return the address of a commit of a repository, for pip.

    Parameters
    ----------
    repo : str
        ``owner/name``.
    commit : str
        40 hexadecimal digits; a branch or a tag can be moved.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If either is something else.
    """
    if not COMMIT.fullmatch(commit):
        raise ValueError(f"{commit!r} is not a commit's 40 hexadecimal digits; `git rev-parse HEAD` prints them")
    return f"git+{SERVER}/{checked(repo)}@{commit}"


def of_release(repo: str, wheel: Path) -> str:
    """Return the address that a wheel will have as a file of this version's release, with its SHA-256.

    Parameters
    ----------
    repo : str
        ``owner/name``.
    wheel : Path
        The file itself, as ``make dist`` builds it.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the wheel is missing or of another version.
    """
    if not wheel.is_file() or not wheel.name.startswith(f"tokalign_helpers-{version()}-"):
        raise ValueError(f"{wheel} is not a wheel of version {version()}; `make dist` builds it")
    return f"{SERVER}/{checked(repo)}/releases/download/v{version()}/{wheel.name}#sha256={sha256(wheel)}"


def checked(repo: str) -> str:
    """Return `repo`, or raise ValueError where it does not read ``owner/name``."""
    if not REPO.fullmatch(repo):
        raise ValueError(f"{repo!r} is not a repository; write it as owner/name")
    return repo


def setup_cell(source: str = "") -> str:
    """Return the set-up cell, the same in every notebook.

    Parameters
    ----------
    source : str
        What pip installs on Colab; empty where no address is known, and then the cell stops there.

    Returns
    -------
    str
    """
    text = SETUP_CELL.read_text(encoding="utf-8").strip()
    return text.replace('source = ""', f'source = "{source}"').replace('setup("")', f'setup("{version()}")')


def with_address(notebook: NotebookNode, name: str, repo: str = "", source: str = "") -> NotebookNode:
    """Write an address into a notebook, or remove the one it has.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place.
    name : str
        Of its file.
    repo : str
        ``owner/name``, for the badge; empty: no badge.
    source : str
        What its set-up cell installs; empty: nothing.

    Returns
    -------
    NotebookNode
        The same one.

    Raises
    ------
    ValueError
        If it has not one set-up cell, or no line with its run time in the first cell.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(FOLDED)]
    title = notebook.cells[0]
    if len(cells) != 1 or not RUN_TIME.search(title.source):
        raise ValueError(f"{name} lacks its set-up cell, or the line with its run time in the first cell")
    cells[0].source = setup_cell(source)
    cells[0].metadata.update(HIDDEN)
    title.source = BADGE.sub("", title.source)
    if repo:
        badge = f"{OPEN}({COLAB}/github/{repo}/blob/{BRANCH}/notebooks/{name})"
        title.source = RUN_TIME.sub(lambda line: f"{line[0]}\n\n{badge}", title.source, count=1)
    return notebook


def write_addresses(folder: Path, repo: str = "", source: str = "") -> list[str]:
    """Bring every notebook of a folder up to date; nothing else in them changes.

    Parameters
    ----------
    folder : Path
    repo, source : str
        As for :func:`with_address`.

    Returns
    -------
    list[str]
        The names of those that were rewritten.
    """
    changed = []
    for path in choose(folder, []):
        before, after = path.read_text(encoding="utf-8"), read(path)
        text = nbformat.writes(with_address(after, path.name, repo, source)) + "\n"
        if text != before:
            write_text(path, text)
            changed.append(path.name)
    return changed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0, or 2 after bad input."""
    parser = argparse.ArgumentParser("python -m tools.badges", description=__doc__.splitlines()[0])
    parser.add_argument("--repo", default="", metavar="OWNER/NAME", help="the repository on GitHub; without it: none")
    pinned = parser.add_mutually_exclusive_group()
    pinned.add_argument("--commit", metavar="HEX", help="the commit to install, 40 hexadecimal digits")
    pinned.add_argument("--wheel", type=Path, metavar="FILE", help="the release's wheel to install")
    given = parser.parse_args(arguments)
    if bool(given.repo) != bool(given.commit or given.wheel):
        parser.error("--repo needs --commit or --wheel, and they need --repo")
    source = ""
    try:
        if given.repo:
            source = of_release(given.repo, given.wheel) if given.wheel else at_commit(given.repo, given.commit)
    except ValueError as error:
        parser.error(str(error))
    for name in write_addresses(NOTEBOOKS, given.repo, source):
        print(f"rewritten: {name}")
    print(f"The notebooks install {source} on Colab" if source else "The notebooks have no address")
    return 0


if __name__ == "__main__":
    sys.exit(main())
