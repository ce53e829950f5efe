"""The loop: plan → launch → commit, once for every forward pass.

    plan   = ask(policy, view)        # pure: sees requests, slots, blocks; never how long an output will be
    ticket = executor.launch(step)    # computes, decides nothing
    event  = commit(flight, result)   # outputs extended, requests ended, clock advanced
    yield event                       # one Iteration

Policies decide, memory accounts, executors compute; the engine keeps the books and tells the world what happened.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from cbviz.engine.executor import Executor, Seat, Step
from cbviz.engine.interrupts import interrupts_deferred
from cbviz.engine.live import Live, LiveViews
from cbviz.engine.outputs import Outputs
from cbviz.engine.slots import Slots
from cbviz.errors import CapacityError, EngineError, PolicyError, WorkloadError
from cbviz.memory import BlockPool
from cbviz.policies.base import Policy, View
from cbviz.policies.check import CheckedPlan, ask, growth_shortage
from cbviz.trace.events import NOBODY, BoolArray, Finish, FinishReason, IntArray, Iteration, Mark, State, StateArray
from cbviz.workload.request import ArrivalUnit, Request

PATIENCE = 10_000
"""Iterations in a row that may pass without anybody's first-time progress before the run is called stuck."""


@dataclass(slots=True)
class Flight:
    """An iteration that was launched and not yet committed: everything about it but its tokens."""

    index: int
    ticket: Any
    row: IntArray
    """int32 [R]: each row's row in `Outputs`."""
    slot: IntArray
    yields: IntArray
    """Indices into the row arrays: those that yield a token to a request."""
    request: IntArray
    state: StateArray
    tokens: IntArray
    context: IntArray
    arrived: tuple[int, ...]
    admitted: tuple[Mark, ...]
    preempted: tuple[Mark, ...]
    stalled: tuple[Mark, ...]
    cancelled: tuple[Mark, ...]
    waiting: int
    blocks: tuple[int, int]


