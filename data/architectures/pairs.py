"""Measure what training changed on two backbones: ``python data/architectures/pairs.py [EMBEDDER …]``.

Notebook 02's question, for ``gemma-eol → gemma-rel`` and beside it ``smol-eol → smol-rel``. Components come from the
first 500 of the course's 1,000 sentences, every figure from the other 500: how far the embeddings moved along each
component, the rates before and after, and the rates of the untrained embedder moved along ``u_1`` by the ``v_1`` of the
first half. Spearman's ρ on SimLex-999 tells whether the training did any good. Writes ``pairs.csv`` beside this file.

The adapter of ``gemma-rel`` is made first, by ``python -m tokalign_helpers.training gemma-rel --data .``.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import tokalign_helpers as ta
from tokalign_helpers.basics.statistics import bootstrap
from tokalign_helpers.course.claims import row, write_results

RESULTS = Path(__file__).parent / "pairs.csv"
EMBEDDERS = ("smol-rel", "gemma-rel")
SENTENCES = 1000


def moves(along: np.ndarray) -> Iterator[tuple[str, ta.Interval]]:
    """Judge how far texts moved along each component, (n, d): v_1, the next largest, and how many times it is."""
    v = along.mean(axis=0)
    others = np.abs(v[1:])
    yield "v_1", ta.bootstrap_interval(along[:, 0])
    next_one = int(others.argmax()) + 1
    yield "next largest |v_j|", ta.bootstrap_interval(along[:, next_one] * np.sign(v[next_one]))
    yield "its j", ta.Interval(next_one + 1, np.nan, np.nan)

    def ratio(rows: np.ndarray) -> np.ndarray:
        means = np.abs(along[rows].mean(axis=1))
        return means[:, 0] / means[:, 1:].max(axis=1)

    yield "|v_1| / next", ta.Interval(abs(v[0]) / others.max(), *bootstrap(ratio, len(along)))
    yield "share of u_1 in the mean move", ta.Interval(v[0] ** 2 / (v**2).sum(), np.nan, np.nan)
    yield "texts that moved down", ta.share_interval(along[:, 0] < 0)


def rows_of(name: str) -> Iterator[dict[str, object]]:
    """Measure one trained embedder against what it was before training."""
    raw = ta.EMBEDDERS[name].raw
    before, after = ta.load_embedders([raw, name]).values()
    texts = ta.load_sentences(SENTENCES, seed=0)
    h, trained = before.embed(texts), after.embed(texts)
    half, own = SENTENCES // 2, texts[SENTENCES // 2 :]
    components = ta.PrincipalComponents.fit(h[:half])
    along = ((trained - h) @ components.directions.T)[half:].numpy()
    for measure, interval in moves(along):
        yield row(interval, of=f"{raw} → {name}", measure=measure)
    v_1 = float(components.variation(h[:half], trained[:half])[0])
    moved = components.adjust(h[half:], v_1)
    for state, embedder, vectors in (
        (raw, before, h[half:]),
        (f"{raw} + v_1 u_1", before, moved),
        (name, after, trained[half:]),
    ):
        for rate in ta.align(embedder, own, vectors).rates().itertuples(index=False):
            yield row(ta.Interval(rate.value, rate.low, rate.high), of=state, measure=rate.rate)
    words = ta.load_word_ratings("simlex999")
    for embedder in (before, after):
        rho = ta.rank_correlation(
            ta.pair_similarities(embedder, words).numpy(), words["rating"], members=words[["word1", "word2"]]
        )
        yield row(rho, of=embedder.name, measure="Spearman, SimLex-999")


def main() -> None:
    """Measure what is asked for, and keep the rows of the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("embedders", nargs="*", help=f"of {', '.join(EMBEDDERS)}; default: both")
    asked = parser.parse_args().embedders or EMBEDDERS
    torch.set_grad_enabled(False)
    for name in asked:
        table = pd.DataFrame([{"pair": name, **row} for row in rows_of(name)])
        write_results(RESULTS, table, "python data/architectures/pairs.py", by=["pair"])


if __name__ == "__main__":
    main()
