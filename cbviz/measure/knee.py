"""Latency against load: how much a server takes before a target is missed, and where the curve bends."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cbviz.errors import MeasureError
from cbviz.measure.checks import column_of, number

FloatArray = npt.NDArray[np.float64]


def capacity(rates: npt.ArrayLike, latencies: npt.ArrayLike, target: float) -> float:
    """The highest rate up to which a latency stays within its target, interpolated between measured rates.

    Parameters
    ----------
    rates
        Requests a second; at least one, ascending or not.
    latencies
        The latency at each rate, such as a p99 TTFT; NaN where it was not measured.
    target
        The most that is allowed, above 0.

    Returns
    -------
    float
        Requests a second: 0 if already the lowest rate misses the target, the highest rate if none does.

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> capacity([1, 2, 4], [0.1, 0.2, 0.6], target=0.4)
    3.0
    """
    x, y = _curve(rates, latencies)
    most = number("the target", target)
    missed = np.flatnonzero(y > most)
    if not len(missed):
        return float(x[-1])
    first = int(missed[0])
    if first == 0:
        return 0.0
    share = (most - y[first - 1]) / (y[first] - y[first - 1])
    return float(x[first - 1] + share * (x[first] - x[first - 1]))


def knee(rates: npt.ArrayLike, latencies: npt.ArrayLike) -> float | None:
    """The rate at which the curve bends upward most: where, both axes scaled to 0…1, it lies deepest below its chord.

    This is the point of most curvature of Kneedle (Satopää et al., 2011) for a convex rising curve.

    Parameters
    ----------
    rates, latencies
        As in `capacity`; at least three.

    Returns
    -------
    float or None
        One of the rates; None if the curve does not bend: its deepest point is less than a tenth below the chord.

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> knee([1, 2, 3, 4, 5], [1.0, 1.1, 1.2, 1.4, 9.0])
    4.0
    >>> knee([1, 2, 3], [1.0, 2.0, 3.0]) is None
    True
    """
    x, y = _curve(rates, latencies)
    if len(x) < 3:
        raise MeasureError(f"a knee needs at least three rates with a latency, not {len(x)}.")
    low, high = float(y.min()), float(y.max())
    if high <= low:
        return None
    along = (x - x[0]) / (x[-1] - x[0])
    chord = y[0] + along * (y[-1] - y[0])
    below = (chord - y) / (high - low)
    deepest = int(below.argmax())
    return float(x[deepest]) if below[deepest] > 0.1 else None


def _curve(rates: npt.ArrayLike, latencies: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both columns without the points that are not known, in order of the rate."""
    x, y = column_of(rates), column_of(latencies)
    if x is None or y is None or len(x) != len(y):
        raise MeasureError("rates and latencies must be lists of numbers, one latency for each rate.")
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if not len(x) or (x <= 0).any() or math.isinf(float(x.max())):
        raise MeasureError("at least one rate above 0 with a latency is needed.")
    if len(np.unique(x)) != len(x):
        raise MeasureError("each rate may occur once; average over its runs first.")
    order = np.argsort(x)
    return x[order], y[order]
