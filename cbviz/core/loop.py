"""The loop: plan → launch → commit, once for every forward pass.

    plan   = ask(policy, view)        # pure: sees requests, slots, blocks; never how long an output will be
    ticket = executor.launch(step)    # computes, decides nothing
    event  = commit(flight, result)   # outputs extended, requests ended, clock advanced
    yield event                       # one Iteration

Policies decide, the block pool accounts, executors compute; the loop keeps the state and reports what happened. Beside
this file: `engine` sets a loop up and takes requests, `views` shows the state to policies, `scheduler_state` applies
plans and ends outputs, `growth` refuses a plan that outgrows the pool, `recovery` puts requests back after a failed
pass.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from cbviz.core.executor import Executor, Step
from cbviz.core.growth import check_growth
from cbviz.core.intake import Intake
from cbviz.core.interrupts import PlanTimeout, PolicyTimeout, interrupts_deferred
from cbviz.core.recovery import requeue
from cbviz.core.scheduler_state import SchedulerState
from cbviz.core.stuck import COMPUTES_NOTHING, NEVER_ADVANCES, ONLY_WAITS, broken_off, stuck
from cbviz.core.views import ViewMaker
from cbviz.errors import EngineError, PolicyError
from cbviz.events import NO_REQUEST, BoolArray, IntArray, Iteration, Mark, State, StateArray
from cbviz.policies.base import Policy, View
from cbviz.policies.check import ask
from cbviz.policies.plan import CheckedPlan
from cbviz.workload.request import ArrivalUnit

IDLE, PREFILL, DECODE, RECOMPUTE, HELD, STALLED = map(np.uint8, State)
STUCK_AFTER = 10_000
"""Iterations in a row without first-time progress of any request before the run is called stuck."""


@dataclass(slots=True)
class Flight:
    """A launched iteration, and what is needed to commit it once its tokens have come."""

    index: int
    row: IntArray
    """int32 [R]: each row's row in `Outputs`."""
    slot: IntArray
    """int32 [R]: each row's slot."""
    yields: IntArray
    """Indices of the rows that yield a token to a request."""
    request: IntArray
    """The columns `request`, `state` and `token` of the event; the commit completes the last two."""
    state: StateArray
    token: IntArray
    arrived: tuple[int, ...]
    cancelled: tuple[Mark, ...]
    event: partial[Iteration]
    """The `Iteration`, as far as it is known at the launch."""
    ticket: Any = None


