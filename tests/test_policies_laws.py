"""What holds for all policies, or for all of a kind; and known failures of real systems that ours survive."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.errors import PolicyError
from cbviz.events import State
from cbviz.policies import (
    POLICIES,
    Admit,
    Continuous,
    OneAtATime,
    Orca,
    Plan,
    Policy,
    RequestView,
    Sarathi,
    Static,
    View,
    VllmV0,
    VllmV1,
)
from cbviz.workload.request import Request
from tests.pictures import picture, requests, run
from tests.schedulers import UNDER_TEST, spelled

# ------------------------------------------------------------------ blindness


@dataclass
class Recorded:
    """A policy whose plans are kept."""

    policy: Policy
    plans: list[tuple[object, ...]] = field(default_factory=list)
    name: str = "recorded"
    summary: str = ""

    def plan(self, view: View) -> Plan:
        plan = self.policy.plan(view)
        self.plans.append((view.iteration, *spelled(plan)))
        return plan


def drawn(rng: random.Random, number: int, arrive: bool = False) -> list[Request]:
    """Requests of random sizes with forced lengths, all of which fit 24 positions."""
    made = []
    for i in range(number):
        most = rng.randint(2, 12)
        made.append(
            Request(
                i,
                tuple(range(1, rng.randint(2, 11))),
                most,
                arrival=float(i // 2) if arrive else 0.0,
                output_length=rng.randint(1, most),
            )
        )
    return made


def test_a_view_shows_nothing_that_tells_a_length() -> None:
    shown = set(RequestView._fields)
    assert shown.isdisjoint({"output_length", "prompt", "text", "answer", "sampling", "stop_tokens", "limit"})


@pytest.mark.parametrize("name", UNDER_TEST)
def test_no_policy_reads_true_lengths(name: str) -> None:
    """Other lengths, same plans, until the first token tells the difference."""
    rng = random.Random(name)
    for _ in range(8):
        work = drawn(rng, 8)
        other = [
            Request(r.id, r.prompt, r.max_new_tokens, output_length=rng.randint(1, r.max_new_tokens)) for r in work
        ]
        lengths = [(a.output_length, b.output_length) for a, b in zip(work, other, strict=True)]
        plans, ends = [], []
        for side in (work, other):
            spy = Recorded(UNDER_TEST[name]())
            events = run(spy, 3, side, blocks=24)
            plans.append(spy.plans)
            differ = {r.id for r, (a, b) in zip(work, lengths, strict=True) if a != b}
            ends.append(min(e.index for e in events for f in e.finished if f.request in differ))
        known = min(ends)
        until = [[plan for plan in side if plan[0] <= known] for side in plans]  # type: ignore[operator]
        assert until[0] == until[1]
        assert until[0], "the test needs plans before the first end"


# ------------------------------------------------------------------ the same again, and otherwise


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("name", UNDER_TEST)
def test_same_work_same_events(name: str, lag: int) -> None:
    work = drawn(random.Random(name), 12, arrive=True)
    policy = UNDER_TEST[name]()
    one, again, other = (run(p, 3, work, blocks=24, lag=lag) for p in (policy, policy, UNDER_TEST[name]()))
    assert repr(one) == repr(again) == repr(other), "also where one object serves several runs"


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "shortest_first"])
def test_with_one_slot_all_policies_that_keep_the_order_are_one_at_a_time(name: str) -> None:
    """There is no request to batch, pause or preempt, so only the queue is left, and these serve it in order."""
    for seed in range(5):
        work = drawn(random.Random(seed), 7)
        assert picture(run(POLICIES[name](), 1, work)) == picture(run(OneAtATime(), 1, work))


@pytest.mark.parametrize("policy", [OneAtATime(), Continuous(), Orca(), Orca("power_of_two")], ids=lambda p: p.name)
def test_memory_never_hurts_policies_that_reserve(policy: Policy) -> None:
    """First come, first served, without preemption: with more memory no request starts later."""
    for seed in range(6):
        work = drawn(random.Random(seed), 9, arrive=True)
        before: dict[int, int] | None = None
        for blocks in range(24, 64, 8):
            begun = {m.request: it.index for it in run(policy, 4, work, blocks=blocks) for m in it.admitted}
            assert before is None or all(begun[r] <= before[r] for r in begun)
            before = begun


def test_memory_can_hurt_static_batching() -> None:
    """A lesson: it never preempts, and still. With room for little, the two long requests share a batch; with more room
    each of them shares one with a short request, and both batches are long."""
    work = requests([1, 10, 10, 1], prompts=[15, 1, 1, 1])
    assert picture(run(Static(), 2, work, blocks=24)) == ["122222222224", ".3333333333."]
    assert picture(run(Static(), 2, work, blocks=27)) == ["1hhhhhhhhh3333333333", "22222222224hhhhhhhhh"]


# ------------------------------------------------------------------ known failures of real systems, survived


def test_head_of_line_blocking() -> None:
    """A large declaration at the head of the queue: 2 may need 21 of 24 positions, and 3 to 5 are small.

    A policy that reserves lets the head block them all until 1 has left. One that pages takes only the prompt's blocks,
    and admits all at once. All are served in the end.
    """
    work = [Request(1, (1,) * 4, 6, output_length=6), Request(2, (1,), 20, output_length=3)]
    work += [Request(i, (1,), 2, output_length=2) for i in (3, 4, 5)]
    reserved, paged = (run(policy, 5, work, blocks=24) for policy in (Orca(), VllmV1()))
    assert {m.request: it.index for it in reserved for m in it.admitted} == {1: 0, 2: 6, 3: 6, 4: 8, 5: 9}
    assert {m.request: it.index for it in paged for m in it.admitted} == dict.fromkeys(range(1, 6), 0)


def test_preemption_thrash_with_partial_prefills() -> None:
    """Three prompts of 14 in a pool of 16, in chunks of 4, beside a request that grows.

    Admitted by the first chunk alone, prompts begin that cannot end; each is thrown out again with all that it had
    computed, and again. Asking for room for the whole prompt first ends that. Either way all are served.
    """
    work = [Request(0, (1,) * 4, 12, output_length=12), *(Request(i, (1,) * 14, 2, output_length=2) for i in (1, 2, 3))]
    thrown_out, recomputed = {}, {}
    for whole in (False, True):
        steps = run(VllmV1(6, 4, reserve_full_sequence=whole), 4, work, blocks=16)
        assert sorted(f.request for it in steps for f in it.finished) == [0, 1, 2, 3]
        thrown_out[whole] = sum(len(it.preempted) for it in steps)
        recomputed[whole] = sum(int(it.tokens[it.state == State.RECOMPUTE].sum()) for it in steps)
    assert thrown_out == {False: 9, True: 0}
    assert recomputed[False] > recomputed[True] == 0


@pytest.mark.parametrize("policy", [VllmV1(6, 2, False), VllmV1(6, 2), VllmV0(), Sarathi(6)], ids=lambda p: p.name)
def test_admission_deadlock(policy: Policy) -> None:
    """Three prompts of 10 share 12 positions: begun together, each holds 4 and none can continue."""
    work = [Request(i, (1,) * 10, 2, output_length=2) for i in (1, 2, 3)]
    steps = run(policy, 3, work, blocks=12)
    assert [f.request for it in steps for f in it.finished] == [1, 2, 3]
    assert len(steps) <= 3 * (10 + 2)


class Hopeful:
    """Admits by the first chunk and never preempts: the deadlock that the others must avoid."""

    name = "hopeful"
    summary = "admits too much and gives nothing back"

    def plan(self, view: View) -> Plan:
        chunk, free, admit = {}, view.free_blocks, []
        for request in view.waiting[: view.free_slots]:
            if free >= 2:
                admit.append(Admit(request.id, reserve=2))
                chunk[request.id] = 2
                free -= 2
        pause = {}
        for request in view.running:
            n = min(2, request.lacks)
            if (needed := view.blocks_lacking(request, n)) <= free:
                chunk[request.id] = n
                free -= needed
            else:
                pause[request.id] = "no block is free"
        return Plan(admit=admit, chunk=chunk, pause=pause)


def test_a_policy_that_deadlocks_is_named() -> None:
    """The same three prompts under a policy that frees nothing: it gets an error, and another may continue."""
    engine = Engine(NullExecutor(), Hopeful(), slots=3, pool=BlockPool(12, 1))
    engine.submit(*(Request(i, (1,) * 10, 2, output_length=2) for i in (1, 2, 3)))
    with pytest.raises(PolicyError, match="policy 'hopeful' is stuck at iteration 2: 0 requests wait and none"):
        list(engine.run())
    engine.policy = VllmV1()
    assert list(engine.run())
    assert [len(engine.output(i)) for i in (1, 2, 3)] == [2, 2, 2]
