"""A release writes its own address into the notebooks; what is committed has none."""

import shutil
import subprocess
import sys
import tomllib

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import badges
from tools.notebooks import NOTEBOOKS, REPOSITORY, choose, read

GIT = "git+" + "https"  # in two: no file of the repository has an address of its own
REPO, COMMIT = "some-one/course", "0123456789abcdef0123456789abcdef01234567"
PINNED = f"{GIT}://github.com/{REPO}@{COMMIT}"
PATHS = choose(NOTEBOOKS, [])
TITLE = "# 01 · A\n\n*Run time on 2 CPU cores: 1 s.*\n\nBefore: nothing."


@pytest.fixture
def folder(tmp_path):
    for path in PATHS:
        shutil.copy(path, tmp_path)
    return tmp_path


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in choose(folder, [])}


def test_committed_notebooks_have_no_address_and_one_set_up_cell(folder):
    assert badges.write_addresses(folder) == [], "run make badges"
    cells = [cell for path in PATHS for cell in read(path).cells if cell.source.startswith(badges.FOLDED)]
    assert {cell.source for cell in cells} == {badges.setup_cell()}
    assert all(cell.metadata == badges.HIDDEN for cell in cells)


def test_an_address_is_written_everywhere_once_and_removed_without_a_trace(folder):
    before = bytes_of(folder)
    assert badges.write_addresses(folder, REPO, PINNED) == [path.name for path in PATHS]
    written = bytes_of(folder)
    for path in choose(folder, []):
        text = "\n".join(cell.source for cell in read(path).cells)
        assert text.count(f"colab.research.google.com/github/{REPO}/blob/colab/notebooks/{path.name})") == 1
        assert text.count(f'source = "{PINNED}"') == 1
        assert [cell.get("outputs") for cell in read(path).cells] == [
            cell.get("outputs") for cell in read(NOTEBOOKS / path.name).cells
        ]
    assert badges.write_addresses(folder, REPO, PINNED) == []
    assert bytes_of(folder) == written
    badges.write_addresses(folder, "other/fork", PINNED.replace(REPO, "other/fork"))
    assert all(REPO.encode() not in content for content in bytes_of(folder).values())
    badges.write_addresses(folder)
    assert bytes_of(folder) == before


@pytest.mark.parametrize("commit", ["main", "v0.1.0", COMMIT[:12], COMMIT + "0", COMMIT.upper(), ""])
def test_what_can_be_moved_is_no_commit(commit):
    with pytest.raises(ValueError, match="40 hexadecimal digits; `git rev-parse HEAD`"):
        badges.at_commit(REPO, commit)


@pytest.mark.parametrize("repo", ["course", "https://x.org/a/b", "a/b/c", "a b/c", 'a/b"', "/b", "-a/b", ""])
def test_a_repository_has_an_owner_and_a_name(repo):
    with pytest.raises(ValueError, match="write it as owner/name"):
        badges.at_commit(repo, COMMIT)


def test_a_release_is_pinned_by_the_sha256_of_its_wheel(tmp_path):
    wheel = tmp_path / f"tokalign_helpers-{badges.version()}-py3-none-any.whl"
    wheel.write_bytes(b"abc")
    found = badges.of_release(REPO, wheel)
    assert found.startswith(
        f"https://github.com/{REPO}/releases/download/v{badges.version()}/{wheel.name}#sha256=ba7816"
    )
    for other in (tmp_path / "tokalign_helpers-9.9.9-py3-none-any.whl", tmp_path / "missing.whl"):
        with pytest.raises(ValueError, match="`make dist` builds it"):
            badges.of_release(REPO, other)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--repo", REPO],
        ["--commit", COMMIT],
        ["--repo", REPO, "--commit", "main"],
        ["--repo", REPO, "--wheel", "no.whl"],
    ],
)
def test_half_an_address_is_refused_and_nothing_written(arguments, folder, monkeypatch, capsys):
    monkeypatch.setattr(badges, "NOTEBOOKS", folder)
    before = bytes_of(folder)
    with pytest.raises(SystemExit, match="2"):
        badges.main(arguments)
    assert "error: " in capsys.readouterr().err
    assert bytes_of(folder) == before


def test_by_hand(folder, monkeypatch, capsys):
    monkeypatch.setattr(badges, "NOTEBOOKS", folder)
    assert badges.main(["--repo", REPO, "--commit", COMMIT]) == 0
    assert f"The notebooks install {PINNED} on Colab" in capsys.readouterr().out
    assert badges.main([]) == 0
    assert capsys.readouterr().out.endswith("The notebooks have no address\n")
    assert bytes_of(folder) == bytes_of(NOTEBOOKS)


@pytest.mark.parametrize(
    "cells", [[new_markdown_cell(TITLE)], [new_markdown_cell("# 01 · A"), new_code_cell(badges.FOLDED)]]
)
def test_a_notebook_without_a_place_for_it_is_refused(cells):
    with pytest.raises(ValueError, match="a.ipynb lacks its set-up cell, or the line with its run time"):
        badges.with_address(new_notebook(cells=cells), "a.ipynb")


def colab_part(source, monkeypatch):
    """Run the set-up cell's part for Colab; return what it called."""
    calls = []
    monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setattr(subprocess, "check_call", lambda command, **_: calls.append(command))
    cell = badges.setup_cell(source)
    exec(cell[: cell.index("\nfrom tokalign_helpers")], {})
    return calls


@pytest.mark.parametrize(
    "source",
    [
        "",
        "tokalign-helpers",
        f"{GIT}://github.com/{REPO}",
        f"{GIT}://github.com/{REPO}@main",
        f"{GIT}://github.com/{REPO}@v0.1.0",
        f"{GIT}://github.com/{REPO}@{COMMIT[:7]}",
        f"{PINNED}0",
        f"git+http://github.com/{REPO}@{COMMIT}",
        "https://x.org/tokalign_helpers-0.1.0-py3-none-any.whl",
        "https://x.org/tokalign_helpers-0.1.0-py3-none-any.whl#sha256=abc",
        "https://x.org/tokalign_helpers-0.1.0-py3-none-any.whl#md5=" + 64 * "a",
    ],
)
def test_the_set_up_cell_installs_nothing_from_an_address_that_is_not_pinned(source, monkeypatch):
    with pytest.raises(RuntimeError, match="run `make badges REPO=owner/name REF=commit`") as caught:
        colab_part(source, monkeypatch)
    assert "\n" not in str(caught.value)
    assert subprocess.check_call.__closure__[0].cell_contents == []


@pytest.mark.parametrize("source", [PINNED, f"https://x.org/a-1-py3-none-any.whl#sha256={64 * 'a'}"])
def test_the_set_up_cell_installs_what_is_pinned_by_its_address_and_the_rest_by_hash(source, monkeypatch):
    first, second = colab_part(source, monkeypatch)
    assert first[1:] == ["-m", "pip", "install", "--quiet", "--no-deps", f"tokalign-helpers @ {source}"]
    assert second[1:] == ["-m", "tokalign_helpers.course.colab"]


def test_the_set_up_cell_looks_for_no_package_elsewhere(monkeypatch):
    monkeypatch.setattr(subprocess, "check_call", pytest.fail)
    cell = badges.setup_cell()
    exec(cell[: cell.index("\nfrom tokalign_helpers")], {})


def test_the_version_in_the_cell_is_that_of_the_project():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f'ta.setup("{project["version"]}")' in badges.setup_cell()
