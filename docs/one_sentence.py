"""Draw the README's picture from the real model: ``python docs/one_sentence.py``."""

from pathlib import Path

import matplotlib.pyplot as plt

import tokalign_helpers as ta
from tokalign_helpers.course import plots

TEXT = "What diseases are parrots prone to?"
CAPTIONS = {
    "smol-mean": "average of the states (smol-mean)",
    "smol-eol": "asked for one word (smol-eol)",
    "smol-sim": "asked, then trained (smol-sim)",
}


def main() -> None:
    """Write ``docs/one_sentence.png``."""
    plots.use_style()
    embedders = ta.load_embedders([name for name in CAPTIONS if name in ta.EMBEDDERS])
    figure, axes = plt.subplots(1, len(embedders), figsize=(4.2 * len(embedders), 4.7), layout="constrained")
    for ax, (name, embedder) in zip(axes, embedders.items(), strict=True):
        table = ta.aligned_tokens(embedder, [TEXT], k=100)
        plots.plot_aligned_tokens(table, CAPTIONS[name], shown=12, ax=ax)
        legend = ax.get_legend()
        handles, labels = legend.legend_handles, [text.get_text() for text in legend.get_texts()]
        legend.remove()
    figure.legend(handles, labels, loc="outside lower left", ncols=3, frameon=False)
    figure.suptitle(
        f"“{TEXT}”: one text, one model, three embeddings and what they say", fontweight="bold", x=0.01, ha="left"
    )
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
