"""What policies see of the requests: made when they look, so that a queue of 10,000 costs nothing."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from itertools import chain, islice

import numpy as np
import numpy.typing as npt

from cbviz.engine.live import Live
from cbviz.engine.outputs import Outputs
from cbviz.engine.prefix_reuse import PrefixReuse
from cbviz.engine.slots import Slots
from cbviz.engine.swap import SwapSpace
from cbviz.engine.views import EMPTY, RequestViews, Showing
from cbviz.policies.base import RequestView

_new = tuple.__new__
"""A `RequestView` from a tuple of its fields: one is made for every running request, before every iteration."""


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
        self._showing = Showing()

    def waiting(self, queue: deque[Live], leaving: list[int]) -> RequestViews:
        """Views of the queue; `leaving` are the finished, whose blocks are no longer shared unless they are held."""
        if not queue:
            return EMPTY
        pool = self._slots.pool
        users = Counter(block for request in leaving for block in pool.owned(request)) if self._reuse else Counter()
        return self._showing.of(len(queue), partial(self._waiting, queue, users))

    def seated(self, seats: npt.NDArray[np.int64]) -> RequestViews:
        """Views of those who sit in these slots."""
        return self._showing.of(len(seats), partial(self._seated, seats))

    def freed_together(self, leaving: list[int]) -> FreedTogether | None:
        """For `View.freed_together`."""
        return None if self._reuse is None else FreedTogether(self._slots.pool.holdings(), leaving)

    def settle(self) -> None:
        """What the views show is about to change: finish the sequences that a policy keeps."""
        self._showing.settle()

    def _waiting(self, queue: deque[Live], leaving: Counter[int], begin: int, end: int) -> list[RequestView]:
        return [self._queued(live, leaving) for live in islice(queue, begin, end)]

    def _queued(self, live: Live, leaving: Counter[int]) -> RequestView:
        generated = int(self._outputs.count[live.row])
        computed = blocks = shared = swapped = 0
        if live.swapped and self._swap is not None:
            computed, swapped = live.swapped, self._swap.blocks_of(live.request.id)
        elif self._reuse is not None:
            found = self._reuse.found(live)
            computed = len(found) * self._slots.pool.block_size
            blocks = shared = self._reuse.in_use(found, leaving)
        past = (None, live.admitted, live.preemptions)
        return _new(RequestView, (*live.declared, generated, computed, *past, blocks, shared, swapped))

    def _seated(self, seats: npt.NDArray[np.int64], begin: int, end: int) -> list[RequestView]:
        """Views of all of them, whichever are asked for: columns are cheap to turn into lists as a whole."""
        slots, lives, reuse = self._slots, self._lives, self._reuse
        blocks = slots.capacity[seats] // slots.pool.block_size
        columns = (slots.request[seats], slots.generated[seats], slots.computed[seats], seats, blocks)
        views = []
        for request, generated, computed, slot, owned in zip(*(column.tolist() for column in columns), strict=True):
            shared = reuse.shared(request, slots, slot) if reuse is not None else 0
            live = lives[request]
            now = (generated, computed, slot, live.admitted, live.preemptions, owned, shared, 0)
            views.append(_new(RequestView, live.declared + now))
        return views[begin:]
