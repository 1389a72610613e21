"""Measure the alignment on several architectures: ``python data/architectures/make.py [EMBEDDER …]``.

For each embedder: the paper's rates on the second half of the course's 1,000 sentences, as it is, and with the common
part moved away, which the first half gives (``λ = −mean(hᵀu_1)`` along ``u_1``). Nothing is chosen on the second half.
Writes ``results.csv`` beside this file; embeddings are cached, so an interrupted run goes on where it stopped. Gemma's
embedders need ``python -m tokalign_helpers fetch gemma`` first.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import tokalign_helpers as ta
from tokalign_helpers.course.claims import write_results

RESULTS = Path(__file__).parent / "results.csv"
FIELDS = ("embedder", "state", "measure", "value", "low", "high", "n")
POOLINGS = ("last", "mean", "wmean", "eol")
FAMILIES = [[f"{family}-{how}" for how in POOLINGS] for family in ("smol", "gemma")] + [["splade-tiny"]]
EMBEDDERS = [name for names in FAMILIES for name in names]
SENTENCES = 1000


def measured(embedder: ta.Embedder) -> Iterator[tuple]:
    """Measure one embedder as it is and with the common part moved away."""
    texts = ta.load_sentences(SENTENCES, seed=0)
    h = embedder.embed(texts)
    fitting, test, own = h[: SENTENCES // 2], h[SENTENCES // 2 :], texts[SENTENCES // 2 :]
    components = ta.PrincipalComponents.fit(fitting)
    u = components.direction(1)
    along = float((fitting @ u).mean())
    mean = torch.nn.functional.normalize(fitting.mean(dim=0), dim=0)
    yield "as it is", "share of the energy in u_1", float(components.shares[0]), np.nan, np.nan, len(fitting)
    yield "as it is", "cosine of u_1 with the mean", float(u @ mean), np.nan, np.nan, len(fitting)
    yield "as it is", "mean of hᵀu_1", along, np.nan, np.nan, len(fitting)
    for state, moved in (("as it is", test), ("moved", components.adjust(test, -along))):
        for row in ta.align(embedder, own, moved).rates().itertuples(index=False):
            yield state, row.rate, row.value, row.low, row.high, len(own)


def main() -> None:
    """Measure what is asked for, and keep the rows of the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("embedders", nargs="*", help=f"of {', '.join(EMBEDDERS)}; default: all")
    given = parser.parse_args()
    if unknown := set(given.embedders) - set(EMBEDDERS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(EMBEDDERS)}")
    for names in FAMILIES:
        embedders = ta.load_embedders([name for name in names if name in (given.embedders or EMBEDDERS)])
        if embedders:  # those that share a model's states, in one pass
            ta.embed_all(embedders, ta.load_sentences(SENTENCES, seed=0))
        for name, embedder in embedders.items():
            table = pd.DataFrame([(name, *row) for row in measured(embedder)], columns=FIELDS)
            write_results(RESULTS, table, "python data/architectures/make.py", by=["embedder"])


if __name__ == "__main__":
    main()
