"""The KV block pool: who uses which part of the cache.

The cache is cut into blocks of `block_size` positions. A request has a list of blocks; position p of the request lies
in its block p // block_size. One mechanism, two schemes: with blocks as long as the longest request every request takes
one block at admission, which *is* reserving the maximum (Orca, OSDI'22, §4.3); with small blocks that are taken as the
request grows it *is* paging (PagedAttention, SOSP'23, §4.3).

With a prefix cache a block may have several users (PagedAttention, §4.4, shares blocks by reference counts). Blocks
without a user are free, and are taken again in the order in which they were let go: least recently used first, and of
one request the last block first, because a chain without its beginning is of no use.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from cbviz.checks import whole
from cbviz.core.prefix_cache import PrefixIndex
from cbviz.errors import CapacityError
from cbviz.limits import MOST_BLOCKS, MOST_EXACT


class BlockPool:
    """Blocks 0 … `blocks` - 1, each free or used by one request; with a prefix cache, by one or more.

    Parameters
    ----------
    blocks
        Blocks in the pool, at least 1.
    block_size
        Positions in a block, at least 1.
    prefix_cache
        Keep what full blocks hold findable, so that requests with the same beginning share it.
    name
        What error messages call the number of blocks.

    Raises
    ------
    CapacityError
        One of them makes no sense.

    Attributes
    ----------
    prefix
        The index of the prefix cache, None without one.
    """

    def __init__(self, blocks: int, block_size: int, *, prefix_cache: bool = False, name: str = "kv_blocks") -> None:
        for what, value in ((name, blocks), ("block_size", block_size)):
            whole(what, value, 1, MOST_EXACT if what == "block_size" else MOST_BLOCKS, error=CapacityError)
        if not isinstance(prefix_cache, bool):
            raise CapacityError(f"prefix_cache must be True or False, not {prefix_cache!r}.")
        self.blocks = blocks
        self.block_size = block_size
        self.prefix = PrefixIndex() if prefix_cache else None
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

    @property
    def owners(self) -> tuple[int, ...]:
        """Ids of the requests that have blocks."""
        return tuple(self._owned)

    def owned(self, owner: int) -> tuple[int, ...]:
        """The blocks of a request.

        Parameters
        ----------
        owner
            Id of a request.

        Returns
        -------
        tuple of int
            Block numbers in the order of its positions; empty if it has none.
        """
        return self._owned.get(owner, ())

    def holdings(self) -> dict[int, tuple[int, ...]]:
        """The blocks of all requests at this moment.

        Returns
        -------
        dict
            Request id → its blocks, as `owned` gives them. A copy.
        """
        return self._owned.copy()

    def users(self, block: int) -> int:
        """How many requests use a block.

        Parameters
        ----------
        block
            Its number.

        Returns
        -------
        int
            0 if it is free, more than 1 if it is shared.
        """
        return self._users[block]

    def blocks_for(self, positions: int) -> int:
        """Blocks that hold this many positions.

        Parameters
        ----------
        positions
            At least 0.

        Returns
        -------
        int
            ⌈positions / block_size⌉.
        """
        return -(-positions // self.block_size)

    def freed_by(self, owners: Iterable[int]) -> set[int]:
        """The blocks that would become free if all these requests released theirs.

        Parameters
        ----------
        owners
            Ids of requests, each once.

        Returns
        -------
        set of int
            Block numbers; without those that another request uses, too.
        """
        gone = Counter(block for owner in owners for block in self._owned.get(owner, ()))
        return {block for block, times in gone.items() if times == self._users[block]}

    def frees(self, owners: Iterable[int]) -> int:
        """How many blocks `freed_by` would find.

        Parameters
        ----------
        owners
            Ids of requests, each once.

        Returns
        -------
        int
            Blocks.
        """
        # Without a prefix cache no block is shared, so counting each request's blocks is enough.
        if self.prefix is None:
            return sum(len(self._owned.get(owner, ())) for owner in owners)
        return len(self.freed_by(owners))

    def grow(self, owner: int, positions: int) -> list[int]:
        """Give a request blocks until it has room for `positions`.

        Parameters
        ----------
        owner
            Id of the request.
        positions
            What its blocks must hold in all.

        Returns
        -------
        list of int
            The new blocks, in order; empty if it has room already.

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

    def share(self, owner: int, blocks: Sequence[int]) -> None:
        """Let a request that has no blocks yet begin with blocks found in the prefix cache.

        Parameters
        ----------
        owner
            Id of the request.
        blocks
            Block numbers in the order of its positions.
        """
        if not blocks:
            return
        for block in blocks:
            self._users[block] += 1
            self._free.pop(block, None)
        self._owned[owner] = tuple(blocks)

    def release(self, owner: int) -> int:
        """Take back all blocks of a request. Those without another user become free.

        Parameters
        ----------
        owner
            Id of a request.

        Returns
        -------
        int
            How many it had.
        """
        blocks = self._owned.pop(owner, ())
        for block in reversed(blocks):
            self._users[block] -= 1
            if not self._users[block]:
                self._free[block] = None
        return len(blocks)

    def check_fits(self, owner: int, positions: int) -> None:
        """Check that a request fits the empty pool.

        Parameters
        ----------
        owner
            Id of the request, for the message.
        positions
            The most that it can have.

        Raises
        ------
        CapacityError
            It needs more blocks than the pool has.
        """
        if self.blocks_for(positions) > self.blocks:
            raise CapacityError(
                f"request {owner} needs {positions} positions = {self.blocks_for(positions)} KV blocks of "
                f"{self.block_size}, but the whole pool has {self.blocks} ({self.blocks * self.block_size} positions); "
                f"it can never run."
            )
