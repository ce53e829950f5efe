"""Decompositions as files: written after every step, so that an interrupt loses nothing, and checked when read."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from cbviz.checks import finite, is_a, is_version, is_whole, known_elsewhere, shown
from cbviz.errors import CbvizError, FileError, MeasureError
from cbviz.paths import path_of, short, why, write_whole
from cbviz.run.decompose_measure import StepResult
from cbviz.run.decompose_plan import ORDERS, Benchmark, DecomposeStep, Level
from cbviz.run.decompose_result import DECOMPOSITION_FORMAT, DECOMPOSITION_VERSION, Decomposition

LARGEST_DECOMPOSITION = 2**22
LONGEST_STEP = 1e9
"""Of a step: thirty years."""
METHODS = ("whole", "counted", "simulated")
_FOLDER = Path(__file__).parent / "decompositions"
DECOMPOSITIONS = {
    "opt-13b-h200": "the article's benchmark at its highest cap, OPT-13B's shape with random weights on an H200",
    "opt-13b-attention-h200": "attention naive and fused there: one schedule and eager kernels, in one call",
}
"""Name and description of each decomposition that ships, to look at without a GPU."""


def save_decomposition(found: Decomposition, path: str | os.PathLike[str]) -> Path:
    """Write a decomposition.

    Parameters
    ----------
    found
        What to write.
    path
        The file; its name should end in .json.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileError
        It cannot be written; what it held before is still there.
    """
    return write_whole(path, json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n", "the decomposition")


def recorded_decomposition(name: str = "opt-13b-h200") -> Decomposition:
    """Load a decomposition that was measured on a large GPU and ships with cbviz.

    Parameters
    ----------
    name
        A key of `DECOMPOSITIONS`.

    Returns
    -------
    Decomposition
        The measured steps, each with the forecast that was written down before the run.

    Raises
    ------
    MeasureError
        There is no such decomposition; the message lists those there are.

    Examples
    --------
    >>> found = recorded_decomposition()
    >>> {factor.name: round(factor.ratio, 2) for factor in found.factors("kernels_first")}["iteration_level"]
    1.94
    """
    if not is_a(name, str) or str.__str__(name) not in DECOMPOSITIONS:
        known = ", ".join(DECOMPOSITIONS)
        raise MeasureError(
            f"there is no recorded decomposition {shown(name)}; there is {known}{known_elsewhere(name)}."
        )
    return load_decomposition(_FOLDER / f"{str.__str__(name)}.json")


def load_decomposition(given: str | os.PathLike[str] | dict[str, Any]) -> Decomposition:
    """Read a decomposition.

    Parameters
    ----------
    given
        A file that `save_decomposition` wrote, or its content.

    Returns
    -------
    Decomposition
        What it holds.

    Raises
    ------
    FileError
        It cannot be read.
    MeasureError
        It is no decomposition, or was damaged.
    """
    content: Any = given
    where = "the content"
    if not isinstance(given, dict):
        path = path_of(given, "the decomposition")
        where = short(path)
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST_DECOMPOSITION + 1)
        except OSError as error:
            raise FileError(f"the decomposition {where} cannot be read: {why(error)}.") from None
        try:
            content = json.loads(data) if len(data) <= LARGEST_DECOMPOSITION else None
        except (ValueError, RecursionError):
            content = None
    if not isinstance(content, dict) or content.get("format") != DECOMPOSITION_FORMAT:
        raise MeasureError(f"{where} is no decomposition that this cbviz reads: `cbviz decompose --save` writes one.")
    if not is_version(version := content.get("version"), DECOMPOSITION_VERSION):
        raise MeasureError(
            f"{where} is a decomposition of version {shown(version)}; cbviz reads version {DECOMPOSITION_VERSION}."
        )
    try:
        return _decomposition(content)
    except KeyError as error:
        said = f"it lacks {error}"
    except (TypeError, AttributeError):
        said = "a part of it is null, or of another kind than cbviz writes"
    except (ValueError, CbvizError) as error:
        said = str(error).rstrip(".")
    raise MeasureError(f"{where} is a damaged decomposition: {said}.")


def _decomposition(content: dict[str, Any]) -> Decomposition:
    settings = content["settings"]
    made = dict(settings["benchmark"])
    benchmark = Benchmark(**{**made, "level": Level(**made["level"])})
    numbers = {name: getattr(benchmark, name) for name in ("requests", "prompt", "mean", "cap", "block_size", "seed")}
    for name, value in {**numbers, "batch": benchmark.level.batch, "quota": benchmark.level.quota}.items():
        if not is_whole(value) or value < (name != "seed"):
            raise ValueError(f"its benchmark has no {name}")
    if (limit := finite(benchmark.limit)) is None or limit <= 0:
        raise ValueError("its benchmark has no limit")
    orders = content["orders"]
    if not set(orders) <= set(ORDERS):
        raise ValueError("it has unknown orders")
    return Decomposition(
        benchmark=benchmark,
        model=str(settings["model"]),
        device=str(settings["device"]),
        dtype=str(settings["dtype"]),
        cost=str(settings["cost"]),
        results=_results(content["results"]),
        chains={order: tuple(DecomposeStep.of(key) for key in steps) for order, steps in orders.items()},
        quadrants=tuple(DecomposeStep.of(key) for key in content["quadrants"]),
        forecasts=_results(content["forecasts"]),
        notes=tuple(str(note) for note in content["notes"]),
        stopped=bool(content["stopped"]),
        date=str(content["date"]),
        versions={str(name): str(value) for name, value in content["versions"].items()},
    )


def _results(rows: Any) -> dict[str, StepResult]:
    found = {}
    for row in rows:
        result = StepResult(**{f.name: row[f.name] for f in fields(StepResult)})
        DecomposeStep.of(result.step)
        low, middle, high = (finite(value) or 0.0 for value in (result.low, result.seconds, result.high))
        ordered = 0 < low <= middle <= high < LONGEST_STEP
        counts = (result.iterations, result.timed_iterations)
        if not ordered or result.method not in METHODS or not all(is_whole(count) and count >= 0 for count in counts):
            raise ValueError(f"the step {result.step} has impossible values")
        if result.step in found:
            raise ValueError(f"the step {result.step} is there twice")
        found[result.step] = result
    return found
