"""What the engine does for the prefix cache: hash what requests hold, look new ones up, keep full blocks findable.

The rules are vLLM V1's (`v1/core/kv_cache_manager.py`): whole blocks only; the last token of a request is always
computed, for without it there are no logits to draw from, so a request that is found whole computes its last block.
One thing differs: there a block can be found in the very iteration that fills it; here from the next one on, so that an
executor may run an iteration as several passes in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain

import numpy as np

from cbviz.core.block_pool import BlockPool
from cbviz.core.prefix_cache import ROOT, PrefixIndex, chained
from cbviz.core.request_state import RequestState
from cbviz.core.slots import Outputs, Slots
from cbviz.events import BoolArray, IntArray, Reuse
from cbviz.reason import Reason


class PrefixReuse:
    """Looks requests up in a pool's prefix cache, and keeps the cache up to date.

    Parameters
    ----------
    pool, index
        The pool, and the index of its prefix cache.
    outputs
        Where generated tokens are found.
    """

    def __init__(self, pool: BlockPool, index: PrefixIndex, outputs: Outputs) -> None:
        self.pool = pool
        self._index = index
        self._outputs = outputs
        self._reported = 0

    def found(self, live: RequestState) -> list[int]:
        """The blocks that hold the beginning of a waiting request, short of its last token; none if it is swapped."""
        if live.swapped:
            return []
        return self._index.find(self._chain(live, (self._known(live) - 1) // self.pool.block_size))

    def share(self, admitted: Sequence[RequestState]) -> tuple[list[list[int]], tuple[Reuse, ...]]:
        """Give admitted requests what the cache holds of them, before a new block is taken that could be it.

        Returns the blocks of each, and what the iteration reports of it.
        """
        found = [self.found(live) for live in admitted]
        for live, blocks in zip(admitted, found, strict=True):
            self.pool.share(live.request.id, blocks)
        looked_up = (pair for pair in zip(admitted, found, strict=True) if not pair[0].swapped)
        size = self.pool.block_size
        return found, tuple(Reuse(live.request.id, self._known(live), len(blocks) * size) for live, blocks in looked_up)

    def begin_with(self, found: list[int], slots: Slots, slot: int) -> Reason:
        """The request that was just put into a slot begins with these blocks. Returns what the iteration reports."""
        slots.add(slot, found)
        slots.kept[slot] = len(found)
        slots.computed[slot] = computed = len(found) * self.pool.block_size
        return Reason("cached", found=computed, tokens=int(slots.known[slot]))

    def keep(self, slots: Slots, lives: dict[int, RequestState]) -> None:
        """Make findable which blocks have become full: whole ones whose tokens the host knows.

        Of an output that has ended, the last token does not count: held rows may write from there on.
        """
        if not slots.taken.any():
            return
        known = slots.prompt + np.where(slots.taken, self._outputs.count[slots.row], 0) - slots.ended
        full: IntArray = np.minimum(slots.computed, known) // self.pool.block_size
        for slot in np.flatnonzero(full > slots.kept):
            chain = self._chain(lives[int(slots.request[slot])], int(full[slot]))
            for number in range(int(slots.kept[slot]), int(full[slot])):
                self._index.add(int(slots.tables[slot, number]), chain[number])
            slots.kept[slot] = full[slot]

    def spare(self, wasted: BoolArray, slots: Slots, writes_at: IntArray) -> None:
        """Clear `wasted` (bool [slots]: held rows) where a row would write into a block that can be found."""
        at = writes_at // self.pool.block_size
        for slot in np.flatnonzero(wasted):
            wasted[slot] = int(slots.tables[slot, at[slot]]) not in self._index

    def in_use(self, blocks: list[int], leaving: Counter[int]) -> int:
        """How many of these blocks have a user that stays; `leaving` counts the users of each that leave."""
        return sum(self.pool.users(block) > leaving[block] for block in blocks)

    def shared(self, request: int, slots: Slots, slot: int) -> int:
        """How many blocks of a request in a slot other requests use, too."""
        blocks = self.pool.owned(request)[: int(slots.kept[slot])]  # only what can be found can be shared
        return sum(self.pool.users(block) > 1 for block in blocks)

    def evictions(self) -> int:
        """Blocks that were evicted since the last call."""
        new = self._index.evictions - self._reported
        self._reported = self._index.evictions
        return new

    def forget(self) -> None:
        """Forget every block: what they hold is unknown."""
        self._index.clear()

    def _known(self, live: RequestState) -> int:
        return len(live.request.prompt) + int(self._outputs.count[live.row])

    def _chain(self, live: RequestState, blocks: int) -> list[bytes]:
        """Hashes of a request's first blocks; each is computed once."""
        chain, size = live.chain, self.pool.block_size
        if len(chain) < blocks:
            begin = len(chain) * size
            prompt = live.request.prompt
            tokens = [*prompt[begin : blocks * size]]
            output = self._outputs.of(live.row)
            tokens += output[max(0, begin - len(prompt)) : max(0, blocks * size - len(prompt))].tolist()
            for at in range(0, len(tokens), size):
                chain.append(chained(chain[-1] if chain else ROOT, tokens[at : at + size]))
        return chain[:blocks]


class FreedTogether:
    """How many KV blocks come free once several requests have left, where requests share blocks.

    Parameters
    ----------
    owned
        Request → its blocks, of every request that has any.
    leaving
        Requests that leave anyway, and whose blocks count as free already.
    """

    def __init__(self, owned: Mapping[int, tuple[int, ...]], leaving: Sequence[int]) -> None:
        self._owned = owned
        self._leaving = tuple(leaving)

    def __call__(self, requests: Sequence[int]) -> int:
        return self._frees([*self._leaving, *requests]) - self._frees(self._leaving)

    @cached_property
    def _users(self) -> Counter[int]:
        """Block → how many use it."""
        return Counter(chain.from_iterable(self._owned.values()))

    def _frees(self, requests: Sequence[int]) -> int:
        gone = Counter(block for request in requests for block in self._owned.get(request, ()))
        return sum(times == self._users[block] for block, times in gone.items())
