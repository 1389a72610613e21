"""One function for each figure: takes tables, returns the matplotlib Axes. Nothing here computes a result."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter
from matplotlib.transforms import ScaledTranslation

from tokalign_helpers.basics.checks import JOINERS, escaped
from tokalign_helpers.basics.statistics import bootstrap_interval
from tokalign_helpers.reading.vocabulary import KINDS

if TYPE_CHECKING:
    import IPython.display

# A colour means one thing in the whole course, and colour-blind readers can tell apart those of one group:
#
# * kinds of tokens are orange and brown: ORANGE is a token of the text, PALE begins a word of it, GREY is neither;
#   KIND_COLORS are browns;
# * components are magenta: FIRST is u_1, REST what is left without it;
# * embedders are blue, green and purple, each with its own colour in EMBEDDER_COLORS;
# * black is what a figure is about (the best, what an interval sets apart from zero, the only series), GREY the others.
#   Methods and other series are told apart by SERIES: shade, mark and line.
#
# Okabe and Ito's palette, as far as it is used for these, and for states of an embedding.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8C8C8C"
PALE = "#F4B183"  # of the orange
IN_TEXT, BEGINS_WORD, NEITHER = ORANGE, PALE, GREY
FIRST, REST = "#B5005A", "#F2A6C8"
INK = "#222222"
SERIES = ((INK, "o", "-"), ("#777777", "s", "--"), ("#A8A8A8", "^", "-."), ("#555555", "D", ":"), ("#8C8C8C", "v", "-"))
KEY_SHARES = "share of key tokens: ○ among all tokens of the text, ● among those that align"
# Chosen by a search for ten colours that differ most, for usual and for red- and green-blind eyes, from each other and
# from the colours above. Variants of one prompt are neighbours.
EMBEDDER_COLORS = {
    "smol-last": "#93C431",
    "smol-mean": "#067AEF",
    "smol-wmean": "#56C4FB",
    "smol-eol": "#0606EF",
    "smol-eol-spaced": "#1A048B",
    "smol-eol-open": "#2E1249",
    "smol-cse": "#05BD61",
    "smol-sim": "#A55097",
    "smol-rel": "#3C5A02",
    "smol-distil": "#1E3E23",
    "smol-asked": "#09C3A3",
}
KIND_COLORS = dict(zip(KINDS, ("#5B3206", "#A8702A", "#DDAF63", "#F2DFBC", "#A39B90", "#E3DFD8"), strict=True))
# Aligned tokens come in every script; matplotlib takes the first font that has a character.
_SCRIPTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans", "Arial Unicode MS")


def use_style() -> None:
    """Set one style for all figures of the course."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
    known = {font.name for font in fontManager.ttflist}
    plt.rcParams.update(
        {
            "font.family": [name for name in _SCRIPTS if name in known] or ["sans-serif"],
            "figure.dpi": 110,
            "figure.facecolor": "white",  # stays readable on a dark page
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.titlesize": 12,
            "grid.color": "#E6E6E6",
        }
    )


def color_of(name: str) -> str:
    """Return the colour that an embedder has in every figure.

    Parameters
    ----------
    name : str
        The embedder's name.

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
        One text's rows of :func:`~tokalign_helpers.reading.alignment.aligned_tokens`; more than are shown. The bars
        start at the score of its last row, because scores have no zero that means something.
    title : str
        Written above the figure.
    shown : int
        How many tokens to draw.
    ax : Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    Axes
    """
    ax = ax or plt.subplots(figsize=(6.5, 0.32 * shown + 1.5), layout="constrained")[1]
    best = table.head(shown)
    places = np.arange(len(best))
    marks = best[["folded_in_text", "begins_word"]].to_numpy()
    colors = [IN_TEXT if own else BEGINS_WORD if part else NEITHER for own, part in marks]
    ax.barh(places, best["score"] - table["score"].iloc[-1], color=colors, height=0.72)
    ax.set_yticks(places, [_literal(token) for token in best["token"]])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=f"score above the token of rank {len(table)}", ylabel="")
    kinds = {"in the text": IN_TEXT, "begins a word of it": BEGINS_WORD, "neither": NEITHER}
    _legend_below(ax, [plt.Rectangle((0, 0), 1, 1, color=color) for color in kinds.values()], list(kinds))
    _title(ax, _literal(title))
    return ax


def plot_rates(table: pd.DataFrame, title: str) -> np.ndarray:
    """Draw each rate of each embedder with its interval, one panel for each rate.

    Parameters
    ----------
    table : DataFrame
        As :func:`~tokalign_helpers.reading.alignment.alignment_rates` returns it.
    title : str
        Written above the figure.

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
            _interval(ax, place, row["value"], row["low"], row["high"], color_of(row["embedder"]))
        ax.set_yticks(range(len(names)), names)
        ax.set(xlim=(0, max(0.05, rows["high"].max() * 1.15)), xlabel=f"{rate}, share", ylim=(len(names) - 0.4, -0.7))
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    _title(axes[0], title)
    return axes[0]


def plot_kind_shares(shares: pd.DataFrame, title: str) -> Axes:
    """Draw what kinds of tokens embedders answer with, as one stacked bar for each embedder.

    Parameters
    ----------
    shares : DataFrame
        One row for each embedder (or for the texts themselves), one column for each kind; rows sum to 1.
    title : str
        Written above the figure.

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(9, 0.5 * len(shares) + 1.6), layout="constrained")[1]
    left = np.zeros(len(shares))
    for kind in KINDS:
        width = shares[kind].to_numpy()
        ax.barh(shares.index, width, left=left, color=KIND_COLORS[kind], label=kind, height=0.72)
        for place in np.flatnonzero(width > 0.05).tolist():
            ax.text(
                left[place] + width[place] / 2,
                place,
                f"{100 * width[place]:.0f}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if kind in ("content word", "function word") else "black",
            )
        left += width
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.set(xlim=(0, 1), xlabel="share of the tokens")
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _legend_below(ax, *ax.get_legend_handles_labels())
    _title(ax, title)
    return ax


