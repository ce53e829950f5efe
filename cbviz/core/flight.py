"""An iteration on its way: from a plan that was applied to the step, and from the step's tokens to an `Iteration`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cbviz.core.executor import Step
from cbviz.core.intake import Intake
from cbviz.core.scheduler_state import Moves, SchedulerState
from cbviz.events import (
    NO_REQUEST,
    BoolArray,
    Finish,
    FinishReason,
    IntArray,
    Iteration,
    Mark,
    Reuse,
    State,
    StateArray,
)

IDLE, PREFILL, DECODE, RECOMPUTE, HELD, STALLED = (
    np.uint8(state) for state in (State.IDLE, State.PREFILL, State.DECODE, State.RECOMPUTE, State.HELD, State.STALLED)
)


@dataclass(slots=True)
class IterationDraft:
    """What is known of an `Iteration` at its launch; the fields are those of `Iteration`.

    The commit fills in `token`, and the state of rows whose output ended while the iteration was in flight.
    """

    index: int
    request: IntArray
    state: StateArray
    tokens: IntArray
    context: IntArray
    token: IntArray
    allotted: IntArray
    arrived: tuple[int, ...]
    admitted: tuple[Mark, ...]
    preempted: tuple[Mark, ...]
    stalled: tuple[Mark, ...]
    cancelled: tuple[Mark, ...]
    waiting: int
    blocks_used: int
    blocks_reserved: int
    blocks_total: int
    written: int
    reused: tuple[Reuse, ...]
    evicted: int
    swapped_out: int
    swapped_in: int

    def committed(self, t_start: float, t_end: float, finished: tuple[Finish, ...], padded: int) -> Iteration:
        """The iteration, once its tokens are known."""
        return Iteration(
            index=self.index,
            t_start=t_start,
            t_end=t_end,
            request=self.request,
            state=self.state,
            tokens=self.tokens,
            context=self.context,
            token=self.token,
            allotted=self.allotted,
            arrived=self.arrived,
            admitted=self.admitted,
            finished=finished,
            preempted=self.preempted,
            stalled=self.stalled,
            cancelled=self.cancelled,
            waiting=self.waiting,
            blocks_used=self.blocks_used,
            blocks_reserved=self.blocks_reserved,
            blocks_total=self.blocks_total,
            written=self.written,
            reused=self.reused,
            evicted=self.evicted,
            swapped_out=self.swapped_out,
            swapped_in=self.swapped_in,
            padded=padded,
        )


@dataclass(slots=True)
class Flight:
    """A launched iteration: what is needed to commit it once its tokens have come."""

    ticket: Any
    row: IntArray
    """int32 [R]: each row's row in `Outputs`."""
    slot: IntArray
    yields: IntArray
    """Indices into the row arrays: those that yield a token to a request."""
    draft: IterationDraft


def prepare(state: SchedulerState, intake: Intake, index: int, moves: Moves, count: IntArray) -> tuple[Step, Flight]:
    """The step in which each slot takes in `count` tokens, and the flight that it begins. Blocks grow as needed.

    From here on the state counts the step as computed: ends by length are known before the tokens are.
    """
    slots = state.slots
    for slot in (~slots.ended & (count > slots.capacity - slots.computed)).nonzero()[0]:
        slots.grow(int(slot), int(slots.computed[slot] + count[slot]))
    start = state.writes_at()
    rows = count.nonzero()[0].astype(np.int32)
    wasted = slots.ended[rows]
    first, n = start[rows], count[rows]
    computed = first + n
    draws = (computed == slots.known[rows]) | wasted
    yields = draws & ~wasted

    states = np.where(slots.ended, HELD, IDLE)
    if moves.stalled:
        states[[mark.slot for mark in moves.stalled]] = STALLED
    states[rows] = _states(wasted, first < slots.seen[rows], first < slots.prompt[rows])
    out, back = state.copies()
    step = Step(
        iteration=index,
        seats=tuple(moves.seats),
        slot=rows,
        start=first,
        count=n,
        draw=np.where(draws, slots.generated[rows], -1),
        tables=slots.tables,
        swap_out=out,
        swap_in=back,
    )
    slots.advance(rows, computed, draws, yields)
    used, reserved, written = slots.memory()
    draft = IterationDraft(
        index=index,
        request=slots.request.copy(),
        state=states,
        tokens=count,
        context=slots.computed.copy(),
        token=np.full(len(slots), NO_REQUEST, np.int32),
        allotted=slots.capacity.copy(),
        arrived=tuple(intake.arrived),
        admitted=tuple(moves.admitted),
        preempted=tuple(moves.preempted),
        stalled=tuple(moves.stalled),
        cancelled=tuple(intake.cancelled),
        waiting=len(state.waiting),
        blocks_used=used,
        blocks_reserved=reserved,
        blocks_total=slots.pool.blocks,
        written=written,
        reused=moves.reused,
        evicted=state.reuse.evictions() if state.reuse is not None else 0,
        swapped_out=len(out),
        swapped_in=len(back),
    )
    intake.arrived.clear()
    intake.cancelled.clear()
    return step, Flight(None, slots.row[rows], rows, yields.nonzero()[0].astype(np.int32), draft)


def _states(wasted: BoolArray, again: BoolArray, prompt: BoolArray) -> StateArray:
    """uint8 [R]: the states of rows that are computed; the first that holds, else they decode."""
    state = np.full(len(wasted), DECODE)
    state[prompt] = PREFILL
    state[again] = RECOMPUTE
    state[wasted] = HELD
    return state


def land(
    state: SchedulerState, flight: Flight, tokens: IntArray, end_tokens: IntArray
) -> tuple[int, tuple[Finish, ...]]:
    """Give an iteration's tokens (int32 [R]) to their requests, and end outputs.

    Returns how many requests got a token, and the outputs that ended.
    """
    outputs, draft = state.outputs, flight.draft
    # Outputs that ended while this iteration was already in flight: their rows were computed for nothing.
    closed = outputs.closed[flight.row]
    draft.state[flight.slot[closed]] = HELD
    alive = flight.yields[~closed[flight.yields]]
    row, slot, given = flight.row[alive], flight.slot[alive], tokens[alive]
    outputs.append(row, given)
    draft.token[slot] = given

    free = ~outputs.forced[row]  # where END and stop tokens are what they are
    by_end = free & np.isin(given, end_tokens) if free.any() else free
    by_stop = free & outputs.stops[row]
    for i in by_stop.nonzero()[0]:
        by_stop[i] = int(given[i]) in state.requests[int(draft.request[slot[i]])].request.stop_tokens
    by_length = outputs.count[row] >= outputs.limit[row]
    finished = []
    for i in (by_end | by_stop | by_length).nonzero()[0]:
        reason = FinishReason.END if by_end[i] else FinishReason.STOP if by_stop[i] else FinishReason.LENGTH
        end = Finish(int(draft.request[slot[i]]), int(slot[i]), reason)
        state.finish(end)
        finished.append(end)
    return len(given), tuple(finished)
