"""Sequences of request views that are made when a policy looks at them, and that are values all the same.

Most policies look at the front of the queue and no further, so a queue of 10,000 must cost them nothing. Views are
therefore made on demand, from the engine's books, while the policy plans. Before the books change, `settle` finishes
every sequence that is still held somewhere: a policy that keeps one finds in it what was true when it was made.

A sequence has no attribute that leads to the engine, where the forced lengths of outputs are known. It has a number,
under which this module finds the function that makes more of its views. Once it is settled, there is no such entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, NoReturn, overload
from weakref import ref

from cbviz.policies.base import RequestView

Make = Callable[[int, int], list[RequestView]]
"""Makes the views from one place to before another."""

_makers: dict[int, tuple[list[RequestView], Make]] = {}
"""Of the sequences that are not settled, by number: the views made so far, and what makes more."""
_numbers = count(1)


class RequestViews(Sequence[RequestView]):
    """A read-only sequence of request views. A slice is a list of its own; equal is what lists the same views."""

    __slots__ = ("__weakref__", "_all", "_length", "_number")

    _all: tuple[RequestView, ...] | None
    _length: int
    _number: int

    def __init__(self, length: int, number: int = 0) -> None:
        _set_length(self, length)
        _set_number(self, number)
        _set_all(self, None if length else ())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("views are read-only.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("views are read-only.")

    def _made(self, first: int) -> Sequence[RequestView]:
        """At least so many of the first views."""
        entry = None if self._all is not None else _makers.get(self._number)
        if entry is None:  # settled, perhaps just now by another thread
            return self._all or ()
        made, make = entry
        if len(made) < first:
            made += make(len(made), first)
        return made

    def settled(self) -> tuple[RequestView, ...]:
        """All views. From here on nothing that happens in the engine shows in them."""
        if self._all is None:
            _set_all(self, tuple(self._made(self._length)[: self._length]))
        return self._all or ()

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
            return [made[place] for place in places]
        place = index + self._length if index < 0 else index
        if not 0 <= place < self._length:
            raise IndexError(f"there are {self._length} requests here; there is no number {index}.")
        return self._made(place + 1)[place]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RequestViews | tuple | list):
            return self is other or (len(self) == len(other) and self.settled() == tuple(other))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.settled())

    def __copy__(self) -> RequestViews:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> RequestViews:
        return self

    def __reduce__(self) -> tuple[type[tuple[RequestView, ...]], tuple[tuple[RequestView, ...]]]:
        return tuple, (self.settled(),)

    def __repr__(self) -> str:
        return repr(list(self.settled()))


# Two sequences are made before every iteration, past their own __setattr__.
_set_all, _set_length, _set_number = (RequestViews.__dict__[name].__set__ for name in ("_all", "_length", "_number"))
EMPTY = RequestViews(0)


class Showing:
    """Hands out sequences of views, and settles them before what they show changes."""

    def __init__(self) -> None:
        self._open: dict[int, ref[RequestViews]] = {}

    def of(self, length: int, make: Make) -> RequestViews:
        """A sequence of so many views. `make(begin, end)` is asked until `settle()`."""
        if not length:
            return EMPTY
        number = next(_numbers)
        views = RequestViews(length, number)
        _makers[number] = [], make
        self._open[number] = ref(views)
        return views

    def settle(self) -> None:
        """Finish the sequences that are still held, and forget how more views of them are made."""
        for number, held in self._open.items():
            if (views := held()) is not None:
                views.settled()
            del _makers[number]
        self._open.clear()
