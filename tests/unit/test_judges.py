"""No judge takes NaN, nothing, another type or another shape for an answer; NumPy is as good as PyTorch."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokalign_helpers.exercises import choice
from tokalign_helpers.exercises.judging import (
    finite_number,
    read_array,
    whole_number,
    wrong_array,
    wrong_ids,
    wrong_number,
)

ROOT = Path(__file__).resolve().parents[2]
MODULES = [f"ex{path.name[:2]}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
ODD = {
    "None": None,
    "NaN": math.nan,
    "Inf": math.inf,
    "-Inf": -math.inf,
    "NumPy's NaN": np.float32("nan"),
    "a tensor of NaN": torch.full((4, 9), math.nan),
    "a column of NaN": np.full(7, math.nan),
    "True": True,
    "a complex number": 1j,
    "a huge number": 10**400,
    "an empty list": [],
    "a ragged list": [[1.0], [1.0, 2.0]],
    "a nested list": [[[1.0]]],
    "a string": "na",
    "an empty string": "",
    "bytes": b"b",
    "a dict": {"a": 1.0},
    "a set": {1, 2},
    "an object": object(),
    "a type": float,
    "a zero-sized tensor": torch.empty(0, 4),
    "a list of None": [None, None],
    "an array of objects": np.array([None, "a"], dtype=object),
}


def with_one_nan(result):
    spoiled = np.array(torch.as_tensor(result), dtype=float, order="C")  # else reshape may copy
    spoiled.reshape(-1)[:1] = math.nan
    return spoiled


SPOILED = {
    "one axis more": lambda result: torch.as_tensor(result).unsqueeze(0),
    "text": str,
    "a dict": lambda result: {"result": result},
    "one NaN": with_one_nan,
    "complex": lambda result: torch.as_tensor(result).to(torch.complex64),
}


@pytest.fixture(autouse=True)
def embedding_cache():
    """Leave the user's cache in place: some judges ask about the sentences of the notebooks."""


def is_asked_for_code(question):
    return "def " in question.answer


def right_functions(module):
    """The questions of a module that ask for a function, each with the one of its solution."""
    for question in importlib.import_module(f"tokalign_helpers.exercises.{module}").QUESTIONS:
        if is_asked_for_code(question):
            scope = {}
            exec(question.answer, scope)
            yield question, scope[question.name]


def judged(question, answer, capsys):
    question.check(answer)
    return capsys.readouterr().out


@pytest.mark.parametrize("module", MODULES)
def test_no_judge_takes_an_odd_value_for_an_answer(module, capsys):
    for question in importlib.import_module(f"tokalign_helpers.exercises.{module}").QUESTIONS:
        for name, odd in ODD.items():
            answers = [odd]
            if is_asked_for_code(question):
                answers.append(lambda *given, odd=odd: odd)
            for answer in answers:
                out = judged(question, answer, capsys)
                assert out.startswith("✗ Not yet: "), f"{question.name} with {name}: {out}"
                assert len(out.splitlines()) == 1


@pytest.mark.parametrize("module", MODULES)
def test_a_function_whose_result_has_another_shape_or_a_nan_in_it_is_wrong(module, capsys):
    for question, right in right_functions(module):
        for name, spoil in SPOILED.items():
            out = judged(question, lambda *given, f=right, spoil=spoil: spoil(f(*given)), capsys)
            assert out.startswith("✗ Not yet: "), f"{question.name} with {name}: {out}"
            assert "stopped with" not in out, f"{question.name} with {name}: {out}"


@pytest.mark.parametrize("module", MODULES)
def test_a_right_function_is_right_in_numpy_too(module, capsys):
    for question, right in right_functions(module):

        def backwards(*given, right=right):
            result = np.asarray(torch.as_tensor(right(*given)))
            return result[::-1][::-1] if result.ndim else result[()]

        def lists(*given, right=right):
            return torch.as_tensor(right(*given)).tolist()

        for function in (backwards, lists):
            assert judged(question, function, capsys).startswith("✓ Right."), question.name


def test_a_forgotten_return_is_named(capsys):
    from tokalign_helpers.exercises import ex00, ex01, ex03

    for question in (ex00.q1, ex01.q1, ex03.q1):
        assert "returned None; is its `return` missing?" in judged(question, lambda *given: None, capsys)


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(-1e6, 1e6), st.floats(0, 1))
def test_a_number_is_right_only_when_it_is_finite_and_close(got, expected, tolerance):
    right = wrong_number("here", expected, got, tolerance) is None
    assert right == (math.isfinite(got) and abs(got - expected) <= tolerance)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=6))
def test_an_array_is_right_only_when_every_entry_is(values):
    right = wrong_array("here", torch.zeros(len(values)), torch.tensor(values), 1e-3) is None
    assert right == all(math.isfinite(v) and abs(v) <= 1e-3 for v in values)
    assert wrong_array("here", torch.zeros(len(values) + 1), torch.tensor(values)) is not None
    assert wrong_array("here", torch.zeros(1, len(values)), torch.tensor(values)) is not None


def test_numbers_of_every_library_are_read_and_nothing_else():
    for seven in (7, np.int64(7), np.uint8(7), np.array(7), torch.tensor(7)):
        assert whole_number(seven) == 7
    for seven in (7, 7.0, np.float32(7), np.array(7.0), torch.tensor(7.0, dtype=torch.bfloat16), torch.tensor(7)):
        assert finite_number(seven) == 7.0
    for odd in (*ODD.values(), "7", [7], np.array([7]), torch.tensor([7]), torch.tensor(True)):
        assert whole_number(odd) in (None, 10**400)
        assert finite_number(odd) is None
    assert whole_number(7.0) is whole_number(0) is whole_number(-7) is None


def test_ids_are_compared_in_their_order_and_not_as_floats():
    assert wrong_ids("here", [3, 1], np.array([1, 3])[::-1]) is None
    for odd in ([1, 3], [3.0, 1.0], torch.tensor([3.2, 1.0]), [[3, 1]], [3], "31", None, [True, True]):
        assert wrong_ids("here", [3, 1], odd) is not None


def test_the_message_names_the_case_the_place_and_both_numbers():
    assert wrong_array("case", torch.zeros(2, 2), [[0, 0], [0, 5]]) == "case: entry (1, 1) must be 0.0000, got 5.0000"
    assert wrong_number("case", 1, "x" * 99) == f"case: expected the number 1.0000, got {repr('x' * 99)[:60]}…"
    assert read_array("case", (2,), [1, math.inf]) == "case: the result holds NaN or an infinite number"


@pytest.mark.parametrize("said", ["b", "B", " b ", "(b)", "b.", "'b'"])
def test_a_letter_may_be_written_as_people_write_it(said):
    assert choice("b", {"a": "no"})(said) is None


@pytest.mark.parametrize("said", ["", "a", "bb", "ab", b"b", 1, None, ["b"], math.nan])
def test_no_other_letter_and_no_other_type_is_right(said):
    assert choice("b", {"a": "no"})(said)


@pytest.mark.parametrize(
    ("sentence", "right"),
    [
        ("My dog loves to chase the ball in the garden.", True),
        ("The orchestra played a symphony by Beethoven.", True),
        ("Water is wet, and cold water is good for you.", False),
        ("water water water water water", False),
        ("It was in the of and to.", False),
        ("Water is wet", False),
    ],
)
def test_a_sentence_counts_by_its_own_words(sentence, right, capsys):
    from tokalign_helpers.exercises import ex00

    assert judged(ex00.q2, sentence, capsys).startswith("✓" if right else "✗")