def plot_recall_by_frequency(tables: Mapping[str, pd.DataFrame], title: str) -> Axes:
    """Draw which share of rare and of common tokens each embedder matches.

    Parameters
    ----------
    tables : Mapping[str, DataFrame]
        For each embedder a table of :func:`~tokalign_helpers.reading.vocabulary.recall_by_frequency`.
    title : str
        Written above the figure.

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(8, 4), layout="constrained")[1]
    for name, table in tables.items():
        ax.plot(table["texts"], table["recall"], "o-", color=color_of(name), label=name, linewidth=2)
    ax.set_yscale("log")
    ax.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], minor=False)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set(xlabel="the token stands in … of the texts", ylabel="share matched (log scale)")
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    _title(ax, title)
    return ax


def plot_key_shares(tables: Mapping[str, pd.DataFrame], title: str) -> Axes:
    """Draw how common key tokens are among all tokens of a text, and among those that align.

    Parameters
    ----------
    tables : Mapping[str, DataFrame]
        Embedder → :func:`~tokalign_helpers.reading.key_tokens.key_shares`, without texts of which no token aligns.
    title : str
        Written above the figure.

    Returns
    -------
    Axes
        Dots with 95 % intervals (bootstrap over texts): hollow for all tokens, filled for the aligned ones.
    """
    ax = plt.subplots(figsize=(9, 0.55 * len(tables) + 1.4), layout="constrained")[1]
    for place, (name, table) in enumerate(tables.items()):
        whole, aligned = (bootstrap_interval(table[column]) for column in ("text", "aligned"))
        color = color_of(name)
        arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.6, "shrinkA": 5, "shrinkB": 5}
        ax.annotate("", (aligned.estimate, place), (whole.estimate, place), arrowprops=arrow)
        for found, face in ((whole, "white"), (aligned, color)):
            ax.plot([found.low, found.high], [place, place], color=color, lw=5, alpha=0.25, solid_capstyle="butt")
            ax.plot(found.estimate, place, "o", mfc=face, mec=color, ms=8)
        ahead = aligned.estimate >= whole.estimate  # beyond the arrow's head
        side = aligned.high + 0.012 if ahead else aligned.low - 0.012
        ha = "left" if ahead else "right"
        ax.text(side, place, f"{aligned.estimate:.2f}", va="center", ha=ha, color=color)
    ax.set_yticks(range(len(tables)), list(tables))
    ax.set(xlim=(0, 1), ylim=(len(tables) - 0.5, -0.5), xlabel=KEY_SHARES)
    _title(ax, title)
    return ax


def plot_spectrum(shares: Mapping[str, np.ndarray], title: str, *, shown: int = 10) -> Axes:
    """Draw which share of the energy each of the first components carries; the key names that of the very first.

    Parameters
    ----------
    shares : Mapping[str, ndarray]
        For each embedder the shares of its components, in order.
    title : str
        Written above the figure.
    shown : int
        How many components to draw.

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(8, 4), layout="constrained")[1]
    for name, share in shares.items():
        ax.plot(
            np.arange(1, min(shown, len(share)) + 1),
            share[:shown],
            "o-",
            markersize=4,
            color=color_of(name),
            label=f"{name}: {share[0]:.0%} in the first",
        )
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="component j", ylabel="share of the energy", ylim=(0, 1))
    ax.legend(frameon=False)
    _title(ax, title)
    return ax


