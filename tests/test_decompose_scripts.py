"""The scripts, the shipped results and the page about 23×: what they say is what the code computes."""

from __future__ import annotations

import importlib
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbviz.cli import main
from cbviz.errors import MeasureError, TraceError
from cbviz.measure.compare import check_same_work
from cbviz.measure.verdict import verdict
from cbviz.run.decompose import decompose
from cbviz.run.decompose_file import load_decomposition, recorded_decomposition
from cbviz.run.decompose_plan import KERNELS, ORDERS, DecomposeStep, chain, checked_names
from cbviz.run.decompose_result import Decomposition
from cbviz.simulator import load_cost
from cbviz.trace.recordings import COMPARISONS, ENGINES, compared
from cbviz.view.load_charts import quantile_cdf

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "where-23x.md").read_text("utf-8")


@pytest.fixture(scope="module")
def forecasts() -> dict[tuple[str, int], Decomposition]:
    said = json.loads((RESULTS / "decompose" / "forecasts.json").read_text("utf-8"))["forecasts"]
    return {(one.cost, one.benchmark.cap): one for one in map(load_decomposition, said)}


def test_the_forecasts_are_whole(forecasts: dict[tuple[str, int], Decomposition]) -> None:
    script = importlib.import_module("decompose_runs")
    assert set(forecasts) == {(cost, cap) for cost in script.COSTS for cap in (32, 128, 512, 1_536)}
    for said in forecasts.values():
        assert set(said.results) == {step.key for order in ORDERS for step in chain(order, checked_names(None))}
        totals = [said.total(order) for order in ORDERS]
        assert totals[0] == pytest.approx(totals[1])


def test_a_forecast_is_what_the_simulator_says(forecasts: dict[tuple[str, int], Decomposition]) -> None:
    now = decompose(simulate="h100-opt-13b-derived", cap=32, steps=["batch_longest", "iteration_level", "eager"])
    for key, result in now.results.items():
        assert forecasts["h100-opt-13b-derived", 32].results[key].seconds == pytest.approx(result.seconds, rel=1e-9)


def test_the_derived_h100_is_the_roofline_and_one_measured_run() -> None:
    cost = load_cost("h100-opt-13b-derived")
    assert cost.origin is not None
    assert cost.origin.method == "derived"
    found = json.loads((RESULTS / "opt13b_16_h100.json").read_text("utf-8"))
    assert cost.kv_token == pytest.approx(819_200 / found["rates"]["bandwidth"])
    script = importlib.import_module("calibrations")
    roofline = script.opt_roofline(found["rates"]["bandwidth"], found["rates"]["flops"])
    assert 0 < cost.iteration - roofline.iteration < 0.003


def test_the_page_has_the_simulators_tables(forecasts: dict[tuple[str, int], Decomposition]) -> None:
    a100, h100 = (forecasts[cost, 1_536] for cost in ("a100-40gb-opt-13b", "h100-opt-13b-derived"))
    for said, order in ((a100, "schedule_first"), (a100, "kernels_first"), (h100, "schedule_first")):
        assert said.table(order) in PAGE
    assert (ROOT / "docs" / "waterfall-a100.svg").read_text("utf-8") == a100.waterfall().svg()
    for cap in (32, 128, 512, 1_536):
        totals = [forecasts[cost, cap].total("schedule_first") or 0 for cost in (a100.cost, h100.cost)]
        batch = a100.benchmark.level.batch if cap == 1_536 else forecasts[a100.cost, cap].benchmark.level.batch
        assert f"| {cap:,} | {batch} | {totals[0]:.1f} | {totals[1]:.1f} |" in PAGE
    assert f"{a100.rates('tgi/eager')[1]:,.0f} tokens a second" in PAGE


