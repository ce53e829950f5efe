"""What every check of a trace is made of: one complaint, bounds of a column, and rows found by a request's id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

import numpy as np
import numpy.typing as npt

from cbviz.errors import TraceError
from cbviz.trace.trace import IntColumn, IterationTable, MarkTable, RequestTable, SpanTable

BoolArray = npt.NDArray[np.bool_]


def require(holds: bool | np.bool_, complaint: str) -> None:
    """Raise TraceError with the complaint, unless it holds."""
    if not holds:
        raise TraceError(f"the trace does not hold together: {complaint}.")


def check_columns(table: RequestTable | IterationTable | SpanTable | MarkTable, name: str) -> None:
    """Arrays must be one-dimensional int64 or float64 and finite; all columns must have the same length."""
    for field in fields(table):
        column = getattr(table, field.name)
        if str(field.type) in ("FloatArray", "IntColumn"):
            dtype = np.float64 if str(field.type) == "FloatArray" else np.int64
            right = isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype == dtype
            require(right, f"{name}.{field.name} must be a one-dimensional {np.dtype(dtype).name} array")
            require(bool(np.isfinite(column).all()), f"{name}.{field.name} has an entry that is not finite")
        else:
            require(isinstance(column, tuple), f"{name}.{field.name} must be a tuple")
        same = len(column) == len(table)
        require(same, f"{name}.{field.name} has {len(column)} rows where {name} has {len(table)}")


def within(column: IntColumn, least: int, most: int, name: str) -> None:
    """Require that every entry of a column lies between two bounds, both included."""
    if len(column):
        low, high = int(column.min()), int(column.max())
        fits = least <= low and high <= most
        require(fits, f"{name} must lie between {least} and {most}, and has {low if low < least else high}")


def types_of(values: Iterable[object]) -> set[type]:
    """The types that occur."""
    return set(map(type, values))


def row_lengths(column: Sequence[Sequence[object]]) -> IntColumn:
    """The length of every row of a column of tuples."""
    return np.fromiter(map(len, column), np.int64, len(column))


def first_id(ids: IntColumn, broken: BoolArray) -> str:
    """The id of the first broken row, for the message."""
    return str(ids[np.argmax(broken)]) if broken.any() else ""


def request_rows(rq: RequestTable, ids: IntColumn, who: str) -> IntColumn:
    """Rows of many request ids at once. Raises TraceError for an id that is not in the request table."""
    order = np.argsort(rq.id)
    place = np.searchsorted(rq.id, ids, sorter=order)
    known = np.zeros(len(ids), bool)
    inside = place < len(rq)
    row = np.zeros(len(ids), np.int64)
    row[inside] = order[place[inside]]
    known[inside] = rq.id[row[inside]] == ids[inside]
    require(bool(known.all()), f"{who} names request {first_id(ids, ~known)}, which is not in the request table")
    return row
