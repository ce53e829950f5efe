"""Taking the headline apart: the steps, what is counted instead of timed, forecasts, files, and every refusal."""

from __future__ import annotations

import importlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import cbviz
from cbviz.cli import main
from cbviz.config import EngineConfig
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.errors import CalibrationError, CapacityError, CbvizError, FileError, MeasureError
from cbviz.measure.headline import article_credit, expected_longest, moments, rows_that_fit, theory
from cbviz.models import load
from cbviz.policies import get
from cbviz.run import decompose_sources as running
from cbviz.run.build import build_executor
from cbviz.run.decompose import decompose
from cbviz.run.decompose_costs import A100, A100_ROOFLINE, LADDER_SECONDS, kernel_costs
from cbviz.run.decompose_file import load_decomposition, save_decomposition
from cbviz.run.decompose_measure import StepResult, attention_of, counted, parts_of
from cbviz.run.decompose_plan import (
    BENCHMARKS,
    ORDERS,
    SERVING_SCHEMES,
    DecomposeStep,
    benchmark_of,
    chain,
    checked_names,
    setup_of,
)
from cbviz.run.decompose_result import Decomposition
from cbviz.run.timed_run import Setting
from cbviz.simulator import CostModel, load_cost
from cbviz.view.waterfall import Fall, Waterfall
from cbviz.workload.synthetic import synthetic

ROOT = Path(__file__).resolve().parents[1]
CHAIN = ("dataset_longest", "batch_longest", "iteration_level", "paged")
COST = CostModel(0.02, decode=1e-4, kv_token=5e-7, prefill_token=1e-4, attention=1e-9, name="made up")
FEW = {"benchmark": "small", "requests": 16, "limit": 60.0}


@pytest.fixture(scope="module")
def a100() -> Decomposition:
    """The committed forecast; tests/test_decompose_scripts.py compares it with the simulator."""
    path = ROOT / "benchmarks" / "results" / "decompose" / "forecasts.json"
    said = map(load_decomposition, json.loads(path.read_text("utf-8"))["forecasts"])
    return next(one for one in said if (one.cost, one.benchmark.cap) == (A100, 1_536))


# ------------------------------------------------------------------ the article


def test_the_levels_are_those_of_the_harness() -> None:
    levels, highest = BENCHMARKS["article"]
    assert {cap: (level.batch, level.quota) for cap, level in levels.items()} == {
        32: (16, 8_700), 128: (12, 7_500), 512: (8, 8_100), 1_536: (4, 8_100),
    }  # fmt: skip
    assert (highest.requests, highest.prompt, highest.mean, highest.cap) == (1_000, 512, 128, 1_536)
    for cap, level in levels.items():
        pool = benchmark_of("article", cap=cap).pool
        assert 0.97 < level.quota / pool < 1.03, "the quota is the memory of a static batch"


@pytest.mark.parametrize("cap", [32, 128, 512, 1_536])
def test_a_model_gets_the_work_that_is_simulated(cap: int) -> None:
    made = benchmark_of("article", cap=cap, requests=64, seed=3)
    work, declared = made.workload(1_000), made.workload(1_000, declared=True)
    columns = made.columns()
    assert [request.output_length for request in work] == columns.output_tokens.tolist()
    assert {request.max_new_tokens for request in work} == {cap}
    assert [request.max_new_tokens for request in declared] == [request.output_length for request in declared]
    assert made.columns(declared=True).max_new_tokens.tolist() == columns.output_tokens.tolist()


def test_the_a100_starts_at_the_published_81(a100: Decomposition) -> None:
    now = decompose(simulate=A100, steps=["dataset_longest", "paged"], orders=["schedule_first"])
    assert now.rates("dataset_longest/eager")[1] == pytest.approx(81.0, rel=1e-3)
    for key, result in now.results.items():
        assert a100.results[key].seconds == pytest.approx(result.seconds, rel=1e-9)
        assert a100.results[key].iterations == result.iterations
    assert a100.rates("batch_longest/eager")[1] / a100.rates("dataset_longest/eager")[1] > 3.5, "padding alone"
    assert a100.rates("iteration_level/eager")[0] == pytest.approx(
        a100.output_tokens / a100.results["iteration_level/eager"].seconds
    )
    assert a100.all_tokens == a100.output_tokens + 512_000


