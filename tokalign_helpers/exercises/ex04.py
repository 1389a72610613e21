"""Exercises of notebook 04."""

from typing import Any

import numpy as np
import torch

from tokalign_helpers.exercises import Question, Quiz, choice, shown
from tokalign_helpers.exercises.judging import wrong_array, wrong_number
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.models.loading import load_embedder
from tokalign_helpers.retrieval.evaluation import evaluate_run
from tokalign_helpers.retrieval.index import SparseIndex
from tokalign_helpers.retrieval.sparse import sparsify_documents, sparsify_queries


def _judge_score(answer: Any) -> str | None:
    cases = (
        ("two shared tokens", {"parrot": 1.0, "beak": 1.0}, {"parrot": 2.5, "beak": 0.5, "sea": 9.0}, 3.0),
        ("the query's own weight counts", {"parrot": 2.0}, {"parrot": 2.5}, 5.0),
        ("no shared token", {"parrot": 1.0}, {"sea": 9.0}, 0.0),
    )
    for name, query, document, expected in cases:
        problem = wrong_number(f"case '{name}'", expected, answer(query, document))
        if problem:
            return problem
    return None


def _judge_search(answer: Any) -> str | None:
    generator, tokenizer = torch.Generator().manual_seed(0), load_embedder("smol-eol").tokenizer
    for n, v, k, query in ((3, 30, 4, {0, 2, 5, 11, 17}), (6, 50, 8, set(range(0, 50, 3))), (4, 40, 3, {39})):
        decoder = TokenDecoder(torch.randn(v, 5, generator=generator), tokenizer)
        h, names = torch.randn(n, 5, generator=generator), [str(i) for i in range(n)]
        index = SparseIndex.of(names, sparsify_documents(decoder, h, k, weights="raw"))
        found = dict(index.search(sparsify_queries(decoder, [query]), n)[0])
        expected = torch.tensor([found.get(name, 0.0) for name in names])
        case = f"with {n} documents, V = {v}, k = {k} and the query {sorted(query)}"
        problem = wrong_array(case, expected, answer(set(query), decoder.scores(h), k), 1e-4)
        if problem:
            return problem
    return None


