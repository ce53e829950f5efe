"""The KV block pool: who owns which part of the cache.

The cache is cut into blocks of `block_size` positions. A request owns a list of blocks; position p of the request lies
in its block p // block_size. One mechanism, two schemes: with blocks as long as the longest request every request takes
one block at admission, which *is* reserving the maximum (Orca, OSDI'22, §4.3); with small blocks that are taken as the
request grows it *is* paging (PagedAttention, SOSP'23, §4.3).
"""

from __future__ import annotations

from collections import deque

from cbviz.errors import CapacityError


class BlockPool:
    """Blocks 0 … `blocks` - 1, each owned by one request or free.

    Parameters
    ----------
    blocks
        Blocks in the pool, at least 1.
    block_size
        Positions in a block, at least 1.
    """

    def __init__(self, blocks: int, block_size: int) -> None:
        for name, value in (("kv_blocks", blocks), ("block_size", block_size)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise CapacityError(f"{name} must be a whole number of at least 1, not {value!r}.")
        self.blocks = blocks
        self.block_size = block_size
        self._free = deque(range(blocks))
        self._owned: dict[int, list[int]] = {}

    @property
    def free(self) -> int:
        """Blocks that nobody owns."""
        return len(self._free)

    @property
    def owners(self) -> tuple[int, ...]:
        return tuple(self._owned)

    def owned(self, owner: int) -> tuple[int, ...]:
        """The owner's blocks, in the order of its positions."""
        return tuple(self._owned.get(owner, ()))

    def blocks_for(self, positions: int) -> int:
        """Blocks that hold this many positions."""
        return -(-positions // self.block_size)

    def grow(self, owner: int, positions: int) -> list[int]:
        """Give `owner` blocks until it has room for `positions`; return the new ones.

        Raises
        ------
        CapacityError
            Fewer blocks are free than that takes. Nothing has changed then.
        """
        blocks = self._owned.get(owner, [])
        lacking = self.blocks_for(positions) - len(blocks)
        if lacking <= 0:
            return []
        if lacking > len(self._free):
            raise CapacityError(
                f"request {owner} needs {lacking} more KV blocks of {self.block_size} positions, "
                f"but only {len(self._free)} of {self.blocks} are free."
            )
        new = [self._free.popleft() for _ in range(lacking)]
        self._owned[owner] = [*blocks, *new]
        return new

    def release(self, owner: int) -> int:
        """Take back all blocks of `owner`; return how many they were. They go to the end of the free list."""
        blocks = self._owned.pop(owner, [])
        self._free.extend(blocks)
        return len(blocks)

    def check_fits(self, owner: int, positions: int) -> None:
        """Raise CapacityError if a request of this many positions could not fit even an empty pool."""
        if self.blocks_for(positions) > self.blocks:
            raise CapacityError(
                f"request {owner} needs {positions} positions = {self.blocks_for(positions)} KV blocks of "
                f"{self.block_size}, but the whole pool has {self.blocks} ({self.blocks * self.block_size} positions); "
                f"it can never run."
            )
