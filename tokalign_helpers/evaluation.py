"""How sure is a number: intervals and rank correlation, on top of scipy."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tokalign_helpers.checks import whole_number
from tokalign_helpers.embedding import Embedder


class Interval(NamedTuple):
    """An estimate and its confidence interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_interval(values: Sequence[float], *, level: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean with its percentile bootstrap interval: what the mean would be on other texts of this kind.

    Parameters
    ----------
    values : Sequence[float], one a text
        For a comparison of two embedders on the same texts, give the differences.
    level : float
    seed : int

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If there are fewer than two values, or one is NaN.
    """
    from scipy import stats

    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or np.isnan(values).any():
        raise ValueError(f"an interval needs at least two numbers and no NaN; got {values!r}")
    if np.ptp(values) == 0:
        return Interval(float(values[0]), float(values[0]), float(values[0]))
    drawn = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, confidence_level=level, method="percentile", batch=100,
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return Interval(float(values.mean()), float(drawn.confidence_interval.low), float(drawn.confidence_interval.high))


def jackknife_interval(estimate: float, leave_one_out: Sequence[float], *, level: float = 0.95) -> Interval:
    """Return the interval of a statistic that no bootstrap suits, from its values without each text.

    A bootstrap sample repeats texts, so a *union* over it is smaller than over as many fresh texts: the bootstrap of
    a union-based rate sits beside the rate itself. Leaving texts out one at a time has no such repeats.

    Parameters
    ----------
    estimate : float
        The statistic on all n texts.
    leave_one_out : Sequence[float], n of them
        The statistic on all texts but the i-th.
    level : float

    Returns
    -------
    Interval
        Normal, with the jackknife standard error (Efron 1982, eq. 3.1).
    """
    from scipy import stats

    values = np.asarray(leave_one_out, dtype=float)
    n = len(values)
    error = np.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum())
    half = stats.norm.ppf(0.5 + level / 2) * error
    return Interval(float(estimate), float(estimate - half), float(estimate + half))


def rank_correlation(predicted: Sequence[float], rated: Sequence[float], *, seed: int = 0) -> Interval:
    """Return Spearman's ρ between a model's scores and people's ratings, with a percentile bootstrap interval.

    Parameters
    ----------
    predicted, rated : Sequence[float], n of them each
    seed : int

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If the lengths differ, there are fewer than three pairs, one side is constant, or a value is nan.
    """
    x, y = _to_correlate(predicted, rated)
    drawn = _spearman_of_resamples(x, y, _resamples(len(x), seed))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(_spearman(x, y), float(low), float(high))


def rank_correlation_difference(
    first: Sequence[float], second: Sequence[float], rated: Sequence[float], *, seed: int = 0
) -> Interval:
    """Return how much better the first model's scores agree with people's ratings than the second's, on the same pairs.

    Parameters
    ----------
    first, second, rated : Sequence[float], n of them each
    seed : int

    Returns
    -------
    Interval
        The difference of the two Spearman ρ; the bootstrap draws whole pairs, so both models see the same ones.

    Raises
    ------
    ValueError
        As :func:`rank_correlation`.
    """
    (x, z), (y, _) = _to_correlate(first, rated), _to_correlate(second, rated)
    rows = _resamples(len(z), seed)
    drawn = _spearman_of_resamples(x, z, rows) - _spearman_of_resamples(y, z, rows)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(_spearman(x, z) - _spearman(y, z), float(low), float(high))


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


def _to_correlate(predicted: Sequence[float], rated: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(predicted, dtype=float), np.asarray(rated, dtype=float)
    if x.shape != y.shape or len(x) < 3:
        raise ValueError(f"need two lists of the same length, at least 3; got {len(x)} and {len(y)}")
    if np.isnan(x).any() or np.isnan(y).any():
        raise ValueError("a score or a rating is nan; a rank correlation with it is not defined")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError("one side is constant; a rank correlation with a constant is not defined")
    return x, y


def _resamples(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(n, size=(1000, n))


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    from scipy import stats

    return float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])


def _spearman_of_resamples(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return Spearman's ρ of ``x[row], y[row]`` for each of the (resamples, n) rows; nan where a side is constant.

    A hundred rows at a time: no array but ``rows`` is larger than (100, n).
    """
    drawn = np.empty(len(rows))
    for first in range(0, len(rows), 100):
        part = slice(first, first + 100)
        a, b = _centred_ranks(x, rows[part]), _centred_ranks(y, rows[part])
        with np.errstate(invalid="ignore"):
            drawn[part] = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return drawn


def _centred_ranks(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the ranks of ``values[row]`` less their mean, (resamples, n), ties sharing theirs.

    ``values`` is sorted once; a resample's ranks follow from how often it holds each distinct value.
    """
    distinct, code = np.unique(values, return_inverse=True)
    drawn = code[rows]
    offsets = len(distinct) * np.arange(len(rows))[:, None]
    times = np.bincount((drawn + offsets).ravel(), minlength=len(distinct) * len(rows)).reshape(len(rows), -1)
    mean_rank = times.cumsum(axis=1) - (times - 1) / 2
    return np.take_along_axis(mean_rank, drawn, axis=1) - (rows.shape[1] + 1) / 2
