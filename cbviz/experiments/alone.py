"""Undisturbed runs: one executor, made once, serves the same workload again and again while a clock is read."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from cbviz.checks import one_line
from cbviz.engine import Engine
from cbviz.engine.graphs import GraphExecutor
from cbviz.engine.logit_rules import NO_RULES, LogitRules
from cbviz.engine.model_executor import ModelExecutor
from cbviz.errors import ModelError
from cbviz.experiments.breakdown import Breakdown, profiled
from cbviz.experiments.lane import NO_OPTIONS, Lane
from cbviz.experiments.progress import Progress
from cbviz.memory import BlockPool, KVOptions
from cbviz.models import LoadedModel
from cbviz.policies import Policy, fresh
from cbviz.trace import Iteration
from cbviz.workload import Workload

ModelOrGraphs = GraphExecutor | ModelExecutor
WARM_UP = 16
"""Iterations before those that are timed: first calls load libraries and fill caches."""
PROFILED = 40
"""Iterations that are profiled, after the warm-up."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the workload: seconds on the wall, output tokens that requests asked for, the lane if it recorded."""

    seconds: float
    tokens: int
    iterations: int
    lane: Lane | None


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Within the block Python's garbage collector looks at nothing older than the block.

    torch.compile leaves millions of objects behind: going through them all takes as long as hundreds of iterations of a
    small model, at a moment that nobody chose. Serving engines freeze them, too (vLLM does once its model is warm).
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True, slots=True)
class Setting:
    """What runs, and how. The parameters are those of `cbviz.experiments.bench.bench`, all of them decided.

    Every run starts from a fresh copy of `policy`, which is never asked itself.

    `limit` is the most positions that a request may have; None takes what the longest request of the workload needs.
    `ignore_generation_config` serves the model without what its generation config says, END excepted.
    """

    loaded: LoadedModel
    policy: Policy
    workload: Workload
    slots: int
    block_size: int
    kv_blocks: int
    lag: int
    graphs: bool
    compiled: bool
    limit: int | None = None
    kv: KVOptions = NO_OPTIONS
    ignore_generation_config: bool = False

    def executor(self, progress: Progress) -> ModelOrGraphs:
        """Allocate the KV cache and capture the graphs.

        Raises
        ------
        ModelError
            The model uses something that the engine cannot honour, or torch.compile cannot compile its passes.
        CapacityError
            The device's memory is too small after all.
        """
        pool = BlockPool(self.kv_blocks, self.block_size)
        model, ends = self.loaded.model, self.loaded.end_tokens
        rules = NO_RULES if self.ignore_generation_config else LogitRules.of(model)
        # Block tables need no more columns than the longest request has blocks.
        longest = max(len(request.prompt) + request.max_new_tokens for request in self.workload)
        limit = min(self.limit or longest, self.loaded.context_limit)
        if not self.graphs:
            return ModelExecutor(model, slots=self.slots, pool=pool, end_tokens=ends, limit=limit, rules=rules)
        title, shown = "shapes", 0

        def captured(done: int, total: int) -> None:
            nonlocal shown
            if not done:
                progress.start(title, total)
            progress.advance(title, done - shown)
            shown = done

        try:
            return GraphExecutor(
                model,
                slots=self.slots,
                pool=pool,
                lag=self.lag,
                end_tokens=ends,
                limit=limit,
                compiled=self.compiled,
                longest_prompt=max(len(request.prompt) for request in self.workload),
                progress=captured,
                rules=rules,
            )
        except RuntimeError as error:
            from torch._dynamo.exc import TorchDynamoException  # takes a second to import, and only here it is needed

            if not isinstance(error, TorchDynamoException):
                raise
            raise ModelError(
                f"torch.compile fails here ({one_line(error)}); compiled=False (--no-compile) does without it."
            ) from error

    def engine(self, executor: ModelOrGraphs) -> Engine:
        """An engine with the whole workload submitted, and no recorder."""
        engine = Engine(
            executor,
            fresh(self.policy),
            slots=self.slots,
            pool=BlockPool(self.kv_blocks, self.block_size, prefix_cache=self.kv.prefix_cache),
            lag=self.lag,
            arrival_unit=self.workload.arrival_unit,
            preemption=self.kv.preemption,
            swap_blocks=self.kv.swap_blocks,
        )
        engine.submit(*self.workload)
        return engine

    def lane(self, executor: ModelOrGraphs) -> Lane:
        """The same, recorded."""
        return Lane(
            self.loaded,
            executor,
            fresh(self.policy),
            self.workload,
            slots=self.slots,
            block_size=self.block_size,
            kv_blocks=self.kv_blocks,
            clock="alone",
            lag=self.lag,
            kv=self.kv,
        )

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
        """A few iterations before those that are timed; returns them."""
        engine = self.engine(executor)
        first = [event for _ in range(WARM_UP) if (event := engine.step()) is not None]
        self._drain(engine)
        return first

    def profile(self, executor: ModelOrGraphs) -> Breakdown | None:
        """Where the time of a step goes on a GPU; None if the workload is over before the slots are full and warm."""
        engine = self.engine(executor)
        for _ in range(WARM_UP):
            engine.step()
        found = profiled(engine, PROFILED)
        self._drain(engine)
        return found

    def _drain(self, engine: Engine) -> None:
        """Cancel what is left, so that nothing is in flight when the executor serves somebody else."""
        for request in self.workload:
            engine.cancel(request.id)
        while engine.step() is not None:
            pass
