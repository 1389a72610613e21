"""Draw the README's pictures from the real model, for wide windows and for phones: ``python docs/one_sentence.py``."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

import tokalign_helpers as ta
from tokalign_helpers.course import plots

TEXT = "The orchestra played a symphony by Beethoven."
SHAPES = {  # panels: how many in a row, tokens in each; inches, and dots an inch
    "one_sentence.png": (3, 10, (12.6, 4.4), 110),
    "one_sentence_phone.png": (1, 6, (4.2, 7.6), 170),
}


def main() -> None:
    """Write the pictures: the same pooling raw, trained, and raw without what all texts share."""
    plots.use_style()
    raw, trained = ta.load_embedders(["smol-wmean", "smol-cse"]).values()
    sentences = ta.load_sentences(1000, seed=0)
    ta.fill_cache({raw.name: raw}, sentences, "sentences")
    common = raw.embed(sentences).mean(dim=0)
    tables = {
        "before training": ta.aligned_tokens(raw, [TEXT], k=100),
        "after training": ta.aligned_tokens(trained, [TEXT], k=100),
        "before, mean subtracted": ta.read_tokens(raw, raw.embed([TEXT]) - common, [TEXT], 100),
    }
    for file, (columns, shown, size, dpi) in SHAPES.items():
        draw(tables, columns, shown, size).savefig(Path(__file__).with_name(file), dpi=dpi)


def draw(tables: Mapping[str, pd.DataFrame], columns: int, shown: int, size: tuple[float, float]) -> Figure:
    """Draw one panel for each table.

    Parameters
    ----------
    tables : Mapping[str, DataFrame]
        Title → as for :func:`tokalign_helpers.course.plots.plot_aligned_tokens`.
    columns : int
        Panels in a row.
    shown : int
        Tokens in a panel.
    size : tuple[float, float]
        Width and height, inches.

    Returns
    -------
    Figure
    """
    rows = -(-len(tables) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for ax, (caption, table) in zip(axes.flat, tables.items(), strict=True):
        plots.plot_aligned_tokens(table, caption, shown=shown, ax=ax)
        legend = ax.get_legend()
        handles, labels = legend.legend_handles, [text.get_text() for text in legend.get_texts()]
        legend.remove()
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    short = columns < len(tables)
    near = {"fontsize": 8.5, "columnspacing": 1, "handlelength": 1.3} if short else {}
    figure.legend(handles, labels, loc="outside lower left", ncols=3, frameon=False, **near)
    said = f"“{TEXT}”{chr(10) if short else ' '}What its embedding says, in the model's own words"
    figure.suptitle(said, fontweight="bold", x=0.01, ha="left", fontsize=9 if short else 13)
    return figure


if __name__ == "__main__":
    main()
