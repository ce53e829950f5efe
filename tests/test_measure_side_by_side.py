"""Runs in one table: every number against one that is counted otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cbviz.errors import MeasureError
from cbviz.events import State
from cbviz.measure import latencies, side_by_side, slot_use
from cbviz.measure.side_by_side import KV_ROWS, ROWS
from cbviz.messages import lines
from cbviz.policies import TGI, Sarathi, VllmV1
from cbviz.run.schedule import schedule
from cbviz.trace import Recorder, Trace
from cbviz.view.run_table import RunTable
from cbviz.workload import Workload
from tests.fake_runs import meta, scheduled_trace, wild_trace
from tests.pictures import requests


@pytest.fixture(scope="module")
def traces() -> tuple[Trace, ...]:
    work = Workload("", tuple(requests([6, 4, 2, 3, 2], arrivals=[0, 0, 1, 2, 3])), arrival_unit="iterations")
    tight = Workload("", tuple(requests([5, 5], prompts=[3, 3])), arrival_unit="iterations")
    return (
        schedule(TGI(), work, slots=6, block_size=4, kv_blocks=40),
        schedule(VllmV1(4), tight, slots=2, block_size=1, kv_blocks=9, context_limit=9),
    )


def test_a_table_of_two_runs(traces: tuple[Trace, ...]) -> None:
    """TGI's run is the first one of its tests: iterations 2 and 5 stall three requests; V1's preempts once."""
    table = side_by_side(*traces)
    tgi, v1 = table.numbers["tgi"], table.numbers["vllm_v1"]
    assert (tgi["iterations"], tgi["stalls"], tgi["preemptions"]) == (8, 3, 0)
    assert (v1["stalls"], v1["preemptions"], v1["recomputed tokens"]) == (0, 1, 4)
    for column, trace in zip((tgi, v1), traces, strict=True):
        waits = latencies(trace)
        assert column["TTFT p50 (ms)"] == pytest.approx(np.median(waits.ttft) * 1e3)
        assert column["ITL p99 (ms)"] == pytest.approx(np.percentile(waits.itl, 99) * 1e3)
        assert column["occupancy"] == pytest.approx(slot_use(trace).occupancy)
        assert column["stalls"] == int((trace.spans.state == State.STALLED).sum())
        assert 0 < column["KV memory used"] <= 1
    assert table.to_json() == table.numbers


def test_how_it_is_shown(traces: tuple[Trace, ...]) -> None:
    table = side_by_side(*traces, names=["<one>", "two"])
    lines = str(table).splitlines()
    assert lines[0].split() == ["<one>", "two"]
    assert lines[1].split() == ["iterations", "8", "9"]
    assert len({len(line) for line in lines}) == 1, "columns are aligned"
    html = RunTable.of(table)._repr_mimebundle_()["text/html"]
    assert "&lt;one&gt;" in html
    assert "<one>" not in html
    assert html.count("<tr>") == len(lines)


def test_a_run_of_nothing_and_equal_names() -> None:
    nothing = Recorder(meta(2)).trace()
    table = side_by_side(nothing, nothing)
    assert list(table.numbers) == ["fake #1", "fake #2"]
    assert "TTFT p50 (ms)" not in table.rows(), "a run of nothing is too short to time"
    assert table.cells("TTFT p50 (ms)") == ["–", "–"]
    assert table.to_json()["fake #1"]["TTFT p50 (ms)"] is None


def test_a_budget_of_sarathi_never_stalls_a_decode() -> None:
    work = Workload("", tuple(requests([6, 4, 2], prompts=[2, 9, 9], arrivals=[0, 1, 2])), arrival_unit="iterations")
    assert side_by_side(schedule(Sarathi(chunk_size=4), work, slots=3)).numbers["sarathi"]["stalls"] == 0


def test_nonsense_gets_one_sentence(traces: tuple[Trace, ...]) -> None:
    with pytest.raises(MeasureError, match="at least one trace"):
        side_by_side()
    with pytest.raises(MeasureError, match="nothing but traces"):
        side_by_side("race")  # type: ignore[arg-type]
    with pytest.raises(MeasureError, match="2 traces and 1 names"):
        side_by_side(*traces, names=["one"])


def test_a_chinese_notebook_gets_chinese_rows_and_the_same_numbers(traces: tuple[Trace, ...]) -> None:
    assert {key.removeprefix("table.") for key in lines("zh") if key.startswith("table.")} == ROWS.keys()
    english, chinese = side_by_side(*traces), side_by_side(*traces, language="zh")
    rows = [str(table).splitlines() for table in (english, chinese)]
    assert len(rows[0]) == len(rows[1])
    assert [[cell for cell in line.split() if cell[0].isdigit()] for line in rows[0]] == [
        [cell for cell in line.split() if cell[0].isdigit()] for line in rows[1]
    ]
    assert "槽位占用率" in str(chinese)
    shown = RunTable.of(chinese)._repr_mimebundle_()["text/html"]
    assert "<th>槽位占用率</th>" in shown
    assert "occupancy" not in shown
    assert shown.count("<tr>") == RunTable.of(english)._repr_mimebundle_()["text/html"].count("<tr>")


def test_the_rows_on_kv_memory_sum_to_all_of_it(traces: tuple[Trace, ...]) -> None:
    for seed in range(20):
        table = side_by_side(*traces, wild_trace(seed))
        shown = [[round(10 * float(cell.rstrip("%"))) for cell in table.cells(row)] for row in KV_ROWS]
        assert [sum(column) for column in zip(*shown, strict=True)] == [1000] * 3


def test_times_have_no_more_digits_than_a_run_supports() -> None:
    def timed(seconds: float, clock: str) -> Trace:
        trace = scheduled_trace([3, 9, 2, 30], 2, "continuous", seconds)
        return replace(trace, meta=replace(trace.meta, clock=clock))

    assert side_by_side(timed(0.1234, "alone")).cells("seconds") == ["4.3"]
    assert side_by_side(timed(0.1234, "virtual")).cells("seconds") == ["4.319"]
    short = side_by_side(timed(0.001, "alone"))
    assert short.cells("seconds") == ["–"]
    assert not {"seconds", "ITL p50 (ms)"} & {*short.rows()}
    assert "<th>seconds</th>" not in RunTable.of(short).html()