def test_the_plan_covers_every_step_and_begins_with_the_two_by_two() -> None:
    script = importlib.import_module("decompose_runs")
    steps = [DecomposeStep.of(key) for key in script.PLAN]
    needed = {step for order in ORDERS for step in chain(order, checked_names(None))}
    assert needed <= set(steps)
    assert len(set(steps)) == len(steps)
    assert {"batch_longest/eager", "batch_longest/fused", "paged/eager", "paged/fused"} <= set(script.PLAN[:8])
    kernels = [step.kernels for step in steps]
    assert sum(a != b and b == "fused" for a, b in itertools.pairwise(kernels)) == 1, "captured once"
    assert script.BOTH_WAYS in script.PLAN


def test_the_driver_keeps_every_step_and_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script, out = importlib.import_module("decompose_runs"), tmp_path / "run.json"
    asked = ["--out", str(out), "--model", "tiny", "--benchmark", "small", "--requests", "16", "--device", "cpu"]
    plan = "iteration_level/eager,batch_longest/eager"
    assert script.main([*asked, "--only", plan, "--seconds", "0.000001"]) == 0
    assert "is left for another time" in capsys.readouterr().out
    assert not out.exists()
    assert script.main([*asked, "--only", plan.split(",")[0]]) == 0
    assert list(load_decomposition(out).results) == ["iteration_level/eager"]
    before = load_decomposition(out).results["iteration_level/eager"]
    assert script.main([*asked, "--only", plan]) == 0
    found = load_decomposition(out)
    assert list(found.results) == plan.split(",")
    assert found.results["iteration_level/eager"] == before


