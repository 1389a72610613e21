"""Exercises of notebook 01."""

from typing import Any

import torch

from tokalign_helpers.alignment import hit_at_k, local_alignment_rate, read
from tokalign_helpers.datasets import sentences
from tokalign_helpers.embedders import load_embedder
from tokalign_helpers.exercises import Question, choice

EMBEDDED = ("smol-eol",)  # on the 1,000 sentences, before the time of an answer runs


def _judge_k(answer: Any) -> str | None:
    if isinstance(answer, bool) or not isinstance(answer, int) or answer < 1:
        return f"k is a whole number from 1 on; got {answer!r}"
    embedder, texts = load_embedder("smol-eol"), sentences(1000, seed=0)
    aligned, literal = read(embedder, embedder.embed(texts), texts, k=max(10, answer))
    here = hit_at_k(aligned, literal, answer)
    if here < 0.5:
        return f"Hit@{answer} is {here:.3f}, still below one half"
    before = hit_at_k(aligned, literal, answer - 1) if answer > 1 else 0.0
    return None if before < 0.5 else f"Hit@{answer} is {here:.3f}, but Hit@{answer - 1} is {before:.3f} already"


def _judge_lar(answer: Any) -> str | None:
    cases = (
        ("one text, one of two tokens found", [[7, 1, 2]], [{7, 9}]),
        ("the third aligned token is beyond |T_s| = 2", [[1, 2, 7]], [{7, 9}]),
        ("a mean over texts, not over tokens", [[5, 0, 0, 0], [1, 2, 3, 4]], [{5}, {1, 2, 8, 9}]),
    )
    for name, aligned, literal in cases:
        expected = local_alignment_rate(torch.tensor(aligned), literal)
        got = float(answer(aligned, literal))
        if abs(got - expected) > 1e-9:
            return f"case '{name}': expected {expected:.4f}, got {got:.4f}"
    return None


q1 = Question(
    task="What is the smallest k for which `smol-eol` hits at least half of the 1,000 sentences (Hit@K ≥ 0.5, by ids)?",
    judge=_judge_k,
    clue="readings['smol-eol'] holds aligned and literal; try ta.hit_at_k(aligned, literal, k) for k = 1, 2, …",
    answer="import tokalign_helpers as ta\n"
    "smol, texts = ta.load_embedder('smol-eol'), ta.sentences(1000, seed=0)\n"
    "aligned, literal = ta.read(smol, smol.embed(texts), texts)\n"
    "answer = next(k for k in range(1, 100) if ta.hit_at_k(aligned, literal, k) >= 0.5)",
    why="A handful of tokens is enough to recognise half of the texts by a token of theirs.",
    wrong=("answer = 1", "answer = 10", "answer = 0.5"),
)
q2 = Question(
    task="Write `lar(aligned, literal)`: the local alignment rate. `aligned` holds one list of ids per text, best first; "
    "`literal` one set of ids per text.",
    judge=_judge_lar,
    clue="Of each text look at its first len(tokens) aligned ids only; divide by len(tokens); average over the texts.",
    answer="def answer(aligned, literal):\n"
    "    shares = [len(set(row[: len(tokens)]) & tokens) / len(tokens) for row, tokens in zip(aligned, literal)]\n"
    "    return sum(shares) / len(shares)",
    why="A text of n tokens gets n guesses: long texts have no advantage.",
    wrong=(
        "def answer(aligned, literal):\n"
        "    shares = [len(set(row) & tokens) / len(tokens) for row, tokens in zip(aligned, literal)]\n"
        "    return sum(shares) / len(shares)",
        "def answer(aligned, literal):\n"
        "    found = sum(len(set(row[: len(t)]) & t) for row, t in zip(aligned, literal))\n"
        "    return found / sum(len(t) for t in literal)",
    ),
)
q3 = Question(
    task="`smol-mean` has the higher LAR, `smol-eol` matches more different words. What explains it? "
    "(a) smol-mean reads more of each text's meaning, (b) smol-mean says the same frequent tokens to every text, and "
    "they stand in most texts, (c) smol-eol has seen fewer texts.",
    judge=choice(
        "b",
        {
            "a": "look at the control that answers every text with the corpus' most frequent tokens: it reads nothing",
            "c": "both are the same model on the same sentences; only prompt and pooling differ",
        },
    ),  # fmt: skip
    clue="Compare smol-mean with the control 'frequent' in LAR, and look at the kinds of the tokens.",
    answer='answer = "b"',
    why="LAR alone can be had without reading. That is why the control stands beside it.",
    wrong=('answer = "a"', 'answer = "c"', "answer = None"),
)
QUESTIONS = (q1, q2, q3)
