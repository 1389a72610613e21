"""Exercises of notebook 07."""

from typing import Any

from tokalign_helpers.basics.statistics import rank_correlation
from tokalign_helpers.exercises import Question, Quiz, choice, shown
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


def _judge_spearman(answer: Any) -> str | None:
    cases = (
        ("the same order on another scale", [1, 2, 3, 4, 5], [1, 10, 100, 1000, 10000]),
        ("the order reversed", [1, 2, 3, 4], [9.5, 7, 2, 1]),
        ("any order", [0.3, 0.9, 0.1, 0.5, 0.7, 0.2], [2, 5, 4, 1, 6, 3]),
        ("equal numbers in one list", [1, 2, 2, 2, 5], [3, 1, 4, 2, 5]),
        ("equal numbers in both", [2, 1, 2, 3, 3, 3], [1, 1, 2, 2, 3, 9]),
    )
    for name, x, y in cases:
        expected = rank_correlation(x, y).estimate
        problem = wrong_number(f"case '{name}'", expected, answer(list(x), list(y)), 1e-5)
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
    level="medium",
    task="Write `spearman(x, y)`: Spearman's rank correlation of two lists of numbers. Replace each number by its rank in its "
    "list, where equal numbers share the mean of their ranks; subtract from the ranks of each list their mean; the correlation "
    "is the cosine of what is left.",
    judge=_judge_spearman,
    clue="The rank of v among NumPy's `values`: (values < v).sum() of them are smaller, and (values == v).sum() are equal to it, "
    "itself included.",
    answer="import numpy as np\n"
    "def spearman(x, y):\n"
    "    def centred_ranks(values):\n"
    "        values = np.asarray(values)\n"
    "        ranks = [(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values]\n"
    "        return np.array(ranks) - np.mean(ranks)\n\n"
    "    a, b = centred_ranks(x), centred_ranks(y)\n"
    "    return a @ b / np.sqrt((a @ a) * (b @ b))",
    name="spearman",
    why="Only the order counts, so cosines need no scale to be compared with ratings. The library's `rank_correlation`, which "
    "`examine` calls, gave the same.",
    wrong=(
        "import numpy as np\ndef spearman(x, y):\n    return np.corrcoef(x, y)[0, 1]",
        "import numpy as np\n"
        "def spearman(x, y):\n"
        "    return np.corrcoef(np.argsort(np.argsort(x)), np.argsort(np.argsort(y)))[0, 1]",
        "import numpy as np\n"
        "def spearman(x, y):\n"
        "    a, b = (np.array([sum(w < v for w in z) for v in z]) for z in (x, y))\n"
        "    return a @ b / np.sqrt((a @ a) * (b @ b))",
        "from scipy.stats import kendalltau\ndef spearman(x, y):\n    return kendalltau(x, y).statistic",
    ),
)
q3 = Question(
    level="medium",
    task="Why is $E_g$ read from the backbone's files and not from the embedder's own? (a) the backbone's files are "
    "smaller than the embedder's, (b) the embedder's vectors are too short for its own layer, (c) the embedder's own layer would "
    "be slower to read, (d) the embedder's own may be missing or changed.",
    judge=choice(
        "d",
        {
            "a": "they are larger, if anything; and only the one tensor is read",
            "b": "if they were, no decoder layer of the backbone could read them at all",
            "c": "the product takes as long",
        },
    ),
    clue="The question of the course is whether the embedding still speaks the language of the LLM it was made from.",
    answer='answer = "d"',
    why="Embedders are usually stored without a decoder layer, and training may have moved their token embeddings. Only the "
    "backbone's own layer can show that the embedding kept its language.",
    wrong=('answer = "a"', 'answer = "b"', 'answer = "c"', "answer = b''"),
)
quiz = Quiz(
    (
        "At 16 bits, 7 billion numbers are 14 GB. Why does the plan say more?",
        "d",
        {
            "a": ("16 bits are stored in three bytes", "they are two bytes."),
            "b": ("each text of a batch is held twice", "a batch of texts is small beside the model."),
            "c": ("the tokenizer has a matrix of its own", "it has a list of tokens, a few megabytes."),
            "d": (
                "$E_g$ and the states need room",
                "the backbone's decoder layer lies beside the model, and a batch has states at every token.",
            ),
        },
    ),
    (
        "BERT fills in masked words and has no causal decoder layer. What does it decode through?",
        "b",
        {
            "a": (
                "the decoder layer of a causal model with the same vocabulary",
                "that layer reads the states of another model.",
            ),
            "b": (
                "its own masked-LM head",
                "a dense layer and a norm, then a matrix tied to its token embeddings: it belongs to the "
                "backbone just as E_g does.",
            ),
            "c": (
                "the pooler that was trained on top of its first token",
                "a pooler makes a vector, and scores no token.",
            ),
            "d": (
                "its token embeddings alone, with neither norm nor bias",
                "the head in front of them is what the states were made for.",
            ),
        },
    ),
    (
        "Why does a stored result keep a digest of its texts?",
        "a",
        {
            "a": (
                "so that other texts make a new result",
                "resumed work must know what it depends on, or a result for other texts would be taken for this one.",
            ),
            "b": ("so that the texts can be read again later", "a digest cannot be turned back into texts."),
            "c": (
                "so that the file is smaller than the texts",
                "it could leave the texts out altogether, if size were the aim.",
            ),
            "d": ("so that nobody changes the texts", "anybody may; the result is then made again."),
        },
    ),
    (
        "Recall from notebook 01: why is one half chance when matches are compared with another sentence's?",
        "c",
        {
            "a": ("half of all tokens are function words", "their share has nothing to do with it."),
            "b": ("half of the sentences are compared", "each is compared with one other."),
            "c": (
                "a blind match falls on either alike",
                "an embedder that has not read the text matches both sentences equally often.",
            ),
            "d": ("there are two embedders in each pair", "each embedder is compared for itself."),
        },
    ),
)
QUESTIONS = (q1, q2, q3)