def test_the_product_of_the_factors_is_the_total_in_every_order(a100: Decomposition) -> None:
    totals = []
    for order in ORDERS:
        factors = a100.factors(order)
        assert len(factors) == len(a100.chains[order]) - 1
        totals.append(np.prod([factor.ratio for factor in factors]))
        assert totals[-1] == pytest.approx(a100.total(order))
    assert totals[0] == pytest.approx(totals[1])
    low, high = a100.ranges()["fused"]
    assert high > 1.01 * low, "what kernels are worth depends on the order"


def test_request_level_batching_changes_nothing_in_a_burst(a100: Decomposition) -> None:
    factor = next(factor for factor in a100.factors("schedule_first") if factor.name == "request_level")
    assert factor.ratio == pytest.approx(1.0, abs=1e-9)
    assert factor.theory == 1.0


def test_every_row_beyond_pays_less_than_theory_says(a100: Decomposition) -> None:
    """Rows are not free, so what only fills slots wins less than the ratio of useful rows."""
    for factor in a100.factors("schedule_first"):
        if factor.name in ("iteration_level", "lengths_declared", "paged_double"):
            assert factor.theory is not None
            assert 1 < factor.ratio < factor.theory


# ------------------------------------------------------------------ theory


def test_moments_against_the_density() -> None:
    x = np.linspace(0, 512, 200_001)
    density = np.exp(-x / 128)
    density /= np.trapezoid(density, x)
    first, second = moments(128, 512)
    assert first == pytest.approx(np.trapezoid(x * density, x), rel=1e-6)
    assert second == pytest.approx(np.trapezoid(x * x * density, x), rel=1e-6)


def test_the_longest_of_a_batch_against_draws() -> None:
    draws = np.array(benchmark_of("article", cap=512, requests=80_000).columns().output_tokens).reshape(-1, 8)
    assert expected_longest(8, 128, 512) == pytest.approx(draws.max(axis=1).mean(), rel=0.01)


@pytest.mark.parametrize("reserved", [True, False])
def test_rows_that_fit_against_a_schedule(reserved: bool) -> None:
    """Little's law on memory: mean rows in a schedule whose queue never empties."""
    made = benchmark_of("article", cap=512, requests=600)
    setup = setup_of("lengths_declared" if reserved else "paged", made)
    work = made.workload(1_000, declared=True)
    trace = cbviz.schedule(setup.policy, work, slots=setup.slots, block_size=16, kv_blocks=setup.blocks)
    busy = trace.iterations.waiting > 0
    rows = (trace.iterations.decode_slots + trace.iterations.prefill_slots + trace.iterations.stalled_slots)[busy]
    assert rows.mean() == pytest.approx(rows_that_fit(made.pool, 512, 128, 512, reserved=reserved), rel=0.08)


def test_theory_has_a_product_and_gaps() -> None:
    work: dict[str, Any] = {"batch": 4, "prompt": 512, "mean": 128, "cap": 1_536, "longest": 1_030}
    path = ("dataset_longest", "batch_longest", "request_level", "iteration_level", "lengths_declared", "paged")
    values = [theory(a, b, **work) for a, b in itertools.pairwise(path)]
    whole = theory(path[0], path[-1], **work)
    assert None not in values
    assert whole == pytest.approx(np.prod([value or 0 for value in values]))
    assert theory("tgi", "paged", **work) is None
    assert theory("paged", "paged", **work) is None


# ------------------------------------------------------------------ what is counted instead of timed


