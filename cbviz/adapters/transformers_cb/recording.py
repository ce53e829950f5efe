"""From a manager of transformers' continuous batching to passes: hooks on the few places where a pass begins and ends.

A pass is recorded where it ends, in `update_batch`, because `schedule_batch` may be asked several times for one pass.
Under async batching the next pass is scheduled before that, so passes under way form a queue.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers.generation.continuous_batching.requests import RequestStatus

from cbviz.adapters.ledger import BatchRow, Ledger, Pass
from cbviz.adapters.transformers_cb.known import check_known, check_manager
from cbviz.adapters.transformers_cb.schedulers import Reporting, Scheduled
from cbviz.errors import AdapterError
from cbviz.events import NO_REQUEST, FinishReason
from cbviz.limits import MOST_TOKENS
from cbviz.workload import Request

WARMUP = "__warmup_"
"""Ids of passes that only capture graphs begin so."""
OVER = (RequestStatus.FINISHED, RequestStatus.PENDING)
"""Of a row whose pass came back too late: its request has finished, or lost its place meanwhile."""


@dataclass(frozen=True, slots=True)
class _UnderWay:
    began: float
    batch: tuple[Scheduled, ...]
    preempted: tuple[int, ...]
    cancelled: tuple[int, ...]


class Recording:
    """Records what a manager does, from before it starts.

    Parameters
    ----------
    manager
        A `ContinuousBatchingManager` that has not been started, made with a scheduler type of
        `cbviz.adapters.transformers_cb.schedulers.registered`.
    known
        The caller's own requests by transformers' request id; others are made from what transformers says of them.

    Raises
    ------
    AdapterError
        A version of transformers that is not known; no manager, or one that runs already, gives several sequences a
        request, swaps its KV cache to host memory, or has settings that change logits.

    Attributes
    ----------
    ledger
        The passes so far.
    numbers
        transformers' request id → ours.
    """

    def __init__(self, manager: Any, known: dict[str, Request] | None = None) -> None:
        check_manager(manager)
        check_known(known)
        self.ledger = Ledger()
        self._known = known or {}
        for request in self._known.values():
            self.ledger.arrive(request)
        self.numbers = {name: request.id for name, request in self._known.items()}
        self._began: float | None = None
        self._under_way: deque[_UnderWay] = deque()
        self._seated: set[str] = set()
        self._alive: set[str] = set()
        self._make: Callable[[], Any] = manager._create_batch_processor
        self._manager = manager
        self._hooked: Any = None
        self._lost: list[str] = []
        self._gone: list[str] = []
        self._retrieved: list[tuple[Any, ...]] = []
        self._over: list[bool] = []
        manager._create_batch_processor = self._created

    def started(self) -> None:
        """Set the clock to 0. Without it the first request does, so that a manager that waits makes no run longer."""
        self._began = time.perf_counter()

    def now(self) -> float:
        """Look at the clock.

        Returns
        -------
        float
            Seconds since `started`, or since the first request; 0 before.
        """
        return self._since(time.perf_counter())

    def _since(self, clock: float) -> float:
        return 0.0 if self._began is None else max(0.0, clock - self._began)

    def _declared(self, name: str) -> float:
        """When a request arrives on the clock of this run, if it is the first."""
        return self._known[name].arrival if name in self._known else 0.0

    def _created(self) -> Any:
        """The batch processor that the manager makes, with hooks."""
        processor = self._make()
        if processor is self._hooked:  # made for a warm-up, and reset since
            return processor
        if not isinstance(processor.scheduler, Reporting):
            raise AdapterError(
                f"transformers made a {type(processor.scheduler).__name__} where a scheduler that reports was "
                "registered; it falls back to first in, first out when it does not find a scheduler type."
            )
        self._hooked = processor
        prepare, update = processor.prepare_next_batch, processor.update_batch
        retrieve = processor.inputs_and_outputs.prepare_batch_update

        def prepare_next_batch() -> bool:
            began = time.perf_counter()
            processor.scheduler.last_batch = ()
            ready = bool(prepare())
            self._prepared(processor.scheduler, began, ready)
            return ready

        def prepare_batch_update() -> Any:
            retrieved: tuple[Any, ...] = retrieve()
            self._over = [entry.state.status in OVER for entry in retrieved[0]]
            self._retrieved.append(retrieved)
            return retrieved

        def update_batch() -> None:
            self._retrieved.clear()
            update()
            for retrieved in self._retrieved:
                self._updated(retrieved[0], retrieved[1])

        processor.prepare_next_batch, processor.update_batch = prepare_next_batch, update_batch
        processor.inputs_and_outputs.prepare_batch_update = prepare_batch_update
        return processor

    def _prepared(self, scheduler: Any, began: float, ready: bool) -> None:
        """A batch was scheduled, or there was nothing to schedule."""
        states = scheduler.active_requests | scheduler.waiting_requests
        fresh = [name for name in states if name not in self._alive and not name.startswith(WARMUP)]
        came = {name: states[name].created_time for name in fresh}
        if fresh and self._began is None:
            self._began = min(came[name] - self._declared(name) for name in fresh)
        began = max(began, *came.values()) if fresh else began  # some came while this pass was being scheduled
        for name in sorted(fresh, key=came.__getitem__):
            self._alive.add(name)
            if name not in self.numbers:
                self.ledger.arrive(self._request(name, states[name]))
        # Cancelled and failed requests leave the tables; finished ones have left `_alive`.
        gone = self._alive - states.keys()
        lost = self._seated & scheduler.waiting_requests.keys()
        self._alive -= gone
        self._seated -= gone | lost
        self._gone += sorted(gone)
        self._lost += sorted(lost)
        if ready:
            self._seated.update(entry.state.request_id for entry in scheduler.last_batch)
            lost_now, gone_now = (tuple(self.numbers[name] for name in each) for each in (self._lost, self._gone))
            self._under_way.append(_UnderWay(self._since(began), scheduler.last_batch, lost_now, gone_now))
            self._lost, self._gone = [], []

    def _request(self, name: str, state: Any) -> Request:
        """A request that the caller did not make known, from the state that transformers has of it."""
        number = self.numbers[name] = max(self.numbers.values(), default=-1) + 1
        prompt = tuple(state.initial_tokens)
        most = min(state.max_new_tokens or MOST_TOKENS, MOST_TOKENS - len(prompt))
        return Request(number, prompt, most, arrival=self._since(state.created_time))

    def _updated(self, batch: list[Any], tokens: Any) -> None:
        """A pass has ended, and transformers has given its tokens to their requests."""
        if not self._under_way:
            return  # a warm-up
        under_way = self._under_way.popleft()
        if [entry.state for entry in under_way.batch] != [entry.state for entry in batch]:
            raise AdapterError("transformers updated another batch than the one that it had scheduled next.")
        rows: list[BatchRow] = []
        finished: dict[int, FinishReason] = {}
        given = iter(tokens)
        for scheduled, entry, over in zip(under_way.batch, batch, self._over, strict=True):
            state = entry.state
            token = int(next(given)) if entry.has_new_token else NO_REQUEST
            number = self.numbers[state.request_id]
            rows.append(BatchRow(number, scheduled.tokens, scheduled.start, NO_REQUEST if over else token))
            if not over and state.status == RequestStatus.FINISHED:
                finished[number] = self._reason(state, token)
                self._alive.discard(state.request_id)
                self._seated.discard(state.request_id)
        cancelled, preempted = under_way.cancelled, under_way.preempted
        self.ledger.add(Pass(under_way.began, self.now(), tuple(rows), finished, preempted, cancelled))

    def _reason(self, state: Any, token: int) -> FinishReason:
        request = self._known.get(state.request_id)
        if request is not None and token in request.stop_tokens and request.output_length is None:
            return FinishReason.STOP
        return FinishReason.END if token in state._eos_token_ids else FinishReason.LENGTH
