"""TTFT, TPOT, ITL and the rest: by hand, and against the loop that `vllm bench serve` runs."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbviz.errors import MeasureError
from cbviz.events import FinishReason
from cbviz.measure import MLPERF, Distribution, Targets, arrival_seconds, goodput, latencies, meets, summary
from cbviz.trace import Trace
from tests.fake_runs import record, request, scheduled, scheduled_trace, wild_trace


def test_by_hand() -> None:
    """Two slots, outputs 3, 1, 2; an iteration takes 1 s with one busy slot and 2 s with two.

    Iterations 0 to 3 s: {0, 1} ends at 2; {0, 2} ends at 4; {0, 2} ends at 6.
    """
    found = latencies(scheduled_trace([3, 1, 2], slots=2, seconds=[0.0, 1.0, 2.0]))
    np.testing.assert_allclose(found.arrival, [0, 0, 0])
    np.testing.assert_allclose(found.queue, [0, 0, 2])
    np.testing.assert_allclose(found.ttft, [2, 2, 4])
    np.testing.assert_allclose(found.e2el, [6, 2, 6])
    np.testing.assert_allclose(found.tpot, [2, math.nan, 2])
    np.testing.assert_allclose(found.itl, [2, 2, 2])
    assert found.completed.all()


def test_a_static_batch_may_deliver_when_it_is_over() -> None:
    """Outputs 3 and 1 in one batch: both leave after 3 iterations; then 2 more for the last one."""
    trace = scheduled_trace([3, 1, 2], slots=2, policy="static")
    np.testing.assert_allclose(latencies(trace).ttft, [1, 1, 4])
    np.testing.assert_allclose(latencies(trace).e2el, [3, 1, 5])
    whole = latencies(trace, "release")
    np.testing.assert_allclose(whole.ttft, [3, 3, 5])
    np.testing.assert_allclose(whole.e2el, [3, 3, 5])
    np.testing.assert_allclose(whole.tpot, [0, math.nan, 0])
    np.testing.assert_allclose(whole.itl, [0, 0, 0])


def test_arrivals_in_iterations_become_seconds() -> None:
    asked = [request(0, output=4), request(1, output=2, arrival=2.0)]
    trace = record(scheduled(asked, 2, seconds=0.5), asked, 2, arrival_unit="iterations")
    np.testing.assert_allclose(arrival_seconds(trace), [0.0, 1.0])
    np.testing.assert_allclose(latencies(trace).ttft, [0.5, 0.5])


def test_arrivals_in_seconds_count_from_the_arrival_not_from_the_next_iteration() -> None:
    asked = [request(0, output=4), request(1, output=2, arrival=2.0)]
    trace = record(scheduled(asked, 2, seconds=1.0), asked, 2, arrival_unit="seconds")
    early = replace(trace.requests, arrival=np.array([0.0, 1.25]))
    found = latencies(replace(trace, requests=early))
    np.testing.assert_allclose(found.queue, [0, 0.75])
    np.testing.assert_allclose(found.ttft, [1, 1.75])


def as_vllm_does(trace: Trace) -> dict[str, Any]:
    """The loop of vLLM's calculate_metrics, over time stamps collected one by one."""
    rq, it = trace.requests, trace.iterations
    ttfts, tpots, all_tpots, itls, e2els, inputs = [], [], [], [], [], 0
    for row in range(len(rq)):
        if rq.reason[row] in (-1, FinishReason.CANCELLED):
            continue
        stamps = [float(it.t_end[i]) for i in rq.token_iterations[row]]
        ttft, latency = stamps[0] - float(rq.arrival[row]), stamps[-1] - float(rq.arrival[row])
        tpot = 0.0
        if len(stamps) > 1:
            tpot = (latency - ttft) / (len(stamps) - 1)
            tpots.append(tpot)
        all_tpots.append(tpot)
        itls += [b - a for a, b in pairwise(stamps)]
        ttfts.append(ttft)
        e2els.append(latency)
        inputs += int(rq.prompt_tokens[row])
    return {"ttft": ttfts, "tpot": tpots, "all_tpot": all_tpots, "itl": itls, "e2el": e2els, "inputs": inputs}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), most=st.integers(1, 120))
