"""The README's lines of what was found: sentences whose numbers and verdicts are the ledger's."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH = 120  # of the README's lines


@dataclass(frozen=True)
class Finding:
    """One line.

    Parameters
    ----------
    verdicts : Mapping[str, str]
        Id of a row of the ledger → the verdict that the sentence was written for.
    patterns : Mapping[str, str]
        Id of a row → regular expression on its figures; its groups fill ``{id[0]}``, ``{id[1]}`` of the sentence.
    sentence : str
    """

    verdicts: Mapping[str, str]
    patterns: Mapping[str, str]
    sentence: str


FINDINGS = (
    Finding(
        {"align": "partly", "raw": "reproduced"},
        {"align": r"best \+([\d.]+) .*worst trained \+([\d.]+) .*prompt alone \+([\d.]+) "},
        "**Most trained embeddings name what their text is about.** Among the tokens of its text that an "
        "embedding names, the share of key words is {align[0]} higher than among all tokens of the text in our best "
        "trained embedder, and {align[1]} higher in the weakest, which may be chance. A prompt alone has {align[2]}; a "
        "raw average names function words and marks instead.",
    ),
    Finding(
        {"adjust": "partly"},
        {
            "adjust": r"([\d.]+) → ([\d.]+) .* by the shift, ([\d.]+) .*\(smol-eol\); "
            r"([\d.]+) → ([\d.]+) \[.*?\], ([\d.]+) .*\(smol-wmean\)",
        },
        "**A shift of the raw model gives most of the rise in variety.** One shift along one direction, as far as "
        "training moves embeddings, takes GAR, which is low when every text gets the same tokens, from {adjust[0]} to "
        "{adjust[1]} (training: {adjust[2]}) where a prompt asks for one word, and from {adjust[3]} to {adjust[4]} "
        "(training: {adjust[5]}) for a weighted mean.",
    ),
    Finding(
        {"sparse": "partly", "bm25": "not reproduced", "flops": "reproduced"},
        {
            "sparse": r"best trained ([\d.]+) .*worst trained ([\d.]+) ",
            "bm25": r"most (-?[\d.]+ \[.*?\]).*least (-?[\d.]+ \[.*?\])",
            "flops": r"([\d.]+) \(smol-cse\)",
        },
        "**As an index of their own, the tokens are cheap and uneven.** By the paper's recipe our trained embedders "
        "keep {sparse[1]} to {sparse[0]} of dense search's nDCG@10 on SciFact (smol-cse at {flops[0]} of the "
        "multiply-adds). Their nDCG@10 less that of BM25 is {bm25[0]} at best and {bm25[1]} at worst: none is clearly "
        "above it.",
    ),
    Finding(
        {"instruction": "partly", "related": "partly"},
        {
            "instruction": r"; ([\d.]+) \[.*?\] of the texts turn",
            "related": r"opposite word (-?[\d.]+ \[.*?\]).*trained alike (-?[\d.]+ \[.*?\])",
        },
        "**Asked for a feeling, the tokens seldom name it.** Asked for the emotion, {instruction[0]} of the texts turn "
        "to an emotion word. And sentences with opposite words, such as “I like apples” and “I dislike apples”, share "
        "more of their tokens in our embedder for similarity than in the one for relatedness (by {related[0]} of "
        "them), where the paper's explanation needs fewer. In a later comparison, of four that were trained alike, "
        "they share fewer ({related[1]}).",
    ),
)


def findings(rows: Sequence[Mapping[str, str]], lines: Sequence[Finding] = FINDINGS) -> list[str]:
    """Fill the lines with the ledger's numbers.

    Parameters
    ----------
    rows : Sequence[Mapping[str, str]]
        Of the ledger.
    lines : Sequence[Finding]

    Returns
    -------
    list[str], one item of a Markdown list for each

    Raises
    ------
    ValueError
        If a verdict is no longer the one that a sentence was written for, or a pattern finds nothing.
    """
    known = {row["id"]: row for row in rows}
    written = []
    for line in lines:
        if gone := (line.verdicts.keys() | line.patterns.keys()) - known.keys():
            raise ValueError(f"tools/findings.py: the ledger has no row {min(gone)!r}")
        for name, verdict in line.verdicts.items():
            if known[name]["verdict"] != verdict:
                raise ValueError(
                    f"tools/findings.py: the line about {name!r} says what {verdict!r} means, and the ledger says "
                    f"{known[name]['verdict']!r} now; rewrite it"
                )
        groups = {}
        for name, pattern in line.patterns.items():
            match = re.search(pattern, known[name]["ours"])
            if match is None:
                raise ValueError(f"tools/findings.py: nothing in the figures of {name!r} matches {pattern!r}")
            groups[name] = match.groups()
        item = f"* {line.sentence.format(**groups)}"
        written.append(
            textwrap.fill(item, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        )
    return written
