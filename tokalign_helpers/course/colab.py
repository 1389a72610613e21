"""Install what Colab lacks: ``python -m tokalign_helpers.course.colab``, which the notebooks' set-up cell calls there.

``colab_lacks.txt`` holds version and SHA-256 of every file; pip refuses anything else. Colab's own packages stay
what they are, so dependencies are not looked at.
"""

import subprocess
import sys
from pathlib import Path

LACKS = Path(__file__).with_name("colab_lacks.txt")


def main() -> int:
    """Call pip; returns its exit code."""
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    return subprocess.call([sys.executable, "-m", "pip", "install", *options, "-r", str(LACKS)])


if __name__ == "__main__":
    sys.exit(main())
