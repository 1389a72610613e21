"""Exercises of notebook 03."""

from typing import Any

import torch

from tokalign_helpers.datasets.wikipedia import load_sentences
from tokalign_helpers.exercises import Question, choice, shown
from tokalign_helpers.exercises.judging import finite_number, wrong_array
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reading.alignment import align
from tokalign_helpers.reading.spectrum import PrincipalComponents

ENOUGH = 0.19  # GAR: twice that of the raw embeddings
EMBEDDED = ("smol-eol",)  # on the 1,000 sentences, before the time of an answer runs


def _judge_amount(answer: Any) -> str | None:
    amount = finite_number(answer)
    if amount is None or amount != round(amount):
        return f"λ is a whole number here; got {shown(answer)}"
    embedder, texts = load_embedder("smol-eol"), load_sentences(1000, seed=0)
    h = embedder.embed(texts)
    components = PrincipalComponents.fit(h[:500])
    gar = [align(embedder, texts[500:], components.adjust(h[500:], shift)).gar for shift in (amount, amount + 1)]
    if gar[0] < ENOUGH:
        return f"GAR is {gar[0]:.3f} at λ = {amount:g}; it is to be at least {ENOUGH:g}"
    return f"at λ = {amount + 1:g}, nearer to 0, GAR is {gar[1]:.3f} still" if gar[1] >= ENOUGH else None


def _judge_adjusted(answer: Any) -> str | None:
    generator = torch.Generator().manual_seed(0)
    for n, d in ((4, 3), (30, 6)):
        before = torch.randn(n, d, generator=generator) + torch.linspace(1, 3, d)
        after = 1.5 * torch.randn(n, d, generator=generator) - torch.linspace(0, 2, d)
        components = PrincipalComponents.fit(before)
        expected = components.adjust(before, float(components.variation(before, after)[0]))
        problem = wrong_array(f"with {n} texts of {d} numbers", expected, answer(before, after), 1e-3)
        if problem:
            return problem
    return None


q1 = Question(
    level="medium",
    task="Write `adjusted(before, after)`: `before` and `after` (n, d) are the embeddings of the same texts by the raw model "
    "and by the trained embedder. Find $u_1$ of the raw ones and $v_1$, and return the raw ones moved by $v_1$ along $u_1$.",
    judge=_judge_adjusted,
    clue="u_1 is the first row of torch.linalg.svd(before, full_matrices=False).Vh; v_1 is the mean of (after - before) @ u_1.",
    answer="import torch\n"
    "def adjusted(before, after):\n"
    "    u = torch.linalg.svd(before, full_matrices=False).Vh[0]\n"
    "    v = ((after - before) @ u).mean()\n"
    "    return before + v * u",
    name="adjusted",
    why="The sign of u did not matter: with −u, v is −v, and v u the same. The library's `fit`, `variation` and `adjust` gave "
    "the same embeddings.",
    wrong=(
        "def adjusted(before, after):\n    return before + (after - before).mean(dim=0)",
        "import torch\n"
        "def adjusted(before, after):\n"
        "    u = torch.linalg.svd(before, full_matrices=False).Vh[0]\n"
        "    return before + torch.outer((after - before) @ u, u)",
        "import torch\n"
        "def adjusted(before, after):\n"
        "    u = torch.linalg.svd(before, full_matrices=False).Vh[0]\n"
        "    return before + ((before - after) @ u).mean() * u",
        "import torch\n"
        "def adjusted(before, after):\n"
        "    u = torch.linalg.svd(after, full_matrices=False).Vh[0]\n"
        "    return before + ((after - before) @ u).mean() * u",
        "import torch\n"
        "def adjusted(before, after):\n"
        "    u = torch.linalg.svd(before, full_matrices=False).Vh[0]\n"
        "    return ((after - before) @ u).mean() * u",
    ),
)
q2 = Question(
    level="easy",
    task="How small a shift is enough? Find the whole number λ nearest to 0 for which the GAR of `smol-eol` on the "
    "second half of the sentences, with $u_1$ of the first half, is at least 0.19.",
    judge=_judge_amount,
    clue="ta.sweep takes a list of amounts; the figure above says between which to look.",
    answer="answer = -16",
    why="Good amounts make a wide range, and this is where it begins: well before v_1.",
    wrong=("answer = 50", "answer = -5", "answer = -56", "answer = 'left'"),
)
q3 = Question(
    level="hard",
    task="Moving all embeddings by the same vector leaves all differences between texts as they are. Why do the "
    "aligned tokens change all the same? (a) the decoder adds the same scores to every text, and that reorders the "
    "tokens within each, (b) the decoder is trained again, (c) the texts are embedded again.",
    judge=choice(
        "a",
        {
            "b": "E_g is the backbone's own matrix and is never changed",
            "c": "the embeddings are computed once; only a vector is added to them",
        },
    ),
    clue="E_g (h + λu) = E_g h + λ E_g u. The second part does not depend on the text.",
    answer='answer = "a"',
    why="The second part is one number for each token: a bonus for some tokens, a penalty for 'the' and the comma.",
    wrong=('answer = "b"', 'answer = "c"', "answer = ['a']"),
)
QUESTIONS = (q1, q2, q3)