def _judge_ranking(answer: Any) -> str | None:
    relevant = {"q": {"a": 1, "b": 1}}
    names = list(answer) if isinstance(answer, list | tuple | np.ndarray) else []
    if not all(isinstance(name, str) for name in names) or sorted(names) != ["a", "b", "x", "y", "z"]:
        return f"a ranking is a list of the five documents a, b, x, y, z, each once; got {shown(answer)}"
    run = {"q": {name: float(-place) for place, name in enumerate(names)}}
    found = evaluate_run(run, relevant)["nDCG@10"].iloc[0]
    target = (1 / np.log2(2) + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    return None if abs(found - target) < 1e-6 else f"the nDCG@10 of {answer} is {found:.3f}, not {target:.3f}"


q1 = Question(
    level="easy",
    task="The documents a and b are relevant, x, y and z are not. Write a ranking of the five, as a list, whose "
    "nDCG@10 is `0.920`.",
    judge=_judge_ranking,
    clue="The gain at rank r is 1 / log2(r + 1). With a and b on top nDCG is 1. Move one of them down by one.",
    answer='answer_1 = ["a", "x", "b", "y", "z"]',
    name="answer_1",
    why="One place lost at the second rank costs 0.08; at the first it would cost far more.",
    wrong=(
        'answer_1 = ["a", "b", "x", "y", "z"]',
        'answer_1 = ["x", "a", "b", "y", "z"]',
        'answer_1 = ["a", "x", "b"]',
    ),
)
q2 = Question(
    level="easy",
    task="Write `score(query, document)`: the sparse dot product of two dicts token → weight.",
    judge=_judge_score,
    clue="Go over the query's tokens; a token that the document lacks adds nothing.",
    answer="def score(query, document):\n"
    "    return sum(weight * document.get(token, 0.0) for token, weight in query.items())",
    name="score",
    why="A search by tokens is this sum, for each document.",
    wrong=(
        "def score(query, document):\n    return sum(document.values())",
        "def score(query, document):\n    return sum(document.get(token, 0.0) for token in query)",
        "def score(query, document):\n    return len(set(query) & set(document))",
    ),
)
q3 = Question(
    level="medium",
    task="Write `search(query, scores, k)`. `query` is a set of token ids, and `scores` (n, V) holds the score of each token "
    "for n documents. A document keeps its k best tokens, in a dictionary token → score. Return the n sums of what each "
    "document holds of the query's tokens.",
    judge=_judge_search,
    clue="row.topk(k) has the values and the indices of one document; dict(zip(…)) of the two, as lists, is its dictionary.",
    answer="def search(query, scores, k):\n"
    "    sums = []\n"
    "    for row in scores:\n"
    "        best = row.topk(k)\n"
    "        document = dict(zip(best.indices.tolist(), best.values.tolist()))\n"
    "        sums.append(sum(document.get(token, 0.0) for token in query))\n"
    "    return sums",
    name="search",
    why="The library's `sparsify_documents` and `SparseIndex.search` gave the same sums. They look only at documents that hold "
    "a token of the query, which is why they are quicker.",
    wrong=(
        "def search(query, scores, k):\n    return scores[:, sorted(query)].sum(dim=1)",
        "def search(query, scores, k):\n    return scores.topk(k).values.sum(dim=1)",
        "def search(query, scores, k):\n"
        "    return [float(len(query & set(row.topk(k).indices.tolist()))) for row in scores]",
        "def search(query, scores, k):\n"
        "    return [max([float(row[t]) for t in query & set(row.topk(k).indices.tolist())] or [0.0]) for row in scores]",
    ),
)
q4 = Question(
    level="easy",
    task="The settings were chosen on one half of the queries and are reported on the other. What would go wrong "
    "otherwise? (a) nothing, as both halves search the same documents, (b) the index would suit one half of the documents, "
    "(c) the queries would be too few for an interval, (d) the winner would owe some of its lead to luck.",
    judge=choice(
        "d",
        {
            "a": "the documents are, but the best of many noisy numbers is partly good luck, and luck stays behind",
            "b": "both halves of the queries search all documents; the settings were not chosen by documents",
            "c": "with all queries in one part there would be more of them, not fewer",
        },
    ),
    clue="Think of the best of sixteen dice.",
    answer='answer_4 = "d"',
    name="answer_4",
    why="The more settings are tried, the larger the luck of the winner.",
    wrong=('answer_4 = "a"', 'answer_4 = "b"', 'answer_4 = "c"', "answer_4 = 16"),
)
quiz = Quiz(
    (
        "How can a document be found by a token that does not stand in it?",
        "b",
        {
            "a": ("the index looks up synonyms", "it looks up nothing but tokens."),
            "b": (
                "its embedding aligns with that token",
                "a passage on the Iliad may keep *Achilles* among its thousand tokens. That is expansion, which "
                "BM25 lacks.",
            ),
            "c": ("the query is added to the document", "documents are made before any query is known."),
            "d": (
                "all documents hold all tokens, with small weights",
                "each keeps a thousand, and the other weights are zero.",
            ),
        },
    ),
    (
        "What does one pair of query and document cost?",
        "a",
        {
            "a": ("as many multiply-adds as they share tokens", "an inverted index never looks at the others."),
            "b": (
                "as many multiply-adds as the document has tokens",
                "those that the query lacks are never touched.",
            ),
            "c": (
                "as many multiply-adds as the vocabulary has tokens",
                "a dense product over the vocabulary would; most of it is zero here.",
            ),
            "d": ("as many multiply-adds as an embedding has numbers", "that is the cost of dense search."),
        },
    ),
    (
        "Why the tight frame and not $E_g$ itself?",
        "d",
        {
            "a": ("it has fewer rows, so that the index is smaller", "it has as many."),
            "b": (
                "it was trained for search on the choosing half",
                "nothing in it was trained; it is computed from E_g alone.",
            ),
            "c": (
                "its scores are all positive, which an index needs",
                "they are not; both keep only what is above zero.",
            ),
            "d": (
                "in $E_g$ some directions count many times",
                "so that all tokens together give a stretched product, where those of the tight frame give the cosine.",
            ),
        },
    ),
)
QUESTIONS = (q1, q2, q3, q4)
