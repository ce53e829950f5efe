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
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from cbviz.engine.dump import dump
from cbviz.engine.executor import Executor, Step
from cbviz.engine.interrupts import interrupts_deferred
from cbviz.engine.live import Live
from cbviz.engine.outputs import Outputs
from cbviz.engine.prefix_reuse import PrefixReuse
from cbviz.engine.reckoning import counts, held, shortage, writes_at
from cbviz.engine.seating import Seating, reserve
from cbviz.engine.sight import Sight
from cbviz.engine.slots import Slots
from cbviz.engine.swap import SwapSpace
from cbviz.engine.thinking import Endless, Thinking
from cbviz.errors import CapacityError, EngineError, PolicyError, WorkloadError
from cbviz.memory import BlockPool, Preemption
from cbviz.policies import get
from cbviz.policies.base import Policy, View
from cbviz.policies.check import ask, growth_shortage
from cbviz.policies.identity import name_of
from cbviz.policies.plain import CheckedPlan
from cbviz.trace.events import NOBODY, BoolArray, Finish, FinishReason, IntArray, Iteration, Mark, State
from cbviz.workload.checks import BEYOND_INT32
from cbviz.workload.request import ArrivalUnit, Request, only_requests

IDLE, PREFILL, DECODE, RECOMPUTE, HELD, STALLED = (
    np.uint8(state) for state in (State.IDLE, State.PREFILL, State.DECODE, State.RECOMPUTE, State.HELD, State.STALLED)
)
PATIENCE = 10_000
"""Iterations in a row that may pass without anybody's first-time progress before the run is called stuck."""


