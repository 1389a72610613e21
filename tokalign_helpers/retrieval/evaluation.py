"""Evaluate and fuse runs; for the uncertainty of figures see :mod:`~tokalign_helpers.basics.statistics`."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import SupportsFloat, TypeVar

import numpy as np
import pandas as pd

from tokalign_helpers.basics.checks import whole_number
from tokalign_helpers.datasets.collections import checked_grade, checked_id

Number = TypeVar("Number", bound=float)


def evaluate_run(run: Mapping[str, Mapping[str, float]], relevant: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Evaluate a run: nDCG@10, recall@100 and reciprocal rank of every query, as trec_eval defines them.

    Parameters
    ----------
    run : Mapping
        ``{query: {document: score}}``. A score may be any kind of number, an id a string or a whole number.
    relevant : Mapping
        ``{query: {document: grade}}``; grades as :func:`~tokalign_helpers.datasets.collections.checked_grade` takes
        them.

    Returns
    -------
    DataFrame, one row for each judged query
        ``nDCG@10``, ``R@100``, ``RR``, by the query's id as a string. A query without results scores 0. Equal scores
        are in trec_eval's order: ids in reverse alphabetical order.

    Raises
    ------
    TypeError
        If the run or the judgements are not mappings.
    ValueError
        If no query is judged, a score is NaN or not a number, a grade is not a whole number or out of range, or an
        id is neither a string nor a whole number, or occurs twice; the message names the query.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> run = {"q": {"a": 2.0, "b": 1.0, "c": 0.5}}
    >>> ta.evaluate_run(run, {"q": {"b": 1}}).round(3)
       nDCG@10  R@100   RR
    q    0.631    1.0  0.5
    """
    judged = {query: grades for query, grades in _checked(relevant, checked_grade).items() if any(grades.values())}
    if not judged:
        raise ValueError("no query has a relevant document; there is nothing to judge")
    ranked = {query: _ranking(hits) for query, hits in _checked(run, _score).items() if query in judged}
    rows = [
        _measures([grades.get(hit, 0) for hit in ranked.get(query, ())], grades) for query, grades in judged.items()
    ]
    return pd.DataFrame(rows, index=list(judged), columns=["nDCG@10", "R@100", "RR"], dtype=float)


def _ranking(hits: Mapping[str, float]) -> list[str]:
    """Put the best first; equal scores in the order of the ids, backwards."""
    return [document for document, _ in sorted(hits.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)]


def _measures(found: Sequence[int], grades: Mapping[str, int]) -> tuple[float, float, float]:
    """Return nDCG@10, recall@100 and reciprocal rank of the grades that a ranking found; some judged grade is not 0."""
    best = sorted(grades.values(), reverse=True)
    first = next((rank for rank, grade in enumerate(found, start=1) if grade), np.inf)
    recall = np.count_nonzero(found[:100]) / np.count_nonzero(best)
    return _gain(found[:10]) / _gain(best[:10]), recall, 1 / first


def _gain(grades: Sequence[int]) -> float:
    """Add the grades up, each divided by log2(1 + rank)."""
    return sum(grade / math.log2(1 + rank) for rank, grade in enumerate(grades, start=1))


def fuse(runs: Sequence[Mapping[str, Mapping[str, float]]], *, weights: Sequence[float] | None = None) -> dict:
    """Add up runs after scaling the scores of each query to 0…1.

    Parameters
    ----------
    runs : Sequence of runs
        The runs to fuse, of the same queries.
    weights : Sequence[float], optional
        How much each run counts. Default: one as much as another.

    Returns
    -------
    Run
        A document that one run lacks gets 0 from it, as does the worst of several hits; where all hits of a query have
        the same score, or there is only one, they count in full.

    Raises
    ------
    TypeError
        If a run is not a mapping.
    ValueError
        If a score is not finite; the message names the query. If there are not as many weights as runs, or one is not
        finite.

    Examples
    --------
    >>> import tokalign_helpers as ta
    >>> ta.fuse([{"q": {"a": 3.0, "b": 1.0}}, {"q": {"b": 10.0}}])
    {'q': {'a': 0.5, 'b': 0.5}}
    """
    try:
        shares = np.full(len(runs), 1 / max(1, len(runs))) if weights is None else np.asarray(weights, dtype=float)
    except (TypeError, ValueError):
        shares = np.empty(0)
    if shares.shape != (len(runs),) or not np.isfinite(shares).all():
        raise ValueError(f"the weights are {weights!r}; expected {len(runs)} finite numbers, one for each run")
    fused: dict[str, dict[str, float]] = {}
    for run, weight in zip(runs, shares.tolist(), strict=True):
        for query, hits in _checked(run, _finite).items():
            low, high = min(hits.values(), default=0.0), max(hits.values(), default=0.0)
            here = fused.setdefault(query, {})
            for document, score in hits.items():
                share = (score - low) / (high - low) if high > low else 1.0
                here[document] = here.get(document, 0.0) + weight * share
    return fused


def reciprocal_rank_fusion(runs: Sequence[Mapping[str, Mapping[str, float]]], *, k: int = 60) -> dict:
    """Add up 1 / (k + rank) over runs (Cormack, Clarke and Büttcher 2009).

    Parameters
    ----------
    runs : Sequence of runs
        The runs to fuse, of the same queries.
    k : int, from 0
        Added to each rank: the larger, the less the first ranks stand out.

    Returns
    -------
    Run
        Hits with the same score share the better rank, in whatever order they are given.

    Raises
    ------
    TypeError
        If a run is not a mapping.
    ValueError
        If k is not a whole number, 0 or more, or a score is NaN or not a number; the message names the query.
    """
    from scipy.stats import rankdata

    k = whole_number(k, "k", 0)
    fused: dict[str, dict[str, float]] = {}
    for run in runs:
        for query, hits in _checked(run, _score).items():
            here = fused.setdefault(query, {})
            ranks = rankdata([-score for score in hits.values()], method="min")
            for document, rank in sorted(zip(hits, ranks.tolist(), strict=True), key=lambda hit: hit[1]):
                here[document] = here.get(document, 0.0) + 1 / (k + rank)
    return fused


def _checked(table: Mapping, number: Callable[[SupportsFloat], Number]) -> dict[str, dict[str, Number]]:
    """Return {query: {document: number}} with ids as strings; what is refused names the query."""
    if not hasattr(table, "items"):  # a pandas table has them too
        raise TypeError(f"expected a mapping from queries to documents and numbers, not {table!r:.80}")
    found: dict[str, dict[str, Number]] = {}
    for query, row in table.items():
        try:
            name = checked_id(query)
            if name in found:
                raise ValueError("it occurs twice, as a string and as a number")
            found[name] = {checked_id(document): number(value) for document, value in dict(row).items()}
            if len(found[name]) != len(row):
                raise ValueError("a document occurs twice")
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"query {query!r}: {error}") from error
    return found


def _score(value: SupportsFloat) -> float:
    if isinstance(value, str | bytes) or value is None or np.isnan(score := float(value)):
        raise ValueError(f"the score {value!r} is not a number")
    return score


def _finite(value: SupportsFloat) -> float:
    if np.isinf(score := _score(value)):
        raise ValueError(f"the score {value!r} cannot be ordered among the others")
    return score
