"""Seconds of several lanes: what their repeats allow a reader to conclude, and how many digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median

from cbviz.measure.rounding import fixed
from cbviz.trace import Trace

SHORTEST_RUN = 1.0
"""Seconds. A shorter run is over before its time means anything: other work on the machine weighs as much."""
NEGLIGIBLE = 0.01
"""Ratios closer to 1 than this are called the same."""
MOST_DIGITS = 3
DOUBTS = ("one_lane", "other_work", "stopped", "failed", "too_short_to_time", "timed_once", "timed_in_turns")
"""Why a result has no speed-up: there is nothing to compare, the lanes served different requests, were stopped or
failed, a run took less than `SHORTEST_RUN`, each lane was timed once, or the only times are those of lanes that took
turns."""


def decimals(value: float, spread: float) -> int:
    """Decimal places that repeats with this spread support.

    The unit of the last place is at least half the spread, so that another set of runs would seldom change more than
    that place. At most three significant digits, at least one.

    Parameters
    ----------
    value
        The number to show, above 0.
    spread
        Largest minus smallest of the repeats, at least 0.

    Returns
    -------
    int
        Decimal places, at least 0.

    Examples
    --------
    >>> decimals(2.163, 0.1), decimals(2.163, 0.01), decimals(2.163, 3.0)
    (1, 2, 0)
    """
    power = math.floor(math.log10(value))
    most = MOST_DIGITS - 1 - power
    places = most if spread <= 0 else min(most, math.floor(-math.log10(spread / 2)))
    return max(0, -power, places)


def two_digits(value: float) -> str:
    """A number from a single run, with two significant digits: "7.9", "14", "0.38", "1,600"."""
    if value <= 0:
        return "0"
    places = 1 - math.floor(math.log10(value))
    return fixed(value, places)


def rounded(value: float) -> float:
    """A number from a single run as a program gets it: two significant digits."""
    return float(f"{value:.2g}")


def worth_showing(trace: Trace) -> bool:
    """Whether a run lasted long enough for its seconds to mean anything; those of a cost model always do."""
    return trace.meta.clock == "virtual" or trace.seconds >= SHORTEST_RUN


@dataclass(frozen=True, slots=True)
class Spread:
    """A number measured several times.

    Attributes
    ----------
    median, low, high
        Of the repeats.
    count
        How many there are.
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(median(values), min(values), max(values), len(values))

    @classmethod
    def quotient(cls, over: Sequence[float], under: Sequence[float]) -> Spread:
        """How many times as large the first values are: the quotient of the medians, and the range over the repeats.

        The median of the repeats' quotients would be another number, and contradict the medians that stand beside it.
        This one lies within the range, too: if every value over is at most m times its value under, so is the median.

        Parameters
        ----------
        over, under
            Values of the same repeats, above 0.

        Examples
        --------
        >>> Spread.quotient([8.0, 7.5, 8.5], [4.0, 3.0, 4.1])
        Spread(median=2.0, low=2.0, high=2.5, count=3)
        """
        each = [a / b for a, b in zip(over, under, strict=True)]
        # min and max: a division rounded in the last place must not leave the range that it belongs to.
        return cls(min(max(median(over) / median(under), min(each)), max(each)), min(each), max(each), len(each))

    @property
    def decided(self) -> bool:
        """For a ratio: whether all repeats lie clear of 1, by half their range and by one per cent at least.

        Two values are on one side of 1 half of the time by chance, so they must be clear of it by their whole range.
        """
        clear = max((self.high - self.low) / (1 if self.count == 2 else 2), NEGLIGIBLE)
        return self.low - 1 >= clear or 1 - self.high >= clear

    def texts(self) -> tuple[str, str, str]:
        """Median, lowest and highest, with as many digits as the spread supports; the ends have one decimal more.

        A single value has no spread, and gets two digits.
        """
        if self.count == 1:
            return (two_digits(self.median),) * 3
        places = decimals(self.median, self.high - self.low)
        ends = max(0, min(places + 1, MOST_DIGITS - 1 - math.floor(math.log10(self.median))))
        low, high = round(self.low, ends), round(self.high, ends)
        if not low <= round(self.median, places) <= high:  # rounded coarsely, it would lie outside its own range
            places = ends
        return f"{self.median:,.{places}f}", f"{low:,.{ends}f}", f"{high:,.{ends}f}"


@dataclass(frozen=True, slots=True)
class LaneTimes:
    """The times of the lanes of one race.

    Attributes
    ----------
    seconds
        Of each lane, over the repeats.
    ratios
        (i, j) → seconds of lane i / seconds of lane j: of the medians, and the range over the repeats.
    repeats
        Runs of every lane.
    modelled
        Whether seconds come from a cost model: then they are exact, and none is too short.
    in_turns
        Whether the only times are those of lanes that took turns on one device.
    """

    seconds: tuple[Spread, ...]
    ratios: dict[tuple[int, int], Spread]
    repeats: int
    modelled: bool
    in_turns: bool

    @property
    def too_short(self) -> bool:
        """Whether a lane was over too soon for its time to mean anything."""
        return not self.modelled and min(lane.median for lane in self.seconds) < SHORTEST_RUN

    @property
    def comparable(self) -> bool:
        """Whether the lanes can be compared in seconds at all: long enough, and measured more than once or modelled."""
        return self.modelled or (self.repeats > 1 and not self.too_short)

    @property
    def doubt(self) -> str:
        """Why the lanes cannot be compared in seconds, for programs: an entry of `DOUBTS`; "" if they can."""
        if self.comparable:
            return ""
        return "too_short_to_time" if self.too_short else "timed_in_turns" if self.in_turns else "timed_once"

    def differ(self, one: int, other: int) -> bool:
        """Whether two lanes took different times, as far as the repeats can show."""
        return self.comparable and self.ratios[one, other].decided


def lane_times(runs: Sequence[Sequence[Trace]]) -> LaneTimes | None:
    """The times of all lanes over all repeats; None if a run took no time.

    Parameters
    ----------
    runs
        The repeats of each lane, equally many, at least one.
    """
    repeats = min(len(lane) for lane in runs)
    seconds = [[trace.seconds for trace in lane[:repeats]] for lane in runs]
    if not repeats or not all(value > 0 for lane in seconds for value in lane):
        return None
    pairs = product(range(len(runs)), repeat=2)
    return LaneTimes(
        seconds=tuple(Spread.of(lane) for lane in seconds),
        ratios={(i, j): Spread.quotient(seconds[i], seconds[j]) for i, j in pairs},
        repeats=repeats,
        modelled=all(trace.meta.clock == "virtual" for lane in runs for trace in lane),
        in_turns=repeats == 1 and all(trace.meta.clock == "lane" for lane in runs for trace in lane),
    )
