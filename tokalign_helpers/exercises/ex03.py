"""Exercises of notebook 03."""

from typing import Any

import torch

from tokalign_helpers.datasets.wikipedia import load_sentences
from tokalign_helpers.exercises import Question, Quiz, choice, shown
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
    "aligned tokens change all the same? (a) some tokens gain more by it than others, (b) some texts gain more by the shift "
    "than others, (c) the scores of all tokens grow by one factor, (d) the rows of $E_g$ are shifted as well.",
    judge=choice(
        "a",
        {
            "b": "λ E_g u, which is added to the scores, is the same for every text",
            "c": "something is added to the scores; one factor would leave the order as it is",
            "d": "E_g is the backbone's own matrix and is never changed",
        },
    ),
    clue="E_g (h + λu) = E_g h + λ E_g u. The second part does not depend on the text.",
    answer='answer = "a"',
    why="The second part is one number for each token: a bonus for some tokens, a penalty for 'the' and the comma.",
    wrong=('answer = "b"', 'answer = "c"', 'answer = "d"', "answer = ['a']"),
)
quiz = Quiz(
    (
        "What does the shift by $v_1$ need that taking $u_1$ out does not?",
        "d",
        {
            "a": ("the backbone's decoder layer", "that reads the tokens, and takes no part in either."),
            "b": ("raw embeddings of the texts", "both change raw embeddings."),
            "c": ("sentences to find $u_1$ on", "both need them."),
            "d": (
                "a trained embedder",
                "v_1 is how far a training moved the texts. Taking u_1 out, or the mean step, does without.",
            ),
        },
    ),
    (
        "λ is far too negative. What do all texts say?",
        "c",
        {
            "a": ("their key tokens, and nothing else", "around v_1 they do; further on the text is drowned."),
            "b": ("function words and marks", "those stand at the other end, +u_1."),
            "c": ("the tokens at the −u_1 end", "λ E_g u_1 grows without limit and drowns what the text adds."),
            "d": ("nothing, since all scores are below zero", "some token is always the best one."),
        },
    ),
    (
        "Recall from notebook 02: along what does $u_1$ point, nearly?",
        "a",
        {
            "a": ("the mean of the embeddings", "that is why the mean works as well as u_1 as a direction."),
            "b": (
                "the direction in which the texts differ most",
                "that is the first component of *centred* embeddings; nearly all texts have the same amount of u_1.",
            ),
            "c": ("the move of the longest text under training", "it is found from the raw embeddings alone."),
            "d": (
                "the row of $E_g$ of the most frequent token",
                "it lifts many frequent tokens at once; notebook 08 asks how far it is the direction of frequency.",
            ),
        },
    ),
)
QUESTIONS = (q1, q2, q3)
