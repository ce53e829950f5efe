"""What a live board must know about a lane before its first iteration."""

from __future__ import annotations

from dataclasses import dataclass

from cbviz.checks import is_whole
from cbviz.errors import CbvizError


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
            raise CbvizError(f"a lane needs a whole number of at least 1 slots, not {self.slots!r}.")
