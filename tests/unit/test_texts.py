"""Texts on their way into the model: what is accepted, where a long one is cut, and what is said about it."""

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tokalign_helpers as ta
from tests.unit.families import FAMILIES, save_model
from tokalign_helpers.basics.checks import check_texts
from tokalign_helpers.course.widgets import adjustment_view, alignment_view
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.models.embedding import PORTIONS, Portion
from tokalign_helpers.models.pooling import first_token, last_token, mean, pooling_name
from tokalign_helpers.reading.alignment import marked_pieces
from tokalign_helpers.reading.clusters import neighbour_agreement
from tokalign_helpers.reading.postprocessing import remove_top, token_counts
from tokalign_helpers.retrieval.index import SparseIndex, best_places

EOL = 'This sentence: "{text}" means in one word: "'
TEXTS = ["A parrot in the garden.", "No", "What diseases are parrots prone to?"]
MIXED = st.text(st.sampled_from(' ."aeé€🦜\nparotn'), min_size=1, max_size=40).filter(str.strip)


def count(embedder, text):
    return len(embedder.tokenizer(text, add_special_tokens=False).input_ids)


# --- where a long text is cut ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_a_cut_inside_a_character_keeps_the_limit(tiny, limit):
    """An emoji has four tokens here: whole ones are kept, and of the first, where it alone is too long, so many."""
    (ids,), cut = tiny.prompts(["🦜" * 50], max_tokens=limit)
    whole = tiny.tokenizer("🦜" * 50, add_special_tokens=False).input_ids
    assert cut == 1
    assert ids == whole[: limit if limit < 4 else limit // 4 * 4]


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_the_template_stays_whole_around_a_cut_character(tiny, limit):
    eol = tiny.with_template(EOL)
    before, after = (eol.tokenizer(part).input_ids for part in EOL.split("{text}"))
    (ids,), _ = eol.prompts(["🦜" * 9], max_tokens=limit)
    kept = eol.tokenizer("🦜").input_ids[:limit]
    assert ids == before + kept + after


@given(text=MIXED, limit=st.integers(1, 12))
def test_no_cut_text_has_more_tokens_than_the_limit(tiny, text, limit):
    (ids,), cut = tiny.prompts([text], max_tokens=limit)
    assert 1 <= len(ids) <= limit
    assert cut == (count(tiny, text) > limit)


@given(text=MIXED.filter(str.isascii), limit=st.integers(1, 12))
def test_a_cut_between_two_tokens_is_where_the_tokenizer_has_it(tiny, text, limit):
    eol = tiny.with_template(EOL)
    (ids,), _ = eol.prompts([text], max_tokens=limit)
    offsets = eol.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    assert ids == eol.tokenizer(EOL.replace("{text}", text[: offsets[:limit][-1][1]])).input_ids


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """One random model of every family, with a prompt."""
    made = {}
    for prefix in ("EleutherAI/gpt-neo", "facebook/opt", "huggyllama/", "google-bert/", "microsoft/mpnet"):
        folder = save_model(tmp_path_factory.mktemp("families") / "model", prefix)
        made[prefix] = ta.load_embedder(folder, pooling=mean, template='"{text}"', device="cpu")
    return made


FULL = ["🦜" * 300, "parrots " * 300, '""' * 300, "é€" * 200, "a" * 400, " . " * 300, "garden"]


@pytest.mark.parametrize(
    "family", ["EleutherAI/gpt-neo", "facebook/opt", "huggyllama/", "google-bert/", "microsoft/mpnet"]
)
def test_a_full_context_is_read_and_not_overrun(family, readers):
    context = FAMILIES[family][2]["max_position_embeddings"] - 2 * (family == "microsoft/mpnet")
    embedder = readers[family].with_input_format(max_tokens=5000)
    embedder.tokenizer.model_max_length = 10**30  # the tokenizer of many a model does not say
    ids, cut = embedder.prompts(FULL)
    assert max(map(len, ids)) <= context
    assert max(map(len, ids)) >= context - 4
    assert cut == sum(count(embedder, text) > embedder._limit(5000) for text in FULL) > 1
    with pytest.warns(UserWarning, match=rf"tokens \(the {context} that the model reads, less the \d+ of the prompt\)"):
        h = embedder.embed(FULL, cache=False)
    assert torch.isfinite(h).all()


def test_a_prompt_that_leaves_no_room_is_told(tiny, monkeypatch):
    long = tiny.with_template("a" * 5 + "{text}")
    monkeypatch.setattr(tiny.tokenizer, "model_max_length", count(tiny, "a" * 5))
    with pytest.raises(ValueError, match=r"texts\[1\] does not fit: the prompt of 'tiny' fills the \d+ tokens"):
        long._read(["x"], positions=[1])


def test_the_warning_names_the_limit_that_applied(tiny):
    few = tiny.with_input_format(max_tokens=5)
    with pytest.warns(UserWarning, match=r"^1 of 2 texts are longer than 5 tokens and were cut to fit$"):
        few.embed(["parrots " * 20, "No"])
    with pytest.warns(UserWarning, match=r"^1 of the 2 texts that were not in the cache are longer than 5 tokens and"):
        few.embed(["No", "garden " * 20, "Yes"])
    prompt = len(tiny.tokenizer(EOL.replace("{text}", "a")).input_ids) - 1
    whole = tiny.with_input_format(max_tokens=4000, template=EOL)
    said = rf"1 of 1 texts are longer than {1024 - prompt} tokens \(the 1024 that the model reads, less the {prompt} of"
    with pytest.warns(UserWarning, match=said):
        whole.embed(["parrots " * 2000])


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "512", None])
def test_a_limit_is_a_whole_number(tiny, value):
    with pytest.raises(ValueError, match="max_tokens is .*; it must be a whole number, 1 or more"):
        tiny.with_input_format(max_tokens=value)
    if value is not None:
        with pytest.raises(ValueError, match="max_tokens is"):
            tiny.prompts(TEXTS, max_tokens=value)
    assert type(tiny.with_input_format(max_tokens=np.int64(7)).max_tokens) is int


