"""After a failed pass: every unfinished request returns to the queue with its output so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cbviz.core.intake import Intake
from cbviz.core.scheduler_state import SchedulerState
from cbviz.events import NO_REQUEST, IntArray, Mark
from cbviz.reason import Reason

if TYPE_CHECKING:
    from cbviz.core.loop import Flight


def requeue(
    state: SchedulerState, intake: Intake, flights: Sequence[Flight], last_seen: IntArray
) -> tuple[list[Mark], int]:
    """Empty the slots and put their requests back, the oldest admission first.

    Parameters
    ----------
    state, intake
        The engine's; what the lost iterations would have reported is reported by the next one.
    flights
        The iterations that are lost, in order.
    last_seen
        int32 [slots]: which request the last committed iteration showed in each slot.

    Returns
    -------
    tuple
        A preemption mark for each request that the last iteration showed in a slot, and how many requests went back.
    """
    intake.arrived[:0] = [request for flight in flights for request in flight.arrived]
    intake.cancelled[:0] = [mark for flight in flights for mark in flight.cancelled]
    # The device's writes are unknown: neither cached nor swapped blocks can be trusted any more.
    if state.reuse is not None:
        state.reuse.forget()
    if state.swap is not None:
        state.swap.drop_all(state.waiting)
    outputs, requests = state.outputs, state.requests
    for live in requests.values():
        if live.cancelled and not outputs.closed[live.row]:
            slot = next(iter(np.flatnonzero(last_seen == live.request.id).tolist()), NO_REQUEST)
            intake.end_cancelled(live, slot)
    queued = {id(live) for live in state.waiting} | {id(coming.live) for coming in intake.future}
    back = [live for live in requests.values() if not outputs.closed[live.row] and id(live) not in queued]
    preempted = []
    for slot, request in enumerate(last_seen.tolist()):
        if request != NO_REQUEST and not outputs.closed[(live := requests[request]).row]:
            preempted.append(Mark(request, slot, Reason("executor_failed")))
            live.seen = max(live.seen, len(live.request.prompt) + int(outputs.count[live.row]) - 1)
    for taken in np.flatnonzero(state.slots.taken):
        state.slots.leave(int(taken))
    for live in sorted(back, key=lambda live: (live.admitted or 0, live.row), reverse=True):
        state.waiting.appendleft(live)
    return preempted, len(back)
