import os
import re

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import run
from tools.notebooks import NOTEBOOKS, REPOSITORY, WIDGET_VIEW, choose, read

TITLE = "# 01 · A made notebook\n\n*Run time on 2 CPU cores: not measured.*\n\nWords."
CACHED = """import os, sys
from pathlib import Path
cache = Path(os.environ["TOKALIGN_EMBEDDING_CACHE"]) / "vectors"
print("cached" if cache.exists() else "empty", Path.cwd() == Path.cwd().resolve())
cache.write_text("")
print("0%|   | 0/10", file=sys.stderr)"""


def save(path, *sources, title=TITLE):
    notebook = new_notebook(cells=[new_markdown_cell(title), *map(new_code_cell, sources)])
    nbformat.write(notebook, path)
    return notebook


@pytest.mark.slow
def test_write_stores_the_second_run(tmp_path, capsys):
    before = save(tmp_path / "01_made.ipynb", CACHED, "import sys\nprint(sys.executable)", "")
    assert run.main(["--write", "--folder", str(tmp_path)]) == 0
    after = read(tmp_path / "01_made.ipynb")
    assert [cell.id for cell in after.cells] == [cell.id for cell in before.cells]
    assert [cell.execution_count for cell in after.cells[1:]] == [1, 2, None]
    assert after.cells[1].outputs == [new_output("stream", name="stdout", text="cached True\n")]
    assert os.path.samefile(after.cells[2].outputs[0].text.strip(), run.sys.executable)
    assert after.metadata == run.METADATA
    assert re.search(r"cores: [1-9]\d* s the first time, [1-9]\d* s with cached", after.cells[0].source)
    assert list(tmp_path.iterdir()) == [tmp_path / "01_made.ipynb"]
    assert " ok " in capsys.readouterr().out


@pytest.mark.slow
def test_more_data_makes_outputs_and_takes_no_time(tmp_path, monkeypatch):
    monkeypatch.setenv(run.DATA, "a folder")
    seen = tmp_path / "seen"
    look = f"import os\nfolder = os.environ.get({run.DATA!r})\nprint(folder, file=open({str(seen)!r}, 'a'))\nfolder"
    save(tmp_path / "01_made.ipynb", look)
    assert run.main(["--write", "--folder", str(tmp_path)]) == 0
    assert seen.read_text().split("\n") == ["None", "None", "a folder", ""]
    assert "a folder" in read(tmp_path / "01_made.ipynb").cells[1].outputs[0].data["text/plain"]


@pytest.mark.slow
def test_a_failing_cell_fails_the_run_and_changes_no_file(tmp_path, capsys):
    save(tmp_path / "01_bad.ipynb", "x = 0", "# the bad cell\n1 / x")
    save(tmp_path / "02_other.ipynb", "x = 0")
    before = (tmp_path / "01_bad.ipynb").read_bytes()
    assert run.main(["--write", "--only", "01", "--folder", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "FAILED" in out
    assert "| # the bad cell" in out
    assert "ZeroDivisionError: division by zero" in out
    assert "02_other" not in out
    assert (tmp_path / "01_bad.ipynb").read_bytes() == before


@pytest.mark.slow
def test_an_output_is_never_replaced_by_skipped(tmp_path, monkeypatch, capsys):
    look = "import os\nprint('0.531' if os.environ.get('MADE_DATA') else 'no data here: skipped')"
    save(tmp_path / "01_made.ipynb", look)
    monkeypatch.setenv("MADE_DATA", "a folder")
    assert run.main(["--write", "--folder", str(tmp_path)]) == 0
    stored = (tmp_path / "01_made.ipynb").read_bytes()
    assert b"0.531\\n" in stored
    monkeypatch.delenv("MADE_DATA")
    capsys.readouterr()
    assert run.main(["--write", "--folder", str(tmp_path)]) == 1
    assert "printed 'no data here: skipped' where its stored output has results" in capsys.readouterr().out
    assert (tmp_path / "01_made.ipynb").read_bytes() == stored


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ({"a": "0.531"}, {"a": "skipped"}, True),
        ({"a": "0.531"}, {"a": "0.532"}, False),
        ({"a": "no data: skipped"}, {"a": "no data: skipped"}, False),
        ({}, {"a": "skipped"}, False),
        ({"a": ""}, {"a": "skipped"}, False),
        ({"a": "0.531"}, {"a": "the first line is skippedly read"}, False),
    ],
)
def test_what_is_lost(before, after, lost):
    assert bool(run.newly_skipped(before, after)) is lost