def plot_variation(variations: Mapping[str, np.ndarray], title: str, *, shown: int = 40) -> np.ndarray:
    """Draw how far embeddings moved along each component, one panel for each pair of backbone and embedder.

    Parameters
    ----------
    variations : Mapping[str, ndarray]
        For each pair, such as ``smol-eol → smol-sim``, the v_j in order.
    title : str
        Written above the figure.
    shown : int
        How many components to draw.

    Returns
    -------
    ndarray of Axes
    """
    across = min(3, len(variations))
    down = -(-len(variations) // across)
    figure, axes = plt.subplots(down, across, figsize=(3.5 * across, 3.1 * down), layout="constrained", squeeze=False)
    for ax in axes.flat[len(variations) :]:
        ax.remove()
    panels = axes.flat[: len(variations)]
    for ax, (pair, v) in zip(panels, variations.items(), strict=True):
        places = np.arange(1, min(shown, len(v)) + 1)
        ax.bar(places, v[:shown], color=[FIRST, *[GREY] * (len(places) - 1)], width=0.9)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_title(f"{pair}\n$v_1$ = {_signed(v[0])}", fontsize=10, fontweight="normal")
        ax.set(xlabel="component j")
        ax.grid(axis="x", visible=False)
    for ax in axes[:, 0]:
        ax.set_ylabel("mean shift $v_j$, units of h")
    _title(panels, title)
    return panels


def plot_contribution(parts: pd.DataFrame, title: str) -> Axes:
    """Draw what the first component and the rest add to the scores of some tokens.

    Parameters
    ----------
    parts : DataFrame
        ``token``, ``first`` and ``rest``: the two contributions to each token's score; one row for each token.
    title : str
        Written above the figure.

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(7.5, 0.3 * len(parts) + 1.4), layout="constrained")[1]
    places = np.arange(len(parts))
    ax.barh(places - 0.2, parts["first"], height=0.4, color=FIRST, label="first component")
    ax.barh(places + 0.2, parts["rest"], height=0.4, color=REST, label="all the rest")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(places, [_literal(token) for token in parts["token"]])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="contribution to the token's score, above the average token")
    _legend_below(ax, *ax.get_legend_handles_labels())
    _title(ax, _literal(title))
    return ax


def plot_sweep(
    tables: Mapping[str, pd.DataFrame], title: str, *, mark: float | None = None, xlabel: str = "λ, units of h"
) -> np.ndarray:
    """Draw the rates while embeddings move along a direction.

    Parameters
    ----------
    tables : Mapping[str, DataFrame]
        For each line a table of :func:`~tokalign_helpers.reading.spectrum.sweep`. Names that are not of embedders are
        drawn grey.
    title : str
        Written above the figure.
    mark : float, optional
        The amount to mark with a star.
    xlabel : str
        What the horizontal axis shows.

    Returns
    -------
    ndarray of Axes, one a rate
    """
    columns = ["Hit@K", "LAR", "GAR", "content words"]
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.6), layout="constrained")
    for place, (name, table) in enumerate(tables.items()):
        known = name in EMBEDDER_COLORS
        color = color_of(name) if known else "#BBBBBB"
        for ax, column in zip(axes, columns, strict=True):
            ax.plot(
                table["amount"],
                table[column],
                color=color,
                linewidth=2 if known else 1,
                zorder=3 if known else 1,
                label=name if known else None,
            )
            if mark is not None and known:
                near = (table["amount"] - mark).abs().idxmin()
                ax.plot(
                    table["amount"][near],
                    table[column][near],
                    "*",
                    color=color,
                    markersize=14,
                    zorder=4,
                    markerfacecolor="white" if place % 2 else color,
                    fillstyle="full",
                )
    if mark is not None:
        axes[0].plot([], [], linestyle="", marker="*", color="black", label=f"{xlabel.split(',')[0]} = {mark:g}")
    for ax, column in zip(axes, columns, strict=True):
        ax.axvline(0, color="black", linewidth=0.8, linestyle=":", label="no shift" if mark is not None else None)
        ax.set(xlabel=xlabel, ylabel=f"{column}, share")
        ax.set_ylim(bottom=0)
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(frameon=False, fontsize=9)
    _title(axes, title)
    return axes


def plot_controls(table: pd.DataFrame, title: str, *, value: str = "GAR", before: float | None = None) -> Axes:
    """Draw one rate for several directions of the same length, each with its interval if it has one.

    Parameters
    ----------
    table : DataFrame
        ``direction`` (its name), ``value``; ``low`` and ``high``, NaN for no interval.
    title : str
        Written above the figure.
    value : str
        What the numbers are.
    before : float, optional
        The value without any shift, drawn as a line.

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(8, 0.42 * len(table) + 1.5), layout="constrained")[1]
    for place, row in enumerate(table.itertuples()):
        _interval(ax, place, row.value, row.low, row.high, FIRST if place == 0 else GREY, digits=3)
    if before is not None:
        ax.axvline(before, color="black", linewidth=1, linestyle=":", label="no shift")
        _legend_below(ax, *ax.get_legend_handles_labels())
    ax.set_yticks(range(len(table)), [re.sub(r"\bu_(\d+)", r"$u_{\1}$", name) for name in table["direction"]])
    ax.set(xlabel=f"{value}, share", xlim=(0, table["high"].fillna(table["value"]).max() * 1.15))
    ax.set_ylim(len(table) - 0.4, -0.7)
    _title(ax, title)
    return ax


def plot_differences(table: pd.DataFrame, title: str, *, value: str) -> Axes:
    """Draw differences with their intervals around zero; those with an interval clear of zero are black.

    Parameters
    ----------
    table : DataFrame
        ``what`` (its name), ``value``, ``low``, ``high``.
    title : str
    value : str
        What the numbers are.

    Returns
    -------
    Axes
    """
    figure, ax = plt.subplots(figsize=(9, 0.42 * len(table) + 1.4), layout="constrained")
    ax.axvline(0, color="black", linewidth=1, linestyle=":")
    for place, row in enumerate(table.itertuples()):
        color = INK if row.low > 0 or row.high < 0 else GREY
        _interval(ax, place, row.value, row.low, row.high, color, digits=3)
    ax.set_yticks(range(len(table)), table["what"])
    ax.set(xlabel=value, ylim=(len(table) - 0.4, -0.7))
    ax.margins(x=0.1)
    _title(ax, title, above=True)
    return ax


def plot_layers(table: pd.DataFrame, title: str) -> np.ndarray:
    """Draw how many of the best tokens are content words of the text after every layer: one panel for each reading.

    Parameters
    ----------
    table : DataFrame
        ``embedder``, ``reading``, ``layer``, ``value``, ``low``, ``high``.
    title : str

    Returns
    -------
    ndarray of Axes
    """
    readings = list(table["reading"].unique())
    figure, axes = plt.subplots(
        1, len(readings), figsize=(4.6 * len(readings), 3.8), sharey=True, layout="constrained", squeeze=False
    )
    for ax, reading in zip(axes[0], readings, strict=True):
        for name, rows in table[table["reading"] == reading].groupby("embedder", sort=False):
            ax.plot(rows["layer"], rows["value"], color=color_of(str(name)), linewidth=2, label=name)
            ax.fill_between(rows["layer"], rows["low"], rows["high"], color=color_of(str(name)), alpha=0.2, linewidth=0)
        ax.set_title(f"embedding {reading}", fontsize=10, fontweight="normal")
        ax.set(xlabel="layer", ylim=(0, None))
    axes[0, 0].set_ylabel("content words of the text,\nshare of the ten best tokens")
    axes[0, 0].legend(frameon=False, fontsize=9, loc="upper left")
    _title(axes[0], title)
    return axes[0]


