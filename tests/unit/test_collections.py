"""Collections, pairs and labels as people's files have them: read, or refused with file and line."""

import json
import re
import runpy
import warnings

import pandas as pd
import pytest

import tokalign_helpers as ta
from tokalign_helpers.__main__ import main
from tokalign_helpers.datasets.collections import checked_grade, checked_id
from tokalign_helpers.training import pairs

CORPUS = [
    {"_id": "d1", "title": "Bees", "text": "Bees pollinate the orchard."},
    {"_id": "d2", "title": None, "text": "The river froze."},
    {"_id": "d3", "title": "Bread", "text": "Rye rises slowly."},
]
QUERIES = [{"_id": f"q{i}", "text": f"question {i}"} for i in (1, 2, 3)]
QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t1", "q2\td2\t1", "q3\td3\t2"]
JUDGED = {"q1": {"d1": 1}, "q2": {"d2": 1}, "q3": {"d3": 2}}


@pytest.fixture
def beir(tmp_path):
    def make(corpus=CORPUS, queries=QUERIES, qrels=QRELS, end="\n", mark=""):
        (tmp_path / "qrels").mkdir(exist_ok=True)
        rows = {"corpus.jsonl": map(as_json, corpus), "queries.jsonl": map(as_json, queries), "qrels/test.tsv": qrels}
        for name, lines in rows.items():
            (tmp_path / name).write_bytes((mark + end.join([*lines, ""])).encode())
        return tmp_path

    return make


def as_json(row):
    return json.dumps(row, ensure_ascii=False)


