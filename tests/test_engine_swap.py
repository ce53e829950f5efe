"""Preemption by swap, worked out by hand: blocks wait in host memory, and nothing is computed twice."""

from __future__ import annotations

import pytest
import torch

from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.eager.kv_cache import KVCache
from cbviz.errors import CapacityError, EngineError
from cbviz.events import Iteration, State
from cbviz.models.needs import KVShape
from cbviz.policies import Policy, RequestView, Sarathi, View, VllmV0, VllmV1
from cbviz.trace import Recorder, TraceMeta
from cbviz.workload.request import Request
from tests.kv_oracle import OracleExecutor, answer
from tests.pictures import picture, reasons, requests, tokens
from tests.schedulers import admissions


def serving(
    policy: Policy, slots: int, *, blocks: int, size: int = 1, lag: int = 0, swap_blocks: int | None = None
) -> Engine:
    pool = BlockPool(blocks, size)
    executor = OracleExecutor(slots, pool)
    return Engine(
        executor,
        policy,
        slots=slots,
        pool=pool,
        lag=lag,
        arrival_unit="iterations",
        preemption="swap",
        swap_blocks=swap_blocks,
    )


def run(policy: Policy, slots: int, work: list[Request], **more: int) -> list[Iteration]:
    """Serve the work, swapping; every answer must be what it is alone."""
    engine = serving(policy, slots, **more)  # type: ignore[arg-type]
    steps = list(engine.run(work))
    right(engine, work)
    return steps


def right(engine: Engine, work: list[Request]) -> None:
    assert {r.id: engine.output(r.id) for r in work} == {r.id: answer(r) for r in work}
    assert engine.swap is not None
    assert engine.pool.free == engine.pool.blocks
    assert engine.swap.pool.free == engine.swap.pool.blocks


def test_the_newest_waits_in_host_memory_and_goes_on_where_it_was() -> None:
    """9 positions, prompts of 3. Recomputing, 2 would take in 5 tokens at 5 (see the test of vllm_v0); its 4 written
    positions come back instead, and it takes in the one token that they lack. It is a decode like any other."""
    steps = run(VllmV0(), 2, requests([5, 5], prompts=[3, 3]), blocks=9)
    assert picture(steps) == ["11111222", "22......"]
    assert tokens(steps) == [[3, 1, 1, 1, 1, 1, 1, 1], [3, 1, 0, 0, 0, 0, 0, 0]]
    assert [it.swapped_out for it in steps] == [0, 0, 4, 0, 0, 0, 0, 0]
    assert [it.swapped_in for it in steps] == [0, 0, 0, 0, 0, 4, 0, 0]
    assert reasons(steps)[2:] == [
        (2, "preempted", 2, "no block is free; its 4 KV blocks wait in host memory"),
        (5, "admitted", 2, "its 4 KV blocks came from host memory"),
    ]
    assert not any((it.state == State.RECOMPUTE).any() for it in steps)


def test_no_request_is_prefilled_while_another_is_swapped_out() -> None:
    """vLLM V0. 3 comes at 3, a slot is free and all it asks for is one position; still it waits until 2 is back."""
    steps = run(VllmV0(), 2, requests([5, 5, 1], prompts=[3, 3, 1], arrivals=[0, 0, 3]), blocks=9)
    assert picture(steps) == ["111112s22", "22....3.."]
    assert [mark[:3] for mark in reasons(steps) if mark[1] == "admitted"][2:] == [
        (5, "admitted", 2),
        (6, "admitted", 3),
    ]


@pytest.mark.parametrize(("free", "runs", "back"), [(2, True, []), (3, True, [1]), (2, False, [1])])
def test_a_request_that_comes_back_has_room_to_grow(free: int, runs: bool, back: list[int]) -> None:
    """Two blocks for its 8 tokens, and one more so that it is not thrown out at once, unless no other runs."""
    swapped = RequestView(1, 0, 5, 9, generated=3, computed=7, preemptions=1, swapped=2)
    behind = RequestView(2, 0, 1, 1)
    other = RequestView(0, 0, 5, 9, generated=1, computed=5, slot=0, blocks=2)
    view = View(
        iteration=9,
        now=9.0,
        slots=3,
        waiting=[swapped, behind],
        running=[other] if runs else [],
        finished=[],
        free_slots=2,
        free_blocks=free,
        block_size=4,
        total_blocks=5,
        context_limit=20,
    )
    plan = VllmV0(watermark=0).plan(view)
    assert [entry.request for entry in admissions(plan)] == back
    assert not plan.preempt
    assert set(plan.put_off) == ({2} if back else {1})


def test_without_room_in_host_memory_it_is_recomputed() -> None:
    steps = run(VllmV0(), 2, requests([5, 5], prompts=[3, 3]), blocks=9, swap_blocks=3)
    assert picture(steps) == ["11111r22", "22......"]
    assert reasons(steps)[2][3] == "no block is free; host memory has no room for its 4 KV blocks"
    assert not any(it.swapped_out for it in steps)


