"""Swapping: keys and values of preempted requests wait in host memory instead of being computed again.

vLLM V0's other way to preempt (PagedAttention, SOSP'23, §4.5): the blocks are copied out when a request loses its slot
and copied back, into whatever blocks are free then, when it is admitted again. It costs bandwidth between host and
device where recomputation costs compute.
"""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.core.block_pool import BlockPool
from cbviz.core.executor import Copies


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

    def put(self, request: int, blocks: Sequence[int]) -> bool:
        """Have a request's written blocks copied out with the next step. False if there is no room for them."""
        if not 0 < len(blocks) <= self.pool.free:
            return False
        self._out += zip(blocks, self.pool.grow(request, len(blocks) * self.pool.block_size), strict=True)
        return True

    def bring_back(self, request: int, blocks: Sequence[int]) -> None:
        """Have what a request has in host memory copied into the first of these blocks."""
        host = self.pool.owned(request)
        self._back += zip(host, blocks[: len(host)], strict=True)
        self.pool.release(request)

    def drop(self, request: int) -> None:
        """Discard what a request has in host memory."""
        self.pool.release(request)

    def drop_all(self) -> None:
        """Discard everything: its content cannot be trusted any more."""
        for request in self.pool.owners:
            self.pool.release(request)
        self._out.clear()
        self._back.clear()

    def copies(self) -> tuple[Copies, Copies]:
        """For `Step`: what to copy out and what to copy back; each pair is returned once."""
        out, back = tuple(self._out), tuple(self._back)
        self._out.clear()
        self._back.clear()
        return out, back