class Loop:
    """One iteration after the other over a state; `Engine` makes it and says what its arguments mean."""

    def __init__(
        self,
        executor: Executor,
        policy: Policy,
        state: SchedulerState,
        *,
        context_limit: int,
        lag: int,
        arrival_unit: ArrivalUnit,
    ) -> None:
        self.executor = executor
        self.state = state
        self.lag = lag
        self.arrival_unit = arrival_unit
        self.now = 0.0
        """Seconds on the lane's clock."""
        self.iteration = 0
        """Index of the next iteration to be planned."""
        self._policy = policy
        self._ticks_skipped = 0
        self._intake = Intake(executor, state)
        self._views = ViewMaker(state, context_limit)
        self._timeout = PolicyTimeout()
        self._last_admission: int | None = None
        self._ends = np.array(executor.end_tokens, np.int32)
        self._flights: deque[Flight] = deque()
        self._committed: deque[Iteration] = deque()
        self._preempted_by_failure: list[Mark] = []
        self._last_seen: IntArray = np.full(len(state.slots), NO_REQUEST, np.int32)
        """Which request the last event showed in each slot."""
        self._idle_iterations = 0

    @property
    def untold_cancellations(self) -> tuple[Mark, ...]:
        """Cancellations that no event has reported yet: no iteration came after them, or it is still in flight."""
        flying = (mark for flight in self._flights for mark in flight.cancelled)
        return (*flying, *self._intake.cancelled)

    def step(self) -> Iteration | None:
        """Advance by one iteration and return it; None when every request has ended.

        Raises
        ------
        PolicyError
            The policy raised, planned something illegal or without an end, or is stuck. Nothing has changed; another
            policy may continue.
        EngineError
            The executor failed. Every unfinished request is back in the queue with its output so far.
        KeyboardInterrupt
            After the iteration in flight was committed, and the next call returns it; or while the policy planned.
        """
        if not self._committed:
            with interrupts_deferred(lambda: self._timeout.here):
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
        state, intake = self.state, self._intake
        while True:
            if state.reuse is not None:
                state.reuse.keep(state.slots, state.requests)
            clock = self.arrival_clock
            if intake.inbox or (intake.future and intake.future[0].arrival <= clock):
                intake.take(clock)
            if state.busy:
                plan = self._plan()
                count = state.counts(plan)
                if state.slots.outgrown(count).any() or (plan.admit and state.reuse is not None):
                    check_growth(state, plan, count, self._policy, self.iteration)
                if plan.admit or count.any():
                    self._launch(plan, count)
                    return True
                state.release(plan)
                if plan.wait_until is not None and not self._flights:
                    self._no_progress(ONLY_WAITS, waiting=len(state.waiting))
                    future = intake.future
                    self._pass_time(min(plan.wait_until, future[0].arrival) if future else plan.wait_until)
                    continue
            if self._flights:
                return False
            if intake.future:
                self._pass_time(intake.future[0].arrival)
            elif state.busy:
                raise self._stuck(COMPUTES_NOTHING, iteration=self.iteration, waiting=len(state.waiting))
            else:
                return False

    def _plan(self) -> CheckedPlan:
        """What the policy wants. Nothing has been changed when it is asked, so it may be broken off."""
        began = perf_counter()
        try:
            return self._timeout.limit(lambda: ask(self._policy, self._view()))
        except PlanTimeout:
            raise broken_off(self._policy, self.iteration, perf_counter() - began) from None
        finally:
            self._views.settle()

    def _view(self) -> View:
        return self._views.view(self.iteration, self.now, self.arrival_clock, self._last_admission)

    # ------------------------------------------------------------------ launching and committing

    def _launch(self, plan: CheckedPlan, count: IntArray) -> None:
        """Apply the plan and hand the executor a step in which each slot takes in `count` (int32 [slots]) tokens.

        From here on the state counts the step as computed: ends by length are known before the tokens are.
        """
        state, slots, intake, index = self.state, self.state.slots, self._intake, self.iteration
        moves = state.apply(plan, index)
        if plan.admit:
            self._last_admission = index
            count = state.counts(plan)
        for slot in slots.outgrown(count).nonzero()[0]:
            slots.grow(int(slot), int(slots.computed[slot] + count[slot]))
        # The rows that compute: from which position, how many tokens, and which of them draw one or yield one.
        row = count.nonzero()[0].astype(np.int32)
        start, n, wasted = state.writes_at()[row], count[row], slots.ended[row]
        computed = start + n
        draws = (computed == slots.known[row]) | wasted
        yields = draws & ~wasted
        # What the event shows of each slot; after `advance` the slots are as the step will leave them.
        states = np.where(slots.ended, HELD, IDLE)
        states[[mark.slot for mark in moves.stalled]] = STALLED
        states[row] = _row_states(wasted, start < slots.seen[row], start < slots.prompt[row])
        out, back = state.swap.copies() if state.swap is not None else ((), ())
        draw = np.where(draws, slots.generated[row], -1)
        step = Step(index, tuple(moves.seats), row, start, n, draw, slots.tables, swap_out=out, swap_in=back)
        slots.advance(row, computed, draws, yields)
        used, reserved, written = slots.memory()
        request, token = slots.request.copy(), np.full(len(slots), NO_REQUEST, np.int32)
        arrived, cancelled = tuple(intake.arrived), tuple(intake.cancelled)
        event = partial(
            Iteration,
            index=index,
            request=request,
            state=states,
            tokens=count,
            context=slots.computed.copy(),
            token=token,
            allotted=slots.capacity.copy(),
            arrived=arrived,
            admitted=tuple(moves.admitted),
            preempted=(*self._preempted_by_failure, *moves.preempted),
            stalled=tuple(moves.stalled),
            cancelled=cancelled,
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
        flight = Flight(
            index, slots.row[row], row, yields.nonzero()[0], request, states, token, arrived, cancelled, event
        )
        intake.arrived.clear()
        intake.cancelled.clear()
        self._preempted_by_failure.clear()
        self.iteration += 1
        self._flights.append(flight)
        try:
            flight.ticket = self.executor.launch(step)
        except Exception as error:
            raise self._failed(error) from error

    def _commit(self, flight: Flight, began: float) -> None:
        """Take the tokens of an iteration, end outputs, advance the clock, and report what happened."""
        try:
            result = self.executor.collect(flight.ticket)
        except Exception as error:
            self._flights.appendleft(flight)
            raise self._failed(error) from error
        # Outputs that ended while this iteration was already in flight: their rows were computed for nothing.
        closed = self.state.outputs.closed[flight.row]
        flight.state[flight.slot[closed]] = HELD
        alive = flight.yields[~closed[flight.yields]]
        slot, given = flight.slot[alive], result.tokens[alive]
        flight.token[slot] = given
        finished = self.state.give(flight.row[alive], slot, flight.request[slot], given, self._ends)
        start = self.now
        self.now += result.seconds if result.seconds is not None else perf_counter() - began
        event = flight.event(t_start=start, t_end=self.now, finished=tuple(finished), padded=result.padded)
        self._committed.append(event)
        self._last_seen = event.request
        if len(given) or event.useful:
            self._idle_iterations = 0
        else:
            self._no_progress(NEVER_ADVANCES, last=event.index, waiting=event.waiting)

    # ------------------------------------------------------------------ time

    @property
    def arrival_clock(self) -> float:
        """Now, in the unit of arrivals: seconds on the lane's clock, or iterations."""
        return self.now if self.arrival_unit == "seconds" else self.iteration + self._ticks_skipped

    def _pass_time(self, until: float) -> None:
        """No request computes: time passes until then, in the unit of arrivals."""
        if self.arrival_unit == "seconds":
            self.now = max(self.now, until)
        else:
            self._ticks_skipped += int(np.ceil(until - self.arrival_clock))

    # ------------------------------------------------------------------ trouble

    def _no_progress(self, how: str, **facts: int) -> None:
        """The watchdog: a policy that preempts everything before it advances, or only waits, would run for ever."""
        self._idle_iterations += 1
        if self._idle_iterations > STUCK_AFTER:
            self._idle_iterations = 0
            raise self._stuck(how, times=STUCK_AFTER, **facts)

    def _stuck(self, how: str, **facts: int) -> PolicyError:
        try:
            return stuck(self._policy, self._view(), how, **facts)
        finally:
            self._views.settle()

    def _failed(self, error: Exception) -> EngineError:
        """The executor failed: the iterations in flight are lost, and no request is."""
        lost = self._flights[0].index
        self._preempted_by_failure, back = requeue(self.state, self._intake, self._flights, self._last_seen)
        self._flights.clear()
        self.iteration = lost
        return EngineError(
            f"the executor failed in iteration {lost} with {type(error).__name__}: {error}; "
            f"{back} unfinished requests are back in the queue and nothing that they had is lost."
        )


def _row_states(wasted: BoolArray, again: BoolArray, prompt: BoolArray) -> StateArray:
    """uint8 [R]: the states of rows that are computed; the first that holds, else they decode."""
    state = np.full(len(wasted), DECODE)
    state[prompt] = PREFILL
    state[again] = RECOMPUTE
    state[wasted] = HELD
    return state
