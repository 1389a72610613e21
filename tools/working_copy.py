"""Copy the notebooks, without outputs, into a folder to work in: ``python -m tools.working_copy``.

The notebooks in ``notebooks`` carry the outputs that their prose speaks of, and the tests compare; whoever learns needs
questions that stand above no answers, and a file that may change. What has been changed is never written over: a newer
version of the course's goes beside it, under a name of its own.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import nbformat

from tokalign_helpers.basics.files import write_text
from tools.notebooks import NOTEBOOKS, REPOSITORY, read, without_outputs

WORK = REPOSITORY / "work"
RECORD = ".course.json"  # in the folder to work in: what was copied there


def refresh(course: Path, work: Path) -> list[str]:
    """Bring a folder of working copies up to date.

    Parameters
    ----------
    course, work : Path
        The notebooks, and where they are worked on. Made where it is missing.

    Returns
    -------
    list[str]
        A line on each notebook of which there is a newer version beside the learner's own.
    """
    work.mkdir(exist_ok=True)
    copied = _record(work)
    said = []
    for source in sorted(course.glob("*.ipynb")):
        text = nbformat.writes(without_outputs(read(source))) + "\n"
        version, mine = _digest(text.encode("utf-8")), work / source.name
        if copied.get(source.name) == version and mine.exists():
            continue
        if _changed(mine, (version, copied.get(source.name))):
            mine = work / f"{source.stem}-new-{version[:6]}.ipynb"
            said.append(f"{source.name} has changed: yours stays, the new one is {work.name}/{mine.name}")
        if not _changed(mine, (version, copied.get(source.name))):
            write_text(mine, text)
        copied = {**copied, source.name: version}
        write_text(work / RECORD, json.dumps(copied, indent=1))
    return said


def _changed(file: Path, versions: Collection[str | None]) -> bool:
    """Return whether a file is there and is none of these versions."""
    return file.exists() and _digest(file.read_bytes()) not in versions


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _record(work: Path) -> Mapping[str, str]:
    """Read which version of each notebook was copied last; without a record, whatever is there counts as changed."""
    try:
        found = json.loads((work / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def main(arguments: list[str] | None = None) -> int:
    """Refresh ``work``; returns 0."""
    argparse.ArgumentParser("python -m tools.working_copy", description=__doc__.splitlines()[0]).parse_args(arguments)
    for line in refresh(NOTEBOOKS, WORK):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
