"""Exercises of notebook 01."""

from typing import Any

import torch

from tokalign_helpers.datasets.wikipedia import load_sentences
from tokalign_helpers.exercises import Question, choice, shown
from tokalign_helpers.exercises.judging import whole_number, wrong_number
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reading.alignment import Alignment, align

EMBEDDED = ("smol-eol",)  # on the 1,000 sentences, before the time of an answer runs


def _judge_k(answer: Any) -> str | None:
    k = whole_number(answer)
    if k is None or k > 1000:
        return f"k is a whole number from 1 to 1000; got {shown(answer)}"
    embedder, texts = load_embedder("smol-eol"), load_sentences(1000, seed=0)
    alignment = align(embedder, texts, k=k)
    here = alignment.hit_at(k)
    if here < 0.5:
        return f"Hit@{k} is {here:.3f}, still below one half"
    before = alignment.hit_at(k - 1) if k > 1 else 0.0
    return None if before < 0.5 else f"Hit@{k} is {here:.3f}, but Hit@{k - 1} is {before:.3f} already"


def _judge_lar(answer: Any) -> str | None:
    cases = (
        ("one text, one of two tokens found", [[7, 1, 2]], [{7, 9}]),
        ("the third aligned token is beyond |T_s| = 2", [[1, 2, 7]], [{7, 9}]),
        ("a mean over texts, not over tokens", [[5, 0, 0, 0], [1, 2, 3, 4]], [{5}, {1, 2, 8, 9}]),
    )
    for name, aligned, literal in cases:
        expected = Alignment(torch.tensor(aligned), literal).lar
        problem = wrong_number(f"case '{name}'", expected, answer(aligned, literal))
        if problem:
            return problem
    return None


q1 = Question(
    level="easy",
    task="What is the smallest k for which `smol-eol` hits at least half of the 1,000 sentences (Hit@K ≥ 0.5, by ids)?",
    judge=_judge_k,
    clue="try readings['smol-eol'].hit_at(k) for k = 1, 2, …",
    answer="import tokalign_helpers as ta\n"
    "smol, texts = ta.load_embedder('smol-eol'), ta.load_sentences(1000, seed=0)\n"
    "alignment = ta.align(smol, texts)\n"
    "answer = next(k for k in range(1, 100) if alignment.hit_at(k) >= 0.5)",
    why="A handful of tokens is enough to recognize half of the texts by one of their own tokens.",
    wrong=("answer = 1", "answer = 10", "answer = 0.5"),
)
q2 = Question(
    level="hard",
    task="Write `lar(aligned, literal)`: the local alignment rate. `aligned` holds one list of ids per text, best first; "
    "`literal` one set of ids per text.",
    judge=_judge_lar,
    clue="For each text, look at the first len(tokens) aligned ids only; divide by len(tokens); average over the texts.",
    answer="def lar(aligned, literal):\n"
    "    shares = [len(set(row[: len(tokens)]) & tokens) / len(tokens) for row, tokens in zip(aligned, literal)]\n"
    "    return sum(shares) / len(shares)",
    name="lar",
    why="A text of n tokens gets n guesses: long texts have no advantage.",
    wrong=(
        "def lar(aligned, literal):\n"
        "    shares = [len(set(row) & tokens) / len(tokens) for row, tokens in zip(aligned, literal)]\n"
        "    return sum(shares) / len(shares)",
        "def lar(aligned, literal):\n"
        "    found = sum(len(set(row[: len(t)]) & t) for row, t in zip(aligned, literal))\n"
        "    return found / sum(len(t) for t in literal)",
    ),
)
q3 = Question(
    level="hard",
    task="Somebody measures `smol-wmean` on 125 of these sentences, you on all 1,000. Whose rates can be compared? (a) neither "
    "LAR nor GAR, (b) GAR, because it is a share of all tokens, (c) LAR, because it is a mean over texts, whereas both "
    "unions in GAR grow with the collection, (d) both, because the sentences were drawn in the same way.",
    judge=choice(
        "c",
        {
            "a": "a mean over texts drawn in the same way estimates the same number, with a wider interval",
            "b": "it is a share, but of a union: each further text adds tokens above and below the line, at different rates",
            "d": "try it: compute both rates on texts[:125] and on all texts",
        },
    ),  # fmt: skip
    clue="readings['smol-wmean'].head(125).rates() gives the rates of the first 125 sentences.",
    answer='answer = "c"',
    why="On 125 sentences the LAR is that of all 1,000 to within 0.01, and the GAR is larger by more: quote a GAR with its number of texts.",
    wrong=('answer = "a"', 'answer = "b"', 'answer = "d"', "answer = None"),
)
QUESTIONS = (q1, q2, q3)
