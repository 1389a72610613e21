"""What judges share: comparisons that NaN, None, other types and other shapes cannot pass.

``abs(x - y) > eps`` is false for NaN, so a judge that used it would let NaN through. Every judge uses these functions instead.
"""

import math
from typing import Any

import numpy as np
import torch

from tokalign_helpers.basics import checks
from tokalign_helpers.exercises import shown

_NUMBERS = "iuf"  # integers and floats; no booleans, no complex numbers, no objects


def whole_number(answer: Any) -> int | None:
    """Return an answer as an int, if it is a whole number from 1 on: of Python, NumPy or PyTorch.

    Parameters
    ----------
    answer : Any
        What the learner wrote.

    Returns
    -------
    int or None
        None for everything else, ``True`` and 3.0 included.
    """
    if isinstance(answer, torch.Tensor | np.ndarray):
        answer = answer.item() if answer.ndim == 0 else None
    try:
        return checks.whole_number(answer, "the answer")
    except ValueError:
        return None


def finite_number(answer: Any) -> float | None:
    """Return an answer as a float, if it is one finite number: of Python, NumPy or PyTorch.

    Parameters
    ----------
    answer : Any
        What the learner wrote.

    Returns
    -------
    float or None
        None for everything else: NaN, infinities, booleans, strings, sequences.
    """
    found = _numbers(answer)
    if found is None or found.ndim:
        return None
    number = float(found)
    return number if math.isfinite(number) else None


def wrong_number(case: str, expected: float, got: Any, tolerance: float = 1e-6) -> str | None:
    """Compare one number with the expected one.

    Parameters
    ----------
    case : str
        What was tried, such as ``with 3 texts of 4 numbers``.
    expected : float
        The right number.
    got : Any
        What the learner's function returned.
    tolerance : float
        The largest difference that counts as equal.

    Returns
    -------
    str or None
        What is wrong; None when the number is right.
    """
    if got is None:
        return f"{case}: {_NOTHING}"
    number = finite_number(got)
    if number is None:
        return f"{case}: expected the number {expected:.4f}, got {shown(got)}"
    if not abs(number - expected) <= tolerance:
        return f"{case}: expected {expected:.4f}, got {number:.4f}"
    return None


def read_array(case: str, shape: tuple[int, ...], got: Any) -> torch.Tensor | str:
    """Read an array of a given shape out of what a learner's function returned.

    Parameters
    ----------
    case : str
        What was tried.
    shape : tuple[int, ...]
        The shape that the result must have.
    got : Any
        A tensor, an array or nested lists.

    Returns
    -------
    Tensor or str
        float64, of the shape; or what is wrong.
    """
    if got is None:
        return f"{case}: {_NOTHING}"
    found = _numbers(got)
    if found is None:
        return f"{case}: expected numbers of the shape {shape}, got {shown(got)}"
    if found.shape != shape:
        return f"{case}: expected the shape {shape}, got {found.shape}"
    if not np.isfinite(found).all():
        return f"{case}: the result holds NaN or an infinite number"
    return torch.from_numpy(found.astype(np.float64))


def wrong_array(case: str, expected: torch.Tensor, got: Any, tolerance: float = 1e-4) -> str | None:
    """Compare an array with the expected one, number by number.

    Parameters
    ----------
    case : str
        What was tried, for the message.
    expected : Tensor
        The right array.
    got : Any
        A tensor, an array or nested lists.
    tolerance : float
        The largest difference that counts as equal.

    Returns
    -------
    str or None
        What is wrong; None when the array is right.
    """
    found = read_array(case, tuple(expected.shape), got)
    if isinstance(found, str):
        return found
    far = ~((found - expected.double()).abs() <= tolerance)
    if not far.any():
        return None
    place = tuple(far.nonzero()[0].tolist())
    at = place[0] if len(place) == 1 else place
    return f"{case}: entry {at} must be {float(expected[place]):.4f}, got {float(found[place]):.4f}"


def wrong_ids(case: str, expected: list[int], got: Any) -> str | None:
    """Compare a list of token ids with the expected one, in order.

    Parameters
    ----------
    case : str
        What was tried, for the message.
    expected : list[int]
        The right ids, in order.
    got : Any
        A tensor, an array or a list, of whole numbers.

    Returns
    -------
    str or None
        What is wrong; None when the ids are right.
    """
    if got is None:
        return f"{case}: {_NOTHING}"
    found = _numbers(got)
    if found is None or found.ndim != 1 or not (found.dtype.kind in "iu" or len(found) == 0):
        return f"{case}: expected the ids {expected}, got {shown(got)}"
    return None if found.tolist() == expected else f"{case}: expected the ids {expected}, got {found.tolist()}"


_NOTHING = "the function returned None; is its `return` missing?"


def _numbers(value: Any) -> np.ndarray | None:
    """Return real numbers as an array, whatever holds them and however it lies in memory; None for anything else."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, list | tuple):
        value = [_numbers(item) for item in value]
        if any(item is None for item in value) or len({item.shape for item in value}) > 1:
            return None
    elif not isinstance(value, int | float | np.generic | np.ndarray):
        return None
    try:
        found = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
    except (ValueError, OverflowError):
        return None
    return found if found.dtype.kind in _NUMBERS else None
