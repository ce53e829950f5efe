"""Swapping: keys and values of preempted requests wait in host memory instead of being computed again.

vLLM V0's other way to preempt (PagedAttention, SOSP'23, §4.5): the blocks are copied out when a request loses its slot
and copied back, into whatever blocks are free then, when it is admitted again. It costs bandwidth between host and
device where recomputation costs compute.
"""

from __future__ import annotations

from collections.abc import Iterable

from cbviz.core.block_pool import BlockPool
from cbviz.core.executor import Copies
from cbviz.core.request_state import RequestState
from cbviz.core.slots import Slots
from cbviz.reason import Reason


class SwapSpace:
    """Which request has which blocks of host memory, and what the next step must copy.

    Parameters
    ----------
    blocks, block_size
        Blocks in host memory, and positions in each.
    """

    def __init__(self, blocks: int, block_size: int) -> None:
        self.pool = BlockPool(blocks, block_size, name="swap_blocks")
        self._out: list[tuple[int, int]] = []
        self._back: list[tuple[int, int]] = []

    def blocks_of(self, request: int) -> int:
        """Blocks that a request has in host memory."""
        return len(self.pool.owned(request))

    def take_out(self, live: RequestState, slots: Slots, slot: int) -> Reason | None:
        """Have what a preempted request has written copied out with the next step, if there is room for all of it.

        Returns what the iteration reports of it; None if nothing is written.
        """
        computed = int(slots.computed[slot])
        written = slots.tables[slot, : slots.pool.blocks_for(computed)].tolist()
        if not written:
            return None
        if len(written) > self.pool.free:
            return Reason("no_host_memory", blocks=len(written))
        self._out += zip(written, self.pool.grow(live.request.id, len(written) * self.pool.block_size), strict=True)
        live.swapped = computed
        return Reason("swapped_out", blocks=len(written))

    def bring_back(self, live: RequestState, slots: Slots, slot: int) -> Reason:
        """Have what a request has in host memory copied into the first blocks of the slot that it was admitted to.

        Returns what the iteration reports of it.
        """
        host = self.pool.owned(live.request.id)
        self._back += zip(host, slots.tables[slot, : len(host)].tolist(), strict=True)
        self.pool.release(live.request.id)
        slots.computed[slot], live.swapped = live.swapped, 0
        return Reason("swapped_in", blocks=len(host))

    def drop(self, live: RequestState) -> None:
        """Discard what a request has in host memory."""
        self.pool.release(live.request.id)
        live.swapped = 0

    def drop_all(self, waiting: Iterable[RequestState]) -> None:
        """Discard everything: its content cannot be trusted any more. Only waiting requests have something here."""
        for request in self.pool.owners:
            self.pool.release(request)
        for live in waiting:
            live.swapped = 0
        self._out.clear()
        self._back.clear()

    def copies(self) -> tuple[Copies, Copies]:
        """For `Step`: what to copy out and what to copy back; each pair is returned once."""
        out, back = tuple(self._out), tuple(self._back)
        self._out.clear()
        self._back.clear()
        return out, back
