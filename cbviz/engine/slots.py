"""The slot table: who sits where and how far each one is, as arrays with one entry a slot.

Arrays, not objects: an iteration over 256 slots is a handful of numpy calls, whoever sits in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbviz.memory import BlockPool
from cbviz.trace.events import NOBODY, BoolArray, IntArray


class Slots:
    """State of all slots.

    Attributes
    ----------
    request
        int32: who sits there, `NOBODY` if it is free.
    prompt
        int32: its prompt tokens.
    known
        int32: its token ids that exist: prompt and output.
    computed
        int32: its positions whose keys and values are in the cache.
    seen
        int32: positions that were in the cache once, before a preemption; below it computing is recomputing.
    generated
        int32: its output tokens so far, those still on their way from the device counted in.
    limit
        int32: output tokens after which it ends by length.
    ended
        bool: its output has ended; it sits there until the plan lets it go.
    capacity
        int32: positions that its KV blocks have room for.
    kept
        int32: its first blocks, as many as the prefix cache knows.
    order
        int64: running number of its admission.
    row
        int32: its row in `Outputs`.
    tables
        int32 [slots, blocks a request]: its KV blocks, -1 where there is none.
    """

    def __init__(self, slots: int, pool: BlockPool, context_limit: int) -> None:
        self.pool = pool
        self.request: IntArray = np.full(slots, NOBODY, np.int32)
        self.prompt: IntArray = np.zeros(slots, np.int32)
        self.known: IntArray = np.zeros(slots, np.int32)
        self.computed: IntArray = np.zeros(slots, np.int32)
        self.seen: IntArray = np.zeros(slots, np.int32)
        self.generated: IntArray = np.zeros(slots, np.int32)
        self.limit: IntArray = np.zeros(slots, np.int32)
        self.capacity: IntArray = np.zeros(slots, np.int32)
        self.kept: IntArray = np.zeros(slots, np.int32)
        self.ended = np.zeros(slots, bool)
        self.order = np.zeros(slots, np.int64)
        self.row: IntArray = np.zeros(slots, np.int32)
        self.tables: IntArray = np.full((slots, pool.blocks_for(context_limit)), -1, np.int32)

    def __len__(self) -> int:
        return len(self.request)

    @property
    def taken(self) -> BoolArray:
        return np.not_equal(self.request, NOBODY)

    def lowest_free(self) -> int:
        return int(np.argmax(self.request == NOBODY))

    def slot_of(self, request: int) -> int:
        """The slot in which a request sits. Raises KeyError."""
        where = np.flatnonzero(self.request == request)
        if not len(where):
            raise KeyError(request)
        return int(where[0])

    def grow(self, slot: int, positions: int) -> None:
        """Give the slot's request blocks until it has room for `positions`. Raises CapacityError."""
        self._add(slot, self.pool.grow(int(self.request[slot]), positions))

    def share(self, slot: int, blocks: Sequence[int]) -> None:
        """The slot's request, which has just sat down, has these blocks already: the prefix cache held them."""
        self._add(slot, blocks)
        self.kept[slot] = len(blocks)
        self.computed[slot] = len(blocks) * self.pool.block_size

    def _add(self, slot: int, blocks: Sequence[int]) -> None:
        if blocks:
            have = int(self.capacity[slot]) // self.pool.block_size
            self.tables[slot, have : have + len(blocks)] = blocks
            self.capacity[slot] = (have + len(blocks)) * self.pool.block_size

    def leave(self, slot: int) -> None:
        """Empty the slot and give its blocks back."""
        self.pool.release(int(self.request[slot]))
        self.request[slot] = NOBODY
        self.tables[slot] = -1
        for column in (self.prompt, self.known, self.computed, self.seen, self.generated, self.limit):
            column[slot] = 0
        self.capacity[slot] = self.kept[slot] = 0
        self.ended[slot] = False

    def memory(self) -> tuple[int, int, int]:
        """KV blocks with at least one written position, blocks allotted but still unwritten, positions written.

        Shared blocks count once. They are full, so whatever is unwritten belongs to one request alone.
        """
        size = self.pool.block_size
        room = self.capacity - self.computed  # capacity is whole blocks
        unwritten = int((room // size).sum())
        written = self.pool.taken * size - int(room.sum())
        return self.pool.taken - unwritten, unwritten, written
