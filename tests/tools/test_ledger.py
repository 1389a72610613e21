"""The ledger says what the notebooks' stored outputs say, and nothing more."""

import csv
import json
import re
import shutil

import pytest

from tokalign_helpers.course.claims import COLUMNS, read_ledger
from tools.ledger import LEDGER, bring_up_to_date, found, main, record, stored_outputs, with_table
from tools.notebooks import CHECK, NOTEBOOKS, REPOSITORY

ROW = {
    "id": "made", "claim": "A claim", "where": "section 1", "paper": "0.5", "rule": "above 0.4", "ours": "",
    "verdict": "partly", "scale": "scaled-down", "model": "tiny", "notebook": "90", "file": "",
    "pattern": r"GAR ([\d.]+)", "form": "GAR {0}",
}  # fmt: skip


def notebook(folder, printed, tags=(CHECK,)):
    cell = {"cell_type": "code", "source": ["print(1)"], "metadata": {"tags": list(tags)},
            "outputs": [{"output_type": "stream", "name": "stdout", "text": [printed]}]}  # fmt: skip
    (folder / "90_made.ipynb").write_text(json.dumps({"cells": [cell]}), encoding="utf-8")


def ledger(folder, *rows):
    with (folder / "paper_claims.csv").open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder / "paper_claims.csv"


def test_ledger_and_readme_are_up_to_date(capsys):
    assert bring_up_to_date(write=False) == 0, capsys.readouterr().err


def test_every_figure_is_in_a_stored_output():
    for row in read_ledger(LEDGER):
        numbers = re.findall(r"-?\d+\.\d+", row["ours"])
        if row["verdict"] == "not run here":
            assert row["ours"] == ""
        else:
            assert numbers
            printed = stored_outputs(next(NOTEBOOKS.glob(f"{row['notebook']}_*.ipynb")))
            if row["file"]:
                printed += (REPOSITORY / row["file"]).read_text(encoding="utf-8")
            have = [float(n) for n in re.findall(r"-?\d+\.\d+", printed)]
            constant = re.findall(r"-?\d+\.\d+", row["form"])
            lacking = [
                n for n in numbers if n not in constant and not any(abs(float(n) - h) <= 5e-4 + 1e-9 for h in have)
            ]
            assert lacking == [], row["id"]


def test_a_changed_output_makes_the_ledger_stale(tmp_path):
    copy = shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    assert record(LEDGER, copy) == LEDGER.read_text(encoding="utf-8")
    file = next(copy.glob("03_*.ipynb"))
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("smol-eol + v_1 u_1: GAR 0.2", "smol-eol + v_1 u_1: GAR 0.3"), encoding="utf-8")
    assert record(LEDGER, copy) != LEDGER.read_text(encoding="utf-8")


def test_the_figure_is_read_and_written_into_the_table(tmp_path):
    notebook(tmp_path, "smol: GAR 0.123\n")
    assert found(ROW, tmp_path) == "GAR 0.123"
    (row,) = csv.DictReader(record(ledger(tmp_path, ROW), tmp_path).splitlines())
    assert row["ours"] == "GAR 0.123"
    page = with_table("a\n<!-- claims: x -->\nold\n<!-- end of claims -->\nb", [row], tmp_path)
    link = "GAR 0.123 ([90](notebooks/90_made.ipynb))"
    assert f"| A claim | 0.5 (section 1) | {link} | partly | scaled-down: tiny |" in page
    assert "old" not in page
    assert with_table(page, [row], tmp_path) == page


def test_what_no_check_cell_prints_is_no_figure(tmp_path):
    with pytest.raises(ValueError, match="there is no notebook 90"):
        found(ROW, tmp_path)
    notebook(tmp_path, "GAR 0.5", tags=())
    with pytest.raises(ValueError, match="nothing in a CHECK cell of 90_made.ipynb matches"):
        found(ROW, tmp_path)


def test_a_figure_may_stand_in_a_file_of_results(tmp_path, monkeypatch):
    notebook(tmp_path, "nothing\n")
    monkeypatch.setattr("tools.ledger.REPOSITORY", tmp_path)
    (tmp_path / "made.csv").write_text("smol-sim,0.26712,0.1\n")
    row = ROW | {"file": "made.csv", "pattern": r"^smol-sim,([\d.]+),([\d.]+)", "form": "{0} to {1}"}
    assert found(row, tmp_path) == "0.267 to 0.1"
    with pytest.raises(ValueError, match="nothing in made.csv matches"):
        found(row | {"pattern": "smol-rel"}, tmp_path)


def test_unknown_arguments_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--wirte"])
    assert "unrecognized arguments: --wirte" in capsys.readouterr().err
