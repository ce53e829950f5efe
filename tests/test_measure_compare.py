"""Two runs of the same work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbviz.errors import MeasureError
from cbviz.events import FinishReason
from cbviz.measure import Divergence, compare, same_answers
from cbviz.trace import Recorder, Trace
from tests.fake_runs import meta, record, request, scheduled, scheduled_trace

LENGTHS = [3, 6, 2, 3, 3, 2, 2]


def both(seconds: float | list[float] = 1.0) -> tuple[Trace, Trace]:
    return scheduled_trace(LENGTHS, 4, "static", seconds), scheduled_trace(LENGTHS, 4, "continuous", seconds)


def with_tokens(trace: Trace, row: int, tokens: tuple[int, ...]) -> Trace:
    rows = list(trace.requests.tokens)
    rows[row] = tokens
    return replace(trace, requests=replace(trace.requests, tokens=tuple(rows)))


def test_the_toy_figure() -> None:
    static, continuous = both()
    found = compare(static, continuous)
    assert found.iterations == (9, 6)
    assert found.iteration_ratio == 1.5
    assert found.speedup == 1.5
    assert found.iteration_cost_ratio == 1.0
    assert found.identical_outputs
    assert found.divergences == ()


@settings(max_examples=40, deadline=None)
@given(
    outputs=st.lists(st.integers(1, 20), min_size=1, max_size=30),
    slots=st.integers(1, 5),
    a=st.floats(0.1, 2),
    b=st.floats(0, 1),
)
def test_where_both_are_busy_the_speedup_is_the_product(outputs: list[int], slots: int, a: float, b: float) -> None:
    cost = [a + b * rows for rows in range(slots + 1)]
    found = compare(*(scheduled_trace(outputs, slots, policy, cost) for policy in ("static", "continuous")))
    assert found.speedup == pytest.approx(found.iteration_ratio * found.iteration_cost_ratio)
    assert found.iteration_ratio >= 1
    assert found.identical_outputs
    if slots == 1:
        assert (found.iteration_ratio, found.speedup) == (1, 1)


def test_time_without_any_request_is_kept_apart() -> None:
    static, continuous = both()
    it = continuous.iterations
    jump = np.array([0, 0, 0, 3, 3, 3])
    late = replace(continuous, iterations=replace(it, t_start=it.t_start + jump, t_end=it.t_end + jump))
    found = compare(static, late)
    assert found.seconds == (9, 9)
    assert found.busy_seconds == (9, 6)
    assert (found.speedup, found.iteration_cost_ratio) == (1, 1)


def test_a_divergence_says_where_and_what() -> None:
    static, continuous = both()
    tokens = continuous.requests.tokens[1]
    other = with_tokens(continuous, 1, (*tokens[:4], 49, tokens[5]))
    found = compare(static, other)
    assert not found.identical_outputs
    assert found.divergences == (Divergence(1, 4, (tokens[4], 49)),)


def test_an_output_that_ends_early_diverges_where_it_ends() -> None:
    static, continuous = both()
    tokens = continuous.requests.tokens[1]
    assert compare(static, with_tokens(continuous, 1, tokens[:3])).divergences == (Divergence(1, 3, (tokens[3], None)),)
    assert compare(with_tokens(static, 1, tokens[:3]), continuous).divergences == (Divergence(1, 3, (None, tokens[3])),)


def test_a_run_that_was_cut_off_is_compared_as_far_as_it_goes() -> None:
    asked = [request(id, output=length) for id, length in enumerate(LENGTHS)]
    cut = record(iter(list(scheduled(asked, 4))[:3]), asked, 4, arrival_unit="iterations")
    assert compare(both()[0], cut).identical_outputs
    wrong = with_tokens(cut, 1, (48, *cut.requests.tokens[1][1:]))
    assert [d.position for d in compare(both()[0], wrong).divergences] == [0]


def test_different_work_is_refused() -> None:
    static, continuous = both()
    with pytest.raises(MeasureError, match="request 6 is not the same in both"):
        compare(static, scheduled_trace(LENGTHS[:-1], 4))
    with pytest.raises(MeasureError, match="request 2 is not the same in both"):
        compare(static, scheduled_trace([3, 6, 9, 3, 3, 2, 2], 4))
    with pytest.raises(MeasureError, match="only traces can be compared, not str"):
        compare(static, "continuous")  # type: ignore[arg-type]
    empty = Recorder(meta(4), [request(id, output=length) for id, length in enumerate(LENGTHS)]).trace()
    with pytest.raises(MeasureError, match="took no time"):
        compare(continuous, empty)


def test_same_answers_counts_whom_every_run_answered() -> None:
    """Of eight requests the second run cancels one and answers another differently; the third lacks one altogether."""
    whole = scheduled_trace([3] * 8, 2)
    rq = whole.requests
    reason, tokens = rq.reason.copy(), list(rq.tokens)
    reason[2], tokens[5] = FinishReason.CANCELLED, (*tokens[5][:1], 99, *tokens[5][2:])
    other = replace(whole, requests=replace(rq, reason=reason, tokens=tuple(tokens)))
    assert same_answers(whole, other) == (6, 7)
    assert same_answers(other, whole) == (6, 7)
    fewer = scheduled_trace([3] * 7, 2)
    assert same_answers(whole, other, fewer) == (5, 6)
    assert same_answers(whole) == (8, 8)
    with pytest.raises(MeasureError, match="compared between traces"):
        same_answers()
