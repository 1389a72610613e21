"""What a newcomer meets before the first cell: the lock, the installer, the copies to work in."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from packaging.markers import Marker

from tools import install, lab, lock
from tools.notebooks import without_outputs
from tools.working_copy import refresh

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKED = install.entries(install.LOCK.read_text(encoding="utf-8"))
CUDA = install.entries(install.CUDA_LOCK.read_text(encoding="utf-8"))
PLATFORMS = {
    "linux x86_64": ("linux", "x86_64", "Linux", "posix"),
    "linux aarch64": ("linux", "aarch64", "Linux", "posix"),
    "mac": ("darwin", "arm64", "Darwin", "posix"),
    "windows": ("win32", "AMD64", "Windows", "nt"),
}
PYTHONS = ("3.11.2", "3.12.0", "3.13.5", "3.14.0")


def pins(entry, python, platform):
    """Return the versions that an entry of the lock has for one Python on one platform."""
    system, machine, name, os_name = PLATFORMS[platform]
    there = {
        "python_full_version": python, "python_version": python.rpartition(".")[0], "sys_platform": system,
        "platform_machine": machine, "platform_system": name, "os_name": os_name, "implementation_name": "cpython",
    }  # fmt: skip
    heads = [line.removesuffix(" \\") for line in entry.splitlines() if not line.startswith(" ")]
    parts = [head.partition(" ; ") for head in heads]
    return [pin for pin, _, marker in parts if not marker or Marker(marker).evaluate(there)]


# --- the lock -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [install.LOCK, install.CUDA_LOCK])
def test_every_package_of_a_lock_has_an_exact_version_and_hashes(path):
    text = path.read_text(encoding="utf-8")
    body = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    assert "".join(install.entries(text).values()) == body
    for entry in install.entries(text).values():
        assert re.fullmatch(r"[\w.-]+==[\w.!]+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n", entry), entry
    assert not re.search(r"https?:|file:|--index|--find", body)


def test_the_lock_has_one_version_of_everything_for_every_python_and_platform():
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    names = {re.match(r"[\w-]+", requirement)[0].lower() for requirement in wanted if ";" not in requirement}
    assert len(names) > 20
    for python in PYTHONS:
        for platform in PLATFORMS:
            found = {name: pins(entry, python, platform) for name, entry in LOCKED.items()}
            assert [name for name in names if len(found.get(name, ())) != 1] == [], (python, platform)
            assert [pin for pin in found.values() if len(pin) > 1] == []


def test_only_the_second_lock_has_what_cuda_needs_and_only_for_linux():
    assert not [name for name in LOCKED if lock.CUDA.fullmatch(name)]
    assert {"nvidia-cublas", "triton"} <= set(CUDA)
    for entry in CUDA.values():
        assert [pins(entry, "3.13.5", platform) for platform in ("mac", "windows")] == [[], []]


def test_torch_may_come_from_either_index():
    hashes = lock.HASH.findall(LOCKED["torch"])
    assert len(hashes) == len(set(hashes)) >= 24  # 4 Pythons: 4 platforms on PyPI, 2 processors without CUDA
    assert "torch==2.13.0 " in LOCKED["torch"]


def test_pythons_without_a_wheel_find_what_the_source_is_built_with():
    for python in PYTHONS:
        found = [pins(LOCKED[name], python, "linux x86_64") for name in install.BUILD]
        assert all(found) == (python >= "3.14")
    assert PROJECT["requires-python"] == ">=" + ".".join(map(str, install.OLDEST))


PAGE = """<a href="/whl/cpu/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl#sha256=A">
<a href="/whl/cpu/torch-2.13.0%2Bcpu-cp314-cp314-manylinux_2_28_aarch64.whl#sha256=B">
<a href="/whl/cpu/torch-2.13.0%2Bcpu-cp314-cp314t-manylinux_2_28_x86_64.whl#sha256=C">
<a href="/whl/cpu/torch-2.13.0%2Bcpu-cp310-cp310-manylinux_2_28_x86_64.whl#sha256=D">
<a href="/whl/cpu/torch-2.12.1%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl#sha256=E">
<a href="/whl/cpu/torch-2.13.0%2Bcpu-cp312-cp312-win_amd64.whl#sha256=F">"""


def test_the_hashes_without_cuda_are_read_from_the_index():
    page = re.sub(r"sha256=(\w)", lambda found: "sha256=" + found[1].lower() * 64, PAGE)
    assert lock.cpu_hashes(page, "2.13.0") == [f"sha256:{letter * 64}" for letter in "ab"]


def test_hashes_are_added_once():
    entry = "x==1 ; os_name == 'nt' \\\n    --hash=sha256:" + "b" * 64 + "\n"
    more = ["sha256:" + "a" * 64, "sha256:" + "b" * 64]
    lines = lock.with_hashes(entry, more).splitlines()
    assert lines == [
        "x==1 ; os_name == 'nt' \\", f"    --hash={more[0]} \\", f"    --hash={more[1]}"
    ]  # fmt: skip
    assert lock.without_hashes(entry) == "x==1 ; os_name == 'nt'\n"


def test_packages_for_two_pythons_keep_both_entries():
    found = install.entries("a==1 ; x \\\n    --hash=sha256:0\nA==2 ; y \\\n    --hash=sha256:1\nb_c==3\n")
    assert list(found) == ["a", "b-c"]
    assert found["a"].count("\n") == 4


# --- the installer --------------------------------------------------------------------------------------------------


def environment(folder, **stamp):
    """Make something that looks like an environment, finished as the stamp says."""
    python = install.python_of(folder)
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (folder / "pyvenv.cfg").touch()
    if stamp:
        (folder / install.STAMP).write_text(json.dumps(stamp))
    return folder


@pytest.fixture
def steps(monkeypatch):
    """Write down what is built and installed in place of doing it."""
    done = []
    monkeypatch.setattr(
        install,
        "build",
        lambda venv: (done.append("build"), shutil.rmtree(venv, ignore_errors=True), environment(venv)),
    )
    monkeypatch.setattr(install, "install", lambda python: done.append("install"))
    return done


def test_an_environment_is_made_once(tmp_path, steps, capsys):
    for _ in range(2):
        install.bring_up_to_date(tmp_path / "venv")
    assert steps == ["build", "install"]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("change", "said", "wanted"),
    [
        (lambda venv: (venv / install.STAMP).unlink(), "never finished", ["build", "install"]),
        (lambda venv: (venv / install.STAMP).write_text(""), "never finished", ["build", "install"]),
        (lambda venv: (venv / install.STAMP).write_text("[]"), "never finished", ["build", "install"]),
        (lambda venv: install.python_of(venv).unlink(), "is gone", ["build", "install"]),
        (lambda venv: stamp(venv, clone="/old place"), "has been moved", ["build", "install"]),
        (lambda venv: stamp(venv, place="/old place/.venv"), "has been moved", ["build", "install"]),
        (lambda venv: stamp(venv, sources="0"), "lock has changed", ["install"]),
        (lambda venv: None, "", []),
    ],
)
def test_what_is_wrong_with_an_environment_is_repaired(tmp_path, steps, capsys, change, said, wanted):
    venv = environment(tmp_path / "venv", **install.fingerprint(tmp_path / "venv"))
    change(venv)
    install.bring_up_to_date(venv)
    assert steps == wanted
    assert said in capsys.readouterr().out
    assert install.stamped(venv) == install.fingerprint(venv)


def stamp(venv, **changed):
    (venv / install.STAMP).write_text(json.dumps({**install.fingerprint(venv), **changed}))


def test_an_installation_that_breaks_off_counts_as_never_finished(tmp_path, steps, monkeypatch, capsys):
    venv = environment(tmp_path / "venv", **{**install.fingerprint(tmp_path / "venv"), "sources": "0"})
    monkeypatch.setattr(install, "install", lambda python: (_ for _ in ()).throw(install.Problem("no network")))
    assert install.main(["--venv", str(venv)]) == 1
    assert capsys.readouterr().err == "no network\n"
    assert "never finished" in install.why_anew(venv, install.fingerprint(venv))


def test_a_folder_with_something_else_in_it_is_not_emptied(tmp_path, capsys):
    mine = tmp_path / "notes"
    mine.mkdir()
    (mine / "mine.txt").write_text("mine")
    for venv in (mine, mine / "mine.txt"):
        assert install.main(["--venv", str(venv)]) == 1
        assert capsys.readouterr().err == f"{venv} is not empty and not a virtual environment; name another folder\n"
    assert (mine / "mine.txt").read_text() == "mine"


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """A pip that writes down what it would install; of PyTorch's index, it says what the test wants."""

    class Written(install.Pip):
        index, asked = True, []

        def install(self, *arguments):
            self.asked.append(" ".join(map(str, arguments)))
            return self.index or install.CPU_INDEX not in arguments

    monkeypatch.setattr(install, "Pip", Written)
    monkeypatch.setattr(install.sys, "platform", "linux")
    Written.asked = []
    return Written


