import os
from decimal import Decimal
from types import SimpleNamespace

import pytest

from tests.notebooks import nbval_tolerance
from tests.notebooks.nbval_tolerance import (
    DEFAULT,
    Tolerance,
    differences,
    stated_tolerance,
    tokens,
)
from tools.notebooks import REPOSITORY, THREADS, kernel_environment

SAME = {
    "equal texts": ("cosine 0.53\nrank 3", "cosine 0.53\nrank 3"),
    "one unit of the last decimal": ("0.01", "0.02"),
    "two percent": ("123.40", "125.80"),
    "a negative number": ("-0.530", "-0.535"),
    "minus zero": ("-0.00", "0.00"),
    "across zero, within a unit": ("-0.01", "0.00"),
    "a typographic minus": ("−0.53", "−0.54"),
    "a percentage": ("LAR 93.1%", "LAR 93.9%"),
    "an exponent": ("1.20e-05", "1.21e-05"),
    "an exponent without decimals": ("1e-05", "1e-05"),
    "a thousands separator": ("1,234.5", "1,240.0"),
    "across a thousand": ("999.6 texts", "1,000.2 texts"),
    "brackets and commas": ("[0.531, 0.20]", "[0.532, 0.21]"),
    "a number at a full stop": ("It is 0.53.", "It is 0.54."),
    "an assignment": ("cos=0.530", "cos=0.531"),
    "a factor": ("3.21×", "3.22×"),
    "padding that moves": ("[ 9.99 1.00]", "[10.01 1.00]"),
    "padding before a row": (" 9.99 apple", "10.01 apple"),
    "a sign in place of padding": ("x  0.00", "x -0.00"),
    "a table whose column widens": (
        "token      score\n-----      -----\napple       9.99",
        "token       score\n-----      ------\napple       10.01",
    ),
    "nan": ("mean nan", "mean nan"),
    "blank lines at the end": ("0.53\n\n", "0.53"),
    "nothing": ("", ""),
}
DIFFERENT = {
    "a float beyond": ("0.530", "0.560"),
    "more decimals are stricter": ("0.3", "0.4213"),
    "a sign": ("-0.53", "0.53"),
    "a percentage beyond": ("LAR 93.1%", "LAR 90.1%"),
    "a percent sign": ("93.1%", "93.1"),
    "an integer": ("rank 3", "rank 4"),
    "a large integer": ("1234567 texts", "1234568 texts"),
    "an integer with separators": ("1,234 texts", "1,235 texts"),
    "an integer percentage": ("93%", "94%"),
    "a year at a full stop": ("in 2024.", "in 2025."),
    "an integer where a float was": ("1.0", "1"),
    "a float where an integer was": ("1", "1.0"),
    "an exponent beyond": ("1.20e-05", "1.20e-06"),
    "an exponent without decimals": ("1e-05", "2e-05"),
    "nan for a number": ("0.53", "nan"),
    "a number for nan": ("nan", "0.53"),
    "infinity's sign": ("inf", "-inf"),
    "a token": ("apple 0.53", "pear 0.53"),
    "a token's case": ("Apple", "apple"),
    "a token's space": ("[' the']", "['the']"),
    "a token's order": ("apple pear", "pear apple"),
    "a space at the start of a word": (" the", "the"),
    "a model's name": ("Qwen2.5-0.60B", "Qwen2.5-0.61B"),
    "a name that ends in a number": ("model-0.60", "model-0.61"),
    "a number in a word": ("v1.50", "v1.51"),
    "a version": ("5.10.1", "5.10.2"),
    "a missing line": ("one\ntwo", "one"),
    "an additional line": ("one", "one\ntwo"),
    "a missing number": ("0.53 0.20", "0.53"),
    "no output": ("0.53", ""),
    "two numbers run together": ("5 3", "53"),
}


@pytest.mark.parametrize(("stored", "got"), SAME.values(), ids=SAME.keys())
def test_agrees(stored, got):
    assert differences(stored, got) == []


@pytest.mark.parametrize(("stored", "got"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_disagrees(stored, got):
    assert differences(stored, got)


def test_a_difference_names_line_numbers_and_allowance():
    (line,) = differences("a\ncos 0.530", "a\ncos 0.600")
    assert line == "line 2: stored 0.530, got 0.600 (it may move by 0.0106) in 'cos 0.600'"


def test_every_float_beyond_is_reported():
    assert len(differences("0.10 0.20 0.30", "0.50 0.20 0.90")) == 2


def test_a_missing_line_is_reported_as_missing():
    assert differences("one\ntwo", "one") == ["line 2: stored 'two', got nothing"]


@pytest.mark.parametrize(("stored", "got", "agrees"), [("0.50", "0.53", True), ("0.50", "0.54", False)])
def test_an_absolute_tolerance_is_exact(stored, got, agrees):
    assert (differences(stored, got, stated_tolerance("# tolerance: 0.03")) == []) is agrees


@pytest.mark.parametrize(("stored", "got", "agrees"), [("20.0", "21.0", True), ("20.0", "21.1", False)])
def test_a_percentage_takes_the_place_of_two(stored, got, agrees):
    assert (differences(stored, got, stated_tolerance("# tolerance: 5%")) == []) is agrees


def test_integers_stay_exact_under_any_tolerance():
    assert differences("100", "101", stated_tolerance("# tolerance: 50%"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("print(1)", DEFAULT),
        ("x = 1\n# tolerance: 5%\nprint(x)", Tolerance(relative=Decimal("0.05"))),
        ("# tolerance: 5% (cosines)", Tolerance(relative=Decimal("0.05"))),
        ("# tolerance: 0.03", Tolerance(Decimal(0), Decimal("0.03"), Decimal(0))),
        ("print('# tolerance: 5%')", DEFAULT),
    ],
)
def test_reads_the_comment(source, expected):
    assert stated_tolerance(source) == expected


@pytest.mark.parametrize("source", ["# tolerance: some", "# tolerance:", "# tolerance: 5%\n# tolerance: 6%"])
def test_an_unreadable_comment_is_an_error(source):
    with pytest.raises(ValueError, match="cannot read the tolerance"):
        stated_tolerance(source)


def test_tokens():
    assert tokens("Qwen2.5-0.6B  cos= 0.53, 12%") == ["Qwen2.5-0.6B", " ", "cos", "=", "0.53", ",", "12", "%"]


def test_the_callers_thread_count_wins():
    found = kernel_environment({"OMP_NUM_THREADS": "7", "PYTHONPATH": "elsewhere"})
    assert found["OMP_NUM_THREADS"] == "7"
    assert found["MKL_NUM_THREADS"] == "2"
    assert found["PYTHONPATH"] == os.pathsep.join([str(REPOSITORY), "elsewhere"])


def test_without_nbval_the_plugin_does_nothing(monkeypatch):
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    config = SimpleNamespace(getoption=lambda name, default: default)
    nbval_tolerance.pytest_configure(config)
    nbval_tolerance.pytest_collection_modifyitems(config, [object()])
    assert dict(os.environ) == before
