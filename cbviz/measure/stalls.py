"""What others' prompts do to those who are decoding: stalls, and gaps between tokens."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cbviz.errors import MeasureError
from cbviz.measure.latency import FloatArray
from cbviz.trace import State, Trace


def stall_seconds(trace: Trace) -> FloatArray:
    """How long each stall took, in order of slot and time; float64 [stalls], seconds on the lane's clock.

    A stall is a stretch of iterations in which an admitted request got no token although its output goes on: somebody
    else's prefill had the whole iteration, or a budget was spent.
    """
    spans, it = trace.spans, trace.iterations
    stalled = spans.state == State.STALLED
    seconds: FloatArray = it.t_end[spans.end[stalled] - 1] - it.t_start[spans.first[stalled]]
    return seconds


def token_gaps(trace: Trace, requests: Iterable[int] | None = None) -> FloatArray:
    """Every gap between two tokens of these requests, pooled: the ITL of some; None takes everybody. Seconds.

    Unlike `latencies(trace).itl` it counts requests that did not complete, too: a gap is a gap. Raises MeasureError
    for a request that the trace does not know.
    """
    rows = range(len(trace.requests)) if requests is None else [_row(trace, request) for request in requests]
    ends = trace.iterations.t_end
    gaps = [np.diff(ends[np.array(trace.requests.token_iterations[row], np.int64)]) for row in rows]
    return np.concatenate(gaps) if gaps else np.zeros(0)


def _row(trace: Trace, request: int) -> int:
    try:
        return trace.requests.row(request)
    except KeyError:
        raise MeasureError(f"the trace has no request {request!r}.") from None
