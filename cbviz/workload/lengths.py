"""Laws that say how many tokens an output (or a prompt) has.

Continuous batching gains from the *variance* of output lengths: with equal lengths it gains nothing, with exponential
ones the n slots of a static batch wait for the longest of n draws. So the law is the first thing to vary in an
experiment. Every law draws whole numbers of at least 1 from a `random.Random`, the same on every machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cbviz.errors import WorkloadError
from cbviz.workload.checks import BEYOND_INT32, amount, as_int, fits, generator, listed, positive, shown, whole


@runtime_checkable
class LengthLaw(Protocol):
    """A law of lengths, in tokens."""

    @property
    def longest(self) -> int:
        """The longest length that the law can draw: what a request declares as max_new_tokens."""
        ...

    def draw(self, rng: random.Random, n: int) -> list[int]:
        """Draw n lengths, each from 1 to `longest`. Raises WorkloadError if n is below 0 or rng is no generator."""
        ...

    def describe(self) -> str:
        """The law in a few words, such as "exponential, mean 128, clipped to 512"."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every length is `length`: no variance, so a static batch wastes nothing. Mean: `length`."""

    length: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", whole("a fixed length", self.length, below=BEYOND_INT32))

    @property
    def longest(self) -> int:
        return self.length

    def draw(self, rng: random.Random, n: int) -> list[int]:
        generator(rng)
        return [self.length] * amount("the number of draws", n, 0)

    def describe(self) -> str:
        return f"fixed, {self.length}"


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every whole number from `low` to `high` is as likely as the others. Mean: (low + high) / 2.

    What benchmarks with a "range ratio" draw. The longest of n draws nears `high`, so a static batch takes at most
    about twice the mean: a mild case.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", whole("the low end of a uniform law", self.low, below=BEYOND_INT32))
        object.__setattr__(self, "high", whole("the high end of a uniform law", self.high, below=BEYOND_INT32))
        if self.low > self.high:
            raise WorkloadError(f"a uniform law needs low <= high, not {self.low} and {self.high}.")

    @property
    def longest(self) -> int:
        return self.high

    def draw(self, rng: random.Random, n: int) -> list[int]:
        generator(rng)
        return [rng.randint(self.low, self.high) for _ in range(amount("the number of draws", n, 0))]

    def describe(self) -> str:
        return f"uniform, {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class ExponentialClipped:
    """Exponential with the given mean, rounded; whatever falls outside 1..cap becomes 1 or cap.

    What most benchmarks do. Mean: about mean · (1 − exp(−cap/mean)); a lump of exp(−cap/mean) of all draws sits at cap.
    """

    mean: float
    cap: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", positive("the mean of an exponential law", self.mean))
        object.__setattr__(self, "cap", whole("the cap of an exponential law", self.cap, below=BEYOND_INT32))

    @property
    def longest(self) -> int:
        return self.cap

    def draw(self, rng: random.Random, n: int) -> list[int]:
        generator(rng)
        draws = (rng.expovariate(1 / self.mean) for _ in range(amount("the number of draws", n, 0)))
        # min comes before round: a huge mean may draw infinity.
        return [max(1, round(min(self.cap, x))) for x in draws]

    def describe(self) -> str:
        return f"exponential, mean {self.mean:g}, clipped to {self.cap}"