@pytest.mark.parametrize("scheme", SERVING_SCHEMES)
def test_the_first_part_says_what_the_whole_takes(scheme: str) -> None:
    """On a clock whose costs are linear the counted seconds agree with the whole run, well within 3 %."""
    made = benchmark_of("small", requests=240)
    setup = setup_of(scheme, made)
    trace = cbviz.simulate(
        made.columns(setup.declared), setup.policy, cost=COST, slots=setup.slots, block_size=8, kv_blocks=setup.blocks,
        context_limit=96,
    )  # fmt: skip
    found = counted("a/eager", trace, made, setup, first=True)
    assert found.iterations == len(trace.iterations)
    assert 0 < found.timed_iterations < found.iterations
    assert found.seconds == pytest.approx(trace.seconds, rel=0.03)
    assert found.low <= found.seconds <= found.high


def test_parts_are_batches_or_thirds() -> None:
    made = benchmark_of("small")
    static, refilled = setup_of("dataset_longest", made), setup_of("iteration_level", made)
    longest = int(made.columns().output_tokens.max())
    trace = cbviz.schedule(static.policy, made.workload(99), slots=4, block_size=8, kv_blocks=static.blocks)
    parts = parts_of(trace, True, True)
    assert [(part.start, part.stop) for part in parts] == [(n * longest, (n + 1) * longest) for n in range(3)]
    assert len(parts_of(trace, True, False)) == 12
    trace = cbviz.schedule(refilled.policy, made.workload(99), slots=4, block_size=8, kv_blocks=refilled.blocks)
    parts = parts_of(trace, False, False)
    assert parts[0].start == 0
    assert parts[-1].stop == len(trace.iterations)
    assert len(parts) == 3


# ------------------------------------------------------------------ on a model


def test_tiny_runs_what_is_simulated() -> None:
    schemes = ("dataset_longest", "tgi", "paged_double")
    found = decompose("tiny", device="cpu", benchmark="small", steps=schemes, cap=6, requests=24, limit=60)
    assert set(found.results) == {f"{scheme}/eager" for scheme in schemes}
    assert not found.stopped
    for scheme in schemes:
        setup, result = setup_of(scheme, found.benchmark), found.results[f"{scheme}/eager"]
        work = found.benchmark.workload(99, setup.declared)
        schedule = cbviz.schedule(
            setup.policy, work, slots=setup.slots, block_size=8, kv_blocks=setup.blocks, context_limit=30
        )
        assert result.method == "whole"
        assert result.iterations == len(schedule.iterations)
        assert 0 < result.low <= result.seconds <= result.high
    assert "tiny on cpu in float32" in str(found.sentences()[0])


def test_kernels_that_a_cpu_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "measured", at_once)
    found = decompose("tiny", device="cpu", **FEW)
    assert set(found.results) == {f"{scheme}/eager" for scheme in SERVING_SCHEMES}
    assert [note.key for note in found.notes] == ["decompose.cpu_kernels"]  # type: ignore[attr-defined]


def test_a_run_beyond_the_limit_is_counted(tmp_path: Path) -> None:
    steps = ["dataset_longest", "iteration_level"]
    found = decompose(
        "tiny", device="cpu", benchmark="small", steps=steps, orders=["schedule_first"], limit=1e-6,
        both_ways="iteration_level/eager", save=tmp_path / "d.json",
    )  # fmt: skip
    static, refilled = found.results["dataset_longest/eager"], found.results["iteration_level/eager"]
    longest = int(found.benchmark.columns().output_tokens.max())
    assert (static.method, static.timed_iterations, static.iterations) == ("counted", 3 * longest, 12 * longest)
    assert refilled.whole_seconds is not None
    assert refilled.apart == pytest.approx(refilled.seconds / refilled.whole_seconds - 1)
    assert any("was also run whole" in str(line) for line in found.sentences())
    assert load_decomposition(tmp_path / "d.json").to_json() == json.loads((tmp_path / "d.json").read_text("utf-8"))