@dataclass(slots=True)
class Flight:
    """An iteration that was launched and not yet committed: everything about it but its tokens."""

    ticket: Any
    row: IntArray
    """int32 [R]: each row's row in `Outputs`."""
    slot: IntArray
    yields: IntArray
    """Indices into the row arrays: those that yield a token to a request."""
    facts: dict[str, Any]
    """What its `Iteration` will tell; times, finishes and padding are still to come, and so are the tokens."""


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
    preemption
        What becomes of the keys and values of a preempted request: "recompute" throws them away, "swap" copies them to
        host memory and back. Where host memory has no room for all that a request has, it is recomputed after all.
    swap_blocks
        KV blocks that host memory has room for; None takes as many as the pool has. Only with "swap".

    Raises
    ------
    CapacityError
        Slots, a pool or swap blocks that make no sense, or more host memory than there is.
    EngineError
        Another lag or way to preempt than these.

    Notes
    -----
    `step()` is atomic: an interrupt waits for the iteration in flight, and a failing policy changes nothing, nor does
    one that is broken off after planning for 30 seconds. `submit` and `cancel` may be called from any thread and take
    effect before the next iteration.
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
        preemption: Preemption = "recompute",
        swap_blocks: int | None = None,
    ) -> None:
        if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:
            raise CapacityError(f"slots must be a whole number of at least 1, not {slots!r}.")
        if lag not in (0, 1):
            raise EngineError(f"lag must be 0 or 1, not {lag!r}.")
        if pool.owners:
            raise CapacityError("the block pool is in use; give every engine a pool of its own.")
        if preemption not in get_args(Preemption):
            raise EngineError(f"preemption must be one of {', '.join(get_args(Preemption))}, not {preemption!r}.")
        if preemption == "recompute" and swap_blocks is not None:
            raise EngineError("swap_blocks is for preemption='swap'; whoever is recomputed needs no host memory.")
        self.executor = executor
        self._policy = get(policy)
        self.pool = pool
        self.lag = lag
        self.arrival_unit = arrival_unit
        self.context_limit = min(executor.context_limit, pool.blocks * pool.block_size)
        if pool.blocks_for(self.context_limit) * pool.block_size >= BEYOND_INT32:
            raise CapacityError(
                f"a request could have {self.context_limit:,} positions in {pool.blocks:,} blocks of "
                f"{pool.block_size:,}; its blocks must hold fewer than 2**31."
            )
        self.slots = Slots(slots, pool, self.context_limit)
        self.outputs = Outputs()
        self.reuse = PrefixReuse(pool, pool.prefix, self.outputs) if pool.prefix is not None else None
        self.swap: SwapSpace | None = None
        self.block_bytes = 0
        """Bytes with which a KV block is swapped; 0 without swapping."""
        if preemption == "swap":
            self.swap = SwapSpace(pool.blocks if swap_blocks is None else swap_blocks, pool.block_size)
            self.block_bytes = executor.provide_swap(self.swap.pool.blocks)
        self.now = 0.0
        """Seconds on the lane's clock."""
        self.iteration = 0
        """Index of the next iteration to be planned."""
        self._ticks_skipped = 0
        self._live: dict[int, Live] = {}
        self._future: list[tuple[float, int, Live]] = []
        self._seating = Seating(self.slots, self.outputs, self.reuse, self.swap)
        self._waiting = self._seating.waiting
        self._sight = Sight(self.slots, self.outputs, self._live, self.reuse, self.swap)
        self._thinking = Thinking()
        self._last_admission: int | None = None
        self._ends = np.array(executor.end_tokens, np.int32)
        self._flights: deque[Flight] = deque()
        self._committed: deque[Iteration] = deque()
        self._arrived: list[int] = []
        self._cancelled: list[Mark] = []
        self._thrown_out: list[Mark] = []
        self._nobody: IntArray = np.full(slots, NOBODY, np.int32)
        self._last_seated = self._nobody
        self._idle_iterations = 0
        self._inbox: deque[Request | int] = deque()
        self._known_ids: set[int] = set()
        self._lock = threading.Lock()

    @property
    def policy(self) -> Policy:
        """Who runs. Another policy takes over with the next plan; PolicyError if the object is none."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = get(policy)

    # ------------------------------------------------------------------ requests in and out

    def submit(self, *requests: Request) -> None:
        """Hand over requests: all of them, or none if one is refused.

        Raises
        ------
        WorkloadError
            Something that is no `Request`, an id that was used before, or a prompt with a token that the model does not
            know.
        CapacityError
            A request that can never fit the context or the pool.
        """
        only_requests(requests)
        with self._lock:
            ids: set[int] = set()
            for request in requests:
                if request.id in self._known_ids or request.id in ids:
                    raise WorkloadError(f"request {request.id} was submitted before; ids must be unique.")
                self._check_known(request)
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
        """Cancellations that no event has told yet: no iteration came after them, or it is still in flight."""
        flying = (mark for flight in self._flights for mark in flight.facts["cancelled"])
        return (*flying, *self._cancelled)

    def _check_known(self, request: Request) -> None:
        vocabulary, highest = self.executor.vocabulary, max(request.prompt)
        if vocabulary is not None and highest >= vocabulary:
            raise WorkloadError(
                f"request {request.id} has the token {highest:,} in its prompt, "
                f"but the model knows 0 to {vocabulary - 1:,}."
            )

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
        self.submit(*only_requests(requests))
        while (event := self.step()) is not None:
            yield event

    def step(self) -> Iteration | None:
        """Advance by one iteration and return it; None when every request has ended.

        Raises
        ------
        PolicyError
            The policy raised, planned something illegal or without an end, or is stuck. Nothing has changed; another
            policy may go on.
        EngineError
            The executor failed. Every unfinished request is back in the queue with its output so far.
        KeyboardInterrupt
            After the iteration in flight was committed, and the next call returns it; or while the policy planned.
        """
        if not self._committed:
            with interrupts_deferred(lambda: self._thinking.here):
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
            if self.reuse is not None:
                self.reuse.keep(self.slots, self._live)
            self._take_inbox()
            self._take_arrivals()
            if self._waiting or self.slots.taken.any():
                plan = self._plan()
                count = self._counts(plan)
                self._check_room(plan, count)
                if plan.admit or count.any():
                    self._launch(plan, count)
                    return True
                self._seating.release(plan)
                if plan.wait_until is not None and not self._flights:
                    self._wait(plan.wait_until)
                    continue
            if self._flights:
                return False
            if self._future:
                self._pass_time(self._future[0][0])
            elif self._waiting or self.slots.taken.any():
                raise self._stuck(
                    f" at iteration {self.iteration}: {len(self._waiting)} requests wait and nobody computes; "
                    f"it must admit or resume somebody"
                )
            else:
                return False

    def _plan(self) -> CheckedPlan:
        """What the policy wants. Nothing has been changed when it is asked, so it may be broken off."""
        began = perf_counter()
        try:
            return self._thinking.let(self._ask)
        except Endless:
            raise PolicyError(
                f"policy {name_of(self._policy)!r} was still planning iteration {self.iteration} after "
                f"{perf_counter() - began:.0f} s and was broken off; a plan takes milliseconds: look for a loop that "
                "never ends."
            ) from None
        finally:
            self._sight.settle()

    def _ask(self) -> CheckedPlan:
        return ask(self._policy, self._view())

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
            raise self._stuck(
                f": {PATIENCE} times in a row nobody advanced and it waited, while {len(self._waiting)} requests wait; "
                f"it must admit or resume somebody"
            )
        self._pass_time(min(until, self._future[0][0]) if self._future else until)

    def _cancel(self, live: Live) -> None:
        if self.outputs.closed[live.row]:
            return
        slot = NOBODY
        if live in self._waiting:
            self._seating.leave_queue(live)
        elif any(entry[2] is live for entry in self._future):
            self._future = [entry for entry in self._future if entry[2] is not live]
            heapq.heapify(self._future)
        else:
            seats = np.flatnonzero((self.slots.request == live.request.id) & ~self.slots.ended)
            if not len(seats):
                live.cancelled = True  # its last token is on its way from the device: it has ended by itself,
                return  # unless that very iteration fails
            slot = int(seats[0])
            self.slots.leave(slot)
        self._end_cancelled(live, slot)

    def _end_cancelled(self, live: Live, slot: int) -> None:
        self.outputs.closed[live.row] = True
        live.reason = FinishReason.CANCELLED
        self._cancelled.append(Mark(live.request.id, slot))

    def _view(self) -> View:
        slots, pool = self.slots, self.pool
        taken, ended = slots.taken, slots.ended
        running = (taken & ~ended).nonzero()[0]
        running = running[np.argsort(slots.order[running])]
        leaving = slots.request[ended].tolist()
        return View(
            iteration=self.iteration,
            now=self.now,
            slots=len(slots),
            waiting=self._sight.waiting(self._waiting, leaving),
            running=self._sight.seated(running),
            finished=self._sight.seated(ended.nonzero()[0]),
            free_slots=len(slots) - len(running),
            free_blocks=pool.free + pool.frees(leaving),
            block_size=pool.block_size,
            total_blocks=pool.blocks,
            context_limit=self.context_limit,
            clock=self.arrival_clock,
            last_admission=self._last_admission,
            freed_together=self._sight.freed_together(leaving),
        )

    # ------------------------------------------------------------------ launching

    def _counts(self, plan: CheckedPlan) -> IntArray:
        """int32 [slots]: tokens that each slot takes in under this plan, for those who sit there at this moment."""
        in_vain = held(self.slots, plan)
        if self.reuse is not None:  # nobody computes in vain where others may read
            at = writes_at(self.slots, self.context_limit) // self.pool.block_size
            for slot in np.flatnonzero(in_vain):
                in_vain[slot] = not self.reuse.holds(int(self.slots.tables[slot, at[slot]]))
        return counts(self.slots, plan, in_vain)

    def _check_room(self, plan: CheckedPlan, count: IntArray) -> None:
        """Raise PolicyError if the requests outgrow the pool under this plan."""

        def newcomers() -> list[tuple[list[int], int]]:
            lives = [(self._live[entry.request], entry) for entry in plan.admit]
            return [(self._seating.found(live), self.pool.blocks_for(reserve(live, entry))) for live, entry in lives]

        if short := shortage(self.slots, plan, count, newcomers):
            raise growth_shortage(self._policy, self.iteration, *short)

    def _launch(self, plan: CheckedPlan, count: IntArray) -> None:
        """Change the books as the plan says, and hand the step to the executor. `count` is from before the changes."""
        slots, seating = self.slots, self._seating
        seating.release(plan)
        preempted = [*self._thrown_out, *(seating.preempt(self._live[r], why) for r, why in plan.preempt.items())]
        newcomers = [self._live[entry.request] for entry in plan.admit]
        found, reused = seating.share(newcomers)
        entered = [seating.admit(*one, self.iteration) for one in zip(newcomers, plan.admit, found, strict=True)]
        if entered:
            self._last_admission = self.iteration
        stalled = tuple(Mark(r, slots.slot_of(r), why) for r, why in plan.pause.items())

        if entered:  # those who go had a count of 0 already
            count = self._counts(plan)
        for slot in (~slots.ended & (count > slots.capacity - slots.computed)).nonzero()[0]:
            slots.grow(int(slot), int(slots.computed[slot] + count[slot]))
        start = writes_at(slots, self.context_limit)
        rows = count.nonzero()[0].astype(np.int32)
        in_vain = slots.ended[rows]
        first, n = start[rows], count[rows]
        computed = first + n
        draws = (computed == slots.known[rows]) | in_vain
        yields = draws & ~in_vain

        state = np.where(slots.ended, HELD, IDLE)
        if stalled:
            state[[mark.slot for mark in stalled]] = STALLED
        state[rows] = _doing(in_vain, first < slots.seen[rows], first < slots.prompt[rows])
        out, back = seating.copies()
        step = Step(
            iteration=self.iteration,
            seats=tuple(seat for seat, _ in entered),
            slot=rows,
            start=first,
            count=n,
            draw=np.where(draws, slots.generated[rows], -1),
            tables=slots.tables,
            swap_out=out,
            swap_in=back,
        )
        slots.computed[rows] = computed
        given = rows[yields]
        slots.generated[given] += 1
        slots.known[rows[draws]] += 1
        slots.ended[given] = slots.generated[given] >= slots.limit[given]

        used, reserved, written = slots.memory()
        facts = {
            "index": self.iteration,
            "request": slots.request.copy(),
            "state": state,
            "tokens": count,
            "context": slots.computed.copy(),
            "token": self._nobody.copy(),
            "allotted": slots.capacity.copy(),
            "arrived": tuple(self._arrived),
            "admitted": tuple(mark for _, mark in entered),
            "preempted": tuple(preempted),
            "stalled": stalled,
            "cancelled": tuple(self._cancelled),
            "waiting": len(self._waiting),
            "blocks_used": used,
            "blocks_reserved": reserved,
            "blocks_total": self.pool.blocks,
            "written": written,
            "reused": reused,
            "evicted": self.reuse.evictions() if self.reuse is not None else 0,
            "swapped_out": len(out),
            "swapped_in": len(back),
        }
        flight = Flight(None, slots.row[rows], rows, yields.nonzero()[0].astype(np.int32), facts)
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
        outputs, facts = self.outputs, flight.facts
        # Outputs that ended while this iteration was already in flight: its rows were computed in vain.
        closed = outputs.closed[flight.row]
        facts["state"][flight.slot[closed]] = HELD
        alive = flight.yields[~closed[flight.yields]]
        row, slot, tokens = flight.row[alive], flight.slot[alive], result.tokens[alive]
        outputs.append(row, tokens)
        facts["token"][slot] = tokens

        free = ~outputs.forced[row]  # where END and stop tokens are what they are
        by_end = free & np.isin(tokens, self._ends) if free.any() else free
        by_stop = free & outputs.stops[row]
        for i in by_stop.nonzero()[0]:
            by_stop[i] = int(tokens[i]) in self._live[int(facts["request"][slot[i]])].request.stop_tokens
        by_length = outputs.count[row] >= outputs.limit[row]
        finished = []
        for i in (by_end | by_stop | by_length).nonzero()[0]:
            reason = FinishReason.END if by_end[i] else FinishReason.STOP if by_stop[i] else FinishReason.LENGTH
            finished.append(self._finish(int(facts["request"][slot[i]]), int(slot[i]), reason))

        start = self.now
        self.now += result.seconds if result.seconds is not None else perf_counter() - began
        event = Iteration(**facts, t_start=start, t_end=self.now, finished=tuple(finished), padded=result.padded)
        self._committed.append(event)
        self._last_seated = event.request
        self._watch(event, advanced=bool(len(tokens)) or event.useful > 0)

    def _finish(self, request: int, slot: int, reason: FinishReason) -> Finish:
        live = self._live[request]
        live.reason = reason
        self.outputs.closed[live.row] = True
        if self.slots.request[slot] == request:
            self.slots.ended[slot] = True
            self.slots.generated[slot] = self.outputs.count[live.row]
        elif live in self._waiting:  # preempted after this iteration was launched, and over all the same
            self._seating.leave_queue(live)
        return Finish(request, slot, reason)

    def _watch(self, event: Iteration, *, advanced: bool) -> None:
        """The watchdog: a policy that throws out all that it computes would run for ever."""
        self._idle_iterations = 0 if advanced else self._idle_iterations + 1
        if self._idle_iterations > PATIENCE:
            self._idle_iterations = 0
            raise self._stuck(
                f": for {PATIENCE} iterations up to {event.index} nobody advanced, while {event.waiting} requests wait"
            )

    def _stuck(self, how: str) -> PolicyError:
        """The error for a policy that gets nowhere; who sits where, and who waits, is noted on it."""
        error = PolicyError(f"policy {name_of(self._policy)!r} is stuck{how}.")
        error.add_note(dump(self._view()))
        self._sight.settle()
        return error

    def _failed(self, error: Exception) -> EngineError:
        """The executor failed: put every unfinished request back in the queue, the oldest admission first."""
        lost = self._flights[0].facts["index"]
        self._arrived = [r for flight in self._flights for r in flight.facts["arrived"]] + self._arrived
        self._cancelled = [m for flight in self._flights for m in flight.facts["cancelled"]] + self._cancelled
        self._flights.clear()
        self._seating.forget_copies()
        for live in self._live.values():
            if live.cancelled and not self.outputs.closed[live.row]:
                self._end_cancelled(
                    live, next(iter(np.flatnonzero(self._last_seated == live.request.id).tolist()), NOBODY)
                )
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


def _doing(in_vain: BoolArray, again: BoolArray, prompt: BoolArray) -> npt.NDArray[np.uint8]:
    """uint8 [R]: the states of rows that are computed; the first that holds, else they decode."""
    state = np.full(len(in_vain), DECODE)
    state[prompt] = PREFILL
    state[again] = RECOMPUTE
    state[in_vain] = HELD
    return state