@dataclass(frozen=True, slots=True)
class ExponentialTruncated:
    """Exponential with the given mean, rounded; whatever lies above cap is thrown away and drawn again; 0 becomes 1.

    What the harness behind "23x throughput" did (Anyscale, June 2023: mean 128 at caps 32, 128, 512 and 1,536). Nothing
    piles up at the cap, and the mean falls well below the one that was asked for: about
    mean − T / (exp(T/mean) − 1) with T = cap + ½, that is 15.6, 53.8, 118.5 and 127.5 there.

    The draw inverts the distribution function of what is left after rejection: the same law as drawing again and again,
    in one step, and it cannot loop for long where the cap lies far below the mean.
    """

    mean: float
    cap: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", positive("the mean of an exponential law", self.mean))
        object.__setattr__(self, "cap", whole("the cap of an exponential law", self.cap, below=BEYOND_INT32))

    @property
    def longest(self) -> int:
        return self.cap

    def draw(self, rng: random.Random, n: int) -> list[int]:
        generator(rng)
        edge = self.cap + 0.5  # below it, rounding stays within the cap
        below = -math.expm1(-edge / self.mean)  # the share of draws that is kept
        if below == 0 or below < 1e-12:  # so flat over 0..edge that it is uniform to the last digit
            kept = [edge * rng.random() for _ in range(amount("the number of draws", n, 0))]
        else:
            kept = [-self.mean * math.log1p(-below * rng.random()) for _ in range(amount("the number of draws", n, 0))]
        return [min(self.cap, max(1, round(x))) for x in kept]

    def describe(self) -> str:
        return f"exponential, mean {self.mean:g}, truncated at {self.cap}"


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Log-normal with the given mean and coefficient of variation (deviation / mean), rounded, clipped to 1..cap.

    What real chat traffic looks like: many short answers and a heavy tail. The logarithm has variance ln(1 + cv²) and
    mean ln(mean) − ln(1 + cv²)/2. Clipping at cap lowers the mean a little.
    """

    mean: float
    cv: float
    cap: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", positive("the mean of a log-normal law", self.mean))
        object.__setattr__(self, "cv", positive("the coefficient of variation of a log-normal law", self.cv))
        object.__setattr__(self, "cap", whole("the cap of a log-normal law", self.cap, below=BEYOND_INT32))

    @property
    def longest(self) -> int:
        return self.cap

    def draw(self, rng: random.Random, n: int) -> list[int]:
        generator(rng)
        # hypot keeps 1 + cv² finite for any cv.
        variance = 2 * math.log(math.hypot(1, self.cv))
        middle = math.log(self.mean) - variance / 2
        logs = (rng.gauss(middle, math.sqrt(variance)) for _ in range(amount("the number of draws", n, 0)))
        ceiling = math.log(self.cap)
        return [max(1, min(self.cap, round(math.exp(min(x, ceiling))))) for x in logs]

    def describe(self) -> str:
        return f"log-normal, mean {self.mean:g}, cv {self.cv:g}, clipped to {self.cap}"


@dataclass(frozen=True, slots=True)
class Empirical:
    """Drawn with replacement from lengths that somebody observed, such as those of a trace. Mean: theirs.

    Parameters
    ----------
    lengths
        At least one whole number of at least 1.
    """

    lengths: Sequence[int]

    def __post_init__(self) -> None:
        lengths = listed(self.lengths)
        if not lengths:
            raise WorkloadError("an empirical law needs a list of at least one observed length.")
        object.__setattr__(self, "lengths", tuple(whole("an observed length", x, below=BEYOND_INT32) for x in lengths))

    @property
    def longest(self) -> int:
        return max(self.lengths)

    def draw(self, rng: random.Random, n: int) -> list[int]:
        generator(rng)
        return rng.choices(self.lengths, k=amount("the number of draws", n, 0))

    def describe(self) -> str:
        return f"empirical, {len(self.lengths)} observed, mean {sum(self.lengths) / len(self.lengths):g}"


def as_law(lengths: LengthLaw | int) -> LengthLaw:
    """Return a law: the one given, or `Fixed(lengths)` for a whole number. Raises WorkloadError for anything else."""
    if (length := as_int(lengths)) is not None:
        return Fixed(length)
    if not fits(lengths, LengthLaw):
        raise WorkloadError(f"lengths must be a law, such as Fixed(64), or a whole number, not {shown(lengths)}.")
    law: LengthLaw = lengths  # type: ignore[assignment]
    return law
