"""Laws of lengths: how many tokens an output (or a prompt) has.

Continuous batching gains from the *variance* of output lengths. With equal lengths it gains nothing; with exponential
ones the n slots of a static batch wait for the longest of n draws. So the law is the first thing to vary in an
experiment. Every law draws whole numbers of at least 1 from a `random.Random`, the same on every machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cbviz.checks import as_int, shown
from cbviz.errors import WorkloadError
from cbviz.workload.checks import BEYOND_INT32, amount, elements, fits, generator, positive, whole


@runtime_checkable
class LengthLaw(Protocol):
    """A law of lengths, in tokens."""

    @property
    def longest(self) -> int:
        """The longest length that the law can draw: what a request declares as max_new_tokens."""
        ...

    def draw(self, rng: random.Random, n: int) -> list[int]:
        """Draw n lengths.

        Parameters
        ----------
        rng
            Source of randomness.
        n
            How many, at least 0.

        Returns
        -------
        list[int]
            Lengths in tokens, each from 1 to `longest`.

        Raises
        ------
        WorkloadError
            `n` is negative, or `rng` is not a `random.Random`.
        """
        ...

    def describe(self) -> str:
        """The law in a few words, such as "exponential, mean 128, clipped to 512".

        Returns
        -------
        str
            A phrase for names and headings.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every length is `length`: no variance, so a static batch wastes nothing. Mean: `length`.

    Raises
    ------
    WorkloadError
        `length` is not a whole number of at least 1.
    """

    length: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", whole("a fixed length", self.length, below=BEYOND_INT32))

    @property
    def longest(self) -> int:
        """See `LengthLaw.longest`."""
        return self.length

    def draw(self, rng: random.Random, n: int) -> list[int]:
        """See `LengthLaw.draw`."""
        generator(rng)
        return [self.length] * amount("the number of draws", n, 0)

    def describe(self) -> str:
        """See `LengthLaw.describe`."""
        return f"fixed, {self.length}"


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every whole number from `low` to `high` is as likely as the others. Mean: (low + high) / 2.

    This is what benchmarks with a "range ratio" draw. The longest of n draws approaches `high`, so a static batch takes
    at most about twice the mean: a mild case.

    Raises
    ------
    WorkloadError
        An end is not a whole number of at least 1, or `low` is above `high`.

    Examples
    --------
    >>> import random
    >>> from cbviz.workload import Uniform
    >>> Uniform(1, 6).draw(random.Random(0), 8)
    [4, 4, 1, 3, 5, 4, 4, 3]
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
        """See `LengthLaw.longest`."""
        return self.high

    def draw(self, rng: random.Random, n: int) -> list[int]:
        """See `LengthLaw.draw`."""
        generator(rng)
        return [rng.randint(self.low, self.high) for _ in range(amount("the number of draws", n, 0))]

    def describe(self) -> str:
        """See `LengthLaw.describe`."""
        return f"uniform, {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class ExponentialClipped:
    """Exponential with the given mean, rounded, and clipped to 1..cap.

    This is what most benchmarks draw. Mean: about mean · (1 − exp(−cap/mean)). A share of exp(−cap/mean) of all draws
    equals cap.

    Raises
    ------
    WorkloadError
        `mean` is not above 0, or `cap` is not a whole number of at least 1.

    Examples
    --------
    >>> import random
    >>> from cbviz.workload import ExponentialClipped
    >>> law = ExponentialClipped(mean=128, cap=512)
    >>> law.draw(random.Random(0), 6)
    [238, 182, 70, 38, 92, 66]
    >>> law.describe()
    'exponential, mean 128, clipped to 512'
    """

    mean: float
    cap: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", positive("the mean of an exponential law", self.mean))
        object.__setattr__(self, "cap", whole("the cap of an exponential law", self.cap, below=BEYOND_INT32))

    @property
    def longest(self) -> int:
        """See `LengthLaw.longest`."""
        return self.cap

    def draw(self, rng: random.Random, n: int) -> list[int]:
        """See `LengthLaw.draw`."""
        generator(rng)
        draws = (rng.expovariate(1 / self.mean) for _ in range(amount("the number of draws", n, 0)))
        # min comes before round: a huge mean may draw infinity.
        return [max(1, round(min(self.cap, x))) for x in draws]

    def describe(self) -> str:
        """See `LengthLaw.describe`."""
        return f"exponential, mean {self.mean:g}, clipped to {self.cap}"


@dataclass(frozen=True, slots=True)
class ExponentialTruncated:
    """Exponential with the given mean, rounded; a draw above cap is rejected and drawn again; 0 becomes 1.

    The harness behind "23x throughput" drew this law (Anyscale, June 2023: mean 128 at caps 32, 128, 512 and 1,536).
    Nothing piles up at the cap, and the mean falls well below the nominal one, to about
    mean − T / (exp(T/mean) − 1) with T = cap + ½: 15.6, 53.8, 118.5 and 127.5 for those caps.

    The draw inverts the distribution function that is left after rejection. That is the same law as repeated drawing,
    in one step, and it cannot loop when the cap lies far below the mean.

    Raises
    ------
    WorkloadError
        `mean` is not above 0, or `cap` is not a whole number of at least 1.

    Examples
    --------
    >>> import random
    >>> from cbviz.workload import ExponentialTruncated
    >>> draws = ExponentialTruncated(mean=128, cap=128).draw(random.Random(0), 20_000)
    >>> round(sum(draws) / len(draws)), max(draws)
    (54, 128)
    """

    mean: float
    cap: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", positive("the mean of an exponential law", self.mean))
        object.__setattr__(self, "cap", whole("the cap of an exponential law", self.cap, below=BEYOND_INT32))

    @property
    def longest(self) -> int:
        """See `LengthLaw.longest`."""
        return self.cap

    def draw(self, rng: random.Random, n: int) -> list[int]:
        """See `LengthLaw.draw`."""
        generator(rng)
        edge = self.cap + 0.5  # below it, rounding stays within the cap
        below = -math.expm1(-edge / self.mean)  # the share of draws that is kept
        if below == 0 or below < 1e-12:  # flat over 0..edge: uniform to the last digit
            kept = [edge * rng.random() for _ in range(amount("the number of draws", n, 0))]
        else:
            kept = [-self.mean * math.log1p(-below * rng.random()) for _ in range(amount("the number of draws", n, 0))]
        return [min(self.cap, max(1, round(x))) for x in kept]

    def describe(self) -> str:
        """See `LengthLaw.describe`."""
        return f"exponential, mean {self.mean:g}, truncated at {self.cap}"


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Log-normal with the given mean and coefficient of variation (deviation / mean), rounded, clipped to 1..cap.

    Real chat traffic looks like this: many short answers and a heavy tail. The logarithm has variance ln(1 + cv²) and
    mean ln(mean) − ln(1 + cv²)/2. Clipping at cap lowers the mean a little.

    Raises
    ------
    WorkloadError
        `mean` or `cv` is not above 0, or `cap` is not a whole number of at least 1.

    Examples
    --------
    >>> import random
    >>> from cbviz.workload import LogNormal
    >>> LogNormal(mean=200, cv=1.5, cap=2048).draw(random.Random(0), 6)
    [308, 24, 53, 166, 37, 103]
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
        """See `LengthLaw.longest`."""
        return self.cap

    def draw(self, rng: random.Random, n: int) -> list[int]:
        """See `LengthLaw.draw`."""
        generator(rng)
        # hypot keeps 1 + cv² finite for any cv.
        variance = 2 * math.log(math.hypot(1, self.cv))
        middle = math.log(self.mean) - variance / 2
        logs = (rng.gauss(middle, math.sqrt(variance)) for _ in range(amount("the number of draws", n, 0)))
        ceiling = math.log(self.cap)
        return [max(1, min(self.cap, round(math.exp(min(x, ceiling))))) for x in logs]

    def describe(self) -> str:
        """See `LengthLaw.describe`."""
        return f"log-normal, mean {self.mean:g}, cv {self.cv:g}, clipped to {self.cap}"


@dataclass(frozen=True, slots=True)
class Empirical:
    """Draws with replacement from observed lengths, such as those of a trace. Mean: theirs.

    Parameters
    ----------
    lengths
        At least one whole number of at least 1.

    Raises
    ------
    WorkloadError
        There is no length, or one is not a whole number of at least 1.

    Examples
    --------
    >>> from cbviz.workload import Empirical
    >>> Empirical([12, 80, 250]).describe()
    'empirical, 3 observed, mean 114'
    """

    lengths: Sequence[int]

    def __post_init__(self) -> None:
        lengths = elements(self.lengths)
        if not lengths:
            raise WorkloadError("an empirical law needs a list of at least one observed length.")
        object.__setattr__(self, "lengths", tuple(whole("an observed length", x, below=BEYOND_INT32) for x in lengths))

    @property
    def longest(self) -> int:
        """See `LengthLaw.longest`."""
        return max(self.lengths)

    def draw(self, rng: random.Random, n: int) -> list[int]:
        """See `LengthLaw.draw`."""
        generator(rng)
        return rng.choices(self.lengths, k=amount("the number of draws", n, 0))

    def describe(self) -> str:
        """See `LengthLaw.describe`."""
        return f"empirical, {len(self.lengths)} observed, mean {sum(self.lengths) / len(self.lengths):g}"


def as_law(lengths: LengthLaw | int) -> LengthLaw:
    """The given law, or `Fixed(lengths)` for a whole number. Raises WorkloadError for anything else."""
    if (length := as_int(lengths)) is not None:
        return Fixed(length)
    if not fits(lengths, LengthLaw):
        raise WorkloadError(f"lengths must be a law, such as Fixed(64), or a whole number, not {shown(lengths)}.")
    law: LengthLaw = lengths  # type: ignore[assignment]
    return law
