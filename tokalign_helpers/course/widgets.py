"""Thin ipywidgets over pure functions. Only core widgets that ipywidgets 7.7 and 8 both have."""

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

import ipywidgets
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import sparse

from tokalign_helpers.basics.checks import JOINERS, check_texts, escaped, whole_number
from tokalign_helpers.course.plots import highlighted_text, plot_aligned_tokens, token_bars
from tokalign_helpers.models.decoding import TokenDecoder
from tokalign_helpers.models.embedding import Embedder
from tokalign_helpers.reading.alignment import REFERENCE_RANK, aligned_tokens, marked_pieces, read_tokens
from tokalign_helpers.reading.spectrum import PrincipalComponents
from tokalign_helpers.retrieval.index import SparseIndex
from tokalign_helpers.retrieval.recipe import SparseRecipe


def alignment_view(
    embedder: Embedder, text: str, k: int = 10, ax: Axes | None = None, *, title: str = ""
) -> tuple[str, Axes]:
    """Show what one embedding says: the text with its own tokens highlighted, and the k best tokens as bars.

    Parameters
    ----------
    embedder : Embedder
        The embedder to read with.
    text : str
        The text to embed.
    k : int
        How many tokens to show.
    ax : Axes, optional
        Where to draw. Default: a new figure.
    title : str
        Of the bars. Default: names the embedder.

    Returns
    -------
    html : str
    ax : Axes

    Raises
    ------
    ValueError
        If the text is blank, or k is not a whole number, 1 or more.
    """
    k = whole_number(k, "k")
    table = aligned_tokens(embedder, [text], k=max(k + 1, REFERENCE_RANK))
    ax = plot_aligned_tokens(table, title or f"What {embedder.name} says", shown=k, ax=ax)
    return highlighted_text(marked_pieces(embedder, text, table["id"].head(k))), ax


def explore_alignment(embedders: Mapping[str, Embedder], text: str, k: int = 10) -> ipywidgets.Widget:
    """Build a small tool: type a text, choose an embedder and k, read the tokens.

    Parameters
    ----------
    embedders : Mapping[str, Embedder]
        The embedders to choose from, by name.
    text : str
        The initial one.
    k : int
        How many tokens to show at first.

    Returns
    -------
    Widget
        A box with a text field, a list of embedders, a slider, the highlighted text and the bars.
    """
    wide = ipywidgets.Layout(width="95%")
    box = ipywidgets.Text(value=text, description="Text", layout=wide, continuous_update=False)
    choice = ipywidgets.Dropdown(options=list(embedders), value=list(embedders)[-1], description="Embedder")
    slider = ipywidgets.IntSlider(value=k, min=1, max=30, description="Tokens", continuous_update=False)
    words, bars = ipywidgets.HTML(), ipywidgets.Image(format="png")

    def redraw(_: object = None) -> None:
        bars.layout.display = "" if box.value.strip() else "none"
        if not box.value.strip():
            words.value = "<p>Type a text first.</p>"
            return
        figure = Figure(figsize=(7, 0.32 * slider.value + 1.3), layout="constrained", dpi=100)
        words.value, _ax = alignment_view(embedders[choice.value], box.value, slider.value, figure.add_subplot())
        bars.value = png(figure)

    for control in (box, choice, slider):
        control.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([box, ipywidgets.HBox([choice, slider]), words, bars])


def adjustment_view(
    embedder: Embedder, text: str, components: PrincipalComponents, amount: float, j: int = 1, k: int = 12
) -> str:
    """Show what an embedding says after it was moved along a component.

    Parameters
    ----------
    embedder : Embedder
        The embedder to read with.
    text : str
        The text to embed.
    components : PrincipalComponents
        Of this embedder.
    amount : float
        λ.
    j : int
        Which component.
    k : int
        How many tokens to show.

    Returns
    -------
    str, HTML

    Raises
    ------
    ValueError
        If k is not a whole number, 1 or more.
    """
    k = whole_number(k, "k")
    moved = components.adjust(embedder.embed([text]), amount, j)
    return token_bars(read_tokens(embedder, moved, [text], max(k + 1, REFERENCE_RANK)), k)


def explore_adjustment(
    embedders: Mapping[str, Embedder],
    components: Mapping[str, PrincipalComponents],
    text: str,
    marks: Mapping[str, float],
) -> ipywidgets.Widget:
    """Build a small tool: move the embedding of a text along a component and watch its tokens change.

    Parameters
    ----------
    embedders : Mapping[str, Embedder]
        The embedders to choose from, by name.
    components : Mapping[str, PrincipalComponents]
        Of each embedder.
    text : str
        The initial one.
    marks : Mapping[str, float]
        For each embedder, the λ that the notebook found, v_1.

    Returns
    -------
    Widget
        A box with a text field, a list of embedders, a choice of the component, a slider for λ that reaches twice v_1
        of the chosen embedder either way, a button that sets it to v_1, and the bars.
    """
    wide = ipywidgets.Layout(width="95%")
    box = ipywidgets.Text(value=text, description="Text", layout=wide, continuous_update=False)
    choice = ipywidgets.Dropdown(options=list(embedders), description="Embedder")
    which = ipywidgets.IntSlider(value=1, min=1, max=5, description="Component")
    slider = ipywidgets.FloatSlider(value=0, readout_format=".1f", description="λ", layout=wide)
    to_mark, to_raw = ipywidgets.Button(description="λ = v₁"), ipywidgets.Button(description="λ = 0")
    bars, note = ipywidgets.HTML(), ipywidgets.HTML()

    def rescale(_: object = None) -> None:
        reach = 2 * abs(marks[choice.value]) or 1.0
        share = slider.value / slider.max  # of the way to the end: an embedder's scale is its own
        with slider.hold_trait_notifications():  # otherwise the new end may lie beyond the old beginning
            slider.min, slider.max, slider.step = -reach, reach, reach / 100
            slider.value = share * slider.max

    def redraw(_: object = None) -> None:
        to_mark.disabled = which.value != 1
        note.value = (
            f"v<sub>1</sub> of {html.escape(choice.value)}: {marks[choice.value]:.1f}"
            if which.value == 1
            else f"component {which.value} has no mark: v<sub>1</sub> belongs to the first"
        )
        bars.value = (
            adjustment_view(embedders[choice.value], box.value, components[choice.value], slider.value, which.value)
            if box.value.strip()
            else "<p>Type a text first.</p>"
        )

    choice.observe(rescale, names="value")
    for control in (box, choice, which, slider):
        control.observe(redraw, names="value")
    to_mark.on_click(lambda _: setattr(slider, "value", marks[choice.value]))
    to_raw.on_click(lambda _: setattr(slider, "value", 0.0))
    rescale()
    redraw()
    top = ipywidgets.HBox([choice, which, note])
    return ipywidgets.VBox([box, top, slider, ipywidgets.HBox([to_raw, to_mark]), bars])


