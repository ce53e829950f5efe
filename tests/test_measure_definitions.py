"""Each tool's definitions, recomputed by hand from one run, and the verdict on saturation."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cbviz
from cbviz.errors import MeasureError
from cbviz.measure import (
    Targets,
    by_definition,
    capacity,
    goodput_by_definition,
    knee,
    latencies,
    results_of,
    saturation,
)
from cbviz.measure.definitions import LATENCIES, TOOLS, Moments, Values
from cbviz.measure.saturation import slope
from cbviz.simulator import CostModel, Work
from cbviz.workload import ExponentialClipped, LoadResults, Poisson, Served, read_results

RESULTS = Path(__file__).parent / "load_results"


def run(name: str) -> LoadResults:
    return read_results(RESULTS / name)[0]


def table(results: LoadResults) -> dict[tuple[str, str], Any]:
    return {(row.metric, row.tool): row for row in by_definition(results)}


def two() -> LoadResults:
    """Two requests: 1 + 4 tokens over 0.4 s after 0.1 s, kept back for 0.05 s; one token after 0.3 s."""
    return LoadResults(
        "vllm-bench",
        "two",
        (
            Served("a", 0.0, 0.05, 0.15, 0.55, 0.56, 9, 5, (0.1, 0.1, 0.2), first_chunk=2),
            Served("b", 1.0, 1.0, 1.3, 1.3, 1.31, 9, 1, ()),
        ),
        duration=2.0,
    )


@pytest.mark.parametrize(
    ("metric", "tool", "mean"),
    [
        ("ttft", "cbviz", (0.15 + 0.3) / 2),
        ("ttft", "vllm-bench", (0.1 + 0.3) / 2),
        ("ttft", "inference-perf", 0.1),
        ("tpot", "vllm-bench", 0.4 / 4),
        ("tpot", "aiperf", 0.4 / 3),
        ("tpot", "guidellm", (0.5 + 0.3) / 6),
        ("itl", "vllm-bench", 0.4 / 3),
        ("itl", "guidellm", 0.1),
        ("e2el", "cbviz", (0.55 + 0.3) / 2),
        ("e2el", "vllm-bench", (0.5 + 0.3) / 2),
        ("e2el", "guidellm", (0.51 + 0.31) / 2),
    ],
)
def test_definitions_by_hand(metric: str, tool: str, mean: float) -> None:
    assert table(two())[metric, tool].mean == pytest.approx(mean)


@pytest.mark.parametrize(
    ("targets", "good"),
    [
        (Targets(ttft=0.2), {"cbviz": 1, "vllm-bench": 1, "aiperf": 1, "guidellm": 1, "inference-perf": 1}),
        (Targets(ttft=0.12), {"cbviz": 0, "vllm-bench": 1, "aiperf": 1, "guidellm": 1, "inference-perf": 1}),
        (Targets(tpot=0.11), {"cbviz": 2, "vllm-bench": 2, "aiperf": 0, "guidellm": 1, "inference-perf": 1}),
        (Targets(e2el=0.505), {"cbviz": 1, "vllm-bench": 2, "aiperf": 2, "guidellm": 1, "inference-perf": 1}),
    ],
)
def test_goodput_by_hand(targets: Targets, good: dict[str, int]) -> None:
    found = goodput_by_definition(two(), targets)
    span = 1.31 - 0.05
    seconds = {"cbviz": 2.0, "vllm-bench": 2.0, "guidellm": 2.0, "aiperf": span, "inference-perf": span}
    assert {tool: round(found[tool] * seconds[tool]) for tool in good} == good


def test_vllms_own_numbers_follow_from_its_requests() -> None:
    """The file has the means that vLLM's formulas give."""
    results = run("vllm_bench.json")
    found = table(results)
    for metric in LATENCIES:
        row = found[metric, "vllm-bench"]
        for statistic, value in (("mean", row.mean), ("median", row.median), ("p99", row.p99)):
            assert value * 1e3 == pytest.approx(results.reported[f"{statistic}_{metric}_ms"], rel=1e-6)


