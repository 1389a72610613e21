"""``python -m tokalign_helpers.exercises grade notebook.ipynb``: which answers of a submitted notebook are right."""

import argparse
import sys
from pathlib import Path

from tokalign_helpers.assets import AssetError, default_model_path
from tokalign_helpers.exercises.grading import Limits, grade


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list[str], optional
        Default: those of the process.

    Returns
    -------
    int
        0 when every answer is right, 1 when one is not, 2 when a file could not be graded.
    """
    parser = argparse.ArgumentParser(prog="python -m tokalign_helpers.exercises", description=__doc__)
    grading = parser.add_subparsers(required=True, metavar="grade").add_parser("grade", help="grade notebooks")
    grading.add_argument("notebooks", nargs="+", type=Path, help="submitted notebooks")
    grading.add_argument("--seconds", type=float, default=Limits.seconds, help="for each answer (180)")
    grading.add_argument("--gigabytes", type=float, default=Limits.gigabytes, help="address space of an answer (8)")
    grading.add_argument("--csv", action="store_true", help="print comma-separated values")
    given = parser.parse_args(arguments)
    status = 0
    try:
        default_model_path()
    except AssetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in given.notebooks:
        try:
            table = grade(path, Limits(given.seconds, given.gigabytes))
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            status = 2
            continue
        table.insert(0, "notebook", path.name)
        print(table.to_csv(index=False) if given.csv else table.to_string(index=False), flush=True)
        status = max(status, int((table["verdict"] != "right").any()))
    return status


if __name__ == "__main__":
    sys.exit(main())
