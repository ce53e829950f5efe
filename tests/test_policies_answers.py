"""No scheduler changes an answer: in pools so small that requests are thrown out, with prompts cut into chunks.

Nor does what memory does about it: beginnings that are shared, blocks that are swapped to host memory and back.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from cbviz.config import Preemption
from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.events import Iteration, State
from cbviz.policies import (
    TGI,
    VTC,
    Continuous,
    OneAtATime,
    Orca,
    Policy,
    RequestLevel,
    Sarathi,
    ShortestFirst,
    Static,
    VllmV0,
    VllmV1,
)
from cbviz.workload.request import Request
from tests.shapes import make, solo
from tests.test_engine_answers import requests

MODEL = make("llama")
# 12 blocks of 4 hold the longest of these once, or four that begin; so they run out as requests grow.
WORK = [replace(request, client="ab"[request.id % 3 % 2]) for request in requests(10, seed=4)]
ALONE = {r.id: solo(MODEL, r) for r in WORK}

KEEP_THEIR_SLOTS: list[Policy] = [
    OneAtATime(),
    Static(),
    Continuous(),
    RequestLevel(batch_size=3, window=0.001),
    Orca(),
    Orca("power_of_two"),
    Orca("maximum"),
    Orca("oracle", lengths={i: len(answer) for i, answer in ALONE.items()}),
    ShortestFirst(slo=6),
    VTC(),
    TGI(waiting_served_ratio=0.3, max_waiting_tokens=3),
]
THROW_OUT: list[Policy] = [
    VllmV0(),
    VllmV1(max_num_batched_tokens=5),
    VllmV1(max_num_batched_tokens=6, long_prefill_token_threshold=3, reserve_full_sequence=False),
    VllmV1(max_num_batched_tokens=6, reserve_full_sequence=False, priority={i: i % 2 for i in range(10)}),
    Sarathi(chunk_size=5),
]


STEM = WORK[0].prompt[:6]
ALIKE = [replace(r, prompt=STEM[: 6 - r.id % 2 * 2] + r.prompt[: 3 + r.id % 4]) for r in WORK]
"""The same requests, but their prompts begin alike: with 6 tokens, or with 4 of them."""
ALIKE_ALONE = {r.id: solo(MODEL, r) for r in ALIKE}


def serve(
    policy: Policy, work: list[Request], lag: int, *, prefix_cache: bool = False, preemption: Preemption = "recompute"
) -> tuple[dict[int, list[int]], list[Iteration]]:
    pool = BlockPool(12, 4, prefix_cache=prefix_cache)
    executor = ModelExecutor(MODEL, slots=4, pool=pool)
    room = 40 if preemption == "swap" else None
    engine = Engine(executor, policy, slots=4, pool=pool, lag=lag, preemption=preemption, swap_blocks=room)
    events = list(engine.run(work))
    assert pool.free == pool.blocks
    return {r.id: engine.output(r.id) for r in work}, events


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("policy", KEEP_THEIR_SLOTS, ids=lambda policy: policy.name)
def test_who_keeps_a_slot_answers_as_alone(policy: Policy, lag: int) -> None:
    answers, events = serve(policy, WORK, lag)
    assert answers == ALONE
    assert not any(it.preempted for it in events)


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("policy", THROW_OUT, ids=lambda policy: policy.name)
def test_who_is_thrown_out_and_recomputed_answers_as_alone(policy: Policy, lag: int) -> None:
    answers, events = serve(policy, WORK, lag)
    assert answers == ALONE
    assert any(it.preempted for it in events), "the test needs a pool that runs out"
    assert any((it.state == State.RECOMPUTE).any() for it in events)
    if not isinstance(policy, VllmV0):
        prompts = {r.id: len(r.prompt) for r in WORK}
        cut = [
            request
            for it in events
            for request, tokens, token in zip(it.request.tolist(), it.tokens.tolist(), it.token.tolist(), strict=True)
            if 0 < tokens < prompts.get(request, 0) and token < 0
        ]
        assert cut, "the test needs prompts that are cut"


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("policy", THROW_OUT, ids=lambda policy: policy.name)
def test_who_is_swapped_out_answers_as_alone(policy: Policy, lag: int) -> None:
    answers, events = serve(policy, WORK, lag, preemption="swap")
    assert answers == ALONE
    assert sum(it.swapped_in for it in events) > 0, "the test needs a pool that runs out"
    assert not any((it.state == State.RECOMPUTE).any() for it in events)


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("policy", [*KEEP_THEIR_SLOTS[:-2], TGI(), *THROW_OUT], ids=lambda policy: policy.name)
def test_who_shares_a_beginning_answers_as_alone(policy: Policy, lag: int) -> None:
    answers, events = serve(policy, ALIKE, lag, prefix_cache=True)
    assert answers == ALIKE_ALONE
    assert sum(entry.found for it in events for entry in it.reused) >= 8, "the test needs beginnings that are found"
    assert any(it.evicted for it in events), "the test needs cached blocks that are taken for something else"


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("policy", THROW_OUT, ids=lambda policy: policy.name)
def test_sharing_swapping_and_chunks_together(policy: Policy, lag: int) -> None:
    answers, events = serve(policy, ALIKE, lag, prefix_cache=True, preemption="swap")
    assert answers == ALIKE_ALONE
    assert any(entry.found for it in events for entry in it.reused)
    assert sum(it.swapped_in for it in events) > 0
