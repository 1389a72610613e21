"""Confidence intervals of shares, means, rank correlations and unions. Imports nothing else of the package.

Every interval here is meant to hold the true value in 95 of 100 samples. How often it does was counted on samples
whose true value is known, and is said with each function.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.95  # of an interval that stands alone
RESAMPLES = 2000  # of every bootstrap
FEWEST = 20  # below, resampling knows too little of the spread: a 95 % interval of 10 skewed values holds in 86 of 100
BATCH = 100  # resamples that are in memory at a time
UNDEFINED = 0.01  # where the statistic is undefined for a larger share of the resamples, there is no interval


class Interval(NamedTuple):
    """An estimate and its confidence interval; the bounds are NaN where the sample does not allow for one."""

    estimate: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        """Write all three numbers in one way: ``f"{interval:+.3f}"`` is ``+0.109 [+0.099, +0.118]``."""
        spec = spec or ".3f"
        bounds = "no interval" if np.isnan(self.low) else f"{self.low:{spec}}, {self.high:{spec}}"
        return f"{self.estimate:{spec}} [{bounds}]"

    def __str__(self) -> str:
        return format(self)


def share_interval(answers: ArrayLike) -> Interval:
    """Return the share of "yes" among yes-or-no answers, with its exact interval (Clopper and Pearson 1934).

    Parameters
    ----------
    answers : array_like of bool, (n,)
        Or of 0 and 1.

    Returns
    -------
    Interval
        Valid for every n, also at the ends: 10 yes out of 10 give [0.692, 1.000]. It holds the true share in at least
        95 of 100 samples, whatever the share is.

    Raises
    ------
    ValueError
        If there are none, or one is neither 0 nor 1.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> print(ta.share_interval([True] * 45 + [False] * 5))
    0.900 [0.782, 0.967]
    """
    values = np.asarray(answers, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isin(values, (0, 1)).all():
        raise ValueError(f"a share needs answers that are all yes or no, 1 or 0; got {_shown(values)}")
    yes = round(values.sum())
    from scipy import stats

    found = stats.binomtest(yes, len(values)).proportion_ci(LEVEL, method="exact")
    return Interval(yes / len(values), float(found.low), float(found.high))


def share_difference_interval(first: ArrayLike, second: ArrayLike) -> Interval:
    """Return by how much the share of "yes" is larger in the first of two lists of answers to the same questions.

    Parameters
    ----------
    first, second : array_like of bool, (n,)
        Or of 0 and 1.

    Returns
    -------
    Interval
        The difference, and the interval of Bonett and Price (2012, eq. 8), which adds one to the counts of both kinds
        of questions that were answered differently. A bootstrap cannot draw what no question showed: with four such
        questions, all of one kind, its interval never holds zero, though half of them would go either way by chance in
        one case of eight. This one holds the true difference in 94 of 100 samples of 20 to 100 at least, and in more of
        them where few questions are answered differently.

    Raises
    ------
    ValueError
        If the lengths differ, there are no answers, or one is neither 0 nor 1.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> print(ta.share_difference_interval([1] * 16 + [0] * 24, [1] * 4 + [0] * 36))
    0.300 [0.134, 0.437]
    >>> print(ta.share_difference_interval([1] * 4 + [0] * 36, [0] * 40))
    0.100 [-0.015, 0.206]
    """
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if x.ndim != 1 or x.shape != y.shape or not len(x) or not np.isin([x, y], (0, 1)).all():
        told = f"{_shown(x)} and {_shown(y)}"
        raise ValueError(f"two shares need as many answers each, all of them yes or no, 1 or 0; got {told}")
    n, more, less = len(x), ((x > y).sum() + 1) / (len(x) + 2), ((x < y).sum() + 1) / (len(x) + 2)
    from scipy import stats

    half = stats.norm.ppf(0.5 + LEVEL / 2) * np.sqrt((more + less - (more - less) ** 2) / (n + 2))
    low, high = np.clip([more - less - half, more - less + half], -1, 1)
    return Interval(float((x - y).mean()), float(low), float(high))


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], n: int, *, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap's bounds of a statistic of n texts.

    Parameters
    ----------
    statistic : Callable
        (resamples, n) positions of texts → (resamples,) values; NaN where it is undefined.
    n : int
        The number of texts.
    level : float
        The share of samples whose interval holds the true value; higher where several are compared at once.
    seed : int
        Seed of the random choice; the same seed gives the same result.

    Returns
    -------
    low, high : float
        Both NaN where there is no interval: with fewer than :data:`FEWEST` texts; where the resamples all give the
        same and say nothing about other texts; or where the statistic is undefined for too many of them.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level is {level}; it must be between 0 and 1, such as 0.95")
    if n < FEWEST:
        return np.nan, np.nan
    draw = np.random.default_rng(seed)
    drawn = np.concatenate([statistic(draw.integers(n, size=(BATCH, n))) for _ in range(RESAMPLES // BATCH)])
    known = drawn[~np.isnan(drawn)]
    if len(known) < (1 - UNDEFINED) * RESAMPLES or _is_constant(known):
        return np.nan, np.nan
    low, high = np.percentile(known, [50 - 50 * level, 50 + 50 * level])
    return float(low), float(high)


def bootstrap_interval(values: ArrayLike, *, level: float = LEVEL, seed: int = 0) -> Interval:
    """Return the mean with its percentile bootstrap interval: what the mean would be on other texts of this kind.

    Parameters
    ----------
    values : array_like, (n,)
        One for each text. For a comparison of two embedders on the same texts, give the differences. For yes-or-no
        answers use :func:`share_interval`.
    level : float
        As for :func:`bootstrap`.
    seed : int
        Seed of the random choice; the same seed gives the same result.

    Returns
    -------
    Interval
        It holds the true mean in 93 of 100 samples of 20 and in 94 of 100 samples of 100; where the values are skewed,
        in 90 and 93 or 94. With fewer than 20 values, or where all are equal, the bounds are NaN.

    Raises
    ------
    ValueError
        If there are no values, one is not finite, or they are booleans.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> print(ta.bootstrap_interval([0.0, 0.2, 0.4, 0.6, 0.8] * 10))
    0.400 [0.324, 0.484]
    >>> f"{ta.bootstrap_interval([0.0, 1.0]):.2f}"
    '0.50 [no interval]'
    """
    given = np.asarray(values)
    if given.dtype == bool:
        raise ValueError("the values are booleans; use share_interval for a share")
    given = given.astype(float)
    if given.ndim != 1 or not len(given) or not np.isfinite(given).all():
        raise ValueError(f"a mean needs a list of at least one number, all of them finite; got {_shown(given)}")
    found = bootstrap(lambda rows: given[rows].mean(axis=1), len(given), level=level, seed=seed)
    return Interval(float(given.mean()), *found)


def jackknife_interval(
    estimate: float,
    leave_one_out: ArrayLike,
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    together: np.ndarray | None = None,
) -> Interval:
    """Return the interval of a statistic that no bootstrap suits, from its values without each text.

    A bootstrap sample repeats texts. A *union* over it is smaller than over as many fresh texts, and groups agree
    better with labels where the same text occurs twice: the bootstrap's interval sits beside the estimate itself.
    Leaving texts out one at a time has no such repeats.

    Parameters
    ----------
    estimate : float
        The statistic on all n texts.
    leave_one_out : array_like, (n,)
        The statistic on all texts but the i-th.
    bounds : (float, float)
        The least and the greatest value that the statistic can have, such as (0, 1) for a share.
    together : ndarray of bool, (n, n), optional
        Which texts are not independent of each other, each of itself; the products of their deviations are then added.
        The variance is never taken to be smaller than if all were independent.

    Returns
    -------
    Interval
        Normal, with the jackknife standard error (Efron 1982, eq. 3.1), cut off at the bounds. Of a ratio of unions
        it holds what n fresh texts give on average in 94 to 96 of 100 samples; of the V-measure, in 92 to 95. With
        fewer than 20 texts, or where no text makes a difference, low and high are NaN.
    """
    values = np.asarray(leave_one_out, dtype=float)
    n = len(values)
    if n < FEWEST or _is_constant(values):
        return Interval(float(estimate), np.nan, np.nan)
    away = values - values.mean()
    squares = away @ away if together is None else max(away @ away, away @ together @ away)
    error = np.sqrt((n - 1) / n * squares)
    from scipy import stats

    half = stats.norm.ppf(0.5 + LEVEL / 2) * error
    low, high = np.clip([estimate - half, estimate + half], *bounds)
    return Interval(float(estimate), float(low), float(high))


def rank_correlation(
    predicted: ArrayLike, rated: ArrayLike, *, members: ArrayLike | None = None, seed: int = 0
) -> Interval:
    """Return Spearman's ρ between a model's scores and people's ratings, with a percentile bootstrap interval.

    Parameters
    ----------
    predicted, rated : array_like, (n,)
        The model's scores and people's ratings of the same n pairs.
    members : array_like of str, (n, 2), optional
        The two words or texts of each pair. Pairs that share one are not independent, and with these the interval says
        so: it is then that of a jackknife that counts every two such pairs together (Fafchamps and Gubert 2007).
    seed : int
        Seed of the random choice; the same seed gives the same result.

    Returns
    -------
    Interval
        It holds the true ρ in 93 to 97 of 100 samples of 20 to 300 pairs, for ρ up to 0.8; near 1, in 91 to 96. With
        fewer than 20 pairs, or where the two orders are the same, the bounds are NaN.

    Raises
    ------
    ValueError
        If the lengths differ, there are fewer than three pairs, one side is constant, a value is NaN, or the members
        are not two for each pair.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> scores, ratings = [0.1, 0.4, 0.3, 0.9, 0.8], [1, 2, 3, 4, 5]
    >>> print(ta.rank_correlation(scores * 5, ratings * 5))
    0.800 [0.606, 0.905]
    """
    x, y = _to_correlate(predicted, rated)
    if members is not None:
        together = _sharing(members, len(x))
        return jackknife_interval(_spearman(x, y), _spearman_without_each(x, y), bounds=(-1, 1), together=together)
    return Interval(_spearman(x, y), *bootstrap(lambda rows: _spearman_of_resamples(x, y, rows), len(x), seed=seed))


def rank_correlation_difference(
    first: ArrayLike, second: ArrayLike, rated: ArrayLike, *, members: ArrayLike | None = None, seed: int = 0
) -> Interval:
    """Return how much better the first model's scores agree with people's ratings than the second's, on the same pairs.

    Parameters
    ----------
    first, second, rated : array_like, (n,)
        The scores of two models and people's ratings of the same n pairs.
    members : array_like of str, (n, 2), optional
        As for :func:`rank_correlation`.
    seed : int
        Seed of the random choice; the same seed gives the same result.

    Returns
    -------
    Interval
        The difference of the two Spearman ρ; the bootstrap draws whole pairs, so both models see the same ones. It
        holds the true difference in 94 to 96 of 100 samples of 20 to 100 pairs. With fewer than 20 pairs, or where both
        models give the same order, the bounds are NaN.

    Raises
    ------
    ValueError
        As :func:`rank_correlation`.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> first, second, ratings = [0.1, 0.3, 0.4, 0.9], [0.4, 0.1, 0.3, 0.2], [1, 2, 3, 4]
    >>> print(ta.rank_correlation_difference(first * 6, second * 6, ratings * 6))
    1.400 [0.878, 1.788]
    """
    (x, z), (y, _) = _to_correlate(first, rated), _to_correlate(second, rated)

    if members is not None:
        without = _spearman_without_each(x, z) - _spearman_without_each(y, z)
        found = _spearman(x, z) - _spearman(y, z)
        return jackknife_interval(found, without, bounds=(-2, 2), together=_sharing(members, len(z)))

    def difference(rows: np.ndarray) -> np.ndarray:
        return _spearman_of_resamples(x, z, rows) - _spearman_of_resamples(y, z, rows)

    return Interval(_spearman(x, z) - _spearman(y, z), *bootstrap(difference, len(z), seed=seed))


def _sharing(members: ArrayLike, n: int) -> np.ndarray:
    """Return which of n pairs share a member, (n, n)."""
    names = np.asarray(members)
    if names.shape != (n, 2):
        raise ValueError(f"members must be two for each of the {n} pairs; got the shape {names.shape}")
    has = np.zeros((n, len(np.unique(names))))
    np.put_along_axis(has, np.unique(names, return_inverse=True)[1].reshape(n, 2), 1.0, axis=1)
    return (has @ has.T) > 0


def _shown(values: np.ndarray) -> str:
    return np.array2string(values, threshold=6, edgeitems=2).replace("\n", " ")


def _is_constant(values: np.ndarray) -> bool:
    """Return whether they are equal but for rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def _to_correlate(predicted: ArrayLike, rated: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(predicted, dtype=float), np.asarray(rated, dtype=float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 3:
        got = " and ".join(str(len(side)) if side.ndim == 1 else f"the shape {side.shape}" for side in (x, y))
        raise ValueError(f"need two lists of the same length, at least 3; got {got}")
    if np.isnan(x).any() or np.isnan(y).any():
        raise ValueError("a score or a rating is NaN; a rank correlation with it is not defined")
    if (x == x[0]).all() or (y == y[0]).all():
        raise ValueError("one side is constant; a rank correlation with a constant is not defined")
    return x, y


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    from scipy import stats

    return float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])


def _spearman_without_each(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Spearman's ρ without the i-th pair, (n,)."""
    a, b = _centred_ranks_without_each(x), _centred_ranks_without_each(y)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))


def _centred_ranks_without_each(values: np.ndarray) -> np.ndarray:
    """Return in row i the ranks of the values without the i-th, less their mean, (n, n); the i-th is 0.

    Taking one away lowers the ranks of all that are larger by 1, and of its ties by a half.
    """
    from scipy import stats

    lowered = (values[:, None] < values) + 0.5 * (values[:, None] == values)
    ranks = stats.rankdata(values) - lowered - len(values) / 2
    np.fill_diagonal(ranks, 0)
    return ranks


def _spearman_of_resamples(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return Spearman's ρ of ``x[row], y[row]`` for each of the (resamples, n) rows; NaN where a side is constant."""
    a, b = _centred_ranks(x, rows), _centred_ranks(y, rows)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))


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
