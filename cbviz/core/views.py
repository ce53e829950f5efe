"""What policies see of the requests: views made when they look, and values all the same.

Most policies look at the front of the queue and no further, so a queue of 10,000 must cost them nothing. Views are
therefore made on demand, from the engine's state, while the policy plans. Before the state changes, `settle` finishes
every sequence that is still held somewhere: a policy that keeps one finds in it what was true when it was made.

A sequence has no attribute that leads to the engine, where the forced lengths of outputs are known. It has a number,
under which this module finds the function that makes more of its views. Once it is settled, there is no such entry.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from typing import overload
from weakref import ref

import numpy as np
import numpy.typing as npt

from cbviz.core.prefix_reuse import FreedTogether
from cbviz.core.read_only import ReadOnlyViews
from cbviz.core.request_state import RequestState
from cbviz.core.scheduler_state import SchedulerState
from cbviz.policies.base import RequestView, View

Make = Callable[[int, int], list[RequestView]]
"""Makes the views from one place to before another."""

_makers: dict[int, tuple[list[RequestView], Make]] = {}
"""Of the sequences that are not settled, by number: the views made so far, and what makes more."""
_numbers = count(1)


class RequestViews(ReadOnlyViews):
    """Views of some requests, made as they are asked for. A slice is a list of its own."""

    __slots__ = ("__weakref__", "_all", "_length", "_number")

    _all: tuple[RequestView, ...] | None
    _length: int
    _number: int

    def __init__(self, length: int, number: int = 0) -> None:
        _set_length(self, length)
        _set_number(self, number)
        _set_all(self, None if length else ())

    def settled(self) -> tuple[RequestView, ...]:
        if self._all is None:
            _set_all(self, tuple(self._made(self._length)[: self._length]))
        return self._all or ()

    def _made(self, first: int) -> Sequence[RequestView]:
        """At least so many of the first views."""
        entry = None if self._all is not None else _makers.get(self._number)
        if entry is None:  # settled, perhaps just now by another thread
            return self._all or ()
        made, make = entry
        if len(made) < first:
            made += make(len(made), first)
        return made

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[RequestView]:
        if self._all is not None:
            return iter(self._all)
        made = self._made(0)
        return iter(tuple(made)) if len(made) == self._length else self._walk()

    def _walk(self) -> Iterator[RequestView]:
        done = 0
        while done < self._length:
            end = min(2 * done + 1, self._length)  # many policies stop at the first that does not fit
            yield from tuple(self._made(end)[done:end])
            done = end

    @overload
    def __getitem__(self, index: int) -> RequestView: ...
    @overload
    def __getitem__(self, index: slice) -> list[RequestView]: ...
    def __getitem__(self, index: int | slice) -> RequestView | list[RequestView]:
        if isinstance(index, slice):
            places = range(*index.indices(self._length))
            made = self._made(max(places[0], places[-1]) + 1) if places else ()
            return list(made[places.start : places.stop]) if places.step == 1 else [made[place] for place in places]
        place = index + self._length if index < 0 else index
        if not 0 <= place < self._length:
            raise IndexError(f"there are {self._length} requests here; there is no number {index}.")
        return self._made(place + 1)[place]


# Two sequences are made before every iteration, past `__setattr__`.
_set_all, _set_length, _set_number = (RequestViews.__dict__[name].__set__ for name in ("_all", "_length", "_number"))
EMPTY = RequestViews(0)
_new = tuple.__new__
"""A `RequestView` from a tuple of its fields: one is made for every running request, before every iteration."""


class ViewMaker:
    """Makes the view of an engine's state from which a policy plans."""

    def __init__(self, state: SchedulerState, context_limit: int) -> None:
        self._state = state
        self._context_limit = context_limit
        self._open: dict[int, ref[RequestViews]] = {}
        """The sequences that are not settled, by number."""

    def view(self, iteration: int, now: float, clock: float, last_admission: int | None) -> View:
        """What a policy may know now. Its sequences are open until `settle()`."""
        slots, pool = self._state.slots, self._state.slots.pool
        ended = slots.ended
        running = (slots.taken & ~ended).nonzero()[0]
        running = running[np.argsort(slots.order[running])]
        leaving = slots.request[ended].tolist()
        return View(
            iteration=iteration,
            now=now,
            slots=len(slots),
            waiting=self._waiting(leaving),
            running=self._in_slots(running),
            finished=self._in_slots(ended.nonzero()[0]),
            free_slots=len(slots) - len(running),
            free_blocks=pool.free + pool.frees(leaving),
            block_size=pool.block_size,
            total_blocks=pool.blocks,
            context_limit=self._context_limit,
            clock=clock,
            last_admission=last_admission,
            freed_together=None if self._state.reuse is None else FreedTogether(pool.holdings(), leaving),
        )

    def settle(self) -> None:
        """The state is about to change: finish the sequences that a policy keeps, and forget how more are made."""
        for number, held in self._open.items():
            if (views := held()) is not None:
                views.settled()
            del _makers[number]
        self._open.clear()

    def _sequence(self, length: int, make: Make) -> RequestViews:
        """A sequence of so many views. `make(begin, end)` is asked until `settle()`."""
        if not length:
            return EMPTY
        number = next(_numbers)
        views = RequestViews(length, number)
        _makers[number] = [], make
        self._open[number] = ref(views)
        return views

    def _waiting(self, leaving: list[int]) -> RequestViews:
        """Views of the queue; `leaving` are the finished, whose blocks are no longer shared unless they are held."""
        queue = self._state.waiting
        if not queue:
            return EMPTY
        pool = self._state.slots.pool
        shared = self._state.reuse is not None
        users = Counter(block for request in leaving for block in pool.owned(request)) if shared else Counter()
        return self._sequence(len(queue), partial(self._queue, queue, users))

    def _in_slots(self, slots: npt.NDArray[np.int64]) -> RequestViews:
        return self._sequence(len(slots), partial(self._running, slots))

    def _queue(self, queue: deque[RequestState], leaving: Counter[int], begin: int, end: int) -> list[RequestView]:
        return [self._queued(live, leaving) for live in islice(queue, begin, end)]

    def _queued(self, live: RequestState, leaving: Counter[int]) -> RequestView:
        state = self._state
        generated = int(state.outputs.count[live.row])
        computed = blocks = shared = swapped = 0
        if live.swapped and state.swap is not None:
            computed, swapped = live.swapped, state.swap.blocks_of(live.request.id)
        elif state.reuse is not None:
            found = state.reuse.found(live)
            computed = len(found) * state.slots.pool.block_size
            blocks = shared = state.reuse.in_use(found, leaving)
        past = (None, live.admitted, live.preemptions)
        return _new(RequestView, (*live.declared, generated, computed, *past, blocks, shared, swapped))

    def _running(self, chosen: npt.NDArray[np.int64], begin: int, end: int) -> list[RequestView]:
        """Views of all of them, whichever are asked for: columns are cheap to turn into lists as a whole."""
        slots, requests, reuse = self._state.slots, self._state.requests, self._state.reuse
        blocks = slots.capacity[chosen] // slots.pool.block_size
        columns = (slots.request[chosen], slots.generated[chosen], slots.computed[chosen], chosen, blocks)
        views = []
        for request, generated, computed, slot, owned in zip(*(column.tolist() for column in columns), strict=True):
            shared = reuse.shared(request, slots, slot) if reuse is not None else 0
            live = requests[request]
            now = (generated, computed, slot, live.admitted, live.preemptions, owned, shared, 0)
            views.append(_new(RequestView, live.declared + now))
        return views[begin:]
