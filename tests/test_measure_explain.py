"""Explanations: every slot-iteration accounted for, predictions that come true, costs that are found again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cbviz
from cbviz.errors import MeasureError
from cbviz.measure import explain, speedup_empirical
from cbviz.trace import Trace
from cbviz.workload import Request, Workload
from tests.fake_runs import Cost, record, request, scheduled, scheduled_trace, wild_trace

LENGTHS = [max(1, round(x)) for x in np.random.default_rng(4).exponential(20, 96)]


def both(cost: Cost = 1.0, slots: int = 8) -> tuple[Trace, Trace]:
    return scheduled_trace(LENGTHS, slots, "static", cost), scheduled_trace(LENGTHS, slots, "continuous", cost)


@dataclass
class Race:
    traces: tuple[Trace, ...]


def test_a_race_of_the_two_classics() -> None:
    found = explain(*both())
    assert found.policies == ("static", "continuous")
    assert found.prediction is not None
    assert found.prediction.iterations == found.comparison.iterations
    assert found.prediction.endless == pytest.approx(speedup_empirical(8, LENGTHS))
    name, difference = found.reasons[0]
    assert name == "held"
    assert difference == found.use[0].held > 0


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 25), min_size=1, max_size=40), slots=st.integers(1, 5))
def test_the_difference_in_slot_iterations_is_accounted_for(lengths: list[int], slots: int) -> None:
    found = explain(scheduled_trace(lengths, slots, "static"), scheduled_trace(lengths, slots))
    a, b = found.comparison.iterations
    assert sum(difference for _, difference in found.reasons) == (a - b) * slots
    assert found.prediction is not None
    assert found.prediction.iterations == (a, b)
    assert str(found)


def test_a_pool_that_says_no_is_not_predicted() -> None:
    """The closed forms are for slots that are the only limit; with few KV blocks they would be wrong by a factor."""
    work = Workload("", tuple(Request(i, (1,) * 8, n, output_length=n) for i, n in enumerate(LENGTHS)))
    roomy, tight = (
        [cbviz.schedule(name, work, slots=8, kv_blocks=blocks) for name in ("static", "continuous")]
        for blocks in (800, 12)
    )
    found = explain(*roomy)
    assert found.prediction is not None
    assert found.prediction.iterations == found.comparison.iterations
    found = explain(*tight)
    assert found.prediction is None
    assert "not predicted: 'static' left slots empty while requests waited: KV memory limited it" in str(found)


def test_orca_is_continuous_and_one_at_a_time_has_one_slot() -> None:
    work = Workload("", tuple(Request(i, (1,) * 8, n, output_length=n) for i, n in enumerate(LENGTHS)))
    one, orca = (cbviz.schedule(name, work, slots=8) for name in ("one_at_a_time", "orca"))
    found = explain(one, orca)
    assert found.prediction is not None
    assert found.prediction.iterations == found.comparison.iterations
    assert found.prediction.endless == pytest.approx(8)
    found = explain(one, cbviz.schedule("tgi", work, slots=8))
    assert found.no_prediction == "there is no closed form for the policy 'tgi'."


def test_what_an_iteration_costs_is_found_again() -> None:
    """Iterations made of 4 ms, 0.5 ms a row and 2 ms a prompt of 3 tokens."""
    found = explain(*both(lambda rows, prefills: 0.004 + 0.0005 * rows + 0.002 * prefills))
    cost = found.cost
    assert cost is not None
    assert cost.fixed == pytest.approx(0.004)
    assert cost.row == pytest.approx(0.0005)
    assert cost.prefill_token == pytest.approx(0.002 / 3)
    assert cost.kv_block == pytest.approx(0.0, abs=1e-9)
    assert cost.r_squared == pytest.approx(1.0)
    assert cost.rest == pytest.approx(1.0)
    product = np.prod(list(cost.factors.values())) * cost.rest
    assert product == pytest.approx(found.comparison.iteration_cost_ratio)
    assert cost.factors["prefill tokens"] < 1  # the same prompts, spread over fewer iterations


def test_a_lane_that_is_slow_for_no_visible_reason_shows_in_the_rest() -> None:
    static, continuous = both(lambda rows, prefills: 0.004 + 0.0005 * rows)
    it = continuous.iterations
    slow = replace(continuous, iterations=replace(it, t_start=it.t_start * 1.5, t_end=it.t_end * 1.5))
    found = explain(static, slow)
    assert found.cost is not None
    assert found.cost.rest < 0.9
    assert "The work does not explain this" in str(found)
    assert "does not explain" not in str(explain(static, continuous))


def test_costs_never_come_out_negative_however_noisy_the_clock() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        cost = explain(*both(lambda rows, prefills: float(rng.exponential(0.01)))).cost
        assert cost is not None
        assert min(cost.fixed, cost.row, cost.prefill_token, cost.kv_block) >= 0
        assert cost.r_squared >= 0


def test_a_race_is_explained_by_its_first_and_last_lane() -> None:
    static, continuous = both()
    found = explain(Race((static, static, continuous)))
    assert found.policies == ("static", "continuous")
    assert found.comparison.iteration_ratio > 2


def test_the_text_says_it_in_words() -> None:
    text = str(explain(*both(lambda rows, prefills: 0.004 + 0.0005 * rows + 0.002 * prefills)))
    assert text.startswith("continuous takes ")
    assert "Most of the difference: slots held by finished requests until their batch ended" in text
    assert "predicted, in this order" in text
    assert "by prefill tokens" in text


def test_no_prediction_where_none_holds_and_why() -> None:
    static, continuous = both()
    own = replace(continuous, meta=replace(continuous.meta, policy="mine"))
    assert "no closed form for the policy 'mine'" in str(explain(static, own))
    later = [request(i, output=4, arrival=float(i)) for i in range(6)]
    runs = [
        record(scheduled(later, 2, p), later, 2, arrival_unit="iterations", policy=p) for p in ("static", "continuous")
    ]
    assert "requests arrived over time" in str(explain(*runs))
    asked = [request(i, output=length) for i, length in enumerate(LENGTHS)]
    cut = record(iter(list(scheduled(asked, 8))[:30]), asked, 8, arrival_unit="iterations", policy="continuous")
    assert "not every request of 'continuous' completed" in str(explain(static, cut))
    assert explain(static, cut).prediction is None


def test_the_naive_baseline_is_predicted_from_what_the_trace_says_of_it() -> None:
    """Run to the longest of the data set: `extra["run_to"]` says so."""
    static, continuous = both()
    naive = replace(static, meta=replace(static.meta, extra={"run_to": max(LENGTHS)}))
    prediction = explain(naive, continuous).prediction
    assert prediction is not None
    assert prediction.iterations[0] == max(LENGTHS) * 12


def test_time_without_any_request_is_its_own_factor() -> None:
    static, continuous = both()
    it = continuous.iterations
    jump = np.where(np.arange(len(it)) >= 10, 500.0, 0.0)
    late = replace(continuous, iterations=replace(it, t_start=it.t_start + jump, t_end=it.t_end + jump))
    assert "(time without any request)" in str(explain(static, late))
    assert "time without any request" not in str(explain(static, continuous))


def test_short_or_even_runs_have_no_cost_split() -> None:
    assert explain(scheduled_trace([3, 1], 2, "static"), scheduled_trace([3, 1], 2)).cost is None
    assert explain(*both(1.0)).cost is None
    assert "not split" in str(explain(*both(1.0)))


@pytest.mark.parametrize("nonsense", [None, 5, "race", Race(()), Race((wild_trace(1),))])
def test_nonsense_is_answered_with_a_sentence(nonsense: Any) -> None:
    with pytest.raises(MeasureError, match="explain needs two traces, or a race of at least two lanes"):
        explain(nonsense)
    with pytest.raises(MeasureError, match="only traces can be compared"):
        explain(scheduled_trace([2], 1), 5)  # type: ignore[arg-type]
