"""Exercises of notebook 05."""

import re
from typing import Any

import torch

from tokalign_helpers.datasets.labelled import EMOTIONS, load_two_labels
from tokalign_helpers.exercises import Question, Quiz, choice, shown
from tokalign_helpers.exercises.judging import wrong_array
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reading.alignment import read_tokens
from tokalign_helpers.reading.clusters import neighbour_agreement

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


def _judge_table(answer: Any) -> str | None:
    generator = torch.Generator().manual_seed(0)
    for n, d, k in ((6, 3, 1), (14, 4, 3)):
        lengths = torch.rand(n, 1, generator=generator) * 5 + 0.2  # which a cosine leaves out
        vectors = [torch.randn(n, d, generator=generator) * lengths for _ in range(2)]
        labels = [["ab"[i % 2] for i in range(n)], ["xyz"[i * i % 5 % 3] for i in range(n)]]
        expected = torch.tensor([[neighbour_agreement(h, own, k).mean() for own in labels] for h in vectors])
        problem = wrong_array(f"with {n} texts and k = {k}", expected, answer(vectors, labels, k), 1e-5)
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
    level="hard",
    task="Write `two_by_two(vectors, labels, k)`. `vectors` holds two matrices (n, d), the embeddings of the same texts under "
    "two instructions; `labels` two lists of n labels. Return a 2 × 2 table: entry (i, j) is the share of the k nearest "
    "neighbours under instruction i, by cosine, that carry the same label of list j as their text, over all texts. No text is "
    "its own neighbour.",
    judge=_judge_table,
    clue="With the rows at length 1, unit @ unit.T holds all cosines; fill_diagonal_(-2) takes each text out of its own "
    "neighbours, and topk(k, dim=1).indices are they.",
    answer="import torch\n"
    "def two_by_two(vectors, labels, k):\n"
    "    table = []\n"
    "    for h in vectors:\n"
    "        unit = torch.nn.functional.normalize(h, dim=1)\n"
    "        cosine = (unit @ unit.T).fill_diagonal_(-2)\n"
    "        near = cosine.topk(k, dim=1).indices.tolist()\n"
    "        pairs = [(i, j) for i, row in enumerate(near) for j in row]\n"
    "        table.append([sum(own[i] == own[j] for i, j in pairs) / len(pairs) for own in labels])\n"
    "    return table",
    name="two_by_two",
    why="The library's `neighbour_agreement` gave the same four means. It returns one share for each text, so that there can be "
    "an interval.",
    wrong=(
        "import torch\n"
        "def two_by_two(vectors, labels, k):\n"
        "    units = [torch.nn.functional.normalize(h, dim=1) for h in vectors]\n"
        "    near = [(u @ u.T).topk(k, dim=1).indices.tolist() for u in units]\n"
        "    share = lambda own, rows: sum(own[i] == own[j] for i, r in enumerate(rows) for j in r) / (k * len(rows))\n"
        "    return [[share(own, rows) for own in labels] for rows in near]",
        "import torch\n"
        "def two_by_two(vectors, labels, k):\n"
        "    near = [(h @ h.T).fill_diagonal_(-1e9).topk(k, dim=1).indices.tolist() for h in vectors]\n"
        "    share = lambda own, rows: sum(own[i] == own[j] for i, r in enumerate(rows) for j in r) / (k * len(rows))\n"
        "    return [[share(own, rows) for own in labels] for rows in near]",
        "import torch\n"
        "def two_by_two(vectors, labels, k):\n"
        "    units = [torch.nn.functional.normalize(h, dim=1) for h in vectors]\n"
        "    near = [(u @ u.T).fill_diagonal_(-2).topk(k, dim=1).indices.tolist() for u in units]\n"
        "    share = lambda own, rows: sum(own[i] == own[j] for i, r in enumerate(rows) for j in r) / (k * len(rows))\n"
        "    return [[share(own, rows) for rows in near] for own in labels]",
    ),
)
q3 = Question(
    level="easy",
    task=f"The texts have {len(EMOTIONS)} emotions and 8 topics, each combination equally often. Why does that matter? "
    "(a) groups by topic then say nothing about emotion, (b) k-means finds groups of one size only, (c) each instruction "
    "is then asked equally often, (d) chance is then the same for topics and for emotions.",
    judge=choice(
        "a",
        {
            "b": "k-means finds groups of any size; it does not know the labels",
            "c": "every text is asked under every instruction, whatever its labels",
            "d": "chance is about one in eight for topics and one in five for emotions",
        },
    ),
    clue="Suppose all texts about sport were joyful.",
    answer='answer = "a"',
    why="So each instruction can be judged alone. If joy always came with sport, a clustering by sport would pass for one by "
    "joy.",
    wrong=('answer = "b"', 'answer = "c"', 'answer = "d"', "answer = 5"),
)
quiz = Quiz(
    (
        "Why is the mean subtracted for each instruction separately?",
        "c",
        {
            "a": (
                "otherwise one would compare topics with emotions",
                "each labelling is judged under both instructions, whatever is subtracted.",
            ),
            "b": (
                "neighbours by cosine are defined for centred embeddings only",
                "they are defined for any; the reason is what the mean holds.",
            ),
            "c": (
                "each prompt brings a common part of its own",
                "the prompt is part of what is embedded, so that the mean under one does not fit the other exactly.",
            ),
            "d": (
                "with one mean for all, the instruction's effect would be lost",
                "it would stay, along with the part that all texts have in common under one instruction.",
            ),
        },
    ),
    (
        "Topics are found better under *topic* than under *emotion*. Why is that not enough to say that the right question helps?",
        "b",
        {
            "a": (
                "topics are easier to find than emotions under any instruction",
                "that may be so, but here topics are compared with topics.",
            ),
            "b": (
                "asking for the emotion may have done harm",
                "under *colour*, which asks for neither, topics are found as well as under *topic*.",
            ),
            "c": ("five neighbours are too few to tell", "their number is in the interval, which is clear of zero."),
            "d": (
                "the prompt was chosen on these texts",
                "it was chosen on the other half, and was not even the best there.",
            ),
        },
    ),
    (
        "Recall from notebook 01: where does PromptEOL read its answer?",
        "d",
        {
            "a": (
                "at the first token of the text, which all others follow",
                "a model that reads from left to right has seen nothing else there.",
            ),
            "b": (
                "at the last token of the text, before the prompt goes on",
                "that is what `smol-last` does, without a prompt.",
            ),
            "c": ("in the weighted mean of the states of all tokens", "that is `smol-wmean`."),
            "d": (
                "at the last position, after the quotation mark",
                "that is why words near the end of the prompt weigh most.",
            ),
        },
    ),
)
QUESTIONS = (q1, q2, q3)
