"""A waterfall of factors: one bar a step, from the throughput before it to the throughput after it.

The axis is logarithmic, so a factor has the same length wherever it stands. Drawn as a small still picture, or by
plotly to hover over; gains and losses differ by texture as well as by colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from cbviz.checks import finite, is_a, shown, three_digits
from cbviz.errors import MeasureError
from cbviz.messages import FIRST, Message, check_language
from cbviz.view.chart import FONT
from cbviz.view.colours import BLUE, GREEN, INK, VERMILION
from cbviz.view.svg import Picture
from cbviz.view.ticks import label
from cbviz.view.zoom import shown_live, waterfall_figure

ACROSS, LEFT_EDGE, RIGHT_EDGE, HEAD, ROW, FOOT = 760, 250, 120, 62, 34, 46


class Fall(NamedTuple):
    """One step.

    Attributes
    ----------
    name
        Shown as text.
    rate
        Tokens a second after this step.
    spread
        The least and the greatest rate.
    forecast
        What was said before; None draws no mark.
    """

    name: str
    rate: float
    spread: tuple[float, float]
    forecast: float | None = None


@dataclass(frozen=True, slots=True)
class Waterfall(Picture):
    """Throughput step by step. A notebook displays it as a picture.

    Parameters
    ----------
    title
        Shown as text.
    falls
        At least two, the baseline first.
    language
        Of the labels.

    Raises
    ------
    MeasureError
        Fewer than two steps, or a rate that is not above 0.

    Examples
    --------
    >>> Waterfall("Two steps", (Fall("static", 80.0, (79.0, 81.0)), Fall("refilled", 160.0, (160.0, 160.0))))
    <Waterfall 'Two steps': static 80, refilled ×2.00>
    """

    title: str
    falls: tuple[Fall, ...]
    language: str = FIRST

    def __post_init__(self) -> None:
        check_language(self.language)
        if not isinstance(self.title, str):
            raise MeasureError(f"title must be a text, not {shown(self.title)}.")
        if len(self.falls) < 2 or not all(is_a(fall, Fall) for fall in self.falls):
            raise MeasureError("a waterfall needs at least two steps, each a Fall.")
        for fall in self.falls:
            values = [fall.rate, *fall.spread, *([] if fall.forecast is None else [fall.forecast])]
            if any((value := finite(given)) is None or value <= 0 for given in values):
                raise MeasureError(f"the step {shown(fall.name)} needs rates above 0.")

    def __repr__(self) -> str:
        first, *rest = self.falls
        changes = [f"{b.name} ×{b.rate / a.rate:.2f}" for a, b in zip(self.falls, rest, strict=False)]
        return f"<Waterfall {self.title!r}: {first.name} {three_digits(first.rate)}, {', '.join(changes)}>"

    def zoom(self) -> Any:
        """The steps to hover over, in a notebook whose page shows widgets; elsewhere the waterfall itself.

        Returns
        -------
        plotly.graph_objects.FigureWidget or Waterfall

        Raises
        ------
        MeasureError
            plotly is not installed.
        """
        return shown_live(waterfall_figure(self), self)

    def say(self, key: str) -> str:
        """A label in the waterfall's language."""
        return Message(key).in_language(self.language)

    def bars(self) -> list[tuple[float, float]]:
        """Where each bar begins and ends, in tokens a second; the baseline's begins at the axis."""
        low, _ = self.axis()
        rates = [fall.rate for fall in self.falls]
        return list(zip([low, *rates], rates, strict=False))

    def axis(self) -> tuple[float, float]:
        """Ends of the axis: a quarter below the least value and above the greatest."""
        values = [value for fall in self.falls for value in (fall.rate, *fall.spread)]
        values += [fall.forecast for fall in self.falls if fall.forecast is not None]
        return min(values) / 1.25, max(values) * 1.25

    def svg(self) -> str:
        """The picture as an SVG document.

        Returns
        -------
        str
            Its bytes depend only on the steps, the title and the language.
        """
        low, high = self.axis()
        height = HEAD + ROW * len(self.falls) + FOOT
        scale = (ACROSS - LEFT_EDGE - RIGHT_EDGE) / math.log(high / low)

        def place(value: float) -> float:
            return round(LEFT_EDGE + scale * math.log(value / low), 1)

        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {ACROSS} {height}" width="{ACROSS}" '
            f'height="{height}" role="img" font-family="{FONT}" font-size="12" fill="{INK}">',
            f"<title>{escape(self.title)}</title>",
            '<defs><pattern id="loss" width="6" height="6" patternUnits="userSpaceOnUse">'
            f'<rect width="6" height="6" fill="{VERMILION}" fill-opacity="0.25"/>'
            f'<path d="M0 6L6 0" stroke="{VERMILION}" stroke-width="1.5"/></pattern></defs>',
            f'<text x="10" y="18" font-size="14" font-weight="600">{escape(self.title)}</text>',
            *self._legend(),
        ]
        bottom = HEAD + ROW * len(self.falls)
        for tick in log_ticks(low, high):
            x = place(tick)
            parts.append(f'<path d="M{x:g} {HEAD - 6}V{bottom:g}" stroke="{INK}" stroke-opacity="0.2"/>')
            parts.append(f'<text x="{x:g}" y="{bottom + 16:g}" text-anchor="middle">{label(tick)}</text>')
        middle = (LEFT_EDGE + ACROSS - RIGHT_EDGE) / 2
        axis = escape(self.say("decompose.axis"))
        parts.append(f'<text x="{middle:g}" y="{bottom + 36:g}" text-anchor="middle">{axis}</text>')
        for n, (fall, (begin, end)) in enumerate(zip(self.falls, self.bars(), strict=True)):
            parts += self._row(n, fall, place(begin), place(end), (place(fall.spread[0]), place(fall.spread[1])))
            if fall.forecast is not None:
                x, top = place(fall.forecast), HEAD + n * ROW
                parts.append(f'<path d="M{x:g} {top:g}V{top + ROW - 6:g}" stroke="{INK}" stroke-width="3"/>')
        return "\n".join([*parts, "</svg>"])

    def _row(self, n: int, fall: Fall, begin: float, end: float, spread: tuple[float, float]) -> list[str]:
        top, tall = HEAD + n * ROW + 4, ROW - 14
        look = f'fill="{BLUE}"' if n == 0 else f'fill="{GREEN}"' if end >= begin else 'fill="url(#loss)"'
        rate = three_digits(fall.rate)
        text = rate if n == 0 else f"×{fall.rate / self.falls[n - 1].rate:.2f}  ({rate})"
        left, right = min(begin, end), max(begin, end)
        found = [
            f'<text x="{LEFT_EDGE - 8}" y="{top + tall / 2 + 4:g}" text-anchor="end">{escape(fall.name)}</text>',
            f'<rect x="{left:g}" y="{top}" width="{max(1.0, right - left):.4g}" height="{tall}" {look}/>',
            f'<text x="{max(right, spread[1]) + 8:g}" y="{top + tall / 2 + 4:g}">{escape(text)}</text>',
        ]
        if spread[1] - spread[0] >= 1:
            y = top + tall / 2
            found.append(
                f'<path d="M{spread[0]:g} {y - 4:g}V{y + 4:g}M{spread[0]:g} {y:g}H{spread[1]:g}'
                f'M{spread[1]:g} {y - 4:g}V{y + 4:g}" stroke="{INK}" fill="none"/>'
            )
        return found

    def _legend(self) -> list[str]:
        found, left = [], 10.0
        kinds = [("gain", f'fill="{GREEN}"'), ("loss", 'fill="url(#loss)"')]
        for key, look in kinds:
            word = self.say("decompose.gain" if key == "gain" else "decompose.loss")
            found.append(f'<rect x="{left:g}" y="30" width="22" height="12" {look}/>')
            found.append(f'<text x="{left + 28:g}" y="40">{escape(word)}</text>')
            left += 28 + 18 + sum(13 if ord(c) > 0x2E80 else 6.6 for c in word)
        if any(fall.forecast is not None for fall in self.falls):
            found.append(f'<path d="M{left + 4:g} 28V44" stroke="{INK}" stroke-width="3"/>')
            found.append(f'<text x="{left + 12:g}" y="40">{escape(self.say("decompose.forecast"))}</text>')
        return found


def log_ticks(low: float, high: float) -> Sequence[float]:
    """1, 2 and 5 times the powers of ten from `low` to `high`.

    Examples
    --------
    >>> log_ticks(15, 300)
    [20.0, 50.0, 100.0, 200.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [k * 10.0**power for power in powers for k in (1, 2, 5) if low <= k * 10.0**power <= high]
