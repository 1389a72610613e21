"""The README's lines of what was found say what the ledger says, or refuse to be written."""

import re
from dataclasses import replace

import pytest

from tokalign_helpers.course.claims import read_ledger
from tools.findings import FINDINGS, Finding, findings
from tools.ledger import LEDGER, README, between_marks

ROWS = [{"id": "gar", "ours": "GAR 0.1 → 0.25 [0.2, 0.3]", "verdict": "partly"}]
LINE = Finding({"gar": "partly"}, {"gar": r"([\d.]+) → ([\d.]+)"}, "From {gar[0]} to {gar[1]}.")


def test_every_number_of_the_readmes_lines_is_the_ledgers():
    ledger = {row["id"]: row for row in read_ledger(LEDGER)}
    text = README.read_text(encoding="utf-8")
    block = re.search(r"<!-- findings: .*? -->\n(.*?)<!-- end of findings -->", text, re.DOTALL)[1]
    lines = block.split("\n* ")
    assert len(lines) == len(FINDINGS) == 4
    for line, finding in zip(lines, FINDINGS, strict=True):
        have = {n for name in finding.patterns for n in re.findall(r"\d+\.\d+", ledger[name]["ours"])}
        numbers = re.findall(r"\d+\.\d+", line)
        assert numbers and set(numbers) <= have
        assert set(finding.patterns) <= set(finding.verdicts)


def test_a_line_follows_the_figures():
    assert findings(ROWS, [LINE]) == ["* From 0.1 to 0.25."]
    moved = [ROWS[0] | {"ours": "GAR 0.1 → 0.31 [0.2, 0.4]"}]
    assert findings(moved, [LINE]) == ["* From 0.1 to 0.31."]


def test_a_line_is_not_written_for_another_verdict_or_other_words():
    with pytest.raises(ValueError, match="'gar' says what 'partly' means, and the ledger says 'reproduced' now"):
        findings([ROWS[0] | {"verdict": "reproduced"}], [LINE])
    with pytest.raises(ValueError, match="nothing in the figures of 'gar' matches 'LAR'"):
        findings(ROWS, [replace(LINE, patterns={"gar": "LAR"})])
    with pytest.raises(ValueError, match="the ledger has no row 'gone'"):
        findings(ROWS, [replace(LINE, verdicts={"gone": "partly"})])


def test_lines_stand_between_their_marks():
    page = between_marks("a\n<!-- findings: x -->\nold\n<!-- end of findings -->\nb", "findings", ["new"])
    assert page == "a\n<!-- findings: x -->\nnew\n<!-- end of findings -->\nb"
    with pytest.raises(ValueError, match="no marks <!-- findings"):
        between_marks("a", "findings", ["new"])
