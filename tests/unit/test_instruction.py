"""Instructions, and the texts written for the course."""

import re

import pytest

import tokalign_helpers as ta
from tokalign_helpers.datasets import labelled
from tokalign_helpers.reading.key_tokens import WORD


def test_an_instruction_stands_in_the_prompt(smol):
    asked = smol.with_instruction(" topic ")
    assert asked.template == 'This sentence : "{text}" The topic in one word:"'
    assert asked.name == "smol-eol: topic"
    assert asked.fingerprint != smol.fingerprint


@pytest.mark.parametrize("instruction", ["", "  ", None])
def test_a_blank_instruction_is_refused(smol, instruction):
    with pytest.raises(ValueError, match="give what to look for"):
        smol.with_instruction(instruction)


def test_an_instruction_needs_a_place(tiny):
    with pytest.raises(ValueError, match="takes no instruction"):
        tiny.with_instruction("topic")


def test_an_instruction_longer_than_the_context_is_refused(smol):
    with pytest.raises(ValueError, match="reads at most 8192"):
        smol.with_instruction("word " * 9000)


def test_a_text_may_hold_the_templates_own_quotes(smol):
    asked = smol.with_instruction("{text}")
    (ids,), _ = asked.prompts(['say "topic" of {text}'])
    assert asked.tokenizer.decode(ids) == 'This sentence : "say "topic" of {text}" The text in one word:"'


def test_topic_and_emotion_are_independent():
    table = ta.load_two_labels()
    assert len(table) == 320
    assert set(table.groupby(["topic", "emotion"]).size()) == {8}
    assert table["text"].is_unique
    assert table["text"].str.split().str.len().between(8, 40).all()


def test_pairs_of_six_kinds():
    table = ta.load_minimal_pairs()
    assert table["kind"].value_counts().to_dict() == dict.fromkeys(labelled.PAIR_KINDS, 40)
    assert (table["text1"] != table["text2"]).all()
    assert set(table.groupby("group")["text1"].nunique()) == {1}


@pytest.mark.parametrize(
    ("read", "content", "said"),
    [
        (ta.load_two_labels, "text,topic\nx,food\n", "line 1: there is no column 'emotion'"),
        (
            ta.load_two_labels,
            "text,topic,emotion\nx,food,joy\ny,food,jog\n",
            "line 3: unknown emotion 'jog'; known: joy",
        ),
        (ta.load_minimal_pairs, "text1,text2,kind,group\na,,negation,1\n", "line 2: the column 'text2' is empty"),
    ],
)
def test_a_bad_label_names_file_and_line(tmp_path, read, content, said):
    (tmp_path / "own.csv").write_text(content)
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "own.csv")


def test_comments_with_one_known_emotion(tmp_path):
    (tmp_path / "labels.txt").write_text("admiration\njoy\nanger\n")
    (tmp_path / "test.tsv").write_text("What a day!\t1\tx1\nBoth.\t1,2\tx2\nNice car.\t0\tx3\nHow dare you.\t2\tx4\n")
    assert ta.load_goemotions(tmp_path).values.tolist() == [["What a day!", "joy"], ["How dare you.", "anger"]]
    (tmp_path / "dev.tsv").write_text("Fine.\t1\tx1\nBroken.\t7\tx2\n")
    with pytest.raises(ValueError, match=r"dev\.tsv, line 2: expected a text, labels from 0 to 2"):
        ta.load_goemotions(tmp_path, "dev")


def test_requests_with_intent_and_domain(tmp_path):
    (tmp_path / "domains.json").write_text('{"banking": ["balance"]}')
    (tmp_path / "data_full.json").write_text('{"test": [["how much have i got", "balance"]], "val": [["hm", "odd"]]}')
    assert ta.load_clinc150(tmp_path).values.tolist() == [["how much have i got", "banking", "balance"]]
    with pytest.raises(ValueError, match="the intent 'odd' has no domain"):
        ta.load_clinc150(tmp_path, "val")
    with pytest.raises(ValueError, match="unknown part 'dev'"):
        ta.load_clinc150(tmp_path, "dev")
    (tmp_path / "domains.json").write_text("{")
    with pytest.raises(ValueError, match=r"domains\.json is not JSON"):
        ta.load_clinc150(tmp_path)


def test_the_marked_words_are_words_of_their_sentences():
    table = ta.load_key_words()
    assert len(table) == table["text"].nunique() == 100
    assert set(table["text"]) <= set(ta.load_sentences(1000, seed=0))
    for text, first, second in table.itertuples(index=False):
        words = {re.sub(r"['’]s$", "", word) for word in WORD.findall(text)}
        for marked in (first, second):
            assert set(marked) <= words
            assert 1 <= len(marked) == len(set(marked)) <= max(1, len(text.split()) // 3)
        assert set(first) & set(second), text  # a key word is one that both marked


def test_the_two_readers_agree_as_the_readme_says():
    table = ta.load_key_words()
    kappa = ta.word_agreement(table["text"], table["first"], table["second"])
    assert f"κ = {kappa:.2f}" in (ta.data_dir() / "texts" / "README.md").read_text(encoding="utf-8")