def test_torch_comes_without_cuda_where_there_is_no_gpu(pip, monkeypatch, capsys):
    monkeypatch.setattr(install, "has_gpu", lambda: False)
    install.install(Path("python"))
    first, *rest = pip.asked
    assert install.CPU_INDEX in first
    assert "--require-hashes" in first
    assert not [command for command in rest if install.CPU_INDEX in command]
    assert "no NVIDIA GPU" in capsys.readouterr().out


@pytest.mark.parametrize(("gpu", "index"), [(True, True), (False, False)])
def test_torch_comes_with_cuda_for_a_gpu_or_where_its_index_is_out_of_reach(pip, monkeypatch, capsys, gpu, index):
    monkeypatch.setattr(install, "has_gpu", lambda: gpu)
    files = []
    monkeypatch.setattr(pip, "index", index)
    monkeypatch.setattr(pip, "locked", lambda self, parts, *more: (files.append("".join(parts)), index or not more)[1])
    install.install(Path("python"))
    assert "nvidia-cublas==" in files[-1]
    assert "with CUDA (4.5 GB on disk)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "system", "machine", "said"),
    [
        ((3, 10), "linux", "x86_64", "Python 3.11 to 3.14 is needed, and this is 3.10"),
        ((3, 15), "linux", "x86_64", "and this is 3.15"),
        ((3, 13), "darwin", "x86_64", "Intel"),
        ((3, 11), "linux", "aarch64", None),
        ((3, 14), "win32", "AMD64", None),
    ],
)
def test_where_the_lock_cannot_be_installed_a_line_says_so(version, system, machine, said):
    found = install.unsupported(version, system, machine)
    assert (found is None) if said is None else (said in found and "\n" not in found)


