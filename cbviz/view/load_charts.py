"""Charts of what load generators measured, and of latency against load.

Each function returns a `Chart`: a still picture in a notebook, `.to_svg(path)` for a paper, `.zoom()` to zoom in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cbviz.checks import shown
from cbviz.errors import MeasureError
from cbviz.measure.checks import column_of, listed, number, one_of
from cbviz.measure.definitions import DEFINITIONS, LATENCIES, TOOLS, Moments
from cbviz.view.chart import MOST_POINTS, Chart, FloatArray, Series
from cbviz.view.charts import METRICS
from cbviz.workload import LoadResults


def results_cdf(*runs: LoadResults, metric: str = "e2el", tool: str = "vllm-bench") -> Chart:
    """Cumulative distribution of a latency of runs of other tools: one line per run.

    Parameters
    ----------
    runs
        Such as `read_results(path)` gives.
    metric
        One of "ttft", "tpot", "itl" and "e2el".
    tool
        Whose definition: a name of `cbviz.measure.definitions.TOOLS`.

    Returns
    -------
    Chart
        In seconds.

    Raises
    ------
    MeasureError
        No runs, an unknown name, or a run without a value.
    """
    name = one_of("metric", metric, LATENCIES)
    own_name, rule = DEFINITIONS[one_of("tool", tool, TOOLS)][name]
    series = []
    for run in _runs(runs):
        found = rule(Moments.of(run))
        values = np.sort(found.values[~np.isnan(found.values)]) if found is not None else np.array([])
        if not len(values):
            raise MeasureError(f"{run.name} has no {METRICS[name]}.")
        share = np.arange(1, len(values) + 1) / len(values)
        keep = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS)).round().astype(int))
        x, y = np.append(values[0], values[keep]), np.append(0.0, share[keep])
        series.append(Series(run.name, x, y, "steps"))
    what = "gaps" if name == "itl" else "requests"
    title = METRICS[name]
    return Chart(
        f"{title[0].upper()}{title[1:]} ({TOOLS[tool]}: {own_name})",
        "seconds",
        f"share of {what} that took at most so long",
        tuple(series),
    )


def in_flight(*runs: LoadResults) -> Chart:
    """Requests in flight over time: sent and not yet answered. It rises throughout where a server does not keep up.

    A request that failed counts where the file says when it ended.

    Raises
    ------
    MeasureError
        No runs, or one whose file does not tell when requests were sent.
    """
    series = []
    for run in _runs(runs, timed=True):
        known = [(one.sent, one.gone) for one in run.served if one.gone is not None]
        times = np.array([sent for sent, _ in known] + [gone for _, gone in known])
        times -= min(one.sent for one in run.served)
        steps = np.repeat([1, -1], len(known))
        order = np.lexsort((steps, times))
        x, y = times[order], np.cumsum(steps[order]).astype(np.float64)
        keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int))
        series.append(Series(run.name, x[keep], y[keep], "steps"))
    return Chart("Requests in flight", "seconds", "requests sent and not yet answered", tuple(series))


def ttft_over_time(*runs: LoadResults) -> Chart:
    """Time to first token against the time at which each request was sent.

    Raises
    ------
    MeasureError
        No runs, or one whose file does not tell when requests were sent or first answered.
    """
    series = []
    for run in _runs(runs, timed=True):
        good = [one for one in run.served if one.good and one.first is not None]
        if not good:
            raise MeasureError(f"{run.name} does not say when first tokens came.")
        start = min(one.sent for one in good)
        keep = np.unique(np.linspace(0, len(good) - 1, min(len(good), MOST_POINTS)).round().astype(int))
        x = np.array([good[n].sent - start for n in keep])
        y = np.array([(good[n].first or 0.0) - good[n].sent for n in keep])
        series.append(Series(run.name, x, y, "points"))
    return Chart("Time to first token", "seconds at which the request was sent", "seconds", tuple(series))


def slo_curve(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    target: float | None = None,
    x_label: str = "requests a second",
    y_label: str = "p99 TTFT in seconds",
    title: str = "Latency against load",
) -> Chart:
    """Latency against rate, one line per policy, with the target as a level line.

    Parameters
    ----------
    curves
        Name → rates and latencies. A point that is not finite is left out.
    target
        The latency that is allowed; None draws no line.
    x_label, y_label, title
        Shown as text.

    Returns
    -------
    Chart
        With a logarithmic latency.

    Raises
    ------
    MeasureError
        There is nothing to draw.
    """
    if not isinstance(curves, Mapping) or not curves:
        raise MeasureError(f"curves must map names to rates and latencies, not {shown(curves)}.")
    series: list[Series] = []
    for name, curve in curves.items():
        columns = [column_of(values) for values in listed(f"the curve {shown(name)}", curve, "rates and of latencies")]
        x, y = columns if len(columns) == 2 else (None, None)
        if x is None or y is None or len(x) != len(y):
            raise MeasureError(f"the curve {shown(name)} needs one latency for each rate.")
        known = np.isfinite(x) & np.isfinite(y) & (y > 0)
        order = np.argsort(x[known])
        series.append(Series(str(name), x[known][order], y[known][order], "line" if known.sum() > 1 else "points"))
    found = [s for s in series if len(s.x)]
    if target is not None and found:
        most = number("the target", target)
        edges = np.array([min(float(s.x.min()) for s in found), max(float(s.x.max()) for s in found)])
        found.append(Series(f"target {most:g} s", edges, _level(edges, most), faint=True))
    return Chart(title, x_label, y_label, tuple(found), y_scale="log")


def quantile_cdf(curves: Mapping[str, Sequence[float]], *, metric: str = "e2el") -> Chart:
    """Cumulative distributions of which only quantiles are known: one line per name.

    Parameters
    ----------
    curves
        Name → at least two quantiles in seconds, evenly spaced from the least to the greatest value.
    metric
        One of "ttft", "tpot", "itl" and "e2el", for the title.

    Returns
    -------
    Chart
        In seconds, on a logarithmic axis.

    Raises
    ------
    MeasureError
        Nothing to draw, an unknown metric, or quantiles that are not above 0 or do not ascend.
    """
    title = METRICS[one_of("metric", metric, LATENCIES)]
    if not isinstance(curves, Mapping) or not curves:
        raise MeasureError(f"curves must map names to quantiles, not {shown(curves)}.")
    series = []
    for name, given in curves.items():
        x = column_of(given)
        if x is None or len(x) < 2 or not np.isfinite(x).all() or x[0] <= 0 or (np.diff(x) < 0).any():
            raise MeasureError(
                f"the quantiles of {shown(name)} must be two or more numbers above 0, in ascending order."
            )
        series.append(Series(str(name), x, np.linspace(0.0, 1.0, len(x))))
    heading = f"{title[0].upper()}{title[1:]}"
    return Chart(heading, "seconds", "share of requests that took at most so long", tuple(series), x_scale="log")


def _level(x: FloatArray, value: float) -> FloatArray:
    return np.full(len(x), value)


def _runs(runs: Sequence[LoadResults], *, timed: bool = False) -> Sequence[LoadResults]:
    if not runs or not all(isinstance(run, LoadResults) for run in runs):
        raise MeasureError("a chart of runs needs at least one, such as read_results(path)[0].")
    for run in runs:
        if not any(one.good and one.last is not None and math.isfinite(one.last) for one in run.served):
            raise MeasureError(f"no request of {run.name} was served, so there is nothing to draw.")
        if timed and not run.timed:
            raise MeasureError(f"{run.name} does not say when requests were sent.")
    return runs
