"""Speculation changes no answer and no schedule's rule: drafts are checked, kept or given back, under every policy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cbviz.config import EngineConfig, Speculation
from cbviz.core import Engine, NullExecutor, Step
from cbviz.core.block_pool import BlockPool
from cbviz.core.executor import Result
from cbviz.core.ngram import propose
from cbviz.core.speculation import SpeculativeEngine
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.eager.logit_rules import LogitRules
from cbviz.eager.speculative_executor import SpeculativeExecutor
from cbviz.errors import CbvizError, EngineError
from cbviz.events import NO_REQUEST, FinishReason, Iteration, State
from cbviz.policies import TGI, Continuous, Orca, Policy, Sarathi, Static, VllmV0, VllmV1
from cbviz.workload.request import Request, Sampling
from tests.kv_oracle import OracleExecutor, answer
from tests.shapes import make, solo
from tests.test_engine_answers import Jumpy, requests

POLICIES: tuple[Callable[[], Policy], ...] = (
    Static, Continuous, Orca, TGI, VllmV0, VllmV1, lambda: VllmV1(5), lambda: Sarathi(4), Jumpy
)  # fmt: skip


class Oracle(OracleExecutor):
    """Answers from what the cache holds, drafts included."""

    takes_drafts = True

    def launch(self, step: Step) -> Result:
        for draft in step.drafts:
            self.tokens[draft.slot, draft.start : draft.start + len(draft.tokens)] = draft.tokens
        return super().launch(step)


class Cycle(NullExecutor):
    """Its answers go round: token i of an output is i modulo 3, so guesses are right once a round has been seen."""

    def launch(self, step: Step) -> Result:
        return Result((step.draw % 3 + 500).astype(np.int32), 1.0)


def serve(
    executor: NullExecutor,
    work: list[Request],
    *,
    policy: Policy | None = None,
    k: int = 3,
    n: tuple[int, int] = (2, 1),
    slots: int = 1,
    pool: BlockPool | None = None,
    **options: object,
) -> tuple[SpeculativeEngine, list[Iteration]]:
    engine = SpeculativeEngine(
        executor,
        policy or Continuous(),
        speculation=Speculation(k, *n),
        slots=slots,
        pool=pool or BlockPool(64, 4),
        **options,
    )
    return engine, list(engine.run(work))


# ---------------------------------------------------------------------------------------------------------- drafts


@pytest.mark.parametrize(
    ("tokens", "rule", "drafts"),
    [
        ([1, 2, 3, 1, 2], Speculation(4, 2, 2), [3, 1, 2]),
        ([1, 2, 3, 4, 5, 6, 1, 2], Speculation(3, 2, 2), [3, 4, 5]),
        ([1, 2, 3, 9, 2, 4, 1, 2], Speculation(1, 3, 1), [3]),  # 1, 2 came before; 2 alone is not asked
        ([7, 2, 5, 8, 1, 2, 6, 1, 2], Speculation(1, 2, 1), [6]),  # the longer one decides, though it came later
        ([2, 5, 2, 6, 2], Speculation(2, 1, 1), [5, 2]),  # the first occurrence
        ([4, 4], Speculation(4, 2, 1), [4]),
        ([1, 2, 3], Speculation(4, 2, 1), []),
        ([1], Speculation(4, 3, 1), []),
        ([1, 2, 1], Speculation(4, 3, 2), []),
    ],
)
def test_drafts_are_what_followed_the_last_tokens(tokens: list[int], rule: Speculation, drafts: list[int]) -> None:
    assert propose(np.array(tokens, np.int32), rule, 99).tolist() == drafts
    assert propose(np.array(tokens, np.int32), rule, 1).tolist() == drafts[:1]


# --------------------------------------------------------------------------------------------- schedules worked by hand


def test_a_slot_gives_up_to_k_plus_one_tokens() -> None:
    """Tokens 0 1 2 0 1 2 …, ten of them, n = 1: guesses begin once a token has come before, at the fourth pass.

    Passes 1 to 4 give 0, 1, 2, 0. Then 0 came before: guess 1 2 0, all right, and one more: 1 2 0 1. Two are left: of
    the guesses only one is asked for.
    """
    engine, steps = serve(Cycle(), [Request(0, (7, 8), 10, output_length=10)], n=(1, 1))
    assert engine.output(0) == [500, 501, 502, 500, 501, 502, 500, 501, 502, 500]
    assert [event.generated for event in steps] == [1, 1, 1, 1, 4, 2]
    assert [[(d.drafts, d.tokens) for d in event.drafted] for event in steps] == [
        [], [], [], [], [(3, (502, 500, 501))], [(1, (500,))]
    ]  # fmt: skip
    assert [event.tokens.tolist() for event in steps] == [[2], [1], [1], [1], [4], [2]]
    assert [event.context.tolist() for event in steps] == [[2], [3], [4], [5], [9], [11]]
    assert steps[4].given == {0: (501, 502, 500, 501)}
    assert steps[-1].finished[0].reason == FinishReason.LENGTH


def test_a_wrong_draft_costs_its_position_and_no_answer() -> None:
    """The prompt says that 500 is followed by 9: guess 9, and the model says 501. Nothing but the guess is lost."""
    work = [Request(0, (500, 9, 9), 3, output_length=3)]
    engine, steps = serve(Cycle(), work, n=(1, 1))
    plain = list(Engine(Cycle(), Continuous(), slots=1, pool=BlockPool(64, 4)).run(work))
    assert engine.output(0) == [500, 501, 502]
    assert [[(d.drafts, d.tokens) for d in event.drafted] for event in steps] == [[], [(1, ())], []]
    assert len(steps) == len(plain)
    assert [event.context.tolist() for event in steps] == [event.context.tolist() for event in plain]
    assert [event.state.tolist() for event in steps] == [event.state.tolist() for event in plain]


def test_blocks_taken_for_rejected_drafts_are_free_again() -> None:
    """Blocks of 1. A request that reserves nothing ahead takes blocks for its drafts, and keeps what it filled."""
    pool = BlockPool(20, 1)
    engine = SpeculativeEngine(Cycle(), VllmV1(), speculation=Speculation(3, 1, 1), slots=1, pool=pool)
    engine.submit(Request(0, (500, 9, 9, 9, 9), 8, output_length=8))
    taken = []
    while (event := engine.step()) is not None:
        assert event.blocks_used == pool.taken == len(pool.owned(0))
        taken.append((pool.taken, int(event.context[0])))
    assert taken[1] == (6, 6), "three drafts were rejected in pass 2, and their blocks went back"
    assert all(blocks == context for blocks, context in taken)


def test_drafts_take_no_block_that_a_plan_needs() -> None:
    """As many blocks as the two requests need, and not one for drafts: both run as without speculation."""
    work = [Request(i, (500, 9, 500, 9), 4, output_length=4) for i in (0, 1)]
    pool = BlockPool(14, 1)
    _, steps = serve(Cycle(), work, policy=VllmV1(), slots=2, pool=pool, n=(1, 1))
    assert not any(event.preempted for event in steps)
    assert pool.free == pool.blocks


def test_an_end_among_the_accepted_ends_the_answer() -> None:
    """502 is END: the cycle stops there, although the guess goes on, and what follows counts as rejected."""
    engine = SpeculativeEngine(
        Cycle(end_tokens=(502,)), Continuous(), speculation=Speculation(4, 1, 1), slots=1, pool=BlockPool(64, 4)
    )
    steps = list(engine.run([Request(0, (500, 501, 502, 500, 501, 502), 10)]))
    assert engine.output(0) == [500, 501, 502]
    assert [(d.drafts, d.tokens) for event in steps for d in event.drafted] == [(4, (502,))]
    assert [finish.reason for event in steps for finish in event.finished] == [FinishReason.END]
    assert int(steps[-1].context[0]) == 8, "the END was drawn and not fed: 6 + 500 + 501"


# ------------------------------------------------------------------------------------------- the same answers, always


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    policy=st.sampled_from(POLICIES),
    k=st.integers(1, 6),
    n=st.sampled_from([(1, 1), (2, 1), (3, 2)]),
    slots=st.integers(1, 4),
    size=st.integers(1, 5),
    spare=st.integers(0, 12),
    prefix=st.booleans(),
    swap=st.booleans(),
)
def test_answers_are_those_of_a_cache_that_cannot_go_wrong(
    seed: int,
    policy: Callable[[], Policy],
    k: int,
    n: tuple[int, int],
    slots: int,
    size: int,
    spare: int,
    prefix: bool,
    swap: bool,
) -> None:
    """Repeating prompts, tight pools, chunks, preemption, swapping and shared blocks; wrong drafts in most passes."""
    if policy is Jumpy:  # it counts on blocks for all, and on a request's whole prompt being its to compute
        prefix, swap, spare = False, False, 200
    rng = np.random.default_rng(seed)
    work = []
    for i in range(6):
        prompt = tuple(int(t) for t in np.tile(rng.integers(3, 9, rng.integers(1, 5)), 3))
        tokens = int(rng.integers(1, 12))
        work.append(
            Request(i, prompt, tokens, arrival=int(rng.integers(0, 6)), output_length=tokens if i % 2 else None)
        )
    blocks = max(-(-request.positions // size) for request in work) + 1 + spare
    pool = BlockPool(blocks, size, prefix_cache=prefix)
    options = {"preemption": "swap"} if swap else {}
    engine, steps = serve(
        Oracle(slots, pool),
        work,
        policy=policy(),
        k=k,
        n=n,
        slots=slots,
        pool=pool,
        arrival_unit="iterations",
        **options,
    )
    assert {r.id: engine.output(r.id) for r in work} == {r.id: answer(r) for r in work}
    assert pool.free == pool.blocks
    given: dict[int, list[int]] = {r.id: [] for r in work}
    for event in steps:
        for slot, tokens_given in event.given.items():
            given[int(event.request[slot])] += tokens_given
        assert ((event.context <= event.allotted) | (event.request == NO_REQUEST)).all()
        assert event.blocks_used + event.blocks_reserved <= blocks
        for entry in event.drafted:
            assert len(entry.tokens) <= entry.drafts <= k
            assert event.state[entry.slot] == State.DECODE
            assert event.tokens[entry.slot] == 1 + entry.drafts
        assert int(event.tokens.sum()) >= event.generated
    assert given == {r.id: answer(r) for r in work}


def model_answers(model: torch.nn.Module, work: list[Request], speculation: Speculation | None, **options: object):  # type: ignore[no-untyped-def]
    policy, slots = options.pop("policy", Continuous()), options.pop("slots", 4)
    size = options.pop("size", 4)
    pool = BlockPool(options.pop("blocks", 160), size, prefix_cache=options.pop("prefix_cache", False))  # type: ignore[arg-type]
    executor = (ModelExecutor if speculation is None else SpeculativeExecutor)(model, slots=slots, pool=pool, **options)  # type: ignore[arg-type]
    engine: Engine = (
        Engine(executor, policy, slots=slots, pool=pool)  # type: ignore[arg-type]
        if speculation is None
        else SpeculativeEngine(executor, policy, speculation=speculation, slots=slots, pool=pool)  # type: ignore[arg-type]
    )
    steps = list(engine.run(work))
    assert pool.free == pool.blocks
    return {r.id: engine.output(r.id) for r in work}, steps


def repeating(number: int, seed: int, **options: object) -> list[Request]:
    """Prompts that say everything twice, so that there is something to look up."""
    return [
        Request(r.id, (r.prompt * 2)[:20], r.max_new_tokens, **options)  # type: ignore[arg-type]
        for r in requests(number, seed)
    ]


@pytest.mark.parametrize("architecture", ["llama", "qwen2-sliding", "gpt2"])
def test_a_model_answers_as_generate_does(architecture: str) -> None:
    model, work = make(architecture), repeating(10, seed=1)
    alone = {r.id: solo(model, r) for r in work}
    accepted = rejected = 0
    for policy, k, n, slots, prefix in (
        (Continuous(), 4, (1, 1), 4, False),
        (Static(), 2, (2, 1), 3, False),
        (VllmV1(6), 3, (1, 1), 4, True),
        (Jumpy(), 5, (1, 1), 4, False),
    ):
        found, steps = model_answers(
            model, work, Speculation(k, *n), policy=policy, slots=slots, prefix_cache=prefix, blocks=40
        )
        assert found == alone, policy.name
        accepted += sum(len(d.tokens) for event in steps for d in event.drafted)
        rejected += sum(d.drafts - len(d.tokens) for event in steps for d in event.drafted)
    assert accepted, "a test of speculation needs drafts that are right"
    assert rejected, "and some that are not"


def test_draws_and_rules_that_read_the_history_are_honoured_exactly() -> None:
    """A draw's noise comes from seed and position alone, and a rule reads the tokens before it: both are as before."""
    model = make("llama")
    sampled = [
        Request(r.id, r.prompt, r.max_new_tokens, sampling=Sampling(0.6, top_k=5, seed=r.id))
        for r in repeating(8, seed=7)
    ]
    for work, rules in (
        (sampled, LogitRules()),
        (sampled, LogitRules(repetition_penalty=1.3)),
        (repeating(8, seed=3), LogitRules(repetition_penalty=1.2, no_repeat_ngram_size=4, min_new_tokens=3)),
    ):
        plain, _ = model_answers(model, work, None, rules=rules)
        found, steps = model_answers(model, work, Speculation(4, 1, 1), rules=rules)
        assert found == plain
        assert any(event.drafted for event in steps)