def test_an_executor_serves_an_engine_with_fewer_slots() -> None:
    """One executor, as large as the largest step, gives every step the tokens that an executor of its own gives."""
    loaded = load("tiny", device="cpu", dtype="float32", progress=False)
    work = synthetic(3, 3, prompt_tokens=4, vocabulary=loaded.vocabulary)
    wide = EngineConfig(2, 4, 4, backend="graphs", context_limit=8)
    executor = build_executor(loaded, wide, work)
    assert isinstance(executor, GraphExecutor)

    def tokens(config: EngineConfig, executor: Any) -> Any:
        lane = Setting(loaded, get("continuous"), work, config).timed(executor, record=True).lane
        assert lane is not None
        return lane.trace().requests.tokens

    narrow = EngineConfig(1, 2, 4, context_limit=8)
    alone = tokens(narrow, build_executor(loaded, narrow, work))
    before, shared, after = (tokens(config, executor) for config in (wide, replace(narrow, backend="graphs"), wide))
    assert alone == before == shared == after


def test_naive_attention_is_another_kernel_and_the_same_answer() -> None:
    q = torch.randn(1, 2, 5, 8)
    usual = torch.nn.functional.scaled_dot_product_attention(q, q, q)
    with attention_of("naive"), torch.profiler.profile() as seen:
        naive = torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert any("attention_math" in event.key for event in seen.key_averages())
    assert torch.allclose(usual, naive, atol=1e-5)


def test_the_two_by_two() -> None:
    found = decompose(simulate=A100, two_by_two=True)
    assert [step.key for step in found.quadrants] == [
        "batch_longest/eager", "batch_longest/fused", "paged/eager", "paged/fused",
    ]  # fmt: skip
    assert found.chains == {}
    said = next(str(line) for line in found.sentences() if line.key == "decompose.quadrants")
    a, d = found.results["batch_longest/eager"].seconds, found.results["paged/fused"].seconds
    assert f"both together {a / d:.3g}×" in said


# ------------------------------------------------------------------ stopped and resumed


def at_once(key: str, *_: Any, **more: Any) -> StepResult:
    """In place of `measured`, where no time matters: the later the scheme, the faster."""
    seconds = 20.0 - 2 * SERVING_SCHEMES.index(DecomposeStep.of(key).scheme)
    return StepResult(key, seconds, seconds - 0.5, seconds + 0.5, 100, "whole", 300, 3 * seconds)


def test_an_interrupt_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, calls = tmp_path / "d.json", []
    asked: dict[str, Any] = {
        "device": "cpu", "steps": ["batch_longest", "iteration_level", "paged"], "orders": ["schedule_first"],
        "save": target, **FEW,
    }  # fmt: skip

    def interrupted(key: str, *_: Any, **more: Any) -> StepResult:
        calls.append(key)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return at_once(key)

    monkeypatch.setattr(running, "measured", interrupted)
    found = decompose("tiny", **asked)
    assert found.stopped
    assert list(found.results) == list(load_decomposition(target).results) == ["batch_longest/eager"]
    assert any("Interrupted" in str(line) for line in found.sentences())
    whole = decompose("tiny", resume=True, **asked)
    assert calls == ["batch_longest/eager", "iteration_level/eager", "iteration_level/eager", "paged/eager"]
    assert not whole.stopped
    assert whole.results["batch_longest/eager"] == found.results["batch_longest/eager"]
    with pytest.raises(MeasureError, match=r"was measured with another benchmark; resume with the same settings"):
        decompose("tiny", resume=True, **{**asked, "seed": 7})
    with pytest.raises(FileError, match="there is nothing to resume"):
        decompose("tiny", resume=True, **{**asked, "save": tmp_path / "other.json"})
    with pytest.raises(MeasureError, match=r"was measured with a limit of .* seconds; resume with the same\."):
        decompose("tiny", resume=True, **{**asked, "limit": 9.5})
    kept = target.read_bytes()
    with pytest.raises(MeasureError, match=r"d\.json holds a decomposition with 3 steps; pass resume to continue it"):
        decompose("tiny", **asked)
    assert target.read_bytes() == kept


