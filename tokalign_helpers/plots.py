"""One function a figure: takes tables, returns the matplotlib Axes. Nothing here computes a result."""

import html
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.font_manager import fontManager
from matplotlib.ticker import PercentFormatter

from tokalign_helpers.vocabulary import KINDS

# Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, PURPLE, GREY, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C8C8C", "#56B4E9"
PALE = "#F4B183"  # of the orange
EMBEDDER_COLORS = {
    "smol-last": GREY,
    "smol-mean": SKY,
    "smol-wmean": BLUE,
    "smol-eol": ORANGE,
    "smol-cse": GREEN,
    "smol-sim": PURPLE,
    "smol-rel": "#E69F00",
}
KIND_COLORS = dict(zip(KINDS, (ORANGE, SKY, PURPLE, GREEN, GREY, "#D9D9D9"), strict=True))
# Aligned tokens come in every script; matplotlib takes the first font that has a character.
_SCRIPTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans", "Arial Unicode MS")


def use_style() -> None:
    """Give all figures of the course one look."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
    known = {font.name for font in fontManager.ttflist}
    plt.rcParams.update({
        "font.family": [name for name in _SCRIPTS if name in known] or ["sans-serif"],
        "figure.dpi": 110,
        "figure.facecolor": "white",  # stays readable on a dark page
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.titlesize": 12,
        "grid.color": "#E6E6E6",
    })  # fmt: skip


def color_of(name: str) -> str:
    """Return the colour that an embedder has in every figure.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
    """
    return EMBEDDER_COLORS.get(name, "#000000")


def plot_aligned_tokens(table: pd.DataFrame, title: str, *, shown: int = 10, ax: Axes | None = None) -> Axes:
    """Draw the best tokens of one text as bars.

    Parameters
    ----------
    table : DataFrame
        One text's rows of :func:`~tokalign_helpers.alignment.aligned_tokens`; more than are shown. The bars start at
        the score of its last row, because scores have no zero that means something.
    title : str
    shown : int
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = ax or plt.subplots(figsize=(6.5, 0.32 * shown + 1.2), layout="constrained")[1]
    best = table.head(shown)
    places = np.arange(len(best))
    colors = [ORANGE if own else PALE if part else GREY for own, part in best[["folded_in_text", "begins_word"]].values]
    ax.barh(places, best["score"] - table["score"].iloc[-1], color=colors, height=0.72)
    ax.set_yticks(places, [_literal(token) for token in best["token"]])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=f"score above the token of rank {len(table)}", ylabel="")
    ax.set_title(_literal(title))
    _legend(ax, {"in the text": ORANGE, "begins a word of it": PALE, "neither": GREY})
    return ax


def plot_rates(table: pd.DataFrame, title: str) -> np.ndarray:
    """Draw each rate of each embedder with its interval, one panel a rate.

    Parameters
    ----------
    table : DataFrame
        As :func:`~tokalign_helpers.alignment.alignment_rates` returns it.
    title : str

    Returns
    -------
    ndarray of Axes, one a rate
    """
    names, names_of_rates = list(table["embedder"].unique()), list(table["rate"].unique())
    figure, axes = plt.subplots(
        1, len(names_of_rates), figsize=(10, 0.42 * len(names) + 1.5), sharey=True, layout="constrained", squeeze=False
    )
    for ax, rate in zip(axes[0], names_of_rates, strict=True):
        rows = table[table["rate"] == rate]
        for place, (_, row) in enumerate(rows.iterrows()):
            color = color_of(row["embedder"])
            ax.plot([row["low"], row["high"]], [place, place], color=color, linewidth=3, solid_capstyle="round")
            ax.plot(row["value"], place, "o", color=color, markersize=8)
            ax.annotate(f"{row['value']:.2f}", (row["value"], place), (0, 8), textcoords="offset points",
                        ha="center", fontsize=9)  # fmt: skip
        ax.set_yticks(range(len(names)), names)
        ax.set(xlim=(0, max(0.05, rows["high"].max() * 1.15)), xlabel=f"{rate}, share", ylim=(len(names) - 0.4, -0.7))
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return axes[0]


