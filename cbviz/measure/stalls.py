"""What others' prompts do to those who are decoding: stalls, and gaps between tokens."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from numbers import Integral

import numpy as np

from cbviz.checks import shown
from cbviz.errors import MeasureError
from cbviz.measure.checks import a_trace, listed
from cbviz.measure.latency import FloatArray
from cbviz.trace import State, Trace


def stall_seconds(trace: Trace) -> FloatArray:
    """How long each stall took, in order of slot and time; float64 [stalls], seconds on the lane's clock.

    A stall is a stretch of iterations in which an admitted request got no token although its output goes on: somebody
    else's prefill had the whole iteration, or a budget was spent.
    """
    spans, it = a_trace(trace).spans, trace.iterations
    stalled = spans.state == State.STALLED
    seconds: FloatArray = it.t_end[spans.end[stalled] - 1] - it.t_start[spans.first[stalled]]
    return seconds


def token_gaps(trace: Trace, requests: Iterable[int] | None = None) -> FloatArray:
    """Every gap between two tokens of these requests, pooled: the ITL of some; None takes everybody. Seconds.

    Unlike `latencies(trace).itl` it counts requests that did not complete, too: a gap is a gap. Raises MeasureError
    for a request that the trace does not know.
    """
    table = a_trace(trace).requests
    wanted = None if requests is None else listed("requests", requests, "request ids")
    rows = range(len(table)) if wanted is None else [_row(trace, request) for request in wanted]
    ends = trace.iterations.t_end
    gaps = [np.diff(ends[np.array(trace.requests.token_iterations[row], np.int64)]) for row in rows]
    return np.concatenate(gaps) if gaps else np.zeros(0)


def _row(trace: Trace, request: object) -> int:
    if not isinstance(request, bool) and isinstance(request, Integral):
        with suppress(KeyError):
            return trace.requests.row(int(request))
    raise MeasureError(f"the trace has no request {shown(request)}.")
