"""VTC: a counter for each client; the client that was served least goes next, and idle time is not saved up."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cbviz import Workload, schedule, why
from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.errors import EngineError, PolicyError
from cbviz.events import Iteration
from cbviz.policies import VTC, Continuous, Policy
from cbviz.trace import load
from cbviz.workload.request import Request
from tests.kv_oracle import OracleExecutor, answer
from tests.pictures import picture, requests, run


def of_clients(clients: str, work: list[Request]) -> list[Request]:
    """The requests, each of the client whose letter is at its place."""
    return [replace(request, client=client) for request, client in zip(work, clients, strict=True)]


def admitted(events: list[Iteration]) -> list[int]:
    return [mark.request for event in events for mark in event.admitted]


def test_the_client_that_was_served_least_goes_next() -> None:
    """Prompts of 1, outputs of 2: 1 + 2 · 2 = 5 a request. a is charged 5 for request 1, so b goes, and so on."""
    work = of_clients("aaaabb", requests([2] * 6))
    events = run(VTC(), 1, work)
    assert admitted(events) == [1, 5, 2, 6, 3, 4]
    assert picture(events) == ["115522663344"]


def test_two_slots_are_shared_out_within_one_plan() -> None:
    """A prompt is charged when it is admitted: of two slots a and b get one each, though both counters begin at 0."""
    work = of_clients("aaab", requests([3, 3, 3, 3]))
    assert picture(run(VTC(), 2, work)) == ["111222", "444333"]


def test_weights_say_what_a_prompt_token_costs() -> None:
    """a: 9 prompt tokens and 1 output; b: 1 and 4. With 1 and 2, a pays 11 and b 9; with 0 and 2, a pays 2 and b 8."""
    work = of_clients("abab", requests([1, 4, 1, 4], prompts=[9, 1, 9, 1]))
    assert admitted(run(VTC(), 1, work)) == [1, 2, 4, 3]
    assert admitted(run(VTC(input_weight=0), 1, work)) == [1, 2, 3, 4]


def test_a_client_that_joins_is_lifted_to_the_least_of_the_queue() -> None:
    """b comes when a has been served 4 requests. Without the lift b's four would all go before a's next."""
    work = of_clients("aaaaaaaabbbb", requests([2] * 12, arrivals=[0] * 8 + [8] * 4))
    assert admitted(run(VTC(), 1, work)) == [1, 2, 3, 4, 5, 9, 6, 10, 7, 11, 8, 12]


def test_a_client_that_finds_an_empty_queue_is_lifted_to_the_last_that_left() -> None:
    """b comes alone while a's last request runs, then both come again: b has no credit from the time it was away."""
    work = of_clients("aaabbbaaa", requests([4] * 9, arrivals=[0, 0, 0, 9, 9, 9, 9, 9, 9]))
    order = admitted(run(VTC(), 1, work))
    # 1, 2, 3 are admitted at 0, 4 and 8. At 9 the queue is empty and a was the last to leave it, with 19 tokens' worth
    # so far: b begins there, and a, which is charged 8 more for request 3, comes second.
    assert order == [1, 2, 3, 4, 7, 5, 8, 6, 9]


def test_an_idle_client_saves_nothing_up() -> None:
    """After b's absence both are served in turns: neither gets two requests in a row for what happened before."""
    work = of_clients("a" * 6 + "ba" * 8, requests([3] * 22, arrivals=[0] * 6 + [30] * 16))
    order = admitted(run(VTC(), 1, work))[6:]
    clients = {request.id: request.client for request in work}
    longest = max(len(run_) for run_ in "".join(str(clients[r]) for r in order).replace("ab", "a b").split())
    assert longest <= 2


def test_what_does_not_fit_is_not_overtaken_by_another_client() -> None:
    """Request 3 of b needs 6 of 9 blocks, and 4 are taken: request 2 of a, which would fit, waits behind it."""
    work = of_clients("aab", requests([3, 3, 3], prompts=[1, 1, 3]))
    events = run(VTC(), 3, work, blocks=9)
    assert admitted(events) == [1, 3, 2]
    trace = schedule(VTC(), Workload("", work, arrival_unit="iterations"), slots=3, block_size=1, kv_blocks=9)
    (lane,) = why(trace, 2, 0).lanes
    assert lane.answers[0].verdict == "waits"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("client", [None, "one"])
