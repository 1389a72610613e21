"""What Colab installs is pinned file by file, and pip refuses what differs."""

import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

from tokalign_helpers.course import colab as on_colab
from tools import colab
from tools.notebooks import REPOSITORY

PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
PINNED = ["tokalign_helpers/course/colab_lacks.txt", "tools/colab_has.txt", "docs/site/requirements.txt"]


def name(text):
    return re.sub(r"[-_.]+", "-", text).lower()


def pins(file):
    return {name(found[1]): found[2] for found in PIN.finditer((REPOSITORY / file).read_text(encoding="utf-8"))}


@pytest.mark.parametrize("file", PINNED)
def test_every_package_has_a_version_and_hashes(file):
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if not entry.startswith("#")]
    assert entries
    bare = [e for e in entries if not re.match(r"[\w.-]+==[^*\s]+( ; [^\\]+)? \\\n    --hash=sha256:[0-9a-f]{64}", e)]
    assert bare == []


def test_what_colab_has_and_what_it_lacks_is_what_the_package_needs():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {name(re.match(r"[\w.-]+", line)[0]) for line in project["dependencies"]}
    lacks, has = pins(PINNED[0]), pins(PINNED[1])
    assert lacks.keys() <= needed
    assert needed - lacks.keys() - has.keys() == {"torch"}, "run make pins, with the new package in the Makefile"
    assert not lacks.keys() & has.keys()


def test_what_colab_lacks_has_the_versions_of_the_lock():
    lock, lacks = pins("requirements.lock"), pins(PINNED[0])
    assert {key: lock.get(key) for key in lacks} == lacks


def test_what_colab_lacks_is_installed_by_hash_and_alone(monkeypatch):
    called = []
    monkeypatch.setattr(subprocess, "call", lambda command: called.append(command) or 3)
    assert on_colab.main() == 3
    assert {"--require-hashes", "--no-deps"} < set(called[0])
    assert called[0][-1].endswith("colab_lacks.txt")


@pytest.mark.parametrize("changed", [False, True])
def test_pip_takes_a_wheel_by_path_and_sha256_and_refuses_a_changed_one(changed, tmp_path):
    wheel = tmp_path / "tokalign_helpers-0.0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("tokalign_helpers/__init__.py", "")
        packed.writestr(
            "tokalign_helpers-0.0.1.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tokalign-helpers\nVersion: 0.0.1\n",
        )
        packed.writestr(
            "tokalign_helpers-0.0.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        packed.writestr("tokalign_helpers-0.0.1.dist-info/RECORD", "")
    source = colab.of_file(wheel)
    if changed:
        with zipfile.ZipFile(wheel, "a") as packed:
            packed.writestr("tokalign_helpers/more.py", "")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", tmp_path / "made"]
    done = subprocess.run([*command, f"tokalign-helpers @ {source}"], capture_output=True, text=True)
    assert (done.returncode == 0) != changed, done.stderr
    assert (tmp_path / "made" / "tokalign_helpers").exists() != changed
    assert ("DO NOT MATCH THE HASHES" in done.stderr) == changed


def test_a_stand_in_kernel_believes_that_it_is_colabs_and_sees_no_checkout():
    look = "import sys; print('google.colab' in sys.modules, sys.path)"
    done = subprocess.run(
        [sys.executable, "-c", look], env=colab.environment(), capture_output=True, text=True, cwd="/"
    )
    assert done.stdout.startswith("True"), done.stderr
    assert colab.environment()["PYTHONPATH"] == str(colab.STAND_IN)
