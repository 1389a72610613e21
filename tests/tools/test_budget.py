"""A notebook over its own time fails; a slower machine gets more."""

import json
import subprocess
import sys

import nbformat
import pytest

from tools import budget
from tools.notebooks import NOTEBOOKS, REPOSITORY, choose


def test_every_notebook_states_a_time_and_every_loop_belongs_to_one():
    kept = json.loads(budget.LOOPS.read_text(encoding="utf-8"))
    paths = choose(NOTEBOOKS, [])
    assert [path.name for path in paths if not budget.stated_seconds(path)] == []
    assert kept
    assert kept.keys() <= {path.name for path in paths}
    assert all(seconds > 0 for seconds in kept.values())


def test_a_machine_of_half_the_speed_may_take_twice_as_long():
    quicker, here, slower = (budget.allowed_seconds(100, 2.0, now) - budget.SLACK for now in (1.0, 2.0, 4.0))
    assert (quicker, here, slower) == (200, 200, 400)


@pytest.mark.slow
@pytest.mark.parametrize(("stated", "code"), [(1, 1), (60, 0)])
def test_a_notebook_fails_by_its_title_alone(tmp_path, stated, code):
    cells = [
        nbformat.v4.new_markdown_cell(f"*Run time on 2 CPU cores: {stated} s the first time, 1 s with caches.*"),
        nbformat.v4.new_code_cell("import time; time.sleep(6)"),
    ]
    path = tmp_path / "slow.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    starter = tmp_path / "starter.py"
    starter.write_text(
        "import json, pathlib, sys\n"
        "from tests.notebooks import nbval_budget\n"
        "from tools import budget\n"
        "budget.LOOPS = pathlib.Path('loops.json')\n"
        "budget.LOOPS.write_text(json.dumps({'slow.ipynb': 1.0}))\n"
        "nbval_budget.REPOSITORY, budget.SLACK, budget.loop_seconds = pathlib.Path(), 0.0, lambda: 1.0\n"
        "import pytest\n"
        "options = ['-q', '-p', 'tests.notebooks.nbval_budget', '--nbval-lax', '--nbval-current-env']\n"
        "sys.exit(pytest.main([*options, sys.argv[1]]))\n"
    )
    done = subprocess.run(
        [sys.executable, starter, "slow.ipynb"], cwd=tmp_path, capture_output=True, text=True,
        env=budget.os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert ("OVER slow" in done.stdout) == bool(code)
