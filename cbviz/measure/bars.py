"""Stacked bars of shares: a small still picture, or plotly's; `cbviz.measure.chart` does the same for lines."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from cbviz.checks import shown
from cbviz.errors import MeasureError
from cbviz.measure.chart import COLOURS, FONT, INK, WIDTH
from cbviz.measure.checks import column_of, listed, number
from cbviz.measure.svg import image, write_svg

ROW, GAP, TOP, FOOT, NAMES, RIGHT = 26, 14, 60, 44, 150, 24
PATTERNS = ("", "M0 6L6 0", "M0 0L6 6M0 6L6 0", "M0 3H6")
"""Parts differ by texture as well as by colour: plain, hatched, crossed, barred."""


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar a row, cut into parts that sum to at most 1. As the last value of a notebook cell it shows itself.

    Parameters
    ----------
    title, label
        Shown as text: above the bars, and below their axis.
    parts
        One to four names, in the order of the cuts.
    rows
        Name → shares, one for each part; at least one row.
    marks
        Name of a row → a share that somebody else reports for its first part, drawn as a stroke across the bar.
    mark_label
        What the strokes are.

    Raises
    ------
    MeasureError
        Nothing to draw, shares that are not finite, negative, too many or above 1 together, a mark for no row.
    """

    title: str
    label: str
    parts: tuple[str, ...]
    rows: dict[str, tuple[float, ...]]
    marks: dict[str, float] = field(default_factory=dict)
    mark_label: str = ""

    def __post_init__(self) -> None:
        for what in ("title", "label", "mark_label"):
            if not isinstance(getattr(self, what), str):
                raise MeasureError(f"{what} must be a text, not {shown(getattr(self, what))}.")
        object.__setattr__(self, "parts", _texts("parts", self.parts))
        object.__setattr__(self, "rows", {name: _shares(name, row) for name, row in _named("rows", self.rows).items()})
        marks = _named("marks", self.marks)
        object.__setattr__(self, "marks", {name: number(f"the mark of {name!r}", marks[name], -1e-9) for name in marks})
        if not self.rows or not 1 <= len(self.parts) <= len(PATTERNS):
            raise MeasureError(f"the bars of {self.title!r} need a row and one to {len(PATTERNS)} parts.")
        for name, shares in self.rows.items():
            sound = len(shares) == len(self.parts) and all(math.isfinite(s) and s >= -1e-9 for s in shares)
            if not sound or sum(shares) > 1 + 1e-6:
                raise MeasureError(f"the bar {name!r} must have {len(self.parts)} shares that sum to at most 1.")
        if not self.marks.keys() <= self.rows.keys():
            raise MeasureError("there is a mark for a bar that is not there.")

    def __repr__(self) -> str:
        return f"<Bars {self.title!r}: {', '.join(self.parts)} of {', '.join(self.rows)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": image(self.svg(), repr(self).strip("<>")), "text/plain": repr(self)}

    def to_svg(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture. Returns the path. Raises MeasureError if it cannot be written."""
        return write_svg(path, self.svg())

    def to_plotly(self) -> Any:
        """The same as a `plotly.graph_objects.Figure`. Raises MeasureError if plotly is not installed."""
        try:
            import plotly.graph_objects as go
        except ImportError:
            raise MeasureError("interactive charts need plotly; install it with: pip install plotly") from None
        figure = go.Figure()
        names = [escape(name) for name in self.rows]
        for i, part in enumerate(self.parts):
            shares = [row[i] for row in self.rows.values()]
            pattern = {"shape": ("", "/", "x", "-")[i]}
            marker = {"color": COLOURS[i], "pattern": pattern}
            figure.add_bar(y=names, x=shares, name=escape(part), orientation="h", marker=marker)
        if self.marks:
            symbol = {"symbol": "line-ns-open", "size": 26, "color": INK, "line": {"width": 3}}
            y = [escape(name) for name in self.marks]
            figure.add_scatter(
                x=[*self.marks.values()], y=y, mode="markers", name=escape(self.mark_label), marker=symbol
            )
        figure.update_layout(
            title=escape(self.title),
            barmode="stack",
            font={"color": INK, "family": FONT},
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            xaxis={"title": escape(self.label), "range": [0, 1], "tickformat": ".0%", "linecolor": INK},
            yaxis={"autorange": "reversed"},
        )
        return figure

    def svg(self) -> str:
        """The picture as an SVG document."""
        height = TOP + len(self.rows) * (ROW + GAP) + FOOT
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" role="img" font-family="{FONT}" font-size="12" fill="{INK}">',
            f"<title>{escape(self.title)}</title>",
            f"<defs>{''.join(_pattern(i) for i in range(len(self.parts)))}</defs>",
            f'<text x="10" y="18" font-size="14" font-weight="600">{escape(self.title)}</text>',
            *self._legend(),
            *self._axis(height - FOOT),
        ]
        for place, (name, shares) in enumerate(self.rows.items()):
            parts += self._bar(name, shares, TOP + place * (ROW + GAP))
        return "\n".join([*parts, "</svg>"])

    def _legend(self) -> list[str]:
        found, left = [], 10.0
        for i, part in enumerate(self.parts):
            found.append(f'<rect x="{left:g}" y="30" width="22" height="12" {_filled(i)}/>')
            found.append(f'<text x="{left + 28:g}" y="40">{escape(part)}</text>')
            left += 28 + 6.5 * len(part) + 16
        if self.marks:
            found.append(f'<path d="M{left + 4:g} 28V44" stroke="{INK}" stroke-width="3"/>')
            found.append(f'<text x="{left + 12:g}" y="40">{escape(self.mark_label)}</text>')
        return found

    def _axis(self, bottom: float) -> list[str]:
        found = []
        for tenth in range(0, 11, 2):
            x = _x(tenth / 10)
            found.append(f'<path d="M{x:g} {TOP - 6}V{bottom:g}" stroke="{INK}" stroke-opacity="0.2"/>')
            found.append(f'<text x="{x:g}" y="{bottom + 16:g}" text-anchor="middle">{tenth * 10}%</text>')
        middle = (_x(0) + _x(1)) / 2
        return [*found, f'<text x="{middle:g}" y="{bottom + 36:g}" text-anchor="middle">{escape(self.label)}</text>']

    def _bar(self, name: str, shares: Sequence[float], top: float) -> list[str]:
        found = [f'<text x="{NAMES - 8}" y="{top + ROW / 2 + 4:g}" text-anchor="end">{escape(name)}</text>']
        begin = 0.0
        for i, share in enumerate(shares):
            x, width = _x(begin), _x(begin + share) - _x(begin)
            if width > 0:
                found.append(f'<rect x="{x:g}" y="{top:g}" width="{width:.4g}" height="{ROW}" {_filled(i)}/>')
            begin += share
        frame = f'x="{_x(0):g}" y="{top:g}" width="{_x(1) - _x(0):g}" height="{ROW}"'
        found.append(f'<rect {frame} fill="none" stroke="{INK}"/>')
        if name in self.marks:
            x = _x(self.marks[name])
            found.append(f'<path d="M{x:g} {top - 5:g}V{top + ROW + 5:g}" stroke="{INK}" stroke-width="3"/>')
        return found


def _x(share: float) -> float:
    return round(NAMES + share * (WIDTH - NAMES - RIGHT), 1)


def _filled(i: int) -> str:
    return f'fill="{COLOURS[i]}"' if not PATTERNS[i] else f'fill="url(#part{i})"'


def _pattern(i: int) -> str:
    """A texture in the part's colour on a pale ground of it."""
    if not PATTERNS[i]:
        return ""
    return (
        f'<pattern id="part{i}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" fill="{COLOURS[i]}" fill-opacity="0.25"/>'
        f'<path d="{PATTERNS[i]}" stroke="{COLOURS[i]}" stroke-width="1.5"/></pattern>'
    )


def _texts(name: str, values: object) -> tuple[str, ...]:
    found = listed(name, values, "texts")
    if not all(isinstance(value, str) for value in found):
        raise MeasureError(f"{name} must be a list of texts, not {shown(values)}.")
    return tuple(found)


def _named(name: str, values: object) -> dict[str, Any]:
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise MeasureError(f"{name} must be a dictionary with texts for keys, not {shown(values)}.")
    return values


def _shares(name: str, row: object) -> tuple[float, ...]:
    column = column_of(row)
    if column is None:
        raise MeasureError(f"the bar {shown(name)} must be a list of shares, not {shown(row)}.")
    return tuple(column.tolist())