def plot_states(table: pd.DataFrame, title: str) -> np.ndarray:
    """Draw how far an adjustment takes raw embeddings on the way to trained ones: one panel a pair, one line a measure.

    Parameters
    ----------
    table : DataFrame
        ``raw``, ``trained`` (names of embedders), ``measure``, ``state`` (``raw``, ``adjusted``, ``trained``, and
        ``without u_1`` if it was measured; others are left out), ``value``.
    title : str

    Returns
    -------
    ndarray of Axes, one a pair
    """
    table = table[table["state"].isin(["raw", "adjusted", "trained", "without u_1"])]
    measures, pairs = list(table["measure"].unique()), table[["raw", "trained"]].drop_duplicates()
    lowest = table["value"].min()
    figure, axes = plt.subplots(
        1, len(pairs), figsize=(11, 0.42 * len(measures) + 2), sharey=True, layout="constrained", squeeze=False
    )
    for ax, (raw, trained) in zip(axes[0], pairs.itertuples(index=False), strict=True):
        own = table[(table["raw"] == raw) & (table["trained"] == trained)]
        wide = own.pivot(index="measure", columns="state", values="value").loc[measures]
        places = np.arange(len(measures))
        ax.hlines(places, wide["raw"], wide["trained"], color="#D9D9D9", linewidth=4, zorder=1)
        ax.scatter(wide["raw"], places, s=60, facecolor="none", edgecolor="black", zorder=5, label="raw")
        ax.scatter(wide["adjusted"], places, s=70, color=FIRST, marker="D", zorder=4, label="adjusted")
        ax.scatter(wide["trained"], places, s=70, color=INK, zorder=2, label="trained")
        if "without u_1" in wide:
            ax.scatter(wide["without u_1"], places, s=60, color=REST, marker="X", zorder=3, label="without $u_1$")
        ax.set_yticks(places, measures)
        ax.set(xlim=(min(0, lowest) - 0.08, 1), xlabel="value of the measure", ylim=(len(measures) - 0.5, -0.5))
        ax.set_title(f"{raw} → {trained}", fontsize=10, fontweight="normal")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    _title(axes[0], title)
    return axes[0]


