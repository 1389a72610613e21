"""The repository names no address of its own: whoever registered one would run code on every learner's machine."""

import re
import subprocess

import pytest
import yaml

from tools.notebooks import REPOSITORY

OURS = [
    r"(?:github|gitlab|codeberg|bitbucket)\.(?:com|org)[/:][\w.-]+/[\w.-]+",
    r"raw\.githubusercontent\.com/\w",
    r"[\w-]+\.(?:github|gitlab|readthedocs)\.io\b",
    r"colab\.research\.google\.com/(?:github|gist|drive)/\w",
    r"mybinder\.org/v2/(?!gh/OWNER/NAME/)\w",
    r"nbviewer\.org/\w",
    r"codespaces\.new/\w",
    r"(?:pypi\.org/(?:project|p)|pypistats\.org/packages|anaconda\.org/[\w-]+)/tokalign",
    r"(?:pip|pipx|uv|conda)[\w -]* install\b[^\n]*[ '\"]tokalign(?![\w-]*\.)",
    r"git\+(?:https|ssh)://[\w@]",
]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def tracked():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a checkout: there is no git")
    return [REPOSITORY / file for file in done.stdout.split("\0") if file]


def addresses(text):
    return [found[0] for pattern in OURS for found in re.finditer(pattern, text, re.IGNORECASE)]


def test_no_tracked_file_has_an_address_of_ours():
    found = {}
    for path in tracked():
        if not path.is_file() or path.suffix in (".png", ".safetensors", ".gz"):
            continue
        hits = addresses(path.read_text(encoding="utf-8", errors="replace"))
        if hits:
            found[str(path.relative_to(REPOSITORY))] = hits
    assert found == {}


@pytest.mark.parametrize(
    "parts",
    [
        ("https://github.com", "/a/b"),
        ("git@github.com", ":a/b.git"),
        ("git+https:", "//x.org/y"),
        ("https://a.github", ".io/b"),
        ("https://colab.research.google.com", "/github/a/b/blob/main/c.ipynb"),
        ("https://mybinder.org/v2", "/gh/a/b"),
        ("pip inst", "all 'tokalign-helpers[scale]'"),
        ("python -m pip inst", "all -U tokalign"),
        ("https://pypi.org/project", "/tokalign-helpers"),
    ],
)
def test_an_address_would_be_found(parts):
    assert addresses("".join(parts))


@pytest.mark.parametrize(
    "text", ["https://arxiv.org/abs/2406.17378", "pip install -e '.[scale]'", "https://huggingface.co/a/b"]
)
def test_what_other_people_own_may_be_cited(text):
    assert addresses(text) == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_takes_other_peoples_actions_by_commit(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"^\s*(?:- )?uses:\s*(.*)$", text, re.MULTILINE)
    assert used
    assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_only_a_release_may_write(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    writes = "write" in str([workflow["permissions"], *(job.get("permissions") for job in workflow["jobs"].values())])
    assert writes == (path.stem == "release")
    if writes:  # yaml reads the key `on` as true
        assert workflow[True] == {"push": {"tags": ["v*"]}}


def test_the_release_writes_the_address_of_the_repository_it_runs_in():
    text = (REPOSITORY / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert 'tools.badges --repo "$GITHUB_REPOSITORY" --wheel dist/*.whl' in text
