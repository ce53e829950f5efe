"""Requests on their way into the queue, and cancellations: handed over by any thread, taken in between iterations."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from typing import NamedTuple

import numpy as np

from cbviz.checks import as_int, shown
from cbviz.core.executor import Executor
from cbviz.core.request_state import RequestState
from cbviz.core.scheduler_state import SchedulerState
from cbviz.errors import CapacityError, WorkloadError
from cbviz.events import NO_REQUEST, FinishReason, Mark
from cbviz.workload.request import Request, only_requests


class Coming(NamedTuple):
    """A request that has not arrived yet; they sort by arrival, then by order of submission."""

    arrival: float
    row: int
    live: RequestState


class Intake:
    """What was submitted or cancelled and has not taken effect, and what is still to arrive.

    Parameters
    ----------
    executor
        The engine's: it says which tokens and how many positions a request may have.
    state
        The engine's: requests join its queue when they arrive.

    Attributes
    ----------
    inbox
        Submitted requests and ids of cancelled ones, in the order in which they were handed over.
    future
        Heap of the requests that have not arrived.
    arrived, cancelled
        What the next iteration reports: ids, and marks.
    """

    def __init__(self, executor: Executor, state: SchedulerState) -> None:
        self.inbox: deque[Request | int] = deque()
        self.future: list[Coming] = []
        self.arrived: list[int] = []
        self.cancelled: list[Mark] = []
        self.known: set[int] = set()
        """Ids of all requests that were ever submitted."""
        self._executor = executor
        self._state = state
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ called by any thread

    def submit(self, requests: tuple[Request, ...]) -> None:
        """See `Engine.submit`."""
        only_requests(requests)
        with self._lock:
            ids: set[int] = set()
            for request in requests:
                if request.id in self.known or request.id in ids:
                    raise WorkloadError(f"request {request.id} was submitted before; ids must be unique.")
                self._check_tokens(request)
                self._check_fits(request)
                ids.add(request.id)
            self.known |= ids
            self.inbox.extend(requests)

    def cancel(self, request: int) -> None:
        """See `Engine.cancel`."""
        with self._lock:
            if (known := as_int(request)) is None or known not in self.known:
                raise WorkloadError(f"there is no request {shown(request)} to cancel.")
            self.inbox.append(known)

    def _check_tokens(self, request: Request) -> None:
        vocabulary, highest = self._executor.vocabulary, max(request.prompt)
        if vocabulary is not None and highest >= vocabulary:
            raise WorkloadError(
                f"request {request.id} has the token {highest:,} in its prompt, "
                f"but the model knows 0 to {vocabulary - 1:,}."
            )

    def _check_fits(self, request: Request) -> None:
        if request.positions > self._executor.context_limit:
            raise CapacityError(
                f"request {request.id} needs {request.positions} positions (a prompt of {len(request.prompt)} + "
                f"max_new_tokens {request.max_new_tokens}), but the context has {self._executor.context_limit}."
            )
        self._state.slots.pool.check_fits(request.id, request.positions)

    # ------------------------------------------------------------------ called between iterations

    def take(self, clock: float) -> None:
        """Let what was handed over take effect; requests that have arrived by `clock` join the queue."""
        while self.inbox:
            entry = self.inbox.popleft()
            if isinstance(entry, Request):
                live = self._state.add(entry)
                heapq.heappush(self.future, Coming(entry.arrival, live.row, live))
            else:
                self._cancel(self._state.requests[entry])
        while self.future and self.future[0].arrival <= clock:
            live = heapq.heappop(self.future).live
            self._state.waiting.append(live)
            self.arrived.append(live.request.id)

    def _cancel(self, live: RequestState) -> None:
        state = self._state
        if state.outputs.closed[live.row]:
            return
        slot = NO_REQUEST
        if live in state.waiting:
            state.leave_queue(live)
        elif any(coming.live is live for coming in self.future):
            self.future = [coming for coming in self.future if coming.live is not live]
            heapq.heapify(self.future)
        else:
            found = np.flatnonzero((state.slots.request == live.request.id) & ~state.slots.ended)
            if not len(found):
                live.cancelled = True  # its last token is on its way from the device: it has ended by itself,
                return  # unless that very iteration fails
            slot = int(found[0])
            state.slots.leave(slot)
        self.end_cancelled(live, slot)

    def end_cancelled(self, live: RequestState, slot: int) -> None:
        """Close a cancelled request's output; the next iteration reports it."""
        self._state.outputs.closed[live.row] = True
        live.reason = FinishReason.CANCELLED
        self.cancelled.append(Mark(live.request.id, slot))
