"""Judge runs, fuse runs, compare pairs of texts; how sure a figure is, :mod:`~tokalign_helpers.statistics` says."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from tokalign_helpers.checks import whole_number
from tokalign_helpers.embedding import Embedder
from tokalign_helpers.statistics import (
    Interval,
    bootstrap_interval,
    jackknife_interval,
    rank_correlation,
    rank_correlation_difference,
    share_interval,
)

__all__ = [
    "Interval",
    "bootstrap_interval",
    "evaluate_run",
    "fuse",
    "jackknife_interval",
    "pair_similarities",
    "rank_correlation",
    "rank_correlation_difference",
    "reciprocal_rank_fusion",
    "share_interval",
]


def evaluate_run(run: Mapping[str, Mapping[str, float]], relevant: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Judge a run: nDCG@10, recall@100 and reciprocal rank of every query, as trec_eval defines them.

    Parameters
    ----------
    run : Mapping
        ``{query: {document: score}}``.
    relevant : Mapping
        ``{query: {document: grade}}``.

    Returns
    -------
    DataFrame, a row a judged query
        ``nDCG@10``, ``R@100``, ``RR``. A query without results counts 0.

    Raises
    ------
    ValueError
        If no query is judged.
    """
    import ir_measures

    judged = {query: dict(grades) for query, grades in relevant.items() if any(g > 0 for g in grades.values())}
    if not judged:
        raise ValueError("no query has a relevant document; there is nothing to judge")
    measures = {"nDCG@10": ir_measures.nDCG @ 10, "R@100": ir_measures.R @ 100, "RR": ir_measures.RR}
    table = pd.DataFrame(0.0, index=list(judged), columns=list(measures))
    known = {query: dict(run[query]) for query in judged if run.get(query)}
    names = {str(measure): name for name, measure in measures.items()}
    if known:
        for found in ir_measures.iter_calc(list(measures.values()), judged, known):
            table.loc[found.query_id, names[str(found.measure)]] = found.value
    return table


def fuse(runs: Sequence[Mapping[str, Mapping[str, float]]], *, weights: Sequence[float] | None = None) -> dict:
    """Add up runs, the scores of each query brought to 0…1 first.

    Parameters
    ----------
    runs : Sequence of runs
    weights : Sequence[float], optional
        Default: equal.

    Returns
    -------
    Run
        A document that one run lacks gets 0 from it.
    """
    fused: dict[str, dict[str, float]] = {}
    for run, weight in zip(runs, weights or [1 / len(runs)] * len(runs), strict=True):
        for query, hits in run.items():
            low, high = min(hits.values(), default=0.0), max(hits.values(), default=0.0)
            here = fused.setdefault(query, {})
            for document, score in hits.items():
                here[document] = here.get(document, 0.0) + weight * (score - low) / ((high - low) or 1.0)
    return fused


def reciprocal_rank_fusion(runs: Sequence[Mapping[str, Mapping[str, float]]], *, k: int = 60) -> dict:
    """Add up 1 / (k + rank) over runs (Cormack, Clarke and Büttcher 2009).

    Parameters
    ----------
    runs : Sequence of runs
    k : int, from 0

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If k is no whole number from 0 on.
    """
    k = whole_number(k, "k", 0)
    fused: dict[str, dict[str, float]] = {}
    for run in runs:
        for query, hits in run.items():
            here = fused.setdefault(query, {})
            for rank, document in enumerate(sorted(hits, key=hits.__getitem__, reverse=True), start=1):
                here[document] = here.get(document, 0.0) + 1 / (k + rank)
    return fused


def pair_similarities(
    embedder: Embedder, pairs: pd.DataFrame, change: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return the cosine of both sides of every pair.

    Parameters
    ----------
    embedder : Embedder
    pairs : DataFrame, n rows
        The first two columns hold texts.
    change : Callable, optional
        (m, d) → (m, d), applied to the embeddings first, such as an adjustment.

    Returns
    -------
    Tensor, (n,), from −1 to 1
    """
    sides = [pairs.iloc[:, column].tolist() for column in (0, 1)]
    texts = list(dict.fromkeys(sides[0] + sides[1]))
    h = embedder.embed(texts)
    unit = torch.nn.functional.normalize(change(h) if change else h, dim=1)
    place = {text: i for i, text in enumerate(texts)}
    left, right = ([place[text] for text in side] for side in sides)
    return (unit[left] * unit[right]).sum(dim=1)
