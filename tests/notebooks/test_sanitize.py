import re
from pathlib import Path

import pytest
from nbval.plugin import get_sanitize_patterns

CONFIGURATION = Path(__file__).with_name("sanitize.cfg").read_text(encoding="utf-8")


def sanitized(text):
    for pattern, replacement in get_sanitize_patterns(CONFIGURATION):
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("took 12.3 s", "took A-DURATION"),
        ("took 12.3s.", "took A-DURATION."),
        ("took 1 min 5 s", "took A-DURATION"),
        ("took 2.5 minutes", "took A-DURATION"),
        ("3.2 ms a text", "A-DURATION a text"),
        ("3 ms ± 40 µs", "A-DURATION ± A-DURATION"),
        ("at 12:30:11", "at A-TIME"),
        ("on 2025-03-09", "on A-DATE"),
        ("on 2025-03-09T12:30:11Z", "on A-DATE"),
        ("in /tmp/tmpab12/x.sqlite", "in A-PATH"),
        ("in '/private/var/folders/zz/T/x'", "in 'A-PATH'"),
        (r"in C:\Users\me\AppData\Local\Temp\x", "in A-PATH"),
        ("<Styler at 0x7f3a1c0b2e90>", "<Styler at AN-ADDRESS>"),
    ],
)
def test_hides_what_no_two_runs_share(text, expected):
    assert sanitized(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "cosine 0.53 rank 3",
        "0.53 similarity",
        "12 s",
        "3 us",
        "0.53 's'",
        "0.53 s'",
        "0.11 min 0.42 max",
        "min 0.11, mean 0.42",
        "LAR 93.1%",
        "1,234 texts, 151936 tokens",
        "d = 1024",
        "λ = -0.5",
        "1.20e-05",
        "<0x0A>",
        "Qwen3-0.6B",
        "2024.acl-long.123",
        "2025-2026",
        "3:2",
        "tmp / home",
    ],
)
def test_leaves_numbers_and_tokens(text):
    assert sanitized(text) == text


def test_every_rule_is_read():
    assert len(get_sanitize_patterns(CONFIGURATION)) == CONFIGURATION.count("\nregex:") == 10
