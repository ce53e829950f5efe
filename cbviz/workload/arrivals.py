"""When requests arrive: all at once, or at random at a given rate.

Rates are in requests a second, or requests an iteration where the workload's arrivals are stamped in iterations.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, runtime_checkable

from cbviz.errors import WorkloadError
from cbviz.workload.checks import amount, generator, positive, truth


@runtime_checkable
class ArrivalProcess(Protocol):
    """When n requests arrive."""

    def times(self, rng: random.Random, n: int) -> list[float]:
        """Draw n arrival times: at least 0, never going back. Raises WorkloadError if n or rng makes no sense."""
        ...

    def describe(self) -> str:
        """The process in a few words, such as "Poisson, 4 a second"."""
        ...


@dataclass(frozen=True, slots=True)
class AllAtOnce:
    """All requests are there at 0: an offline batch, and the fairest way to compare schedulers by their makespan."""

    def times(self, rng: random.Random, n: int) -> list[float]:
        generator(rng)
        return [0.0] * amount("the number of requests", n, 0)

    def describe(self) -> str:
        return "all at once"


@dataclass(frozen=True, slots=True)
class GammaBursty:
    """Gaps between arrivals follow Gamma(shape = burstiness, scale = 1 / (rate · burstiness)).

    The mean gap is 1 / rate whatever the burstiness; its coefficient of variation is 1 / √burstiness. Burstiness 1 is
    Poisson, below 1 requests come in bursts, above 1 they come more evenly. This is what `vllm bench serve` means by
    --request-rate and --burstiness. Like there, the first request comes after a gap.

    Parameters
    ----------
    rate
        Mean arrivals a second (or an iteration), above 0.
    burstiness
        Shape of the gaps, above 0 and at most a million (where gaps differ by a thousandth already).
    stretch
        Rescale all times so that the last request comes at exactly n / rate, as `vllm bench serve` does: throughput
        then varies less from seed to seed, but the gaps are no longer independent. Off by default.
    """

    rate: float
    burstiness: float
    stretch: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", positive("the arrival rate", self.rate))
        object.__setattr__(self, "burstiness", positive("burstiness", self.burstiness))
        if self.burstiness > 1e6:
            raise WorkloadError(f"burstiness must be at most a million, not {self.burstiness!r}.")
        truth("stretch", self.stretch)

    def times(self, rng: random.Random, n: int) -> list[float]:
        generator(rng)
        return gamma_times(rng, amount("the number of requests", n, 0), self.rate, self.burstiness, self.stretch)

    def describe(self) -> str:
        return f"Gamma, rate {self.rate:g}, burstiness {self.burstiness:g}"


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent exponential gaps with mean 1 / rate: many users who know nothing of each other.

    Parameters
    ----------
    rate
        Mean arrivals a second (or an iteration), above 0.
    stretch
        As in `GammaBursty`.
    """

    rate: float
    stretch: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", positive("the arrival rate", self.rate))
        truth("stretch", self.stretch)

    def times(self, rng: random.Random, n: int) -> list[float]:
        generator(rng)
        return gamma_times(rng, amount("the number of requests", n, 0), self.rate, 1.0, self.stretch)

    def describe(self) -> str:
        return f"Poisson, rate {self.rate:g}"


def gamma_times(rng: random.Random, n: int, rate: float, burstiness: float, stretch: bool) -> list[float]:
    """Sum n gamma gaps. Raises WorkloadError where the numbers are so extreme that times overflow."""
    # Drawn with scale 1 and divided afterwards, so that no product of extreme parameters can underflow to 0.
    times = [x / burstiness / rate for x in accumulate(rng.gammavariate(burstiness, 1.0) for _ in range(n))]
    if stretch and times and times[-1] > 0:
        factor = n / rate / times[-1]
        times = [t * factor for t in times]
    if times and not math.isfinite(times[-1]):
        raise WorkloadError(f"rate {rate!r} and burstiness {burstiness!r} give arrival times beyond all numbers.")
    return times
