"""Notebook 04: the spread of the answers, the number of slots, and S(n)."""

from __future__ import annotations

import random
from functools import cache

import numpy as np

from cbviz.course.knobs import Knobs
from cbviz.course.show import Shown
from cbviz.course.sliders.sketch import charted, point
from cbviz.course.words import say, term
from cbviz.measure import speedup_empirical
from cbviz.measure.rounding import fixed, percent
from cbviz.view.chart import Chart, Series

LENGTH_SPREADS = (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2)
SLOTS = (1, 2, 4, 8, 16, 32, 64)
DRAWN = 20_000
"""Lengths of which S(n) is computed: enough that a spread of 1 gives the exponential law's S(64) within 2 %."""


def spread() -> Knobs:
    """S(n) against the number of slots, with sliders for the spread of the lengths and for the slots.

    The lengths follow a gamma law, as in `cbviz.play`; a spread (standard deviation / mean) of 1 is the exponential
    law.

    Returns
    -------
    Knobs
        Displayed by a notebook; a saved one shows a spread of 1 and 8 slots.
    """

    def picture(spread: float = 1, slots: int = 8) -> Shown:
        n = np.array(SLOTS, float)
        lengths = _lengths(spread)
        value = speedup_empirical(slots, lengths)
        curves = [
            Series(f"{term('spread')} {given:g}", n, _curve(given), style=style, faint=True)
            for style, given in enumerate((0, 1, 2), start=3)
            if given != spread
        ]
        chart = Chart(
            term("times the iterations that are needed"),
            term("slots"),
            "S(n)",
            (
                *curves,
                Series(f"{term('spread')} {spread:g}", n, _curve(spread), style=0),
                point(f"S({slots}) = {fixed(value, 2)}", slots, value, style=1),
            ),
        )
        return charted(chart, say("spread", n=slots, value=fixed(value, 2), waste=percent(1 - 1 / value)))

    return Knobs(picture, {"spread": LENGTH_SPREADS, "slots": SLOTS}, {"spread": 1, "slots": 8})


@cache
def _curve(spread: float) -> np.ndarray:
    """S(n) for every number of slots."""
    return np.array([speedup_empirical(n, _lengths(spread)) for n in SLOTS])


@cache
def _lengths(spread: float) -> np.ndarray:
    """Lengths with mean 1 of the gamma law with this coefficient of variation."""
    if spread == 0:
        return np.ones(1)
    dice = random.Random(4)
    return np.array([max(dice.gammavariate(1 / spread**2, spread**2), 1e-9) for _ in range(DRAWN)])
