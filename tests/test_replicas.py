"""Replicas of the real engine: answers as of one, routing by counted work, and a lost replica costs no answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz.errors import CapacityError, EngineError, ModelError, PolicyError, SweepError, WorkloadError
from cbviz.models import LoadedModel, load
from cbviz.policies import Continuous
from cbviz.run.replica import Replica, ReplicaSetup
from cbviz.run.replica_routing import (
    ROUTERS,
    LeastOutstanding,
    PowerOfTwo,
    PrefixAware,
    ReplicaView,
    RoundRobin,
)
from cbviz.run.replicas import replicate
from cbviz.workload import Poisson, Request, Workload, task_workload
from tests.sweep_cells import KillsItsProcess


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu")


@pytest.fixture(scope="module")
def work(tiny: LoadedModel) -> Workload:
    drawn = task_workload(tiny.encode, 14, seed=3, mean=15)
    times = Poisson(400).times(random.Random(0), len(drawn))
    return Workload("tasks", [replace(r, arrival=t) for r, t in zip(drawn, times, strict=True)])


@pytest.fixture(scope="module")
def alone(tiny: LoadedModel, work: Workload) -> dict[int, tuple[int, ...]]:
    """The answers of `generate`, one request at a time."""
    import torch

    answers = {}
    for request in work:
        prompt = torch.tensor([request.prompt])
        found = tiny.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request.max_new_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        answers[request.id] = tuple(found[0, len(request.prompt) :].tolist())
    return answers


def views(*outstanding: int, kv: Sequence[float] = (), slots: int = 4) -> list[ReplicaView]:
    used = kv or [0.0] * len(outstanding)
    return [ReplicaView(n, count, slots, used[n]) for n, count in enumerate(outstanding)]


def asks(*prompt: int) -> Request:
    return Request(0, prompt or (3,), 4)


# ------------------------------------------------------------------ rules


def test_round_robin_takes_turns_and_skips_the_lost() -> None:
    rule = RoundRobin()
    assert [rule.choose(asks(), views(9, 0, 0)) for _ in range(4)] == [0, 1, 2, 0]
    without = [one for one in views(0, 0, 0) if one.number != 1]
    assert [rule.choose(asks(), without) for _ in range(3)] == [2, 0, 2]


def test_least_outstanding() -> None:
    assert LeastOutstanding().choose(asks(), views(3, 1, 1)) == 1


def test_power_of_two_looks_at_two() -> None:
    rule, again = PowerOfTwo(7), PowerOfTwo(7)
    crowded = views(*range(9, 0, -1))
    chosen = [rule.choose(asks(), crowded) for _ in range(300)]
    assert chosen == [again.choose(asks(), crowded) for _ in range(300)]
    assert 0 not in chosen, "the fullest is never the better of two"
    assert set(chosen) == set(range(1, 9))
    counts = [chosen.count(n) for n in range(9)]
    assert counts[8] > counts[4] > counts[1]
    assert rule.choose(asks(), views(5)) == 0


def test_prefixes_go_where_they_are_known() -> None:
    rule = PrefixAware(block_size=2)
    first, second = (1, 2, 3, 4, 5), (9, 9, 3, 4, 5)
    assert rule.choose(asks(*first), views(0, 0)) == 0
    assert rule.choose(asks(*second), views(1, 0)) == 1
    assert rule.choose(asks(*first, 8), views(2, 2)) == 0
    assert rule.choose(asks(*second, 8), views(2, 2)) == 1
    assert rule.choose(asks(3, 4), views(0, 0)) == 0, "a block is one by all that comes before it"
    assert rule.choose(asks(*second), views(0, 9)) == 0, "a long queue outweighs a prefix"
    assert rule.choose(asks(7, 7), views(1, 1, kv=[0.9, 0.1])) == 1


def test_routing_by_counts_on_the_engine(tiny: LoadedModel) -> None:
    """One long request and many short ones: counting keeps the short ones off the busy replica; turns do not."""
    lengths = [60, 2, 2, 2, 2, 2, 2, 2]
    requests = [Request(n, (5, 6, 7), 60, 1e-9 * n, output_length=length) for n, length in enumerate(lengths)]
    turns = replicate(Workload("w", requests), tiny, slots=8, routing="round_robin")
    assert [turns.replica_of[n] for n in range(8)] == [0, 1] * 4
    late = [replace(request, arrival=1e3 * request.id) for request in requests]
    counts = replicate(Workload("w", late), tiny, slots=8, routing="least_outstanding")
    assert set(counts.replica_of.values()) == {0}, "all that came before has ended when the next one arrives"
    alike = Workload("w", [Request(n, (5,), 60, output_length=4) for n in range(9)])
    together = replicate(alike, tiny, routing="least_outstanding", replicas=3)
    assert together.requests == (3, 3, 3)
    assert together.imbalance == 1.0


def test_prefix_aware_routing_computes_less(tiny: LoadedModel) -> None:
    """Two groups of prompts: sent where their prefix is, they find more of it in the cache."""
    groups = [tuple(range(10, 74)), tuple(range(73, 9, -1))]
    requests = [
        Request(n, (*groups[n % 3 % 2], 5 + n), 4, 1e3 * n, output_length=4) for n in range(9)
    ]  # groups 0, 1, 0, 0, 1, 0, …: taking turns sends each group to both
    cached = {}
    for routing in ("round_robin", "prefix_aware"):
        found = replicate(Workload("w", requests), tiny, slots=2, prefix_cache=True, routing=routing)
        cached[routing] = sum(int(trace.requests.cached_tokens.sum()) for trace in found.traces)
    assert cached["prefix_aware"] == 64 * 7
    assert cached["round_robin"] < cached["prefix_aware"]


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize("routing", ROUTERS)
def test_answers_equal_generate(
    routing: str, tiny: LoadedModel, work: Workload, alone: dict[int, tuple[int, ...]], tmp_path: Path
) -> None:
    found = replicate(work, tiny, slots=3, routing=routing, prefix_cache=True)
    assert found.answers == alone
    assert sum(found.requests) == len(work)
    assert {int(n): trace.requests.row(n) >= 0 for trace in found.traces for n in trace.requests.id} == dict.fromkeys(
        range(len(work)), True
    )
    assert found.seconds == max(trace.seconds for trace in found.traces)
    assert found.routing in found.sentences()[0]
    assert found.board().to_svg(tmp_path / "board.svg").read_text("utf-8").startswith("<svg")


def test_processes_serve_the_same(work: Workload, alone: dict[int, tuple[int, ...]]) -> None:
    found = replicate(work, "tiny", slots=3, where="processes", device="cpu")
    assert found.answers == alone
    assert found.requests == (7, 7)
    assert {trace.meta.clock for trace in found.traces} == {"alone"}
    assert not found.moved


def test_a_process_that_dies_costs_no_answer(tmp_path: Path, work: Workload, alone: dict[int, tuple[int, ...]]) -> None:
    policy = KillsItsProcess(str(tmp_path / "died"))
    found = replicate(work, "tiny", policy, slots=3, where="processes", device="cpu")
    assert (tmp_path / "died").exists()
    assert found.answers == alone
    [number] = found.lost or {}
    assert found.moved
    assert {one.lost for one in found.moved} == {number}
    assert {one.to for one in found.moved} == {1 - number}
    said = f"Replica {number} was lost: its process ended with code 3. {len(found.moved)} request"
    assert found.sentences()[1].startswith(said)


def test_a_replica_that_fails_here_costs_no_answer(
    tiny: LoadedModel, work: Workload, alone: dict[int, tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = Replica.advance, [0]

    def fails_third(self: Replica, until: float) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise RuntimeError("CUDA error: an illegal memory access\nand more")
        return original(self, until)

    monkeypatch.setattr(Replica, "advance", fails_third)
    found = replicate(work, tiny, slots=3)
    assert found.answers == alone
    assert found.lost == {0: "CUDA error: an illegal memory access"}
    assert all(one.to == 1 for one in found.moved)


def test_when_all_are_lost_it_is_said(tiny: LoadedModel, work: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Replica, until: float) -> Any:
        raise RuntimeError("no power")

    monkeypatch.setattr(Replica, "advance", fails)
    with pytest.raises(EngineError, match=r"every replica was lost; .* no power"):
        replicate(work, tiny)


# ------------------------------------------------------------------ what is refused


def test_a_policy_that_is_wrong_is_no_lost_replica(tiny: LoadedModel, work: Workload) -> None:
    class Wrong:
        name, summary = "wrong", "admits a request that does not exist"

        def plan(self, view: cbviz.View) -> cbviz.Plan:
            return cbviz.Plan(admit=[12345])

    with pytest.raises(PolicyError, match="12345"):
        replicate(work, tiny, Wrong())


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"address": "auto"}, WorkloadError, "address is that of a Ray cluster, and where is 'here'"),
        ({"replicas": 0}, WorkloadError, "replicas must be a whole number of at least 1"),
        ({"routing": "random"}, WorkloadError, "routing must be one of round_robin"),
        ({"routing": 5}, WorkloadError, "routing must be one of .* or a Router, not 5"),
        ({"where": "there"}, WorkloadError, "where must be one of here, processes, ray"),
        ({"where": "processes"}, WorkloadError, "model must be a name"),
        ({"slots": 0}, CapacityError, "slots must be a whole number"),
        ({"kv_blocks": 1}, CapacityError, "block"),
        ({"prefix_cache": 1}, WorkloadError, "prefix_cache must be True or False"),
        ({"model": "nothing-like-it!"}, ModelError, "there is no model"),
    ],
)
def test_nonsense_is_one_sentence(
    options: dict[str, Any], error: type[Exception], complaint: str, tiny: LoadedModel, work: Workload
) -> None:
    with pytest.raises(error, match=complaint):
        replicate(work, **({"model": tiny} | options))


def test_a_result_is_shown_in_sentences(tiny: LoadedModel, work: Workload) -> None:
    found = replicate(work, tiny, replicas=2, slots=2)
    assert repr(found) == f"<Replicated: {found.sentences()[0]}>"
    assert len(repr(found)) < 300


def test_a_router_that_names_no_replica_is_said(tiny: LoadedModel, work: Workload) -> None:
    class Lost:
        name = "lost"

        def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
            return 7

    with pytest.raises(WorkloadError, match="the routing 'lost' chose replica 7; it must be one of 0, 1"):
        replicate(work, tiny, routing=Lost())
    turned = Workload("w", [Request(0, (3,), 2)], arrival_unit="iterations")
    with pytest.raises(WorkloadError, match="arrivals must be in seconds"):
        replicate(turned, tiny)


def test_without_ray_it_says_how_to_install_it(work: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(SweepError, match=r"a replica on Ray needs Ray; install it with: pip install cbviz\[ray\]"):
        replicate(work, "tiny", where="ray", device="cpu")


def test_a_router_never_sees_how_long_an_output_is(tiny: LoadedModel) -> None:
    forced = Workload("forced", [Request(i, (3, 4, 5), 6, output_length=2 + i) for i in range(4)])

    class Spy:
        name = "spy"

        def __init__(self) -> None:
            self.seen: list[int | None] = []

        def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
            self.seen.append(request.output_length)
            return replicas[0].number

    spy = Spy()
    replicate(forced, tiny, replicas=2, slots=2, routing=spy, where="here")
    assert spy.seen
    assert set(spy.seen) == {None}


def test_a_router_that_raises_is_named(tiny: LoadedModel, work: Workload) -> None:
    class Broken:
        name = "broken"

        def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
            raise ZeroDivisionError("no")

    with pytest.raises(WorkloadError, match=r"'broken' raised ZeroDivisionError.*request 0: no"):
        replicate(work, tiny, replicas=2, slots=2, routing=Broken(), where="here")


def test_a_replica_s_clock_stands_still_between_calls(tiny: LoadedModel, work: Workload) -> None:
    setup = ReplicaSetup(tiny, Continuous(), work, 2, 16, None, False, None, None, "alone")
    replica, paused = Replica(setup), []
    replica._executor.pause = lambda: paused.append(replica._engine.now)  # type: ignore[attr-defined]
    replica.submit(work.requests[0])
    replica.advance(until=1e-9)
    replica.advance()
    assert len(paused) == 2
    assert paused[0] == 0 < paused[1] < replica._engine.now
