"""How a step of a decomposition is timed: whole where that is quick, else in part, the rest counted.

Rule: a run that ends within the benchmark's limit is timed whole, three times. A longer one is broken off after the
limit, though never before three batches (of a scheme without batches: three thirds of what was served). Before that,
the beginning of the run is served once without a clock: kernels are loaded when they are first needed, and passes with
prompts, which are few, need ones of their own. The schedule is known exactly without a model, because lengths are
forced and all requests are there from the start. So the seconds are those of *all* its iterations, each at the cost
that was measured for its rows and context, and the spread is that between the three parts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter

import numpy as np
import numpy.typing as npt
from torch.nn.attention import SDPBackend, sdpa_kernel

from cbviz.measure.iteration_work import iteration_work
from cbviz.run.build import ModelOrGraphs
from cbviz.run.calibrate import FEWEST_TO_FIT, fit, identified
from cbviz.run.decompose_plan import Benchmark, Setup
from cbviz.run.forecast import forecast, uninterrupted
from cbviz.run.lane import Lane
from cbviz.run.timed_run import Setting, only_new_garbage
from cbviz.simulator.cost import CostModel
from cbviz.trace import Trace

PARTS = 3
"""Batches, or thirds of a measurement, between which the spread is taken; also the whole runs of a quick step."""
FEWEST_TIMED = PARTS * FEWEST_TO_FIT
UNTIMED = 1 / 3
"""Of the limit, for which a step runs before it is timed."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step took. Seconds are for all requests.

    Attributes
    ----------
    step
        `DecomposeStep.key`.
    seconds, low, high
        The median, and the range of runs or of parts.
    iterations
        Of the whole run, counted exactly.
    method
        "whole", "counted" (timed in part) or "simulated".
    timed_iterations, timed_seconds
        What ran on the device.
    whole_seconds
        Of a step that was timed both ways, what the whole run took; None for the others.
    """

    step: str
    seconds: float
    low: float
    high: float
    iterations: int
    method: str
    timed_iterations: int = 0
    timed_seconds: float = 0.0
    whole_seconds: float | None = None

    @property
    def apart(self) -> float | None:
        """By which share of the whole run the counted seconds miss it; None unless it was timed both ways."""
        return None if self.whole_seconds is None else self.seconds / self.whole_seconds - 1


@contextmanager
def attention_of(kind: str) -> Iterator[None]:
    """Within the block, eager attention is computed naively, with its matrix of scores in memory, or as usual."""
    if kind != "naive":
        yield
        return
    with sdpa_kernel([SDPBackend.MATH]):
        yield


def measured(
    key: str,
    setting: Setting,
    executor: ModelOrGraphs,
    benchmark: Benchmark,
    setup: Setup,
    *,
    both_ways: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> StepResult:
    """Time one step.

    Parameters
    ----------
    key
        The step.
    setting, executor
        What runs; the executor may be larger than the setting.
    benchmark, setup
        The work, and how it is served.
    both_ways
        Time the whole run whatever it takes, and report what its first part alone would have said.
    advance
        Called after each iteration with how many requests have ended so far.

    Returns
    -------
    StepResult
        With method "whole" or "counted".
    """
    setting.warm_up(executor)
    lane, _, ended = _serve(setting, executor, UNTIMED * benchmark.limit, parts=False)
    if not ended:
        _drain(setting, lane)
    limit = float("inf") if both_ways else benchmark.limit
    lane, seconds, ended = _serve(setting, executor, limit, batches=setup.batches, advance=advance)
    trace = lane.trace(texts=False)
    if not ended:
        _drain(setting, lane)
    if both_ways or not ended:
        found = counted(key, trace, benchmark, setup, first=both_ways)
        return replace(found, whole_seconds=seconds) if both_ways else found
    runs = [seconds]
    while len(runs) < PARTS:
        runs.append(_serve(setting, executor, float("inf"), batches=setup.batches, advance=advance)[1])
    iterations = len(trace.iterations)
    return StepResult(
        key, median(runs), min(runs), max(runs), iterations, "whole", PARTS * iterations, sum(runs)
    )  # fmt: skip


def counted(key: str, trace: Trace, benchmark: Benchmark, setup: Setup, *, first: bool = False) -> StepResult:
    """The seconds of all iterations of a step, from the times of the first of them.

    Parameters
    ----------
    key
        The step.
    trace
        What was timed: the beginning of the run, or all of it.
    benchmark, setup
        The whole work, and how it is served.
    first
        Use only the first three batches of the trace, or its first third.

    Returns
    -------
    StepResult
        With method "counted".
    """
    parts = parts_of(trace, setup.batches, first)
    end = parts[-1].stop
    work = iteration_work(trace)
    x = np.column_stack([np.ones(len(work.decodes)), work.columns(), work.prefill_tokens > 0])[:end]
    ends = trace.iterations.t_end[:end]
    taken = np.diff(ends, prepend=trace.iterations.t_start[0])  # the host's time between two iterations included
    a, b, c, p, d, e = coefficients = fit(x, taken, identified(x)[0])
    modelled = x @ np.array(coefficients)
    found = uninterrupted(
        forecast(
            benchmark.columns(setup.declared),
            setup.policy,
            cost=CostModel(a, b, c, p, d, e, name=key),
            slots=setup.slots,
            block_size=benchmark.block_size,
            kv_blocks=setup.blocks,
            context_limit=benchmark.prompt + benchmark.cap,
            lag=trace.meta.lag,
        )
    )
    each = [found.seconds * float(taken[part].sum() / modelled[part].sum()) for part in parts]
    seconds = found.seconds * float(taken.sum() / modelled.sum())
    return StepResult(
        key, seconds, min(*each, seconds), max(*each, seconds), found.iterations, "counted", end, float(taken.sum())
    )  # fmt: skip


def parts_of(trace: Trace, batches: bool, first: bool) -> list[slice]:
    """The parts of a run between which the spread is taken: its complete batches, or thirds.

    Parameters
    ----------
    trace
        A run, complete or broken off.
    batches
        Whether it runs batch after batch.
    first
        Only the first three batches, or thirds of the first third.
    """
    n = len(trace.iterations)
    if batches:
        admitted = trace.requests.admitted
        starts: list[int] = np.unique(admitted[admitted >= 0]).tolist()
        over = bool((trace.requests.finished >= 0).all())
        edges = [*starts, n] if over else starts
        edges = edges[: PARTS + 1] if first else edges
        if len(edges) > PARTS:
            return [slice(a, b) for a, b in itertools.pairwise(edges)]
    last = max(n // PARTS, min(n, FEWEST_TIMED)) if first else n
    cuts: npt.NDArray[np.int64] = np.linspace(0, last, PARTS + 1).round().astype(np.int64)
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(cuts) if b > a]


def _serve(
    setting: Setting,
    executor: ModelOrGraphs,
    limit: float,
    *,
    batches: bool = False,
    parts: bool = True,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Lane, float, bool]:
    """One run; the lane, its seconds, and whether it was served to its end.

    It is broken off after `limit` seconds; with `parts` not before it can be cut into `PARTS`.
    """
    started = done = iterations = 0
    with only_new_garbage():
        began = perf_counter()
        lane = setting.lane(executor)
        while (event := lane.step()) is not None:
            iterations += 1
            started += bool(event.admitted)
            if event.finished:
                done += len(event.finished)
                advance(done)
            over = perf_counter() - began > limit
            enough = started > PARTS if batches else iterations >= FEWEST_TIMED
            if over and (enough or not parts):
                return lane, perf_counter() - began, False
        return lane, perf_counter() - began, True


def _drain(setting: Setting, lane: Lane) -> None:
    """Cancel what is left, so that nothing is in flight when the executor serves the next step."""
    for request in setting.workload:
        lane.engine.cancel(request.id)
    while lane.engine.step() is not None:
        pass