@pytest.fixture(autouse=True)
def no_warning():
    """A warning that no test expects is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"qrels": QRELS[1:]},
        {"end": "\r\n"},
        {"mark": "\ufeff"},
        {"mark": "\ufeff", "qrels": ["", *QRELS[1:], "", " "]},
        {"qrels": [line + ".0" if line.startswith("q1") else line for line in QRELS]},
    ],
)
def test_what_people_write_is_read(beir, how):
    found = ta.load_beir(beir(**how))
    assert found.relevant == JUDGED
    assert list(found.queries) == ["q1", "q2", "q3"]
    assert found.documents == {
        "d1": "Bees Bees pollinate the orchard.", "d2": "The river froze.", "d3": "Bread Rye rises slowly.",
    }  # fmt: skip


def test_a_line_separator_is_part_of_a_text(beir):
    text = "Rye\u2028rises\x85slowly\x0b."
    found = ta.load_beir(beir([*CORPUS[:2], {"_id": "d3", "text": text}]))
    assert found.documents["d3"] == text


def test_numbers_as_ids_are_strings(beir):
    corpus = [row | {"_id": int(row["_id"][1])} for row in CORPUS]
    queries = [row | {"_id": int(row["_id"][1])} for row in QUERIES]
    found = ta.load_beir(beir(corpus, queries, [line.replace("q", "").replace("d", "") for line in QRELS[1:]]))
    assert found.relevant == {"1": {"1": 1}, "2": {"2": 1}, "3": {"3": 2}}
    assert list(found.documents) == list(found.queries) == ["1", "2", "3"]


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_what_has_no_text_is_left_out_with_one_warning(beir, text):
    folder = beir([*CORPUS, {"_id": "d4", "text": text}, {"_id": "d5", "title": None, "text": text}])
    with pytest.warns(
        UserWarning, match=r"corpus\.jsonl: 2 rows without a text were left out, the first on line 4"
    ) as said:
        assert list(ta.load_beir(folder).documents) == ["d1", "d2", "d3"]
    assert len(said) == 1 and said[0].filename == __file__


def test_a_title_alone_is_a_text_but_not_in_place_of_null(beir):
    assert ta.load_beir(beir([*CORPUS, {"_id": "d4", "title": "Salt", "text": ""}])).documents["d4"] == "Salt"
    with pytest.warns(UserWarning, match="1 row without a text was left out, on line 4"):
        assert "d4" not in ta.load_beir(beir([*CORPUS, {"_id": "d4", "title": "Salt", "text": None}])).documents


def test_judgements_of_what_is_not_there_are_left_out_with_one_warning(beir):
    folder = beir(qrels=[*QRELS, "q1\td99\t1", "q9\td1\t1"])
    with pytest.warns(
        UserWarning, match=r"test\.tsv: 2 judgements of an unknown .*were left out, the first on line 5"
    ) as said:
        assert ta.load_beir(folder).relevant == JUDGED
    assert len(said) == 1 and said[0].filename == __file__


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"qrels": [*QRELS, "q1\td2\t1.5"]}, r"test\.tsv, line 5: the grade 1.5 is not a whole number"),
        ({"qrels": [*QRELS, "q1\td2\tnan"]}, r"test\.tsv, line 5: 'nan' is not a number"),
        ({"qrels": [*QRELS, f"q1\td2\t{2**40}"]}, r"test\.tsv, line 5: the grade .* up to 1000"),
        ({"qrels": [*QRELS, "q1\td2"]}, r"test\.tsv, line 5: .* lacks the three fields"),
        ({"qrels": ["q1\td1\tyes", *QRELS[1:]]}, r"test\.tsv, line 1: 'yes' is not a number"),
        ({"qrels": [QRELS[0], *QRELS]}, r"test\.tsv, line 2: 'score' is not a number"),
        ({"qrels": [*QRELS, "q1\td1\t1"]}, r"test\.tsv, line 5: 'q1' and 'd1' are judged on line 2 already"),
        ({"qrels": QRELS[:1]}, r"test\.tsv holds no judgement"),
        (
            {"qrels": ["a\tb\t1"]},
            r"test\.tsv, line 1: the query 'a' or the document 'b' is unknown, and so in every line",
        ),
        ({"corpus": [*CORPUS, CORPUS[0]]}, r"corpus\.jsonl, line 4: the id 'd1' is on line 1 already"),
        ({"corpus": [{"_id": 1, "text": "x"}, {"_id": "1", "text": "y"}]}, r"line 2: the id '1' is on line 1 already"),
        ({"corpus": [{"_id": 1.0, "text": "x"}]}, r"corpus\.jsonl, line 1: 1\.0 is not an id"),
        ({"corpus": [{"_id": "d1", "text": 5}]}, r"corpus\.jsonl, line 1: the text of 'd1' is not a string"),
        ({"corpus": [{"_id": "d1"}]}, r"corpus\.jsonl, line 1: not a JSON object with _id and text"),
        ({"queries": [*QUERIES, QUERIES[1]]}, r"queries\.jsonl, line 4: the id 'q2' is on line 2 already"),
    ],
)
def test_what_cannot_be_right_is_refused_with_file_and_line(beir, change, said):
    with pytest.raises(ValueError, match=said):
        ta.load_beir(beir(**change))


def test_grades_and_ids():
    import numpy as np

    assert [checked_grade(x) for x in (2, 2.0, np.int64(1), np.float32(3), -1, True)] == [2, 2, 1, 3, 0, 1]
    for wrong in (1.5, float("nan"), float("inf"), 1001, -1001, "1", None):
        with pytest.raises(ValueError, match="grade"):
            checked_grade(wrong)
    assert [checked_id(x) for x in ("a", 7, np.int64(7))] == ["a", "7", "7"]
    for wrong in (1.0, None, True, b"a"):
        with pytest.raises(ValueError, match="is not an id"):
            checked_id(wrong)


def test_cranfields_judgements_name_their_line(tmp_path):
    (tmp_path / "cran.all.1400.xml").write_text("<doc><docno>1</docno><text>wing</text></doc>")
    (tmp_path / "cran.qry.xml").write_text("<title>lift</title>")
    for line, said in (
        ("1 0 1 2", "judged on line 1 already"),
        ("1 0 1", "does not have four fields"),
        ("1 0 9 x", "'x' is not a number"),
    ):
        (tmp_path / "cranqrel.trec.txt").write_text(f"1 0 1 1\n{line}\n")
        with pytest.raises(ValueError, match=rf"cranqrel\.trec\.txt, line 2: .*{said}"):
            ta.load_cranfield(tmp_path)
    (tmp_path / "cran.all.1400.xml").write_text("<doc><text>wing</text></doc>")
    with pytest.raises(ValueError, match=r"cran\.all\.1400\.xml: a document has no number: '<text>wing"):
        ta.load_cranfield(tmp_path)


@pytest.mark.parametrize(
    ("full", "domains", "said"),
    [
        ("[]", "{}", r"data_full\.json does not hold a JSON object"),
        ("{}", "[]", r"domains\.json does not hold a JSON object"),
        ("{", "{}", r"data_full\.json is not JSON"),
        ("[" * 200_000, "{}", r"data_full\.json is not JSON"),
        ("{}", "{}", "unknown part 'test'"),
        ('{"test": 3}', "{}", "not in CLINC150's format"),
        ('{"test": [["x"]]}', "{}", "not in CLINC150's format"),
        ('{"test": []}', '{"travel": 3}', "not in CLINC150's format"),
        ('{"test": [["book it", "book"]]}', "{}", "the intent 'book' has no domain"),
    ],
)
def test_files_of_requests_that_are_something_else_are_named(tmp_path, full, domains, said):
    (tmp_path / "data_full.json").write_text(full)
    (tmp_path / "domains.json").write_text(domains)
    with pytest.raises(ValueError, match=said):
        ta.load_clinc150(tmp_path)


@pytest.mark.parametrize("n", [0, -1, 10**6, 1.5, "3", True])
def test_how_many_texts_is_a_whole_number(n):
    for ask in (ta.load_sentences, ta.load_cloze_collection):
        with pytest.raises(ValueError, match=r"it must be a whole number from 1 to the number of .* = "):
            ask(n)


def test_sentence_pairs(tmp_path):
    row = "images\tMSRvid\t2012\t1\t{}\tA\u2028man\x85sits.\tSomebody sits.\tlicence"
    (tmp_path / "sts-test.csv").write_text(row.format("4.5") + "\n\n" + row.format("0") + "\n", encoding="utf-8")
    table = ta.load_sts_pairs(tmp_path)
    assert table.values.tolist() == [["A\u2028man\x85sits.", "Somebody sits.", r, "MSRvid"] for r in (4.5, 0)]
    for broken, said in ((row.format("nan"), "'nan' is not a number"), ("a\tb", "2 fields")):
        (tmp_path / "sts-test.csv").write_text(f"\n{broken}\n", encoding="utf-8")
        with pytest.raises(ValueError, match=rf"sts-test\.csv, line 2: {said}"):
            ta.load_sts_pairs(tmp_path)


def test_comments_keep_their_line_separators(tmp_path):
    (tmp_path / "labels.txt").write_text("\ufeffjoy\nanger\n", encoding="utf-8")
    (tmp_path / "test.tsv").write_text("What\x85a\u2028day!\t0\tx1\nNo.\t1\tx2\n", encoding="utf-8")
    assert ta.load_goemotions(tmp_path).values.tolist() == [["What\x85a\u2028day!", "joy"], ["No.", "anger"]]


def test_pairs_without_groups_are_grouped_by_their_first_text(tmp_path):
    file = tmp_path / "own.csv"
    file.write_text("text1,text2,kind\nb,c,negation\na,c,negation\nb,d,antonym\n")
    table = ta.load_minimal_pairs(file)
    assert list(table.columns) == ["text1", "text2", "kind", "group"]
    assert table["group"].tolist() == ["1", "2", "1"]


def test_the_line_of_a_bad_label_after_a_field_of_two_lines(tmp_path):
    file = tmp_path / "own.csv"
    file.write_text('text,topic,emotion\n"two\nlines",food,joy\ny,food,jog\n')
    with pytest.raises(ValueError, match=r"own\.csv, line 4: unknown emotion 'jog'"):
        ta.load_two_labels(file)
    file.write_text("text,topic,emotion\nx,food,joy,more\n")
    with pytest.raises(ValueError, match=r"own\.csv, line 2: fields in the row: 4, columns: 3"):
        ta.load_two_labels(file)


def test_files_that_belong_together_line_by_line(tmp_path):
    columns = {"s1": ["A man\x85sits.", "B.", ""], "s2": ["C.", "D."], "labels": ["entailment", "contradiction"]}
    for part in ("dev", "test"):
        for name, texts in columns.items():
            (tmp_path / f"{name}.{part}").write_text("\n".join(texts) + "\n", encoding="utf-8")
    assert pairs.inference_triplets(tmp_path) == []
    (tmp_path / "s2.dev").write_text("C.\n\nD.\n")
    with pytest.raises(ValueError, match=r"s2\.dev, line 2: nothing is here"):
        pairs.inference_triplets(tmp_path)


def test_the_command_line_reads_a_text_a_line(tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def examine(name, texts, **_):
        raise Stop(texts)

    monkeypatch.setattr("tokalign_helpers.examination.examine", examine)
    (tmp_path / "texts.txt").write_bytes("\ufeffone\u2028line\r\n\r\ntwo\x85three\r\n".encode())
    with pytest.raises(Stop) as read:
        main(["examine", "smol-eol", "--texts", str(tmp_path / "texts.txt")])
    assert read.value.args == (["one\u2028line", "two\x85three"],)


def test_any_two_people_like_one_thing_and_the_file_is_what_its_script_writes():
    documents, queries, relevant = ta.load_likes_collection()
    pairs = {frozenset(answers) for answers in relevant.values()}
    assert len(documents) == 20 and len(queries) == len(pairs) == 190 and {len(pair) for pair in pairs} == {2}
    for thing, answers in relevant.items():
        assert {name for name, text in documents.items() if re.search(rf"\b{thing}\b", text)} == set(answers)
    script = runpy.run_path(str(ta.data_dir() / "texts" / "make_likes.py"))
    assert script["likes"]().equals(pd.read_csv(ta.data_dir() / "texts" / "likes.csv"))