def explore_instruction(embedder: Embedder, text: str, background: Sequence[str]) -> ipywidgets.Widget:
    """Build a small tool: a text, an instruction, and the tokens of the answer.

    Parameters
    ----------
    embedder : Embedder
        One that takes an instruction.
    text : str
        The initial one.
    background : Sequence[str]
        Texts whose mean embedding, asked the same, is subtracted.

    Returns
    -------
    Widget
        Two text fields and the bars. A new instruction embeds the background once, which takes some seconds.
    """
    wide = ipywidgets.Layout(width="95%")
    background = check_texts(background)
    box = ipywidgets.Text(value=text, description="Text", layout=wide, continuous_update=False)
    ask = ipywidgets.Text(value="topic", description="Asked for", continuous_update=False)
    bars, note = ipywidgets.HTML(), ipywidgets.HTML()

    def redraw(_: object = None) -> None:
        try:
            asked = embedder.with_instruction(ask.value)
            note.value = f"<p>Asking {len(background)} texts for their {html.escape(ask.value)} …</p>"
            h = asked.embed([box.value]) - asked.embed(background, progress=False).mean(dim=0)
            bars.value = token_bars(read_tokens(asked, h, [box.value], REFERENCE_RANK), 12)
            note.value = ""
        except ValueError as error:
            note.value = f"<p>{html.escape(str(error))}</p>"

    for control in (box, ask):
        control.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([box, ask, note, bars])


def search_view(
    index: SparseIndex, documents: Mapping[str, str], query: sparse.csr_array, decoder: TokenDecoder, k: int = 3
) -> str:
    """Show the best documents for a query, each with the tokens that made it match.

    Parameters
    ----------
    index : SparseIndex
        The index of the documents.
    documents : Mapping[str, str]
        Name → text.
    query : csr_array, (1, V)
        The sparse vector of one query.
    decoder : TokenDecoder
        The decoder layer that names and scores the tokens.
    k : int
        How many documents to show.

    Returns
    -------
    str, HTML
    """
    rows = []
    for rank, (name, score) in enumerate(index.search(query, k)[0], start=1):
        why = index.explain(query, name, decoder).head(8)
        tokens = ", ".join(f"{html.escape(t)} {s:.3f}" for t, s in zip(why["token"], why["score"], strict=True))
        text = html.escape(escaped(documents[name][:220], keep=JOINERS))
        rows.append(f"<p><b>{rank}. {score:.3f}</b> {text} …<br><small>because of: <code>{tokens}</code></small></p>")
    return "".join(rows) or "<p>No document shares a token with the query.</p>"


def explore_search(
    embedder: Embedder, index: SparseIndex, documents: Mapping[str, str], text: str, recipe: SparseRecipe
) -> ipywidgets.Widget:
    """Build a small search engine: type a query, read what is found and why.

    Parameters
    ----------
    embedder : Embedder
        The embedder of the documents, which also reads the query.
    index : SparseIndex
        Of the vectors that the recipe made of the documents.
    documents : Mapping[str, str]
        Name → text.
    text : str
        To begin with.
    recipe : SparseRecipe
        Makes the query's vector; its own M and weight of literal tokens are where the controls begin.

    Returns
    -------
    Widget
        A text field, a slider for the number of aligned tokens of the query, a box that switches its literal tokens
        off, and the hits.
    """
    box = ipywidgets.Text(
        value=text, description="Query", layout=ipywidgets.Layout(width="95%"), continuous_update=False
    )
    most = max(recipe.m, 1)
    more = ipywidgets.IntSlider(
        value=most, min=0, max=most, step=max(1, most // 20), description="M", continuous_update=False
    )
    own = ipywidgets.Checkbox(value=recipe.own > 0, description="literal tokens")
    hits = ipywidgets.HTML()

    def redraw(_: object = None) -> None:
        if not box.value.strip():
            hits.value = "<p>Type a query first.</p>"
            return
        asked = replace(recipe, m=more.value, own=(recipe.own or 1.0) if own.value else 0.0)
        query = asked.queries(embedder.literal_tokens([box.value]), embedder.embed([box.value]))
        hits.value = search_view(index, documents, query, embedder.decoder)

    for control in (box, more, own):
        control.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([box, ipywidgets.HBox([more, own]), hits])


def png(figure: Figure) -> bytes:
    """Return a figure as PNG.

    Parameters
    ----------
    figure : Figure
        A matplotlib figure.

    Returns
    -------
    bytes
    """
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
