"""Kinds of tokens, and the texts of the course."""

import hashlib
import re

import pytest

import tokalign_helpers as ta
from tokalign_helpers.datasets.labelled import load_lexicon
from tokalign_helpers.reading.vocabulary import KINDS, token_kind, word_counts


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("▁the", "function word"),
        ("'s", "function word"),
        ("▁Water", "content word"),
        ("ization", "word piece"),
        ("▁1984", "number"),
        ("▁,", "punctuation"),
        ("\\n", "punctuation"),
        ("<F0>", "other"),
        ("<|im_end|>", "other"),
        ("中", "other"),
    ],
)
def test_token_kind(token, kind):
    assert token_kind(token) == kind


def test_the_lexicon_has_words_for_every_label():
    table = load_lexicon()
    labels = ta.load_two_labels()
    for labelling in ("topic", "emotion"):
        words = table[table["labelling"] == labelling].groupby("label")["word"].nunique()
        assert set(words.index) == set(labels[labelling])
        assert words.min() >= 8
    lines = (ta.data_dir() / "texts" / "lexicon.csv").read_text(encoding="utf-8").splitlines()
    assert [",".join(row) for row in table.itertuples(index=False)] == lines[1:]


def test_words_are_counted():
    counts, sentences = word_counts(), ta.load_sentences()
    words = re.findall("[a-z]+", " ".join(sentences).lower())
    assert counts.total() == len(words)
    assert counts["parrot"] == words.count("parrot")
    assert counts["the"] == words.count("the") > 10_000
    assert counts["notaword"] == 0


def test_lexicon_tokens(smol):
    words = ta.lexicon_tokens(smol.decoder, "emotion")
    assert set(words) == {"joy", "anger", "sadness", "fear", "surprise"}
    said = {smol.decoder.token(token) for token in words["fear"]}
    assert {"▁fear", "Fear", "▁danger"} <= said
    more = ta.lexicon_tokens(smol.decoder, "emotion", nearest=5)
    assert all(words[label] < more[label] for label in words)
    tokens = [token for found in more.values() for token in found]
    assert len(tokens) == len(set(tokens))
    with pytest.raises(ValueError, match="unknown labelling 'mood'; known: emotion, topic"):
        ta.lexicon_tokens(smol.decoder, "mood")


def test_kind_shares_sum_to_one():
    shares = ta.kind_shares([[0, 1], [1, 2]], ["number", "other", "number"])
    assert list(shares.index) == list(KINDS)
    assert shares["number"] == shares["other"] == 0.5
    assert shares.sum() == pytest.approx(1)


def test_recall_by_frequency():
    literal = [{1, 9}, {1}, {1}, {1, 8}]
    table = ta.recall_by_frequency([{1, 9}, {1}, set(), set()], literal, bins=(0, 0.5, 1))
    assert table["tokens"].to_list() == [2, 4]
    assert table["recall"].to_list() == [0.5, 0.5]


def test_sentences_are_the_same_everywhere():
    everything = ta.load_sentences()
    assert (len(everything), len(set(everything))) == (15_155, 15_155)
    assert hashlib.sha256("\n".join(everything).encode()).hexdigest()[:16] == "d240f8d9d3217e54"
    assert ta.load_sentences(20, seed=3) == ta.load_sentences(20, seed=3) != ta.load_sentences(20, seed=4)
    with pytest.raises(ValueError, match="n is 0"):
        ta.load_sentences(0)


def test_ratings_and_documents():
    assert len(ta.load_word_ratings("wordsim353")) == 353
    assert len(ta.load_word_ratings("simlex999")) == 999
    words = ta.load_rated_words()
    assert {"coast", "cucumber"} <= set(words) and words == sorted(set(words)) and len(words) == 1341
    with pytest.raises(ValueError, match="unknown ratings 'men'"):
        ta.load_word_ratings("men")
    texts, similarity = ta.load_lee_documents()
    assert (len(texts), similarity.shape) == (50, (50, 50))
    assert (similarity == similarity.T).all()