def test_the_installer_needs_nothing_installed():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import install"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, str(ROOT / "tools")], check=True)


# --- the copies to work in ------------------------------------------------------------------------------------------


@pytest.fixture
def course(tmp_path):
    """A course of one executed notebook, and where its copy goes."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write(folder / "00.ipynb", "print(1)")
    return folder, tmp_path / "work"


def write(path, source):
    cell = new_code_cell(source, id="b", outputs=[new_output("stream", text="1\n")], execution_count=3)
    nbformat.write(new_notebook(cells=[new_markdown_cell("Predict.", id="a"), cell]), path)


def sources(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells]


def test_the_copy_has_everything_but_outputs(course):
    folder, work = course
    assert refresh(folder, work) == []
    original, copy = (nbformat.read(place / "00.ipynb", as_version=4) for place in course)
    assert copy == without_outputs(original)
    assert (copy.cells[1].outputs, copy.cells[1].execution_count) == ([], None)
    assert original.cells[1].outputs


def test_what_the_learner_wrote_stays(course):
    folder, work = course
    refresh(folder, work)
    (work / "00.ipynb").write_bytes(b"mine, \xff no longer a notebook")
    assert refresh(folder, work) == []
    write(folder / "00.ipynb", "print(2)")
    said = refresh(folder, work)
    fresh = next(work.glob("00-new-*.ipynb"))
    assert said == [f"00.ipynb has changed: yours stays, the new one is work/{fresh.name}"]
    assert (work / "00.ipynb").read_bytes() == b"mine, \xff no longer a notebook"
    assert sources(fresh) == ["Predict.", "print(2)"]
    fresh.write_text("also mine")
    write(folder / "00.ipynb", "print(3)")
    refresh(folder, work)
    write(folder / "00.ipynb", "print(2)")
    refresh(folder, work)
    assert fresh.read_text() == "also mine"
    assert (work / "00.ipynb").read_bytes().startswith(b"mine")


def test_a_copy_that_nobody_changed_follows_the_course(course):
    folder, work = course
    refresh(folder, work)
    write(folder / "00.ipynb", "print(2)")
    assert refresh(folder, work) == []
    assert sources(work / "00.ipynb") == ["Predict.", "print(2)"]
    assert list(work.glob("*-new-*")) == []


def test_a_copy_that_was_thrown_away_comes_back_and_one_of_unknown_origin_stays(course):
    folder, work = course
    refresh(folder, work)
    (work / "00.ipynb").unlink()
    refresh(folder, work)
    assert sources(work / "00.ipynb") == ["Predict.", "print(1)"]
    (work / ".course.json").write_text("[")
    (work / "00.ipynb").write_text("mine")
    assert len(refresh(folder, work)) == 1
    assert (work / "00.ipynb").read_text() == "mine"


def test_new_outputs_alone_are_no_new_version(course):
    folder, work = course
    refresh(folder, work)
    (work / "00.ipynb").write_text("mine")
    notebook = nbformat.read(folder / "00.ipynb", as_version=4)
    notebook.cells[1].outputs = []
    nbformat.write(notebook, folder / "00.ipynb")
    assert refresh(folder, work) == []


def test_jupyter_opens_the_copy_and_runs_for_root():
    assert lab.jupyter(1000)[-1].endswith("00_start_here.ipynb")
    assert Path(lab.jupyter(None)[-1]).parent.name == "work"
    assert "--allow-root" in lab.jupyter(0)
    assert "--allow-root" not in lab.jupyter(1000) + lab.jupyter(None)
    assert "work/" in (ROOT / ".gitignore").read_text().split()


# --- other places ---------------------------------------------------------------------------------------------------


def test_the_dev_container_calls_what_there_is():
    found = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    commands = [part.split() for part in found["postCreateCommand"].split("&&")]
    modules = [command[2] for command in commands if command[1:2] == ["-m"]]
    assert (commands[0], modules) == (["make", ".venv/.installed"], ["tokalign_helpers", "tools.working_copy"])
    assert re.search(r"^\$\(VENV\)/\.installed:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_binder_installs_the_lock_and_shows_the_widgets_of_its_version():
    folder = ROOT / ".binder"
    assert "tools/install.py" in (folder / "postBuild").read_text(encoding="utf-8")
    assert os.name == "nt" or (folder / "postBuild").stat().st_mode & 0o111  # Windows knows no such bit
    widgets = re.search(r"^jupyterlab_widgets==(\S+)$", (folder / "requirements.txt").read_text(), re.MULTILINE)
    assert LOCKED["jupyterlab-widgets"].startswith(f"jupyterlab-widgets=={widgets[1]} ")
    assert f"python-{'.'.join(map(str, install.OLDEST))}" <= (folder / "runtime.txt").read_text().strip()


def test_what_the_set_up_says_of_the_readme_is_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "### Where it installs" in readme
    assert "Python {}.{} to {}.{} ".format(*install.OLDEST, *install.NEWEST) in readme
