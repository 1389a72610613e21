"""BM25 as sparse vectors gives BM25's own scores, and side by side with tokens the weighted sum of both."""

import numpy as np
import pytest
from scipy import sparse

import tokalign_helpers as ta
from tokalign_helpers.retrieval.words import WordColumns, side_by_side

TEXTS = [
    "The parrot spoke to the parrots.",
    "A quiet garden with a parrot, a parrot!",
    "Shares fell on Monday.",
    "the of",
]
ASKED = ["parrot garden parrot", "Monday", "zebra", "garden zebra"]


def test_the_scores_are_bm25s_up_to_one_factor_a_query():
    words = WordColumns.fit(TEXTS)
    scores = (words.queries(ASKED) @ words.documents.T).toarray()
    run = ta.bm25_run({str(i): text for i, text in enumerate(ASKED)}, {str(i): text for i, text in enumerate(TEXTS)})
    for row, found in zip(scores, run.values(), strict=True):
        expected = np.array([found.get(str(i), 0.0) for i in range(len(TEXTS))])
        assert (row > 0).tolist() == (expected > 0).tolist()
        if expected.any():
            np.testing.assert_allclose(row / row.max(), expected / expected.max(), rtol=1e-5)
    assert scores.min() >= 0 and scores.max() <= 1 + 1e-6
    assert scores[1].max() == pytest.approx(1)  # one word, in the document that holds it most


def test_one_search_gives_the_weighted_sum():
    words = WordColumns.fit(TEXTS)
    draw = np.random.default_rng(0)
    documents, queries = (
        sparse.random_array((4, 30), density=0.3, format="csr", rng=draw, dtype=np.float32) for _ in range(2)
    )
    asked = words.queries(ASKED)
    both = side_by_side(queries, asked, weight=0.25) @ side_by_side(documents, words.documents).T
    expected = 0.25 * (queries @ documents.T).toarray() + 0.75 * (asked @ words.documents.T).toarray()
    np.testing.assert_allclose(both.toarray(), expected, atol=1e-6)
    index = ta.SparseIndex(30 + len(words.bounds))
    index.add(list("abcd"), side_by_side(documents, words.documents))
    assert len(index.search(side_by_side(queries, asked, weight=0.25))[0]) == (expected[0] > 0).sum()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: WordColumns.fit(["the", "of"]), "no document holds a word to search for; the first is 'the'"),
        (lambda m: side_by_side(m, m[:1]), "2 rows of tokens came with 1 rows of words"),
        (lambda m: side_by_side(m, m, weight=1.5), "the weight is 1.5"),
        (lambda m: side_by_side(m, m, weight=float("nan")), "the weight is nan"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(sparse.csr_array(np.eye(2, dtype=np.float32)))


def test_words_are_those_of_texts():
    with pytest.raises(TypeError, match="texts is one string"):
        WordColumns.fit("a text")
    with pytest.raises(TypeError, match=r"texts\[0\] is 3"):
        WordColumns.fit([3])
    with pytest.raises(ValueError, match="the weight is 'x'"):
        side_by_side(sparse.csr_array((1, 2)), sparse.csr_array((1, 2)), weight="x")