def test_a_single_client_is_continuous_batching(seed: int, client: str | None) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(1, 9) for _ in range(30)]
    work = requests(lengths, [rng.randint(1, 9) for _ in lengths], [i // 3 for i in range(30)])
    mine = [replace(request, client=client) for request in work]
    assert picture(run(VTC(), 4, mine, blocks=40)) == picture(run(Continuous(), 4, work, blocks=40))


def served_while_both_wait(policy: Policy, seed: int) -> list[int]:
    """Weighted tokens of a less those of b, at every iteration up to the last in which both have requests queued."""
    rng = random.Random(seed)
    clients = [*"a" * 40, *"b" * 12]
    rng.shuffle(clients)
    lengths = [rng.randint(1, 12) for _ in clients]
    work = of_clients("".join(clients), requests(lengths, [rng.randint(1, 10) for _ in lengths]))
    by_id = {request.id: request for request in work}
    events = run(policy, 4, work)
    waiting = Counter(clients)
    lead, found = 0, []
    for event in events:
        for mark in event.admitted:
            request = by_id[mark.request]
            waiting[str(request.client)] -= 1
            lead += len(request.prompt) * (1 if request.client == "a" else -1)
        if min(waiting.values()) == 0:
            break
        for slot in np.flatnonzero(event.token >= 0):
            lead += 2 if by_id[int(event.request[slot])].client == "a" else -2
        found.append(lead)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_clients_that_always_wait_are_served_alike(seed: int) -> None:
    """The paper's bound: 2 · max(w_in · longest prompt, w_out · tokens that the batch can hold)."""
    bound = 2 * max(1 * 10, 2 * 4 * 22)
    leads = served_while_both_wait(VTC(), seed)
    assert len(leads) > 20, "the test needs a time in which both wait"
    assert max(map(abs, leads)) <= bound


def test_the_bound_is_one_that_first_come_first_served_breaks() -> None:
    """With 40 requests of one client before 12 of the other the lead only grows, and only VTC keeps it in bounds."""
    work = of_clients("a" * 40 + "b" * 12, requests([9] * 52))
    leads: dict[str, int] = {}
    for policy in (VTC(), Continuous()):
        tokens: dict[str, int] = defaultdict(int)
        for event in run(policy, 4, work)[:45]:
            for slot in np.flatnonzero(event.token >= 0):
                tokens[str(work[int(event.request[slot]) - 1].client)] += 1
        leads[policy.name] = tokens["a"] - tokens["b"]
    assert leads["vtc"] <= 18, "four slots and two clients: never ahead by more than two requests"
    assert leads["continuous"] == 4 * 45


@pytest.mark.parametrize("lag", [0, 1])
def test_a_failed_pass_loses_no_request_and_keeps_the_counters_true(lag: int) -> None:
    pool = BlockPool(40, 2)
    executor = OracleExecutor(2, pool)
    policy = VTC()
    engine = Engine(executor, policy, slots=2, pool=pool, lag=lag)
    work = of_clients("aaabbb", [Request(i, (1, 2, 3), 6, output_length=6) for i in range(1, 7)])
    engine.submit(*work)
    for step in range(200):
        executor.fails_at = "collect" if step in (3, 9) else ""
        try:
            if engine.step() is None:
                break
        except EngineError:
            continue
    assert all(engine.output(request.id) == answer(request) for request in work)
    engine.submit(Request(99, (1,), 1, client="c", arrival=engine.now))
    assert engine.step() is not None
    assert {client: policy.counters.served[client] for client in "ab"} == {"a": 45, "b": 45}, "3 · (3 + 2 · 6) each"


def test_one_object_serves_one_run_after_the_other() -> None:
    policy, work = VTC(), of_clients("aaabbb", requests([3] * 6))
    assert repr(run(policy, 1, work)) == repr(run(policy, 1, work)) == repr(run(VTC(), 1, work))


def test_a_saved_run_can_be_asked_why(tmp_path: Any) -> None:
    """The trace holds the clients, so the decision can be made again from the file alone."""
    work = Workload("", of_clients("aaab", requests([2] * 4)), arrival_unit="iterations")
    trace = load(schedule(VTC(), work, slots=1).save(tmp_path / "run.cbviz"))
    (lane,) = why(trace, 4, 2).lanes
    assert lane.answers[0].verdict == "let in"
    assert "client b has been served least: 0 weighted tokens" in lane.answers[0].reason


@pytest.mark.parametrize("given", [-1, float("nan"), float("inf"), "2", None, True])
@pytest.mark.parametrize("name", ["input_weight", "output_weight"])
def test_a_weight_is_a_number_of_at_least_0(name: str, given: Any) -> None:
    with pytest.raises(PolicyError, match=rf"^vtc: {name} must be a finite number of at least 0, not "):
        VTC(**{name: given})
