"""Every policy against a world that submits, cancels and fails at random, on tiny pools: what must never break."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.errors import CapacityError, EngineError
from cbviz.events import NO_REQUEST, Iteration, State
from cbviz.policies import (
    TGI,
    VTC,
    Orca,
    Plan,
    Policy,
    RequestView,
    Sarathi,
    ShortestFirst,
    View,
    VllmV0,
    VllmV1,
)
from cbviz.workload.request import Request
from tests.kv_oracle import OracleExecutor, answer
from tests.pictures import reasons
from tests.schedulers import UNDER_TEST, admissions, spelled


def mirrored(view: View) -> View:
    """The same view with the slots numbered backwards."""
    running = [r._replace(slot=view.slots - 1 - (r.slot or 0)) for r in view.running]
    finished = [r._replace(slot=view.slots - 1 - (r.slot or 0)) for r in view.finished]
    return replace(view, running=running, finished=finished[::-1])


@dataclass
class Spy:
    """Asks a policy, and checks each of its plans against what the policy promises."""

    policy: Policy
    world: Callable[[View], set[int]]
    """Who is alive when this view was made."""
    name: str = "spy"
    summary: str = ""

    def plan(self, view: View) -> Plan:
        waiting, running = [r.id for r in view.waiting], [r.id for r in view.running]
        alive = self.world(view)
        seen = set(waiting + running)
        assert len(waiting + running) == len(seen), "a request is there twice"
        assert seen == alive, "a request is lost, or back after its end"
        before = (list(view.waiting), list(view.running))
        plan = self.policy.plan(view)
        again = self.policy.plan(mirrored(view))
        assert spelled(plan) == spelled(again), "asked twice, or of mirrored slots, it must answer the same"
        assert before == (list(view.waiting), list(view.running))
        admit = [entry.request for entry in admissions(plan)]
        if getattr(self.policy, "priority", None) is None and not isinstance(self.policy, ShortestFirst | VTC):
            assert waiting == sorted(waiting), "ids are in order of arrival, so the queue is, the preempted too"
            queue = [r.id for r in view.waiting if r.swapped] if isinstance(self.policy, VllmV0) else []
            assert admit == (queue or waiting)[: len(admit)], "the queue was skipped ahead"
            assert sorted(plan.preempt) == running[len(running) - len(plan.preempt) :], "the newest go first"
        self._keeps_its_own_rules(view, plan)
        return plan

    def _keeps_its_own_rules(self, view: View, plan: Plan) -> None:
        policy, running = self.policy, list(view.running)
        newcomers = [r for r in view.waiting if r.id in {entry.request for entry in admissions(plan)}]
        taken = {
            r.id: plan.chunk.get(r.id, r.lacks)
            for r in [*running, *newcomers]
            if r.id not in plan.preempt and r.id not in plan.pause
        }
        if isinstance(policy, VllmV1):
            assert sum(taken.values()) <= policy.max_num_batched_tokens
            assert not (plan.preempt and newcomers)
            free = view.free_blocks - sum(view.blocks_lacking(r, taken[r.id]) for r in running if r.id in taken)
            for request in newcomers if policy.priority is None else ():
                assert not policy.reserve_full_sequence or view.blocks_taken(request, request.known) <= free
                free -= view.blocks_lacking(request, taken[request.id])
            if policy.max_num_batched_tokens >= view.slots:
                assert not plan.pause, "V1 stalls no request while the budget is at least the slots"
        elif isinstance(policy, Sarathi):
            assert not (plan.preempt and newcomers)
            decodes = sum(r.lacks == 1 and r.id in taken for r in running)
            assert not any(r.lacks == 1 and r.id in plan.pause for r in running), "Sarathi stalls no decode"
            assert sum(taken.values()) <= max(policy.chunk_size, decodes)
            self._leaves_free(int(policy.watermark * view.total_blocks), view, newcomers)
        elif isinstance(policy, TGI):
            total = policy.max_batch_total_tokens or view.total_blocks * view.block_size
            assert not plan.preempt
            if newcomers:
                assert set(plan.pause) == {r.id for r in running}, "a prefill pauses all running requests"
                why = {entry.reason for entry in admissions(plan)} | set(plan.pause.values())
                assert len(why) == 1
                assert why < {"nothing running", "ratio met", "waited too long"}
                if why == {"ratio met"}:
                    assert len(newcomers) >= int(len(running) * policy.waiting_served_ratio)
                assert policy.padded or sum(r.most for r in [*running, *newcomers]) <= total
                known = [r.known for r in newcomers]
                inputs = len(known) * max(known) if policy.padded else sum(known)
                assert inputs <= (policy.max_batch_prefill_tokens or total)
                assert inputs + sum(r.max_new_tokens - r.generated for r in newcomers) <= total
        elif isinstance(policy, VllmV0):
            if any(r.swapped for r in view.waiting):
                assert all(r.swapped for r in newcomers), "no request is prefilled while one is swapped out"
                assert not plan.pause
                assert not (newcomers and plan.preempt)
            else:
                assert not newcomers or set(plan.pause) == {r.id for r in running}, "a prefill stalls all that run"
                assert newcomers or not plan.pause
                budget = policy.max_num_batched_tokens or max(view.context_limit, 2048)
                assert sum(r.lacks for r in newcomers) <= budget
                self._leaves_free(int(policy.watermark * view.total_blocks), view, newcomers)
        else:
            assert not plan.preempt
            assert not plan.pause
            assert not plan.chunk
        if isinstance(policy, ShortestFirst):
            overdue = [r.id for r in view.waiting if policy.slo and view.clock - r.arrival >= policy.slo]
            admitted = [entry.request for entry in admissions(plan)]
            assert [r for r in admitted if r in overdue] == admitted[: min(len(overdue), len(admitted))]
            assert [r for r in admitted if r in overdue] == overdue[: len(admitted)], "the oldest first"
        elif isinstance(policy, VTC):
            admitted = [entry.request for entry in admissions(plan)]
            for client in {r.client for r in view.waiting}:
                mine = [r.id for r in view.waiting if r.client == client]
                taken_of_it = [r for r in admitted if r in mine]
                assert taken_of_it == mine[: len(taken_of_it)], "a client's requests keep their order"

    @staticmethod
    def _leaves_free(watermark: int, view: View, newcomers: list[RequestView]) -> None:
        """An admission beside others leaves the watermark free."""
        if newcomers and (view.running or len(newcomers) > 1):
            assert view.free_blocks - sum(view.blocks_taken(r, r.known) for r in newcomers) >= watermark


class World(RuleBasedStateMachine):
    """Submits, steps, cancels and fails; after every step the books must balance."""

    make: Callable[[], Policy]

    @initialize(
        slots=st.integers(1, 6),
        positions=st.integers(12, 30),
        size=st.sampled_from([1, 2, 4]),
        lag=st.sampled_from([0, 1]),
        prefix_cache=st.booleans(),
        swap_blocks=st.sampled_from([None, None, 2, 5, 40]),
    )
    def begin(
        self, slots: int, positions: int, size: int, lag: int, prefix_cache: bool, swap_blocks: int | None
    ) -> None:
        self.pool = BlockPool(positions // size, size, prefix_cache=prefix_cache)
        self.executor = OracleExecutor(slots, self.pool)
        self.policy = self.make()
        self.engine = Engine(
            self.executor,
            Spy(self.policy, self.alive),
            slots=slots,
            pool=self.pool,
            lag=lag,
            preemption="swap" if swap_blocks else "recompute",
            swap_blocks=swap_blocks,
        )
        self.submitted: dict[int, Request] = {}
        self.asked_to_cancel: set[int] = set()
        self.refused = 0
        self.tried = 0
        self.failed = False
        self.reached: Counter[int] = Counter()
        self.events: list[Iteration] = []
        self.finished: set[int] = set()
        self.cancelled: set[int] = set()
        self.runs: Counter[int] = Counter()

    def alive(self, view: View) -> set[int]:
        """Requests that have arrived, and neither ended nor are in the last iteration, which is still in flight."""
        come = {r.id for r in self.submitted.values() if r.arrival <= view.clock}
        return come - self.finished - self.cancelled - self.asked_to_cancel - {r.id for r in view.finished}

    @rule(
        sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8),
        forced=st.booleans(),
        later=st.sampled_from([0, 0, 0, 1.5, 6]),
        first=st.sampled_from([1, 1, 2, 300]),
    )
    def submit(self, sizes: list[tuple[int, int]], forced: bool, later: float, first: int) -> None:
        """Several at once, for a crowd makes trouble. They come in order of their ids; many begin alike."""
        arrival = max([self.engine.now + later, *(r.arrival for r in self.submitted.values())])
        for prompt, output in sizes:
            self.tried += 1
            length = max(1, output - 2) if forced else None
            client = (None, "a", "b")[self.tried % 3]
            request = Request(
                self.tried, (first,) * prompt, output, arrival=arrival, output_length=length, client=client
            )
            if self.pool.blocks_for(prompt + output) > self.pool.blocks:
                with pytest.raises(CapacityError):
                    self.engine.submit(request)
                self.refused += 1
            else:
                self.engine.submit(request)
                self.submitted[request.id] = request

    @precondition(lambda self: self.submitted)
    @rule(which=st.integers(0, 1000))
    def cancel(self, which: int) -> None:
        request = sorted(self.submitted)[which % len(self.submitted)]
        self.engine.cancel(request)
        self.asked_to_cancel.add(request)

    @rule(where=st.sampled_from(["launch", "collect"]))
    def fail_next(self, where: str) -> None:
        self.executor.fails_at = where

    @rule(times=st.integers(1, 6))
    def step(self, times: int) -> None:
        for _ in range(times):
            self.advance()

    def advance(self) -> bool:
        armed = self.executor.fails_at
        try:
            event = self.engine.step()
        except EngineError:
            assert armed, "only a failing executor may fail"
            self.failed = True
            return True
        if event is None:
            return False
        self.take(event)
        return True

    def take(self, event: Iteration) -> None:
        seated = event.request[event.request != NO_REQUEST].tolist()
        assert len(seated) == len(set(seated)), "a request sits in two slots"
        assert event.index == len(self.events)
        assert event.t_start >= (self.events[-1].t_end if self.events else 0), "the clock went back"
        assert event.t_end >= event.t_start
        assert event.blocks_used + event.blocks_reserved <= event.blocks_total
        assert event.blocks_used <= event.written <= event.blocks_used * self.pool.block_size
        allotted = event.blocks_used + event.blocks_reserved
        assert allotted * self.pool.block_size - event.written == int((event.allotted - event.context).sum())
        assert (event.context[event.request == NO_REQUEST] == 0).all()
        self.events.append(event)
        over = [f.request for f in event.finished]
        gone = [mark.request for mark in event.cancelled]
        for request in over + gone:
            assert request not in self.finished | self.cancelled, "over twice"
        assert set(gone) <= self.asked_to_cancel
        self.finished.update(over)
        self.cancelled.update(gone)
        self.runs.update(r for r, n in zip(event.request.tolist(), event.tokens.tolist(), strict=True) if n)
        if not self.failed:
            self.recomputing_differs_from_first_time_work(event)
        for request in over:
            assert self.engine.output(request) == answer(self.submitted[request])
        if isinstance(self.policy, Orca):
            self.earlier_arrivals_ran_at_least_as_often()

    def recomputing_differs_from_first_time_work(self, event: Iteration) -> None:
        for slot in np.flatnonzero((event.tokens > 0) & (event.state != State.HELD)):
            request, context = int(event.request[slot]), int(event.context[slot])
            again = context - int(event.tokens[slot]) < self.reached[request]
            assert (event.state[slot] == State.RECOMPUTE) == again
            self.reached[request] = max(self.reached[request], context)

    def earlier_arrivals_ran_at_least_as_often(self) -> None:
        going = [r for r in self.submitted.values() if r.id not in self.finished | self.asked_to_cancel]
        going.sort(key=lambda r: (r.arrival, r.id))
        counts = [self.runs[r.id] for r in going]
        assert counts == sorted(counts, reverse=True)

    @invariant()
    def every_block_is_used_as_often_as_it_is_counted_or_free(self) -> None:
        if not hasattr(self, "engine"):
            return
        slots = self.engine.slots
        users = Counter(block for owner in self.pool.owners for block in self.pool.owned(owner))
        assert all(self.pool.users(block) == users[block] for block in range(self.pool.blocks))
        assert len(users) + self.pool.free == self.pool.blocks
        assert len(users) == self.pool.taken
        if self.pool.prefix is None:
            assert set(users.values()) <= {1}
            assert not self.executor.copied_back or self.engine.swap is not None
        assert sorted(self.pool.owners) == sorted(slots.request[slots.taken].tolist())
        for slot in np.flatnonzero(slots.taken):
            blocks = self.pool.owned(int(slots.request[slot]))
            assert tuple(slots.tables[slot][: len(blocks)].tolist()) == blocks
            assert slots.computed[slot] <= len(blocks) * self.pool.block_size
            written = self.pool.blocks_for(int(slots.computed[slot]))
            assert all(self.pool.users(block) == 1 for block in blocks[written:]), "an unwritten block is shared"

    @invariant()
    def host_memory_belongs_to_those_who_wait(self) -> None:
        if not hasattr(self, "engine") or self.engine.swap is None:
            return
        waiting = {live.request.id: live.swapped for live in self.engine.state.waiting if live.swapped}
        host = self.engine.swap.pool
        assert set(host.owners) == waiting.keys()
        for request, positions in waiting.items():
            assert len(host.owned(request)) == host.blocks_for(positions)

    def teardown(self) -> None:
        """No request starves: all that are left are served within a sensible number of iterations."""
        if not hasattr(self, "engine"):
            return
        self.executor.fails_at = ""
        work = sum(len(r.prompt) + r.max_new_tokens for r in self.submitted.values())
        patience = 10 + 3 * work + 8 * len(self.submitted)
        for _ in range(patience):
            if not self.advance():
                break
        else:
            pytest.fail(f"after {patience} iterations {self.engine!r} still has work: {reasons(self.events)[-20:]}")
        self.cancelled |= {mark.request for mark in self.engine.untold_cancellations}
        assert self.tried == len(self.finished) + len(self.cancelled) + self.refused
        assert self.finished | self.cancelled == set(self.submitted)
        for request in self.cancelled:
            output = self.engine.output(request)
            assert output == answer(self.submitted[request])[: len(output)]
        self.every_block_is_used_as_often_as_it_is_counted_or_free()
        self.host_memory_belongs_to_those_who_wait()


@pytest.mark.parametrize("name", UNDER_TEST)
def test_no_policy_loses_doubles_or_starves_a_request(name: str) -> None:
    machine = type(name, (World,), {"make": staticmethod(UNDER_TEST[name])})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=24,
            stateful_step_count=16,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
