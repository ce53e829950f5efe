"""The field's usual charts, drawn from traces: one line or cloud per run.

Each function returns a `Chart`: a still picture in a notebook, `.to_svg(path)` for a paper, `.zoom()` to zoom in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from cbviz.checks import shown
from cbviz.errors import MeasureError
from cbviz.measure.checks import number
from cbviz.measure.lane_names import distinct_names
from cbviz.measure.latency import IntArray, completed, latencies
from cbviz.trace import Trace
from cbviz.view.chart import MOST_POINTS, Chart, FloatArray, Series

Metric = Literal["ttft", "tpot", "itl", "e2el", "queue"]

METRICS = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "itl": "inter-token latency",
    "e2el": "end-to-end latency",
    "queue": "time in the queue",
}


def throughput_by_variance(*traces: Trace) -> Chart:
    """Throughput against the spread of output lengths: one point per run, one line per policy.

    x is the coefficient of variation of the output lengths, y output tokens a second. This is the chart of "How
    continuous batching enables 23x throughput in LLM inference" (Anyscale, 2023), which has the cap on the length
    instead of the variance.

    Raises
    ------
    MeasureError
        No traces, or a run without a completed request.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for trace in _checked(traces):
        done = completed(trace)
        lengths = np.array(
            [len(row) for row, ended in zip(trace.requests.tokens, done, strict=True) if ended], np.float64
        )
        if not len(lengths):
            raise MeasureError(f"the run of {trace.meta.policy!r} has no completed request.")
        cv = float(lengths.std() / lengths.mean())
        points.setdefault(trace.meta.policy, []).append((cv, trace.tokens_per_second))
    series = []
    for name, found in points.items():
        x, y = np.array(sorted(found), np.float64).T
        series.append(Series(name, x, y, "line" if len(found) > 1 else "points"))
    return Chart(
        "Throughput against the variance of output lengths",
        "coefficient of variation of output lengths",
        "output tokens a second",
        tuple(series),
    )


def latency_cdf(*traces: Trace, metric: Metric = "e2el") -> Chart:
    """Cumulative distribution of a latency: one line per run.

    Parameters
    ----------
    traces
        The runs.
    metric
        As defined in `cbviz.measure.latency`; for "itl" the distribution is over gaps, otherwise over requests.

    Raises
    ------
    MeasureError
        No traces, an unknown metric, or a run without a value of it.
    """
    if not isinstance(metric, str) or metric not in get_args(Metric):
        raise MeasureError(f"there is no metric {shown(metric)}; choose one of {', '.join(METRICS)}.")
    series = []
    for name, trace in _named(traces):
        values = getattr(latencies(trace), metric)
        values = np.sort(values[~np.isnan(values)])
        if not len(values):
            raise MeasureError(f"the run of {name!r} has no {METRICS[metric]}.")
        share = np.arange(1, len(values) + 1) / len(values)
        keep = _thinned(len(values))
        x, y = np.append(values[0], values[keep]), np.append(0.0, share[keep])
        series.append(Series(name, x, y, "steps"))
    what = "gaps" if metric == "itl" else "requests"
    title = METRICS[metric]
    return Chart(title[0].upper() + title[1:], "seconds", f"share of {what} that took at most so long", tuple(series))


def occupancy_over_time(*traces: Trace) -> Chart:
    """Useful slots / all slots over the lane's clock: one line per run, averaged over short intervals.

    Time without any request counts as unoccupied. Raises MeasureError for no traces, or runs that took no time.
    """
    series = []
    for name, trace in _named(traces):
        it = trace.iterations
        useful = (it.prefill_slots + it.decode_slots) / (trace.meta.slots - trace.closed_slots)
        series.append(Series(name, *_over_time(trace, useful.astype(np.float64)), "steps"))
    return Chart("Slot occupancy over time", "seconds on the lane's clock", "useful slots / all slots", tuple(series))


def kv_over_time(*traces: Trace) -> Chart:
    """Share of the KV pool's positions in use over the lane's clock.

    One line per run shows the written positions; if the run reserved blocks, a thinner line shows all allocated ones.
    Raises MeasureError for no traces, or runs that took no time or have no pool.
    """
    series = []
    for run, (name, trace) in enumerate(_named(traces)):
        it, pool = trace.iterations, trace.meta.total_blocks
        if not pool:
            raise MeasureError(f"the run of {name!r} has no KV pool.")
        positions = pool * trace.meta.block_size
        series.append(Series(f"{name}, used", *_over_time(trace, it.kv_used / positions), "steps", run))
        if it.blocks_reserved.any():
            allotted = (it.kv_used + it.kv_reserved + it.kv_internal) / positions
            series.append(Series(f"{name}, allotted", *_over_time(trace, allotted), "steps", run, faint=True))
    return Chart("KV cache over time", "seconds on the lane's clock", "share of the pool", tuple(series))


