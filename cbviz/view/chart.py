"""A chart as data: drawn as a small still picture by itself, or by plotly to zoom into.

The picture is an SVG of a few kilobytes whose bytes depend only on the data: a saved notebook stays small, shows it
without a kernel, a network or scripts, and prints it. Its background is transparent and its ink a middle grey, so that
it reads on white and on dark pages; lines differ by dash as well as by colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from cbviz.errors import MeasureError
from cbviz.view.colours import INK, SERIES
from cbviz.view.svg import Picture
from cbviz.view.ticks import label, step_above
from cbviz.view.zoom import chart_figure, shown_live

FloatArray = npt.NDArray[np.float64]

DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 4", "4 2")
FONT = "system-ui, sans-serif"
WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, BOTTOM = 70, 20, 48
TITLE, LEGEND_ROW = 22, 18
MOST_POINTS = 400

Scale = Literal["linear", "log"]


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one cloud of points.

    Attributes
    ----------
    name
        For the legend; shown as text.
    x, y
        float64 [points], equally long and finite.
    kind
        "line", "steps" (a value holds until the next x), or "points".
    style
        Number of its colour and dash; None means its index among the series.
    faint
        Drawn thinner, for a second line of the same style.
    radius
        Of a point, in px.
    """

    name: str
    x: FloatArray
    y: FloatArray
    kind: Literal["line", "steps", "points"] = "line"
    style: int | None = None
    faint: bool = False
    radius: float = 2.5

    def look(self, place: int) -> tuple[str, int]:
        """How it is drawn; when the colours repeat, the dash differs.

        Parameters
        ----------
        place
            Its index among the series of the chart.

        Returns
        -------
        tuple of str and int
            Its colour, and an index of `DASHES`.
        """
        number = place if self.style is None else self.style
        return SERIES[number % len(SERIES)], (number + number // len(SERIES)) % len(DASHES)

    @property
    def width(self) -> float:
        """Stroke width in px."""
        return 1.0 if self.faint else 2.0


@dataclass(frozen=True, slots=True)
class Chart(Picture):
    """A chart with at least one point. A notebook displays it as a picture.

    Parameters
    ----------
    title, x_label, y_label
        Shown as text; labels name the unit.
    series
        What to draw, in the order of the legend.
    x_scale, y_scale
        "linear", or "log" for values above 0. A linear y axis begins at 0.

    Raises
    ------
    MeasureError
        No points, columns of different lengths, or values that are not finite (or not above 0 on a log scale).

    Examples
    --------
    >>> import numpy as np
    >>> slots = np.array([1.0, 2.0, 4.0])
    >>> Chart("Batching", "slots", "tokens a second", (Series("static", slots, 30 * slots),))
    <Chart 'Batching': tokens a second against slots of static>
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"

    def __post_init__(self) -> None:
        if not any(len(s.x) for s in self.series):
            raise MeasureError(f"there is nothing to draw in the chart {self.title!r}.")
        for s in self.series:
            for values, scale in ((s.x, self.x_scale), (s.y, self.y_scale)):
                if len(s.x) != len(s.y) or not np.isfinite(values).all() or (scale == "log" and (values <= 0).any()):
                    raise MeasureError(f"the series {s.name!r} has values that cannot be drawn on a {scale} scale.")
        for column in ([s.x for s in self.series], [s.y for s in self.series]):
            values = np.concatenate(column)
            with np.errstate(over="ignore"):
                if not np.isfinite(np.ptp(values)):
                    raise MeasureError(f"the values of the chart {self.title!r} lie too far apart to be drawn.")

    def __repr__(self) -> str:
        names = ", ".join(s.name for s in self.series)
        return f"<Chart {self.title!r}: {self.y_label} against {self.x_label} of {names}>"

    def zoom(self) -> Any:
        """The chart to zoom into and to hover over, in a notebook whose page shows widgets; elsewhere the chart itself.

        Returns
        -------
        plotly.graph_objects.FigureWidget or Chart

        Raises
        ------
        MeasureError
            plotly is not installed.
        """
        return shown_live(chart_figure(self), self)

    def svg(self) -> str:
        """The picture as an SVG document.

        Returns
        -------
        str
            Its bytes depend only on the data.
        """
        places = self._legend_places()
        top = TITLE + LEGEND_ROW * (places[-1][1] + 1) + 18
        x = _Axis.over([s.x for s in self.series], self.x_scale, LEFT, WIDTH - RIGHT)
        y = _Axis.over([s.y for s in self.series], self.y_scale, HEIGHT - BOTTOM, top, from_zero=True)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" role="img" font-family="{FONT}" font-size="12" fill="{INK}">',
            f"<title>{escape(self.title)}</title>",
            f'<text x="{LEFT}" y="18" font-size="14" font-weight="600">{escape(self.title)}</text>',
            *self._legend(places),
            *self._frame(x, y, top),
        ]
        parts += [_drawn(s, i, x, y) for i, s in enumerate(self.series) if len(s.x)]
        return "\n".join([*parts, "</svg>"])

    def _legend_places(self) -> list[tuple[float, int]]:
        """Left edge and row of each entry; widths are estimates, because no font is available here."""
        places, left, row = [], float(LEFT), 0
        for s in self.series:
            width = 29 + _text_width(s.name) + 18
            if left > LEFT and left + width > WIDTH:
                left, row = float(LEFT), row + 1
            places.append((left, row))
            left += width
        return places

    def _legend(self, places: Sequence[tuple[float, int]]) -> list[str]:
        """A sample and the name of each series."""
        parts = []
        for i, (s, (left, row)) in enumerate(zip(self.series, places, strict=True)):
            colour, dash = s.look(i)
            y = TITLE + LEGEND_ROW * row + 14
            if s.kind == "points":
                parts.append(f'<circle cx="{left + 12:g}" cy="{y}" r="3" fill="{colour}"/>')
            else:
                line = f'x1="{left:g}" y1="{y}" x2="{left + 24:g}" y2="{y}" stroke="{colour}"'
                parts.append(f'<line {line} stroke-width="{s.width:g}" stroke-dasharray="{DASHES[dash]}"/>')
            parts.append(f'<text x="{left + 29:g}" y="{y + 4}">{escape(s.name)}</text>')
        return parts

    def _frame(self, x: _Axis, y: _Axis, top: float) -> list[str]:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for value in x.ticks:
            at = x.place(value)
            parts.append(
                f'<line x1="{at:g}" y1="{top}" x2="{at:g}" y2="{bottom}" stroke="{INK}" stroke-opacity="0.2"/>'
            )
            parts.append(f'<text x="{at:g}" y="{bottom + 17}" text-anchor="middle">{label(value)}</text>')
        for value in y.ticks:
            at = y.place(value)
            parts.append(
                f'<line x1="{LEFT}" y1="{at:g}" x2="{right}" y2="{at:g}" stroke="{INK}" stroke-opacity="0.2"/>'
            )
            parts.append(f'<text x="{LEFT - 7}" y="{at + 4:g}" text-anchor="end">{label(value)}</text>')
        middle = (top + bottom) / 2
        return [
            *parts,
            f'<path d="M{LEFT} {top}V{bottom}H{right}" fill="none" stroke="{INK}"/>',
            f'<text x="{(LEFT + right) / 2:g}" y="{HEIGHT - 8}" text-anchor="middle">{escape(self.x_label)}</text>',
            f'<text transform="translate(16 {middle:g}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y_label)}</text>",
        ]


def _text_width(text: str) -> int:
    """Pixels of a text in the legend, estimated: Chinese characters are as wide as high."""
    return sum(13 if east_asian_width(letter) in "WF" else 7 for letter in text)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to pixels."""

    low: float
    high: float
    scale: Scale
    start: float
    end: float
    ticks: tuple[float, ...]

    @classmethod
    def over(
        cls, columns: Sequence[FloatArray], scale: Scale, start: float, end: float, *, from_zero: bool = False
    ) -> _Axis:
        """An axis that covers all values, from `start` to `end` in pixels; a linear one may begin at 0."""
        values = np.concatenate(columns)
        low, high = float(values.min()), float(values.max())
        if scale == "log":
            low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
            high = high if high > low else low * 10
            decades = round(math.log10(high / low))
            shown = range(0, decades + 1, max(1, decades // 6))
            return cls(low, high, scale, start, end, tuple(low * 10.0**k for k in shown))
        if from_zero:
            low = min(0.0, low)
        if high - low <= 1e-9 * max(abs(low), abs(high), 1e-290):  # practically a single value
            high = low + (abs(low) if abs(low) > 1e-290 else 1.0)
        step = step_above((high - low) / 6)
        first = math.ceil(low / step - 1e-9)
        if from_zero:
            high = math.ceil(high / step - 1e-9) * step
        ticks = tuple(k * step for k in range(first, math.floor(high / step + 1e-9) + 1))
        return cls(low, high, scale, start, end, ticks)

    def place(self, value: Any) -> Any:
        """Pixels of a value or of an array of values."""
        if self.scale == "log":
            share = (np.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        else:
            share = (np.asarray(value) - self.low) / (self.high - self.low)
        return np.round(self.start + share * (self.end - self.start), 1)


def _drawn(s: Series, number: int, x: _Axis, y: _Axis) -> str:
    colour, dash = s.look(number)
    at_x, at_y = x.place(s.x), y.place(s.y)
    if s.kind == "points":
        dots = "".join(f'<circle cx="{a:g}" cy="{b:g}" r="{s.radius:g}"/>' for a, b in zip(at_x, at_y, strict=True))
        return f'<g fill="{colour}" fill-opacity="0.6">{dots}</g>'
    if s.kind == "steps":
        steps = "".join(f"H{a:g}V{b:g}" for a, b in zip(at_x[1:], at_y[1:], strict=True))
        path = f"M{at_x[0]:g} {at_y[0]:g}{steps}"
    else:
        path = "M" + "L".join(f"{a:g} {b:g}" for a, b in zip(at_x, at_y, strict=True))
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{s.width:g}" stroke-dasharray="{DASHES[dash]}"/>'
    )
