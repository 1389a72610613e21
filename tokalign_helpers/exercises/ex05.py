"""Exercises of notebook 05."""

import re
from typing import Any

from tokalign_helpers.datasets.labelled import EMOTIONS, load_two_labels
from tokalign_helpers.exercises import Question, choice, shown
from tokalign_helpers.exercises.judging import wrong_number
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reading.alignment import read_tokens

TEXT = "My flight to Paris was cancelled and the airline refused to refund me!"
PLACES = {"paris", "france", "french", "airport", "europe"}


def _judge_instruction(answer: Any) -> str | None:
    if not isinstance(answer, str) or not re.search(r"[^\W\d_]{3}", answer):
        return f"an instruction is a word or a phrase, as a string; got {shown(answer)}"
    if {"topic", "emotion"} & set(re.findall(r"\w+", answer.casefold())):
        return "the topic and the emotion stand above; ask for something else"
    base = load_embedder("smol-eol")
    texts = load_two_labels()["text"].tolist()
    asked = base.with_instruction(answer)
    mean = asked.embed(texts).mean(dim=0)
    tokens = read_tokens(asked, asked.embed([TEXT]) - mean, [TEXT], 20)["token"].str.strip("▁").str.lower()
    places = sorted(set(tokens) & PLACES)
    return (
        f"asked for the {answer}, it still says {' and '.join(places)}, among: {', '.join(tokens)}" if places else None
    )


def _judge_agreement(answer: Any) -> str | None:
    cases = (
        ("all neighbours agree", ["a", "a", "b", "b"], [[1], [0], [3], [2]], 1.0),
        ("none agrees", ["a", "b"], [[1], [0]], 0.0),
        ("two of three", ["a", "a", "b", "a"], [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]], 0.5),
    )
    for name, labels, neighbours, expected in cases:
        problem = wrong_number(f"case '{name}'", expected, answer(labels, neighbours))
        if problem:
            return problem
    return None


q1 = Question(
    level="medium",
    task="Whatever `smol-eol` is asked for, it likes to say where: under *colour* as under *animal*, `Paris` is among its 20 best "
    "centred tokens for the text about the flight. Find an instruction of your own, one word or a phrase and neither "
    "topic nor emotion, under which none of the 20 is a place (Paris, France, French, Europe, airport).",
    judge=_judge_instruction,
    clue='The prompt goes: This sentence : "…" The … in one word. Ask for something that a place cannot be the answer to.',
    answer='answer = "reason"',
    why="A place answers many questions, but not why somebody complains: the prompt decides what the model is about to say.",
    wrong=("answer = 3", 'answer = ""', 'answer = "emotion"', 'answer = "colour"', 'answer = "city"'),
)
q2 = Question(
    level="medium",
    task="Write `agreement(labels, neighbours)`: the share of all neighbours that carry the label of the text they are "
    "neighbours of. `neighbours` holds a list of positions for each text.",
    judge=_judge_agreement,
    clue="Compare labels[j] with labels[i] for every j among the neighbours of i, and average over all of them.",
    answer="def agreement(labels, neighbours):\n"
    "    same = [labels[i] == labels[j] for i, row in enumerate(neighbours) for j in row]\n"
    "    return sum(same) / len(same)",
    name="agreement",
    why="With five balanced labels, chance is a little under one fifth.",
    wrong=(
        "def agreement(labels, neighbours):\n    return sum(len(row) for row in neighbours) / len(labels)",
        "def agreement(labels, neighbours):\n"
        "    same = [labels[i] != labels[j] for i, row in enumerate(neighbours) for j in row]\n"
        "    return sum(same) / len(same)",
    ),
)
q3 = Question(
    level="easy",
    task=f"The texts have {len(EMOTIONS)} emotions and 8 topics, each combination equally often. Why does that matter? "
    "(a) clusters by topic then say nothing about emotion, so each instruction can be judged alone, (b) k-means needs "
    "it, (c) it makes the texts longer.",
    judge=choice(
        "a",
        {
            "b": "k-means works on any texts; it only finds groups",
            "c": "the design says how often labels meet, not how long a text is",
        },
    ),
    clue="Suppose all texts about sport were joyful.",
    answer='answer = "a"',
    why="If joy always came with sport, a clustering by sport would pass for a clustering by joy.",
    wrong=('answer = "b"', 'answer = "c"', "answer = 5"),
)
QUESTIONS = (q1, q2, q3)
