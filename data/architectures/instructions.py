"""Ask two backbones for the topic and the emotion: ``python data/architectures/instructions.py [EMBEDDER …]``.

Notebook 05's test on its 320 texts with two independent labels: which share of a text's five nearest neighbours has its
label, with the mean of each instruction's embeddings subtracted. The prompt is the table's for both backbones, and
nothing is chosen; the figures are of the 160 texts that notebook 05 reports on. *Colour* and *number* are
instructions that have nothing to do with either labelling. Writes ``instructions.csv`` beside this file.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import tokalign_helpers as ta
from tokalign_helpers.course.claims import row, write_results

RESULTS = Path(__file__).parent / "instructions.csv"
EMBEDDERS = ("smol-eol", "gemma-eol")
LABELLINGS = ("topic", "emotion")
CONTROLS = ("colour", "number")


def rows_of(base: ta.Embedder) -> Iterator[dict[str, object]]:
    """Measure one embedder: each labelling under its own instruction, and against all others."""
    table = ta.load_two_labels()
    texts, reporting = table["text"].tolist(), np.arange(len(table)) % 2 == 1
    asked = {name: base.with_instruction(name) for name in LABELLINGS + CONTROLS} | {"not asked": base}
    near = {}
    for name, embedder in asked.items():
        h = embedder.embed(texts)
        for labels in LABELLINGS:
            near[name, labels] = ta.neighbour_agreement(h - h.mean(dim=0), table[labels])[reporting]
    for labels in LABELLINGS:
        chance = float((table[labels].value_counts(normalize=True) ** 2).sum())
        for name in asked:
            about = {"embedder": base.name, "labels": labels, "asked": name}
            yield row(ta.bootstrap_interval(near[name, labels]), **about) | {"chance": chance}
        for name in asked:
            if name != labels:
                more = ta.bootstrap_interval(near[labels, labels] - near[name, labels])
                yield row(more, embedder=base.name, labels=labels, asked=f"{labels} − {name}")
    gains = [near[own, own] - near[other, own] for own, other in (LABELLINGS, LABELLINGS[::-1])]
    both = ta.bootstrap_interval(sum(gains) / 2)
    yield row(both, embedder=base.name, labels="both", asked="interaction")


def main() -> None:
    """Measure what is asked for, and keep the rows of the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("embedders", nargs="*", help=f"of {', '.join(EMBEDDERS)}; default: both")
    asked = parser.parse_args().embedders or EMBEDDERS
    torch.set_grad_enabled(False)
    for name in asked:
        table = pd.DataFrame(list(rows_of(ta.load_embedder(name))))
        write_results(RESULTS, table, "python data/architectures/instructions.py", by=["embedder"])


if __name__ == "__main__":
    main()