def test_a_failed_pass_loses_nothing() -> None:
    work = [Request(i, (5, 6, 5, 6, 5), 9, output_length=9) for i in range(4)]
    for place in ("launch", "collect"):
        pool = BlockPool(40, 2)
        executor = Oracle(2, pool)
        engine = SpeculativeEngine(executor, Continuous(), speculation=Speculation(3, 1, 1), slots=2, pool=pool)
        engine.submit(*work)
        failures, steps = 0, 0
        while True:
            try:
                steps += 1
                if steps == 4:
                    executor.fails_at = place
                if engine.step() is None:
                    break
            except EngineError:
                failures += 1
        assert failures == 1
        assert {r.id: engine.output(r.id) for r in work} == {r.id: answer(r) for r in work}
        assert pool.free == pool.blocks


# ------------------------------------------------------------------------------------------------------------ refused


def test_what_cannot_speculate_says_so() -> None:
    pool = BlockPool(8, 4)
    model = make("llama")
    with pytest.raises(EngineError, match=r"ModelExecutor computes one token a slot .* SpeculativeExecutor"):
        SpeculativeEngine(
            ModelExecutor(model, slots=1, pool=pool), Continuous(), speculation=Speculation(), slots=1, pool=pool
        )
    with pytest.raises(EngineError, match="needs lag 0"):
        SpeculativeEngine(NullExecutor(), Continuous(), speculation=Speculation(), slots=1, pool=pool, lag=1)
    with pytest.raises(EngineError, match="must be a Speculation, not 4"):
        SpeculativeEngine(NullExecutor(), Continuous(), speculation=4, slots=1, pool=pool)  # type: ignore[arg-type]
    with pytest.raises(CbvizError, match=r"'graphs' cannot speculate: .* backend='sdpa'"):
        EngineConfig(1, 8, 4, backend="graphs", speculation=Speculation())
    with pytest.raises(CbvizError, match="needs lag 0"):
        EngineConfig(1, 8, 4, lag=1, speculation=Speculation())
    for values in ({"k": 0}, {"k": 65}, {"n_max": 0}, {"n_max": 2, "n_min": 3}, {"k": "4"}):
        with pytest.raises(CbvizError):
            Speculation(**values)  # type: ignore[arg-type]
