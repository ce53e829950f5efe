"""Request-level dynamic batching: a batch starts when enough requests wait, or the oldest has waited long enough."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.messages import Message
from cbviz.policies.base import Plan, View
from cbviz.policies.parameters import not_negative, whole_or_none
from cbviz.reason import Reason

UNTIL_LONGEST = Reason("batch_runs_longest")


@dataclass(frozen=True, slots=True)
class RequestLevel:
    """Form batches as requests arrive, and run each batch to its longest request.

    The server in front of the model batches; the model does not know: NVIDIA Triton calls it dynamic batching
    (`max_queue_delay_microseconds`, by default 0), Ray Serve `@serve.batch` (`max_batch_size`,
    `batch_wait_timeout_s`). As in static batching, no request joins a running batch, and a request that ends early
    keeps its slot and is still computed.

    Parameters
    ----------
    batch_size
        Start as soon as this many requests wait. None, and any larger number, means one for every slot.
    window
        Start anyway once the oldest has waited this long, in the unit of arrivals (seconds, or iterations). Ray Serve's
        default is 0.01 s. A window of 0 waits for nothing, and the rule becomes static batching.

    Raises
    ------
    PolicyError
        A parameter is out of range.
    """

    batch_size: int | None = None
    window: float = 0.01
    name: str = "request_level"

    def __post_init__(self) -> None:
        whole_or_none(self, "batch_size")
        not_negative(self, "window")

    @property
    def summary(self) -> str:
        """See `Policy.summary`."""
        if self.batch_size is None:
            return Message("policy.request_level.all_slots", window=self.window)
        return Message("policy.request_level.batch_size", size=self.batch_size, window=self.window)

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        if view.running:
            return Plan(hold="all", put_off=view.closed(UNTIL_LONGEST))
        if not view.waiting:
            return Plan()
        size = min(self.batch_size or view.slots, view.slots)
        deadline = view.waiting[0].arrival + self.window
        if len(view.waiting) < size and view.clock < deadline:
            waited = view.clock - view.waiting[0].arrival
            reason = Reason("batch_waits", waiting=len(view.waiting), size=size, waited=waited, window=self.window)
            return Plan(wait_until=deadline, put_off=view.closed(reason))
        fitting = view.fitting()
        full = view.closed(Reason("batch_full", size=size), fitting[:size])
        return Plan(admit=fitting[:size], put_off=view.misfit(fitting) if len(fitting) < size else full)