def test_the_tools_own_values_of_each_request() -> None:
    """AIPerf, GuideLLM and inference-perf wrote their own metrics into the fixtures: the same come out here."""
    lines = [json.loads(line) for line in (RESULTS / "aiperf.jsonl").read_text().splitlines()]
    own = [
        line["metrics"]["inter_token_latency"]["value"] for line in lines if "inter_token_latency" in line["metrics"]
    ]
    assert table(run("aiperf.jsonl"))["tpot", "aiperf"].mean * 1e3 == pytest.approx(float(np.mean(own)), rel=1e-6)

    report = json.loads(gzip.decompress((RESULTS / "guidellm.json.gz").read_bytes()))
    requests = report["benchmarks"][0]["requests"]["successful"]
    found = table(run("guidellm.json.gz"))
    tokens = [r["output_tokens"] for r in requests]
    tpot = float(np.average([r["time_per_output_token_ms"] for r in requests], weights=tokens))
    assert found["tpot", "guidellm"].mean * 1e3 == pytest.approx(tpot, rel=1e-6)
    several = [r for r in requests if r["output_tokens"] > 1]
    itl = np.average([r["inter_token_latency_ms"] for r in several], weights=[r["output_tokens"] - 1 for r in several])
    assert found["itl", "guidellm"].mean * 1e3 == pytest.approx(float(itl), rel=1e-6)
    latency = float(np.mean([r["request_latency"] for r in requests]))
    assert found["e2el", "guidellm"].mean == pytest.approx(latency, rel=1e-6)

    entries = json.loads(gzip.decompress((RESULTS / "inference_perf.json.gz").read_bytes()))
    computed = [entry["computed_metrics"] for entry in entries if entry["error"] is None]
    found = table(run("inference_perf.json.gz"))
    for metric, own_name in (
        ("ttft", "time_to_first_token"),
        ("tpot", "time_per_output_token"),
        ("e2el", "request_latency"),
    ):
        known = [entry[own_name] for entry in computed if entry[own_name] is not None]
        row = found[metric, "inference-perf"]
        assert (row.count, row.mean) == (len(known), pytest.approx(float(np.mean(known)), rel=1e-6))
    gaps = [gap for entry in computed for gap in entry["inter_token_latencies"]]
    assert found["itl", "inference-perf"].mean == pytest.approx(float(np.mean(gaps)), rel=1e-6)


def test_a_trace_agrees_with_cbviz_own_latencies() -> None:
    for trace in cbviz.recorded("smollm2-8"):
        own, found = latencies(trace), table(results_of(trace))
        for metric, values in (("ttft", own.ttft), ("tpot", own.tpot), ("itl", own.itl), ("e2el", own.e2el)):
            known = values[~np.isnan(values)]
            row = found[metric, "cbviz"]
            assert row.count == len(known)
            assert row.mean == pytest.approx(float(known.mean()))
            assert row.p99 == pytest.approx(float(np.percentile(known, 99)))


def test_every_rule_has_a_sentence() -> None:
    for row in by_definition(two()):
        assert str(row.rule)
        assert row.tool in TOOLS
        assert row.rule.in_language("zh") != str(row.rule)


def test_weighted_percentiles() -> None:
    values = Values(np.array([3.0, 1.0, 2.0, math.nan]), np.array([1.0, 1.0, 2.0, 5.0]))
    assert values.mean() == pytest.approx((3 + 1 + 4) / 4)
    assert [values.percentile(p) for p in (25, 50, 75, 76)] == [1.0, 2.0, 2.0, 3.0]
    assert math.isnan(Values(np.array([math.nan])).mean())


