"""Exercises of notebook 01."""

from typing import Any

import torch

from tokalign_helpers.datasets.wikipedia import load_sentences
from tokalign_helpers.exercises import Question, Quiz, choice, shown
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


def _judge_gar(answer: Any) -> str | None:
    cases = (
        ("two texts, two of four tokens found", [[7, 1], [3, 4]], [{7, 9}, {3, 5}]),
        ("the third aligned token is beyond the n = 2 of the text", [[1, 2, 7], [3, 4, 5]], [{7, 9}, {3, 4}]),
        ("a token counts where it is in the text, not in another one", [[5, 0], [7, 1]], [{7, 9}, {5, 7}]),
        ("a token of two texts counts once", [[7, 0, 0], [7, 0, 0]], [{7, 1, 2}, {7, 3}]),
    )
    for name, aligned, literal in cases:
        expected = Alignment(torch.tensor(aligned), literal).gar
        problem = wrong_number(f"case '{name}'", expected, answer(aligned, literal))
        if problem:
            return problem
    return None


q1 = Question(
    level="medium",
    task="Write `my_gar(aligned, literal)`: the global alignment rate. `aligned` holds one list of ids per text, best first; "
    "`literal` one set of ids per text.",
    judge=_judge_gar,
    clue="For each text, set(row[: len(tokens)]) & tokens are the tokens that it finds of its own. Collect them in one set "
    "for all texts, and all tokens of all texts in another.",
    answer="def my_gar(aligned, literal):\n"
    "    found, present = set(), set()\n"
    "    for row, tokens in zip(aligned, literal):\n"
    "        found |= set(row[: len(tokens)]) & tokens\n"
    "        present |= tokens\n"
    "    return len(found) / len(present)",
    name="my_gar",
    why="Whoever gives every text the same answer finds few of all the tokens. The library's `Alignment(...).gar` gave the "
    "same in every case.",
    wrong=(
        "def my_gar(aligned, literal):\n"
        "    shares = [len(set(row[: len(t)]) & t) / len(t) for row, t in zip(aligned, literal)]\n"
        "    return sum(shares) / len(shares)",
        "def my_gar(aligned, literal):\n"
        "    found = set().union(*(set(row) & t for row, t in zip(aligned, literal)))\n"
        "    return len(found) / len(set().union(*literal))",
        "def my_gar(aligned, literal):\n"
        "    present = set().union(*literal)\n"
        "    found = set().union(*(row[: len(t)] for row, t in zip(aligned, literal))) & present\n"
        "    return len(found) / len(present)",
        "def my_gar(aligned, literal):\n"
        "    found = sum(len(set(row[: len(t)]) & t) for row, t in zip(aligned, literal))\n"
        "    return found / sum(map(len, literal))",
    ),
)
q2 = Question(
    level="easy",
    task="What is the smallest k for which `smol-eol` hits at least half of the 1,000 sentences? "
    "`readings['smol-eol'].hit_at(k)` is Hit@K.",
    judge=_judge_k,
    clue="Try k = 1, 2, … until the share is one half or more.",
    answer="import tokalign_helpers as ta\n"
    "smol, texts = ta.load_embedder('smol-eol'), ta.load_sentences(1000, seed=0)\n"
    "alignment = ta.align(smol, texts)\n"
    "answer = next(k for k in range(1, 100) if alignment.hit_at(k) >= 0.5)",
    why="A handful of tokens is enough to recognize half of the texts by one of their own tokens.",
    wrong=("answer = 1", "answer = 10", "answer = 0.5"),
)
q3 = Question(
    level="hard",
    task="Somebody measures `smol-wmean` on 125 of these sentences, you on all 1,000. Which rates can be compared? (a) neither "
    "GAR nor LAR, (b) GAR only, (c) LAR only, (d) GAR and LAR.",
    judge=choice(
        "c",
        {
            "a": "a mean over texts drawn in the same way, as LAR is, estimates the same number, with a wider interval",
            "b": "GAR is a share, but of a union: each further text adds tokens above and below the line, at different rates",
            "d": "try it: compute both rates on texts[:125] and on all texts",
        },
    ),
    clue="readings['smol-wmean'].head(125).rates() gives the rates of the first 125 sentences.",
    answer='answer = "c"',
    why="A mean over texts does not hang on their number; the two unions of GAR, tokens found and tokens present, do. On "
    "125 sentences the LAR is that of all 1,000 to within 0.01, and the GAR is larger by more: quote a GAR with its number of texts.",
    wrong=('answer = "a"', 'answer = "b"', 'answer = "d"', "answer = None"),
)
quiz = Quiz(
    (
        "An embedder has Hit@10 = 1.00. What do you know?",
        "b",
        {
            "a": (
                "it names the key tokens of every text",
                "if one of the ten is the full stop, you know nothing about the key tokens.",
            ),
            "b": (
                "each text has one of its ten best tokens in it",
                "that is the definition, and a control that has read nothing nearly reaches it.",
            ),
            "c": ("the ten best tokens of each text are all in the text", "one of the ten is enough for a hit."),
            "d": ("it was trained", "the untrained average comes close to 1 as well."),
        },
    ),
    (
        "Why is the interval of GAR made by leaving texts out, and not by a bootstrap?",
        "d",
        {
            "a": ("there are too many texts for a bootstrap", "a bootstrap works with any number of them."),
            "b": (
                "GAR is too close to zero for a bootstrap",
                "it is far from zero for trained embedders, and the reason is another one.",
            ),
            "c": (
                "leaving texts out gives a shorter interval",
                "the shortest interval is not the aim; the right one is.",
            ),
            "d": (
                "repeated texts hold fewer tokens",
                "a ratio of unions then comes out shifted. Leaving out one text at a time, the jackknife, has no"
                " repeats.",
            ),
        },
    ),
    (
        "Which of these would you show a sceptic first?",
        "a",
        {
            "a": (
                "key tokens among those that align, beside those of the text",
                "whoever has not read the text gets no more than its share there; the raw average is far below it.",
            ),
            "b": (
                "Hit@10 of the trained embedder, beside that of the raw one",
                "a control that has read nothing has a higher one than either.",
            ),
            "c": (
                "LAR of the trained embedder, beside that of the raw average, with intervals",
                "the two are nearly the same, and so is that of the control.",
            ),
            "d": (
                "the tokens of five texts that show the finding well, before and after",
                "chosen examples show that it happens, not how often.",
            ),
        },
    ),
)
QUESTIONS = (q1, q2, q3)
