"""One lane: an engine of its own, with its own policy, KV pool and recorder, serving one workload on a shared model."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any

import torch
import transformers

import cbviz
from cbviz.engine import Engine, Executor
from cbviz.errors import CapacityError
from cbviz.memory import BlockPool, KVOptions
from cbviz.models import LoadedModel
from cbviz.policies import Policy
from cbviz.trace import Iteration, Mark, Recorder, Trace, TraceMeta
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
        Who runs.
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
        self.policy = policy
        self.slots = slots
        self.kv_blocks = kv_blocks
        self._changes: tuple[Mark, ...] = ()
        self._loaded = loaded
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
                policy=policy.name,
                policy_summary=policy.summary,
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
        """More requests, arriving now on this lane's clock. Raises what `Engine.submit` raises."""
        coming = [replace(request, arrival=self.engine.arrival_clock) for request in requests]
        self.engine.submit(*coming)
        self._recorder.add_requests(coming)

    @property
    def arrival_clock(self) -> float:
        """Now, in the unit of arrivals."""
        return self.engine.arrival_clock

    def note(self, *changes: Mark) -> None:
        """Somebody changed something about the run: the next iteration tells of it."""
        self._changes += changes

    def step(self) -> Iteration | None:
        """Run one iteration and record it; None when the workload is served."""
        event = self.engine.step()
        if event is not None:
            if self._changes:
                event, self._changes = replace(event, changed=self._changes), ()
            self._recorder.add(event)
        return event

    def run(self) -> Iterator[Iteration]:
        """Every iteration that is left."""
        while (event := self.step()) is not None:
            yield event

    def output(self, request: int) -> list[int]:
        """The output tokens of a request so far."""
        return self.engine.output(request)

    def trace(self, texts: bool = True) -> Trace:
        """What has happened so far; valid at any time. `texts` False leaves out what each token adds to the text."""
        self._recorder.add_cancelled(self.engine.untold_cancellations)
        readable = texts and self._loaded.tokenizer is not None
        return self._recorder.trace(self._loaded.pieces if readable else None)


def policy_parameters(policy: object) -> dict[str, Any]:
    """A policy's parameters, where it is a dataclass with plain values: they belong to the record of a run."""
    if not is_dataclass(policy) or isinstance(policy, type):
        return {}
    values = {field.name: getattr(policy, field.name) for field in fields(policy) if field.name != "name"}
    return {name: value for name, value in values.items() if isinstance(value, int | float | str | None)}


def _circumstances(loaded: LoadedModel, executor: Executor) -> dict[str, Any]:
    """What else decides a run: how long a request may be, and how the weights are stored if not as the dtype says."""
    weights = {"weights": loaded.weights} if loaded.weights else {}
    return {"context_limit": executor.context_limit, **weights}


MOST_SLOTS = 65_536
"""Far more than any engine has; every slot costs memory of the host, whether somebody sits there or not."""


def kv_blocks_for(workload: Workload, slots: int, block_size: int) -> int:
    """Blocks with which every slot can hold the workload's longest request (prompt + max_new_tokens).

    Raises CapacityError if `slots` or `block_size` is no whole number of at least 1, or `slots` above `MOST_SLOTS`.
    """
    for name, value in (("slots", slots), ("block_size", block_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CapacityError(f"{name} must be a whole number of at least 1, not {value!r}.")
    if slots > MOST_SLOTS:
        raise CapacityError(f"slots must be at most {MOST_SLOTS:,}, not {slots:,}.")
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


def device_name(device: torch.device) -> str:
    """What people call a device: "cpu", or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
