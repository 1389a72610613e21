"""Exercises of notebook 07."""

from typing import Any

from tokalign_helpers.exercises import Question, choice, shown
from tokalign_helpers.exercises.judging import whole_number, wrong_number
from tokalign_helpers.models.embedders import plan_loading


def _judge_memory(answer: Any) -> str | None:
    gigabytes = whole_number(answer)
    if gigabytes is None:
        return f"a whole number of GB, from 1 on; got {shown(answer)}"
    here = plan_loading("llama-eol", device="cpu", free=gigabytes * 10**9)
    if not here.fits:
        return f"with {gigabytes} GB: {here}"
    less = plan_loading("llama-eol", device="cpu", free=(gigabytes - 1) * 10**9)
    return f"it fits, but {gigabytes - 1} GB are enough as well: {less}" if less.fits else None


def _judge_kept(answer: Any) -> str | None:
    cases = (
        ("one collection", {"a": 0.5}, {"a": 0.4}, 0.8),
        ("a mean of shares, not a share of means", {"a": 0.2, "b": 0.8}, {"a": 0.2, "b": 0.4}, 0.75),
        ("the order of the names does not matter", {"a": 0.4, "b": 0.5}, {"b": 0.5, "a": 0.2}, 0.75),
    )
    for name, dense, sparse, expected in cases:
        problem = wrong_number(f"case '{name}'", expected, answer(dense, sparse))
        if problem:
            return problem
    return None


q1 = Question(
    level="easy",
    task="What is the smallest whole number of GB of free memory into which `llama-eol` fits on a CPU, at whichever "
    "precision the plan chooses?",
    judge=_judge_memory,
    clue="Print ta.plan_loading('llama-eol', device='cpu', free=g * 10**9) for a few g; the plan says what it needs.",
    answer="import tokalign_helpers as ta\n"
    "answer = next(g for g in range(1, 100) if ta.plan_loading('llama-eol', device='cpu', free=g * 10**9).fits)",
    why="At 16 bits each of the seven billion numbers takes two bytes; the rest is E_g and room to work in.",
    wrong=("answer = 14", "answer = 16", "answer = '15 GB'"),
)
q2 = Question(
    level="easy",
    task="Write `kept_share(dense, sparse)`: the share of the dense nDCG that the sparse vectors keep, averaged over "
    "collections. Both are dictionaries from a collection's name to its nDCG.",
    judge=_judge_kept,
    clue="One share for each name, then the mean of the shares.",
    answer="def kept_share(dense, sparse):\n    return sum(sparse[name] / dense[name] for name in dense) / len(dense)",
    name="kept_share",
    why="Each collection counts the same, however easy it is.",
    wrong=(
        "def kept_share(dense, sparse):\n    return sum(sparse.values()) / sum(dense.values())",
        "def kept_share(dense, sparse):\n"
        "    return sum(s / d for s, d in zip(sparse.values(), dense.values())) / len(dense)",
    ),
)
q3 = Question(
    level="medium",
    task="Why is $E_g$ read from the backbone's files and not from the embedder's own? (a) the backbone's files are "
    "smaller, (b) the embedder's vectors have another length, (c) the embedder's own layer would give the same tokens more "
    "slowly, (d) the embedder's files usually have no decoder layer, and training may have moved its token embeddings.",
    judge=choice(
        "d",
        {
            "a": "they are larger, if anything; and only the one tensor is read",
            "c": "where training has moved the layer, its tokens are others; and the product takes as long",
            "b": "if they had, no decoder layer of the backbone could read them at all",
        },
    ),
    clue="The question of the course is whether the embedding still speaks the language of the LLM it was made from.",
    answer='answer = "d"',
    why="Only the backbone's own layer can show that the embedding kept its language.",
    wrong=('answer = "a"', 'answer = "b"', 'answer = "c"', "answer = b''"),
)
QUESTIONS = (q1, q2, q3)