def test_an_interrupt_of_the_first_step_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> StepResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "measured", interrupted)
    target = tmp_path / "d.json"
    target.write_text("something else", "utf-8")
    assert not decompose("tiny", device="cpu", steps=CHAIN, save=target, **FEW).results
    assert target.read_text("utf-8") == "something else"
    main(["decompose", "--device", "cpu", "--save", str(target), "--quiet"])
    assert "The numbers are in" not in "".join(capsys.readouterr())


def test_steps_beside_the_tables_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(running, "measured", at_once)
    only = ["batch_longest/eager", "batch_longest/eager/naive"]
    found = decompose("tiny", device="cpu", only=only, **FEW)
    said = [str(line) for line in found.sentences()]
    assert any(line.startswith("batch_longest/eager/naive: ") and "output tokens/s" in line for line in said)
    assert any(line.startswith("Attention naive instead of fused: ") for line in said)
    assert not any(line.startswith("batch_longest/eager: ") for line in said), "the table has it"
    with pytest.raises(MeasureError, match="both_ways is tgi/eager, which is not among the steps of only"):
        decompose("tiny", device="cpu", only=only, both_ways="tgi/eager", **FEW)
    assert main(["decompose", "--simulate", "--steps", "batch_longest,paged", "--only", "tgi/eager", "--quiet"]) == 0
    assert "tgi/eager: " in capsys.readouterr().out


def test_a_forecast_is_shown_beside_and_must_be_of_the_same_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "measured", at_once)
    asked: dict[str, Any] = {"steps": CHAIN, "orders": ["schedule_first"]}
    said = decompose(benchmark="small", requests=16, simulate=A100, **asked)
    path = save_decomposition(said, tmp_path / "forecast.json")
    found = decompose("tiny", device="cpu", forecast=path, **FEW, **asked)
    for factor, said_before in zip(found.factors("schedule_first"), said.factors("schedule_first"), strict=True):
        assert factor.forecast == pytest.approx(said_before.ratio)
    assert "forecast" in found.table().splitlines()[0]
    assert any("The forecast is of opt-13b on NVIDIA A100" in str(note) for note in found.notes)
    assert found.waterfall().falls[0].forecast is not None
    with pytest.raises(MeasureError, match="a simulation of the same benchmark"):
        decompose(benchmark="small", simulate=A100, forecast=path, **asked)
    with pytest.raises(MeasureError, match="a simulation of the same benchmark"):
        decompose("tiny", device="cpu", forecast=found, **FEW, **asked)


# ------------------------------------------------------------------ costs of kernels


def test_the_kernels_seconds_are_the_ladders() -> None:
    for card, seconds in LADDER_SECONDS.items():
        path = ROOT / "benchmarks" / "results" / f"ladder_{card.lower()}.json"
        ladder = json.loads(path.read_text("utf-8"))["ladder"]
        rungs = [
            one["milliseconds"] / 1e3 for one in ladder if one["model"] == "random:llama-3.1-8b" and one["rows"] == 32
        ]
        assert list(seconds.values()) == pytest.approx([rungs[0], rungs[1], rungs[-1]], abs=5e-6)
    calibrations = importlib.import_module("calibrations")
    bandwidth = calibrations.BANDWIDTH * calibrations.REACHED_BANDWIDTH
    assert pytest.approx(2 * calibrations.PARAMETERS / bandwidth, rel=1e-3) == A100_ROOFLINE


