"""Takes a benchmark's headline apart: one factor at a time, from its slowest entry to a whole engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cbviz.checks import PASSING, counted, flag, kind_of, listed, number, one_line, one_of, shown
from cbviz.errors import CbvizError, FileError, MeasureError
from cbviz.messages import Message
from cbviz.models import LoadedModel, as_loaded
from cbviz.paths import new_file, short
from cbviz.run.decompose_costs import kernel_costs
from cbviz.run.decompose_file import load_decomposition, save_decomposition
from cbviz.run.decompose_plan import (
    KERNELS,
    ORDERS,
    Benchmark,
    DecomposeStep,
    benchmark_of,
    chain,
    checked_names,
)
from cbviz.run.decompose_result import Decomposition
from cbviz.run.decompose_sources import Measured, Simulated
from cbviz.run.progress import Progress, progress_of
from cbviz.simulator.cost import CostModel
from cbviz.simulator.cost_file import load_cost

ARTICLE_CONTEXT = 2_048
"""Positions that a model needs for the article's benchmark."""


def decompose(
    model: str | LoadedModel = "tiny",
    *,
    benchmark: str | Benchmark | None = None,
    cap: int | None = None,
    requests: int | None = None,
    seed: int = 0,
    simulate: str | os.PathLike[str] | CostModel | None = None,
    steps: Sequence[str] | None = None,
    orders: Sequence[str] = ORDERS,
    two_by_two: bool = False,
    both_ways: str | None = None,
    only: Sequence[str] | None = None,
    goes_on: Callable[[str], bool] | None = None,
    limit: float | None = None,
    device: str | None = None,
    dtype: str | None = None,
    forecast: str | os.PathLike[str] | Decomposition | None = None,
    save: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Decomposition:
    """Run the benchmark behind "23x" step by step, each step changing one thing, and say what each was worth.

    `cbviz.run.decompose_plan` says what the steps are, `cbviz.run.decompose_measure` how they are timed.

    Parameters
    ----------
    model
        A name for `cbviz.models.load`, or a model from there.
    benchmark
        "article" or "small"; None takes "article" for simulations and for a GPU whose model has the context, else
        "small". Or one from `benchmark_of`, without the next three.
    cap, requests, seed
        As for `benchmark_of`.
    simulate
        A calibration: nothing is run, and the seconds are the simulator's.
    steps
        Schemes and kernels to pass through; None takes all that the device has. On a CPU these are eager kernels only.
    orders
        One or both of `ORDERS`. The second is a check: it shows what contributions depend on.
    two_by_two
        Measure scheduler × kernels, and attention naive against fused, instead of the orders.
    both_ways
        The key of a step, such as "paged/fused", to time whole whatever it takes, to check what part of it says.
    only
        Keys of steps, run in this order now; the others stay without a result, for `resume`. None runs all.
    goes_on
        Asked with its key before every step; False ends the run as an interrupt would.
    limit
        Seconds after which a run is broken off and its rest is counted; None takes the benchmark's.
    device, dtype
        As for `cbviz.bench`; the article's benchmark on a GPU takes float16.
    forecast
        A simulated decomposition of the same benchmark, made before the run: its factors are shown beside.
    save
        A file (.json) that holds what was found, written after every step.
    resume
        Continue what `save` holds.
    progress
        Where to report; None is silent.

    Returns
    -------
    Decomposition
        An interrupt ends the run; what was measured until then is returned, and kept in `save`.

    Raises
    ------
    MeasureError
        Steps, orders or numbers that make no sense, or a file or forecast of another benchmark.
    CapacityError
        The model, or the benchmark with it, does not fit.
    CbvizError
        What the model, the device or the calibration cannot do.

    Examples
    --------
    >>> steps = ["dataset_longest", "batch_longest"]
    >>> found = decompose(simulate="a100-40gb-opt-13b", steps=steps, orders=["schedule_first"])
    >>> [(factor.name, round(factor.ratio, 1)) for factor in found.factors("schedule_first")]
    [('batch_longest', 4.0)]
    """
    names, chosen_orders = checked_names(steps), checked_orders(orders)
    flag("two_by_two", two_by_two, error=MeasureError)
    flag("resume", resume, error=MeasureError)
    twice = None if both_ways is None else DecomposeStep.of(both_ways)
    if limit is not None:
        number("limit", limit, error=MeasureError)
    if resume and save is None:
        raise MeasureError("resume needs save, the file that holds what was measured.")
    target = None if save is None else new_file(save, "save", suffix=".json")
    if target is not None and not resume:
        _check_nothing_is_lost(target)
    own = {"cap": cap, "requests": requests, "seed": seed, "limit": limit}
    if simulate is not None:
        if any(given is not None for given in (both_ways, limit, device, dtype)):
            raise MeasureError("a simulation runs nothing, so it takes no both_ways, limit, device or dtype.")
        work = _benchmark("article" if benchmark is None else benchmark, own)
        cost = load_cost(simulate)
        source: Measured | Simulated = Simulated(kernel_costs(cost), cost, work)
    else:
        if device == "cpu" and dtype is None and isinstance(model, str):
            dtype = "float32"
        if dtype is None and isinstance(model, str) and model.endswith("opt-13b"):
            dtype = "float16"
        loaded = as_loaded(model, device=device, dtype=dtype)
        roomy = loaded.device.type == "cuda" and loaded.context_limit >= ARTICLE_CONTEXT
        work = _benchmark(("article" if roomy else "small") if benchmark is None else benchmark, own)
        source = Measured(loaded, work)
    names, notes = source.allowed(names, asked=steps is not None, quadrants=two_by_two)
    chains = {order: chain(order, names) for order in chosen_orders}
    if len(set(chains.values())) < len(chains):  # with one kind of kernels, both orders are one
        chains = dict(list(chains.items())[:1])
    quadrants: tuple[DecomposeStep, ...] = ()
    if two_by_two:
        chains, quadrants = {}, source.quadrants()
    found = Decomposition(
        work, *source.origin(), results={}, chains=chains, quadrants=quadrants, notes=notes,
        date=datetime.now(UTC).isoformat(timespec="seconds"), versions=source.versions(),
    )  # fmt: skip
    if forecast is not None:
        found = _beside(found, forecast)
    if resume:
        found = _resumed(found, target)
    wanted = _unique([step for steps in (*chains.values(), quadrants) for step in steps] + ([twice] if twice else []))
    if only is not None:
        wanted = tuple(DecomposeStep.of(key) for key in listed("only", only, "steps", error=MeasureError))
        if again := next((step for step in wanted if wanted.count(step) > 1), None):
            raise MeasureError(f"only has the step {again.key} twice.")
        if twice is not None and twice not in wanted:
            raise MeasureError(
                f"both_ways is {twice.key}, which is not among the steps of only; add it, or leave it out."
            )
    source.prepare([step for step in wanted if step.key not in found.results or step == twice])
    return _run(found, wanted, source, twice, target, _asker(goes_on), progress_of(progress))


def _run(
    found: Decomposition,
    wanted: Sequence[DecomposeStep],
    source: Measured | Simulated,
    twice: DecomposeStep | None,
    target: Path | None,
    goes_on: Callable[[str], bool],
    bars: Progress,
) -> Decomposition:
    """Run what has no result yet; every result is written as it comes."""
    try:
        for step in wanted:
            known = found.results.get(step.key)
            if known is not None and not (step == twice and known.whole_seconds is None):
                continue
            if not goes_on(step.key):
                found = replace(found, stopped=True)
                break
            result = source.run(step, step == twice, bars)
            found = replace(found, results={**found.results, step.key: result})
            if target is not None:
                save_decomposition(found, target)
    except KeyboardInterrupt:
        found = replace(found, stopped=True)
        if target is not None and found.results:
            save_decomposition(found, target)
    finally:
        source.close()
        bars.close()
    return found


def _asker(goes_on: Callable[[str], bool] | None) -> Callable[[str], bool]:
    """Asks the caller's function; None always goes on."""
    if goes_on is None:
        return lambda _: True
    if not callable(goes_on):
        raise MeasureError(f"goes_on must be None or a function of a step's name, not {shown(goes_on)}.")

    def ask(step: str) -> bool:
        try:
            return bool(goes_on(step))
        except PASSING:
            raise
        except Exception as error:  # the caller's code
            raise MeasureError(f"goes_on({step!r}) raised {kind_of(error)}: {one_line(error)}.") from error

    return ask


def _benchmark(given: str | Benchmark, own: dict[str, Any]) -> Benchmark:
    if isinstance(given, Benchmark):
        if any(value is not None for name, value in own.items() if name != "seed") or own["seed"]:
            raise MeasureError("give a Benchmark, or cap, requests, seed and limit, not both.")
        return given
    return benchmark_of(given, **own)


def checked_orders(given: Sequence[str]) -> tuple[str, ...]:
    """The orders that are asked for, in the order in which they are run.

    Parameters
    ----------
    given
        One or both of `ORDERS`.

    Returns
    -------
    tuple of str
        Each once.

    Raises
    ------
    MeasureError
        None, or one that there is not.
    """
    asked = [one_of("an order", order, ORDERS, error=MeasureError) for order in listed("orders", given, "names")]
    if not asked:
        raise MeasureError(f"orders must be one or both of {', '.join(ORDERS)}, not {shown(given)}.")
    return tuple(order for order in ORDERS if order in asked)


def _unique(steps: Sequence[DecomposeStep]) -> tuple[DecomposeStep, ...]:
    """Each step once, those that share kernels together, so that each executor is made once."""
    order = sorted(dict.fromkeys(steps), key=lambda step: (KERNELS.index(step.kernels), step.attention))
    return tuple(order)


def _beside(found: Decomposition, given: str | os.PathLike[str] | Decomposition) -> Decomposition:
    """With what a simulation of the same benchmark says, and a note if it is of another model or device."""
    said = given if isinstance(given, Decomposition) else load_decomposition(given)
    ours, theirs = (replace(each.benchmark, limit=0.0) for each in (found, said))
    if not said.cost or ours != theirs:
        raise MeasureError("the forecast must be a simulation of the same benchmark: cap, requests and seed included.")
    notes = found.notes
    if (said.model, said.device) != (found.model, found.device):
        notes = (*notes, Message("decompose.other_forecast", model=said.model, device=said.device))
    return replace(found, forecasts=said.results, notes=notes)


def _check_nothing_is_lost(target: Path) -> None:
    """Refuse a file that holds results, which the first new one would replace."""
    if not target.exists():
        return
    try:
        held = len(load_decomposition(target).results)
    except CbvizError:
        return  # another file, which the caller has named
    if held:
        raise MeasureError(
            f"{short(target)} holds a decomposition with {counted(held, 'step')}; pass resume to continue it, or save "
            "to another file."
        )


def _resumed(found: Decomposition, target: Path | None) -> Decomposition:
    if target is None or not target.exists():
        raise FileError(f"there is nothing to resume: {short(target)} does not exist.")
    before = load_decomposition(target)
    ours, theirs = found.settings(), before.settings()
    limit = before.benchmark.limit
    if ours != theirs and found.benchmark == replace(before.benchmark, limit=found.benchmark.limit):
        raise MeasureError(f"{short(target)} was measured with a limit of {limit:g} seconds; resume with the same.")
    if ours != theirs:
        other = [name for name in ours if ours[name] != theirs[name]]
        raise MeasureError(
            f"{short(target)} was measured with another {' and '.join(other)}; resume with the same settings, or save "
            "to another file."
        )
    return replace(found, results=before.results, notes=found.notes)
