"""Exercises of notebook 02."""

from typing import Any

import torch

from tokalign_helpers.datasets.wikipedia import load_sentences
from tokalign_helpers.exercises import Question, Quiz, choice, shown
from tokalign_helpers.exercises.judging import whole_number, wrong_array
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reading.spectrum import PrincipalComponents

EMBEDDED = ("smol-wmean",)  # on the 1,000 sentences, before the time of an answer runs


def _judge_count(answer: Any) -> str | None:
    count = whole_number(answer)
    if count is None:
        return f"a number of components is a whole number from 1 on; got {shown(answer)}"
    held = PrincipalComponents.fit(load_embedder("smol-wmean").embed(load_sentences(1000, seed=0))).shares.cumsum(0)
    share = float(held[min(count, len(held)) - 1])
    if share < 0.9:
        return f"{count} components hold {share:.3f} of the energy, still below 0.9"
    before = float(held[min(count - 1, len(held)) - 1]) if count > 1 else 0.0
    return None if before < 0.9 else f"{count} components hold {share:.3f}, but {count - 1} hold {before:.3f} already"


def _judge_components(answer: Any) -> str | None:
    generator = torch.Generator().manual_seed(0)
    for n, d, m in ((9, 4, 2), (40, 6, 3), (4, 7, 2)):
        h = torch.randn(n, d, generator=generator) * torch.linspace(3, 1, d) + torch.linspace(1, 2, d)
        expected = PrincipalComponents.fit(h, m).directions
        problem = wrong_array(f"with {n} texts of {d} numbers, m = {m}", expected, answer(h, m), 1e-3)
        if problem:
            return problem
    return None


q1 = Question(
    level="medium",
    task="Write `first_components(h, m)`: the first m principal components of the embeddings h (n, d), as the rows of an (m, d) "
    "matrix. Do not subtract the mean, and choose each sign so that the mean of `h @ u` over the texts is positive.",
    judge=_judge_components,
    clue="torch.linalg.svd(h, full_matrices=False).Vh has the right singular vectors as rows, the first one first. "
    "(h @ directions.T).mean(dim=0) says which of them point the wrong way.",
    answer="import torch\n"
    "def first_components(h, m):\n"
    "    directions = torch.linalg.svd(h, full_matrices=False).Vh[:m]\n"
    "    along = (h @ directions.T).mean(dim=0)\n"
    "    signs = torch.where(along < 0, -1.0, 1.0)\n"
    "    return directions * signs[:, None]",
    name="first_components",
    why="The library's `PrincipalComponents.fit(h, m).directions` gave the same, by another way: it never needs the whole of "
    "h at once, only the sum of h hᵀ over the texts, which is (d, d).",
    wrong=(
        "import torch\n"
        "def first_components(h, m):\n"
        "    centred = h - h.mean(dim=0)\n"
        "    u = torch.linalg.svd(centred, full_matrices=False).Vh[:m]\n"
        "    return u * torch.where((h @ u.T).mean(dim=0) < 0, -1.0, 1.0)[:, None]",
        "import torch\n"
        "def first_components(h, m):\n"
        "    u = torch.linalg.svd(h, full_matrices=False).Vh[:m]\n"
        "    return u * torch.where((h @ u.T).mean(dim=0) < 0, 1.0, -1.0)[:, None]",
        "import torch\n"
        "def first_components(h, m):\n"
        "    _, s, u = torch.linalg.svd(h, full_matrices=False)\n"
        "    return s[:m, None] * u[:m] * torch.where((h @ u[:m].T).mean(dim=0) < 0, -1.0, 1.0)[:, None]",
        "import torch\n"
        "def first_components(h, m):\n"
        "    u = torch.linalg.svd(h, full_matrices=False).Vh[-m:]\n"
        "    return u * torch.where((h @ u.T).mean(dim=0) < 0, -1.0, 1.0)[:, None]",
        "import torch\ndef first_components(h, m):\n    return torch.linalg.svd(h, full_matrices=False).U[:, :m].T",
    ),
)
q2 = Question(
    level="easy",
    task="How many components of the uncentred `smol-wmean` embeddings hold 90 % of the energy?",
    judge=_judge_count,
    clue="components['smol-wmean'].shares.cumsum(0) adds the shares up; find the first entry that reaches 0.9.",
    answer="import tokalign_helpers as ta\n"
    "h = ta.load_embedder('smol-wmean').embed(ta.load_sentences(1000, seed=0))\n"
    "held = ta.PrincipalComponents.fit(h).shares.cumsum(0)\n"
    "answer = int((held < 0.9).sum()) + 1",
    why="A few dozen directions out of 576 hold nearly everything, and one of them most of it.",
    wrong=("answer = 1", "answer = 500", "answer = 0.9"),
)
q3 = Question(
    level="medium",
    task="A model library returns both the raw and the trained embeddings multiplied by 2. What changes in this notebook? "
    "(a) neither the shares of the energy nor the $v_j$, (b) the $v_j$ double, the shares stay, (c) the shares and the $v_j$ "
    "double, (d) the $v_j$ double, the shares are squared.",
    judge=choice(
        "b",
        {
            "a": "v_j is a mean of differences of lengths along u_j, and those lengths have doubled",
            "c": "a share is one energy divided by the sum of all: the factor cancels",
            "d": "each energy grows fourfold, and so does their sum",
        },
    ),
    clue="Put 2h and 2ĥ into the definitions of the energy and of v_j.",
    answer='answer = "b"',
    why="A v_1 says something only beside the length of the embeddings, or beside the other v_j of the same pair.",
    wrong=('answer = "a"', 'answer = "c"', 'answer = "d"', "answer = 2"),
)
quiz = Quiz(
    (
        "Why is $v_1$ computed from pairs of embeddings of the same text?",
        "c",
        {
            "a": ("the two means would give another value", "the difference of the means is the same number."),
            "b": ("without pairs $v_1$ would not be negative", "its sign would be the same."),
            "c": ("it shows how much texts differ in it", "each text's own move is known, and so an interval."),
            "d": ("the components can be found from pairs only", "they are found from the raw embeddings alone."),
        },
    ),
    (
        "Every text has the same amount of $u_1$. If it grew alike in all of them, could that decide which of two texts is closer to a third by cosine?",
        "b",
        {
            "a": (
                "no, what all texts have cancels out of every comparison",
                "out of a difference it does, out of a cosine it does not.",
            ),
            "b": (
                "yes, with more of it the lengths of the rests count",
                "with a long common part all cosines are near 1; what orders them then is how far the rests lie "
                "apart, not only the angle between them.",
            ),
            "c": (
                "no, a cosine does not depend on how long embeddings are",
                "a longer common part turns all of them towards u_1, which changes the angles.",
            ),
            "d": ("yes, all cosines grow by the same amount", "they grow, but not by the same amount."),
        },
    ),
    (
        "The common part is turned down. Which rate of notebook 01 will rise for every pooling?",
        "a",
        {
            "a": (
                "GAR",
                "the answers become more varied. What the other two do depends on the pooling, as the next "
                "notebook shows.",
            ),
            "b": ("Hit@10", "it may fall: the raw average owes many of its hits to the tokens of the common part."),
            "c": ("LAR", "it may fall, for the same reason."),
            "d": ("none", "with the common part goes what makes all answers alike."),
        },
    ),
)
QUESTIONS = (q1, q2, q3)
