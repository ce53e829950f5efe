"""A submitted request as the engine keeps it, and the read-only views that policies get of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

from cbviz.policies.base import RequestView
from cbviz.trace.events import FinishReason
from cbviz.workload.request import Request


@dataclass(slots=True, eq=False)
class Live:
    """What the engine remembers of a request wherever it is: in the future, in the queue, in a slot, or gone."""

    request: Request
    row: int
    """Its row in `Outputs`."""
    seen: int = 0
    """Positions that were in the cache once, before a preemption threw them away."""
    preemptions: int = 0
    admitted: int | None = None
    """Iteration of its last admission."""
    swapped: int = 0
    """Positions whose keys and values wait for it in host memory."""
    chain: list[bytes] = field(default_factory=list)
    """Hashes of its first blocks, as far as they were needed."""
    cancelled: bool = False
    """Somebody cancelled it when its last token was already on its way."""
    reason: FinishReason | None = None

    def view(
        self,
        generated: int,
        computed: int = 0,
        slot: int | None = None,
        blocks: int = 0,
        shared: int = 0,
        swapped: int = 0,
    ) -> RequestView:
        """What a policy may see of it: everything but the forced output length and the text."""
        asked = self.request
        return RequestView(  # by position: one is made for everybody who runs, before every iteration
            asked.id,
            asked.arrival,
            len(asked.prompt),
            asked.max_new_tokens,
            generated,
            computed,
            slot,
            self.admitted,
            self.preemptions,
            blocks,
            shared,
            swapped,
        )


class LiveViews(Sequence[RequestView]):
    """A sequence of views that are made when they are first asked for, and kept.

    Most policies look at the front of the queue and no further, so a queue of 10,000 costs them nothing.
    """

    def __init__(self, length: int, views: Iterable[RequestView]) -> None:
        self._length = length
        self._coming = iter(views)
        self._made: list[RequestView] = []

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[RequestView]:
        made, coming = self._made, self._coming
        for index in range(self._length):
            if index == len(made):
                made.append(next(coming))
            yield made[index]

    @overload
    def __getitem__(self, index: int) -> RequestView: ...
    @overload
    def __getitem__(self, index: slice) -> list[RequestView]: ...
    def __getitem__(self, index: int | slice) -> RequestView | list[RequestView]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        place = index + self._length if index < 0 else index
        if not 0 <= place < self._length:
            raise IndexError(f"there are {self._length} requests here; there is no number {index}.")
        while len(self._made) <= place:
            self._made.append(next(self._coming))
        return self._made[place]

    def __repr__(self) -> str:
        return repr(list(self))