def test_the_tokens_of_a_text_are_those_of_the_whole_text(tiny):
    few = tiny.with_input_format(max_tokens=2)
    assert few.literal_tokens(TEXTS) == tiny.literal_tokens(TEXTS)


# --- what is a text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        tuple, iter, pd.Series, np.array, lambda texts: (text for text in texts), lambda t: dict(enumerate(t)).values(),
        lambda t: pd.Series(t, dtype="string"), lambda t: np.array(t, dtype=object), lambda t: pd.Index(t),
        lambda t: pd.Series(t, index=[7, 5, 3]),
    ],
)  # fmt: skip
def test_any_ordered_collection_of_texts_is_read(tiny, made):
    assert torch.equal(tiny.embed(made(TEXTS), cache=False), tiny.embed(TEXTS, cache=False))
    assert tiny.literal_tokens(made(TEXTS)) == tiny.literal_tokens(TEXTS)
    assert tiny.prompts(made(TEXTS)) == tiny.prompts(TEXTS)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (pd.DataFrame({"text": TEXTS}), r"texts is a DataFrame; give one of its columns, such as texts\['text'\]$"),
        ({"a": "b"}, r"texts is a dict; give its values in a list: list\(texts.values\(\)\)$"),
        ({"a", "b"}, r"texts is a set, which has no order; give a list, such as sorted\(texts\)$"),
        (frozenset({"a"}), "texts is a frozenset, which has no order"),
        (b"a text", r"texts is bytes; decode it and put it in a list"),
        (bytearray(b"a text"), "texts is bytearray; decode it"),
        (7, "texts is 7; give a list of str$"),
        (None, "texts is None; give a list of str$"),
        (np.array("a text"), "give a list of str$"),
        (["a", b"b"], r"texts\[1\] is b'b'; every text must be a str$"),
        (np.array([["a", "b"]]), r"texts\[0\] is array\(.*; every text must be a str$"),
        (pd.Series(["a", None], dtype="string"), r"texts\[1\] is <NA>; every text must be a str$"),
        (["a", pd.DataFrame({"long": range(90)})], r"texts\[1\] is .{1,80}; every text must be a str$"),
    ],
)
def test_what_is_no_list_of_texts_is_refused_in_one_line(texts, said):
    with pytest.raises(TypeError, match=said) as caught:
        check_texts(texts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["five \ud83d of", "five \udcff"])
