"""What the engine does for the prefix cache: hash what requests hold, look newcomers up, keep full blocks findable.

The rules are vLLM V1's (`v1/core/kv_cache_manager.py`): whole blocks only; the last token of a request is always
computed, for without it there are no logits to draw from, so a request that is found whole computes its last block.
One thing differs: there a block can be found in the very iteration that fills it; here from the next one on, so that an
executor may run an iteration as several passes in any order.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from cbviz.engine.live import Live
from cbviz.engine.outputs import Outputs
from cbviz.engine.slots import Slots
from cbviz.memory import ROOT, BlockPool, PrefixIndex, chained
from cbviz.trace.events import IntArray, Reuse


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
        self._told = 0

    def found(self, live: Live) -> list[int]:
        """The blocks that hold the beginning of a waiting request, short of its last token."""
        return self._index.find(self._chain(live, (self._known(live) - 1) // self.pool.block_size))

    def reuse(self, live: Live, blocks: int) -> Reuse:
        """What is told of an admission that found so many blocks."""
        return Reuse(live.request.id, self._known(live), blocks * self.pool.block_size)

    def keep(self, slots: Slots, lives: dict[int, Live]) -> None:
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

    def holds(self, block: int) -> bool:
        """Whether the block can be found, so that nobody may write into it any more."""
        return block in self._index

    def in_use(self, blocks: list[int], leaving: Counter[int]) -> int:
        """How many of these blocks somebody uses who stays; `leaving` counts the users of each that do not."""
        return sum(self.pool.users(block) > leaving[block] for block in blocks)

    def shared(self, request: int, slots: Slots, slot: int) -> int:
        """How many blocks of a request in a slot somebody else uses, too."""
        blocks = self.pool.owned(request)[: int(slots.kept[slot])]  # only what can be found can be shared
        return sum(self.pool.users(block) > 1 for block in blocks)

    def evictions(self) -> int:
        """Blocks that were forgotten since the last call because somebody needed them."""
        new = self._index.evictions - self._told
        self._told = self._index.evictions
        return new

    def forget(self) -> None:
        """Nobody knows any more what the blocks hold."""
        self._index.clear()

    def _known(self, live: Live) -> int:
        return len(live.request.prompt) + int(self._outputs.count[live.row])

    def _chain(self, live: Live, blocks: int) -> list[bytes]:
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