def plot_grid(table: pd.DataFrame, title: str, *, xlabel: str, ylabel: str) -> Axes:
    """Draw a table of numbers as a heat map, the best cell framed.

    Parameters
    ----------
    table : DataFrame
        Rows and columns are two settings.
    title : str
        Written above the figure.
    xlabel, ylabel : str
        What the two axes show.

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(1.2 * len(table.columns) + 2, 0.6 * len(table) + 1.5), layout="constrained")[1]
    sns.heatmap(table, annot=True, fmt=".3f", cmap="cividis", ax=ax, cbar=False, linewidths=1)
    row, column = divmod(int(np.argmax(table.to_numpy())), table.shape[1])
    ax.add_patch(plt.Rectangle((column, row), 1, 1, fill=False, edgecolor=INK, linewidth=5))
    ax.add_patch(plt.Rectangle((column, row), 1, 1, fill=False, edgecolor="white", linewidth=2))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    _title(ax, title)
    return ax


def plot_interaction(table: pd.DataFrame, title: str, *, value: str) -> np.ndarray:
    """Draw a 2 × 2 of instruction and labelling: a panel for each labelling, a point for each instruction.

    Parameters
    ----------
    table : DataFrame
        ``asked for``, ``labels``, ``value``, ``low``, ``high``.
    title : str
        Written above the figure.
    value : str
        What the numbers are.

    Returns
    -------
    ndarray of Axes
    """
    labellings = list(table["labels"].unique())
    figure, axes = plt.subplots(
        1, len(labellings), figsize=(8.5, 2.4), sharex=True, layout="constrained", squeeze=False
    )
    for ax, labelling in zip(axes[0], labellings, strict=True):
        rows = table[table["labels"] == labelling]
        for place, row in enumerate(rows.to_dict("records")):
            color = INK if row["asked for"] == labelling else GREY
            _interval(ax, place, row["value"], row["low"], row["high"], color)
        ax.set_yticks(range(len(rows)), [f"asked for the {name}" for name in rows["asked for"]])
        ax.set(xlim=(0, table["high"].max() * 1.15), ylim=(len(rows) - 0.4, -0.7), xlabel=f"{value}: {labelling}")
    axes[0, -1].set_yticklabels([])
    _title(axes[0], title)
    return axes[0]


def plot_pair_kinds(similarities: pd.DataFrame, title: str) -> np.ndarray:
    """Draw how the cosines of pairs of each kind are distributed, one panel for each embedder.

    Parameters
    ----------
    similarities : DataFrame
        ``kind``, and a column of numbers for each embedder.
    title : str
        Written above the figure.

    Returns
    -------
    ndarray of Axes
    """
    names = [column for column in similarities if column != "kind"]
    kinds = list(dict.fromkeys(similarities["kind"]))
    figure, axes = plt.subplots(
        1, len(names), figsize=(3.3 * len(names) + 1, 3.6), sharey=True, layout="constrained", squeeze=False
    )
    for ax, name in zip(axes[0], names, strict=True):
        groups = [similarities.loc[similarities["kind"] == kind, name].to_numpy() for kind in kinds]
        parts = ax.violinplot(groups, orientation="horizontal", showmedians=True, showextrema=False, widths=0.85)
        for body in parts["bodies"]:
            body.set_facecolor(color_of(name))
            body.set_alpha(0.6)
        parts["cmedians"].set_color("black")
        ax.set_yticks(range(1, len(kinds) + 1), kinds)
        ax.set(xlabel="cosine", title=name)
    axes[0, 0].invert_yaxis()
    _title(axes[0], title)
    return axes[0]


def plot_contributions(tables: Mapping[str, pd.DataFrame], title: str, *, shown: int = 10) -> np.ndarray:
    """Draw which tokens add most to the cosine of two texts, one panel for each embedder.

    Parameters
    ----------
    tables : Mapping[str, DataFrame]
        Of :func:`~tokalign_helpers.reading.explain.token_contributions`.
    title : str
        Written above the figure.
    shown : int
        How many tokens to draw.

    Returns
    -------
    ndarray of Axes
    """
    figure, axes = plt.subplots(
        1, len(tables), figsize=(4 * len(tables), 0.28 * shown + 1.6), layout="constrained", squeeze=False
    )
    for ax, (name, table) in zip(axes[0], tables.items(), strict=True):
        best = table.head(shown)
        ax.barh(np.arange(shown), 1000 * best["contribution"], color=color_of(name))
        ax.set_yticks(np.arange(shown), [_literal(token) for token in best["token"]])
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set(
            xlabel="contribution to the cosine, thousandths", title=f"{name}: {table['contribution'].sum():.2f} in all"
        )
    _title(axes[0], _literal(title))
    return axes[0]


def plot_quality_and_cost(table: pd.DataFrame, title: str) -> Axes:
    """Draw retrievers by cost and quality.

    Parameters
    ----------
    table : DataFrame
        ``retriever``, ``cost`` (multiply-adds for each pair of query and document), ``value``, ``low``, ``high``
        (nDCG@10).
    title : str
        Written above the figure.

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(8, 4.4), layout="constrained")[1]
    sides = table["value"].rank(method="first").to_numpy() % 2  # neighbours in value write above and below their points
    for row, side in zip(table.itertuples(), sides, strict=True):
        ax.plot([row.cost, row.cost], [row.low, row.high], color=INK, linewidth=2)
        ax.plot(row.cost, row.value, "o", color=INK, markersize=9)
        place = (9, 8 if side else -8)
        ax.annotate(row.retriever, (row.cost, row.value), place, textcoords="offset points", va="center", fontsize=9)
    ax.set_xscale("log")
    ax.set(xlabel="multiply-adds for a query and a document (log scale)", ylabel="nDCG@10", ylim=(0, None))
    ax.set_xlim(table["cost"].min() / 2, table["cost"].max() * 8)
    _title(ax, title)
    return ax


