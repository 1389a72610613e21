"""Exercises of notebook 03."""

from typing import Any

import torch

from tokalign_helpers.datasets.wikipedia import load_sentences
from tokalign_helpers.exercises import Question, choice, shown
from tokalign_helpers.exercises.judging import finite_number, read_array, wrong_array
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


def _judge_removal(answer: Any) -> str | None:
    generator = torch.Generator().manual_seed(0)
    for n, d in ((3, 4), (6, 9)):
        h = torch.randn(n, d, generator=generator) + 2
        u = torch.nn.functional.normalize(torch.randn(d, generator=generator), dim=0)
        case = f"with h of the shape {tuple(h.shape)}"
        got = read_array(case, tuple(h.shape), answer(h, u))
        if isinstance(got, str):
            return got
        left = (got @ u.double()).abs()
        if not (left <= 1e-4).all():
            return (
                f"after the removal text {left.argmax()} still has {left.max():.3f} along u; expected 0 for every text"
            )
        if wrong_array(case, h - torch.outer(h @ u, u), got):
            return "u is gone, but something else has changed as well"
    return None


q1 = Question(
    level="easy",
    task="How small a shift is enough? Find the whole number λ nearest to 0 for which the GAR of `smol-eol` on the "
    "second half of the sentences, with $u_1$ of the first half, is at least 0.19.",
    judge=_judge_amount,
    clue="ta.sweep takes a list of amounts; the figure above says between which to look.",
    answer="answer = -16",
    why="Good amounts make a wide range, and this is where it begins: well before v_1.",
    wrong=("answer = 50", "answer = -5", "answer = -56", "answer = 'left'"),
)
q2 = Question(
    level="medium",
    task="Write `without(h, u)`: remove from every text exactly its own part along the unit vector u, so that nothing "
    "of u is left. h is (n, d).",
    judge=_judge_removal,
    clue="h @ u says how much of u each text has; torch.outer spreads it over the dimensions.",
    answer="import torch\ndef without(h, u):\n    return h - torch.outer(h @ u, u)",
    name="without",
    why="Each text gets its own λ here. Notebook 08 compares it with one λ for all.",
    wrong=(
        "def without(h, u):\n    return h - u",
        "def without(h, u):\n    return h - (h @ u).mean() * u",
        "def without(h, u):\n    return h @ u",
    ),
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