def test_a_kernel_that_dies_is_a_failure(tmp_path):
    save(tmp_path / "01_dead.ipynb", "import os\nos._exit(1)")
    outcome = run.run_once(tmp_path / "01_dead.ipynb", cold=True)
    assert "DeadKernelError" in outcome.error


def test_cold_means_an_empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(run.CACHE, str(tmp_path))
    (tmp_path / "vectors").write_text("")
    save(tmp_path / "01_made.ipynb", CACHED.replace("print(", "assert not cache.exists(); print(", 1))
    cold = run.run_once(tmp_path / "01_made.ipynb", cold=True)
    assert (cold.error, cold.megabytes > 10) == ("", True)


def test_no_notebook_is_a_failure(tmp_path):
    with pytest.raises(SystemExit, match=f"no notebook in {tmp_path}"):
        run.main(["--folder", str(tmp_path)])


def test_a_title_without_a_run_time_line_is_an_error():
    with pytest.raises(ValueError, match="has no line"):
        run.with_run_time("# 01 · A title", 1, 2)


def test_run_time_line():
    found = run.with_run_time(TITLE, 41.2, 3.4)
    assert "\n*Run time on 2 CPU cores: 41 s the first time, 3 s with cached embeddings.*\n" in found
    assert found.endswith("Words.")


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "1 s"), (41.4, "41 s"), (119, "119 s"), (200, "3 min")])
def test_duration(seconds, said):
    assert run.duration(seconds) == said


def test_clean_keeps_what_readers_need():
    widget = new_output("display_data", data={"text/plain": "HBox()", WIDGET_VIEW: {"model_id": "a"}})
    picture = new_output("display_data", data={"image/png": "aGk="})
    bar = new_output("stream", name="stderr", text="0%|  |")
    metadata = {"tags": ["x"], "cellView": "form", "execution": {"t": "now"}}
    notebook = new_notebook(cells=[new_code_cell("x", outputs=[widget, picture, bar], metadata=metadata)])
    notebook.metadata = nbformat.from_dict({"widgets": {}, "kernelspec": {"name": "other"}})
    notebook.nbformat_minor = 4
    del notebook.cells[0]["id"]
    run.clean(notebook)
    assert notebook.metadata == run.METADATA
    assert notebook.cells[0].outputs == [picture]
    assert notebook.cells[0].metadata == {"tags": ["x"], "cellView": "form"}
    assert (notebook.cells[0].id, notebook.nbformat_minor) == ("cell-00", 5)


def test_clean_leaves_nothing_that_differs_from_run_to_run():
    def ran():
        table = pd.DataFrame({"a": ["at 0xff"]}).style.set_properties(color="red")
        data = {"text/html": table.to_html(), "text/plain": repr(table)}
        cells = [new_code_cell("x", id="c1", outputs=[new_output("execute_result", data=data)])]
        return new_notebook(cells=cells)

    first, second = ran(), ran()
    assert first != second
    run.clean(first)
    run.clean(second)
    assert first == second
    data = first.cells[0].outputs[0].data
    assert "T_c1_0_row0_col0" in data["text/html"] and "at 0xff" in data["text/html"]
    assert data["text/plain"] == "<pandas.io.formats.style.Styler object>"


def test_memory_is_read_without_psutil(monkeypatch):
    monkeypatch.setattr(run, "psutil", None)
    seen = run.resident_megabytes(os.getpid())
    assert seen > 10 or not os.path.exists("/proc/self/status")


def test_the_first_notebook_and_the_readme_list_the_whole_course():
    first, *others = choose(NOTEBOOKS, [])
    listed = {"readme": (REPOSITORY / "README.md").read_text(encoding="utf-8")}
    listed["first"] = "\n".join(cell.source for cell in read(first).cells if cell.cell_type == "markdown")
    for name, text in listed.items():
        lacking = [path.name for path in others if f"{path.name}) |" not in text]
        assert lacking == [], name
