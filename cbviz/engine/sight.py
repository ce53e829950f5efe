"""What policies see of the requests: made when they look, so that a queue of 10,000 costs nothing."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from cbviz.engine.live import Live, LiveViews
from cbviz.engine.outputs import Outputs
from cbviz.engine.prefix_reuse import PrefixReuse
from cbviz.engine.slots import Slots
from cbviz.engine.swap import SwapSpace
from cbviz.policies.base import RequestView


class Sight:
    """Makes views of those who wait and of those who sit in slots. The parameters are the engine's."""

    def __init__(
        self,
        slots: Slots,
        outputs: Outputs,
        lives: Mapping[int, Live],
        reuse: PrefixReuse | None,
        swap: SwapSpace | None,
    ) -> None:
        self._slots = slots
        self._outputs = outputs
        self._lives = lives
        self._reuse = reuse
        self._swap = swap

    def waiting(self, queue: deque[Live], leaving: list[int]) -> LiveViews:
        """Views of the queue; `leaving` are the finished, whose blocks nobody shares any more unless they are held."""
        pool = self._slots.pool
        users = Counter(block for request in leaving for block in pool.owned(request)) if self._reuse else Counter()
        return LiveViews(len(queue), (self._waiting(live, users) for live in queue))

    def seated(self, seats: npt.NDArray[np.int64]) -> LiveViews:
        """Views of those who sit in these slots."""
        return LiveViews(len(seats), self._seated(seats))

    def _waiting(self, live: Live, leaving: Counter[int]) -> RequestView:
        generated = int(self._outputs.count[live.row])
        if live.swapped and self._swap is not None:
            return live.view(generated, computed=live.swapped, swapped=self._swap.blocks_of(live.request.id))
        if self._reuse is None:
            return live.view(generated)
        found = self._reuse.found(live)
        in_use = self._reuse.in_use(found, leaving)
        return live.view(generated, computed=len(found) * self._slots.pool.block_size, blocks=in_use, shared=in_use)

    def _seated(self, seats: npt.NDArray[np.int64]) -> Iterator[RequestView]:
        slots, lives, reuse = self._slots, self._lives, self._reuse
        blocks = slots.capacity[seats] // slots.pool.block_size
        columns = (slots.request[seats], slots.generated[seats], slots.computed[seats], seats, blocks)
        for request, generated, computed, slot, owned in zip(*(column.tolist() for column in columns), strict=True):
            shared = reuse.shared(request, slots, slot) if reuse is not None else 0
            yield lives[request].view(generated, computed, slot, owned, shared)
