"""Iterations of another engine before the number of slots is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cbviz.events import NO_REQUEST, Finish, Iteration, Mark, Reuse, State


@dataclass(frozen=True, slots=True)
class SlotCell:
    """What a slot did in a pass."""

    request: int
    state: State
    tokens: int
    context: int
    token: int


@dataclass(frozen=True, slots=True)
class UnpaddedIteration:
    """An `Iteration` whose arrays are not padded yet: the number of slots is known at the end."""

    t_start: float
    t_end: float
    cells: dict[int, SlotCell]
    arrived: tuple[int, ...]
    admitted: tuple[Mark, ...]
    preempted: tuple[Mark, ...]
    stalled: tuple[Mark, ...]
    cancelled: tuple[Mark, ...]
    finished: tuple[Finish, ...]
    reused: tuple[Reuse, ...]
    waiting: int

    def iteration(self, n: int, width: int) -> Iteration:
        """The iteration, with arrays of `width` slots."""
        tokens, context = np.zeros(width, np.int32), np.zeros(width, np.int32)
        request, token = np.full(width, NO_REQUEST, np.int32), np.full(width, NO_REQUEST, np.int32)
        state = np.full(width, State.IDLE, np.uint8)
        for slot, cell in self.cells.items():
            request[slot], state[slot], token[slot] = cell.request, cell.state, cell.token
            tokens[slot], context[slot] = cell.tokens, cell.context
        return Iteration(
            index=n,
            t_start=self.t_start,
            t_end=self.t_end,
            request=request,
            state=state,
            tokens=tokens,
            context=context,
            token=token,
            allotted=context,
            arrived=self.arrived,
            admitted=self.admitted,
            finished=self.finished,
            preempted=self.preempted,
            stalled=self.stalled,
            cancelled=self.cancelled,
            waiting=self.waiting,
            reused=self.reused,
        )
