"""What prefills do to decoding requests: stalls, and gaps between tokens."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import numpy as np

from cbviz.checks import as_int, shown
from cbviz.errors import MeasureError
from cbviz.events import State
from cbviz.measure.checks import a_trace, listed
from cbviz.measure.latency import FloatArray
from cbviz.trace import Trace


def stall_seconds(trace: Trace) -> FloatArray:
    """How long each stall took.

    A stall is a stretch of iterations in which an admitted request got no token although its output had not ended: the
    prefill of another request took the whole iteration, or the token budget was spent.

    Parameters
    ----------
    trace
        The run.

    Returns
    -------
    ndarray
        float64 [stalls], seconds on the lane's clock, in order of slot and time.

    Raises
    ------
    MeasureError
        `trace` is not a trace.
    """
    spans, it = a_trace(trace).spans, trace.iterations
    stalled = spans.state == State.STALLED
    seconds: FloatArray = it.t_end[spans.end[stalled] - 1] - it.t_start[spans.first[stalled]]
    return seconds


def token_gaps(trace: Trace, requests: Iterable[int] | None = None) -> FloatArray:
    """Gaps between consecutive tokens (the ITL), pooled over some requests or all.

    Unlike `latencies(trace).itl`, it also counts requests that did not complete.

    Parameters
    ----------
    trace
        The run.
    requests
        Request ids; None takes all.

    Returns
    -------
    ndarray
        float64 [gaps], seconds.

    Raises
    ------
    MeasureError
        The trace has no such request.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import token_gaps
    >>> _, continuous = cbviz.recorded("smollm2-8")
    >>> f"{token_gaps(continuous, [0]).max() * 1e3:.1f} ms"
    '4.7 ms'
    """
    table = a_trace(trace).requests
    wanted = None if requests is None else listed("requests", requests, "request ids")
    rows = range(len(table)) if wanted is None else [_row(trace, request) for request in wanted]
    ends = trace.iterations.t_end
    gaps = [np.diff(ends[np.array(trace.requests.token_iterations[row], np.int64)]) for row in rows]
    return np.concatenate(gaps) if gaps else np.zeros(0)


def _row(trace: Trace, request: object) -> int:
    plain = as_int(request)
    if plain is not None:
        with suppress(KeyError):
            return trace.requests.row(plain)
    raise MeasureError(f"the trace has no request {shown(request)}.")