def plot_kind_shares(shares: pd.DataFrame, title: str) -> Axes:
    """Draw what kinds of tokens embedders answer with, as one stacked bar an embedder.

    Parameters
    ----------
    shares : DataFrame
        A row an embedder (or the texts themselves), a column a kind; rows sum to 1.
    title : str

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(9, 0.5 * len(shares) + 1.6), layout="constrained")[1]
    left = np.zeros(len(shares))
    for kind in KINDS:
        width = shares[kind].to_numpy()
        ax.barh(shares.index, width, left=left, color=KIND_COLORS[kind], label=kind, height=0.72)
        for place in np.flatnonzero(width > 0.05):
            ax.text(left[place] + width[place] / 2, place, f"{100 * width[place]:.0f}", ha="center", va="center",
                    fontsize=9, color="white" if kind in ("content word", "punctuation") else "black")  # fmt: skip
        left += width
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.set(xlim=(0, 1), xlabel="share of the tokens (numbers: percent)")
    ax.set_title(title)
    ax.legend(ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.25), frameon=False, fontsize=9)
    return ax


def plot_recall_by_frequency(tables: Mapping[str, pd.DataFrame], title: str) -> Axes:
    """Draw which share of rare and of common tokens each embedder gives back.

    Parameters
    ----------
    tables : Mapping[str, DataFrame]
        For each embedder a table of :func:`~tokalign_helpers.vocabulary.recall_by_frequency`.
    title : str

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(8, 4), layout="constrained")[1]
    for name, table in tables.items():
        ax.plot(table["texts"], table["recall"], "o-", color=color_of(name), label=name, linewidth=2)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.yaxis.set_minor_formatter(PercentFormatter(1, decimals=0))
    ax.set(xlabel="the token stands in … of the texts", ylabel="share given back (log scale)")
    ax.set_title(title)
    ax.legend(frameon=False)
    return ax


def token_table(tables: Mapping[str, pd.DataFrame]) -> "pd.io.formats.style.Styler":
    """Put the tokens of several embedders side by side, the text's own ones marked.

    Parameters
    ----------
    tables : Mapping[str, DataFrame]
        For each embedder one text's rows of :func:`~tokalign_helpers.alignment.aligned_tokens`.

    Returns
    -------
    Styler
        Marked by weight and an underline, not by a background, so that it reads on light and dark pages.
    """
    tokens = pd.DataFrame({name: table["token"].to_list() for name, table in tables.items()})
    own = pd.DataFrame({name: table["folded_in_text"].to_list() for name, table in tables.items()})
    tokens.index = own.index = pd.RangeIndex(1, len(tokens) + 1, name="rank")
    marks = own.map(lambda yes: "font-weight: bold; text-decoration: underline" if yes else "opacity: 0.75")
    style = tokens.style.apply(lambda _: marks, axis=None).format(html.escape)
    return style.set_properties(**{"text-align": "left", "font-family": "monospace"})


def highlighted_text(pieces: list[tuple[str, bool]]) -> str:
    """Return a text as HTML, its marked pieces highlighted.

    Parameters
    ----------
    pieces : list of (str, bool)
        As :func:`~tokalign_helpers.alignment.marked_pieces` returns them.

    Returns
    -------
    str
    """
    style = f"background:{ORANGE};color:white;border-radius:3px;padding:1px 2px"
    parts = [f'<mark style="{style}">{html.escape(s)}</mark>' if own else html.escape(s) for s, own in pieces]
    return f'<p dir="auto" style="font-size:1.15em;line-height:1.7">{"".join(parts)}</p>'


def _legend(ax: Axes, entries: Mapping[str, str]) -> None:
    handles = [plt.Rectangle((0, 0), 1, 1, color=color) for color in entries.values()]
    ax.legend(handles, list(entries), frameon=False, loc="lower right", fontsize=9)


def _literal(text: str) -> str:
    return text.replace("$", r"\$")  # matplotlib reads $…$ as a formula
