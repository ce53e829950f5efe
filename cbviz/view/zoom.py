"""Charts to zoom into and to hover over, drawn by plotly.

plotly's widget brings its JavaScript along, so nothing is fetched from a network. What a notebook keeps is the still
picture: outside a page that shows widgets, `shown_live` gives the chart back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar
from xml.sax.saxutils import escape

from cbviz.errors import MeasureError
from cbviz.view import cell
from cbviz.view.colours import BLUE, GREEN, INK, SERIES, VERMILION

if TYPE_CHECKING:
    from cbviz.view.bars import Bars
    from cbviz.view.chart import Chart
    from cbviz.view.waterfall import Waterfall

PLOTLY_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
"""plotly's names for the dashes of `cbviz.view.chart`."""

Still = TypeVar("Still")


def shown_live(figure: Any, still: Still) -> Any | Still:
    """The figure as a widget where a page can show it, else the still picture."""
    if not cell.request() or not cell.attended():
        return still
    from plotly.graph_objects import FigureWidget

    return FigureWidget(figure)


def chart_figure(chart: Chart) -> Any:
    """A chart as a `plotly.graph_objects.Figure`. Raises MeasureError without plotly."""
    figure = _graph_objects().Figure()
    for i, s in enumerate(chart.series):
        colour, dash = s.look(i)
        line = {"color": colour, "dash": PLOTLY_DASHES[dash], "width": s.width}
        figure.add_scatter(
            x=s.x,
            y=s.y,
            name=escape(s.name),  # plotly reads a little HTML in names
            mode="markers" if s.kind == "points" else "lines",
            line={**line, "shape": "hv" if s.kind == "steps" else "linear"},
            marker={"color": colour, "size": 2 * s.radius, "opacity": 0.6},
        )
    axis = {"gridcolor": "rgba(116,122,130,0.3)", "linecolor": INK, "zeroline": False}
    zero = {"rangemode": "tozero"} if chart.y_scale == "linear" else {}
    figure.update_layout(
        **_page(chart.title),
        showlegend=True,
        xaxis={**axis, "title": escape(chart.x_label), "type": chart.x_scale},
        yaxis={**axis, "title": escape(chart.y_label), "type": chart.y_scale} | zero,
    )
    return figure


def bars_figure(bars: Bars) -> Any:
    """Bars as a `plotly.graph_objects.Figure`. Raises MeasureError without plotly."""
    figure = _graph_objects().Figure()
    names = [escape(name) for name in bars.rows]
    for i, part in enumerate(bars.parts):
        shares = [row[i] for row in bars.rows.values()]
        marker = {"color": SERIES[i], "pattern": {"shape": ("", "/", "x", "-")[i]}}
        figure.add_bar(y=names, x=shares, name=escape(part), orientation="h", marker=marker)
    if bars.marks:
        symbol = {"symbol": "line-ns-open", "size": 26, "color": INK, "line": {"width": 3}}
        y = [escape(name) for name in bars.marks]
        figure.add_scatter(x=[*bars.marks.values()], y=y, mode="markers", name=escape(bars.mark_label), marker=symbol)
    figure.update_layout(
        **_page(bars.title),
        barmode="stack",
        xaxis={"title": escape(bars.label), "range": [0, 1], "tickformat": ".0%", "linecolor": INK},
        yaxis={"autorange": "reversed"},
    )
    return figure


def waterfall_figure(waterfall: Waterfall) -> Any:
    """A waterfall as a `plotly.graph_objects.Figure`, its axis logarithmic. Raises MeasureError without plotly."""
    figure = _graph_objects().Figure()
    bars, falls = waterfall.bars(), waterfall.falls
    names = [escape(fall.name) for fall in falls]
    figure.add_bar(
        y=names,
        base=[min(bar) for bar in bars],
        x=[max(bar) - min(bar) for bar in bars],
        orientation="h",
        marker={
            "color": [BLUE if n == 0 else GREEN if end >= begin else VERMILION for n, (begin, end) in enumerate(bars)],
            "pattern": {"shape": ["" if n == 0 or end >= begin else "/" for n, (begin, end) in enumerate(bars)]},
        },
        customdata=[[fall.rate, end / begin, *fall.spread] for fall, (begin, end) in zip(falls, bars, strict=True)],
        hovertemplate="%{y}<br>%{customdata[0]:.4g} (%{customdata[2]:.4g}–%{customdata[3]:.4g})"
        "<br>×%{customdata[1]:.3g}<extra></extra>",
        name=escape(waterfall.say("decompose.axis")),
        showlegend=False,
    )
    said = [(name, fall.forecast) for name, fall in zip(names, falls, strict=True) if fall.forecast is not None]
    if said:
        symbol = {"symbol": "line-ns-open", "size": 22, "color": INK, "line": {"width": 3}}
        name = escape(waterfall.say("decompose.forecast"))
        figure.add_scatter(y=[n for n, _ in said], x=[x for _, x in said], mode="markers", name=name, marker=symbol)
    low, high = waterfall.axis()
    figure.update_layout(
        **_page(waterfall.title),
        xaxis={
            "title": escape(waterfall.say("decompose.axis")), "type": "log", "linecolor": INK,
            "range": [math.log10(low), math.log10(high)],
        },
        yaxis={"autorange": "reversed"},
    )  # fmt: skip
    return figure


def _page(title: str) -> dict[str, Any]:
    """What all figures have: a title, and a ground that lets the page through."""
    return {
        "title": escape(title),
        "font": {"color": INK, "family": "system-ui, sans-serif"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }


def _graph_objects() -> Any:
    try:
        import plotly.graph_objects
    except ImportError:
        raise MeasureError("interactive charts need plotly; install it with: pip install plotly") from None
    return plotly.graph_objects
