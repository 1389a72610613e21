"""Exercises of notebook 00."""

import re
from typing import Any

import torch

from tokalign_helpers.exercises import Question, Quiz, choice, shown
from tokalign_helpers.exercises.judging import wrong_ids
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.reading.alignment import aligned_tokens
from tokalign_helpers.reading.layers import token_states
from tokalign_helpers.reading.vocabulary import function_words

TEXT = "What diseases are parrots prone to?"
ROWS = 1000  # of E_g, which is too long for one message to the process of an answer


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


def _judge_decode(answer: Any) -> str | None:
    raw, generator = load_embedder("smol-wmean"), torch.Generator().manual_seed(0)
    for n, v, d, k in ((5, 6, 3, 2), (7, 40, 8, 5), (3, 10, 4, 10)):
        states, weight = torch.randn(n, d, generator=generator) - 1, torch.randn(v, d, generator=generator)
        pooled = raw.pooling(states[None], torch.ones(1, n, dtype=torch.int64))
        expected = TokenDecoder(weight, raw.tokenizer).top_tokens(pooled, k)[0][0].tolist()
        problem = wrong_ids(f"with n={n}, V={v}, d={d}, k={k}", expected, answer(states, weight, k))
        if problem:
            return problem
    weight = raw.unembedding[:ROWS].clone()
    expected = TokenDecoder(weight, raw.tokenizer).top_tokens(raw.embed([TEXT]), 5)[0][0].tolist()
    case = f"with the states of {TEXT!r} and {ROWS} rows of E_g"
    return wrong_ids(case, expected, answer(token_states(raw, TEXT), weight, 5))


q1 = Question(
    level="medium",
    task="Write `decode(states, E, k)`: the ids of the k best tokens of a text, best first. `states` (n, d) holds the "
    "model's state at each of its n tokens, `E` (V, d) is the decoder layer's matrix $E_g$. Average the states with the "
    "weights 1, 2, …, n, as `smol-wmean` does, and score the average.",
    judge=_judge_decode,
    clue="weights[:, None] * states multiplies each state by its weight. E @ h has one score per token, and torch.topk "
    "gives values and indices.",
    answer="import torch\n"
    "def decode(states, E, k):\n"
    "    weights = torch.arange(1, len(states) + 1, dtype=states.dtype)\n"
    "    h = (weights[:, None] * states).sum(dim=0) / weights.sum()\n"
    "    scores = E @ h\n"
    "    return scores.topk(k).indices",
    name="decode",
    why="That is the whole of the method: an average, one matrix product and a sort. The library's `decoder.top_tokens` of "
    "`embed` gave the same ids, also for the text of this notebook.",
    wrong=(
        "def decode(states, E, k):\n    return (E @ states.mean(dim=0)).topk(k).indices",
        "def decode(states, E, k):\n    return (E @ states[-1]).topk(k).indices",
        "import torch\n"
        "def decode(states, E, k):\n    h = torch.arange(1.0, len(states) + 1) @ states\n    return (E @ h).topk(k).values",
        "import torch\n"
        "def decode(states, E, k):\n    h = torch.arange(1.0, len(states) + 1) @ states\n    return (E @ -h).topk(k).indices",
        "import torch\n"
        "def decode(states, E, k):\n    h = torch.arange(len(states), 0.0, -1) @ states\n    return (E @ h).topk(k).indices",
    ),
)
q2 = Question(
    level="easy",
    task="Change the sentence until two of the three best tokens of `smol-cse` are different content words of your text (not 'the', 'of' or 'is'). `ta.aligned_tokens(trained, [answer], 3)` shows them.",
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
q3 = Question(
    level="medium",
    task="Someone divides the embedding by its length before decoding. What happens to the list of aligned tokens? "
    "(a) rare tokens come up, (b) it holds fewer tokens of the text, (c) nothing moves in it, (d) its scores become "
    "probabilities.",
    judge=choice(
        "c",
        {
            "a": "no token is treated differently from another: every score is multiplied by the same number",
            "b": "one positive factor on h is one positive factor on every score, and that reorders nothing",
            "d": "they all shrink by one factor; probabilities would add up to 1",
        },
    ),
    clue="E_g (h / c) = (E_g h) / c.",
    answer='answer = "c"',
    why="The order needs no length. The weights do: notebook 04 uses the scores, and so keeps the length.",
    wrong=('answer = "a"', 'answer = "b"', 'answer = "d"', 'answer = "z"'),
)
quiz = Quiz(
    (
        "Why can the decoder layer read the embedding at all?",
        "d",
        {
            "a": (
                "rows and embedding are equally long, and nothing more is needed",
                "the embedding of another model of the same length would decode to nonsense.",
            ),
            "b": (
                "the training of `smol-cse` fitted the two to each other",
                "the decoder layer took no part in the training, and it fits the untrained embedding as well.",
            ),
            "c": (
                "a matrix with so many rows has one near any vector",
                "so has a matrix of random numbers, and it names random tokens.",
            ),
            "d": (
                "it was made to read such states as the embedding averages",
                "states, as they leave the last layer and its norm, are what the layer was made to read; their "
                "average lies in the same space.",
            ),
        },
    ),
    (
        "Why must the tokens come from the backbone's own decoder layer?",
        "a",
        {
            "a": (
                "a new one could learn any mapping",
                "the claim is that the embedding still speaks the language of its LLM; a newly trained layer "
                "would prove nothing.",
            ),
            "b": ("only this one has a row for each token of the vocabulary", "a new one could have as many."),
            "c": ("a new one would be too slow", "it would be one matrix product as well."),
            "d": (
                "only this one gives scores above zero",
                "its scores lie on both sides of zero, and only their order counts here.",
            ),
        },
    ),
    (
        "Both embedders average the states of the same model. What makes their tokens differ?",
        "c",
        {
            "a": ("the way the states are averaged", "it is the same weighted mean in both."),
            "b": ("the rows of the decoder layer's matrix", "it is the same matrix in both."),
            "c": (
                "the states, which training has changed",
                "the weights inside the model were trained. How much of the change lies along one direction, "
                "notebook 02 measures.",
            ),
            "d": ("the vocabulary, to which training has added words", "training adds no token."),
        },
    ),
)
QUESTIONS = (q1, q2, q3)
