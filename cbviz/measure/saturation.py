"""Whether a run got more requests than it could serve: do concurrency and TTFT grow as long as requests come?

A server that keeps up settles: after a while as many requests are in flight as the load needs, and a new request waits
no longer than an old one. One that does not keep up builds a queue for as long as the load lasts. GuideLLM's detector
(0.8, scheduler/constraints/saturation.py) asks for significant positive slopes of both; so does this one, of
means over ten stretches of the load: successive requests see nearly the same queue, so each of them by itself would
count for more than it knows (batch means: Law and Carson, Operations Research 27, 1979).

A server that answers most requests with an error keeps its queue short, too. So every request that was sent counts
among the arrivals, and in flight for as long as the file says; and where a telling share failed, it did not keep up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from cbviz.checks import is_a, shown
from cbviz.errors import MeasureError
from cbviz.measure.checks import column_of, number
from cbviz.workload import LoadResults

FloatArray = npt.NDArray[np.float64]

STRETCHES = 10
FEWEST = 3 * STRETCHES
"""Requests below which no slope can be distinguished from chance."""
CONFIDENCE = 0.95
TELLING = 0.05
"""Share of requests above which failures are no accidents."""


@dataclass(frozen=True, slots=True)
class Slope:
    """A straight line through a series.

    Attributes
    ----------
    per_second
        How fast the value grows.
    margin
        Half of the confidence interval of that.
    """

    per_second: float
    margin: float

    @property
    def rises(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.per_second > self.margin


@dataclass(frozen=True, slots=True)
class Saturation:
    """The verdict on a run.

    Attributes
    ----------
    verdict
        "over-saturated" (both slopes rise), "fails" (they do not, but more than a twentieth of the requests failed),
        "keeps up" (neither), or "unknown".
    why
        For "unknown": "no times" (the file does not tell when requests were sent), "few" (requests), "at once" (they
        all came within a tenth of the time that the run took, so there is no load over time to keep up with) or "closed
        loop" (each was sent when another had ended, so no queue can grow).
    concurrency
        Slope of the requests in flight when a request is sent; None where there are too few to tell.
    ttft
        Slope of the time to first token, in seconds a second, over the time of sending; None likewise.
    peak
        The most requests in flight at once.
    in_rate, out_rate
        Requests sent a second while they came, and completed a second until the last was sent and completed.
    failed
        Requests that failed, without those that the client gave up.
    unknown_ends
        Requests that failed at a time that the file does not say: they are not counted as in flight.
    """

    verdict: str
    why: str = ""
    concurrency: Slope | None = None
    ttft: Slope | None = None
    peak: int = 0
    in_rate: float = math.nan
    out_rate: float = math.nan
    failed: int = 0
    unknown_ends: int = 0


def slope(times: npt.ArrayLike, values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Slope:
    """Fit a line by least squares, with a confidence interval for its slope, taking the values for independent.

    Parameters
    ----------
    times, values
        At least three of each, the times not all the same.
    confidence
        Of the interval, between 0 and 1.

    Returns
    -------
    Slope
        Its growth and its margin.

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> slope([0, 1, 2, 3, 4, 5], [1.1, 2.9, 5.2, 6.8, 9.1, 10.9]).rises
    True
    """
    share = number("confidence", confidence, 0.0)
    if share >= 1:
        raise MeasureError(f"confidence must lie between 0 and 1, not {share:g}.")
    x, y = column_of(times), column_of(values)
    if x is None or y is None or len(x) != len(y) or len(x) < 3 or not np.isfinite([x, y]).all():
        raise MeasureError("a slope needs as many times as values, at least three, and all of them finite.")
    across = x - x.mean()
    spread = float(across @ across)
    if spread <= 0:
        raise MeasureError("a slope needs times that are not all the same.")
    found = float(across @ y) / spread
    residuals = y - y.mean() - found * across
    error = math.sqrt(float(residuals @ residuals) / (len(x) - 2) / spread)
    return Slope(found, _student(1 - (1 - share) / 2, len(x) - 2) * error)


def _stretches(values: FloatArray) -> FloatArray:
    """Means over as many equally long stretches of a series."""
    return np.array([part.mean() for part in np.array_split(values, STRETCHES)])


def saturation(results: LoadResults, confidence: float = CONFIDENCE) -> Saturation:
    """Judge whether the server kept up.

    Parameters
    ----------
    results
        The run.
    confidence
        Of both slopes' intervals.

    Returns
    -------
    Saturation
        The verdict and what it rests on.

    Raises
    ------
    MeasureError
        It is no run, or the confidence is out of range.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import results_of, saturation
    >>> saturation(results_of(cbviz.recorded("smollm2-8")[0])).why  # 48 questions at once
    'at once'
    """
    if not is_a(results, LoadResults):
        raise MeasureError(f"a run is needed, such as read_results(path)[0], not {shown(results)}.")
    served = sorted(results.served, key=lambda one: one.sent)
    good = [one for one in served if one.good]
    failed = sum(not one.good and not one.given_up for one in served)
    unknown = sum(one.gone is None for one in served)
    if not results.timed:
        return Saturation("unknown", "no times", failed=failed, unknown_ends=unknown)
    if len(served) < FEWEST:
        return Saturation("unknown", "few", failed=failed, unknown_ends=unknown)
    sent = np.array([one.sent for one in served])
    gone = np.sort([one.sent if one.gone is None else one.gone for one in served])
    flight = np.arange(1, len(sent) + 1) - np.searchsorted(gone, sent, side="right")
    came = float(sent[-1] - sent[0])
    took = max(came, max((one.last or 0.0 for one in good), default=0.0) - float(sent[0]))
    verdict = Saturation(
        "unknown",
        "few",
        peak=int(flight.max()),
        in_rate=(len(sent) - 1) / came if came > 0 else math.inf,
        out_rate=len(good) / took if took > 0 else math.inf,
        failed=failed,
        unknown_ends=unknown,
    )
    if came <= took / 10:
        return replace(verdict, why="at once")
    failing = failed / len(served) > TELLING
    if results.closed:
        return replace(verdict, verdict="fails", why="") if failing else replace(verdict, why="closed loop")
    ttft = np.array([math.nan if one.first is None or not one.good else one.first - one.sent for one in served])
    known = ~np.isnan(ttft)
    if known.sum() < FEWEST:
        return replace(verdict, verdict="fails", why="") if failing else verdict
    growth = slope(_stretches(sent), _stretches(flight.astype(np.float64)), confidence)
    wait = slope(_stretches(sent[known]), _stretches(ttft[known]), confidence)
    word = "over-saturated" if growth.rises and wait.rises else "fails" if failing else "keeps up"
    return replace(verdict, verdict=word, why="", concurrency=growth, ttft=wait)


def _student(probability: float, freedom: float) -> float:
    """Quantile of Student's t (Abramowitz and Stegun 26.7.5): within 1 % from 3 degrees of freedom on."""
    z = NormalDist().inv_cdf(probability)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
