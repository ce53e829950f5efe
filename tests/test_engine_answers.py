"""Continuous batching never changes an answer: every output equals one-at-a-time generation."""

from __future__ import annotations

import pytest
import torch

from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.policies import Admit, Continuous, Plan, Policy, Static, View
from cbviz.workload.request import Request, Sampling
from tests.shapes import ARCHITECTURES, VOCABULARY, make, solo


def requests(number: int = 14, seed: int = 1, **options: object) -> list[Request]:
    draw = torch.Generator().manual_seed(seed)
    made = []
    for i in range(number):
        length = int(torch.randint(1, 14, (1,), generator=draw))
        prompt = torch.randint(3, VOCABULARY, (length,), generator=draw).tolist()
        made.append(Request(i, tuple(prompt), int(torch.randint(1, 24, (1,), generator=draw)), **options))  # type: ignore[arg-type]
    return made


def serve(
    model: torch.nn.Module,
    policy: Policy,
    work: list[Request],
    *,
    slots: int = 4,
    blocks: int = 64,
    size: int = 4,
    lag: int = 0,
) -> dict[int, list[int]]:
    pool = BlockPool(blocks, size)
    engine = Engine(ModelExecutor(model, slots=slots, pool=pool), policy, slots=slots, pool=pool, lag=lag)  # type: ignore[arg-type]
    for _ in engine.run(work):
        pass
    assert pool.free == pool.blocks
    return {r.id: engine.output(r.id) for r in work}


class Jumpy:
    """Does everything that a plan can say: chunks, pauses, preempts, and reserves as little as it may."""

    name = "jumpy"
    summary = "chunks of 3, pauses and preempts by the clock"

    def plan(self, view: View) -> Plan:
        chunk, preempt, pause, admit = {}, {}, {}, []
        free, slots = view.free_blocks, view.free_slots
        for request in view.waiting:
            tokens = min(3, request.lacks)
            if not slots or free < view.blocks_for(tokens) + len(view.running) + 1:
                break
            admit.append(Admit(request.id, reserve=tokens, reason="room"))
            chunk[request.id] = tokens
            slots, free = slots - 1, free - view.blocks_for(tokens)
        for request in view.running:
            others = len(view.running) > 1
            if others and view.iteration % 7 == 6 and request.slot == view.iteration % view.slots and not admit:
                preempt[request.id] = "the clock says so"
            elif others and view.iteration % 5 == 4 and request.id == view.running[0].id:
                pause[request.id] = "the clock says so"
            elif request.lacks > 3:
                chunk[request.id] = 3
        return Plan(admit=admit, chunk=chunk, preempt=preempt, pause=pause)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_and_policy_answers_as_alone(architecture: str) -> None:
    model, work = make(architecture), requests()
    alone = {r.id: solo(model, r) for r in work}
    assert len({len(a) for a in alone.values()}) > 4, "the test needs answers of many lengths"
    for policy in (Static(), Continuous(), Static(run_to=24), Jumpy()):
        assert serve(model, policy, work) == alone, policy.name


@pytest.mark.parametrize("lag", [0, 1])
def test_lag_changes_no_answer(lag: int) -> None:
    model, work = make("llama"), requests(20, seed=3)
    alone = {r.id: solo(model, r) for r in work}
    for policy in (Static(), Continuous(), Jumpy()):
        assert serve(model, policy, work, lag=lag) == alone


def test_one_block_a_request_is_the_reserving_scheme() -> None:
    model, work = make("llama"), requests()
    assert serve(model, Continuous(), work, blocks=4, size=128) == serve(model, Continuous(), work, blocks=512, size=1)


def test_stop_tokens_and_forced_lengths() -> None:
    model = make("llama")
    plain = requests(6, seed=5)
    answers = {r.id: solo(model, r) for r in plain}
    stopping = [Request(r.id, r.prompt, r.max_new_tokens, stop_tokens=(answers[r.id][-1],)) for r in plain]
    forced = [Request(r.id, r.prompt, 30, output_length=25) for r in plain]
    for work in (stopping, forced):
        assert serve(model, Continuous(), work) == {r.id: solo(model, r) for r in work}


def test_a_sampled_request_draws_the_same_whatever_shares_its_batch() -> None:
    model = make("qwen2")
    work = [
        Request(
            r.id, r.prompt, r.max_new_tokens, sampling=Sampling(0.9, top_k=(0, 20)[r.id % 2], top_p=0.95, seed=r.id)
        )
        for r in requests(12, seed=7)
    ]
    alone = {r.id: serve(model, Continuous(), [r], slots=1)[r.id] for r in work}
    assert len({tuple(a) for a in alone.values()}) > 6
    for policy, slots in ((Continuous(), 5), (Static(), 3), (Jumpy(), 4)):
        assert serve(model, policy, work, slots=slots) == alone
    greedy_among_them = [*work, *requests(13, seed=7)[12:]]
    mixed = serve(model, Continuous(), greedy_among_them)
    assert {i: mixed[i] for i in alone} == alone
    assert mixed[12] == solo(model, greedy_among_them[-1])


def test_the_model_is_left_as_it_was_found() -> None:
    model = make("llama")
    before = model.config._attn_implementation
    prompt = torch.tensor([[5, 6, 7]])
    logits = model(prompt).logits
    serve(model, Continuous(), requests(5))
    assert model.config._attn_implementation == before
    torch.testing.assert_close(model(prompt).logits, logits, rtol=0, atol=0)


def test_two_executors_share_a_model() -> None:
    model, work = make("llama"), requests(8, seed=11)
    engines = []
    for policy in (Static(), Continuous()):
        pool = BlockPool(64, 4)
        engines.append(Engine(ModelExecutor(model, slots=3, pool=pool), policy, slots=3, pool=pool))
        engines[-1].submit(*work)
    going = list(engines)
    while going:
        going = [e for e in going if e.step() is not None]
    for request in work:
        assert engines[0].output(request.id) == engines[1].output(request.id) == solo(model, request)
