"""Groups of embeddings compared with labels: texts with the same label should lie together."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tokalign_helpers.basics.checks import whole_number
from tokalign_helpers.basics.statistics import Interval, jackknife_interval

STARTS = 10  # k-means is run from this many random starts; the tightest result counts


def cluster_agreement(h: Tensor, labels: Sequence[str], *, measure: str = "v", seed: int = 0) -> Interval:
    """Group embeddings by k-means, with as many groups as labels, and compare the groups with the labels.

    Parameters
    ----------
    h : Tensor, (n, d)
        They are first scaled to unit length.
    labels : Sequence[str], n of them
        One for each embedding.
    measure : str
        ``v``: V-measure. ``rand``: adjusted Rand index (0 for chance).
    seed : int
        Seed of k-means.

    Returns
    -------
    Interval
        Of the agreement of these groups with the labels: the jackknife's, which leaves out one text at a time and lets
        the groups stay as they were found. (A text drawn twice, as in a bootstrap, would agree with itself.)

    Raises
    ------
    ValueError
        If the measure is unknown, there are not as many labels as embeddings or none, or one holds NaN or Inf.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, v_measure_score

    measures = {"v": (v_measure_score, (0, 1)), "rand": (adjusted_rand_score, (-1, 1))}
    if measure not in measures:
        raise ValueError(f"unknown measure {measure!r}; known: {', '.join(measures)}")
    truth = _checked(h, labels)
    groups = KMeans(len(set(labels)), n_init=STARTS, random_state=seed).fit_predict(_unit(h).numpy())
    agreement, bounds = measures[measure]
    return jackknife_interval(agreement(truth, groups), _without_each(agreement, truth, groups), bounds=bounds)


def neighbour_agreement(h: Tensor, labels: Sequence[str], k: int = 5) -> np.ndarray:
    """Return for each text which share of its k nearest neighbours has its label.

    Parameters
    ----------
    h : Tensor, (n, d)
        Compared by cosine.
    labels : Sequence[str], n of them
        One for each embedding.
    k : int
        How many neighbours to look at.

    Returns
    -------
    ndarray, (n,)

    Raises
    ------
    ValueError
        If k is not from 1 to n − 1, there are not as many labels as embeddings or none, or one holds NaN or Inf.
    """
    truth = _checked(h, labels)
    k = whole_number(k, "k", 1, len(truth) - 1)
    cosine = _unit(h) @ _unit(h).T
    cosine.fill_diagonal_(-2)
    return (truth[cosine.topk(k, dim=1).indices.numpy()] == truth[:, None]).mean(axis=1)


def _unit(h: Tensor) -> Tensor:
    return torch.nn.functional.normalize(h, dim=1)


def _checked(h: Tensor, labels: Sequence[str]) -> np.ndarray:
    if h.ndim != 2 or not len(h):
        raise ValueError(f"the embeddings have the shape {tuple(h.shape)}; expected (n, d), n from 1 on")
    if len(h) != len(labels):
        raise ValueError(f"{len(labels)} labels for {len(h)} embeddings")
    if not torch.isfinite(h).all():  # NaN would have neighbours like any other
        bad = int((~torch.isfinite(h)).any(dim=1).nonzero()[0])
        raise ValueError(f"embedding {bad} holds NaN or Inf; it cannot be grouped")
    return np.asarray(labels)


def _without_each(agreement: Callable[..., float], truth: np.ndarray, groups: np.ndarray) -> list[float]:
    """Return the agreement without each text; texts of one label and one group need it only once."""
    known: dict[tuple, float] = {}
    for i, pair in enumerate(zip(truth.tolist(), groups.tolist(), strict=True)):
        if pair not in known:
            known[pair] = float(agreement(np.delete(truth, i), np.delete(groups, i)))
    return [known[pair] for pair in zip(truth.tolist(), groups.tolist(), strict=True)]