def test_half_a_character_is_refused_with_its_place(tiny, text):
    said = r"texts\[3\] holds a lone surrogate \('\\ud.{3}'\) at character 5; replace it first"
    for read in (tiny.embed, tiny.literal_tokens, tiny.prompts, partial(token_counts, tiny)):
        with pytest.raises(ValueError, match=said):
            read([*TEXTS, text])
    assert check_texts([text.encode("utf-8", "replace").decode()])
    with pytest.raises(ValueError, match="the template .* holds a lone surrogate at character 5"):
        tiny.with_template(text + " {text}")


def test_a_text_without_tokens_is_named_by_its_place_in_the_list(readers, monkeypatch):
    bert = readers["google-bert/"]
    monkeypatch.setitem(PORTIONS, "cpu", Portion(texts=2, tokens=1024))
    bert.embed(TEXTS)
    with pytest.raises(ValueError, match=r"texts\[4\] is '\\u200b', which has no tokens"):
        bert.embed([*TEXTS, "new", "\u200b"])


def test_an_iterator_is_read_once_wherever_texts_are_needed_twice(tiny, tmp_path):
    h, u = tiny.embed(TEXTS), torch.nn.functional.normalize(torch.ones(16), dim=0)
    for call in (
        lambda texts: ta.aligned_tokens(tiny, texts, 3),
        lambda texts: ta.read_tokens(tiny, h, texts, 3),
        lambda texts: ta.sweep(tiny, h, texts, u, [0, 1, 2], 3),
        lambda texts: ta.alignment_rates({"a": tiny, "b": tiny.with_template("a {text}")}, texts, 3),
        lambda texts: token_counts(tiny, texts).tolist(),
    ):
        found, expected = call(iter(TEXTS)), call(TEXTS)
        assert found.equals(expected) if isinstance(found, pd.DataFrame) else found == expected


