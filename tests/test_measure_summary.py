"""Occupancy, the summary and its table."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbviz.errors import MeasureError
from cbviz.events import State
from cbviz.measure import serving_table, slot_use, summary
from cbviz.trace import Recorder
from tests.fake_runs import meta, record, request, scheduled, scheduled_trace, wild_trace


def test_the_toy_figure() -> None:
    """Static on S1..S4: 14 of 24 slot-iterations useful, 58.3 %; continuous on S1..S7: 21 of 24."""
    first_four = slot_use(scheduled_trace([3, 6, 2, 3], slots=4, policy="static"))
    assert (first_four.useful, first_four.held, first_four.total) == (14, 10, 24)
    assert first_four.occupancy == pytest.approx(0.583, abs=5e-4)
    static = slot_use(scheduled_trace([3, 6, 2, 3, 3, 2, 2], slots=4, policy="static"))
    continuous = slot_use(scheduled_trace([3, 6, 2, 3, 3, 2, 2], slots=4))
    assert (static.useful, static.total) == (21, 36)
    assert (continuous.useful, continuous.total) == (21, 24)


def test_twenty_and_thirty() -> None:
    """Two outputs of 20 and 30 in one batch waste 10 of 60 slot-iterations: exactly 16.7 %."""
    use = slot_use(scheduled_trace([20, 30], slots=2, policy="static"))
    assert (use.wasted, use.total) == (10, 60)
    assert use.shares()["held"] == pytest.approx(1 / 6)


def test_idle_is_wasted_only_while_a_request_waits() -> None:
    """The last batch of one leaves its other slot spare; a request that waits for the batch to end makes it wasted."""
    spare = slot_use(scheduled_trace([2, 2, 3], slots=2, policy="static"))
    assert (spare.spare_idle, spare.wasted_idle) == (3, 0)
    asked = [request(0, output=4), request(1, output=2, arrival=1.0)]
    trace = record(scheduled(asked, 2, "static"), asked, 2, arrival_unit="iterations")
    use = slot_use(trace)
    assert (use.wasted_idle, use.spare_idle) == (3, 1 + 2)
    assert use.wasted == trace.wasted_slot_iterations == 3


def test_in_seconds_long_iterations_weigh_more() -> None:
    """Outputs 3 and 1 on two slots: 1 iteration of 2 s with both, then 2 iterations of 1 s with one."""
    trace = scheduled_trace([3, 1], slots=2, seconds=[0.0, 1.0, 2.0])
    assert slot_use(trace).occupancy == pytest.approx(4 / 6)
    use = slot_use(trace, "seconds")
    assert use.occupancy == pytest.approx(6 / 8)
    assert use.spare_idle == pytest.approx(2)


def test_time_without_any_request_is_spare_seconds_and_no_iterations() -> None:
    trace = scheduled_trace([2], slots=2)
    it = trace.iterations
    jump = np.array([0, 5])
    late = replace(trace, iterations=replace(it, t_start=it.t_start + jump, t_end=it.t_end + jump))
    assert slot_use(late) == slot_use(trace)
    assert slot_use(late, "seconds").spare_idle == pytest.approx(slot_use(trace, "seconds").spare_idle + 2 * 5)
    assert slot_use(late, "seconds").total == pytest.approx(2 * late.seconds)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 5), most=st.integers(0, 100))
def test_every_slot_iteration_and_second_is_counted_once(seed: int, slots: int, most: int) -> None:
    trace = wild_trace(seed, slots=slots, most=most)
    it = trace.iterations
    use, seconds = slot_use(trace), slot_use(trace, "seconds")
    assert use.total == slots * len(it)
    assert seconds.total == pytest.approx(slots * trace.seconds)
    assert use.occupancy == pytest.approx(trace.occupancy)
    assert use.wasted == trace.wasted_slot_iterations
    spans = dict.fromkeys(State, 0)
    for state, first, end in zip(trace.spans.state, trace.spans.first, trace.spans.end, strict=True):
        spans[State(state)] += int(end - first)
    assert (use.prefill, use.decode) == (spans[State.PREFILL], spans[State.DECODE])
    assert (use.recompute, use.held, use.stalled) == (spans[State.RECOMPUTE], spans[State.HELD], spans[State.STALLED])
    assert sum(use.shares().values()) == pytest.approx(1 if len(it) else 0)


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(MeasureError, match="'iterations' or 'seconds', not in 'tokens'"):
        slot_use(scheduled_trace([2], 1), "tokens")  # type: ignore[arg-type]


def test_the_summary_by_hand() -> None:
    s = summary(scheduled_trace([3, 1, 2], slots=2, seconds=[0.0, 1.0, 2.0]))
    assert (s.policy, s.slots, s.iterations, s.seconds) == ("continuous", 2, 3, 6.0)
    assert (s.requests, s.completed, s.cancelled, s.prompt_tokens, s.output_tokens) == (3, 3, 0, 9, 6)
    assert s.request_throughput == pytest.approx(0.5)
    assert s.output_throughput == pytest.approx(1.0)
    assert s.total_throughput == pytest.approx(2.5)
    # KV blocks of 4 tokens, contexts 3 3 | 4 3 | 5 4: 2, 2 and 3 blocks, 6, 7 and 9 positions, on average.
    assert s.kv_used * 400_000 == pytest.approx(22 / 3)
    assert (s.kv_used + s.kv_reserved + s.kv_internal) * 100_000 == pytest.approx(7 / 3)
    assert s.kv_peak * 100_000 == pytest.approx(3)


def test_an_empty_run_has_no_latencies_and_no_rates() -> None:
    s = summary(Recorder(meta(2)).trace())
    assert (s.seconds, s.request_throughput, s.output_throughput, s.kv_used, s.kv_peak) == (0, 0, 0, 0, 0)
    assert s.ttft.count == 0
    assert math.isnan(s.ttft.mean)
    assert "n/a" in serving_table(Recorder(meta(2)).trace())


@pytest.mark.parametrize("seed", range(12))
def test_runs_of_one_schedule_share_memory_alike_whatever_their_clocks_said(seed: int) -> None:
    """Counts are the same on every machine, and so are shares of KV memory: the iterations are counted, not timed."""
    trace = wild_trace(seed)
    it = trace.iterations
    ends = np.cumsum(np.random.default_rng(seed).uniform(0.001, 5.0, len(it)))
    slower = replace(trace, iterations=replace(it, t_start=np.concatenate([[0.0], ends[:-1]])[: len(it)], t_end=ends))
    for share in ("kv_used", "kv_reserved", "kv_internal", "kv_peak"):
        assert getattr(summary(slower), share) == getattr(summary(trace), share)
    positions = trace.meta.total_blocks * trace.meta.block_size
    assert summary(trace).kv_used == pytest.approx(float(np.mean(it.kv_used)) / positions)
    lines = [line.rsplit(maxsplit=1) for line in serving_table(slower).splitlines() if "Of KV memory" in line]
    assert [label for label, _ in lines] == [
        f"Of KV memory, {part} (%):" for part in ("written", "reserved for later", "never written", "free")
    ]
    assert sum(round(100 * float(share)) for _, share in lines) == 10_000


def test_the_table_reads_like_vllm_s() -> None:
    table = serving_table(scheduled_trace([3, 1, 2], slots=2, seconds=[0.0, 1.0, 2.0]), percentiles=(90, 99.9))
    lines = table.split("\n")
    assert lines[0] == "============ Serving Benchmark Result ============"
    assert lines[-1] == "=" * 50
    cells = [line.rsplit(maxsplit=1) for line in lines if ":" in line]
    rows = {label.rstrip(" :"): float(value) for label, value in cells if value != "continuous"}
    assert rows["Successful requests"] == 3
    assert rows["Output token throughput (tok/s)"] == 1.0
    assert rows["Mean TTFT (ms)"] == pytest.approx(8000 / 3, abs=0.01)
    assert rows["Median E2EL (ms)"] == 6000
    assert rows["P90 TPOT (ms)"] == 2000
    assert rows["P99.9 ITL (ms)"] == 2000
    assert rows["Slot occupancy, by iterations (%)"] == 100


def test_little_s_law_holds_exactly_on_a_run_that_begins_and_ends_empty() -> None:
    """The mean number of requests present is the rate of arrivals times the mean time present: no matter what."""
    for policy in ("static", "continuous"):
        trace = scheduled_trace([3, 6, 2, 3, 3, 2, 2], slots=2, policy=policy, seconds=[0.0, 1.0, 1.3])
        it, rq = trace.iterations, trace.requests
        arrived, gone = it.t_start[rq.arrived], it.t_end[rq.finished]
        edges = np.unique(np.concatenate([it.t_start, it.t_end]))
        present = sum(((arrived <= a) & (gone >= b)).sum() * (b - a) for a, b in pairwise(edges))
        assert present / trace.seconds == pytest.approx(len(rq) / trace.seconds * (gone - arrived).mean(), rel=1e-12)
