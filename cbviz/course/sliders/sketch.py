"""What the pictures under sliders share: a chart with the chosen place marked, and a sentence."""

from __future__ import annotations

from html import escape

import numpy as np

from cbviz.course.show import Shown
from cbviz.view.chart import HEIGHT, WIDTH, Chart, Series
from cbviz.view.svg import image

CHOSEN = 6.0
"""Radius of the point that the sliders move, in px."""


def point(name: str, x: float, y: float, style: int | None = None) -> Series:
    """The place that the sliders have chosen."""
    return Series(name, np.array([float(x)]), np.array([float(y)]), "points", style, radius=CHOSEN)


def upright(name: str, x: float, low: float, high: float, style: int | None = None) -> Series:
    """A vertical line at x."""
    return Series(name, np.array([float(x)] * 2), np.array([float(low), float(high)]), style=style, faint=True)


def charted(chart: Chart, sentence: str) -> Shown:
    """A chart, and the sentence that belongs to it, which is also its text."""
    return Shown(image(chart.svg(), repr(chart).strip("<>"), (WIDTH, HEIGHT)) + said(sentence), sentence)


def said(sentence: str) -> str:
    """A sentence under a picture."""
    return f"<div>{escape(sentence)}</div>"