def plot_energy_along_spectrum(shares: Mapping[str, np.ndarray], title: str, *, kept: float = 0.5) -> Axes:
    """Draw how the energy of directions and embeddings accumulates along the spectrum of E_g, from the left.

    Parameters
    ----------
    shares : Mapping[str, ndarray]
        For each line the share of the energy along each right singular vector, from the largest singular value to the
        smallest.
    title : str
        Written above the figure.
    kept : float
        The share in the middle to shade.

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(8, 4), layout="constrained")[1]
    d = len(next(iter(shares.values())))
    ax.axvspan((1 - kept) / 2 * d, (1 + kept) / 2 * d, color="#EFEFEF", zorder=0)
    ax.text(d / 2, 0.95, "the middle, which EmbedFilter keeps", ha="center", va="top", fontsize=9)
    ax.plot([0, d], [0, 1], ":", color="black", linewidth=1, label="a random direction")
    for (name, share), (shade, _, style) in zip(shares.items(), SERIES, strict=False):
        first = name.startswith(("u_1", "$u_1$"))
        color, style = (FIRST, "-") if first else (shade, style)
        summed = np.concatenate([[0], np.cumsum(share)])
        ax.plot(np.arange(d + 1), summed, color=color, linestyle=style, linewidth=2, label=name)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(
        xlabel=f"right singular vectors of $E_g$, from the largest value (1) to the smallest ({d})",
        ylabel="share of the energy, summed up to here",
        xlim=(0, d),
        ylim=(0, 1),
    )
    ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0, 0.88))
    _title(ax, title)
    return ax


def plot_changes(table: pd.DataFrame, title: str) -> np.ndarray:
    """Draw how changed embeddings perform on several measures, each with its interval, one panel for each measure.

    Parameters
    ----------
    table : DataFrame
        ``change``, ``measure``, ``value``, ``low``, ``high``. The others are compared with the first change, which is
        hollow; the best is black.
    title : str
        Written above the figure.

    Returns
    -------
    ndarray of Axes, one for each measure
    """
    measures, names = list(table["measure"].unique()), list(table["change"].unique())
    figure, axes = plt.subplots(
        1,
        len(measures),
        figsize=(3 * len(measures) + 2, 0.4 * len(names) + 1.3),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for ax, measure in zip(axes[0], measures, strict=True):
        rows = table[table["measure"] == measure].reset_index(drop=True)
        best = rows["value"].idxmax()
        for place, row in rows.iterrows():
            color = INK if place == best else GREY
            ax.plot([row["low"], row["high"]], [place, place], color=color, linewidth=3, solid_capstyle="round")
            ax.plot(row["value"], place, "o", color=color, markersize=7, markerfacecolor=color if place else "white")
        ax.axvline(rows["value"][0], color="black", linewidth=0.8, linestyle=":")
        ax.set_yticks(range(len(names)), names)
        ax.set(xlabel=measure, ylim=(len(names) - 0.5, -0.5))
    _title(axes[0], title)
    return axes[0]


def plot_lengths(table: pd.DataFrame, title: str) -> np.ndarray:
    """Draw what remains of shortened embeddings, one panel for each measure.

    Parameters
    ----------
    table : DataFrame
        ``way``, ``numbers`` (the length), and a column for each measure.
    title : str
        Written above the figure.

    Returns
    -------
    ndarray of Axes, one for each measure
    """
    measures = [column for column in table if column not in ("way", "numbers")]
    figure, axes = plt.subplots(1, len(measures), figsize=(4.6 * len(measures), 3.8), layout="constrained")
    lengths = sorted(table["numbers"].unique())
    for ax, measure in zip(axes, measures, strict=True):
        for (way, rows), (shade, mark, style) in zip(table.groupby("way", sort=False), SERIES, strict=False):
            ax.plot(rows["numbers"], rows[measure], mark, color=shade, linestyle=style, linewidth=2, label=way)
        ax.set_xscale("log", base=2)
        ax.set_xticks(lengths, [str(n) for n in lengths])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.margins(y=0.1)
        ax.set(xlabel="numbers in an embedding (log scale)", ylabel=measure)
    axes[0].legend(frameon=False, fontsize=9, loc="lower right")
    _title(axes, title)
    return axes


def plot_ladder(table: pd.DataFrame, title: str, levels: Mapping[str, float]) -> Axes:
    """Draw how a retriever gets better step by step, beside reference levels.

    Parameters
    ----------
    table : DataFrame
        ``step``, ``value``, ``low``, ``high`` (nDCG@10), in order.
    title : str
        Written above the figure.
    levels : Mapping[str, float]
        Vertical lines: name and nDCG@10.

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(9, 0.5 * len(table) + 1.8), layout="constrained")[1]
    for place, row in enumerate(table.itertuples()):
        ax.plot([row.low, row.high], [place, place], color=INK, linewidth=3, solid_capstyle="round")
        ax.plot(row.value, place, "o", color=INK, markersize=8)
        behind = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        ax.annotate(
            f"{row.value:.3f}",
            (row.value, place),
            (0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            bbox=behind,
        )
    for (name, value), style in zip(levels.items(), ["-", "--", ":"], strict=False):
        ax.axvline(value, color=GREY, linewidth=1.5, linestyle=style, label=f"{name}: {value:.3f}", zorder=0)
    ax.set_yticks(range(len(table)), table["step"])
    ax.set(xlabel="nDCG@10", ylim=(len(table) - 0.5, -0.7))
    _legend_below(ax, *ax.get_legend_handles_labels())
    _title(ax, title)
    return ax


def plot_forest(table: pd.DataFrame, title: str, *, xlabel: str) -> np.ndarray:
    """Draw a forest plot: differences with their intervals, one panel for each group.

    Parameters
    ----------
    table : DataFrame
        ``group`` (the panel), ``row`` (its name), ``series`` (its colour), ``value``, ``low``, ``high``.
    title : str
    xlabel : str

    Returns
    -------
    ndarray of Axes
    """
    groups, series = list(dict.fromkeys(table["group"])), list(dict.fromkeys(table["series"]))
    rows = list(dict.fromkeys(table["row"]))
    size = (3.6 * len(groups) + 1.6, 0.24 * len(rows) * len(series) + 1.8)
    figure, panels = plt.subplots(1, len(groups), figsize=size, sharex=True, sharey=True, layout="constrained")
    panels = np.atleast_1d(panels)
    for ax, group in zip(panels, groups, strict=True):
        ax.axvline(0, color="black", linewidth=1, zorder=0)
        for row in table[table["group"] == group].itertuples():
            shift = (series.index(row.series) - (len(series) - 1) / 2) * 0.8 / len(series)
            place, (color, mark, _) = rows.index(row.row) + shift, SERIES[series.index(row.series)]
            ax.plot([row.low, row.high], [place, place], color=color, linewidth=2.5, solid_capstyle="round")
            ax.plot(row.value, place, mark, color=color, markersize=6)
        ax.set_title(group, fontsize=11, loc="left")
        ax.set_ylim(len(rows) - 0.4, -0.6)
    panels[0].set_yticks(range(len(rows)), rows)
    panels[len(panels) // 2].set_xlabel(xlabel)
    if len(series) > 1:
        handles = [plt.Line2D([], [], color=color, marker=mark) for color, mark, _ in SERIES]
        figure.legend(handles[: len(series)], series, loc="outside lower center", ncols=len(series), frameon=False)
    _title(panels, title)
    return panels


def plot_cutoffs(table: pd.DataFrame, title: str, *, limit: float, limit_name: str) -> Axes:
    """Draw quality against the number of tokens kept, and the level that all tokens reach.

    Parameters
    ----------
    table : DataFrame
        ``frame`` (one line for each), ``k`` and ``value`` (nDCG@10).
    title : str
    limit : float
    limit_name : str

    Returns
    -------
    Axes
    """
    ax = plt.subplots(figsize=(8, 4.2), layout="constrained")[1]
    for (name, rows), (shade, mark, style) in zip(table.groupby("frame", sort=False), SERIES, strict=False):
        ax.plot(rows["k"], rows["value"], mark, color=shade, linestyle=style, linewidth=2, label=name)
    ax.axhline(limit, color="black", linewidth=1, linestyle=":", label=limit_name)
    ax.set_xscale("log")
    ax.set(xlabel="K, tokens kept of each side (log scale)", ylabel="nDCG@10", ylim=(0, None))
    ax.legend(frameon=False, loc="lower right")
    _title(ax, title)
    return ax


def plot_search_times(table: pd.DataFrame, title: str) -> np.ndarray:
    """Draw how long a query takes among more and more documents: one panel for each way to ask, both axes log.

    Parameters
    ----------
    table : DataFrame
        ``asked`` (the panel), ``retriever`` (one line for each, at most five), ``n`` documents, and milliseconds a
        query: ``value``, ``low``, ``high``.
    title : str

    Returns
    -------
    ndarray of Axes
    """
    panels, retrievers = list(dict.fromkeys(table["asked"])), list(dict.fromkeys(table["retriever"]))
    size = (4.7 * len(panels) + 1, 4.4)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, layout="constrained", squeeze=False)
    for ax, asked in zip(axes[0], panels, strict=True):
        rows = table[table["asked"] == asked].set_index("retriever")
        for name, (shade, mark, style) in zip(retrievers, SERIES[: len(retrievers)], strict=True):
            own = rows.loc[[name]]
            ax.fill_between(own["n"], own["low"], own["high"], color=shade, alpha=0.15, linewidth=0)
            ax.plot(own["n"], own["value"], mark, color=shade, linestyle=style, linewidth=2, label=name)
        ax.set(xscale="log", yscale="log", xlabel="documents (log scale)")
        ax.set_title(f"queries {asked}", fontsize=10, fontweight="normal")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.10g}"))
    axes[0, 0].set_ylabel("milliseconds a query (log scale)")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    _title(axes[0], title)
    return axes[0]


