"""``python -m tokalign_helpers.exercises grade notebook.ipynb``: which answers of a submitted notebook are right."""

import argparse
import sys
from pathlib import Path

sys.path[:] = [
    place for place in sys.path if place not in ("", str(Path.cwd())) or (Path(place) / "tokalign_helpers").is_dir()
]

from tokalign_helpers.basics.assets import AssetError, default_model_path  # noqa: E402 - not out of the folder of submissions
from tokalign_helpers.exercises.grader import kernel  # noqa: E402
from tokalign_helpers.exercises.grader.command import Worker, grade_all  # noqa: E402

CANNOT_CONFINE = 4


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list[str], optional
        Default: those of the process.

    Returns
    -------
    int
        0 when every answer is right, 1 when one is not, 2 when there is no model or the arguments are wrong, 3 when a
        notebook could not be judged, 4 when this kernel cannot confine an answer.
    """
    parser = argparse.ArgumentParser(prog="python -m tokalign_helpers.exercises", description=__doc__)
    grading = parser.add_subparsers(required=True, metavar="grade").add_parser("grade", help="grade notebooks")
    grading.add_argument("notebooks", nargs="+", type=Path, help="submitted notebooks")
    grading.add_argument("--seconds", type=float, default=180, help="for each answer (180)")
    grading.add_argument("--gigabytes", type=float, default=8, help="address space of an answer (8)")
    grading.add_argument("--csv", action="store_true", help="print comma-separated values")
    grading.add_argument(
        "--unsafe", action="store_true", help="run answers even where the kernel cannot confine them: your own, only"
    )
    given = parser.parse_args(arguments)
    if not (given.unsafe or kernel.is_confining()):
        print(
            "error: this system cannot confine a learner's code (it takes Linux 5.13 or later with Landlock and seccomp, on "
            "x86-64 or aarch64). Grade in a container, as docs/instructors.md shows, or say --unsafe if you trust every "
            "submission",
            file=sys.stderr,
        )
        return CANNOT_CONFINE
    try:
        default_model_path()
    except AssetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    worker = Worker(given.seconds, given.gigabytes, given.unsafe)
    try:
        return grade_all(given.notebooks, worker, as_csv=given.csv)
    finally:
        worker.close()


if __name__ == "__main__":
    sys.exit(main())
