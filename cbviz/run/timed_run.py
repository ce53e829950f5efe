"""Undisturbed timed runs: one executor, made once, serves the same workload repeatedly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from cbviz.config import EngineConfig
from cbviz.core import Engine
from cbviz.events import Iteration
from cbviz.models import LoadedModel
from cbviz.policies import Policy, fresh
from cbviz.run.breakdown import Breakdown, profiled
from cbviz.run.build import ModelOrGraphs, build_engine, build_executor, reports_captures
from cbviz.run.lane import Lane
from cbviz.run.progress import Progress
from cbviz.trace import Trace
from cbviz.workload import Workload

WARM_UP = 16
"""Iterations before the timed ones: first calls load libraries and fill caches."""
PROFILED = 40
"""Iterations to profile, after the warm-up."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the workload: wall-clock seconds, output tokens, iterations, and the lane if it was recorded."""

    seconds: float
    tokens: int
    iterations: int
    lane: Lane | None


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Within the block, Python's garbage collector skips all objects that are older than the block.

    torch.compile leaves millions of objects behind: a collection that visits them takes as long as hundreds of
    iterations of a small model, at an unpredictable moment. Serving engines freeze them, too (vLLM does so once its
    model is warm).
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True, slots=True)
class Setting:
    """What runs, and how: a model, a policy, a workload, and the configuration of the engine.

    Every run starts from a fresh copy of `policy`.
    """

    loaded: LoadedModel
    policy: Policy
    workload: Workload
    config: EngineConfig

    def executor(self, progress: Progress) -> ModelOrGraphs:
        """Allocate the KV cache and capture the graphs. Raises what `build_executor` raises."""
        return build_executor(self.loaded, self.config, self.workload, reports_captures(progress))

    def engine(self, executor: ModelOrGraphs) -> Engine:
        """An engine with the whole workload submitted, and no recorder."""
        engine = build_engine(executor, fresh(self.policy), self.config, self.workload.arrival_unit)
        engine.submit(*self.workload)
        return engine

    def lane(self, executor: ModelOrGraphs) -> Lane:
        """A lane with the whole workload submitted: an engine with a recorder."""
        return Lane(self.loaded, executor, fresh(self.policy), self.workload, config=self.config, clock="alone")

    def timed(self, executor: ModelOrGraphs, record: bool) -> Run:
        """Serve the workload once. The clock runs from before the first request is submitted to the last token."""
        tokens = iterations = 0
        with only_new_garbage():
            began = perf_counter()
            served = self.lane(executor) if record else self.engine(executor)
            while (event := served.step()) is not None:
                tokens += event.generated
                iterations += 1
            seconds = perf_counter() - began
        return Run(seconds, tokens, iterations, served if isinstance(served, Lane) else None)

    def warm_up(self, executor: ModelOrGraphs) -> list[Iteration]:
        """Run a few iterations before the timed ones, and return them."""
        engine = self.engine(executor)
        first = [event for _ in range(WARM_UP) if (event := engine.step()) is not None]
        self._drain(engine)
        return first

    def profile(self, executor: ModelOrGraphs, trace: Trace) -> Breakdown | None:
        """Where the time of a step goes on a GPU, of iterations whose length `trace` has, a run of the same work.

        None if the workload ends before the slots are full and warm.
        """
        engine = self.engine(executor)
        for _ in range(WARM_UP):
            engine.step()
        ends = trace.iterations.t_end[WARM_UP - 1 : WARM_UP + PROFILED]
        undisturbed = float(ends[-1] - ends[0]) * PROFILED / (len(ends) - 1) if len(ends) > 1 else 0.0
        found = profiled(engine, PROFILED, undisturbed)
        self._drain(engine)
        return found

    def _drain(self, engine: Engine) -> None:
        """Cancel all remaining requests, so that nothing is in flight when the executor serves another run."""
        for request in self.workload:
            engine.cancel(request.id)
        while engine.step() is not None:
            pass