def token_bars(table: pd.DataFrame, shown: int = 12) -> str:
    """Return the best tokens of one text as bars in HTML: quick to draw again, readable on light and dark pages.

    Parameters
    ----------
    table : DataFrame
        As for :func:`plot_aligned_tokens`.
    shown : int
        How many tokens to show.

    Returns
    -------
    str
        With a key. Colour, weight and slant say the same, for those who do not see colours and for viewers that strip
        styles.
    """
    best = table.head(shown)
    lift = best["score"] - table["score"].iloc[-1]
    longest = max(float(lift.iloc[0]), 1e-9)
    rows = []
    for row, height in zip(best.itertuples(), lift, strict=True):
        color = IN_TEXT if row.folded_in_text else BEGINS_WORD if row.begins_word else NEITHER
        tag = "b u" if row.folded_in_text else "i" if row.begins_word else ""
        rows.append(
            f'<tr><td style="text-align:right;font-family:monospace;padding:1px 8px">{_tagged(row.token, tag)}</td>'
            f'<td style="width:340px;padding:1px"><div style="background:{color};height:14px;border-radius:2px;'
            f'width:{max(1, round(100 * height / longest))}%"></div></td>'
            f'<td style="padding:1px 8px">{row.score:.1f}</td></tr>'
        )
    key = (
        "Orange, <b><u>bold and underlined</u></b>: in the text. Pale, <i>slanted</i>: begins a word of it. "
        "Grey: neither."
    )
    return f'<table style="border:none">{"".join(rows)}</table><small>{key}</small>'


def token_table(tables: Mapping[str, pd.DataFrame]) -> "IPython.display.HTML":
    """Put the tokens of several embedders side by side, the text's own ones marked.

    Parameters
    ----------
    tables : Mapping[str, DataFrame]
        For each embedder one text's rows of :func:`~tokalign_helpers.reading.alignment.aligned_tokens`.

    Returns
    -------
    HTML
        A table with a key. It has no style sheet, which JupyterLab takes out of a notebook that it does not trust, and
        the marks are tags, which survive where styles do not.
    """
    marked = pd.DataFrame({
        name: [_tagged(row.token, "b u" if row.folded_in_text else "") for row in table.itertuples()]
        for name, table in tables.items()
    })  # fmt: skip
    marked.insert(0, "rank", [str(rank) for rank in range(1, len(marked) + 1)])
    return _html_table(
        marked, "<small><b><u>Bold and underlined</u></b>: in the text.</small>", "font-family:monospace;"
    )


def text_table(table: pd.DataFrame) -> "IPython.display.HTML":
    """Show a table of texts, aligned to the left, without the style sheet that viewers strip.

    Parameters
    ----------
    table : DataFrame
        Its index is not shown.

    Returns
    -------
    HTML
    """
    return _html_table(table.map(lambda cell: html.escape(str(cell))))


def _html_table(cells: pd.DataFrame, below: str = "", style: str = "") -> "IPython.display.HTML":
    """Write a table of ready HTML with inline styles; its columns' names are escaped here."""
    from IPython.display import HTML  # not needed to draw a figure

    place = "text-align:left;vertical-align:top;padding:2px 10px"
    head = "".join(f'<th style="{place}">{html.escape(str(name))}</th>' for name in cells)
    rows = ["".join(f'<td style="{style}{place}">{cell}</td>' for cell in row) for row in cells.itertuples(index=False)]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return HTML(
        f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}'
    )


