"""Shortest first: by what is declared, estimated or known, with an SLO that keeps the long ones from starving."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from cbviz import Workload, schedule, why
from cbviz.errors import MeasureError, PolicyError
from cbviz.events import Iteration
from cbviz.policies import ShortestFirst
from cbviz.trace import load
from cbviz.workload.request import Request
from tests.pictures import picture, reasons, requests, run


def admitted(events: list[Iteration]) -> list[int]:
    return [mark.request for event in events for mark in event.admitted]


def declared(sizes: list[tuple[int, int]], arrivals: list[float] | None = None) -> list[Request]:
    """Requests 1, 2, … of (max_new_tokens, true length)."""
    return [
        Request(i + 1, (1,), most, output_length=length, arrival=arrivals[i] if arrivals else 0.0)
        for i, (most, length) in enumerate(sizes)
    ]


def test_the_smallest_limit_goes_first() -> None:
    events = run(ShortestFirst(), 1, requests([4, 1, 3, 1]))
    assert picture(events) == ["243331111"]
    assert [why for _, kind, _, why in reasons(events) if kind == "admitted"] == [
        f"predicted to need {n} more token{'s' * (n > 1)}" for n in (1, 1, 3, 4)
    ]


def test_declared_limits_can_mislead_and_an_oracle_is_not_misled() -> None:
    """Declared 9, 8, 7 and in truth 1, 2, 6: the oracle turns the order round, and the mean end comes sooner."""
    work = declared([(9, 1), (8, 2), (7, 6)])
    lengths = {1: 1, 2: 2, 3: 6}
    assert admitted(run(ShortestFirst(), 1, work)) == [3, 2, 1]
    assert admitted(run(ShortestFirst("oracle", lengths), 1, work)) == [1, 2, 3]
    assert admitted(run(ShortestFirst("estimate", {1: 5, 2: 1}), 1, work)) == [2, 1, 3], "3 counts as declared"


def test_without_an_slo_a_long_request_waits_for_as_long_as_short_ones_come() -> None:
    """A request of 9, and forty of 2. With an SLO of 10 the 9 tokens count as 9 · 0.2 < 2 at iteration 8."""
    work = declared([(9, 9)] + [(2, 2)] * 40, [0.0] + [float(max(0, 2 * i - 1)) for i in range(40)])
    starved, served = (admitted(run(ShortestFirst(slo=slo), 1, work)) for slo in (None, 10))
    assert starved[-1] == 1
    assert served.index(1) == 4, "after four requests of two iterations"


def test_a_prediction_counts_for_less_the_longer_a_request_has_waited() -> None:
    """At iteration 6 the request of 8 has waited 6 of 12 and counts as 4: behind a new one of 3, before one of 5."""
    for newcomer, order in ((3, [1, 3, 2]), (5, [1, 2, 3])):
        work = declared([(6, 6), (8, 8), (newcomer, newcomer)], [0, 0, 6])
        assert admitted(run(ShortestFirst(slo=12), 1, work)) == order


def test_among_the_overdue_the_oldest_goes_first() -> None:
    work = declared([(6, 6), (9, 9), (8, 8)], [0, 1, 2])
    events = run(ShortestFirst(slo=3), 1, work)
    assert admitted(events) == [1, 2, 3]
    said = [why for _, kind, _, why in reasons(events) if kind == "admitted"]
    assert said == ["predicted to need 6 more tokens"] + ["it has waited as long as the SLO allows"] * 2


def test_what_does_not_fit_is_not_overtaken() -> None:
    """5 blocks of one position: request 2 (1 + 3) is next and needs 4, of which 3 are free; 3 waits behind it."""
    events = run(ShortestFirst(), 3, requests([1, 3, 4], prompts=[1, 1, 1]), blocks=5)
    assert [(event.index, mark.request) for event in events for mark in event.admitted] == [(0, 1), (1, 2), (4, 3)]


@pytest.mark.parametrize("seed", range(6))
def test_with_one_slot_no_order_has_a_smaller_mean(seed: int) -> None:
    """Smith's rule, by exchange: swapping any two neighbours of the order does not end requests sooner on average."""
    lengths = [random.Random(seed).randint(1, 20) for _ in range(12)]
    order = admitted(run(ShortestFirst(), 1, requests(lengths)))
    served = [lengths[request - 1] for request in order]
    assert all(first <= second for first, second in pairwise(served))


def test_an_oracle_s_trace_can_be_asked_why_and_an_estimate_s_needs_its_policy(tmp_path: Any) -> None:
    work = Workload("", declared([(9, 1), (8, 2), (7, 6)]), arrival_unit="iterations")
    lengths = {1: 1, 2: 2, 3: 6}
    trace = load(schedule(ShortestFirst("oracle", lengths, slo=50), work, slots=1).save(tmp_path / "oracle.cbviz"))
    assert trace.meta.policy == "shortest_first_oracle_cheating"
    assert why(trace, 2, 1).lanes[0].answers[0].verdict == "let in"
    policy = ShortestFirst("estimate", {1: 5})
    trace = schedule(policy, work, slots=1)
    with pytest.raises(MeasureError, match="'shortest_first_estimate' is not a built-in policy; pass the policy"):
        why(trace, 2, 1)
    assert why(trace, 1, 0, policy=policy).lanes[0].answers[0].verdict == "let in"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"predict": "best"}, "shortest_first: predict must be one of declared, estimate, oracle, not 'best'"),
        ({"predict": "oracle"}, "shortest_first: oracle needs lengths; pass lengths={request id: tokens}"),
        ({"predict": "estimate"}, "shortest_first: estimate needs lengths"),
        ({"lengths": {1: 2}}, '"declared" uses no lengths'),
        ({"predict": "oracle", "lengths": 3}, "lengths must map request ids to tokens, not be 3"),
        ({"predict": "oracle", "lengths": {1: 0}}, "the length of request 1 must be a whole number of at least 1, not"),
        ({"slo": 0}, "shortest_first: slo must be a finite number above 0, not 0"),
        ({"slo": float("nan")}, "slo must be a finite number above 0"),
        ({"slo": "3"}, "slo must be a finite number above 0"),
    ],
)
def test_a_mistake_gets_one_sentence(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PolicyError) as caught:
        ShortestFirst(**asked)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_oracle_must_know_every_request() -> None:
    with pytest.raises(PolicyError, match=r"iteration 0: shortest_first has no length for request 2; an oracle's"):
        run(ShortestFirst("oracle", {1: 3}), 1, requests([3, 3]))
