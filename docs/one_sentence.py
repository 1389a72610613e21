"""Draw the README's picture from the real model: ``python docs/one_sentence.py``."""

from pathlib import Path

import matplotlib.pyplot as plt

import tokalign_helpers as ta
from tokalign_helpers.course import plots

TEXT = "The orchestra played a symphony by Beethoven."


def main() -> None:
    """Write ``docs/one_sentence.png``: the same pooling raw, trained, and raw without what all texts share."""
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
    figure, axes = plt.subplots(1, len(tables), figsize=(4.2 * len(tables), 4.2), layout="constrained")
    for ax, (caption, table) in zip(axes, tables.items(), strict=True):
        plots.plot_aligned_tokens(table, caption, shown=10, ax=ax)
        legend = ax.get_legend()
        handles, labels = legend.legend_handles, [text.get_text() for text in legend.get_texts()]
        legend.remove()
    figure.legend(handles, labels, loc="outside lower left", ncols=3, frameon=False)
    figure.suptitle(f"“{TEXT}” What its embedding says, in the model's own words", fontweight="bold", x=0.01, ha="left")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
