"""Numbers and characters from outside."""

import numpy as np
import pandas as pd
import pytest
import torch

from tokalign_helpers.basics.assets import AssetError
from tokalign_helpers.basics.checks import JOINERS, escaped, first_line, lone_surrogate, one_line, whole_number


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_whatever_stands_for_a_whole_number_is_one(value):
    number = whole_number(value, "k", 1, 3)
    assert number == 3
    assert type(number) is int


@pytest.mark.parametrize(
    "value", [True, np.bool_(True), torch.tensor(True), np.array(True), 3.0, np.float64(3), "3", None, [3], 0, 5, -1]
)
def test_anything_else_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"k is .*; it must be a whole number from 1 to V = 4$"):
        whole_number(value, "k", 1, 4, called="V")


def test_the_message_says_what_is_allowed():
    with pytest.raises(ValueError, match=r"^m is -1; it must be a whole number, 0 or more$"):
        whole_number(-1, "m", 0)
    with pytest.raises(ValueError, match=r"^k is 9; it must be a whole number from 1 to 8$"):
        whole_number(9, "k", 1, 8)


@pytest.mark.parametrize("value", [pd.DataFrame({"a": range(50)}), torch.randn(20, 20), "x" * 500])
def test_what_was_given_is_said_in_one_short_line(value):
    with pytest.raises(ValueError, match="k is ") as caught:
        whole_number(value, "k")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\x1b", r"\x1b"), ("\x9b", r"\x9b"), ("\n", r"\n"), ("\u202e", r"\u202e"), ("\u2066", r"\u2066"),
        ("\u200f", r"\u200f"), ("\u200b", r"\u200b"), ("\ufeff", r"\ufeff"), ("\u2028", r"\u2028"),
        ("\ue000", r"\ue000"), ("\ud83d", r"\ud83d"), ("\xa0", r"\xa0"), ("\U000e0041", r"\U000e0041"),
    ],
)  # fmt: skip
def test_a_character_that_cannot_be_seen_is_named(character, shown):
    assert escaped(f"a {character}é🦜") == f"a {shown}é🦜"


def test_what_can_be_seen_stays():
    plain = "naïve café, مرحبا 🦜 <b> \\n"
    assert escaped(plain) == plain
    family = "می\u200cشود\n👨\u200d👩"
    assert escaped(family, keep=JOINERS) == family
    assert escaped(family) == r"می\u200cشود\n👨\u200d👩"


def test_half_a_character_is_found():
    assert lone_surrogate("abc\ud83dd\udc00") == 3
    assert lone_surrogate("🦜") is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a\nb"), "a"),
        (ValueError("field 'r':\n  is odd\nb"), "field 'r': is odd"),
        (ValueError("a:"), "a:"),
        (KeyError(), "KeyError"),
        (OSError(" \n "), "OSError"),
        (ValueError("xyz"), "xy"),
    ],
)
def test_an_error_is_said_in_one_line_though_it_says_nothing(error, said):
    assert first_line(error, 2 if said == "xy" else 20) == said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("r"), "not read (KeyError: 'r')"),
        (EOFError(), "not read (EOFError)"),
        (ValueError("a\nb"), "ValueError: a)"),
    ],
)
def test_whatever_a_library_raises_is_told_in_one_line(error, said):
    with pytest.raises(AssetError) as caught, one_line("not read", AssetError):
        raise error
    assert str(caught.value).endswith(said) and "\n" not in str(caught.value)
    with pytest.raises(KeyboardInterrupt), one_line("not read"):
        raise KeyboardInterrupt
