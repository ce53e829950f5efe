"""Waiting times of a server with slots by queueing theory, to compare with measured runs.

Rates are in requests per second and times in seconds, or in any other consistent unit. All results are long-run means
of a queue that does not grow forever: the load must stay below 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cbviz.errors import MeasureError
from cbviz.measure.checks import number, whole


def in_system(rate: float, time_in_system: float) -> float:
    """Little's law: the mean number of requests in the system is rate × mean time in it (Little, Oper. Res. 9, 1961).

    It holds for any policy, any law and any arrival process, and exactly over a run that begins and ends empty. It also
    holds for the queue alone, or the slots alone.

    Parameters
    ----------
    rate
        Arrivals per second.
    time_in_system
        Mean seconds from arrival to completion.

    Returns
    -------
    float
        Mean requests in the system.

    Raises
    ------
    MeasureError
        An argument is negative or infinite.

    Examples
    --------
    >>> from cbviz.measure import in_system
    >>> in_system(rate=4, time_in_system=2.5)
    10.0
    """
    return number("rate", rate, or_equal=True) * number("time_in_system", time_in_system, or_equal=True)


@dataclass(frozen=True, slots=True)
class LittlesLaw:
    """Both sides of Little's law over a run.

    Attributes
    ----------
    in_system
        Mean number of requests in the system: the count, integrated over time, divided by the run's duration.
    rate, time_in_system
        Arrivals per second, and their mean seconds in the system within the run.
    """

    in_system: float
    rate: float
    time_in_system: float

    @property
    def error(self) -> float:
        """Relative difference of the two sides; 0 but for rounding, or a time of the run is wrong."""
        other = self.rate * self.time_in_system
        return abs(self.in_system - other) / max(self.in_system, other, 1e-300)


def littles_law(arrivals: Any, departures: Any, until: float) -> LittlesLaw:
    """Both sides of Little's law, which hold exactly over any stretch if times are cut off at its ends.

    Parameters
    ----------
    arrivals, departures
        Seconds, one a request; NaN as a departure that had not come at `until`, as an arrival for none at all.
    until
        The duration of the run, above 0.

    Returns
    -------
    LittlesLaw
        The count by sweeping over all arrivals and departures, the times by summing up those of each request.

    Raises
    ------
    MeasureError
        The columns differ in length, or a request leaves before it comes.

    Examples
    --------
    One request from 0 to 2 s, one from 1 s to the end at 4 s:

    >>> from cbviz.measure.queueing import littles_law
    >>> found = littles_law([0.0, 1.0], [2.0, float("nan")], until=4.0)
    >>> found.in_system, found.rate, found.time_in_system, found.error
    (1.25, 0.5, 2.5, 0.0)
    """
    end = number("until", until)
    come, leave = np.asarray(arrivals, float), np.asarray(departures, float)
    if come.shape != leave.shape or come.ndim != 1:
        raise MeasureError(
            f"arrivals and departures must be two lists of one length, not {come.size} and {leave.size}."
        )
    there = come <= end
    come, leave = come[there], np.minimum(np.where(np.isnan(leave[there]), end, leave[there]), end)
    if not len(come):
        return LittlesLaw(0.0, 0.0, 0.0)
    if (leave < come).any():
        raise MeasureError(f"row {int((leave < come).argmax())} leaves before it arrives.")
    times = np.concatenate([come, leave])
    steps = np.concatenate([np.ones(len(come)), -np.ones(len(come))])
    order = np.argsort(times, kind="stable")
    count = np.cumsum(steps[order])
    area = float((count[:-1] * np.diff(times[order])).sum())
    return LittlesLaw(area / end, len(come) / end, float((leave - come).mean()))


def pollaczek_khinchine(rate: float, mean_service: float, second_moment: float) -> float:
    """Mean wait in the queue of one slot: λ E[S²] / (2 (1 − λ E[S])) (Pollaczek 1930, Khinchine 1932).

    It holds for Poisson arrivals, first come first served, and any law of service times S. Because of the second moment
    a few long answers make all requests wait.

    Parameters
    ----------
    rate
        λ, arrivals per second.
    mean_service, second_moment
        E[S] in seconds and E[S²] in seconds².

    Returns
    -------
    float
        Mean seconds in the queue.

    Raises
    ------
    MeasureError
        An argument is not above 0, E[S²] is below E[S]², or the load λ E[S] is 1 or more, so that the queue never
        settles.

    Examples
    --------
    Exponential service (E[S²] = 2 E[S]²) waits twice as long as constant service (E[S²] = E[S]²):

    >>> from cbviz.measure import pollaczek_khinchine
    >>> pollaczek_khinchine(rate=0.5, mean_service=1, second_moment=2)
    1.0
    >>> pollaczek_khinchine(rate=0.5, mean_service=1, second_moment=1)
    0.5
    """
    rate, mean = number("rate", rate), number("mean_service", mean_service)
    second = number("second_moment", second_moment)
    if second < mean * mean * (1 - 1e-12):
        raise MeasureError(f"a second moment of {second:g} is impossible with a mean of {mean:g}.")
    load = _load(rate, mean, 1)
    return rate * second / (2 * (1 - load))


def erlang_c(slots: int, offered: float) -> float:
    """The probability that an arrival finds all slots busy and must wait (Erlang, 1917).

    It holds for Poisson arrivals, exponential service times, and slots whose speed does not depend on each other.

    Parameters
    ----------
    slots
        n, at least 1.
    offered
        λ E[S], the mean number of busy slots: above 0 and below n.

    Returns
    -------
    float
        The probability.

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    At 80 % load, more slots make waiting rarer:

    >>> from cbviz.measure import erlang_c
    >>> [round(erlang_c(n, 0.8 * n), 3) for n in (1, 8, 64)]
    [0.8, 0.458, 0.056]
    """
    n = whole("slots", slots)
    load = _load(number("offered", offered), 1.0, n)
    # Erlang's B by its recursion, which neither overflows nor cancels; C follows from B.
    blocked = 1.0
    for k in range(1, n + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked / (1 - load * (1 - blocked))


def queue_wait(rate: float, mean_service: float, slots: int, iteration: float = 0.0) -> float:
    """Mean wait in the queue of n slots: Erlang-C's C(n, λE[S]) E[S] / (n (1 − load)), plus half an iteration.

    The second term belongs to the engine: it sees an arrival at the next iteration boundary, half an iteration later on
    average, if it is running then. At moderate load this is most of the wait. The engine is assumed to be always
    running, which holds for more than a few busy slots.

    The result holds under the conditions of `erlang_c` and for requests of very many iterations: service times in whole
    iterations are geometric, not exponential. The time of an iteration must not grow with the batch.

    Parameters
    ----------
    rate
        λ, arrivals per second.
    mean_service
        E[S], mean seconds in a slot.
    slots
        n, at least 1.
    iteration
        Seconds of an iteration; 0 leaves out the second term.

    Returns
    -------
    float
        Mean seconds in the queue.

    Raises
    ------
    MeasureError
        An argument is out of range, or the load λ E[S] / n is 1 or more.

    Examples
    --------
    >>> from cbviz.measure import queue_wait
    >>> round(queue_wait(rate=6, mean_service=1, slots=8, iteration=0.02), 3)
    0.188
    """
    n = whole("slots", slots)
    rate, mean = number("rate", rate), number("mean_service", mean_service)
    step = number("iteration", iteration, or_equal=True)
    load = _load(rate, mean, n)
    return erlang_c(n, rate * mean) * mean / (n * (1 - load)) + step / 2


def _load(rate: float, mean_service: float, slots: int) -> float:
    load = rate * mean_service / slots
    if load >= 1:
        raise MeasureError(f"{slots} slots cannot keep up: the load is {load:g}, and the queue settles only below 1.")
    return load
