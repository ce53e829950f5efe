"""Stacked bars of shares: a small still picture, or plotly's; `cbviz.view.chart` does the same for lines."""

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
from cbviz.measure.checks import column_of, listed, number
from cbviz.view.chart import FONT, WIDTH
from cbviz.view.colours import INK, SERIES
from cbviz.view.svg import image, write_svg
from cbviz.view.zoom import bars_figure, shown_live

ROW, GAP, TOP, FOOT, NAMES, RIGHT = 26, 14, 60, 44, 150, 24
PATTERNS = ("", "M0 6L6 0", "M0 0L6 6M0 6L6 0", "M0 3H6")
"""Parts differ by texture as well as by colour: plain, hatched, crossed, barred."""


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar per row, cut into parts that sum to at most 1. A notebook displays it as a picture.

    Parameters
    ----------
    title, label
        Shown as text: above the bars, and below their axis.
    parts
        One to four names, from left to right.
    rows
        Name → shares, one for each part; at least one row.
    marks
        Name of a row → a share that another source reports for its first part, drawn as a stroke across the bar.
    mark_label
        What the strokes mean.

    Raises
    ------
    MeasureError
        There is nothing to draw; shares are not finite, negative, too many, or sum to more than 1; or a mark has no
        row.
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
            raise MeasureError(f"the bars of {self.title!r} need a row and 1 to {len(PATTERNS)} parts.")
        for name, shares in self.rows.items():
            sound = len(shares) == len(self.parts) and all(math.isfinite(s) and s >= -1e-9 for s in shares)
            if not sound or sum(shares) > 1 + 1e-6:
                raise MeasureError(f"the bar {name!r} must have {len(self.parts)} shares that sum to at most 1.")
        if not self.marks.keys() <= self.rows.keys():
            raise MeasureError("every mark must carry the name of a bar.")

    def __repr__(self) -> str:
        return f"<Bars {self.title!r}: {', '.join(self.parts)} of {', '.join(self.rows)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": image(self.svg(), repr(self).strip("<>")), "text/plain": repr(self)}

    def to_svg(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file and return its path. Raises MeasureError if it cannot be written."""
        return write_svg(path, self.svg())

    def zoom(self) -> Any:
        """The bars to hover over, in a notebook whose page shows widgets; elsewhere the bars themselves.

        Raises
        ------
        MeasureError
            plotly is not installed.
        """
        return shown_live(bars_figure(self), self)

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
    return f'fill="{SERIES[i]}"' if not PATTERNS[i] else f'fill="url(#part{i})"'


def _pattern(i: int) -> str:
    """A texture in the part's colour on a pale background of the same colour."""
    if not PATTERNS[i]:
        return ""
    return (
        f'<pattern id="part{i}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" fill="{SERIES[i]}" fill-opacity="0.25"/>'
        f'<path d="{PATTERNS[i]}" stroke="{SERIES[i]}" stroke-width="1.5"/></pattern>'
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