def test_a_run_without_answers_is_refused() -> None:
    failed = LoadResults("aiperf", "x", (Served("0", 0.0, 0.0, None, None, None, 5, 0, error="refused"),))
    for ask in (by_definition, lambda r: goodput_by_definition(r, Targets(ttft=1))):
        with pytest.raises(MeasureError, match="no request of x was served"):
            ask(failed)
    with pytest.raises(MeasureError, match="a run is needed"):
        by_definition(5)  # type: ignore[arg-type]
    with pytest.raises(MeasureError, match="targets must be Targets"):
        goodput_by_definition(two(), 5)  # type: ignore[arg-type]
    assert len(Moments.of(two()).sent) == 2


# ------------------------------------------------------------------ saturation


def served(load: float, seed: int, requests: int = 400) -> LoadResults:
    """A simulated run on 8 slots, at a load as a share of what they can serve."""
    mean = float(np.mean(ExponentialClipped(20, 100).draw(__import__("random").Random(0), 20_000)))
    rate = load * 8 / (mean * 0.02)
    work = Work.draw(requests, ExponentialClipped(20, 100), Poisson(rate), prompt_tokens=10, seed=seed)
    found = cbviz.forecast(work, "continuous", cost=CostModel(iteration=0.02), slots=8)
    columns = zip(found.arrival, found.first_token, found.finished, found.output_tokens, strict=True)
    rows = [Served(str(n), a, a, f, e, e, 10, int(o)) for n, (a, f, e, o) in enumerate(columns)]
    return LoadResults("cbviz", "simulated", tuple(rows))


@pytest.mark.parametrize(("load", "least", "most"), [(0.4, 0, 1), (0.7, 0, 1), (1.4, 10, 10)])
def test_a_busy_server_is_not_an_over_saturated_one(load: float, least: int, most: int) -> None:
    verdicts = [saturation(served(load, seed)).verdict for seed in range(10)]
    assert least <= verdicts.count("over-saturated") <= most


def test_the_real_run_was_over_saturated() -> None:
    """Ten requests a second into a server that completes 1.6: vLLM 0.19 on an RTX 4090."""
    found = saturation(run("vllm_server_rtx4090.jsonl.gz"))
    assert found.verdict == "over-saturated"
    assert found.in_rate == pytest.approx(10.3, abs=0.1)
    assert found.out_rate == pytest.approx(1.63, abs=0.01)


def test_what_cannot_be_judged_says_why() -> None:
    assert saturation(run("vllm_bench.json")).why == "few"
    assert saturation(run("vllm_bench_old.json")).why == "no times"
    assert saturation(results_of(cbviz.recorded("smollm2-8")[1])).why == "at once"


def test_a_slope_and_its_interval() -> None:
    """numpy's own fit, and Student's t at 8 degrees of freedom (2.306)."""
    rng = np.random.default_rng(1)
    x = np.arange(10.0)
    y = 0.5 * x + rng.normal(size=10)
    found = slope(x, y)
    (line, _), covariance = np.polyfit(x, y, 1, cov=True)
    assert found.per_second == pytest.approx(line)
    assert found.margin == pytest.approx(2.306 * math.sqrt(covariance[0, 0]), rel=1e-3)
    assert not slope(x, -x).rises
    for wrong in ([1, 1, 1], [0, 1], [0, 1, math.nan]):
        with pytest.raises(MeasureError, match="a slope needs"):
            slope(wrong, [1, 2, 3][: len(wrong)])


# ------------------------------------------------------------------ knees


def test_capacity_and_knee() -> None:
    rates, waits = [4, 1, 2, 8], [0.5, 0.1, 0.1, 5.0]
    assert capacity(rates, waits, 0.3) == pytest.approx(3.0)
    assert capacity(rates, waits, 10) == 8
    assert capacity(rates, waits, 0.01) == 0
    assert knee(rates, waits) == 4
    assert knee([1, 2, 3], [1, 1, 1]) is None
    for ask in (lambda: capacity([], [], 1), lambda: capacity([1], [1, 2], 1), lambda: knee([1, 2], [1, 2])):
        with pytest.raises(MeasureError):
            ask()
    with pytest.raises(MeasureError, match="each rate may occur once"):
        capacity([1, 1], [1, 2], 1)