def test_latency_on_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = importlib.import_module("latency")
    monkeypatch.setattr(script, "RUN_SHARES", (0.5,))
    sizes = ["--slots", "4", "--prompt", "8", "--cap", "8", "--mean", "4", "--kv-tokens", "64", "--block-size", "4"]
    out = ["--out", str(tmp_path), "--model", "tiny", "--device", "cpu", "--requests", "6", "--rate", "50"]
    assert script.main(["--run", *out, *sizes, "--seconds", "1e-9"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert script.main(["--run", *out, *sizes]) == 0
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(script.RUN_POLICIES) * len(script.RUN_SHARES)
    run = json.loads(files[0].read_text("utf-8"))["run"]
    assert run["requests"] == 6
    assert run["quantiles"]["ttft"] == sorted(run["quantiles"]["ttft"])
    times = [path.stat().st_mtime_ns for path in files]
    files[0].unlink()
    assert script.main(["--run", *out, *sizes]) == 0
    assert [path.stat().st_mtime_ns for path in files][1:] == times[1:], "what was there is kept"


@pytest.mark.parametrize("file", ["latency.json", "latency_h200.json"])
def test_the_shipped_latencies(file: str, tmp_path: Path) -> None:
    script = importlib.import_module("latency")
    found = json.loads((RESULTS / file).read_text("utf-8"))
    rows = found["rows"]
    assert [(row["policy"], row["share"]) for row in rows] == [(p, s) for p in script.POLICIES for s in script.SHARES]
    assert all(100 <= row["requests"] <= 5_000 for row in rows)
    for row in rows:
        for name, values in row["quantiles"].items():
            assert values == sorted(values)
            assert row[f"p50_{name}"] == pytest.approx(values[len(values) // 2], rel=1e-3)
    p99 = {(row["policy"], row["share"]): row["p99_ttft"] for row in rows}
    saturated = {(row["policy"], row["share"]): row["saturated"] for row in rows}
    readme = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    if file == "latency_h200.json":
        assert f"{p99['vllm_v1', 0.5]:.2g} s with it, {p99['tgi', 0.5]:.2g} s" in readme.replace("\n", " ")
    assert saturated["static", 0.5]
    assert not saturated["vllm_v1", 0.5]
    script.draw(RESULTS / file, tmp_path)
    assert len(list(tmp_path.glob("*.svg"))) == 9


def test_quantiles_as_a_distribution() -> None:
    chart = quantile_cdf({"static": [1.0, 2.0, 5.0]}, metric="ttft")
    assert chart.x_scale == "log"
    assert np.array_equal(chart.series[0].y, [0.0, 0.5, 1.0])
    bad: list[Any] = [{}, {"a": [1.0]}, {"a": [0.0, 1.0]}, {"a": [2.0, 1.0]}, {"a": [1.0, float("nan")]}, "a"]
    for given in bad:
        with pytest.raises(MeasureError):
            quantile_cdf(given)
    with pytest.raises(MeasureError, match="metric"):
        quantile_cdf({"a": [1.0, 2.0]}, metric="speed")


@pytest.mark.parametrize("name", COMPARISONS)
def test_engines_did_the_same_work(name: str) -> None:
    ours, *others = compared(name)
    assert others
    for trace in others:
        check_same_work(ours, trace)
        assert list(map(len, trace.requests.tokens)) == list(map(len, ours.requests.tokens))
        assert (trace.meta.device, trace.meta.model) == (ours.meta.device, ours.meta.model)
        assert {"cbviz", "torch", "transformers"} <= set(trace.meta.versions) or "vllm" in trace.meta.versions
        if name == "engines-tiny":
            assert trace.requests.tokens == ours.requests.tokens


def test_an_engine_s_limit_may_be_the_length_that_others_are_forced_to() -> None:
    ours, _, theirs, driven = compared("engines-llama-8b")
    assert set(theirs.requests.max_new_tokens) != set(ours.requests.max_new_tokens)
    check_same_work(ours, theirs)
    shorter = replace(theirs.requests, tokens=(theirs.requests.tokens[0][:-1], *theirs.requests.tokens[1:]))
    with pytest.raises(MeasureError, match="request 0 is not the same in both"):
        check_same_work(ours, replace(theirs, requests=shorter))
    found = verdict(ours, theirs, driven)
    assert found.doubt != "other_work"
    assert any("901 iterations" in sentence for sentence in found.sentences)


def test_the_page_has_the_engines_as_they_ran() -> None:
    page = (ROOT / "docs" / "engines.md").read_text("utf-8")
    found = json.loads((ROOT / "benchmarks" / "results" / "vllm_on_board_h200.json").read_text("utf-8"))["found"]
    for name, trace in zip(ENGINES, compared("engines-llama-8b"), strict=True):
        assert len(trace.iterations) == found[name]["iterations"]
        cells = f"| {len(trace.iterations)} | {three_digits(trace.seconds)} | {trace.tokens_per_second:,.0f} |"
        assert cells in page
        assert trace.requests.arrival.min() == 0, "the run begins with its first request"
    for name, trace in zip(("vllm", "smallest_first"), compared("engines-llama-8b")[2:], strict=True):
        (call,) = found[name]["seconds"]
        assert 0 < call - trace.seconds < 0.02, "vLLM's own call begins before its first request, and ends later"
        assert f"{call:.2f} s" in page
    driven = found["smallest_first"]["same_schedule_as_cbviz"]
    assert driven["admitted_in_the_same_order"]
    assert "{} iterations where cbviz's schedule takes {}".format(*driven["iterations"]) in page.replace("\n", " ")


def three_digits(seconds: float) -> str:
    """4.7 or 69."""
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"


def test_a_comparison_on_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "engines.html"
    assert main(["replay", "engines-tiny", "--html", str(page)]) == 0
    assert "All 32 answers are the same, token by token." in capsys.readouterr().out
    assert page.stat().st_size > 100_000
    with pytest.raises(TraceError, match="there is no comparison 'gpu'; there are engines-tiny, engines-llama-8b"):
        compared("gpu")


def test_a_comparison_is_written_only_if_the_answers_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = importlib.import_module("compared_runs")
    ours, theirs = compared("engines-tiny")
    monkeypatch.setattr(script, "record", lambda *_: {"cbviz": ours, "transformers": theirs})
    assert script.main(["--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.iterdir())) == 2
    other = tmp_path / "other.cbviz"
    importlib.import_module("cbviz").recorded("smollm2-8")[0].save(other)
    assert script.main(["--out", str(tmp_path / "new"), "--vllm", str(other)]) == 1
    assert not (tmp_path / "new").exists()


def test_the_page_has_the_measured_table() -> None:
    found = recorded_decomposition()
    for order in found.chains:
        assert found.table(order) in PAGE
    drawn = (ROOT / "docs" / "waterfall-h200.svg").read_text("utf-8")
    assert drawn == found.waterfall("kernels_first").svg()
    assert "e+" not in drawn
    factors = {factor.name: factor for factor in found.factors("kernels_first")}
    schedule = math.prod(factor.ratio for name, factor in factors.items() if name not in KERNELS)
    memory = math.prod(factors[name].ratio for name in ("lengths_declared", "tgi", "paged", "paged_double"))
    paging = factors["tgi"].ratio * factors["paged"].ratio
    said = PAGE.replace("\n", " ")
    assert f"it is {schedule:.1f}×" in said
    assert f"longest output is worth {factors['batch_longest'].ratio:.2f}×" in said
    assert f"every iteration {factors['iteration_level'].ratio:.2f}×" in said
    assert f"twice the memory, {memory:.2f}× together" in said
    assert f"paging in the same memory is worth {paging:.2f}×" in said
    kernels = math.prod(factor.ratio for name, factor in factors.items() if name in KERNELS)
    assert f"bring the other {kernels:.2f}×" in said
    seconds = {key: result.seconds for key, result in found.results.items()}
    for scheme in ("batch_longest", "paged"):
        eager, fused = seconds[f"{scheme}/eager"], seconds[f"{scheme}/fused"]
        assert f"| {eager:,.0f} | {fused:,.0f} | {eager / fused:.2f}× |" in PAGE
    for name in KERNELS[1:]:
        assert f"{factors[name].forecast:.2f}×" in said
        assert f"measured {factors[name].ratio:.2f}×" in said
    errors = [factor.forecast / factor.ratio - 1 for name, factor in factors.items() if name not in KERNELS]
    assert max(map(abs, errors)) < 0.026
    apart = found.results["paged_double/fused"].apart
    assert apart is not None
    assert f"agree within {abs(apart):.1%}".replace("%", " %") in said


def test_the_page_has_what_naive_attention_costs() -> None:
    found, said = recorded_decomposition("opt-13b-attention-h200"), PAGE.replace("\n", " ")
    fused, naive = (found.results[f"batch_longest/eager{end}"] for end in ("", "/naive"))
    assert fused.iterations == naive.iterations
    assert f"{naive.seconds:,.0f} seconds with naive attention and {fused.seconds:,.0f} with fused" in said
    ratio, low, high = naive.seconds / fused.seconds, naive.low / fused.high, naive.high / fused.low
    assert f"{ratio:.2f}× ({low:.2f} to {high:.2f} between batches)" in said
    assert f"{fused.seconds:,.0f} and the table's" in said


def test_the_ledger_is_what_the_files_say() -> None:
    assert importlib.import_module("ledger").main(["--check"]) == 0


def test_the_recorded_one_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "fall.svg"
    assert main(["decompose", "--recorded", "--svg", str(picture)]) == 0
    found, shown = recorded_decomposition(), capsys.readouterr().out
    for order in found.chains:
        assert found.table(order) in shown
    assert "Attention naive instead of fused: 1.75 times the time" in shown
    assert found.steadiest == "kernels_first"
    assert picture.read_text("utf-8") == (ROOT / "docs" / "waterfall-h200.svg").read_text("utf-8")
    assert main(["decompose", "--recorded", "--cap", "32"]) == 2
    assert "leave --cap out" in capsys.readouterr().err
    known = "there is opt-13b-h200, opt-13b-attention-h200"
    with pytest.raises(MeasureError, match=rf"there is no recorded decomposition 'opt-66b'; {known}\."):
        recorded_decomposition("opt-66b")
    with pytest.raises(MeasureError, match=rf"{known}; cbviz\.recorded knows it\."):
        recorded_decomposition("llama-8b-32")
