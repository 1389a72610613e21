"""Exercises of notebook 00."""

import re
from typing import Any

import torch

from tokalign_helpers.exercises import Question, choice, shown
from tokalign_helpers.exercises.judging import wrong_ids
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reading.alignment import aligned_tokens
from tokalign_helpers.reading.vocabulary import function_words


def _judge_sentence(answer: Any) -> str | None:
    words = set(re.findall(r"[^\W\d_]+", answer.casefold())) if isinstance(answer, str) else set()
    if len(words) < 5:
        return f"it must be a sentence of at least five different words, as a string; got {shown(answer)}"
    tokens = aligned_tokens(load_embedder("smol-cse"), [answer], k=3)["token"].tolist()
    content = {word for word in words if len(word) >= 3} - function_words()
    found = {token.lstrip("▁").casefold() for token in tokens} & content
    if len(found) >= 2:
        return None
    return (
        f"the three best tokens of {shown(answer)} are {', '.join(tokens)}; "
        f"{len(found) or 'none'} of your content words {'is' if len(found) < 2 else 'are'} among them, two are asked"
    )


def _judge_top_ids(answer: Any) -> str | None:
    generator = torch.Generator().manual_seed(0)
    for v, d, k in ((6, 3, 2), (40, 8, 5), (10, 4, 10)):
        weight, h = torch.randn(v, d, generator=generator), torch.randn(d, generator=generator) - 1
        expected = (weight @ h).argsort(descending=True)[:k].tolist()
        problem = wrong_ids(f"with V={v}, d={d}, k={k}", expected, answer(h, weight, k))
        if problem:
            return problem
    return None


q1 = Question(
    level="easy",
    task="Change the sentence until two of the three best tokens of `smol-cse` are different content words of your text.",
    judge=_judge_sentence,
    clue="A short sentence about two things works best, each of them a common word. Capitals and the leading space do "
    "not matter, but `dogs` is not `dog`.",
    answer='answer = "My dog loves to chase the ball in the garden."',
    why="A trained embedding says several words of its text, and the two best are often its subject and what it does.",
    wrong=(
        'answer = "Hello"',
        "answer = 5",
        'answer = "it was in the of and to"',
        'answer = "water water water water water"',
        'answer = "What diseases are parrots prone to?"',
    ),
)
q2 = Question(
    level="easy",
    task="Write `top_ids(h, weight, k)`: the ids of the k best tokens for one embedding h (d,), best first, "
    "given the decoder layer's weight (V, d).",
    judge=_judge_top_ids,
    clue="weight @ h has one score per token. torch.topk gives values and indices.",
    answer="def top_ids(h, weight, k):\n    return (weight @ h).topk(k).indices",
    name="top_ids",
    why="That is the whole of the method: one matrix product and a sort.",
    wrong=(
        "def top_ids(h, weight, k):\n    return (weight @ h).topk(k).values",
        "def top_ids(h, weight, k):\n    return (-(weight @ h)).topk(k).indices",
    ),
)
q3 = Question(
    level="medium",
    task="Someone divides the embedding by its length before decoding. What happens to the list of aligned tokens? "
    "(a) the order changes, (b) only rare tokens are left, (c) the order stays and all scores shrink by one factor.",
    judge=choice(
        "c",
        {
            "a": "one positive factor on h is one positive factor on every score, and that reorders nothing",
            "b": "no token is treated differently from another: every score is multiplied by the same number",
        },
    ),  # fmt: skip
    clue="E_g (h / c) = (E_g h) / c.",
    answer='answer = "c"',
    why="The order needs no length. The weights do: notebook 04 uses the scores, and so keeps the length.",
    wrong=('answer = "a"', 'answer = "b"', 'answer = "z"'),
)
QUESTIONS = (q1, q2, q3)
