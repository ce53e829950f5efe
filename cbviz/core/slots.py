"""The loop's two tables: how far the request in each slot is, and what every request has got.

Arrays, not objects: an iteration over 256 slots is a handful of numpy calls.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbviz.core.block_pool import BlockPool
from cbviz.events import NO_REQUEST, BoolArray, IntArray
from cbviz.workload.request import Request

FEWEST_COLUMNS = 512


class Slots:
    """How far the request in each slot is: arrays with one entry a slot."""

    def __init__(self, slots: int, pool: BlockPool, context_limit: int) -> None:
        self.pool = pool
        self.request: IntArray = np.full(slots, NO_REQUEST, np.int32)
        """The request in the slot, `NO_REQUEST` if it is free."""
        self.prompt: IntArray = np.zeros(slots, np.int32)
        """Its prompt tokens."""
        self.known: IntArray = np.zeros(slots, np.int32)
        """Its token ids that exist: prompt and output."""
        self.computed: IntArray = np.zeros(slots, np.int32)
        """Its positions whose keys and values are in the cache."""
        self.seen: IntArray = np.zeros(slots, np.int32)
        """Positions that were in the cache once, before a preemption; below it computing is recomputing."""
        self.generated: IntArray = np.zeros(slots, np.int32)
        """Its output tokens so far, those still on their way from the device counted in."""
        self.limit: IntArray = np.zeros(slots, np.int32)
        """Output tokens after which it ends by length."""
        self.ended = np.zeros(slots, bool)
        """Whether its output has ended; it stays until the plan releases it."""
        self.capacity: IntArray = np.zeros(slots, np.int32)
        """Positions that its KV blocks have room for."""
        self.kept: IntArray = np.zeros(slots, np.int32)
        """Its first blocks, as many as the prefix cache knows."""
        self.order = np.zeros(slots, np.int64)
        """Running number of its admission."""
        self.row: IntArray = np.zeros(slots, np.int32)
        """Its row in `Outputs`."""
        self.tables: IntArray = np.full((slots, pool.blocks_for(context_limit)), -1, np.int32)
        """[slots, blocks a request]: its KV blocks, -1 where there is none."""

    def __len__(self) -> int:
        return len(self.request)

    @property
    def taken(self) -> BoolArray:
        return np.not_equal(self.request, NO_REQUEST)

    def lowest_free(self) -> int:
        return int(np.argmax(self.request == NO_REQUEST))

    def slot_of(self, request: int) -> int:
        """The slot of a request. Raises KeyError."""
        found = np.flatnonzero(self.request == request)
        if not len(found):
            raise KeyError(request)
        return int(found[0])

    def outgrown(self, count: IntArray) -> BoolArray:
        """bool [slots]: requests that lack blocks to take in `count` (int32 [slots]) tokens. Held ones never grow."""
        outgrown: BoolArray = ~self.ended & (count > self.capacity - self.computed)
        return outgrown

    def grow(self, slot: int, positions: int) -> None:
        """Give the slot's request blocks until it has room for `positions`. Raises CapacityError."""
        self.add(slot, self.pool.grow(int(self.request[slot]), positions))

    def add(self, slot: int, blocks: Sequence[int]) -> None:
        """These blocks hold the positions behind those that the slot's request has room for so far."""
        if blocks:
            have = int(self.capacity[slot]) // self.pool.block_size
            self.tables[slot, have : have + len(blocks)] = blocks
            self.capacity[slot] = (have + len(blocks)) * self.pool.block_size

    def advance(self, rows: IntArray, computed: IntArray, draws: BoolArray, yields: BoolArray) -> None:
        """An iteration is launched: its rows (int32 [R], slots) will have these positions in the cache.

        Of the rows, `draws` draw a token, and `yields` draw one that a request asked for. Ends by length are known now,
        before the tokens are.
        """
        self.computed[rows] = computed
        given = rows[yields]
        self.generated[given] += 1
        self.known[rows[draws]] += 1
        self.ended[given] = self.generated[given] >= self.limit[given]

    def leave(self, slot: int) -> None:
        """Empty the slot and give its blocks back."""
        self.pool.release(int(self.request[slot]))
        self.request[slot] = NO_REQUEST
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


class Outputs:
    """Output tokens and how each output ends: arrays with a row a request, in order of submission."""

    def __init__(self) -> None:
        self.rows = 0
        self.tokens: IntArray = np.zeros((0, 0), np.int32)
        """[rows, longest output]: the token ids. Columns come as outputs grow: a limit is only a promise."""
        self.count: IntArray = np.zeros(0, np.int32)
        """How many of them there are."""
        self.limit: IntArray = np.zeros(0, np.int32)
        """Tokens after which the output ends by length (forced, or max_new_tokens)."""
        self.forced = np.zeros(0, bool)
        """Whether its length is forced, so that END and stop tokens are ordinary tokens."""
        self.stops = np.zeros(0, bool)
        """Whether it has stop tokens of its own."""
        self.closed = np.zeros(0, bool)
        """Whether it has ended."""
        self._room = 0
        """Appends that certainly fit: an append makes no output longer by more than one token."""

    def add(self, request: Request) -> int:
        """Make a row for a request and return its number."""
        rows, width = self.tokens.shape
        if self.rows == rows:
            self._enlarge(max(64, 2 * rows), width)
        row = self.rows
        self.limit[row] = request.output_length or request.max_new_tokens
        self.forced[row] = request.output_length is not None
        self.stops[row] = bool(request.stop_tokens)
        self.rows += 1
        return row

    def append(self, rows: IntArray, tokens: IntArray) -> None:
        """Append one token to each of these (different) rows."""
        if self._room == 0:
            longest, width = int(self.count.max(initial=0)), self.tokens.shape[1]
            if longest == width:
                self._enlarge(len(self.tokens), width := max(FEWEST_COLUMNS, 2 * width))
            self._room = width - longest
        self._room -= 1
        self.tokens[rows, self.count[rows]] = tokens
        self.count[rows] += 1

    def of(self, row: int) -> IntArray:
        """int32 [count]: the output so far."""
        return self.tokens[row, : self.count[row]]

    def _enlarge(self, rows: int, width: int) -> None:
        tokens = np.zeros((rows, width), np.int32)
        tokens[: len(self.tokens), : self.tokens.shape[1]] = self.tokens
        self.tokens = tokens
        for name in ("count", "limit", "forced", "stops", "closed"):
            old = getattr(self, name)
            new = np.zeros(rows, old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
