"""Curves out of the table of a sweep: one for each combination of the parameters that a curve does not run along.

Only runs, which differ in their seed, are averaged. A mean over slots=2 and slots=64 would belong to no configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

import numpy as np

from cbviz.checks import shown
from cbviz.errors import SweepError
from cbviz.run.sweep_plan import SweepPlan, Value
from cbviz.run.sweep_table import SweepRow

Curve = tuple[list[float], list[float]]
"""x in ascending order, and y there."""
LOADS = ("rate", "clients")
"""How much is asked of a server: what a curve runs along where x is a result."""


def curves_of(
    plan: SweepPlan, rows: Sequence[SweepRow], columns: Sequence[str], y: str, x: str, by: str | None
) -> dict[str, Curve]:
    """See `Sweep.curves`."""
    if by == "policy" and by not in columns:
        by = None
    for name in (y, x, by):
        if name is not None and name not in columns:
            raise SweepError(f"the table has no column {shown(name)}; it has {', '.join(columns)}.")
    varied = [name for name, values in plan.grid.items() if len(values) > 1 and name not in (x, by)]
    along = [] if x in plan.grid else _along(varied, x)
    apart = [name for name in varied if name not in along]
    written = {name: _written(plan.grid[name]) for name in plan.grid}
    points: dict[str, dict[tuple[Any, ...], list[tuple[float, float]]]] = {}
    for row in rows:
        at, value = row.get(x), row.get(y)
        if row["error"] or not _is_number(at) or not _is_number(value):
            continue
        first = [] if by is None else [written.get(by, str)(row[by])]
        curve = ", ".join(first + [f"{name}={written[name](row[name])}" for name in apart]) or y
        place = (float(at),) if x in plan.grid else tuple(written[name](row[name]) for name in along)
        points.setdefault(curve, {}).setdefault(place, []).append((float(at), float(value)))
    found = {name: sorted(_means(places.values())) for name, places in points.items()}
    return {name: ([at for at, _ in curve], [value for _, value in curve]) for name, curve in found.items()}


def _along(varied: list[str], x: str) -> list[str]:
    """The parameters along which x, a result, changes within a curve."""
    if loads := [name for name in varied if name in LOADS]:
        return loads
    if len(varied) > 1:
        raise SweepError(
            f"{x} is a result, and {' and '.join(varied)} vary, so a curve could run along any of them; choose "
            "x among these, or sweep one of them alone."
        )
    return varied


def _means(places: Iterable[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean over the runs of each place. Of equal numbers it is that number, to the last digit."""

    def mean(values: tuple[float, ...]) -> float:
        return values[0] if len(set(values)) == 1 else float(np.mean(values))

    return [(mean(xs), mean(ys)) for xs, ys in (tuple(zip(*runs, strict=True)) for runs in places)]


def _written(values: tuple[Value, ...]) -> Any:
    """How the values of a parameter are written in names: as they are, unless 2 and "2" would look alike."""
    return str if len({str(value) for value in values}) == len(values) else repr


def _is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a field of the table is a number and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)
