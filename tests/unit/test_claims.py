"""The ledger claims no more than it shows."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

import tokalign_helpers as ta
from tokalign_helpers.basics.files import sha256
from tokalign_helpers.course import claims
from tokalign_helpers.course.claims import COLUMNS, VERDICTS, read_ledger

LEDGER = Path(__file__).resolve().parents[2] / "data" / "paper_claims.csv"
ROW = {
    "id": "made", "claim": "A claim", "where": "section 1", "paper": "0.5", "rule": "above 0.4", "ours": "",
    "verdict": "partly", "scale": "scaled-down", "model": "tiny", "notebook": "90", "file": "",
    "pattern": r"GAR ([\d.]+)", "form": "GAR {0}",
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
        ({"verdict": "scaled-down"}, "'scaled-down' is not a verdict"),
        ({"rule": ""}, "a figure needs a run"),
        ({"scale": "small"}, "'small' is not a scale"),
    ],
)
def test_a_row_that_claims_too_much_is_refused(change, said, tmp_path):
    with pytest.raises(ValueError, match=f"line 2: {said}"):
        read_ledger(ledger(tmp_path, ROW | change))


def test_an_id_stands_once(tmp_path):
    with pytest.raises(ValueError, match="line 3: the id 'made' is already in use"):
        read_ledger(ledger(tmp_path, ROW, ROW))


def test_results_are_those_that_their_command_wrote(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "data_dir", lambda: tmp_path)
    (tmp_path / "results").mkdir()
    file = tmp_path / "results" / "made.csv"
    file.write_text("what,value,low,high\nNone,0.5,0.25,0.75\n,0.5,,\n")
    made = {"made": {"command": "python make.py", "date": "2026-01-01", "sha256": sha256(file), "from": {}}}
    (tmp_path / "results" / "made.json").write_text(json.dumps(made))
    with pytest.raises(ValueError, match="no results in a folder 'elsewhere'"):
        ta.load_results("made", "elsewhere")
    found = ta.load_results("made")
    assert found["what"].tolist() == ["None", ""] and found["low"].isna().tolist() == [False, True]
    assert found.attrs == made["made"]
    with pytest.raises(ValueError, match="no results 'other'; known: made"):
        ta.load_results("other")
    file.write_text(file.read_text().replace("0.5", "0.9"))
    with pytest.raises(ValueError, match="was changed after 2026-01-01; make it again: python make.py"):
        ta.load_results("made")


def test_written_results_are_read_back_with_what_they_were_made_of(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "data_dir", lambda: tmp_path)
    folder = tmp_path / "further"
    folder.mkdir()
    (folder / "source.txt").write_text("a source")
    table = pd.DataFrame({"what": ["a", "None"], "value": [0.123456, 2.0], "low": [0.1, None], "high": [0.2, None]})
    claims.write_results(folder / "first.csv", table, "python make.py", {"it": folder / "source.txt"})
    claims.write_results(folder / "second.csv", table, "python other.py", digits=6)
    first, second = (ta.load_results(name, "further") for name in ("first", "second"))
    assert first["value"].tolist() == [0.1235, 2.0] and second["value"].tolist() == [0.123456, 2.0]
    assert first["what"].tolist() == ["a", "None"] and first["low"].isna().tolist() == [False, True]
    assert first.attrs["command"] == "python make.py" and second.attrs["from"] == {}
    assert first.attrs["from"] == {"it": sha256(folder / "source.txt")}


def test_results_that_are_made_again_keep_their_place(tmp_path):
    older = pd.DataFrame(
        {
            "of": ["a", "b", "a", "None"],
            "measure": ["x", "x", "y", "x"],
            "value": [1.0, 2.0, 3.0, 4.0],
            "low": [0.5, None, 2, 3],
        }
    )
    file = tmp_path / "made.csv"
    claims.write_results(file, older, "python make.py", by=["of"])
    text = file.read_text(encoding="utf-8")
    claims.write_results(file, older[older["of"] == "b"], "python make.py", by=["of"])
    assert file.read_text(encoding="utf-8").splitlines()[1:] == [
        "a,x,1.0,0.5",
        "a,y,3.0,2.0",
        "b,x,2.0,",
        "None,x,4.0,3.0",
    ]
    claims.write_results(
        file, pd.DataFrame({"of": ["a", "c"], "measure": "y", "value": 9.0, "low": 8.0}), "it", by=["of"]
    )
    assert file.read_text(encoding="utf-8").splitlines()[1:] == [
        "a,y,9.0,8.0",
        "b,x,2.0,",
        "None,x,4.0,3.0",
        "c,y,9.0,8.0",
    ]
    claims.write_results(file, older, "python make.py")
    assert file.read_text(encoding="utf-8") == text
    with pytest.raises(ValueError, match="has the columns .*'low'.*; remove it first"):
        claims.write_results(file, older.drop(columns="low"), "python make.py", by=["of"])
    assert file.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("folder", ["results", "architectures", "adjustment", "retrieval"])
def test_every_stored_table_of_results_is_whole(folder):
    place = ta.data_dir() / folder
    names = {file.stem for file in place.glob("*.csv")}
    assert names == set(json.loads((place / "made.json").read_text(encoding="utf-8")))
    for name in names:
        found = ta.load_results(name, folder)
        if "low" not in found:
            continue
        sure, value = found.dropna(subset=["low"]), "nDCG@10" if "nDCG@10" in found else "value"
        assert len(sure) and sure["low"].le(sure[value]).all() and sure[value].le(sure["high"]).all()


def test_the_ledger_for_readers():
    table = ta.load_claims()
    assert set(table["verdict"]) <= set(VERDICTS)
    assert {"partly", "not reproduced"} & set(table["verdict"])
    assert list(table["claim"]) == [row["claim"] for row in read_ledger(LEDGER)]
    paper = ta.load_paper_retrieval().set_index(["system", "kind"])
    assert list(paper.loc[("GritLM", "sparse")]) == [0.457, 0.336, 0.703, 0.526]
    assert len(paper) == 6
    kept = (paper.xs("sparse", level=1) / paper.xs("dense", level=1)).dropna()
    assert 0.7 < kept.to_numpy().mean() < 0.9  # the abstract says 80 %


def test_a_row_says_what_was_measured_before_the_figures():
    found = claims.row(ta.Interval(0.5, 0.4, 0.7), "nDCG@10", collection="made", method="dense")
    assert list(found.items()) == [
        ("collection", "made"), ("method", "dense"), ("nDCG@10", 0.5), ("low", 0.4), ("high", 0.7)
    ]  # fmt: skip
    assert claims.row(ta.Interval(0.5, 0.4, 0.7))["value"] == 0.5


RATES = pd.DataFrame(
    [("raw", "LAR", 0.1, 0.05, 0.2), ("raw", "GAR", 0.5, 0.4, 0.6), ("moved", "LAR", -0.3, float("nan"), float("nan"))],
    columns=["of", "rate", "value", "low", "high"],
)


def test_a_table_of_intervals_keeps_the_order_and_leaves_gaps_empty():
    found = ta.interval_table(RATES, "of", "rate")
    assert found.loc["raw"].to_dict() == {"LAR": "0.100 [0.050, 0.200]", "GAR": "0.500 [0.400, 0.600]"}
    assert found.loc["moved"].to_dict() == {"LAR": "-0.300 [no interval]", "GAR": ""}
    assert (list(found), list(found.index)) == (["LAR", "GAR"], ["raw", "moved"])
    named = ta.interval_table(RATES.rename(columns={"value": "nDCG@10"}), "rate", "of", "nDCG@10")
    assert named.loc["GAR", "raw"] == "0.500 [0.400, 0.600]"


def test_a_table_of_intervals_takes_each_pair_once():
    with pytest.raises(ValueError, match=r"of 'raw' and rate 'GAR' stand there twice"):
        ta.interval_table(pd.concat([RATES, RATES[1:]]), "of", "rate")
    with pytest.raises(ValueError, match=r"no column 'ratio'; it has of, rate, value, low, high"):
        ta.interval_table(RATES, "of", "ratio")