def test_any_run_measures_as_vllm_bench_serve_would(seed: int, most: int) -> None:
    trace = wild_trace(seed, most=most)
    oracle = as_vllm_does(trace)
    s = summary(trace, percentiles=(50, 99))
    for name in ("ttft", "tpot", "itl", "e2el"):
        mine, theirs = getattr(s, name), oracle[name]
        assert mine.count == len(theirs)
        if theirs:
            numbers = (mine.mean, mine.std, mine.median, mine.percentiles[50], mine.percentiles[99])
            expected = (np.mean(theirs), np.std(theirs), np.median(theirs), *np.percentile(theirs, [50, 99]))
            np.testing.assert_allclose(numbers, expected, atol=1e-9)
        else:
            assert math.isnan(mine.mean)
    assert s.completed == len(oracle["ttft"])
    assert s.prompt_tokens == oracle["inputs"]
    if trace.seconds:
        assert s.request_throughput == pytest.approx(s.completed / trace.seconds)
        targets = Targets(ttft=1.0, tpot=0.2, e2el=3.0)
        rows = zip(oracle["ttft"], oracle["all_tpot"], oracle["e2el"], strict=True)
        good = sum(a <= 1.0 and b <= 0.2 and c <= 3.0 for a, b, c in rows)
        assert goodput(trace, targets) == pytest.approx(good / trace.seconds)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_scaling_the_clock_scales_every_latency(seed: int) -> None:
    trace = wild_trace(seed)
    it = trace.iterations
    slow = replace(trace, iterations=replace(it, t_start=it.t_start * 3, t_end=it.t_end * 3))
    a, b = latencies(trace), latencies(slow)
    for name in ("queue", "ttft", "e2el", "tpot", "itl"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name) * 3, atol=1e-9)


def test_a_run_that_was_cut_off_measures_who_completed() -> None:
    asked = [request(0, output=2), request(1, output=9)]
    events = list(scheduled(asked, 2))[:4]
    found = latencies(record(iter(events), asked, 2, arrival_unit="iterations"))
    assert found.completed.tolist() == [True, False]
    np.testing.assert_allclose(found.ttft, [1, math.nan])
    assert len(found.itl) == 1


def test_goodput_counts_who_meets_every_target() -> None:
    trace = scheduled_trace([3, 1, 2], slots=2, seconds=[0.0, 1.0, 2.0])  # TTFT 2, 2, 4; TPOT 2, –, 2; 6 s
    assert meets(trace, Targets(ttft=2.0)).tolist() == [True, True, False]
    assert meets(trace, Targets(ttft=2.0, tpot=1.9)).tolist() == [False, True, False]  # one token: TPOT counts as 0
    assert goodput(trace, Targets(e2el=6.0)) == pytest.approx(3 / 6)
    assert goodput(trace, "llama3.1-8b") == pytest.approx(1 / 6)
    assert MLPERF["llama3.1-8b-interactive"] == Targets(ttft=0.5, tpot=0.03)


def test_goodput_s_delivery_matters() -> None:
    trace = scheduled_trace([3, 1, 2], slots=2, policy="static")
    assert goodput(trace, Targets(ttft=1.0)) == pytest.approx(2 / 5)
    assert goodput(trace, Targets(ttft=1.0), "release") == 0


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda t: Targets(), "at least one target"),
        (lambda t: Targets(ttft=0), "must be a number of seconds above 0"),
        (lambda t: Targets(tpot=float("nan")), "the target for tpot"),
        (lambda t: Targets(e2el="1"), "the target for e2el"),  # type: ignore[arg-type]
        (lambda t: goodput(t, "gpt-5"), "there is no preset 'gpt-5'; choose one of llama2-70b"),
        (lambda t: goodput(t, 3), "targets must be Targets"),
        (lambda t: latencies(t, "later"), "delivery must be 'stream' or 'release'"),
        (lambda t: summary(t, percentiles=(101,)), "between 0 and 100, not 101"),
        (lambda t: summary(t, percentiles=(float("nan"),)), "between 0 and 100"),
        (lambda t: summary(t, percentiles=("p99",)), "between 0 and 100"),
    ],
    ids=range(10),
)
def test_nonsense_is_answered_with_a_sentence(ask: Any, complaint: str) -> None:
    with pytest.raises(MeasureError, match=complaint):
        ask(scheduled_trace([2], 1))


def test_percentiles_are_linear() -> None:
    d = Distribution.of([1, 2, 3, 4], percentiles=(0, 50, 75, 100))
    assert d.percentiles == {0: 1.0, 50: 2.5, 75: 3.25, 100: 4.0}
    assert (d.count, d.mean, d.median) == (4, 2.5, 2.5)
    assert d.std == pytest.approx(math.sqrt(1.25))
