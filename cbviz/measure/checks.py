"""What the formulas ask of their arguments, in one sentence each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.errors import MeasureError

MOST = 10_000_000


def whole(name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """The value, if it is a whole number from `least` to `most`. Raises MeasureError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise MeasureError(f"{name} must be a whole number from {least} to {most}, not {value!r}.")
    return int(value)


def number(name: str, value: Any, above: float = 0.0, *, or_equal: bool = False) -> float:
    """The value, if it is finite and above (or equal to) a limit. Raises MeasureError."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or value < above or (value == above and not or_equal):
        limit = f"of at least {above:g}" if or_equal else f"above {above:g}"
        raise MeasureError(f"{name} must be a finite number {limit}, not {value!r}.")
    return float(value)


def lengths_of(name: str, values: Any, least: float = 0.0) -> npt.NDArray[np.float64]:
    """The values as a float64 column of at least one finite number above `least`. Raises MeasureError."""
    try:
        column = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        column = np.empty(0)
    if column.ndim != 1 or not len(column) or not np.isfinite(column).all() or not (column > least).all():
        raise MeasureError(f"{name} must be a list of at least one finite number above {least:g}.")
    return column
