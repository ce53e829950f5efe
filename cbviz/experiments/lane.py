"""One lane: an engine of its own, with its own policy, KV pool and recorder, serving one workload on a shared model."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any

import torch
import transformers

import cbviz
from cbviz.engine import Engine, Executor
from cbviz.engine.logit_rules import NO_RULES, LogitRules
from cbviz.errors import CapacityError
from cbviz.limits import MOST_BLOCK_SIZE, MOST_SLOTS, whole
from cbviz.memory import BlockPool, KVOptions
from cbviz.models import LoadedModel
from cbviz.models.device import device_name as device_name
from cbviz.policies import Policy, identity
from cbviz.trace import Iteration, Mark, Recorder, Trace, TraceMeta
from cbviz.trace.recorder import check_recordable
from cbviz.workload import Request, Workload

NO_OPTIONS = KVOptions()


class Lane:
    """Serves a workload once. Make a new lane for another run.

    Parameters
    ----------
    loaded
        The model; lanes share it.
    executor
        What computes, with a cache of its own. It may have served other lanes before, one after the other.
    policy
        Who runs. It is asked itself: a caller that makes several lanes gives each a fresh copy.
    workload
        What to serve.
    slots, block_size, kv_blocks
        Slots of this lane and the KV blocks of its own pool.
    clock
        "alone" if nothing else runs meanwhile, "lane" if it takes turns with others. Written into the trace.
    lag
        The engine's: 0, or 1 to plan one iteration ahead of the tokens that the host has seen.
    kv
        Prefix cache and swapping. Written into the trace.

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
        slots: int,
        block_size: int,
        kv_blocks: int,
        clock: str,
        lag: int = 0,
        kv: KVOptions = NO_OPTIONS,
    ) -> None:
        pool = BlockPool(kv_blocks, block_size, prefix_cache=kv.prefix_cache)
        name, summary = identity(policy)
        self.policy = policy
        self.slots = slots
        self.kv_blocks = kv_blocks
        self._changes: tuple[Mark, ...] = ()
        self._loaded = loaded
        self._submitting = threading.Lock()
        self.engine = Engine(
            executor,
            policy,
            slots=slots,
            pool=pool,
            lag=lag,
            arrival_unit=workload.arrival_unit,
            preemption=kv.preemption,
            swap_blocks=kv.swap_blocks,
        )
        self.engine.submit(*workload)
        self._recorder = Recorder(
            TraceMeta(
                policy=name,
                policy_summary=summary,
                slots=slots,
                block_size=block_size,
                total_blocks=kv_blocks,
                block_bytes=self.engine.block_bytes,
                model=loaded.name,
                device=device_name(loaded.device),
                dtype=str(loaded.dtype).removeprefix("torch."),
                workload=workload.name,
                seed=workload.seed,
                arrival_unit=workload.arrival_unit,
                clock=clock,
                lag=self.engine.lag,
                extra=policy_parameters(policy) | _circumstances(loaded, executor) | kv.chosen(),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                versions=versions(),
            ),
            workload,
        )

    @property
    def now(self) -> float:
        """Seconds on this lane's clock."""
        return self.engine.now

    def submit(self, *requests: Request) -> None:
        """More requests, arriving now on this lane's clock: all of them, or none if one is refused.

        Raises what `Engine.submit` raises, and TraceError for an id that no trace can hold.
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
        """Something about the run was changed: the next iteration tells of it."""
        self._changes += changes

    def step(self) -> Iteration | None:
        """Run one iteration and record it; None when the workload is served."""
        event: Iteration | None = None
        try:
            event = self.engine.step()
            if event is not None and self._changes:
                event, self._changes = replace(event, changed=self._changes), ()
        finally:  # requests may have been cancelled though no iteration came of it
            with self._submitting:
                if event is not None:
                    self._recorder.add(event, self.engine.untold_cancellations)
                elif untold := self.engine.untold_cancellations:
                    self._recorder.add_cancelled(untold)
        return event

    def run(self) -> Iterator[Iteration]:
        """Every iteration that is left."""
        while (event := self.step()) is not None:
            yield event

    def output(self, request: int) -> list[int]:
        """The output tokens of a request so far."""
        return self.engine.output(request)

    def trace(self, texts: bool = True) -> Trace:
        """What has happened so far: valid at any time, in any thread; looking changes nothing.

        `texts` False leaves out what each token adds to the text.
        """
        readable = texts and self._loaded.tokenizer is not None
        return self._recorder.trace(self._loaded.pieces if readable else None)


def policy_parameters(policy: object) -> dict[str, Any]:
    """A policy's parameters, where it is a dataclass with plain values: they belong to the record of a run."""
    if not is_dataclass(policy) or isinstance(policy, type):
        return {}
    values = {field.name: getattr(policy, field.name) for field in fields(policy) if field.name != "name"}
    return {name: value for name, value in values.items() if isinstance(value, int | float | str | None)}


def _circumstances(loaded: LoadedModel, executor: Executor) -> dict[str, Any]:
    """What else decides a run.

    How long a request may be, how the weights are stored if not as the dtype says, and the rules for logits if any.
    """
    weights = {"weights": loaded.weights} if loaded.weights else {}
    rules: LogitRules = getattr(executor, "rules", NO_RULES)
    return {"context_limit": executor.context_limit, **weights, **({"logit_rules": str(rules)} if rules else {})}


def kv_blocks_for(workload: Workload, slots: int, block_size: int) -> int:
    """Blocks with which every slot can hold the workload's longest request (prompt + max_new_tokens).

    Raises CapacityError if `slots` or `block_size` is no whole number from 1 to what `cbviz.limits` allows.
    """
    whole("slots", slots, 1, MOST_SLOTS, error=CapacityError)
    whole("block_size", block_size, 1, MOST_BLOCK_SIZE, error=CapacityError)
    longest = max(len(request.prompt) + request.max_new_tokens for request in workload)
    return slots * -(-longest // block_size)


def versions() -> dict[str, str]:
    """Versions of what a run depends on."""
    return {
        "cbviz": cbviz.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
