"""Random runs in which everything changes at once: policies hand over to each other, requests come and are cancelled,
the executor fails, plans are wrong, memory is tight, prefixes are shared, blocks are swapped. Every answer is right.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.errors import EngineError, PolicyError
from cbviz.events import Iteration
from cbviz.policies import Admit, Continuous, Plan, Policy, View, VllmV1
from cbviz.trace import Recorder, TraceMeta
from cbviz.workload.request import Request
from tests.kv_oracle import OracleExecutor, answer
from tests.schedulers import UNDER_TEST

SEEDS = range(120)


class Wrong:
    """Plans at random, and nearly always something illegal."""

    name, summary = "wrong", "a plan at random"

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def plan(self, view: View) -> Plan:
        ids = [r.id for r in (*view.waiting, *view.running, *view.finished)] + [-1, 10**9]
        some = lambda: self.rng.sample(ids, self.rng.randrange(min(4, len(ids))))  # noqa: E731
        return Plan(
            admit=[Admit(request, reserve=self.rng.choice([None, 0, 1, 7, 40])) for request in some()],
            hold=some(),
            preempt=dict.fromkeys(some(), "wrong"),
            pause=dict.fromkeys(some(), "wrong"),
            chunk={request: self.rng.randrange(5) for request in some()},
            wait_until=self.rng.choice([None, None, view.clock, view.clock + 1]),
        )


def balanced(engine: Engine) -> None:
    """Every block is free, or used as often as it is owned; a request that owns any sits in a slot."""
    pool, slots = engine.pool, engine.slots
    users = Counter(block for owner in pool.owners for block in pool.owned(owner))
    assert all(pool.users(block) == users[block] for block in range(pool.blocks))
    assert len(users) + pool.free == pool.blocks
    assert sorted(pool.owners) == sorted(slots.request[slots.taken].tolist())
    if engine.swap is not None:
        assert set(engine.swap.pool.owners) == {live.request.id for live in engine.state.waiting if live.swapped}


def drawn(rng: random.Random, number: int, now: float) -> Request:
    """Many begin alike; half of them have a forced length."""
    most = rng.randint(1, 9)
    prompt = (rng.choice([1, 1, 1, 2, 300]),) * rng.randint(1, 11)
    forced = rng.randint(1, most) if rng.random() < 0.5 else None
    return Request(number, prompt, most, arrival=now + rng.choice([0, 0, 0, 2.5]), output_length=forced)


def make(rng: random.Random) -> Engine:
    size = rng.choice([1, 2, 4])
    pool = BlockPool(rng.randint(24, 40) // size, size, prefix_cache=rng.random() < 0.5)
    swap = rng.choice([None, 2, 6, 40])
    return Engine(
        OracleExecutor(slots := rng.randint(1, 6), pool),
        Continuous(),
        slots=slots,
        pool=pool,
        lag=rng.randrange(2),
        preemption="swap" if swap else "recompute",
        swap_blocks=swap,
    )


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_whatever_happens_every_answer_is_right_and_nothing_is_lost(first: int) -> None:
    happened: Counter[str] = Counter()
    for seed in SEEDS[first::4]:
        rng = random.Random(seed)
        engine = make(rng)
        executor = engine.executor
        assert isinstance(executor, OracleExecutor)
        meta = TraceMeta(
            policy="many", policy_summary="", slots=len(engine.slots), block_size=engine.pool.block_size,
            total_blocks=engine.pool.blocks, block_bytes=engine.block_bytes, clock="virtual", lag=engine.lag,
        )  # fmt: skip
        recorder = Recorder(meta)
        submitted: dict[int, Request] = {}
        ended: Counter[int] = Counter()
        cancelled: set[int] = set()

        def take(event: Iteration) -> None:
            recorder.add(event)  # noqa: B023
            ended.update([end.request for end in event.finished] + [mark.request for mark in event.cancelled])  # noqa: B023
            cancelled.update(mark.request for mark in event.cancelled)  # noqa: B023

        preempting = rng.choice([name for name in sorted(UNDER_TEST) if name.startswith("vllm_v")])
        policies: list[Policy] = [UNDER_TEST[name]() for name in (*rng.sample(sorted(UNDER_TEST), 3), preempting)]
        for _ in range(70):
            chance = rng.random()
            if chance < 0.15 and len(submitted) < 24:
                new = [drawn(rng, len(submitted) + n, engine.now) for n in range(rng.randint(1, 5))]
                engine.submit(*new)
                recorder.add_requests(new)
                submitted.update({request.id: request for request in new})
            elif chance < 0.2 and submitted:
                engine.cancel(rng.choice(sorted(submitted)))
            elif chance < 0.25:
                executor.fails_at = rng.choice(["launch", "collect"])
            before = engine.policy
            if chance > 0.9:
                engine.policy = Wrong(rng)
            elif chance > 0.7:
                engine.policy = rng.choice(policies)
                happened["switched"] += 1
            try:
                event = engine.step()
            except EngineError:
                happened["failed"] += 1
                continue
            except PolicyError:
                happened["refused"] += 1
                engine.policy = before if not isinstance(before, Wrong) else policies[0]
                event = None
            if event is not None:
                take(event)
                happened["preempted"] += len(event.preempted)
                happened["swapped"] += event.swapped_in
                happened["reused"] += sum(bool(reuse.found) for reuse in event.reused)
            balanced(engine)
        executor.fails_at = ""
        engine.policy = VllmV1()  # Continuous never preempts, and requests that others let in may have to grow
        for event in engine.run():
            take(event)
            balanced(engine)
        cancelled |= {mark.request for mark in engine.untold_cancellations}
        assert set(ended) | cancelled == set(submitted)
        assert max(ended.values(), default=1) == 1, "a request has ended twice"
        for number, request in submitted.items():
            output, right = engine.output(number), answer(request)
            assert output == (right[: len(output)] if number in cancelled else right)
        assert engine.pool.free == engine.pool.blocks
        recorder.add_cancelled(engine.untold_cancellations)
        recorder.trace()
    wanted = ("switched", "failed", "refused", "preempted", "swapped", "reused")
    assert all(happened[what] > 5 for what in wanted), f"the runs must meet everything: {happened}"
