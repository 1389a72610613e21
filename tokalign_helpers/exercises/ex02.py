"""Exercises of notebook 02."""

from typing import Any

import torch

from tokalign_helpers.datasets import sentences
from tokalign_helpers.embedders import load_embedder
from tokalign_helpers.exercises import Question, choice
from tokalign_helpers.spectrum import PrincipalComponents

EMBEDDED = ("smol-wmean",)  # on the 1,000 sentences, before the time of an answer runs


def _judge_count(answer: Any) -> str | None:
    if isinstance(answer, bool) or not isinstance(answer, int) or answer < 1:
        return f"a number of components is a whole number from 1 on; got {answer!r}"
    held = PrincipalComponents.fit(load_embedder("smol-wmean").embed(sentences(1000, seed=0))).shares.cumsum(0)
    share = float(held[min(answer, len(held)) - 1])
    if share < 0.9:
        return f"{answer} components hold {share:.3f} of the energy, still below 0.9"
    before = float(held[answer - 2]) if answer > 1 else 0.0
    return None if before < 0.9 else f"{answer} components hold {share:.3f}, but {answer - 1} hold {before:.3f} already"


def _judge_variation(answer: Any) -> str | None:
    generator = torch.Generator().manual_seed(0)
    for n, d in ((3, 4), (7, 2)):
        before, after = torch.randn(n, d, generator=generator), torch.randn(n, d, generator=generator)
        u = torch.nn.functional.normalize(torch.randn(d, generator=generator), dim=0)
        expected, got = float(((after - before) @ u).mean()), float(answer(before, after, u))
        if abs(got - expected) > 1e-5:
            return f"with {n} texts of {d} numbers expected {expected:.4f}, got {got:.4f}"
    return None


q1 = Question(
    task="How many components of the uncentred `smol-wmean` embeddings hold 90 % of the energy?",
    judge=_judge_count,
    clue="components['smol-wmean'].shares.cumsum(0) adds the shares up; find the first entry that reaches 0.9.",
    answer="import tokalign_helpers as ta\n"
    "h = ta.load_embedder('smol-wmean').embed(ta.sentences(1000, seed=0))\n"
    "held = ta.PrincipalComponents.fit(h).shares.cumsum(0)\n"
    "answer = int((held < 0.9).sum()) + 1",
    why="A few dozen directions out of 576 hold nearly everything, and one of them most of it.",
    wrong=("answer = 1", "answer = 500", "answer = 0.9"),
)
q2 = Question(
    task="Write `variation(before, after, u)`: v = mean of (ĥ − h)ᵀu over the texts, for two (n, d) matrices and one "
    "direction u (d,).",
    judge=_judge_variation,
    clue="(after - before) @ u has one number a text.",
    answer="def answer(before, after, u):\n    return ((after - before) @ u).mean()",
    why="The mean keeps the sign: texts that move in opposite ways cancel out.",
    wrong=(
        "def answer(before, after, u):\n    return ((after - before) @ u).abs().mean()",
        "def answer(before, after, u):\n    return ((before - after) @ u).mean()",
        "def answer(before, after, u):\n    return (after - before).mean()",
    ),
)
q3 = Question(
    task="After centring, the first component holds a much smaller share of the energy. Why? (a) centring removes "
    "noise, (b) the uncentred first component is nearly the mean itself, and centring removes the mean, (c) "
    "fewer texts are left.",
    judge=choice(
        "b",
        {
            "a": "centring subtracts one and the same vector from every text; noise differs from text to text",
            "c": "no text is removed: every one of them only loses the common part",
        },
    ),
    clue="Look at the cosine of u_1 with the mean embedding.",
    answer='answer = "b"',
    why="What all embeddings share says nothing about any of them, and it is by far the largest part.",
    wrong=('answer = "a"', 'answer = "c"', "answer = 2"),
)
QUESTIONS = (q1, q2, q3)