def highlighted_text(pieces: list[tuple[str, bool]]) -> str:
    """Return a text as HTML, its marked pieces highlighted.

    Parameters
    ----------
    pieces : list of (str, bool)
        As :func:`~tokalign_helpers.reading.alignment.marked_pieces` returns them.

    Returns
    -------
    str
        With a key.
    """
    style = f"background:{IN_TEXT};color:white;border-radius:3px;padding:1px 2px"
    shown = [(html.escape(escaped(s, keep=JOINERS)), own) for s, own in pieces]
    parts = [f'<mark style="{style}">{s}</mark>' if own else s for s, own in shown]
    return (
        f'<p dir="auto" style="font-size:1.15em;line-height:1.7">{"".join(parts)}</p>'
        "<small>Highlighted: tokens of the text that are among the best of its embedding.</small>"
    )


def _tagged(token: str, tags: str) -> str:
    """Escape a token and put it into tags."""
    names = tags.split()
    before, after = "".join(f"<{name}>" for name in names), "".join(f"</{name}>" for name in reversed(names))
    return f"{before}{html.escape(token)}{after}"


def _interval(ax: Axes, place: float, value: float, low: float, high: float, color: str, *, digits: int = 2) -> None:
    """Draw a point with its number above it and its interval, if it has one, on a horizontal line."""
    if np.isfinite(low):
        ax.plot([low, high], [place, place], color=color, linewidth=3, solid_capstyle="round")
    ax.plot(value, place, "o", color=color, markersize=8)
    ax.annotate(f"{value:.{digits}f}", (value, place), (0, 8), textcoords="offset points", ha="center", fontsize=9)


def _legend_below(ax: Axes, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Write the legend under the axes, where it covers nothing, in as many rows as it takes."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    place = ax.transAxes + ScaledTranslation(0, -44 / 72, figure.dpi_scale_trans)  # under ticks and label
    for columns in range(len(names), 0, -1):
        legend = ax.legend(
            handles, names, ncols=columns, loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=place,
            frameon=False, fontsize=9, borderaxespad=0, borderpad=0,
        )  # fmt: skip
        figure.draw_without_rendering()
        if columns == 1 or legend.get_window_extent().width <= ax.get_window_extent().width:
            return


def _title(axes: Axes | np.ndarray, title: str, *, above: bool = False) -> None:
    """Write the title of a figure that is otherwise finished, in lines no wider than its axes.

    Above the axes of a single panel, or above all panels, and then (or if asked) from the figure's left edge on. A
    figure of one panel of its own grows by the lines. The panels' own titles are broken as well.
    """
    panels = np.ravel(np.asarray(axes, dtype=object))
    figure = panels[0].figure
    if above or isinstance(axes, np.ndarray):
        text = figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    else:
        text = axes.set_title(title)
    figure.draw_without_rendering()  # only the layout says how wide axes are
    for panel in panels:
        for own in (panel.title, panel._left_title):
            if own is not text and own.get_text():
                _break(own, panel.get_window_extent().width)
    start = text.get_window_extent().x0
    _break(text, max(panel.get_window_extent().x1 for panel in panels) - start)
    if set(figure.axes) == set(panels):
        lines = text.get_text().count("\n")
        figure.set_figheight(figure.get_figheight() + lines * 1.25 * text.get_fontsize() / 72)


def _break(text: Text, width: float) -> None:
    """Break a text into lines of at most a width in pixels, between words; a formula is one word."""
    lines: list[str] = []
    for given in text.get_text().split("\n"):
        line = ""
        for word in re.findall(r"(?:(?<!\\)\$[^$]*\$|\S)+", given):
            text.set_text(f"{line} {word}".strip())
            if line and text.get_window_extent().width > width:
                lines.append(line)
                line = word
            else:
                line = text.get_text()
        lines.append(line)
    text.set_text("\n".join(lines))


def _signed(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")


def _literal(text: str) -> str:
    return text.replace("$", r"\$")  # matplotlib reads $…$ as a formula


def plot_inverted_index(lists: Mapping[str, Mapping[str, float]], title: str, *, marked: str = "") -> Axes:
    """Draw some lists of an inverted index: a token on the left, and beside it the documents that hold it.

    Parameters
    ----------
    lists : Mapping[str, Mapping[str, float]]
        Token → name of a document → weight, in the order in which they are drawn.
    title : str
        Of the figure.
    marked : str
        A document to point out wherever it stands.

    Returns
    -------
    Axes
    """
    longest = max((len(found) for found in lists.values()), default=0)
    ax = plt.subplots(figsize=(2.6 + 2.1 * longest, 0.8 + 0.55 * len(lists)), layout="constrained")[1]
    for line, (token, found) in enumerate(lists.items()):
        ax.text(-0.15, line, _literal(escaped(token)), ha="right", va="center", fontweight="bold", fontsize=11)
        ax.annotate("", (0, line), (-0.1, line), arrowprops={"arrowstyle": "->", "color": GREY})
        for place, (name, weight) in enumerate(found.items()):
            color = INK if name == marked else GREY
            box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": color, "linewidth": 1.5}
            ax.text(
                place + 0.5, line, _literal(f"{name}  {weight:.3f}"), ha="center", va="center", fontsize=9, bbox=box
            )
    ax.set(xlim=(-1, max(longest, 1)), ylim=(max(len(lists), 1) - 0.5, -0.5))
    ax.axis("off")
    _title(ax, title)
    return ax
