"""The package knows nothing of the tools, and the tools nothing of the tests; the wheel carries the package alone."""

import ast
import importlib
import re
import tomllib
import zipfile

import pytest

from tools.dist import beside_the_package
from tools.notebooks import REPOSITORY

COMMANDS = [path.stem for path in (REPOSITORY / "tools").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")]


def imported(folder):
    """Return the top-level names that a folder's modules import, by file."""
    found = {}
    for path in (REPOSITORY / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                found.setdefault(name.partition(".")[0], set()).add(path.name)
    return found


@pytest.mark.parametrize(
    ("folder", "above"), [("tokalign_helpers", "tools"), ("tokalign_helpers", "tests"), ("tools", "tests")]
)
def test_imports_go_downwards(folder, above):
    assert above not in imported(folder)


def test_what_builds_the_pages_needs_none_of_the_courses_packages():
    """Its environment holds docs/site/requirements.txt alone; what the live page's model needs is imported late."""
    for path in (REPOSITORY / "docs" / "site").glob("*.py"):
        first = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
        assert [node.module for node in first if node.module.startswith(("tokalign_helpers", "torch"))] == [], path


def test_the_readme_of_the_tools_lists_each_of_them():
    text = (REPOSITORY / "tools" / "README.md").read_text(encoding="utf-8")
    modules = {path.stem for path in (REPOSITORY / "tools").glob("*.py")} - {"__init__"}
    assert [name for name in sorted(modules) if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--wirte", 2)])
def test_a_tool_explains_itself_and_refuses_what_it_does_not_know(name, argument, code, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"tools.{name}").main([argument])
    assert ended.value.code == code
    said = capsys.readouterr()
    assert f"tools.{name}" in (said.err or said.out).replace("tools/install.py", "tools.install")


def test_no_tool_is_packaged():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["setuptools"]["packages"]
    assert {name.partition(".")[0] for name in packages} == {"tokalign_helpers"}


def test_a_wheel_with_something_beside_the_package_is_noticed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        for name in ("tokalign_helpers/__init__.py", "tokalign_helpers-1.dist-info/METADATA", "tools/run.py"):
            wheel.writestr(name, "")
    assert beside_the_package(tmp_path / "a.whl") == ["tools"]


@pytest.mark.parametrize("file", [".github/workflows/ci.yml", ".github/workflows/release.yml", "Makefile"])
def test_every_test_and_tool_that_is_called_is_there(file):
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    paths = re.findall(r"(?<![\w/.-])(?:tests|tools|data|docs)/[\w/]+\.\w+", text)
    paths += [f"{name.replace('.', '/')}.py" for name in re.findall(r"\b(?:tools|tests\.\w+)\.[a-z]\w*", text)]
    assert paths
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def test_one_job_of_ci_skips_none_of_the_tests_that_need_a_browser():
    text = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    pages = text.partition("\n  handout:\n")[2].partition("\n  embeddings:\n")[0]
    assert "tests/notebooks/test_site.py tests/notebooks/test_live.py" in pages
    assert "grep SKIPPED" in pages
