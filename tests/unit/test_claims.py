"""The ledger claims no more than it shows."""

import csv
from pathlib import Path

import pytest

import tokalign_helpers as ta
from tokalign_helpers.course.claims import COLUMNS, VERDICTS, read_ledger

LEDGER = Path(__file__).resolve().parents[2] / "data" / "paper_claims.csv"
ROW = {
    "id": "made", "claim": "A claim", "where": "section 1", "paper": "0.5", "ours": "", "model": "tiny",
    "verdict": "scaled-down", "notebook": "90", "pattern": r"GAR ([\d.]+)", "form": "GAR {0}",
}  # fmt: skip


def ledger(folder, *rows):
    with (folder / "paper_claims.csv").open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder / "paper_claims.csv"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pattern": ""}, "a figure needs a run"),
        ({"verdict": "reproduced", "notebook": ""}, "a figure needs a run"),
        ({"verdict": "not run here"}, "a figure needs a run"),
        ({"verdict": "proved"}, "'proved' is not a verdict"),
    ],
)
def test_a_row_that_claims_too_much_is_refused(change, said, tmp_path):
    with pytest.raises(ValueError, match=f"line 2: {said}"):
        read_ledger(ledger(tmp_path, ROW | change))


def test_an_id_stands_once(tmp_path):
    with pytest.raises(ValueError, match="line 3: the id 'made' is already in use"):
        read_ledger(ledger(tmp_path, ROW, ROW))


def test_the_ledger_for_readers():
    table = ta.load_claims()
    assert set(table["verdict"]) <= set(VERDICTS)
    assert list(table["claim"]) == [row["claim"] for row in read_ledger(LEDGER)]
    paper = ta.load_paper_retrieval().set_index(["system", "kind"])
    assert list(paper.loc[("GritLM", "sparse")]) == [0.457, 0.336, 0.703, 0.526]
    assert len(paper) == 6
    kept = (paper.xs("sparse", level=1) / paper.xs("dense", level=1)).dropna()
    assert 0.7 < kept.to_numpy().mean() < 0.9  # the abstract says 80 %