def test_every_embedder_is_examined_on_the_same_iterator(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("tokalign_helpers.examination.examine", lambda name, texts, **_: seen.append(list(texts)))
    ta.examine_all(["a", "b"], iter(TEXTS), results=tmp_path)
    assert seen == [TEXTS, TEXTS]


# --- marks that stand there already ---------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["<s>[INST] {text}", "<s>{text}"])
def test_a_mark_at_the_beginning_of_the_template_is_not_doubled(readers, template):
    llama = readers["huggyllama/"].with_template(template)
    (ids,), _ = llama.prompts(["the beak"])
    assert ids == llama.tokenizer(template.replace("{text}", "the beak"), add_special_tokens=False).input_ids
    assert ids.count(1) == 1
    assert llama._overhead == len(llama.tokenizer(template.replace("{text}", ""), add_special_tokens=False).input_ids)


def test_marks_at_both_ends_are_not_doubled(readers):
    bert = readers["google-bert/"].with_input_format(template="[CLS] a {text} . [SEP]", span="text")
    (ids,), _ = bert.prompts(["beak"])
    assert ids == readers["google-bert/"].tokenizer("a beak .").input_ids
    ((start, end),) = bert.pooled_spans(["beak"])
    assert bert.tokenizer.decode(ids[start:end]) == "beak. [SEP]"


def test_other_marks_stay(readers, tiny):
    llama = readers["huggyllama/"]
    for text in ("the beak", "<s> the beak"):  # what a text says is the text's
        (ids,), _ = llama.with_template("{text}").prompts([text])
        assert ids == llama.tokenizer(text).input_ids
    (ids,), _ = tiny.with_template("<|end|>{text}").prompts(["the beak"])  # this tokenizer sets none
    assert ids == tiny.tokenizer("<|end|>the beak").input_ids


# --- poolings -------------------------------------------------------------------------------------------------------


def middle(hidden, mask, *, at):
    return hidden[:, at]


class Middle:
    def __call__(self, hidden, mask):
        return hidden[:, 0]


class Learned(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(16))

    def forward(self, hidden, mask):
        return first_token(hidden, mask) * self.scale


@pytest.mark.parametrize(
    ("pooling", "name"),
    [
        (partial(middle, at=0), "middle(at=0)"), (Middle(), "Middle"), (Learned(), "Learned"),
        (Middle().__call__, "Middle.__call__"), (partial(partial(middle, at=3), at=0), "middle(at=0)"),
    ],
)  # fmt: skip
def test_a_pooling_may_be_anything_that_can_be_called(tiny, pooling, name):
    embedder = replace(tiny, pooling=pooling)
    h = embedder.embed(TEXTS, cache=False)
    assert torch.equal(h, replace(tiny, pooling=first_token).embed(TEXTS, cache=False))
    assert not h.requires_grad
    assert pooling_name(pooling) == name


def test_the_name_of_a_pooling_is_the_same_in_every_process():
    assert pooling_name(partial(middle, last_token, at=mean)) == "middle(last_token, at=mean)"


def test_a_report_is_found_again_whatever_the_pooling():
    from tokalign_helpers.examination import _row

    rows = [ta.EmbedderSpec("made", "somewhere", partial(middle, at=at)) for at in (0, 0, 1)]
    assert _row(rows[0]) == _row(rows[1]) != _row(rows[2])


def test_what_is_no_pooling_is_refused(tiny):
    with pytest.raises(ValueError, match="pooling is 'mean'; give a function, such as tokalign_helpers.mean"):
        replace(tiny, pooling="mean")
    flat = replace(tiny, pooling=partial(lambda hidden, mask, n: hidden[0, 0], n=1))
    with pytest.raises(
        ValueError, match=r"the pooling .*lambda.*\(n=1\) of 'tiny' made \(16,\) of states of the shape"
    ):
        flat.embed(TEXTS, cache=False)


# --- vocabularies of different sizes --------------------------------------------------------------------------------


@pytest.fixture
def cropped(tiny):
    """The decoder layer lacks the last 40 tokens of the tokenizer, all of them pieces of words."""
    return replace(tiny, unembedding=tiny.unembedding[:-40], name="cropped")


def test_tokens_without_a_row_are_left_out_with_a_warning(cropped):
    rows = len(cropped.unembedding)
    with pytest.warns(UserWarning, match=rf"tokens of the texts, such as '.+', have no row in the .* \({rows} rows\)"):
        literal = cropped.literal_tokens(TEXTS)
    assert max(map(max, literal)) < rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(ta.aligned_tokens(cropped, TEXTS, 4)) == 12
        assert ta.align(cropped, TEXTS, k=4).folded().rates(4)["value"].notna().all()
    assert len(token_counts(cropped, TEXTS)) == rows
    assert "".join(piece for piece, _ in marked_pieces(cropped, TEXTS[2], range(100))) == TEXTS[2]


def test_a_token_that_the_model_lacks_is_named(tiny):
    import copy

    tokenizer = copy.deepcopy(tiny.tokenizer)
    tokenizer.add_tokens(["<bird>"])
    more = replace(tiny, tokenizer=tokenizer)
    assert torch.equal(more.embed(TEXTS, cache=False), tiny.embed(TEXTS, cache=False))
    said = rf"the prompt of texts\[1\] holds the token '<bird>', number {len(tiny.tokenizer)}, but the model of 'tiny'"
    with pytest.raises(ValueError, match=said):
        more.embed(["a", "a <bird>"], cache=False)


# --- whole numbers --------------------------------------------------------------------------------------------------


def counted(tiny):
    """Every function that takes a k (or m, or n), each as a function of it."""
    h = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    decoder = TokenDecoder(tiny.unembedding, tiny.tokenizer)
    alignment = ta.Alignment(torch.arange(40).reshape(4, 10), [{1, 2}, {11}, {21}, {3}])
    index, vectors = SparseIndex(len(tiny.unembedding)), ta.sparsify_documents(decoder, h, 5)
    index.add(list("abcdef"), vectors)
    texts = ["one", "two", "three", "four", "five", "six"]
    names = {name: text for name, text in zip("abcdef", texts, strict=True)}
    components = ta.PrincipalComponents.fit(h)
    return {
        "top_tokens": lambda k: decoder.top_tokens(h, k)[0].tolist(),
        "sparsify_documents": lambda k: ta.sparsify_documents(decoder, h, k).toarray().tolist(),
        "vector_tokens": lambda k: ta.vector_tokens(vectors, decoder, k),
        "shared_tokens": lambda k: ta.shared_tokens(decoder, h[0], h[1], k),
        "hit_at": lambda k: alignment.hit_at(k),
        "rates": lambda k: alignment.rates(k)["value"].tolist(),
        "frequent": lambda k: alignment.frequency_baseline(k).aligned.tolist(),
        "align": lambda k: ta.align(tiny, texts, h, k=k).aligned.tolist(),
        "read_tokens": lambda k: ta.read_tokens(tiny, h, texts, k)["id"].tolist(),
        "sweep": lambda k: ta.sweep(tiny, h, texts, components.direction(1), [0.0], k)["Hit@K"].tolist(),
        "search": lambda k: index.search(vectors, k),
        "best_places": lambda k: best_places(np.arange(9.0), k).tolist(),
        "sparse_run": lambda k: ta.sparse_run(list("abcdef"), index, q=vectors, k=k),
        "dense_run": lambda k: ta.dense_run(list("abcdef"), list("uvwxyz"), q=h, h=h, k=k),
        "bm25_run": lambda k: ta.bm25_run(names, names, k=k),
        "neighbour_agreement": lambda k: neighbour_agreement(h, list("aabbcc"), k).tolist(),
        "alignment_view": lambda k: alignment_view(tiny, "a parrot", k)[0],
        "adjustment_view": lambda k: adjustment_view(tiny, "a parrot", components, 1.0, k=k),
    }


NAMES = [
    "top_tokens", "sparsify_documents", "vector_tokens", "shared_tokens", "hit_at", "rates", "frequent", "align",
    "read_tokens", "sweep", "search", "best_places", "sparse_run", "dense_run", "bm25_run", "neighbour_agreement",
    "alignment_view", "adjustment_view",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_k_is_any_whole_number_from_1_on(tiny, name):
    call = counted(tiny)[name]
    assert call(np.int64(3)) == call(3)
    for k in (0, -1, True, 3.0, "3", np.int64(0)):
        with pytest.raises(ValueError, match="k is .*; it must be a whole number"):
            call(k)


def test_other_counts_are_whole_numbers_from_0_on(tiny):
    h, decoder = torch.randn(6, 16), tiny.decoder
    runs = [{"q": {"a": 1.0}}]
    for name, call in {
        "m": lambda m: ta.sparsify_queries(decoder, [{1}] * 6, h, m).toarray().tolist(),
        "n": lambda n: remove_top(h, n).matrix.tolist(),
        "k": lambda k: ta.reciprocal_rank_fusion(runs, k=k),
        "nearest": lambda nearest: ta.lexicon_tokens(decoder, "topic", nearest=nearest),
    }.items():
        assert call(np.int64(2)) == call(2)
        assert call(0) is not None
        for value in (-1, True, 2.0):
            with pytest.raises(ValueError, match=f"{name} is .*; it must be a whole number"):
                call(value)


@pytest.mark.parametrize("value", [None, 1.0, True, "1", 0, -1, 99])
def test_a_component_is_a_whole_number_from_1_on(value):
    h = torch.randn(9, 4)
    components = ta.PrincipalComponents.fit(h, np.int64(2))
    assert torch.equal(components.direction(np.int64(2)), components.direction(2))
    for call in (components.direction, lambda j: components.adjust(h, 1.0, j), lambda j: components.contribution(h, j)):
        with pytest.raises(ValueError, match="^j is .*; it must be a whole number from 1 to 2"):
            call(value)
    if value is not None:
        with pytest.raises(
            ValueError, match="^the number of components is .*; it must be a whole number from 1 to the rank .* = 4"
        ):
            ta.PrincipalComponents.fit(h, value)


@pytest.mark.parametrize("value", [0, -1, None, 2.5, True, "all"])
def test_what_is_compared_or_searched_is_counted_before_any_work(tiny, value, passes):
    with pytest.raises(ValueError, match="checked is .*; it must be a whole number, 1 or more"):
        ta.fill_cache({"tiny": tiny}, TEXTS, "made", checked=value)
    for count in ("documents", "pairs"):
        with pytest.raises(ValueError, match=f"{count} is .*; it must be a whole number"):
            ta.examine(tiny, TEXTS * 7, **{count: value})
    assert not passes


@pytest.mark.parametrize("how", [{"documents": 1}, {"pairs": 2}])
def test_too_few_documents_or_pairs_are_refused_before_any_work(tiny, how, passes):
    with pytest.raises(ValueError, match=rf"{next(iter(how))} is .*; it must be a whole number, [23] or more"):
        ta.examine(tiny, TEXTS * 7, **how)
    assert not passes


# --- on the screen --------------------------------------------------------------------------------------------------


def test_a_text_reaches_no_screen_with_marks_that_turn_it_round(tiny):
    text = "a \u202eparrot\x1b[2J in the garden"
    page, _ = alignment_view(tiny, text, 3)
    assert page.isprintable()
    assert r"\u202e" in page and r"\x1b" in page
