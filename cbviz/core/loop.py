"""The loop: plan → launch → commit, once for every forward pass.

    plan   = ask(policy, view)        # pure: sees requests, slots, blocks; never how long an output will be
    ticket = executor.launch(step)    # computes, decides nothing
    event  = commit(flight, result)   # outputs extended, requests ended, clock advanced
    yield event                       # one Iteration

Policies decide, the block pool accounts, executors compute; the loop keeps the state and reports what happened. Beside
this file: `engine` sets a loop up and takes requests, `views` shows the state to policies, `scheduler_state` applies
plans, `flight` turns them into a step and its tokens into an `Iteration`, `recovery` puts requests back after a failed
pass.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter

import numpy as np

from cbviz.core.executor import Executor
from cbviz.core.flight import Flight, land, prepare
from cbviz.core.intake import Intake
from cbviz.core.interrupts import PlanTimeout, PolicyTimeout, interrupts_deferred
from cbviz.core.recovery import requeue
from cbviz.core.scheduler_state import Moves, SchedulerState
from cbviz.core.stuck import stuck
from cbviz.core.views import ViewMaker
from cbviz.errors import EngineError, PolicyError
from cbviz.events import NO_REQUEST, IntArray, Iteration, Mark
from cbviz.policies.base import Policy
from cbviz.policies.check import ask, growth_shortage
from cbviz.policies.identity import name_of
from cbviz.policies.plan import CheckedPlan
from cbviz.workload.request import ArrivalUnit

STUCK_AFTER = 10_000
"""Iterations in a row without first-time progress of any request before the run is called stuck."""


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
        flying = (mark for flight in self._flights for mark in flight.draft.cancelled)
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
                if short := state.shortage(plan, count):
                    raise growth_shortage(self._policy, self.iteration, *short)
                if plan.admit or count.any():
                    moves = state.apply(plan, self.iteration)
                    self._launch(moves, state.counts(plan) if plan.admit else count)
                    return True
                state.release(plan)
                if plan.wait_until is not None and not self._flights:
                    self._wait(plan.wait_until)
                    continue
            if self._flights:
                return False
            if intake.future:
                self._pass_time(intake.future[0].arrival)
            elif state.busy:
                raise self._stuck(
                    f" at iteration {self.iteration}: {len(state.waiting)} requests wait and none is computed; "
                    f"it must admit or resume a request"
                )
            else:
                return False

    def _plan(self) -> CheckedPlan:
        """What the policy wants. Nothing has been changed when it is asked, so it may be broken off."""
        began = perf_counter()
        try:
            return self._timeout.limit(self._ask)
        except PlanTimeout:
            raise PolicyError(
                f"policy {name_of(self._policy)!r} was still planning iteration {self.iteration} after "
                f"{perf_counter() - began:.0f} s and was broken off; a plan takes milliseconds: look for a loop that "
                "never ends."
            ) from None
        finally:
            self._views.settle()

    def _ask(self) -> CheckedPlan:
        view = self._views.view(self.iteration, self.now, self.arrival_clock, self._last_admission)
        return ask(self._policy, view)

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

    def _wait(self, until: float) -> None:
        """The policy lets time pass, though requests may wait. The watchdog counts how often."""
        self._idle_iterations += 1
        if self._idle_iterations > STUCK_AFTER:
            self._idle_iterations = 0
            raise self._stuck(
                f": {STUCK_AFTER} times in a row no request advanced and it waited, while {len(self.state.waiting)} "
                "requests wait; it must admit or resume a request"
            )
        future = self._intake.future
        self._pass_time(min(until, future[0].arrival) if future else until)

    # ------------------------------------------------------------------ launching and committing

    def _launch(self, moves: Moves, count: IntArray) -> None:
        """Hand the executor a step in which each slot takes in `count` (int32 [slots]) tokens."""
        if moves.seats:
            self._last_admission = self.iteration
        moves.preempted[:0] = self._preempted_by_failure
        step, flight = prepare(self.state, self._intake, self.iteration, moves, count)
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
        given, finished = land(self.state, flight, result.tokens, self._ends)
        start = self.now
        self.now += result.seconds if result.seconds is not None else perf_counter() - began
        event = flight.draft.committed(start, self.now, finished, result.padded)
        self._committed.append(event)
        self._last_seen = event.request
        self._watch(event, advanced=given > 0 or event.useful > 0)

    # ------------------------------------------------------------------ trouble

    def _watch(self, event: Iteration, *, advanced: bool) -> None:
        """The watchdog: a policy that preempts everything before it advances would run for ever."""
        self._idle_iterations = 0 if advanced else self._idle_iterations + 1
        if self._idle_iterations > STUCK_AFTER:
            self._idle_iterations = 0
            raise self._stuck(
                f": for {STUCK_AFTER} iterations up to {event.index} no request advanced, while {event.waiting} "
                "requests wait"
            )

    def _stuck(self, how: str) -> PolicyError:
        view = self._views.view(self.iteration, self.now, self.arrival_clock, self._last_admission)
        error = stuck(self._policy, how, view)
        self._views.settle()
        return error

    def _failed(self, error: Exception) -> EngineError:
        """The executor failed: the iterations in flight are lost, and no request is."""
        lost = self._flights[0].draft.index
        self._preempted_by_failure, back = requeue(self.state, self._intake, self._flights, self._last_seen)
        self._flights.clear()
        self.iteration = lost
        return EngineError(
            f"the executor failed in iteration {lost} with {type(error).__name__}: {error}; "
            f"{back} unfinished requests are back in the queue and nothing that they had is lost."
        )
