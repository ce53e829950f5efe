"""When requests arrive: all at once, or at random at a given rate.

A rate is in requests per second, or per iteration if the workload counts arrivals in iterations.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, runtime_checkable

from cbviz.checks import counted, shown
from cbviz.errors import WorkloadError
from cbviz.workload.checks import amount, generator, positive, truth


@runtime_checkable
class ArrivalProcess(Protocol):
    """Draws the arrival times of n requests."""

    def times(self, rng: random.Random, n: int) -> list[float]:
        """Draw n arrival times.

        Parameters
        ----------
        rng
            Source of randomness.
        n
            How many, at least 0.

        Returns
        -------
        list[float]
            Times from 0, in ascending order.

        Raises
        ------
        WorkloadError
            `n` is negative, or `rng` is not a `random.Random`.
        """
        ...

    def describe(self) -> str:
        """The process in a few words, such as "Poisson, rate 4".

        Returns
        -------
        str
            A phrase for names and headings.
        """
        ...


@dataclass(frozen=True, slots=True)
class AllAtOnce:
    """All requests arrive at 0: an offline batch, and the fairest way to compare schedulers by their makespan."""

    def times(self, rng: random.Random, n: int) -> list[float]:
        """n zeros (see `ArrivalProcess.times`)."""
        generator(rng)
        return [0.0] * amount("the number of requests", n, 0)

    def describe(self) -> str:
        """See `ArrivalProcess.describe`."""
        return "all at once"


@dataclass(frozen=True, slots=True)
class ClosedLoop(AllAtOnce):
    """Requests that clients send, each its next one when its last one has ended: there is no time to draw.

    Parameters
    ----------
    clients
        How many there are; the engine that serves the requests keeps so many in the system.
    """

    clients: int

    def describe(self) -> str:
        """See `ArrivalProcess.describe`."""
        return f"a closed loop of {counted(self.clients, 'client')}"


@dataclass(frozen=True, slots=True)
class GammaBursty:
    """Gaps between arrivals follow Gamma(shape = burstiness, scale = 1 / (rate · burstiness)).

    The mean gap is 1 / rate whatever the burstiness; its coefficient of variation is 1 / √burstiness. Burstiness 1 is
    Poisson; below 1 requests come in bursts, above 1 more evenly. These are --request-rate and --burstiness of
    `vllm bench serve`. As there, the first request comes after a gap.

    Parameters
    ----------
    rate
        Mean arrivals per second (or per iteration), above 0.
    burstiness
        Shape of the gaps, above 0 and at most a million (where gaps already vary by only a thousandth).
    stretch
        Rescale all times so that the last request comes at exactly n / rate, as `vllm bench serve` does: throughput
        then varies less from seed to seed, but the gaps are no longer independent. Off by default.

    Raises
    ------
    WorkloadError
        A parameter is out of range.

    Examples
    --------
    The mean gap is 1 / rate:

    >>> import random
    >>> from cbviz.workload import GammaBursty
    >>> times = GammaBursty(rate=4, burstiness=0.25).times(random.Random(0), 20_000)
    >>> round(times[-1] / 20_000, 2)
    0.25
    """

    rate: float
    burstiness: float
    stretch: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", positive("the arrival rate", self.rate))
        object.__setattr__(self, "burstiness", positive("burstiness", self.burstiness))
        if self.burstiness > 1e6:
            raise WorkloadError(f"burstiness must be at most a million, not {shown(self.burstiness)}.")
        truth("stretch", self.stretch)

    def times(self, rng: random.Random, n: int) -> list[float]:
        """Running sums of n gamma gaps (see `ArrivalProcess.times`)."""
        generator(rng)
        return gamma_times(rng, amount("the number of requests", n, 0), self.rate, self.burstiness, self.stretch)

    def describe(self) -> str:
        """See `ArrivalProcess.describe`. Burstiness 1 is called what it is: Poisson."""
        if self.burstiness == 1:
            return f"Poisson, rate {self.rate:g}"
        return f"Gamma, rate {self.rate:g}, burstiness {self.burstiness:g}"


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent exponential gaps with mean 1 / rate: many users who act independently.

    Parameters
    ----------
    rate
        Mean arrivals per second (or per iteration), above 0.
    stretch
        As in `GammaBursty`.

    Raises
    ------
    WorkloadError
        A parameter is out of range.

    Examples
    --------
    >>> import random
    >>> from cbviz.workload import Poisson
    >>> [round(t, 2) for t in Poisson(rate=2, stretch=True).times(random.Random(0), 4)]
    [0.9, 1.59, 1.85, 2.0]
    """

    rate: float
    stretch: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", positive("the arrival rate", self.rate))
        truth("stretch", self.stretch)

    def times(self, rng: random.Random, n: int) -> list[float]:
        """Running sums of n exponential gaps (see `ArrivalProcess.times`)."""
        generator(rng)
        return gamma_times(rng, amount("the number of requests", n, 0), self.rate, 1.0, self.stretch)

    def describe(self) -> str:
        """See `ArrivalProcess.describe`."""
        return f"Poisson, rate {self.rate:g}"


def gamma_times(rng: random.Random, n: int, rate: float, burstiness: float, stretch: bool) -> list[float]:
    """Running sums of n gamma gaps. Raises WorkloadError if they overflow."""
    # Drawn with scale 1 and divided afterwards, so that no product of extreme parameters can underflow to 0.
    times = [x / burstiness / rate for x in accumulate(rng.gammavariate(burstiness, 1.0) for _ in range(n))]
    if stretch and times and times[-1] > 0:
        factor = n / rate / times[-1]
        times = [t * factor for t in times]
    if times and not math.isfinite(times[-1]):
        raise WorkloadError(f"rate {rate!r} and burstiness {burstiness!r} give arrival times that overflow.")
    return times
