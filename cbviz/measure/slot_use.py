"""How the slots spent a run: useful, wasted, spare; counted in iterations or in seconds."""

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

    Useful is what advances a prompt or an output position for the first time: prefill and decode. Everything else is
    not. An empty slot is *wasted* while somebody waits and *spare* while nobody does. Slots that somebody has closed
    while it ran (`Trace.closed_slots`) are not counted at all.
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
        return float(sum(getattr(self, field.name) for field in fields(self)))

    @property
    def useful(self) -> float:
        return self.prefill + self.decode

    @property
    def wasted(self) -> float:
        """What somebody could have used: everything but the useful and the spare."""
        return self.recompute + self.held + self.stalled + self.wasted_idle

    @property
    def occupancy(self) -> float:
        """Useful / all; 0 for a run of nothing."""
        return self.useful / self.total if self.total else 0.0

    def shares(self) -> dict[str, float]:
        """Each kind's share of all; they sum to 1, or are all 0 for a run of nothing."""
        return {field.name: getattr(self, field.name) / (self.total or 1.0) for field in fields(self)}


def slot_use(trace: Trace, unit: Unit = "iterations") -> SlotUse:
    """How the slots of a run were used.

    In seconds an iteration counts as long as it took, and the time in which nothing ran because nobody was there (the
    jump of the lane's clock to the next arrival) is spare. In iterations such time does not exist.

    Raises
    ------
    MeasureError
        A unit that is neither "iterations" nor "seconds".
    """
    if not isinstance(unit, str) or unit not in ("iterations", "seconds"):
        raise MeasureError(f"slots are counted in 'iterations' or 'seconds', not in {shown(unit)}.")
    it = a_trace(trace).iterations
    weight = it.t_end - it.t_start if unit == "seconds" else np.ones(len(it))
    nobody = trace.seconds - float(weight.sum()) if unit == "seconds" else 0.0
    someone_waits = it.waiting > 0
    idle = it.idle_slots - trace.closed_slots
    return SlotUse(
        prefill=float(it.prefill_slots @ weight),
        decode=float(it.decode_slots @ weight),
        recompute=float(it.recompute_slots @ weight),
        held=float(it.held_slots @ weight),
        stalled=float(it.stalled_slots @ weight),
        wasted_idle=float(idle @ (weight * someone_waits)),
        spare_idle=float(idle @ (weight * ~someone_waits)) + max(0.0, nobody) * trace.meta.slots,
    )
