"""Lines, JSON lines and CSV: what ends a line, and which one is to blame."""

import pytest

from tokalign_helpers.basics.lines import as_number, csv_rows, json_lines, lines, naming_line

ODD = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh"  # str.splitlines makes eight lines of it


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_line_ends_at_a_line_feed_only(tmp_path, end, mark):
    file = tmp_path / "texts.txt"
    file.write_bytes((mark + end.join([ODD, "", " ", "last"]) + end).encode())
    assert list(lines(file)) == [(1, ODD), (4, "last")]


def test_a_line_of_another_encoding_is_named(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes("fine\nnaïve\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"texts\.txt, line 2: not utf-8"):
        list(lines(file))
    assert list(lines(file, encoding="latin-1"))[1] == (2, "naïve")


def test_json_lines(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes('\ufeff{"text": "a\u2028b\x85c"}\r\n\r\n{"text": 1}'.encode())
    assert list(json_lines(file)) == [(1, {"text": "a\u2028b\x85c"}), (3, {"text": 1})]
    for broken, said in (
        ('{"a": 1', r"line 2: not JSON \(Expecting .*column 8"),
        ("1" * 5000, "line 2: not JSON .*digits"),
        ("[" * 200_000, "line 2: not JSON .*recursion"),
        ("[1]", r"line 2: '\[1\]' is not a JSON object"),
    ):
        file.write_text("{}\n" + broken)
        with pytest.raises(ValueError, match=said):
            list(json_lines(file))


def test_csv_rows_know_where_they_begin(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes('\ufeffa,b\r\n"one\ntwo, three",x\u2028y\r\n\r\nlast,"say ""so"""\r\n'.encode())
    found = list(csv_rows(file, ["a"]))
    assert found == [(2, {"a": "one\ntwo, three", "b": "x\u2028y"}), (5, {"a": "last", "b": 'say "so"'})]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "line 1: there is no column 'a'"),
        ("b\n1\n", "line 1: there is no column 'a'"),
        ("a,b,b\n", "line 1: there is more than one column 'b'"),
        ('a,b\n"x\ny",1\n1,2,3\n', "line 4: fields in the row: 3, columns: 2"),
        ('a,b\n"x\ny",1\n1\n', "line 4: fields in the row: 1, columns: 2"),
        ('a,b\n1,2\n"open,2\n', "line 3: not CSV"),
    ],
)
def test_a_broken_row_is_named(tmp_path, content, said):
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(ValueError, match=rf"rows\.csv, {said}"):
        list(csv_rows(tmp_path / "rows.csv", ["a"]))


def test_numbers():
    assert [as_number(text) for text in ("1", " -1.5", "+2.", ".5", "1e3")] == [1, -1.5, 2, 0.5, 1000]
    for text in ("", "nan", "inf", "1_000", "0x1", "1,5", "¹", "one"):
        with pytest.raises(ValueError, match="is not a number"):
            as_number(text)


def test_an_error_gets_its_place():
    with pytest.raises(ValueError, match="here, line 3: invalid literal"), naming_line("here", 3):
        int("x")
