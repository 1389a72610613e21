# @title Set-up
import sys

if "google.colab" in sys.modules:  # everywhere else, the package is installed already
    import re
    import subprocess

    source = ""
    if not re.search(r"^git\+https://\S+@[0-9a-f]{40}$|\.whl#sha256=[0-9a-f]{64}$", source):
        raise RuntimeError(
            "This copy of the notebook does not say what to install on Colab. Open it from the "
            "branch 'colab' of its repository, or run `make badges REPO=owner/name REF=commit` "
            "there first."
        )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.check_call([*pip, f"tokalign-helpers @ {source}"])
    subprocess.check_call([sys.executable, "-m", "tokalign_helpers.course.colab"])

from tokalign_helpers.course.start import np, pd, plots, ta, torch, widgets  # noqa: F401

ta.setup("")
