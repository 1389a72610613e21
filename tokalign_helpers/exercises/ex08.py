"""Exercises of notebook 08."""

from typing import Any

import torch

from tokalign_helpers.datasets.wikipedia import load_sentences
from tokalign_helpers.exercises import Question, Quiz, choice, shown
from tokalign_helpers.exercises.judging import finite_number, read_array, wrong_array
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reading.postprocessing import remove_top, spectrum_basis
from tokalign_helpers.reading.spectrum import PrincipalComponents

JUDGED = 200  # sentences
EMBEDDED = ("smol-eol",)  # on the 1,000 sentences, before the time of an answer runs


def _judge_share(answer: Any) -> str | None:
    share = finite_number(answer)
    if share is None or not 0 < share <= 1:
        return f"the share is a number above 0, up to 1; got {shown(answer)}"
    embedder = load_embedder("smol-eol")
    h = embedder.embed(load_sentences(1000, seed=0)[:JUDGED])
    basis = spectrum_basis(embedder.unembedding, share)
    u, centred = PrincipalComponents.fit(h, 1).direction(1), h - h.mean(dim=0)
    gone, left = 1 - float((u @ basis).square().sum()), float((centred @ basis).square().sum() / centred.square().sum())
    if gone >= 0.9 and left >= 0.35:
        return None
    return (
        f"a middle of {share:g} removes {gone:.1%} of u_1 (90 % asked) and leaves {left:.1%} of the rest (35 % asked)"
    )


def _judge_removal(answer: Any) -> str | None:
    generator = torch.Generator().manual_seed(0)
    for rows, d, n in ((9, 4, 1), (30, 8, 3)):
        h = torch.randn(rows, d, generator=generator) * torch.linspace(4, 1, d) + 3
        case = f"with h of the shape {tuple(h.shape)} and n = {n}"
        got = read_array(case, tuple(h.shape), answer(h, n))
        if isinstance(got, str):
            return got
        mean = got.mean(dim=0).abs().max()
        if not mean <= 1e-3:
            return f"the mean of the result is not zero: {mean:.3f} in one coordinate"
        centred = h - h.mean(dim=0)
        top = torch.linalg.svd(centred, full_matrices=False).Vh[:n]
        if not (got @ top.T.double()).abs().max() <= 1e-3:
            return f"with n = {n} something of the {n} top directions of the centred embeddings is left"
        if wrong_array(case, remove_top(h, n)(h), got, 1e-3):
            return f"with n = {n} more than mean and {n} directions has changed"
    return None