class Engine:
    """Serves requests on a fixed number of slots, one iteration at a time.

    Parameters
    ----------
    executor
        What computes: a model, or nothing at all.
    policy
        Who runs: any `Policy`.
    slots
        Requests that can run at the same time, at least 1.
    pool
        The KV blocks. It must be empty; the engine owns it from here on.
    lag
        0: the host sees every token before it plans the next iteration. 1: it plans one iteration ahead of the tokens
        that it has seen, so that the device never waits; an END is then seen one iteration late, and its slot is held
        for that iteration. Ends by length are known ahead and cost nothing.
    arrival_unit
        Whether `Request.arrival` counts seconds on the lane's clock or iterations.

    Notes
    -----
    `step()` is atomic: an interrupt waits for the iteration in flight, and a failing policy changes nothing. `submit`
    and `cancel` may be called from any thread and take effect before the next iteration.
    """

    def __init__(
        self,
        executor: Executor,
        policy: Policy,
        *,
        slots: int,
        pool: BlockPool,
        lag: int = 0,
        arrival_unit: ArrivalUnit = "seconds",
    ) -> None:
        if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:
            raise CapacityError(f"slots must be a whole number of at least 1, not {slots!r}.")
        if lag not in (0, 1):
            raise EngineError(f"lag must be 0 or 1, not {lag!r}.")
        if pool.owners:
            raise CapacityError("the block pool is in use; give every engine a pool of its own.")
        self.executor = executor
        self.policy = policy
        self.pool = pool
        self.lag = lag
        self.arrival_unit = arrival_unit
        self.context_limit = min(executor.context_limit, pool.blocks * pool.block_size)
        self.slots = Slots(slots, pool, self.context_limit)
        self.outputs = Outputs()
        self.now = 0.0
        """Seconds on the lane's clock."""
        self.iteration = 0
        """Index of the next iteration to be planned."""
        self._ticks_skipped = 0
        self._live: dict[int, Live] = {}
        self._future: list[tuple[float, int, Live]] = []
        self._waiting: deque[Live] = deque()
        self._admissions = 0
        self._last_admission: int | None = None
        self._ends = np.array(executor.end_tokens, np.int32)
        self._flights: deque[Flight] = deque()
        self._committed: deque[Iteration] = deque()
        self._arrived: list[int] = []
        self._cancelled: list[Mark] = []
        self._thrown_out: list[Mark] = []
        self._last_seated: IntArray = np.full(slots, NOBODY, np.int32)
        self._idle_iterations = 0
        self._inbox: deque[Request | int] = deque()
        self._known_ids: set[int] = set()
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ requests in and out

    def submit(self, *requests: Request) -> None:
        """Hand over requests: all of them, or none if one is refused.

        Raises
        ------
        WorkloadError
            An id that was used before.
        CapacityError
            A request that can never fit the context or the pool.
        """
        with self._lock:
            ids: set[int] = set()
            for request in requests:
                if request.id in self._known_ids or request.id in ids:
                    raise WorkloadError(f"request {request.id} was submitted before; ids must be unique.")
                self._check_fits(request)
                ids.add(request.id)
            self._known_ids |= ids
            self._inbox.extend(requests)

    def cancel(self, request: int) -> None:
        """End a request's output where it stands. Cancelling one that has ended changes nothing.

        Raises
        ------
        WorkloadError
            Nobody submitted such a request.
        """
        with self._lock:
            if request not in self._known_ids:
                raise WorkloadError(f"there is no request {request!r} to cancel.")
            self._inbox.append(request)

    def output(self, request: int) -> list[int]:
        """The output tokens of a request so far. Raises KeyError if nobody submitted it."""
        if request in self._live:
            return [int(token) for token in self.outputs.of(self._live[request].row)]
        if request in self._known_ids:
            return []
        raise KeyError(request)

    @property
    def untold_cancellations(self) -> tuple[Mark, ...]:
        """Cancellations that no event has told yet, because no iteration came after them."""
        return tuple(self._cancelled)

    def _check_fits(self, request: Request) -> None:
        positions = len(request.prompt) + request.max_new_tokens
        if positions > self.executor.context_limit:
            raise CapacityError(
                f"request {request.id} needs {positions} positions (a prompt of {len(request.prompt)} + "
                f"max_new_tokens {request.max_new_tokens}), but the context has {self.executor.context_limit}."
            )
        self.pool.check_fits(request.id, positions)

    # ------------------------------------------------------------------ the loop

    def run(self, requests: Iterable[Request] = ()) -> Iterator[Iteration]:
        """Submit requests and yield one `Iteration` after the other until nothing is left to do."""
        self.submit(*requests)
        while (event := self.step()) is not None:
            yield event

    def step(self) -> Iteration | None:
        """Advance by one iteration and return it; None when every request has ended.

        Raises
        ------
        PolicyError
            The policy raised, planned something illegal, or is stuck. Nothing has changed; another policy may go on.
        EngineError
            The executor failed. Every unfinished request is back in the queue with its output so far.
        KeyboardInterrupt
            After the iteration in flight was committed; the next call returns it.
        """
        if not self._committed:
            with interrupts_deferred():
                self._advance()
        return self._committed.popleft() if self._committed else None

    def _advance(self) -> None:
        """Launch until more than `lag` iterations are in flight or nothing is left to launch; commit the oldest."""
        began = perf_counter()
        while len(self._flights) <= self.lag:
            if not self._launch_next():
                break
        if self._flights:
            self._commit(self._flights.popleft(), began)

    def _launch_next(self) -> bool:
        """Plan and launch one iteration. False if there is nothing to compute (or nothing before a commit)."""
        while True:
            self._take_inbox()
            self._take_arrivals()
            if self._waiting or self.slots.taken.any():
                view = self._view()
                plan = ask(self.policy, view)
                self._check_growth(plan)
                if self._someone_computes(plan):
                    self._launch(plan)
                    return True
                self._release(plan)
                if plan.wait_until is not None and not self._flights:
                    self._wait(plan.wait_until)
                    continue
            if self._flights:
                return False
            if self._future:
                self._pass_time(self._future[0][0])
            elif self._waiting or self.slots.taken.any():
                raise PolicyError(
                    f"policy {self.policy.name!r} is stuck at iteration {self.iteration}: {len(self._waiting)} "
                    f"requests wait and nobody computes; it must admit or resume somebody."
                )
            else:
                return False

    # ------------------------------------------------------------------ before an iteration

    def _take_inbox(self) -> None:
        while self._inbox:
            entry = self._inbox.popleft()
            if isinstance(entry, Request):
                live = Live(entry, self.outputs.add(entry))
                self._live[entry.id] = live
                heapq.heappush(self._future, (entry.arrival, live.row, live))
            else:
                self._cancel(self._live[entry])

    @property
    def arrival_clock(self) -> float:
        """Now, in the unit of arrivals: seconds on the lane's clock, or iterations."""
        return self.now if self.arrival_unit == "seconds" else self.iteration + self._ticks_skipped

    def _take_arrivals(self) -> None:
        while self._future and self._future[0][0] <= self.arrival_clock:
            live = heapq.heappop(self._future)[2]
            self._waiting.append(live)
            self._arrived.append(live.request.id)

    def _pass_time(self, until: float) -> None:
        """Nobody computes: time passes until then, in the unit of arrivals."""
        if self.arrival_unit == "seconds":
            self.now = max(self.now, until)
        else:
            self._ticks_skipped += int(np.ceil(until - self.arrival_clock))

    def _wait(self, until: float) -> None:
        """The policy lets time pass, though requests may wait. The watchdog counts how often."""
        self._idle_iterations += 1
        if self._idle_iterations > PATIENCE:
            self._idle_iterations = 0
            raise PolicyError(
                f"policy {self.policy.name!r} is stuck: {PATIENCE} times in a row nobody advanced and it waited, while "
                f"{len(self._waiting)} requests wait; it must admit or resume somebody."
            )
        self._pass_time(min(until, self._future[0][0]) if self._future else until)

    def _cancel(self, live: Live) -> None:
        if self.outputs.closed[live.row]:
            return
        slot = NOBODY
        if live in self._waiting:
            self._waiting.remove(live)
        elif any(entry[2] is live for entry in self._future):
            self._future = [entry for entry in self._future if entry[2] is not live]
            heapq.heapify(self._future)
        else:
            seats = np.flatnonzero((self.slots.request == live.request.id) & ~self.slots.ended)
            if not len(seats):
                return  # its last token is on its way from the device: it has ended by itself
            slot = int(seats[0])
            self.slots.leave(slot)
        self.outputs.closed[live.row] = True
        live.reason = FinishReason.CANCELLED
        self._cancelled.append(Mark(live.request.id, slot))

    def _view(self) -> View:
        slots, pool = self.slots, self.pool
        taken, ended = slots.taken, slots.ended
        running = np.flatnonzero(taken & ~ended)
        running = running[np.argsort(slots.order[running])]
        return View(
            iteration=self.iteration,
            now=self.now,
            slots=len(slots),
            waiting=LiveViews(self._waiting, self._waiting_view),
            running=LiveViews(running, self._seated_view),
            finished=LiveViews(np.flatnonzero(ended), self._seated_view),
            free_slots=len(slots) - len(running),
            free_blocks=pool.free + int(slots.capacity[ended].sum()) // pool.block_size,
            block_size=pool.block_size,
            total_blocks=pool.blocks,
            context_limit=self.context_limit,
            clock=self.arrival_clock,
            last_admission=self._last_admission,
        )

    def _waiting_view(self, live: Live) -> Any:
        return live.view(generated=int(self.outputs.count[live.row]))

    def _seated_view(self, slot: int) -> Any:
        slots = self.slots
        return self._live[int(slots.request[slot])].view(
            generated=int(slots.generated[slot]),
            computed=int(slots.computed[slot]),
            slot=int(slot),
            blocks=int(slots.capacity[slot]) // self.pool.block_size,
        )

    # ------------------------------------------------------------------ launching

    def _held(self, plan: CheckedPlan) -> BoolArray:
        """bool [slots]: finished requests that the plan keeps in their slots."""
        if plan.hold_all or not plan.hold:
            return self.slots.ended & plan.hold_all
        return self.slots.ended & np.isin(self.slots.request, list(plan.hold))

    def _counts(self, plan: CheckedPlan) -> IntArray:
        """int32 [slots]: tokens that each slot takes in under this plan, for those who sit there at this moment."""
        slots = self.slots
        count = np.where(slots.ended, self._held(plan), slots.known - slots.computed)
        for slot, tokens in self._exceptions(plan):
            count[slot] = tokens
        return count

    def _exceptions(self, plan: CheckedPlan) -> list[tuple[int, int]]:
        """(slot, tokens) of those who do not simply go on."""
        named = {**plan.chunk, **dict.fromkeys((*plan.preempt, *plan.pause), 0)}
        if not named:
            return []
        slot_of = {int(request): slot for slot, request in enumerate(self.slots.request)}
        return [(slot_of[request], tokens) for request, tokens in named.items() if request in slot_of]

    def _someone_computes(self, plan: CheckedPlan) -> bool:
        return bool(plan.admit or self._counts(plan).any())

    def _check_growth(self, plan: CheckedPlan) -> None:
        """Raise PolicyError if the running requests outgrow the pool under this plan. Held ones never grow."""
        slots, pool = self.slots, self.pool
        lacking = slots.computed + self._counts(plan) - slots.capacity
        lacking[slots.ended] = 0
        needed = int((-(-np.maximum(lacking, 0) // pool.block_size)).sum())
        if not needed:
            return
        let_go = slots.ended & ~self._held(plan)
        free = pool.free + int(slots.capacity[let_go].sum()) // pool.block_size
        for request in plan.preempt:
            free += int(slots.capacity[slots.slot_of(request)]) // pool.block_size
        for entry in plan.admit:
            free -= pool.blocks_for(self._reserve(self._live[entry.request], entry.reserve))
        if needed > free:
            raise growth_shortage(self.policy, self.iteration, needed, free)

    @staticmethod
    def _reserve(live: Live, reserve: int | None) -> int:
        return len(live.request.prompt) + live.request.max_new_tokens if reserve is None else reserve

    def _release(self, plan: CheckedPlan) -> None:
        """Let go of finished requests that the plan does not hold."""
        for slot in np.flatnonzero(self.slots.ended & ~self._held(plan)):
            self.slots.leave(int(slot))

    def _preempt(self, request: int) -> int:
        """Throw a running request out to the head of the queue; return the slot that it gives up."""
        slot = self.slots.slot_of(request)
        live = self._live[request]
        live.seen = max(live.seen, int(self.slots.computed[slot]))
        live.preemptions += 1
        self.slots.leave(slot)
        self._waiting.appendleft(live)
        return slot

    def _admit(self, live: Live, reserve: int) -> Seat:
        slots = self.slots
        slot = slots.lowest_free()
        output = self.outputs.of(live.row)
        tokens = np.concatenate([np.array(live.request.prompt, np.int32), output])
        slots.request[slot] = live.request.id
        slots.prompt[slot] = len(live.request.prompt)
        slots.known[slot] = len(tokens)
        slots.seen[slot] = live.seen
        slots.generated[slot] = len(output)
        slots.limit[slot] = self.outputs.limit[live.row]
        slots.order[slot] = self._admissions
        slots.row[slot] = live.row
        self._admissions += 1
        slots.grow(slot, reserve)
        self._waiting.remove(live)
        live.admitted = self._last_admission = self.iteration
        return Seat(slot, tokens, live.request.sampling)

    def _launch(self, plan: CheckedPlan) -> None:
        """Change the books as the plan says, and hand the step to the executor."""
        slots = self.slots
        self._release(plan)
        preempted = [*self._thrown_out, *(Mark(r, self._preempt(r), why) for r, why in plan.preempt.items())]
        admitted, seats = [], []
        for entry in plan.admit:
            live = self._live[entry.request]
            seats.append(self._admit(live, self._reserve(live, entry.reserve)))
            admitted.append(Mark(entry.request, seats[-1].slot, entry.reason))
        stalled = tuple(Mark(r, slots.slot_of(r), why) for r, why in plan.pause.items())

        count = self._counts(plan)
        for slot in np.flatnonzero(~slots.ended & (count > slots.capacity - slots.computed)):
            slots.grow(int(slot), int(slots.computed[slot] + count[slot]))
        # A held row goes on to the end of its own blocks, for it never takes one that somebody could use, or to the end
        # of the context, and is computed in place there.
        room = np.minimum(slots.capacity, self.context_limit)
        start = np.where(slots.ended, np.minimum(slots.computed, room - 1), slots.computed)
        rows = np.flatnonzero(count).astype(np.int32)
        held = slots.ended[rows]
        first, n = start[rows], count[rows]
        yields = first + n == slots.known[rows]

        state = np.zeros(len(slots), np.uint8)
        state[[mark.slot for mark in stalled]] = State.STALLED
        state[rows] = np.select(
            [held, first < slots.seen[rows], first < slots.prompt[rows]],
            [State.HELD, State.RECOMPUTE, State.PREFILL],
            State.DECODE,
        )
        step = Step(
            iteration=self.iteration,
            seats=tuple(seats),
            slot=rows,
            start=first,
            count=n,
            draw=np.where(yields | held, slots.generated[rows], -1).astype(np.int32),
            tables=slots.tables,
        )
        slots.computed[rows] = first + n
        given = rows[yields & ~held]
        slots.generated[given] += 1
        slots.known[rows[yields | held]] += 1
        slots.ended[given] = slots.generated[given] >= slots.limit[given]

        flight = Flight(
            index=self.iteration,
            ticket=None,
            row=slots.row[rows],
            slot=rows,
            yields=np.flatnonzero(yields & ~held).astype(np.int32),
            request=slots.request.copy(),
            state=state,
            tokens=count,
            context=slots.computed.copy(),
            arrived=tuple(self._arrived),
            admitted=tuple(admitted),
            preempted=tuple(preempted),
            stalled=stalled,
            cancelled=tuple(self._cancelled),
            waiting=len(self._waiting),
            blocks=slots.blocks(),
        )
        self._arrived.clear()
        self._cancelled.clear()
        self._thrown_out.clear()
        self.iteration += 1
        self._flights.append(flight)
        try:
            flight.ticket = self.executor.launch(step)
        except Exception as error:
            raise self._failed(error) from error

    # ------------------------------------------------------------------ committing

    def _commit(self, flight: Flight, began: float) -> None:
        """Take the tokens of an iteration, end outputs, advance the clock, and write down what happened."""
        try:
            result = self.executor.collect(flight.ticket)
        except Exception as error:
            self._flights.appendleft(flight)
            raise self._failed(error) from error
        outputs = self.outputs
        # Outputs that ended while this iteration was already in flight: its rows were computed in vain.
        vain = outputs.closed[flight.row] & (flight.state[flight.slot] != State.HELD)
        flight.state[flight.slot[vain]] = State.HELD
        alive = flight.yields[~outputs.closed[flight.row[flight.yields]]]
        row, slot, tokens = flight.row[alive], flight.slot[alive], result.tokens[alive]
        outputs.append(row, tokens)
        token = np.full(len(self.slots), NOBODY, np.int32)
        token[slot] = tokens

        by_end = np.isin(tokens, self._ends) & ~outputs.forced[row]
        by_stop = np.zeros(len(row), bool)
        for i in np.flatnonzero(outputs.stops[row] & ~outputs.forced[row]):
            by_stop[i] = int(tokens[i]) in self._live[int(flight.request[slot[i]])].request.stop_tokens
        by_length = outputs.count[row] >= outputs.limit[row]
        finished = []
        for i in np.flatnonzero(by_end | by_stop | by_length):
            reason = FinishReason.END if by_end[i] else FinishReason.STOP if by_stop[i] else FinishReason.LENGTH
            finished.append(self._finish(int(flight.request[slot[i]]), int(slot[i]), reason))

        start = self.now
        self.now += result.seconds if result.seconds is not None else perf_counter() - began
        event = Iteration(
            index=flight.index,
            t_start=start,
            t_end=self.now,
            request=flight.request,
            state=flight.state,
            tokens=flight.tokens,
            context=flight.context,
            token=token,
            arrived=flight.arrived,
            admitted=flight.admitted,
            finished=tuple(finished),
            preempted=flight.preempted,
            stalled=flight.stalled,
            cancelled=flight.cancelled,
            waiting=flight.waiting,
            blocks_used=flight.blocks[0],
            blocks_reserved=flight.blocks[1],
            blocks_total=self.pool.blocks,
            padded=result.padded,
        )
        self._committed.append(event)
        self._last_seated = event.request
        self._watch(event)

    def _finish(self, request: int, slot: int, reason: FinishReason) -> Finish:
        live = self._live[request]
        live.reason = reason
        self.outputs.closed[live.row] = True
        if self.slots.request[slot] == request:
            self.slots.ended[slot] = True
            self.slots.generated[slot] = self.outputs.count[live.row]
        elif live in self._waiting:  # preempted after this iteration was launched, and over all the same
            self._waiting.remove(live)
        return Finish(request, slot, reason)

    def _watch(self, event: Iteration) -> None:
        """The watchdog: a policy that throws out all that it computes would run for ever."""
        advanced = event.useful or event.generated
        self._idle_iterations = 0 if advanced else self._idle_iterations + 1
        if self._idle_iterations > PATIENCE:
            self._idle_iterations = 0
            raise PolicyError(
                f"policy {self.policy.name!r} is stuck: for {PATIENCE} iterations up to {event.index} nobody advanced, "
                f"while {event.waiting} requests wait."
            )

    def _failed(self, error: Exception) -> EngineError:
        """The executor failed: put every unfinished request back in the queue, the oldest admission first."""
        lost = self._flights[0].index
        self._arrived = [r for flight in self._flights for r in flight.arrived] + self._arrived
        self._cancelled = [m for flight in self._flights for m in flight.cancelled] + self._cancelled
        self._flights.clear()
        queued = {id(live) for live in self._waiting} | {id(entry[2]) for entry in self._future}
        back = [x for x in self._live.values() if not self.outputs.closed[x.row] and id(x) not in queued]
        # Whoever the last event showed in a slot, and is not over, loses it: the next event says so.
        self._thrown_out = []
        for seat, request in enumerate(self._last_seated.tolist()):
            if request != NOBODY and not self.outputs.closed[(live := self._live[request]).row]:
                self._thrown_out.append(Mark(request, seat, "the executor failed"))
                live.seen = max(live.seen, len(live.request.prompt) + int(self.outputs.count[live.row]) - 1)
        for slot in np.flatnonzero(self.slots.taken):
            self.slots.leave(int(slot))
        for live in sorted(back, key=lambda x: (x.admitted or 0, x.row), reverse=True):
            self._waiting.appendleft(live)
        self.iteration = lost
        return EngineError(
            f"the executor failed in iteration {lost} with {type(error).__name__}: {error}; "
            f"{len(back)} unfinished requests are back in the queue and nothing that they had is lost."
        )