@pytest.mark.parametrize("lag", [0, 1])
def test_half_a_prompt_is_swapped_too(lag: int) -> None:
    """Chunks of 4 in a pool of 12: a request that is thrown out in the middle of its prompt continues there."""
    work = [Request(0, (9,) * 3, 9, output_length=9), *(Request(i, (i,) * 8, 2, output_length=2) for i in (1, 2))]
    steps = run(VllmV1(4, reserve_full_sequence=False), 3, work, blocks=12, lag=lag)
    assert any(it.swapped_in for it in steps)
    assert not any((it.state == State.RECOMPUTE).any() for it in steps)
    assert sum(int(it.tokens[it.state == State.PREFILL].sum()) for it in steps) == 3 + 8 + 8


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("policy", [VllmV0(), VllmV1(6), Sarathi(6)], ids=lambda policy: policy.name)
def test_cancelling_a_request_that_is_swapped_out(policy: Policy, lag: int) -> None:
    work = requests([9, 9, 9], prompts=[3, 3, 3])
    engine = serving(policy, 3, blocks=14, lag=lag)
    engine.submit(*work)
    assert engine.swap is not None
    while not engine.swap.pool.owners:
        assert engine.step() is not None, "the test needs a request that is swapped out"
    (gone, *_) = engine.swap.pool.owners
    engine.cancel(gone)
    list(engine.run())
    assert engine.swap.pool.free == engine.swap.pool.blocks
    assert engine.pool.free == engine.pool.blocks
    assert all(engine.output(r.id) == answer(r) for r in work if r.id != gone)
    assert engine.output(gone) == answer(work[gone - 1])[: len(engine.output(gone))]


@pytest.mark.parametrize("lag", [0, 1])
def test_an_end_that_is_seen_after_the_swap(lag: int) -> None:
    """Ends come from tokens, and with a lag the host learns of one when its request is swapped out already."""
    swapped_and_over = 0
    for seed in range(40):
        work = [Request(i, (seed * 3 + i,) * 3, 9) for i in range(3)]
        engine = serving(VllmV1(), 3, blocks=13, lag=lag)
        steps = list(engine.run(work))
        right(engine, work)
        for it in steps:
            over = {end.request for end in it.finished}
            later = next((other for other in steps if other.index == it.index + 1), None)
            swapped_and_over += bool(later and over & {m.request for m in later.preempted})
    assert bool(swapped_and_over) == bool(lag), "with a lag, and only then, this happens"


@pytest.mark.parametrize("where", ["launch", "collect"])
@pytest.mark.parametrize("lag", [0, 1])
def test_a_failing_executor_loses_no_request_that_is_swapped_out(where: str, lag: int) -> None:
    """What host memory holds may come from the pass that failed, so it is recomputed."""
    work = requests([9, 9, 9], prompts=[3, 3, 3])
    engine = serving(VllmV0(), 3, blocks=14, lag=lag)
    engine.submit(*work)
    assert engine.swap is not None
    while not engine.swap.pool.owners:
        engine.step()
    engine.executor.fails_at = where  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match="unfinished requests are back in the queue"):
        list(engine.run())
    assert not engine.swap.pool.owners
    list(engine.run())
    right(engine, work)


def test_bytes_are_counted() -> None:
    """The oracle's blocks have 8 bytes a position. The trace says what was moved, and refuses what cannot be."""
    work = requests([5, 5], prompts=[3, 3])
    engine = serving(VllmV0(), 2, blocks=5, size=2)
    recorder = Recorder(TraceMeta("v0", "", 2, 2, 5, block_bytes=engine.block_bytes, arrival_unit="iterations"), work)
    for event in engine.run(work):
        recorder.add(event)
    trace = recorder.trace()
    assert trace.meta.block_bytes == 16
    assert trace.iterations.swapped_out.sum() == trace.iterations.swapped_in.sum() == 2


def test_ways_to_preempt_that_make_no_sense() -> None:
    def make(**more: object) -> Engine:
        pool = BlockPool(4, 4)
        return Engine(OracleExecutor(1, pool), VllmV0(), slots=1, pool=pool, **more)  # type: ignore[arg-type]

    with pytest.raises(EngineError, match="preemption must be one of recompute, swap, not 'discard'"):
        make(preemption="discard")
    with pytest.raises(EngineError, match="swap_blocks is for preemption='swap'"):
        make(swap_blocks=4)
    for blocks in (0, -1, 2.5, True):
        with pytest.raises(CapacityError, match="swap_blocks must be a whole number of at least 1"):
            make(preemption="swap", swap_blocks=blocks)


def test_blocks_are_copied_to_host_memory_and_back_as_they_are() -> None:
    torch.manual_seed(0)
    cache = KVCache(
        shapes=[KVShape(2, 4, 2, 4), KVShape(2, 4, 2, 3), KVShape(1, 6, 2, 4)],
        blocks=40,
        block_size=4,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    for tensor in (*cache.keys, *cache.values):
        tensor.normal_()
    before = [tensor.clone() for tensor in (*cache.keys, *cache.values)]
    assert cache.provide_swap(30) == (16 + 14 + 14) * 4 * 4
    out = tuple((block, 29 - block) for block in range(20))  # more than go in one copy
    cache.swap(out, ())
    for tensor in (*cache.keys, *cache.values):
        tensor[:80] = 0
    cache.swap((), tuple((29 - block, 20 + block) for block in range(20)))
    for tensor, old in zip((*cache.keys, *cache.values), before, strict=True):
        assert torch.equal(tensor[80:160], old[:80])
    # Within one step, copies out come before copies back into the same block.
    cache.swap(((20, 0),), ((28, 20),))
    assert cache.host is not None
    assert torch.equal(cache.host[0, : 4 * 8].view(4, 2, 4), before[0][:4]), "keys of layer 0"
    assert torch.equal(cache.keys[0][80:84], before[0][4:8]), "host block 28 held block 1"