def roofline(
    *traces: Trace,
    parameters: float,
    weight_bytes: float,
    kv_bytes_per_token: float,
    bandwidth: float,
    flops: float,
) -> Chart:
    """The device's roofline, and the run's decode iterations below it (Williams et al., CACM 52, 2009).

    x is the arithmetic intensity of an iteration, 2 · parameters · rows / (weight bytes + KV bytes read); y is the
    operations a second that it reached. Only pure decode iterations are shown; held rows count, because the device
    computes them. KV bytes come from the blocks in use, so they exceed the true number by at most one block per row.

    Parameters
    ----------
    traces
        Runs of one model on one device.
    parameters, weight_bytes
        Of the model: parameters in a forward pass, and the bytes that store them.
    kv_bytes_per_token
        See `cbviz.measure.kv_bytes_per_token`.
    bandwidth, flops
        Of the device: bytes and operations a second, preferably measured here (`cbviz.run.rates`).

    Returns
    -------
    Chart
        On logarithmic axes.

    Raises
    ------
    MeasureError
        A number is not above 0, or there are no traces, or a run has no pure decode iteration.
    """
    p, weights = number("parameters", parameters), number("weight_bytes", weight_bytes)
    kv = number("kv_bytes_per_token", kv_bytes_per_token)
    roof, slope = number("flops", flops), number("bandwidth", bandwidth)
    if not 1e-100 < roof / slope < 1e100:  # the corner of the roof could not be drawn
        raise MeasureError(f"no device has flops of {roof:g} and a bandwidth of {slope:g}.")
    clouds = []
    for name, trace in _named(traces):
        it = trace.iterations
        seconds = it.t_end - it.t_start
        decoding = (it.decode_slots > 0) & (it.prefill_slots + it.recompute_slots == 0) & (seconds > 0)
        chosen = np.flatnonzero(decoding)
        if not len(chosen):
            raise MeasureError(f"the run of {name!r} has no iteration that only decodes.")
        chosen = chosen[_thinned(len(chosen))]
        work = 2 * p * (it.decode_slots + it.held_slots)[chosen]
        moved = weights + kv * it.blocks_used[chosen] * trace.meta.block_size
        clouds.append(Series(name, work / moved, work / seconds[chosen], "points"))
    x = np.concatenate([cloud.x for cloud in clouds])
    ridge = roof / slope
    edge = np.array([min(x.min(), ridge) / 2, ridge, max(x.max(), ridge) * 2])
    limit = Series("what the device allows", edge, np.minimum(edge * slope, roof))
    return Chart(
        "Roofline of decode",
        "operations a byte",
        "operations a second",
        (*clouds, limit),
        "log",
        "log",
    )


def _checked(traces: Sequence[Trace]) -> Sequence[Trace]:
    if not traces or not all(isinstance(trace, Trace) for trace in traces):
        raise MeasureError("a chart needs at least one trace, and takes only traces.")
    return traces


def _named(traces: Sequence[Trace]) -> list[tuple[str, Trace]]:
    """Each run with its policy's name; policies of the same name get numbers."""
    names = distinct_names([trace.meta.policy for trace in _checked(traces)])
    return list(zip(names, traces, strict=True))


def _thinned(n: int) -> IntArray:
    """At most `MOST_POINTS` of n indices, evenly spread, including the first and the last."""
    places: IntArray = np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(np.int64))
    return places


def _over_time(trace: Trace, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means, over equal intervals of the clock, of a value that holds during each iteration and is 0 between them.

    Exact: differences of the value's integral at the edges of the intervals, divided by their width.
    """
    it = trace.iterations
    if not trace.seconds:
        raise MeasureError(f"the run of {trace.meta.policy!r} took no time, so there is no time axis to draw.")
    times = np.column_stack([it.t_start, it.t_end]).ravel()
    rises = np.column_stack([np.zeros(len(it)), values * (it.t_end - it.t_start)]).ravel()
    edges = np.linspace(0.0, trace.seconds, min(MOST_POINTS, max(1, len(it))) + 1)
    integral = np.interp(edges, np.append(0.0, times), np.append(0.0, np.cumsum(rises)))
    means = np.diff(integral) / np.diff(edges)
    return edges, np.append(means, means[-1])
