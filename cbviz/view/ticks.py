"""Where the ticks of an axis lie, and how a number is written at one."""

from __future__ import annotations

import math


def step_above(least: float) -> float:
    """The 1, 2 or 5 times a power of ten that comes next above `least`, or is as good as equal to it.

    Examples
    --------
    >>> step_above(3.2), step_above(20)
    (5.0, 20.0)
    """
    power = 10.0 ** math.floor(math.log10(least))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= least * (1 - 1e-9))


def whole_step(scale: float, room: float) -> int:
    """A step of whole units, 1, 2 or 5 times a power of ten, that keeps `room` px (or characters) between ticks.

    `scale` is the px of a unit.
    """
    return max(1, round(step_above(room / scale)))


def label(value: float) -> str:
    """A tick's label: short, and without rounding noise.

    Examples
    --------
    >>> label(0.1 + 0.2), label(25_000), label(4e9)
    ('0.3', '25k', '4G')
    """
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:.4g}"
