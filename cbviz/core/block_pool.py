"""The KV block pool of an engine: `Blocks`, with checked sizes, sharing, and answers to questions about it.

With a prefix cache a block may have several users (PagedAttention, SOSP'23, §4.4, shares blocks by reference counts).
"""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.checks import flag, whole
from cbviz.core.blocks import Blocks
from cbviz.core.prefix_cache import PrefixIndex
from cbviz.errors import CapacityError
from cbviz.limits import MOST_BLOCKS, MOST_EXACT


class BlockPool(Blocks):
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

    Examples
    --------
    A request grows from 5 to 9 positions, and leaves:

    >>> from cbviz.core.block_pool import BlockPool
    >>> pool = BlockPool(blocks=4, block_size=4)
    >>> pool.grow(0, 5), pool.grow(0, 9), pool.owned(0)
    ([0, 1], [2], (0, 1, 2))
    >>> pool.release(0), pool.free
    (3, 4)
    """

    def __init__(self, blocks: int, block_size: int, *, prefix_cache: bool = False, name: str = "kv_blocks") -> None:
        for what, value in ((name, blocks), ("block_size", block_size)):
            whole(what, value, 1, MOST_EXACT if what == "block_size" else MOST_BLOCKS, error=CapacityError)
        caches = flag("prefix_cache", prefix_cache, error=CapacityError)
        super().__init__(blocks, block_size, PrefixIndex() if caches else None)

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

    def shrink(self, owner: int, blocks: int) -> None:
        """Take back a request's last blocks, which it shares with no other.

        Parameters
        ----------
        owner
            Id of the request.
        blocks
            How many it keeps; one that has fewer keeps them all.
        """
        kept, given_back = self._owned.get(owner, ())[:blocks], self._owned.get(owner, ())[blocks:]
        for block in reversed(given_back):
            self._users[block] -= 1
            self._free[block] = None
        if given_back:
            self._owned[owner] = kept

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
