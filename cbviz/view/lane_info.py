"""What a board must know about a lane: before the first iteration of a live run, and of a recorded one."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.checks import is_whole, shown
from cbviz.errors import CbvizError
from cbviz.trace.marks import SET
from cbviz.trace.trace import Trace

_SET_POLICY = "policy = "


@dataclass(frozen=True, slots=True)
class LaneInfo:
    """One lane of a board.

    Attributes
    ----------
    name, summary
        The policy's, shown as text.
    slots
        Rows of its grid, at least 1.
    total_blocks
        KV blocks of its pool; 0 hides the meter.

    Raises
    ------
    CbvizError
        No slots.
    """

    name: str
    summary: str
    slots: int
    total_blocks: int = 0

    def __post_init__(self) -> None:
        if not is_whole(self.slots) or self.slots < 1:
            raise CbvizError(f"a lane needs a whole number of at least 1 slots, not {shown(self.slots)}.")


def policy_name(trace: Trace) -> str:
    """What the lane of a recorded run is called: its policy, or in a playground the one that was set last."""
    marks = trace.marks
    chosen = [
        why for kind, why in zip(marks.kind, marks.reason, strict=True) if kind == SET and why.startswith(_SET_POLICY)
    ]
    return str(chosen[-1]).removeprefix(_SET_POLICY) if chosen else trace.meta.lane
