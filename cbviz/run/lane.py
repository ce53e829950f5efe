"""One lane: its own engine, policy, KV pool and recorder, serving one workload on a shared model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

from cbviz.config import EngineConfig
from cbviz.core import Executor
from cbviz.events import Iteration, Mark
from cbviz.models import LoadedModel
from cbviz.policies import Policy
from cbviz.run.build import build_engine
from cbviz.run.lane_meta import lane_meta
from cbviz.trace import Recorder, Trace
from cbviz.trace.recorder import check_recordable
from cbviz.workload import Request, Workload


class Lane:
    """Serves a workload once. Make a new lane for another run.

    Parameters
    ----------
    loaded
        The model; lanes share it.
    executor
        Runs the forward passes and owns the KV cache. It may have served other lanes before this one.
    policy
        Plans every iteration. The lane uses the object itself: a caller with several lanes passes each a fresh copy.
    workload
        What to serve.
    config
        Slots, the KV blocks of the lane's own pool, lag, prefix cache and swapping: what the executor was made from.
    clock
        "alone" if nothing else runs at the same time, "lane" if it takes turns with others. Written into the trace.

    Raises
    ------
    CapacityError
        A request that can never fit.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        executor: Executor,
        policy: Policy,
        workload: Workload,
        *,
        config: EngineConfig,
        clock: str,
    ) -> None:
        self.policy = policy
        self.slots = config.slots
        self.kv_blocks = config.blocks
        self._changes: tuple[Mark, ...] = ()
        self._loaded = loaded
        self._submitting = threading.Lock()
        self.engine = build_engine(executor, policy, config, workload.arrival_unit)
        self.engine.submit(*workload)
        self._recorder = Recorder(lane_meta(loaded, self.engine, config, workload, clock), workload)

    @property
    def now(self) -> float:
        """Seconds on this lane's clock."""
        return self.engine.now

    def submit(self, *requests: Request) -> None:
        """Submit more requests, arriving now on this lane's clock; if one is refused, none is accepted.

        Raises what `Engine.submit` raises, and TraceError for an id that a trace cannot hold.
        """
        for request in requests:
            check_recordable(request)
        with self._submitting:  # no iteration with them is recorded before they are
            coming = [replace(request, arrival=self.engine.arrival_clock) for request in requests]
            self.engine.submit(*coming)
            self._recorder.add_requests(coming)

    @property
    def arrival_clock(self) -> float:
        """Now, in the unit of arrivals."""
        return self.engine.arrival_clock

    def note(self, *changes: Mark) -> None:
        """Record a change to the run; the next iteration carries it."""
        self._changes += changes

    def step(self) -> Iteration | None:
        """Run one iteration and record it; None when the workload is served."""
        event: Iteration | None = None
        try:
            event = self.engine.step()
            if event is not None and self._changes:
                event, self._changes = replace(event, changed=self._changes), ()
        finally:  # requests may have been cancelled even if no iteration ran
            with self._submitting:
                if event is not None:
                    self._recorder.add(event, self.engine.untold_cancellations)
                elif untold := self.engine.untold_cancellations:
                    self._recorder.add_cancelled(untold)
        return event

    def run(self) -> Iterator[Iteration]:
        """Run and yield every remaining iteration."""
        while (event := self.step()) is not None:
            yield event

    def output(self, request: int) -> list[int]:
        """The output tokens of a request so far."""
        return self.engine.output(request)

    def trace(self, texts: bool = True) -> Trace:
        """The run so far: valid at any time and in any thread; reading it changes nothing.

        `texts` False leaves out the text that each token adds.
        """
        readable = texts and self._loaded.tokenizer is not None
        return self._recorder.trace(self._loaded.pieces if readable else None)
