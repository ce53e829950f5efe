"""What an engine does about KV memory, beside the pool's size."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Preemption = Literal["recompute", "swap"]


@dataclass(frozen=True, slots=True)
class KVOptions:
    """How memory is shared and how it is taken away. `Engine` says what makes no sense.

    Parameters
    ----------
    prefix_cache
        Whether requests with the same beginning share its KV blocks.
    preemption
        Whether the preempted are recomputed or swapped to host memory.
    swap_blocks
        KV blocks that host memory has room for; None takes as many as the pool has.
    """

    prefix_cache: bool = False
    preemption: Preemption = "recompute"
    swap_blocks: int | None = None

    def chosen(self) -> dict[str, bool | str | int | None]:
        """What was chosen differently from the default, for the record of a run."""
        default = asdict(KVOptions())
        return {name: value for name, value in asdict(self).items() if value != default[name]}
