"""Traces as data frames."""

from __future__ import annotations

import sys

import pytest

from cbviz.errors import TraceError
from tests.fake_runs import scheduled_trace, wild_trace


def test_the_frames_say_what_the_tables_say() -> None:
    trace = wild_trace(seed=5, requests=20, slots=4)
    frames = trace.to_pandas()
    assert list(frames) == ["requests", "iterations", "spans", "marks"]
    it, spans = frames["iterations"], frames["spans"]
    by_state = (spans["end"] - spans["first"]).groupby(spans["state"]).sum()
    for state in ("prefill", "decode", "recompute", "held", "stalled"):
        assert by_state[state] == it[f"{state}_slots"].sum()
    assert it["seconds"].sum() == pytest.approx((trace.iterations.t_end - trace.iterations.t_start).sum())
    assert frames["requests"]["output_tokens"].sum() == trace.output_tokens
    assert set(frames["requests"]["reason"]) == {"length", "cancelled"}
    assert (frames["marks"]["kind"] == "preempt").sum() == frames["requests"]["preemptions"].sum()
    assert (spans["t_end"] >= spans["t_start"]).all()
    assert frames["requests"].loc[0, "tokens"] == trace.requests.tokens[0]


def test_a_request_that_goes_on_has_no_reason() -> None:
    frames = wild_trace(seed=0, most=3).to_pandas()
    assert "" in set(frames["requests"]["reason"])


def test_changing_a_frame_leaves_the_trace_alone() -> None:
    trace = scheduled_trace([3, 2], 1)
    frame = trace.to_pandas()["iterations"]
    frame.loc[0, "generated"] = 99
    assert trace.iterations.generated[0] == 1


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(TraceError, match="pip install pandas"):
        scheduled_trace([2], 1).to_pandas()
