"""Exercises of notebook 06."""

from typing import Any

import torch

from tokalign_helpers.exercises import Question, Quiz, choice, shown
from tokalign_helpers.exercises.judging import wrong_array
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reading.explain import token_contributions


def _judge_pair(answer: Any) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(isinstance(t, str) for t in answer):
        return f"it must be two sentences, as a tuple of two strings; got {shown(answer)}"
    if len(set(answer[0].lower().split()) ^ set(answer[1].lower().split())) > 3:
        return "the two sentences differ in more than three words"
    cosine = {}
    for name in ("smol-sim", "smol-rel"):
        a, b = load_embedder(name).embed(list(answer))
        cosine[name] = float(torch.cosine_similarity(a, b, dim=0))
    gap = cosine["smol-rel"] - cosine["smol-sim"]
    if gap >= 0.05:
        return None
    return (
        f"smol-sim gives {cosine['smol-sim']:.2f} and smol-rel {cosine['smol-rel']:.2f}: a gap of {gap:.3f}, not 0.05"
    )


def _judge_contributions(answer: Any) -> str | None:
    generator, tokenizer = torch.Generator().manual_seed(0), load_embedder("smol-sim").tokenizer
    for v, d in ((9, 3), (30, 5)):
        weight = torch.randn(v, d, generator=generator) * torch.linspace(3, 1, d)
        a, b = 2 * torch.randn(d, generator=generator), torch.randn(d, generator=generator)
        split = token_contributions(TokenDecoder(weight, tokenizer), a, b).sort_values("id")
        expected = torch.from_numpy(split["contribution"].to_numpy().copy())
        problem = wrong_array(f"with V={v}, d={d}", expected, answer(weight, a, b))
        if problem:
            return problem
    return None


q1 = Question(
    level="easy",
    task="Find two sentences that differ in at most three words and whose cosine is at least 0.05 larger in `smol-rel` than in "
    "`smol-sim`.",
    judge=_judge_pair,
    clue="`smol-sim` was trained on thousands of sentences and the same with *not*; `smol-rel` saw none.",
    answer='answer_1 = ("The temperature will rise tomorrow.", "The temperature will not rise tomorrow.")',
    name="answer_1",
    why="Both are about tomorrow's temperature; they say opposite things, and by the word that `smol-sim` was trained on.",
    wrong=(
        'answer_1 = "apples"',
        'answer_1 = ("A cat sleeps.", "Rome is a city in Italy.")',
        'answer_1 = ("Yes.", "Yes.")',
    ),
)
q2 = Question(
    level="hard",
    task="Write `contributions(E, a, b)`: how much each token adds to the cosine of two embeddings a and b (d,), given the "
    "decoder layer's matrix $E_g$ as `E` (V, d). Bring a and b to length 1 first. $(E^\\top E)^{-1/2}$ has the eigenvectors of "
    "$E^\\top E$, and its eigenvalues to the power −½.",
    judge=_judge_contributions,
    clue="values, vectors = torch.linalg.eigh(E.T @ E); then (vectors * values.rsqrt()) @ vectors.T is the root, and E @ root "
    "the tight frame.",
    answer="import torch\n"
    "def contributions(E, a, b):\n"
    "    values, vectors = torch.linalg.eigh(E.T @ E)\n"
    "    root = (vectors * values.rsqrt()) @ vectors.T\n"
    "    frame = E @ root\n"
    "    a, b = a / a.norm(), b / b.norm()\n"
    "    return (frame @ a) * (frame @ b)",
    name="contributions",
    why="Their sum is the cosine, because the frame's columns are orthonormal. The library's `token_contributions` gave the same, "
    "and names the tokens.",
    wrong=(
        "def contributions(E, a, b):\n    a, b = a / a.norm(), b / b.norm()\n    return (E @ a) * (E @ b)",
        "import torch\n"
        "def contributions(E, a, b):\n"
        "    values, vectors = torch.linalg.eigh(E.T @ E)\n"
        "    frame = E @ (vectors * values.rsqrt()) @ vectors.T\n"
        "    return (frame @ a) * (frame @ b)",
        "import torch\n"
        "def contributions(E, a, b):\n"
        "    values, vectors = torch.linalg.eigh(E.T @ E)\n"
        "    frame = E @ (vectors * values.rsqrt()) @ vectors.T\n"
        "    return frame @ (a / a.norm()) + frame @ (b / b.norm())",
        "import torch\n"
        "def contributions(E, a, b):\n"
        "    frame = E @ torch.linalg.inv(E.T @ E)\n"
        "    return (frame @ (a / a.norm())) * (frame @ (b / b.norm()))",
    ),
)
q3 = Question(
    level="medium",
    task='A forum wants a filter for duplicate questions, and somebody proposes `smol-sim`, "because it was trained for similarity". '
    "What do the numbers of this notebook say? (a) yes, because it leads on SimLex-999, (b) it is no better than the others, "
    "(c) no, because `smol-rel` is better, (d) yes, because opposites share fewer tokens in it.",
    judge=choice(
        "b",
        {
            "a": "SimLex-999 rates single words; the task is about whole questions, and those were measured",
            "c": "the difference on the questions is zero; there is no winner",
            "d": "negations made by the rule do, others and opposite words do not; and the task itself was measured",
        },
    ),
    clue="Look at the task itself, not at a measurement that sounds like it.",
    answer='answer_3 = "b"',
    name="answer_3",
    why="A name such as 'similarity' says what an embedder was trained for. What it can do is measured on the task.",
    wrong=('answer_3 = "a"', 'answer_3 = "c"', 'answer_3 = "d"', "answer_3 = None"),
)
quiz = Quiz(
    (
        "Why compare orders within a group, and not cosines between embedders?",
        "a",
        {
            "a": (
                "each embedder uses the scale in its own way",
                "in one even unrelated pairs have cosines near 1. An order means the same everywhere.",
            ),
            "b": (
                "cosines of sentences are too noisy to be compared at all",
                "the orders are made of the same cosines.",
            ),
            "c": (
                "orders need fewer sentences than cosines for an interval",
                "they need more, if anything: an order throws the distance away.",
            ),
            "d": (
                "cosines of different embedders may have different signs",
                "they may, but the scale is the problem also where all are positive.",
            ),
        },
    ),
    (
        "What makes $(E_g a)\\cdot(E_g b)$ differ from $a \\cdot b$?",
        "c",
        {
            "a": ("$E_g$ has more rows than columns", "so has the tight frame, and there the two agree."),
            "b": ("the embeddings are not of length 1", "that would scale both sides alike."),
            "c": (
                "the rows of $E_g$ are unevenly spread",
                "some directions count more often; multiplied by the inverse square root of E_gᵀE_g, each counts once.",
            ),
            "d": ("the scores of most tokens are below zero", "the sign of a score is no obstacle to the sum."),
        },
    ),
    (
        "Recall from notebook 05: `smol-eol` is asked for the emotion of a text instead of the topic. What becomes of its ten best tokens?",
        "b",
        {
            "a": ("nearly all are replaced", "that is nearer to `smol-asked`, which was trained to heed the question."),
            "b": ("about half are replaced", "five of ten stay on average, and what comes in seldom names an emotion."),
            "c": (
                "the same ten change places",
                "a question about the topic and one about a colour have more than six of ten in common, these two fewer.",
            ),
            "d": (
                "one or two give way to emotion words",
                "more than two give way, and one text in twenty has an emotion word among the ten.",
            ),
        },
    ),
)
QUESTIONS = (q1, q2, q3)
