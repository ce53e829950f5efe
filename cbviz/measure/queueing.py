"""Waiting: what queueing theory says of a server with slots, to be held against measured runs.

Rates are requests a second, times are seconds; any other unit does as well if it is the same throughout. All of it
speaks of the long run, and of a queue that does not grow without end: the load must stay below 1.
"""

from __future__ import annotations

from cbviz.errors import MeasureError
from cbviz.measure.checks import number, whole


def in_system(rate: float, time_in_system: float) -> float:
    """Little's law: the mean number of requests in the system is rate × mean time in it (Little, Oper. Res. 9, 1961).

    It holds for any policy, any law and any arrival process; over a run that begins and ends empty it holds exactly.
    The same with the queue alone, or the slots alone. Raises MeasureError for a negative or infinite argument.
    """
    return number("rate", rate, or_equal=True) * number("time_in_system", time_in_system, or_equal=True)


def pollaczek_khinchine(rate: float, mean_service: float, second_moment: float) -> float:
    """Mean wait in the queue of one slot: λ E[S²] / (2 (1 − λ E[S])) (Pollaczek 1930, Khinchine 1932).

    Holds for Poisson arrivals, first come first served, and any law of service times S. The second moment is why a few
    long answers make everybody wait.

    Raises
    ------
    MeasureError
        Arguments not above 0, E[S²] below E[S]², or a load λ E[S] of 1 or more, where the queue never settles.
    """
    rate, mean = number("rate", rate), number("mean_service", mean_service)
    second = number("second_moment", second_moment)
    if second < mean * mean * (1 - 1e-12):
        raise MeasureError(f"a second moment of {second:g} is impossible with a mean of {mean:g}.")
    load = _load(rate, mean, 1)
    return rate * second / (2 * (1 - load))


def erlang_c(slots: int, offered: float) -> float:
    """The chance that an arrival finds all slots busy and must wait (Erlang, 1917).

    Holds for Poisson arrivals, exponential service times, and slots whose speed does not depend on each other.

    Parameters
    ----------
    slots
        n, at least 1.
    offered
        λ E[S], the mean number of busy slots: above 0 and below n.

    Raises
    ------
    MeasureError
        Arguments that are not so.
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

    The second part is the engine's own: an arrival is seen at the next iteration boundary, on average half an iteration
    later, if the engine runs when it comes. At moderate load it is most of the wait. The chance that the engine runs is
    taken as 1, which holds for more than a few busy slots.

    Holds as `erlang_c` does, with requests of very many iterations: service times of whole iterations are geometric
    where they are exponential here, and the time of an iteration must not grow with the batch.

    Raises
    ------
    MeasureError
        Arguments out of range, or a load λ E[S] / n of 1 or more.
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
