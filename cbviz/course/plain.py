"""Answers as plain Python: what numpy, torch and the like compute is judged as the number or list that it holds."""

from __future__ import annotations

from typing import Any

from cbviz.checks import PASSING, as_float, as_int, is_a

EXACT = 2.0**53
"""Whole numbers below this are exact as floats, and no right answer comes near it."""
LONGEST_ANSWER = 1_000
"""Elements of a list or an array that are made plain; no right answer has as many, and a longer one stays as it is."""


def plain(answer: Any) -> Any:
    """An answer without the types of a library that computed it.

    Scalars become an `int`, `float`, `bool` or `str`, a float such as 8.0 the whole number that it is, and an array of
    one dimension a list. Neither numpy nor torch is imported, and an object whose methods raise stays as it is.

    Parameters
    ----------
    answer
        Anything. Functions, policies, iterators and long lists are returned unchanged.

    Examples
    --------
    >>> plain([1.0, 2.5, True])
    [1, 2.5, True]
    """
    if answer is None or type(answer) in (bool, int, str) or callable(answer):
        return answer
    try:
        return _listed(answer)
    except PASSING:
        raise
    except BaseException:  # the methods of a learner's own class may raise anything
        return answer


def _listed(answer: Any) -> Any:
    """A list, a tuple or an array with plain elements, or one plain value."""
    if is_a(answer, (list, tuple)):
        if len(answer) > LONGEST_ANSWER:
            return answer
        elements = map(_single, answer)
        return tuple(elements) if is_a(answer, tuple) else list(elements)
    if hasattr(answer, "tolist") and getattr(answer, "ndim", 1) == 1 and len(answer) <= LONGEST_ANSWER:
        held = answer.tolist()
        return list(map(_single, held)) if type(held) is list else answer
    return _single(answer)


def _single(value: Any) -> Any:
    """A plain number, truth value or text; anything else unchanged."""
    if type(value) in (bool, int, str) or callable(value):
        return value
    try:
        if getattr(value, "dtype", None) is not None and value.ndim == 0:
            held = value.item()
            value = held if type(held) in (bool, int, float, str) else value
        if type(value) in (bool, int, str):
            return value
    except PASSING:
        raise
    except BaseException:  # as above; also a tensor without data
        return value
    if (whole := as_int(value)) is not None:
        return whole
    real = as_float(value)
    if real is None:
        return value
    return int(real) if real.is_integer() and abs(real) < EXACT else real
