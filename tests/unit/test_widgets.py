"""The widgets are moved as a reader would, without a browser."""

import html

import ipywidgets
import pytest

import tokalign_helpers as ta
from tokalign_helpers.course import plots, widgets
from tokalign_helpers.reading.spectrum import PrincipalComponents

TEXT = "What diseases are parrots prone to?"


def parts(widget, kind):
    found = [widget] if isinstance(widget, kind) else []
    return found + [part for child in getattr(widget, "children", ()) for part in parts(child, kind)]


@pytest.fixture(scope="module")
def components(tiny):
    texts = ["A parrot.", "The garden is quiet.", "Birds in a garden.", "One word.", "What is it?", "No feathers here."]
    return PrincipalComponents.fit(tiny.embed(texts))


def test_the_alignment_widget(tiny):
    tool = widgets.explore_alignment({"tiny": tiny}, TEXT)
    (box,), (slider,) = parts(tool, ipywidgets.Text), parts(tool, ipywidgets.IntSlider)
    (picture,), (words,) = parts(tool, ipywidgets.Image), parts(tool, ipywidgets.HTML)
    before = picture.value
    assert bytes(before).startswith(b"\x89PNG")
    slider.value = 3
    assert picture.value != before
    box.value = "A quiet garden."
    assert "garden" in words.value
    assert picture.layout.display != "none"
    box.value = " "
    assert "Type a text first" in words.value
    assert picture.layout.display == "none"  # no bars of the text before


def test_the_adjustment_widget(tiny, components):
    tool = widgets.explore_adjustment({"tiny": tiny}, {"tiny": components}, TEXT, {"tiny": -3.0})
    (slider,), (which,) = parts(tool, ipywidgets.FloatSlider), parts(tool, ipywidgets.IntSlider)
    bars = tool.children[-1]
    before = bars.value
    assert before == widgets.adjustment_view(tiny, TEXT, components, 0.0)
    assert before.count("<tr>") == 12
    assert before.endswith("Grey: neither.</small>")
    best = ta.aligned_tokens(tiny, [TEXT], 12)["token"]
    places = [before.find(f">{html.escape(token)}</") for token in best]
    assert -1 not in places
    assert places == sorted(places)
    slider.value = slider.min
    assert bars.value != before
    moved = bars.value
    which.value = 2
    assert bars.value not in (before, moved)
    assert bars.value == widgets.adjustment_view(tiny, TEXT, components, slider.min, 2)


def test_the_adjustment_slider_has_the_scale_of_the_embedder_and_a_button_for_its_mark(tiny, components):
    marks = {"long": -55.87, "short": -7.0, "still": 0.0}
    tool = widgets.explore_adjustment(dict.fromkeys(marks, tiny), dict.fromkeys(marks, components), TEXT, marks)
    (slider,), (which,) = parts(tool, ipywidgets.FloatSlider), parts(tool, ipywidgets.IntSlider)
    (choice,), (to_raw, to_mark) = parts(tool, ipywidgets.Dropdown), parts(tool, ipywidgets.Button)
    (note, bars) = parts(tool, ipywidgets.HTML)
    to_mark.click()
    assert slider.value == -55.87
    assert bars.value == widgets.adjustment_view(tiny, TEXT, components, -55.87)
    choice.value = "short"
    assert (slider.min, slider.max) == (-14.0, 14.0)
    assert slider.value == pytest.approx(-7.0)  # as far on its own scale
    assert "of short: -7.0" in note.value
    which.value = 2
    assert "component 2 has no mark" in note.value and to_mark.disabled
    to_raw.click()
    assert slider.value == 0
    choice.value, which.value = "still", 1
    to_mark.click()
    assert (slider.min, slider.value, slider.max) == (-1.0, 0.0, 1.0)


def test_the_search_widget(tiny):
    documents = {"a": "The parrot spoke.", "b": "A garden without birds.", "c": "The sea was quiet."}
    index = ta.SparseIndex(tiny.decoder.vocabulary_size)
    texts = list(documents.values())
    h = tiny.embed(texts)
    recipe = ta.SparseRecipe.fit(tiny.decoder, h, tiny.literal_tokens(texts), k=100, m=40)
    index.add(list(documents), recipe.documents(h))
    tool = widgets.explore_search(tiny, index, documents, "birds", recipe)
    (box,), (own,) = parts(tool, ipywidgets.Text), parts(tool, ipywidgets.Checkbox)
    (more,), hits = parts(tool, ipywidgets.IntSlider), tool.children[-1]
    static = recipe.queries(tiny.literal_tokens(["birds"]), tiny.embed(["birds"]))
    assert hits.value == widgets.search_view(index, documents, static, tiny.decoder)
    assert "because of" in hits.value
    own.value, more.value = False, 0
    assert "No document shares a token" in hits.value
    box.value = ""
    assert "Type a query first" in hits.value


def test_the_instruction_widget(smol):
    tool = widgets.explore_instruction(smol, TEXT, ["A text.", "Another one."])
    box, ask = parts(tool, ipywidgets.Text)
    bars, note = tool.children[-1], tool.children[-2]
    before = bars.value
    ask.value = "emotion"
    assert bars.value != before
    ask.value = " "
    assert "give what to look for" in note.value
    assert box.value == TEXT


def test_marks_in_html_are_escaped(tiny):
    words, _ = widgets.alignment_view(tiny, "<b>bold & brave</b>", 3)
    assert "<b>" not in words
    assert "&lt;" in words


HOSTILE = "<script>alert(1)</script>\"'&"


def test_names_texts_and_tokens_reach_html_escaped(tiny, components):
    """A name may come from a folder, a text from anywhere, a token from a vocabulary."""
    table = ta.aligned_tokens(tiny, [TEXT], 12)
    table.loc[0, "token"] = HOSTILE
    tool = widgets.explore_adjustment({HOSTILE: tiny}, {HOSTILE: components}, HOSTILE, {HOSTILE: -3.0})
    documents = {HOSTILE: f"The parrot {HOSTILE}"}
    index = ta.SparseIndex(tiny.decoder.vocabulary_size)
    index.add(list(documents), ta.sparsify_documents(tiny.decoder, tiny.embed(list(documents.values())), 100))
    query = ta.sparsify_queries(tiny.decoder, tiny.literal_tokens(["The parrot"]))
    made = [part.value for part in parts(tool, ipywidgets.HTML)] + [
        plots.token_table({HOSTILE: table}).data,
        plots.text_table(table.rename(columns={"token": HOSTILE})).data,
        plots.token_bars(table),
        plots.highlighted_text([(HOSTILE, True), (HOSTILE, False)]),
        widgets.alignment_view(tiny, HOSTILE, 3)[0],
        widgets.search_view(index, documents, query, tiny.decoder),
    ]
    assert len(made) >= 7
    for page in made:
        assert "<script" not in page
    assert sum("&lt;script&gt;" in page for page in made) >= 4  # the views split the name into tokens
