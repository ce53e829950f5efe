"""Prefill and decode on engines of their own: answers as alone, blocks moved and counted, clocks worked out by hand."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cbviz import Workload, schedule, why
from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.core.receiving import ReceivingEngine
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.errors import CbvizError, EngineError, MeasureError
from cbviz.events import NO_REQUEST, State
from cbviz.policies import Continuous, Policy, Sarathi, VllmV0, VllmV1
from cbviz.run.disaggregate import disaggregate
from cbviz.run.disaggregated import Disaggregated, DisaggregatedResult
from cbviz.trace import TraceMeta, load
from cbviz.view import Board
from cbviz.workload.request import Request, Sampling
from tests.kv_oracle import OracleExecutor, answer
from tests.shapes import make, solo
from tests.test_engine_answers import requests

SIZE = 4


def serve(
    work: list[Request], prefill: Policy, decode: Policy, blocks: int = 40, host: int = 60, fails: tuple[int, ...] = ()
) -> tuple[DisaggregatedResult, OracleExecutor, OracleExecutor]:
    """Two engines whose answers depend on every position of the cache, and a copy between their memories."""
    pools = BlockPool(24, SIZE), BlockPool(blocks, SIZE)
    reader, writer = OracleExecutor(2, pools[0]), OracleExecutor(4, pools[1])
    engines = (
        Engine(reader, prefill, slots=2, pool=pools[0]),
        ReceivingEngine(writer, decode, slots=4, pool=pools[1], preemption="swap", swap_blocks=host),
    )

    def copy(pairs: Any) -> None:
        for block, target in pairs:
            writer.host[target] = reader.cache.reshape(-1, SIZE)[block]

    apart = Disaggregated(*engines, copy, bandwidth=40)
    metas = TraceMeta("prefill", "", 2, SIZE, 24), TraceMeta("decode", "", 4, SIZE, blocks, extra={"kv_from": "p"})
    result = apart.run(work, metas)
    for pool in pools:
        assert pool.free == pool.blocks
    assert engines[1].swap is not None
    assert not engines[1].swap.pool.owners, "host memory is empty again"
    return result, reader, writer


def drawn(seed: int, n: int = 24) -> list[Request]:
    rng = random.Random(seed)
    found, clock = [], 0.0
    for i in range(n):
        clock += rng.choice([0, 0, 1, 3.5])
        most = rng.randint(1, 14)
        length = rng.choice([None, rng.randint(1, most)])
        prompt = tuple(rng.randint(1, 300) for _ in range(rng.randint(1, 18)))
        found.append(Request(i, prompt, most, arrival=clock, output_length=length))
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("decode", [Continuous(), VllmV0(), VllmV1(5), Sarathi(5)], ids=lambda policy: policy.name)
def test_answers_are_as_alone_whatever_decodes(decode: Policy, seed: int) -> None:
    work = drawn(seed)
    result, _, writer = serve(work, VllmV1(6), decode, blocks=13)
    assert result.answers == {request.id: answer(request) for request in work}
    moved = sum(handover.blocks for handover in result.handovers)
    assert moved == sum(-(-len(work[handover.request].prompt) // SIZE) for handover in result.handovers)
    assert result.transferred_bytes == moved * 8 * SIZE
    assert writer.copied_back >= moved, "every block that was handed over was copied in"
    handed = {handover.request for handover in result.handovers}
    assert handed == {request.id for request in work if len(answer(request)) > 1}


@pytest.mark.parametrize("seed", range(3))
def test_the_decode_engine_reads_no_prompt(seed: int) -> None:
    result, reader, _ = serve(drawn(seed), Continuous(), Continuous())
    assert not result.decode.iterations.prefill_slots.any()
    assert not result.prefill.iterations.decode_slots.any()
    assert reader.fed == sum(len(request.prompt) for request in drawn(seed))


def test_where_host_memory_is_full_the_decode_engine_reads_the_prompt() -> None:
    work = [replace(request, arrival=0.0) for request in drawn(1)]
    result, _, _ = serve(work, Continuous(), Continuous(), host=5)
    assert result.answers == {request.id: answer(request) for request in work}
    assert {handover.blocks > 0 for handover in result.handovers} == {True, False}
    assert result.decode.iterations.prefill_slots.any()


@pytest.mark.parametrize("seed", range(4))
def test_no_request_is_decoded_before_it_has_come(seed: int) -> None:
    result, _, _ = serve(drawn(seed), Continuous(), Continuous())
    lane = result.decode
    arrived = {handover.request: handover.arrived for handover in result.handovers}
    for request, first in zip(lane.requests.id.tolist(), lane.requests.admitted.tolist(), strict=True):
        assert lane.iterations.t_start[first] >= arrived[request]
    ends = [handover.arrived for handover in result.handovers]
    assert ends == sorted(ends), "the link carries one after the other"
    for handover in result.handovers:
        assert handover.arrived - handover.left >= handover.bytes / 40 - 1e-9
    for request in result.answers:
        times = result.token_times(request)
        assert len(times) == len(result.answers[request])
        assert times == sorted(times)


def test_the_clocks_by_hand() -> None:
    """One prefill slot, an iteration a second, 1 second for each block: request 1 is read while 0 is on its way.

    0 is read in 0–1, comes at 3 (2 blocks), and is decoded in 3–4 and 4–5. 1 is read in 1–2, waits for the link until
    3, comes at 5, and is decoded in 5–7: its tokens come at 2, 6 and 7.
    """
    work = [Request(i, (1,) * 8, 3, output_length=3) for i in range(2)]
    run = disaggregate(None, Workload("two", work), block_size=4, bandwidth=100, block_bytes=100)
    assert [(h.request, h.blocks, h.left, h.arrived) for h in run.handovers] == [(0, 2, 1, 3), (1, 2, 2, 5)]
    assert [run.token_times(i) for i in range(2)] == [[1, 4, 5], [2, 6, 7]]
    assert run.transferred_bytes == 400


def test_no_decode_waits_for_a_prompt() -> None:
    """An iteration takes 1 second and 0.1 for each prompt token: a decode beside a prompt of 40 takes 5, apart 1."""

    def seconds(step: Any) -> float:
        return 1 + 0.1 * float(np.where(step.count > 1, step.count, 0).sum())

    work = Workload("", [Request(i, (1,) * 40, 30, arrival=7.0 * i, output_length=30) for i in range(6)])

    def longest_gap(times: list[list[float]]) -> float:
        return max(float(np.diff(one).max()) for one in times)

    together = schedule("vllm_v1", work, slots=8, seconds=seconds)
    ends = together.iterations.t_end
    beside = longest_gap([[float(ends[i]) for i in rows] for rows in together.requests.token_iterations])
    run = disaggregate(None, work, seconds=seconds)
    decoding = longest_gap([run.token_times(request)[1:] for request in run.answers])
    assert beside == pytest.approx(5)
    assert decoding == pytest.approx(1)


MODEL = make("llama")


@pytest.mark.parametrize("decode", [Continuous(), VllmV1(5)], ids=lambda policy: policy.name)
def test_a_model_s_answers_are_as_alone(decode: Policy) -> None:
    """Greedy and sampled requests, in a decode pool that runs out."""
    work = [
        replace(request, sampling=Sampling(0.9, top_k=20, seed=request.id)) if request.id % 3 == 0 else request
        for request in requests(10, seed=4)
    ]
    pools = BlockPool(24, 4), BlockPool(12, 4)
    executors = [ModelExecutor(MODEL, slots=slots, pool=pool) for slots, pool in zip((2, 4), pools, strict=True)]
    engines = (
        Engine(executors[0], Continuous(), slots=2, pool=pools[0]),
        ReceivingEngine(executors[1], decode, slots=4, pool=pools[1], preemption="swap", swap_blocks=60),
    )

    def copy(pairs: Any) -> None:
        executors[0].cache.host = executors[1].cache.host
        executors[0].cache.swap(pairs, ())

    metas = TraceMeta("p", "", 2, 4, 24), TraceMeta("d", "", 4, 4, 12, extra={"kv_from": "p"})
    result = Disaggregated(*engines, copy).run(work, metas)
    pool = BlockPool(24, 4)
    alone = Engine(ModelExecutor(MODEL, slots=1, pool=pool), Continuous(), slots=1, pool=pool)
    assert list(alone.run(work))
    for request in work:
        greedy = request.sampling.greedy
        assert result.answers[request.id] == (solo(MODEL, request) if greedy else alone.output(request.id))
    assert result.transferred_bytes == sum(h.blocks for h in result.handovers) * engines[1].block_bytes > 0
    assert not result.decode.iterations.prefill_slots.any()


def test_tiny_answers_its_tasks_and_both_lanes_are_on_a_board(tmp_path: Any) -> None:
    import cbviz

    plain = cbviz.race("tiny", ["continuous"], slots=4, requests=10, repeats=0, live=False, device="cpu")
    run = disaggregate(plain.model, plain.workload, slots=4, bandwidth=1e9)
    want = dict(zip(plain.traces[0].requests.id.tolist(), map(list, plain.traces[0].requests.tokens), strict=True))
    assert run.answers == want
    assert run.decode.meta.policy == "decode: continuous"
    again = load(run.decode.save(tmp_path / "decode.cbviz"))
    with pytest.raises(MeasureError, match="this lane cannot be rerun: its requests were begun"):
        why(again, None, 3, policy="continuous")
    assert "prefill: continuous" in repr(Board(run.prefill, run.decode))


def test_a_failed_pass_loses_what_is_on_its_way_and_no_answer() -> None:
    pool = BlockPool(30, SIZE)
    writer = OracleExecutor(2, pool)
    engine = ReceivingEngine(writer, Continuous(), slots=2, pool=pool, preemption="swap", swap_blocks=20)
    work = [Request(i, tuple(range(1, 8)), 6, output_length=6) for i in range(4)]
    assert engine.swap is not None
    for request in work:  # what comes is garbage, so an answer is right only if it is computed from the tokens
        assert len(engine.expect(request.id, 7)) == 2
    engine.receive(work[0], answer(work[0])[:2])
    writer.fails_at = "launch"
    with pytest.raises(EngineError):
        engine.step()
    assert not engine.swap.pool.owners
    for request in work[1:]:
        engine.receive(request, answer(request)[:1])
    states = {State(int(state)) for event in engine.run() for state in event.state}
    assert State.PREFILL in states
    assert [engine.output(request.id) for request in work] == [answer(request) for request in work]


def engine(preemption: Any = "swap") -> ReceivingEngine:
    return ReceivingEngine(NullExecutor(64, 1.0), Continuous(), slots=1, pool=BlockPool(16, 4), preemption=preemption)


@pytest.mark.parametrize("output", [[], [1, 2, 3]])
def test_a_request_is_handed_over_with_a_part_of_its_output(output: list[int]) -> None:
    with pytest.raises(EngineError, match=r"at least one, and fewer than the 3 that it may have\.$"):
        engine().receive(Request(0, (1,), 3), output)


def test_a_request_comes_when_it_has_come() -> None:
    busy = engine()
    busy.receive(Request(0, (1, 2), 9, output_length=9), [4])
    with pytest.raises(EngineError, match="request 1 comes at 50, and the clock is at 0; hand it over"):
        busy.receive(Request(1, (1,), 3, arrival=50), [4])
    assert [event.token.tolist() for event in busy.run()].count([NO_REQUEST]) == 0
    busy.receive(Request(1, (1,), 3, arrival=50, output_length=3), [4])
    assert [event.t_start for event in busy.run()] == [50, 51]


def test_an_engine_that_does_not_swap_takes_none_over() -> None:
    with pytest.raises(EngineError, match="make the engine with preemption='swap'"):
        engine("recompute").expect(0, 3)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"bandwidth": 0}, "bandwidth must be a finite number above 0, not 0"),
        ({"prefill_slots": 0}, "prefill_slots must be a whole number"),
        ({"slots": True}, "slots must be a whole number"),
        ({"block_size": 0}, "block_size must be a whole number"),
        ({"host_blocks": 0}, "host_blocks must be a whole number"),
        ({"block_bytes": 0}, "block_bytes must be a whole number"),
        ({"model": "tiny", "block_bytes": 8}, "block_bytes is for a run without a model"),
        ({"workload": 3}, "workload must be a Workload, not 3"),
        ({"workload": Workload("", [Request(0, (1,), 2)], arrival_unit="iterations")}, "arrivals count iterations"),
        ({"workload": Workload("", [Request(0, (1,), 2)])}, "output_length"),
        ({"decode": "fastest"}, "there is no policy 'fastest'"),
    ],
)
def test_a_mistake_gets_one_sentence(asked: dict[str, Any], sentence: str) -> None:
    work = Workload("", [Request(0, (1,), 2, output_length=2)])
    with pytest.raises(CbvizError, match=re.escape(sentence)) as caught:
        disaggregate(**{"model": None, "workload": work, **asked})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("lag", "unit", "said"), [(1, "seconds", "lag must be 0"), (0, "iterations", "two clocks")])
def test_engines_that_plan_ahead_or_count_iterations_are_refused(lag: int, unit: Any, said: str) -> None:
    reader = Engine(NullExecutor(), Continuous(), slots=1, pool=BlockPool(9, 4), lag=lag, arrival_unit=unit)
    with pytest.raises(CbvizError, match=said):
        Disaggregated(reader, engine())
