"""Charts: what they draw is what the traces say; pictures are small, well-formed, and safe."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cbviz.errors import MeasureError
from cbviz.measure import latencies, slot_use
from cbviz.trace import Recorder, Trace
from cbviz.view.chart import HEIGHT, MOST_POINTS, WIDTH, Chart, Series
from cbviz.view.charts import kv_over_time, latency_cdf, occupancy_over_time, roofline, throughput_by_variance
from cbviz.view.svg import image
from cbviz.view.zoom import chart_figure
from tests.fake_runs import meta, record, request, scheduled, scheduled_trace, wild_trace

LENGTHS = [max(1, round(x)) for x in np.random.default_rng(4).exponential(20, 96)]
SVG = "{http://www.w3.org/2000/svg}"
MODEL = {"parameters": 8e9, "weight_bytes": 16e9, "kv_bytes_per_token": 131072.0, "bandwidth": 3e12, "flops": 8e14}


def cost(rows: int, prefills: int) -> float:
    return 0.004 + 0.0005 * rows + 0.001 * prefills


@pytest.fixture(scope="module")
def traces() -> tuple[Trace, Trace]:
    return scheduled_trace(LENGTHS, 8, "static", cost), scheduled_trace(LENGTHS, 8, "continuous", cost)


def parsed(chart: Chart) -> ET.Element:
    root = ET.fromstring(chart.svg())
    assert root.tag == f"{SVG}svg"
    return root


# ---------------------------------------------------------------- what they draw


def test_throughput_against_variance_has_a_point_a_run_and_a_line_a_policy() -> None:
    caps = (60, 5, 200)
    runs = [
        scheduled_trace([min(cap, x) for x in LENGTHS], 8, p, cost) for cap in caps for p in ("static", "continuous")
    ]
    chart = throughput_by_variance(*runs)
    assert [s.name for s in chart.series] == ["static", "continuous"]
    for s, offset in zip(chart.series, (0, 1), strict=True):
        mine = runs[offset::2]
        cvs = [
            float(np.std([len(t) for t in run.requests.tokens]) / np.mean([len(t) for t in run.requests.tokens]))
            for run in mine
        ]
        expected = sorted(zip(cvs, [run.tokens_per_second for run in mine], strict=True))
        np.testing.assert_allclose(np.column_stack([s.x, s.y]), expected)
    assert (chart.series[1].y > chart.series[0].y).all()


def test_latency_cdf_reaches_every_percentile(traces: tuple[Trace, Trace]) -> None:
    chart = latency_cdf(*traces, metric="ttft")
    for s, trace in zip(chart.series, traces, strict=True):
        values = np.sort(latencies(trace).ttft)
        assert (s.y[0], s.y[-1]) == (0.0, 1.0)
        assert (np.diff(s.y) > 0).all()
        for x, y in zip(s.x, s.y, strict=True):
            assert (values <= x).mean() >= y
        np.testing.assert_allclose(s.x[1:], values)
    assert chart.title == "Time to first token"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_area_below_occupancy_is_the_occupancy(seed: int) -> None:
    """Averaging over stretches of time loses nothing: the integral stays exact."""
    trace = wild_trace(seed)
    if not trace.seconds:
        return
    (s,) = occupancy_over_time(trace).series
    area = float((s.y[:-1] * np.diff(s.x)).sum())
    assert area / trace.seconds == pytest.approx(slot_use(trace, "seconds").occupancy)
    assert s.y.min() >= -1e-12
    assert s.y.max() <= 1 + 1e-9


def test_the_area_below_the_kv_cache_is_its_mean_use(traces: tuple[Trace, Trace]) -> None:
    chart = kv_over_time(*traces)
    assert [s.name for s in chart.series] == ["static, used", "continuous, used"]
    for s, trace in zip(chart.series, traces, strict=True):
        area = float((s.y[:-1] * np.diff(s.x)).sum())
        it, positions = trace.iterations, trace.meta.total_blocks * trace.meta.block_size
        assert area == pytest.approx(float(it.kv_used @ (it.t_end - it.t_start)) / positions)


def test_reserved_blocks_get_a_line_of_their_own(traces: tuple[Trace, Trace]) -> None:
    it = traces[0].iterations
    more = {
        "blocks_reserved": np.full(len(it), 50),
        "kv_reserved": np.full(len(it), 80),
        "kv_internal": it.kv_used * 0 + 120,
    }
    used, both = kv_over_time(replace(traces[0], iterations=replace(it, **more))).series
    assert both.name == "static, allotted"
    np.testing.assert_allclose(both.y - used.y, 200 / (100_000 * traces[0].meta.block_size))


def test_the_roofline_s_points_lie_where_the_arithmetic_says(traces: tuple[Trace, Trace]) -> None:
    static, _, limit = roofline(*traces, **MODEL).series
    it = traces[0].iterations
    only_decode = np.flatnonzero((it.prefill_slots == 0) & (it.decode_slots > 0))
    assert set(np.round(static.y)) <= {np.round(2 * 8e9 * 8 / (it.t_end[i] - it.t_start[i])) for i in only_decode}
    assert static.x.max() <= 2 * 8e9 * 8 / 16e9
    assert limit.y.max() == 8e14
    assert limit.x[1] == pytest.approx(8e14 / 3e12)
    assert limit.y[0] == pytest.approx(limit.x[0] * 3e12)


def test_a_long_run_is_thinned() -> None:
    asked = [request(i, output=50) for i in range(200)]
    trace = record(scheduled(asked, 4), asked, 4)
    for chart in (occupancy_over_time(trace), latency_cdf(trace, metric="itl"), roofline(trace, **MODEL)):
        assert all(len(s.x) <= MOST_POINTS + 1 for s in chart.series)
        assert len(chart.svg()) < 40_000


def test_two_runs_of_one_policy_are_kept_apart() -> None:
    chart = latency_cdf(scheduled_trace([3, 2], 1), scheduled_trace([2, 4], 1))
    assert [s.name for s in chart.series] == ["continuous #1", "continuous #2"]


# ---------------------------------------------------------------- pictures


def test_every_picture_is_well_formed_small_and_inside_its_frame(traces: tuple[Trace, Trace]) -> None:
    charts = [latency_cdf(*traces), occupancy_over_time(*traces), kv_over_time(*traces), roofline(*traces, **MODEL)]
    for chart in charts:
        root = parsed(chart)
        assert len(chart.svg()) < 40_000
        assert chart.svg() == chart.svg()
        for path in root.iter(f"{SVG}path"):
            assert not re.search("nan|inf", path.attrib["d"])
        for dot in root.iter(f"{SVG}circle"):
            assert 0 <= float(dot.attrib["cx"]) <= WIDTH
            assert 0 <= float(dot.attrib["cy"]) <= HEIGHT
        words = [text.text for text in root.iter(f"{SVG}text")]
        assert chart.title in words
        assert {s.name for s in chart.series} <= set(words)


def test_lines_differ_by_dash_as_well_as_by_colour(traces: tuple[Trace, Trace]) -> None:
    drawn = [p.attrib for p in parsed(latency_cdf(*traces)).iter(f"{SVG}path") if "stroke-dasharray" in p.attrib]
    assert len(drawn) == len({a["stroke"] for a in drawn}) == len({a["stroke-dasharray"] for a in drawn}) == 2


def test_names_are_text_and_never_markup(traces: tuple[Trace, Trace]) -> None:
    evil = replace(traces[0], meta=replace(traces[0].meta, policy="<script>alert(1)</script>"))
    chart = latency_cdf(evil)
    assert "<script" not in chart.svg()
    assert "<script>alert(1)</script>" in [text.text for text in parsed(chart).iter(f"{SVG}text")]
    assert "<script" not in chart_figure(chart).to_json()


def test_a_notebook_shows_a_still_picture_and_plain_text(traces: tuple[Trace, Trace]) -> None:
    chart = latency_cdf(*traces)
    bundle = chart._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/html"] == image(chart.svg(), repr(chart)[1:-1]), "an image: shown before a notebook is trusted"
    assert bundle["text/plain"].startswith("<Chart 'End-to-end latency'")


def test_it_is_written_to_a_file(traces: tuple[Trace, Trace], tmp_path: Path) -> None:
    chart = latency_cdf(*traces)
    assert chart.to_svg(tmp_path / "cdf.svg").read_text("utf-8") == chart.svg()
    with pytest.raises(MeasureError, match="cannot be written"):
        chart.to_svg(tmp_path / "nowhere" / "cdf.svg")


def column(*values: float) -> Any:
    return np.array(values, np.float64)


@settings(max_examples=60, deadline=None)
@example(x=[0.0, 5e-324], y=5e-324, kind="line")
@example(x=[1e6, 1e6 + 1e-9], y=-1e9, kind="steps")
@given(
    x=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5),
    y=st.floats(-1e9, 1e9),
    kind=st.sampled_from(["line", "steps", "points"]),
)
def test_any_finite_values_can_be_drawn(x: list[float], y: float, kind: Any) -> None:
    chart = Chart("t", "x", "y", (Series("s", column(*sorted(x)), np.full(len(x), y), kind),))
    assert "nan" not in chart.svg()
    parsed(chart)


def test_a_log_axis_shows_whole_decades() -> None:
    chart = Chart("t", "x", "y", (Series("s", column(3, 700), column(2e9, 2e9)),), "log", "log")
    words = [text.text for text in parsed(chart).iter(f"{SVG}text")]
    assert words[2:6] == ["1", "10", "100", "1000"]
    assert {"1G", "10G"} <= set(words)


def test_many_names_take_more_rows() -> None:
    chart = Chart("t", "x", "y", tuple(Series(f"a rather long name {i}", column(1), column(1)) for i in range(8)))
    rows = {t.attrib["y"] for t in parsed(chart).iter(f"{SVG}text") if "rather" in (t.text or "")}
    assert len(rows) >= 2


# ---------------------------------------------------------------- plotly


def test_plotly_gets_the_same_values(traces: tuple[Trace, Trace]) -> None:
    chart = roofline(*traces, **MODEL)
    figure = chart_figure(chart)
    assert len(figure.data) == 3
    for drawn, s in zip(figure.data, chart.series, strict=True):
        np.testing.assert_array_equal(drawn.x, s.x)
        np.testing.assert_array_equal(drawn.y, s.y)
        assert drawn.name == s.name
    assert figure.layout.xaxis.type == "log"
    assert [drawn.mode for drawn in figure.data] == ["markers", "markers", "lines"]


def test_zooming_is_for_a_page_that_shows_widgets(traces: tuple[Trace, Trace], monkeypatch: pytest.MonkeyPatch) -> None:
    chart = latency_cdf(*traces)
    assert chart.zoom() is chart, "no notebook"
    monkeypatch.setattr("cbviz.view.cell.request", lambda: {"content": {"allow_stdin": False}})
    assert chart.zoom() is chart, "nbclient keeps what a cell shows: the still picture"
    monkeypatch.setattr("cbviz.view.cell.request", lambda: {"content": {"allow_stdin": True}})
    live = chart.zoom()
    assert [drawn.name for drawn in live.data] == [s.name for s in chart.series]
    bundle = live._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in (bundle[0] if isinstance(bundle, tuple) else bundle)


def test_without_plotly_the_picture_is_still_there(
    traces: tuple[Trace, Trace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    chart = latency_cdf(*traces)
    assert chart.svg()
    with pytest.raises(MeasureError, match="pip install plotly"):
        chart.zoom()


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda t: latency_cdf(), "at least one trace"),
        (lambda t: occupancy_over_time("run"), "takes only traces"),
        (lambda t: latency_cdf(t, metric="speed"), "no metric 'speed'; choose one of ttft"),
        (lambda t: latency_cdf(scheduled_trace([1], 1), metric="tpot"), "no time per output token"),
        (lambda t: occupancy_over_time(Recorder(meta(1)).trace()), "took no time"),
        (lambda t: throughput_by_variance(Recorder(meta(1)).trace()), "no completed request"),
        (lambda t: kv_over_time(replace(t, meta=replace(t.meta, total_blocks=0))), "has no KV pool"),
        (lambda t: roofline(scheduled_trace([1], 1), **MODEL), "no iteration that only decodes"),
        (lambda t: roofline(t, **{**MODEL, "flops": 0}), "flops must be a finite number above 0"),
        (lambda t: Chart("t", "x", "y", ()), "nothing to draw"),
        (lambda t: Chart("t", "x", "y", (Series("s", column(1, 2), column(1)),)), "cannot be drawn"),
        (lambda t: Chart("t", "x", "y", (Series("s", column(float("nan")), column(1)),)), "cannot be drawn"),
        (lambda t: Chart("t", "x", "y", (Series("s", column(0), column(1)),), "log"), "on a log scale"),
    ],
    ids=range(13),
)
def test_nonsense_is_answered_with_a_sentence(traces: tuple[Trace, Trace], ask: Any, complaint: str) -> None:
    with pytest.raises(MeasureError, match=complaint):
        ask(traces[0])


def test_no_two_lines_look_alike(traces: tuple[Trace, Trace]) -> None:
    """Eight runs draw sixteen lines: colour, dash and width tell them apart."""
    it = traces[0].iterations
    reserving = replace(traces[0], iterations=replace(it, blocks_reserved=np.full(len(it), 50)))
    chart = kv_over_time(*[reserving] * 8)
    looks = {(*s.look(i), s.width) for i, s in enumerate(chart.series)}
    assert len(looks) == len(chart.series) == 16
    many = latency_cdf(*[traces[0]] * 12)
    assert len({s.look(i) for i, s in enumerate(many.series)}) == 12
