"""Iterations and makespan for a given list of output lengths, in order: exact counts, and bounds for any order."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from cbviz.errors import MeasureError
from cbviz.measure.checks import lengths_of, whole


def static_iterations(lengths: Any, slots: int, run_to: int | None = None) -> int:
    """Iterations of static batching for these output lengths, all arriving at 0, in order.

    Each batch of n runs to its longest output, or for `run_to` iterations. It holds for unchunked prompts, with one
    iteration per output token.

    Parameters
    ----------
    lengths
        Output lengths in tokens, whole numbers of at least 1, in order of admission.
    slots
        n, at least 1.
    run_to
        Iterations of every batch (the longest output of the data set, in the naive baseline); None runs to the longest
        of the batch.

    Returns
    -------
    int
        Iterations.

    Raises
    ------
    MeasureError
        A length or `slots` is below 1, or `run_to` is below the longest length.

    Examples
    --------
    >>> from cbviz.measure import continuous_iterations, static_iterations
    >>> static_iterations([1, 4, 2, 2], slots=2), continuous_iterations([1, 4, 2, 2], slots=2)
    (6, 5)
    """
    n = whole("slots", slots)
    x = _whole_lengths(lengths)
    if run_to is not None:
        run_to = whole("run_to", run_to, max(x))
    return sum(run_to if run_to is not None else max(x[i : i + n]) for i in range(0, len(x), n))


def continuous_iterations(lengths: Any, slots: int) -> int:
    """Iterations of continuous batching for these output lengths, all arriving at 0, in order.

    A freed slot takes the next request at once (list scheduling: Graham, SIAM J. Appl. Math. 17, 1969). It holds for
    unchunked prompts and a KV pool that always has room.

    Parameters
    ----------
    lengths
        Output lengths in tokens, whole numbers of at least 1, in order of admission.
    slots
        n, at least 1.

    Returns
    -------
    int
        Iterations.

    Raises
    ------
    MeasureError
        A length or `slots` is below 1.

    Examples
    --------
    The order matters: a long output that starts last leaves the other slot empty.

    >>> from cbviz.measure import continuous_iterations
    >>> continuous_iterations([4, 2, 2], slots=2), continuous_iterations([2, 2, 4], slots=2)
    (4, 6)
    """
    n = whole("slots", slots)
    x = _whole_lengths(lengths)
    free_at = [0] * min(n, len(x))
    for length in x:
        heapq.heapreplace(free_at, free_at[0] + length)
    return max(free_at)


def makespan_bounds(lengths: Any, slots: int) -> tuple[float, float]:
    """Bounds on the iterations of continuous batching for a finite list: max(ΣL/n, max L) ≤ C ≤ ΣL/n + (1 − 1/n) max L.

    Graham's bound for list scheduling: all slots are busy until the last request starts, so the tail is at most one
    longest request.

    Parameters
    ----------
    lengths
        Output lengths in tokens, whole numbers of at least 1.
    slots
        n, at least 1.

    Returns
    -------
    tuple[float, float]
        Lower and upper bound.

    Raises
    ------
    MeasureError
        A length or `slots` is below 1.

    Examples
    --------
    >>> from cbviz.measure import continuous_iterations, makespan_bounds
    >>> low, high = makespan_bounds([2, 2, 4], slots=2)
    >>> low <= continuous_iterations([2, 2, 4], slots=2) <= high, (low, high)
    (True, (4.0, 6.0))
    """
    n = whole("slots", slots)
    x = _whole_lengths(lengths)
    return max(sum(x) / n, float(max(x))), sum(x) / n + (1 - 1 / n) * max(x)


def _whole_lengths(lengths: Any) -> list[int]:
    x = lengths_of("lengths", lengths)
    if (x != np.floor(x)).any() or x.max() > 2**53:
        raise MeasureError("lengths must be whole numbers of tokens.")
    return [int(value) for value in x]