def test_a_calibration_of_ones_own_knows_its_own_kernels() -> None:
    assert list(kernel_costs(COST).costs) == ["eager"]
    found = decompose(benchmark="small", simulate=COST)
    assert list(found.chains) == ["schedule_first"], "with one kind of kernels, both orders are one"
    assert {key.split("/")[1] for key in found.results} == {"eager"}
    assert [note.key for note in found.notes] == ["decompose.one_kind"]  # type: ignore[attr-defined]
    with pytest.raises(CalibrationError, match="the calibration knows the kernels eager"):
        decompose(benchmark="small", simulate=COST, steps=["paged", "tgi", "fused", "eager"])
    llama = kernel_costs(load_cost("h100-llama-3.1-8b"))
    assert llama.derived == ("eager", "graphs")
    assert llama.costs["fused"] == load_cost("h100-llama-3.1-8b")


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ({"steps": ["nonsense"]}, MeasureError, r"a step must be one of dataset_longest, .* not 'nonsense'"),
        ({"steps": ["paged", "paged"]}, MeasureError, "'paged' is given twice"),
        ({"steps": ["dataset_longest"]}, MeasureError, "at least two steps are needed"),
        ({"steps": 7}, MeasureError, "steps must be a list of names"),
        (
            {"orders": ["backwards"]},
            MeasureError,
            "an order must be one of schedule_first, kernels_first, not .backwards.",
        ),
        ({"benchmark": "large"}, MeasureError, "the benchmark must be one of article, small"),
        ({"cap": 100}, MeasureError, "has the caps 32, 128, 512, 1,536, not 100"),
        ({"requests": 0}, MeasureError, "requests must be a whole number of at least 1, not 0"),
        ({"requests": 3}, MeasureError, "at least 16 at a cap of 1,536, four static batches of 4, not 3"),
        ({"requests": 20, "cap": 512}, MeasureError, "at least 32 at a cap of 512, four static batches of 8, not 20"),
        ({"both_ways": "paged"}, MeasureError, "a step is written SCHEME/KERNELS"),
        ({"both_ways": "paged/eager"}, MeasureError, "a simulation runs nothing"),
        ({"limit": 5.0}, MeasureError, "a simulation runs nothing"),
        ({"only": ["paged/eager", "tgi/eager", "paged/eager"]}, MeasureError, "only has the step paged/eager twice"),
        ({"resume": True}, MeasureError, "resume needs save"),
        ({"simulate": "no-such"}, CalibrationError, "there is no calibration no-such"),
        ({"benchmark": benchmark_of("small"), "cap": 72}, MeasureError, "give a Benchmark, or cap"),
    ],
)
def test_nonsense_is_refused(asked: dict[str, Any], kind: type[CbvizError], said: str) -> None:
    with pytest.raises(kind, match=said):
        decompose(**{"simulate": A100, **asked})


def test_what_a_model_or_a_device_cannot_do() -> None:
    with pytest.raises(CapacityError, match=r"tiny has a context of"):
        decompose("tiny", device="cpu", benchmark="article")
    with pytest.raises(MeasureError, match="attention can be naive only in eager kernels"):
        decompose("tiny", device="cpu", both_ways="paged/fused/naive")
    if not torch.cuda.is_available():
        with pytest.raises(CbvizError):
            decompose("tiny", device="cuda")


@pytest.mark.parametrize("text", ["", "[]", '{"format": "cbviz decompositions"}', '{"format": 1}'])
def test_a_file_that_is_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text(text, "utf-8")
    with pytest.raises(MeasureError, match="is no decomposition that this cbviz reads"):
        load_decomposition(path)


@pytest.mark.parametrize("version", [True, 1.0, 2, "1", None])
def test_another_version(version: Any, a100: Decomposition) -> None:
    with pytest.raises(MeasureError, match=f"of version {version!r}; cbviz reads version 1") as caught:
        load_decomposition({**a100.to_json(), "version": version})
    assert str(caught.value).count(".") == 1 + str(version).count(".")


@pytest.mark.parametrize("name", ["settings", "results", "orders", "notes", "versions", "quadrants"])
def test_a_part_that_is_null_or_missing(name: str, a100: Decomposition) -> None:
    content = a100.to_json()
    with pytest.raises(MeasureError, match="a part of it is null, or of another kind than cbviz writes") as caught:
        load_decomposition({**content, name: None})
    assert "NoneType" not in str(caught.value)
    del content[name]
    with pytest.raises(MeasureError, match=f"it lacks '{name}'"):
        load_decomposition(content)


