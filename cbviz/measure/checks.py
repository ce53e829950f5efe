"""What measures and formulas ask of their arguments, in one sentence each."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.checks import finite, shown
from cbviz.checks import flag as checked_flag
from cbviz.checks import listed as checked_listed
from cbviz.checks import number as checked_number
from cbviz.checks import one_of as checked_one_of
from cbviz.checks import whole as checked_whole
from cbviz.errors import MeasureError
from cbviz.trace.trace import Trace

MOST = 10_000_000

number = partial(checked_number, error=MeasureError)
one_of = partial(checked_one_of, error=MeasureError)
listed = partial(checked_listed, error=MeasureError)
flag = partial(checked_flag, error=MeasureError)


def whole(name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """The value, if it is a whole number from `least` to `most`. Raises MeasureError."""
    return checked_whole(name, value, least, most, error=MeasureError)


def lengths_of(name: str, values: Any, least: float = 0.0) -> npt.NDArray[np.float64]:
    """The values as a float64 column of at least one finite number above `least`. Raises MeasureError."""
    column = column_of(values)
    if column is None or not len(column) or not np.isfinite(column).all() or not (column > least).all():
        raise MeasureError(f"{name} must be a list of at least one finite number above {least:g}, not {shown(values)}.")
    return column


def column_of(values: Any) -> npt.NDArray[np.float64] | None:
    """The values as a float64 column, NaN among them; None if they are no list of numbers."""
    try:
        column = np.asarray(values, np.float64)
    except Exception:  # values bring code of their own, and what they raise is theirs
        return None
    return column if column.ndim == 1 else None


def a_trace(value: Any) -> Trace:
    """The value, if it is a trace. Raises MeasureError."""
    if not isinstance(value, Trace):
        raise MeasureError(f"a trace is needed, such as race.traces[0], not {shown(value)}.")
    return value


def percentiles_of(values: Any) -> tuple[float, ...]:
    """Percentiles as they were given, if each lies between 0 and 100. Raises MeasureError."""
    found = listed("percentiles", values, "numbers between 0 and 100")
    for p in found:
        plain = finite(p)
        if plain is None or not 0 <= plain <= 100:
            raise MeasureError(f"a percentile must lie between 0 and 100, not {shown(p)}.")
    return tuple(p if isinstance(p, int) else float(p) for p in found)
