"""Which runs a sweep consists of: every combination of a grid's values, each with several seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from itertools import product
from math import isfinite, prod
from typing import Any

from cbviz.checks import as_float, listed, shown, whole
from cbviz.errors import SweepError
from cbviz.limits import MOST_SEED

MOST_CELLS_SWEPT = 1_000_000
OWN_COLUMNS = ("run", "seed", "error")
"""Columns that every table has; no parameter may be called so."""

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class SweepCell:
    """One run: its place in the table, the parameters, and the seed.

    The same run number has the same seed in every combination, so that policies are compared on the same requests.
    """

    index: int
    parameters: dict[str, Value]
    run: int
    seed: int

    @property
    def label(self) -> str:
        """What a message calls it."""
        return ", ".join([*(f"{name}={value}" for name, value in self.parameters.items()), f"seed={self.seed}"])


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """All runs of a sweep, in the order of the table: the last parameter of the grid changes fastest, then the seed."""

    grid: dict[str, tuple[Value, ...]]
    fixed: dict[str, Value]
    num_runs: int
    seed: int
    work: str

    @property
    def size(self) -> int:
        """How many runs it has."""
        return self.num_runs * prod(len(values) for values in self.grid.values())

    def __len__(self) -> int:
        return self.size

    def cells(self) -> list[SweepCell]:
        """Every run."""
        found: list[SweepCell] = []
        for values in product(*self.grid.values()):
            parameters = dict(zip(self.grid, values, strict=True))
            for run in range(self.num_runs):
                found.append(SweepCell(len(found), parameters, run, self.seed + run))
        return found

    def cell(self, index: int) -> SweepCell:
        """The run at a place of the table."""
        place, run = divmod(index, self.num_runs)
        parameters: dict[str, Value] = {}
        for name, values in reversed(self.grid.items()):
            place, at = divmod(place, len(values))
            parameters[name] = values[at]
        return SweepCell(index, dict(reversed(parameters.items())), run, self.seed + run)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values, which a folder keeps so that only the same sweep continues there."""
        return {
            "grid": {name: list(values) for name, values in self.grid.items()},
            "fixed": self.fixed,
            "num_runs": self.num_runs,
            "seed": self.seed,
            "work": self.work,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the plan."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()


def plan_of(grid: object, fixed: Mapping[str, Any], num_runs: object, seed: object, work: str) -> SweepPlan:
    """Check a grid. Raises SweepError for one without values, with values that no table can hold, or too large."""
    if not isinstance(grid, Mapping) or not grid:
        raise SweepError(f'a grid must map names to lists of values, such as {{"slots": [8, 16]}}, not {shown(grid)}.')
    checked: dict[str, tuple[Value, ...]] = {}
    for name, values in grid.items():
        _check_name(name)
        if name in fixed:
            raise SweepError(f"{name} is given twice: in the grid and as one value for all.")
        found = tuple(
            _value(name, value) for value in listed(f"the values of {name}", values, "values", error=SweepError)
        )
        if not found:
            raise SweepError(f"the grid has no value for {name}.")
        if len({(type(value), value) for value in found}) != len(found):
            raise SweepError(f"the grid has a value of {name} twice.")
        checked[name] = found
    for name in fixed:
        _check_name(name)
    plan = SweepPlan(
        checked,
        {name: _value(name, value) for name, value in fixed.items()},
        whole("num_runs", num_runs, 1, MOST_CELLS_SWEPT, error=SweepError),
        whole("seed", seed, 0, MOST_SEED - MOST_CELLS_SWEPT, error=SweepError),
        work,
    )
    if plan.size > MOST_CELLS_SWEPT:
        raise SweepError(f"the grid has {plan.size:,} runs; at most {MOST_CELLS_SWEPT:,} are swept at once.")
    return plan


def check_parameters(work: Callable[..., object], plan: SweepPlan) -> None:
    """Raise SweepError for a parameter that the function does not take: no run of the sweep could succeed."""
    try:
        taken = signature(work).parameters.values()
    except (TypeError, ValueError):  # a function of C tells nothing
        return
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in taken):
        return
    allowed = [p.name for p in taken if p.kind in (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    for name in (*plan.grid, *plan.fixed):
        if name not in allowed:
            known = ", ".join(sorted(set(allowed) - {"seed"}))
            raise SweepError(f"there is no parameter {shown(name)}; allowed are {known}.")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.isidentifier() or name in OWN_COLUMNS:
        raise SweepError(f"a parameter must have a name such as slots, and not {shown(name)}.")


def _value(name: str, value: Any) -> Value:
    fits = isfinite(value) if isinstance(value, float) else isinstance(value, int) and as_float(int(value)) is not None
    if value is None or isinstance(value, bool | str) or fits:
        plain: Value = value
        return plain
    raise SweepError(f"a value of {name} must be a text, a finite number, True, False or None, not {shown(value)}.")
