"""Groups of embeddings against labels: texts with the same label should lie together."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tokalign_helpers.checks import whole_number
from tokalign_helpers.evaluation import Interval

STARTS = 10  # k-means is run from so many random beginnings; the tightest result counts


def cluster_agreement(
    h: Tensor, labels: Sequence[str], *, measure: str = "v", resamples: int = 200, seed: int = 0
) -> Interval:
    """Group embeddings by k-means, with as many groups as labels, and compare the groups with the labels.

    Parameters
    ----------
    h : Tensor, (n, d)
        Made unit vectors first.
    labels : Sequence[str], n of them
    measure : str
        ``v``: V-measure. ``rand``: adjusted Rand index (0 for chance).
    resamples : int
        Of the bootstrap over texts; the groups stay as they were found.
    seed : int

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If the measure is unknown, or there are not as many labels as embeddings.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, v_measure_score

    measures = {"v": v_measure_score, "rand": adjusted_rand_score}
    if measure not in measures:
        raise ValueError(f"unknown measure {measure!r}; known: {', '.join(measures)}")
    truth = _checked(h, labels)
    groups = KMeans(len(set(labels)), n_init=STARTS, random_state=seed).fit_predict(_unit(h).numpy())
    draw = np.random.default_rng(seed)
    drawn = [measures[measure](truth[i], groups[i]) for i in draw.integers(len(truth), size=(resamples, len(truth)))]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(measures[measure](truth, groups)), float(low), float(high))


def neighbour_agreement(h: Tensor, labels: Sequence[str], k: int = 5) -> np.ndarray:
    """Return for each text which share of its k nearest neighbours has its label.

    Parameters
    ----------
    h : Tensor, (n, d)
        Compared by cosine.
    labels : Sequence[str], n of them
    k : int

    Returns
    -------
    ndarray, (n,)

    Raises
    ------
    ValueError
        If k is not from 1 to n − 1, or there are not as many labels as embeddings.
    """
    truth = _checked(h, labels)
    k = whole_number(k, "k", 1, len(truth) - 1)
    cosine = _unit(h) @ _unit(h).T
    cosine.fill_diagonal_(-2)
    return (truth[cosine.topk(k, dim=1).indices.numpy()] == truth[:, None]).mean(axis=1)


def _unit(h: Tensor) -> Tensor:
    return torch.nn.functional.normalize(h, dim=1)


def _checked(h: Tensor, labels: Sequence[str]) -> np.ndarray:
    if len(h) != len(labels):
        raise ValueError(f"{len(labels)} labels for {len(h)} embeddings")
    return np.asarray(labels)