def with_benchmark(found: Decomposition, **changed: Any) -> dict[str, Any]:
    settings: dict[str, Any] = found.to_json()["settings"]
    return {**settings, "benchmark": {**settings["benchmark"], **changed}}


def test_a_damaged_file(tmp_path: Path, a100: Decomposition) -> None:
    for change in (
        {"results": [{**a100.to_json()["results"][0], "seconds": -1}]},
        {"results": [{"step": "paged/eager"}]},
        {"results": [{**a100.to_json()["results"][0], "low": 1e308, "high": 1e308}]},
        {"results": [{**a100.to_json()["results"][0], "low": 2 * a100.to_json()["results"][0]["high"]}]},
        {"results": [{**a100.to_json()["results"][0], "iterations": -5}]},
        {"results": [a100.to_json()["results"][0]] * 2},
        {"settings": with_benchmark(a100, level={"batch": None, "quota": 8100})},
        {"settings": with_benchmark(a100, requests=True)},
        {"settings": with_benchmark(a100, limit="long")},
        {"orders": {"sideways": []}},
        {"settings": {}},
    ):
        with pytest.raises(MeasureError, match="is a damaged decomposition"):
            load_decomposition({**a100.to_json(), **change})
    with pytest.raises(FileError, match="cannot be read"):
        load_decomposition(tmp_path / "none.json")


def test_chains_differ_in_one_thing_a_step() -> None:
    for order in ORDERS:
        steps = chain(order, checked_names(None))
        assert steps[0] == DecomposeStep("dataset_longest", "eager")
        assert steps[-1] == DecomposeStep("paged_double", "fused")
        for before, after in itertools.pairwise(steps):
            assert (before.scheme != after.scheme) + (before.kernels != after.kernels) == 1


# ------------------------------------------------------------------ pictures and the command line


def test_the_waterfall(a100: Decomposition, tmp_path: Path) -> None:
    drawn = a100.waterfall()
    root = ElementTree.fromstring(drawn.svg())
    texts = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
    assert "TGI's rule, padded budget" in texts
    assert any(text.startswith("×4.01") for text in texts)
    assert "每次迭代补充槽位" in a100.waterfall("kernels_first", "zh").svg()
    assert drawn.to_svg(tmp_path / "w.svg").read_text("utf-8") == drawn.svg()
    figure = importlib.import_module("cbviz.view.zoom").waterfall_figure(drawn)
    bars = figure.data[0]
    assert [base + x for base, x in zip(bars.base, bars.x, strict=True)] == pytest.approx(
        [max(bar) for bar in drawn.bars()]
    )
    assert figure.layout.xaxis.type == "log"
    with pytest.raises(MeasureError, match="the orders that were run are"):
        a100.waterfall("sideways")
    with pytest.raises(MeasureError, match="at least two steps"):
        Waterfall("one", (Fall("a", 1.0, (1.0, 1.0)),))
    with pytest.raises(MeasureError, match="needs rates above 0"):
        Waterfall("two", (Fall("a", 1.0, (1.0, 1.0)), Fall("b", 0.0, (1.0, 1.0))))


