"""KV blocks: which are free, and which request has which.

The cache is cut into blocks of `block_size` positions. A request has a list of blocks; position p of the request lies
in its block p // block_size. One mechanism, two schemes: with blocks as long as the longest request every request takes
one block at admission, which *is* reserving the maximum (Orca, OSDI'22, §4.3); with small blocks that are taken as the
request grows it *is* paging (PagedAttention, SOSP'23, §4.3).

Free blocks are taken again in the order in which they were let go: least recently used first, and of one request the
last block first, because a chain without its beginning is of no use to a prefix cache.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable

from cbviz.core.prefix_cache import PrefixIndex
from cbviz.errors import CapacityError


class Blocks:
    """Blocks 0 … `blocks` - 1, each free or used by one request; with a prefix cache (`prefix`), by one or more."""

    def __init__(self, blocks: int, block_size: int, prefix: PrefixIndex | None) -> None:
        self.blocks = blocks
        self.block_size = block_size
        self.prefix = prefix
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(blocks))
        self._owned: dict[int, tuple[int, ...]] = {}
        self._users = [0] * blocks

    @property
    def free(self) -> int:
        """Blocks without a user. With a prefix cache some of them may still hold what could be found again."""
        return len(self._free)

    @property
    def taken(self) -> int:
        """Blocks with a user; a shared one counts once."""
        return self.blocks - len(self._free)

    def blocks_for(self, positions: int) -> int:
        """Blocks that hold this many positions: ⌈positions / block_size⌉."""
        return -(-positions // self.block_size)

    def frees(self, owners: Iterable[int]) -> int:
        """How many blocks would become free if all these requests (each named once) released theirs."""
        # Without a prefix cache no block is shared, so counting each request's blocks is enough.
        if self.prefix is None:
            return sum(len(self._owned.get(owner, ())) for owner in owners)
        return len(self.freed_by(owners))

    def freed_by(self, owners: Iterable[int]) -> set[int]:
        """Which blocks those are: not the ones that another request uses, too."""
        gone = Counter(block for owner in owners for block in self._owned.get(owner, ()))
        return {block for block, times in gone.items() if times == self._users[block]}

    def grow(self, owner: int, positions: int) -> list[int]:
        """Give a request blocks until it has room for `positions` in all; return the new ones, in order.

        Raises
        ------
        CapacityError
            Fewer blocks are free than that takes. Nothing has changed then.
        """
        blocks = self._owned.get(owner, ())
        lacking = self.blocks_for(positions) - len(blocks)
        if lacking <= 0:
            return []
        if lacking > len(self._free):
            raise CapacityError(
                f"request {owner} needs {lacking} more KV blocks of {self.block_size} positions, "
                f"but only {len(self._free)} of {self.blocks} are free."
            )
        new = [self._free.popitem(last=False)[0] for _ in range(lacking)]
        for block in new:
            self._users[block] = 1
            if self.prefix is not None:
                self.prefix.evict(block)
        self._owned[owner] = (*blocks, *new)
        return new

    def release(self, owner: int) -> int:
        """Take back all blocks of a request; those without another user become free. Returns how many it had."""
        blocks = self._owned.pop(owner, ())
        for block in reversed(blocks):
            self._users[block] -= 1
            if not self._users[block]:
                self._free[block] = None
        return len(blocks)