q1 = Question(
    level="hard",
    task="Write `all_but_the_top(h, n)`: subtract the mean of the rows of h, then remove from every row its part along "
    "the n directions in which the centred rows are longest. h is (rows, d).",
    judge=_judge_removal,
    clue="torch.linalg.svd(centred, full_matrices=False).Vh has the directions as rows, the longest first.",
    answer="import torch\ndef all_but_the_top(h, n):\n    centred = h - h.mean(dim=0)\n"
    "    top = torch.linalg.svd(centred, full_matrices=False).Vh[:n]\n    return centred - centred @ top.T @ top",
    name="all_but_the_top",
    why="With n = 0 it is centring; without the mean and with n = 1 it is a λ for each text. The library's "
    "`pp.remove_top(h, n)(h)` gave the same, as one matrix and one vector.",
    wrong=(
        "def all_but_the_top(h, n):\n    return h - h.mean(dim=0)",
        "import torch\ndef all_but_the_top(h, n):\n    top = torch.linalg.svd(h, full_matrices=False).Vh[:n]\n"
        "    return h - h @ top.T @ top",
        "import torch\ndef all_but_the_top(h, n):\n    centred = h - h.mean(dim=0)\n    return centred[:, n:]",
    ),
)
q2 = Question(
    level="hard",
    task="The same least squares without a constant finds a direction whose cosine with $u_1$ is strongly "
    "negative. Why? (a) frequent tokens have low scores, (b) rare tokens outnumber frequent ones, (c) all log p̂ are negative, "
    "(d) the sign of $u_1$ is arbitrary.",
    judge=choice(
        "c",
        {
            "a": "with the constant the cosine is positive, and the direction's own best tokens are frequent ones",
            "b": "they do in both fits; only the constant differs",
            "d": "it was chosen: the mean of hᵀu_1 is positive",
        },
    ),
    clue="What is the mean of log p̂ over tokens? And the mean of E_g u_1?",
    answer='answer_2 = "c"',
    name="answer_2",
    why="Without a constant the fit must first of all push the scores of all tokens down, and u_1 pushes them up. A softmax "
    "does not notice a constant that is added to all scores, so the fit with a constant is the fair one.",
    wrong=('answer_2 = "a"', 'answer_2 = "b"', 'answer_2 = "d"', "answer_2 = 2"),
)
q3 = Question(
    level="medium",
    task="Find a share `s` of the directions to *keep* for which EmbedFilter, `pp.embed_filter(E, s)`, removes at "
    "least 90 % of the energy of $u_1$ and leaves at least 35 % of what tells texts apart. (Judged on the first 200 "
    "sentences.)",
    judge=_judge_share,
    clue="The wider the middle, the more of both is left. One half leaves too little; how much does three quarters remove?",
    answer="answer_3 = 0.7",
    name="answer_3",
    why="The window is narrow: the ends of the spectrum hold u_1, but also much of the differences between texts.",
    wrong=("answer_3 = 0.5", "answer_3 = 0.9", "answer_3 = 50"),
)
quiz = Quiz(
    (
        "A new repair is 0.02 better than raw. What do you ask first?",
        "b",
        {
            "a": (
                "how many directions or numbers it takes away from an embedding",
                "that matters once there is a gain.",
            ),
            "b": (
                "the interval on fresh queries, and what centring gives",
                "fresh are queries that had no part in any choice; and most repairs gain what plain centring gains.",
            ),
            "c": (
                "whether it is as good on the queries that the settings were chosen on",
                "there the best of many looks better than it is.",
            ),
            "d": (
                "whether its authors report a gain of the same size on larger models",
                "that is about their models, not about this measurement.",
            ),
        },
    ),
    (
        "Why are one λ for all and centring nearly the same here?",
        "c",
        {
            "a": (
                "both are fitted on the same 500 sentences",
                "so are all-but-the-top and whitening, which do other things.",
            ),
            "b": ("both leave each embedding as long as it was", "neither does."),
            "c": (
                "$u_1$ points along the mean",
                "so moving all texts by −mean(hᵀu_1) along it subtracts nearly the mean itself.",
            ),
            "d": ("λ was chosen for the same nDCG@10", "it was not chosen; it follows from the embeddings."),
        },
    ),
    (
        "A filter keeps an eighth of the numbers and loses little. What would show that it chose them well?",
        "d",
        {
            "a": (
                "that it loses little on a second collection, too",
                "any choice may lose little there: an eighth is enough for what is compared.",
            ),
            "b": ("that search is faster with the shorter embeddings", "that is so for any way of shortening them."),
            "c": (
                "that with half of the numbers it loses even less",
                "so would any choice, since it keeps more.",
            ),
            "d": ("that as many random directions lose more", "here they lose less than the filter."),
        },
    ),
    (
        "Why is the covariance shrunk before whitening?",
        "a",
        {
            "a": (
                "500 texts cannot tell 576 variances",
                "some would come out as zero, and a negative power of zero is infinite.",
            ),
            "b": ("the powers of a large matrix take too long", "a matrix of 576 × 576 takes a moment."),
            "c": ("otherwise the mean would have to be subtracted", "it is subtracted either way."),
            "d": (
                "otherwise the vectors would all have length 1",
                "whitening does not set the length of single vectors.",
            ),
        },
    ),
)
QUESTIONS = (q1, q2, q3)
