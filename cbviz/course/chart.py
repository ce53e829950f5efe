"""Line charts for the notebooks, with labels in the language of the course.

course.chart("Latency against load", "requests a second", "p99 TTFT, seconds", {"static": (rates, waits)})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from cbviz.checks import listed, one_of, shown
from cbviz.course.show import Shown
from cbviz.course.words import say, term
from cbviz.errors import CbvizError
from cbviz.measure.checks import column_of
from cbviz.view.chart import Chart, Series
from cbviz.view.svg import image

CHART_KINDS = ("line", "steps", "points", "cdf")
AXIS_SCALES = ("linear", "log")


def chart(
    title: str,
    x_label: str,
    y_label: str,
    lines: Mapping[str, Sequence[Any]],
    *,
    kind: Literal["line", "steps", "points", "cdf"] = "line",
    x_scale: Literal["linear", "log"] = "linear",
    y_scale: Literal["linear", "log"] = "linear",
) -> Shown:
    """Draw lines, with words in the current language.

    Parameters
    ----------
    title, x_label, y_label
        Texts; those that the catalogue has as `term.` lines are translated, and so are the names of lines.
    lines
        Name → columns x and y, equally long; for "cdf" the values themselves.
    kind
        "line", "steps" (a value holds until the next x), "points", or "cdf": the share of values up to x.
    x_scale, y_scale
        "linear" or "log". A point that such a scale cannot show is left out.

    Returns
    -------
    Shown
        A picture, with the chart's names as its text.

    Raises
    ------
    CbvizError
        There is nothing to draw, or an argument is none of those allowed.

    Example
    -------
    >>> chart("Batching", "slots", "tokens a second", {"static": ([1, 2, 4], [30, 55, 90])})
    Batching: tokens a second against slots of static
    """
    one_of("kind", kind, CHART_KINDS)
    one_of("x_scale", x_scale, AXIS_SCALES)
    one_of("y_scale", y_scale, AXIS_SCALES)
    if not isinstance(lines, Mapping) or not lines:
        raise CbvizError(f"lines must map names to columns, not {shown(lines)}.")
    series = []
    for name, columns in lines.items():
        x, y = _cdf(name, columns) if kind == "cdf" else _columns(name, columns)
        keep = np.isfinite(x) & np.isfinite(y)
        if x_scale == "log":
            keep &= x > 0
        if y_scale == "log":
            keep &= y > 0
        series.append(Series(term(name), x[keep], y[keep], "steps" if kind == "cdf" else kind))
    drawn = Chart(term(title), term(x_label), term(y_label), tuple(series), x_scale, y_scale)
    names = " · ".join(s.name for s in series)
    text = say("chart", title=drawn.title, y=drawn.y_label, x=drawn.x_label, names=names)
    return Shown(image(drawn.svg(), text), text)


def _columns(name: object, given: Any) -> tuple[Any, Any]:
    columns = [column_of(values) for values in listed(f"the line {shown(name)}", given, "columns")]
    x, y = columns if len(columns) == 2 else (None, None)
    if x is None or y is None or len(x) != len(y):
        raise CbvizError(f"the line {shown(name)} needs two columns of numbers, equally long: x and y.")
    return x, y


def _cdf(name: object, given: Any) -> tuple[Any, Any]:
    values = column_of(given)
    if values is None or not np.isfinite(values).any():
        raise CbvizError(f"the line {shown(name)} needs numbers.")
    known = np.sort(values[np.isfinite(values)])
    share = np.arange(1, len(known) + 1) / len(known)
    keep = np.unique(np.linspace(0, len(known) - 1, min(len(known), 400)).round().astype(int))
    return known[keep], share[keep]
