"""Request-level dynamic batching: a batch starts when enough requests wait, or when the oldest has waited enough."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.policies.base import Plan, View
from cbviz.policies.parameters import not_negative, whole_or_none


@dataclass(frozen=True, slots=True)
class RequestLevel:
    """Form batches as requests come, and run each batch to its longest request.

    The server in front of the model batches, the model knows nothing of it: NVIDIA Triton calls it dynamic batching
    (`max_queue_delay_microseconds`, by default 0), Ray Serve `@serve.batch` (`max_batch_size`,
    `batch_wait_timeout_s`). As under static batching nobody enters a batch that runs, and whoever ends early keeps
    the slot and is computed in vain.

    Parameters
    ----------
    batch_size
        Start as soon as this many wait. None means one for every slot; there is never more than one for every slot.
    window
        Start anyway when the oldest has waited this long, in the unit of arrivals (seconds, or iterations). Ray
        Serve's default is 0.01 s. With 0 nothing is waited for, and the rule is static batching.
    """

    batch_size: int | None = None
    window: float = 0.01
    name: str = "request_level"

    def __post_init__(self) -> None:
        whole_or_none(self.name, "batch_size", self.batch_size)
        not_negative(self.name, "window", self.window)

    @property
    def summary(self) -> str:
        size = "every slot has a request" if self.batch_size is None else f"{self.batch_size} wait"
        return f"start a batch when {size} or the oldest has waited {self.window:g}; run it to its longest"

    def plan(self, view: View) -> Plan:
        if view.running:
            reason = "a batch is running, and nobody enters it before its longest request has ended"
            return Plan(hold="all", put_off=view.closed(reason))
        if not view.waiting:
            return Plan()
        size = min(self.batch_size or view.slots, view.slots)
        deadline = view.waiting[0].arrival + self.window
        if len(view.waiting) < size and view.clock < deadline:
            waited = view.clock - view.waiting[0].arrival
            reason = f"{len(view.waiting)} of {size} wait, and the oldest has waited {waited:g} of {self.window:g}"
            return Plan(wait_until=deadline, put_off=view.closed(reason))
        fitting = view.fitting()
        full = view.closed(f"the batch has its {size} requests", fitting[:size])
        return Plan(admit=fitting[:size], put_off=view.misfit(fitting) if len(fitting) < size else full)