def test_names_are_shown_as_text() -> None:
    falls = (Fall("<script>", 1.0, (1.0, 1.0)), Fall("b", 2.0, (1.0, 3.0), 2.5))
    assert "<script>" not in Waterfall("<b>", falls).svg()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, picture = tmp_path / "d.json", tmp_path / "d.svg"
    words = ["decompose", "--simulate", "--benchmark", "small", "--quiet", "--save", str(target), "--svg", str(picture)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "TGI's rule, padded budget" in shown
    assert "Simulated with “a100-40gb-opt-13b”; nothing was run." in shown
    assert picture.read_text("utf-8").startswith("<svg")
    assert main([*words[:5], "--json", "--steps", "batch_longest,paged", "--language", "zh"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["settings"]["cost"] == "a100-40gb-opt-13b"
    assert [row["step"] for row in facts["results"]] == ["batch_longest/eager", "paged/eager"]
    assert main(["decompose", "--simulate", "--steps", "nonsense"]) == 2
    assert "a step must be one of" in capsys.readouterr().err


def test_a_result_prints_itself(a100: Decomposition) -> None:
    assert repr(a100) == "<Decomposition of 'article', simulated with a100-40gb-opt-13b: 18 steps>"
    assert "每秒" not in a100.table()
    assert "输出 token/s" in a100.table(language="zh")
    claim = next(str(line) for line in a100.sentences() if line.key.startswith("decompose.claim"))
    assert claim.startswith("A careful claim, with the schedule first: of "), "without spreads the first order"
    assert "refilling slots every iteration 2×" in claim
    one = replace(a100, chains={"kernels_first": a100.chains["kernels_first"]})
    assert any(str(line).startswith("A careful claim: of ") for line in one.sentences())
    short = replace(a100, results=dict(list(a100.results.items())[:3]))
    assert not any(line.key.startswith("decompose.claim") for line in short.sentences())


def test_orders_are_said_to_differ_only_beyond_the_spread(a100: Decomposition) -> None:
    def orders(of: Decomposition) -> list[str]:
        return [str(line) for line in of.sentences() if line.key == "decompose.order"]

    assert orders(a100) == [
        "What a step contributes depends on what came before it: “fused kernels” is worth 1.1× in one order and "
        "1.16× in the other."
    ]
    loose = {key: replace(each, low=each.seconds * 0.9, high=each.seconds * 1.1) for key, each in a100.results.items()}
    assert orders(replace(a100, results=loose)) == []


def test_scheduler_by_kernels_is_said_wherever_its_four_steps_were_run(a100: Decomposition) -> None:
    assert not a100.quadrants
    said = next(str(line) for line in a100.sentences() if line.key == "decompose.quadrants")
    seconds = {key: result.seconds for key, result in a100.results.items()}
    both = seconds["batch_longest/eager"] / seconds["paged/fused"]
    assert said.endswith(f"both together {both:.2f}×.")


def test_the_claim_is_made_in_the_order_that_was_measured_best(a100: Decomposition) -> None:
    assert a100.steadiest == "schedule_first"
    loose = {
        key: replace(each, low=each.seconds * 0.5, high=each.seconds * 2) if key.endswith("/eager") else each
        for key, each in a100.results.items()
    }
    of = replace(a100, results=loose)
    assert of.steadiest == "kernels_first", "only its first step is loose"
    assert any("claim, with kernels first: of" in str(line) for line in of.sentences())
    assert replace(a100, chains={}).steadiest == ""


@pytest.mark.parametrize(("before", "credit"), [("tgi", 23 / 8), ("dataset_longest", None), ("lengths_declared", None)])
def test_the_articles_multiple_stands_only_beside_what_it_is_over(before: str, credit: float | None) -> None:
    assert article_credit("paged", before) == credit
    assert article_credit("iteration_level", "request_level") == 8
    assert article_credit("iteration_level", "tgi") is None
    assert article_credit("fused", before) == 4


def test_options_that_do_not_go_together_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, said in (
        (["--simulate", "--two-by-two", "--svg", str(tmp_path / "x.svg")], "is a table and no waterfall"),
        (["--simulate", "--model", "tiny"], "has the model of its calibration"),
        (["--cost", "h200-opt-13b", "--model", "tiny"], "has the model of its calibration"),
        (["--recorded", "--model", "tiny"], "leave --model out"),
        (["--recorded", "--orders", "sideways"], "an order must be one of"),
    ):
        assert main(["decompose", *words, "--quiet"]) == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_single_step_is_a_table_of_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decompose", "--simulate", "--only", "paged/fused", "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("output tokens/s") == 1
    assert "paged KV cache, same memory" in shown


def test_one_order_of_the_recorded_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decompose", "--recorded", "--orders", "kernels_first"]) == 0
    assert capsys.readouterr().out.count("output tokens/s  ") == 1
