"""Latencies of requests, as `vllm bench serve` defines them (vLLM 0.33, benchmarks/serve.py, calculate_metrics).

| name | what it is |
|---|---|
| TTFT, time to first token | first token − arrival |
| E2EL, end-to-end latency | last token − arrival |
| TPOT, time per output token | (E2EL − TTFT) / (output tokens − 1), for requests of at least 2 tokens |
| ITL, inter-token latency | every gap between two tokens of a request, pooled over all requests |

Other tools use these names differently: AIPerf's "inter-token latency" is the TPOT of this table, and guidellm's "time
per output token" includes the first token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cbviz.checks import shown
from cbviz.errors import MeasureError
from cbviz.events import FinishReason
from cbviz.measure.checks import a_trace, column_of, percentiles_of
from cbviz.trace import Trace

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

Delivery = Literal["stream", "release"]
"""When a client receives its tokens: "stream", each at the end of its iteration; "release", all at once when the
request leaves its slot, as a pipeline of static batches returns them."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """One row per request, in the order of the trace's request table; seconds, NaN for what never happened.

    Attributes
    ----------
    id, output_tokens
        int64 [requests].
    completed
        bool [requests]: its output ended (it was neither cancelled nor cut off with the run).
    arrival
        On the lane's clock.
    queue
        First admission − arrival.
    ttft, e2el, tpot
        See the module. `tpot` is NaN for outputs of one token; all three are NaN for requests that did not complete.
    itl
        float64 [gaps]: the gaps of all completed requests, pooled.
    """

    id: IntArray
    output_tokens: IntArray
    completed: BoolArray
    arrival: FloatArray
    queue: FloatArray
    ttft: FloatArray
    e2el: FloatArray
    tpot: FloatArray
    itl: FloatArray

    def __repr__(self) -> str:
        done = int(self.completed.sum())
        return f"<Latencies of {len(self.id)} request{'s' * (len(self.id) != 1)}, {done} of them completed>"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Mean, deviation, median and percentiles of many values; NaN if there are none. Percentiles are interpolated
    linearly."""

    count: int
    mean: float
    std: float
    """Of the population (divided by n), as in numpy and vLLM."""
    median: float
    percentiles: dict[float, float]

    @classmethod
    def of(cls, values: npt.ArrayLike, percentiles: Sequence[float] = (99,)) -> Distribution:
        """The distribution of the values that are not NaN.

        Parameters
        ----------
        values
            Numbers.
        percentiles
            Which percentiles to compute, 0 … 100.

        Returns
        -------
        Distribution
            Over the values that are not NaN.

        Raises
        ------
        MeasureError
            `values` is not a list of numbers, or a percentile is outside 0 … 100.

        Examples
        --------
        >>> from cbviz.measure import Distribution
        >>> found = Distribution.of([1, 2, 3, 10], percentiles=[90])
        >>> found.mean, found.median, round(found.percentiles[90], 2)
        (4.0, 2.5, 7.9)
        """
        percentiles = percentiles_of(percentiles)
        known = column_of(values)
        if known is None:
            raise MeasureError(f"the values must be a list of numbers, not {shown(values)}.")
        known = known[~np.isnan(known)]
        if not len(known):
            return cls(0, math.nan, math.nan, math.nan, dict.fromkeys(percentiles, math.nan))
        found = np.percentile(known, list(percentiles))
        return cls(
            count=len(known),
            mean=float(known.mean()),
            std=float(known.std()),
            median=float(np.median(known)),
            percentiles={p: float(value) for p, value in zip(percentiles, found, strict=True)},
        )


def arrival_seconds(trace: Trace) -> FloatArray:
    """Arrival times on the lane's clock.

    If the workload counts arrivals in iterations, a request arrives at the start of the first iteration that found it
    in the queue; NaN if none did.

    Parameters
    ----------
    trace
        The run.

    Returns
    -------
    ndarray
        float64 [requests], seconds.

    Raises
    ------
    MeasureError
        `trace` is not a trace.
    """
    rq, it = a_trace(trace).requests, trace.iterations
    if trace.meta.arrival_unit == "seconds":
        return rq.arrival.copy()
    return _at(it.t_start, rq.arrived)


def completed(trace: Trace) -> BoolArray:
    """bool [requests]: whether the output ended."""
    reason = trace.requests.reason
    done: BoolArray = (reason >= 0) & (reason != FinishReason.CANCELLED)
    return done


def released(trace: Trace) -> IntArray:
    """int64 [requests]: the last iteration in which the request had a slot, even if held; -1 for never."""
    rq, sp = trace.requests, trace.spans
    order = np.argsort(rq.id)
    row = order[np.searchsorted(rq.id, sp.request, sorter=order)]
    last = np.full(len(rq), -1, np.int64)
    np.maximum.at(last, row, sp.end - 1)
    return last


def latencies(trace: Trace, delivery: Delivery = "stream") -> Latencies:
    """The latencies of every request of a run.

    Parameters
    ----------
    trace
        The run.
    delivery
        When the client receives its tokens (see `Delivery`). Under "release" TTFT equals E2EL, and TPOT and ITL are 0.

    Returns
    -------
    Latencies
        One row per request.

    Raises
    ------
    MeasureError
        The delivery is unknown, or `trace` is not a trace.

    Examples
    --------
    >>> import cbviz
    >>> import numpy as np
    >>> from cbviz.measure import latencies
    >>> static, continuous = cbviz.recorded("smollm2-8")
    >>> [f"{np.median(latencies(trace).ttft):.2f} s" for trace in (static, continuous)]
    ['0.73 s', '0.18 s']
    """
    if not isinstance(delivery, str) or delivery not in ("stream", "release"):
        raise MeasureError(f"delivery must be 'stream' or 'release', not {shown(delivery)}.")
    rq, it = a_trace(trace).requests, trace.iterations
    done = completed(trace)
    count = np.fromiter(map(len, rq.tokens), np.int64, len(rq))
    given = np.fromiter((i for row in rq.token_iterations for i in row), np.int64, int(count.sum()))
    owner = np.repeat(np.arange(len(rq)), count)
    if delivery == "release":
        given = released(trace)[owner]
    last_place = np.cumsum(count) - 1
    first_place = last_place - count + 1
    has = done & (count > 0)
    first, last = np.full(len(rq), -1, np.int64), np.full(len(rq), -1, np.int64)
    first[has], last[has] = given[first_place[has]], given[last_place[has]]
    arrival = arrival_seconds(trace)
    ttft, e2el = _at(it.t_end, first) - arrival, _at(it.t_end, last) - arrival
    tpot = np.full(len(rq), np.nan)
    many = done & (count > 1)
    tpot[many] = (e2el[many] - ttft[many]) / (count[many] - 1)
    when = it.t_end[given]
    within = (np.diff(owner) == 0) & done[owner[1:]]
    if delivery == "stream":  # tokens of one pass come together, and `vllm bench serve` times what comes
        within &= np.diff(given) > 0
    return Latencies(
        id=rq.id.copy(),
        output_tokens=count,
        completed=done,
        arrival=arrival,
        queue=_at(it.t_start, rq.admitted) - arrival,
        ttft=ttft,
        e2el=e2el,
        tpot=tpot,
        itl=np.diff(when)[within],
    )


def _at(times: FloatArray, iteration: IntArray) -> FloatArray:
    """Times of these iterations; NaN for iteration -1."""
    found = np.full(len(iteration), np.nan)
    there = iteration >= 0
    found[there] = times[iteration[there]]
    return found
