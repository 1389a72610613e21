"""How sure is a number: intervals and rank correlation, on top of scipy."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

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
        If the lengths differ, there are fewer than three pairs, or one side is constant.
    """
    x, y = np.asarray(predicted, dtype=float), np.asarray(rated, dtype=float)
    if x.shape != y.shape or len(x) < 3:
        raise ValueError(f"need two lists of the same length, at least 3; got {len(x)} and {len(y)}")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError("one side is constant; a rank correlation with a constant is not defined")
    rng = np.random.default_rng(seed)
    drawn = [_spearman(x[i], y[i]) for i in rng.integers(len(x), size=(1000, len(x)))]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(_spearman(x, y), float(low), float(high))


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


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])
