"""How a run used its slots: useful, wasted, spare; in iterations or in seconds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from cbviz.checks import shown
from cbviz.errors import MeasureError
from cbviz.measure.checks import a_trace
from cbviz.trace import Trace

Unit = Literal["iterations", "seconds"]


@dataclass(frozen=True, slots=True)
class SlotUse:
    """Slot-iterations, or slot-seconds, by what the slot did.

    Only prefill and decode are useful: they compute a position for the first time. An empty slot is *wasted* while a
    request waits, and *spare* while none does. Slots closed during the run (`Trace.closed_slots`) do not count.

    Attributes
    ----------
    prefill, decode
        Useful work.
    recompute
        Prefill repeated after a preemption.
    held
        Rows of finished requests that stay in their batch.
    stalled
        Requests in a slot that got no token.
    wasted_idle, spare_idle
        Empty slots, while a request waited or not.
    """

    prefill: float
    decode: float
    recompute: float
    held: float
    stalled: float
    wasted_idle: float
    spare_idle: float

    @property
    def total(self) -> float:
        """All of them."""
        return float(sum(getattr(self, field.name) for field in fields(self)))

    @property
    def useful(self) -> float:
        """Prefill and decode."""
        return self.prefill + self.decode

    @property
    def wasted(self) -> float:
        """Everything but useful and spare: what a waiting request could have used."""
        return self.recompute + self.held + self.stalled + self.wasted_idle

    @property
    def occupancy(self) -> float:
        """Useful / all; 0 for an empty run."""
        return self.useful / self.total if self.total else 0.0

    def shares(self) -> dict[str, float]:
        """The share of each use.

        Returns
        -------
        dict[str, float]
            Name of the field → share. They sum to 1, or are all 0 for an empty run.
        """
        return {field.name: getattr(self, field.name) / (self.total or 1.0) for field in fields(self)}


def slot_use(trace: Trace, unit: Unit = "iterations") -> SlotUse:
    """How the slots of a run were used.

    In seconds, an iteration counts for as long as it took, and time without any request (a jump of the lane's clock to
    the next arrival) is spare. In iterations there is no such time.

    Parameters
    ----------
    trace
        The run.
    unit
        "iterations" or "seconds".

    Returns
    -------
    SlotUse
        Slot-iterations or slot-seconds by use.

    Raises
    ------
    MeasureError
        The unit is unknown, or `trace` is not a trace.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import slot_use
    >>> static, continuous = cbviz.recorded("smollm2-8")
    >>> slot_use(static).held, slot_use(continuous).spare_idle
    (3480.0, 786.0)
    """
    if not isinstance(unit, str) or unit not in ("iterations", "seconds"):
        raise MeasureError(f"slots are counted in 'iterations' or 'seconds', not in {shown(unit)}.")
    it = a_trace(trace).iterations
    weight = it.t_end - it.t_start if unit == "seconds" else np.ones(len(it))
    no_request = trace.seconds - float(weight.sum()) if unit == "seconds" else 0.0
    contended = it.waiting > 0
    idle = it.idle_slots - trace.closed_slots
    return SlotUse(
        prefill=float(it.prefill_slots @ weight),
        decode=float(it.decode_slots @ weight),
        recompute=float(it.recompute_slots @ weight),
        held=float(it.held_slots @ weight),
        stalled=float(it.stalled_slots @ weight),
        wasted_idle=float(idle @ (weight * contended)),
        spare_idle=float(idle @ (weight * ~contended)) + max(0.0, no_request) * trace.meta.slots,
    )
