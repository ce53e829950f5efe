"""Cost models: fitted coefficients are the true ones, files are read or refused, and what cannot be known is said."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cbviz
from cbviz.errors import CalibrationError, FileError
from cbviz.measure.iteration_work import iteration_work
from cbviz.run.calibrate import calibrate
from cbviz.run.calibrate_times import calibrate_times
from cbviz.simulator import CostModel, Extent, HeldOut, Origin, Work, load_cost, save_cost, shipped
from cbviz.simulator.cost import COEFFICIENTS
from cbviz.simulator.cost_file import from_text, to_text
from cbviz.trace import Trace
from cbviz.workload import Poisson, Uniform

TRUE = CostModel(5e-3, 1e-5, 3e-8, 2e-5, 4e-9, 1e-3, name="true")


def run(policy: str, seed: int = 1, cost: CostModel = TRUE, slots: int = 12, n: int = 60) -> Trace:
    work = Work.draw(n, Uniform(1, 60), Poisson(40), prompt_tokens=Uniform(2, 400), seed=seed)
    return cbviz.simulate(work, policy, cost=cost, slots=slots)


def test_the_coefficients_that_made_the_times_are_found() -> None:
    """Prompts taken in whole: a trace then says exactly what every iteration computed."""
    found = calibrate([run("continuous"), run("static", 2)], simulated=True)
    assert np.allclose(found.coefficients, TRUE.coefficients, rtol=1e-6)
    origin = found.origin
    assert origin is not None
    assert origin.held_out is not None
    assert origin.held_out.requests > 10
    assert max(origin.held_out.ttft or 0, origin.held_out.tpot or 0, origin.held_out.e2e or 0) < 1e-6
    assert len(origin.traces) == 2
    assert len(origin.notes) == 1  # that they were simulated


def test_work_of_an_iteration_is_what_the_executor_was_given() -> None:
    """The trace's features times the coefficients are its seconds, held rows and recomputed ones included."""
    for policy, blocks in (("static", None), ("continuous", None), ("vllm_v0", 14)):
        work = Work.draw(30, Uniform(1, 40), prompt_tokens=Uniform(2, 60), seed=3)
        trace = cbviz.simulate(work, policy, cost=TRUE, slots=6, kv_blocks=blocks)
        found = iteration_work(trace)
        seconds = TRUE.seconds(*found.columns().T)
        assert np.allclose(seconds, trace.iterations.t_end - trace.iterations.t_start), policy
        assert (policy != "vllm_v0") or trace.requests.preemptions.sum() > 0


def test_chunks_of_a_span_sum_up() -> None:
    """How a prompt was cut is not in a trace; the tokens of an iteration are, and so is their sum."""
    trace = run("sarathi", slots=4)
    found = iteration_work(trace)
    it = trace.iterations
    assert found.prefill_tokens.sum() + found.decodes.sum() == pytest.approx(
        (it.prefill_tokens + it.recompute_tokens + it.decode_slots + it.held_slots).sum()
    )
    assert (found.context >= 0).all()


def test_a_coefficient_that_cannot_be_identified_is_said() -> None:
    work = Work.draw(40, 20, prompt_tokens=64, seed=1)
    trace = cbviz.simulate(work, "static", cost=TRUE, slots=8)
    found = calibrate(trace, simulated=True)
    assert found.decode == found.attention == 0
    origin = found.origin
    assert origin is not None
    for name in ("decode", "attention"):
        assert any(note.startswith(f"{name} could not be separated") for note in origin.notes)
    predicted = cbviz.simulate(work, "static", cost=found, slots=8)
    assert predicted.seconds == pytest.approx(trace.seconds, rel=1e-6)


def test_a_coefficient_that_the_fit_leaves_at_0_is_said() -> None:
    """Every coefficient that is 0 has a note, in new calibrations and in those that ship."""
    fitted = [calibrate(cbviz.recorded("smollm2-8")), calibrate(run("continuous"), simulated=True)]
    shipping = [
        cost for cost in map(load_cost, shipped()) if cost.origin is not None and cost.origin.method == "fitted"
    ]
    zeros = 0
    for cost in fitted + shipping:
        assert cost.origin is not None
        for name in COEFFICIENTS:
            noted = [note for note in cost.origin.notes if note.startswith(f"{name} ")]
            zeros += len(noted)
            assert len(noted) == (getattr(cost, name) == 0), (cost.name, name)
    assert zeros > 8
    assert any(note.startswith("decode came out as 0, the least that is allowed") for note in fitted[0].origin.notes)  # type: ignore[union-attr]


def test_a_run_counts_once(tmp_path: Path) -> None:
    one, other = run("continuous"), run("static", 2)
    one.save(tmp_path / "a.cbviz")
    with pytest.raises(CalibrationError, match="traces 2 and 3 are the same run, and a run counts once; leave one out"):
        calibrate([other, one, cbviz.load(tmp_path / "a.cbviz")], simulated=True)


def test_traces_that_nothing_can_be_fitted_to_are_refused() -> None:
    work = Work.draw(3, 4, prompt_tokens=4)
    short = cbviz.simulate(work, "continuous", cost=TRUE)
    free = cbviz.schedule("continuous", Work.draw(30, 9, prompt_tokens=4).workload(), seconds=0.0)
    other = run("continuous")
    other = replace(other, meta=replace(other.meta, device="another"))
    for given, sentence in (
        ([], "one or more Traces"),
        (["x"], "one or more Traces"),
        (short, "needs at least 20"),
        (free, "no times to fit"),
        ([run("continuous"), other], "more than one device"),
    ):
        with pytest.raises(CalibrationError, match=sentence):
            calibrate(given, simulated=True)  # type: ignore[arg-type]


def test_simulated_times_are_fitted_to_only_on_request() -> None:
    trace = cbviz.simulate(Work.draw(40, 20, prompt_tokens=64, seed=1), "static", cost=TRUE, slots=8)
    with pytest.raises(CalibrationError, match=r"1 of the 2 traces were simulated by the cost model .*simulated=True"):
        calibrate([cbviz.recorded("smollm2-8")[0], trace])
    with pytest.raises(CalibrationError, match=r"more than one engine \(cbviz, transformers 5\.[\d.]+\); a cost model"):
        calibrate(cbviz.trace.compared("engines-tiny"))
    for engine in cbviz.trace.compared("engines-tiny"):
        assert calibrate(engine).iteration > 0
    assert not any("simulated" in note for note in calibrate(cbviz.recorded("smollm2-8")).origin.notes)  # type: ignore[union-attr]
    notes = calibrate(trace, simulated=True).origin.notes  # type: ignore[union-attr]
    assert notes[0].startswith("Fitted to simulated times: 1 of 1 traces were made by the cost model ")
    with pytest.raises(CalibrationError, match="simulated must be True or False"):
        calibrate(trace, simulated=1)  # type: ignore[arg-type]


def test_times_of_requests_alone_are_enough() -> None:
    """What a load generator writes: first and last token of each request, on an engine whose policy is known."""
    true = CostModel(0.01, kv_token=2e-7, prefill_token=5e-5)
    work = Work.draw(80, Uniform(5, 60), Poisson(30), prompt_tokens=Uniform(20, 300), seed=8)

    def simulated(cost: CostModel) -> Trace:
        return cbviz.simulate(work, "vllm_v1", cost=cost, slots=16)

    real = cbviz.forecast(work, "vllm_v1", cost=true, slots=16)
    hidden = np.arange(80) >= 40
    first, last = (np.where(hidden, np.nan, column) for column in (real.first_token, real.finished))
    origin = Origin("fitted", "a device", "a model")
    found = calibrate_times(simulated, first, last, CostModel(0.03), name="found", origin=origin, rounds=4)
    forecast = cbviz.forecast(work, "vllm_v1", cost=found, slots=16)
    error = np.abs(forecast.e2e - real.e2e)[hidden] / real.e2e[hidden]
    assert error.mean() < 0.02
    nothing = np.full(80, np.nan)
    with pytest.raises(CalibrationError, match="0 requests have times"):
        calibrate_times(simulated, nothing, nothing, CostModel(0.03), name="x", origin=origin)


# ------------------------------------------------------------------------------------------------------- files

ORIGIN = Origin(
    "fitted", "a GPU", "a model", "bfloat16", {"torch": "2"}, ("0" * 64,), Extent(8, 90, 100, 50),
    HeldOut(4, 0.1, None, 0), ("One.",),
)  # fmt: skip


def test_a_file_brings_back_what_was_saved(tmp_path: Path) -> None:
    for cost in (TRUE, replace(TRUE, origin=ORIGIN), replace(TRUE, origin=Origin("derived", "d", "m"))):
        path = save_cost(cost, tmp_path / "cost.json")
        assert load_cost(path) == load_cost(str(path)) == cost
    assert load_cost(TRUE) is TRUE


def test_what_ships_can_be_read_and_used() -> None:
    assert {"h100-llama-3.1-8b", "h100-smollm2-135m", "a100-40gb-opt-13b", "cpu-2-cores-tiny"} <= set(shipped())
    for name in shipped():
        cost = load_cost(name)
        assert cost.name == name
        assert cost.origin is not None
        fitted = cost.origin.method == "fitted"
        assert fitted == bool(cost.origin.traces) == (cost.origin.extent is not None)
        found = cbviz.forecast(Work.draw(20, 9, prompt_tokens=9), "continuous", cost=cost)
        assert found.seconds > 0
        assert fitted != any("derived" in warning for warning in found.warnings)


def test_the_page_lists_what_ships_with_its_errors() -> None:
    """Each calibration once, and the held-out errors that its file states; those beyond the goal are named as such."""
    page = (Path(__file__).parents[1] / "docs" / "simulating.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| `([\w.-]+)` \| .* ((?:\| (?:[\d.]+ %|–) ){3})\|$", page, re.MULTILINE))
    stated = {}
    for name in shipped():
        origin = load_cost(name).origin
        held_out = origin.held_out if origin else None
        errors = [None if held_out is None else getattr(held_out, which) for which in ("ttft", "tpot", "e2e")]
        stated[name] = "".join(f"| {'–' if error is None else f'{error * 100:.1f} %'} " for error in errors)
        beyond_the_goal = any(error is not None and error > 0.05 for error in errors[1:])
        assert beyond_the_goal == name.startswith("cpu-")
    assert listed == stated
    assert "**The two of a CPU miss it**" in page


def test_the_shipped_h100_forecasts_its_own_recordings() -> None:
    """Throughput within 3 %, and the speed-up of continuous over static batching within 5 %."""
    seconds = []
    for trace in cbviz.recorded("llama-8b-32"):
        rq = trace.requests
        lengths = np.array([len(row) for row in rq.tokens])
        work = Work(rq.arrival, rq.prompt_tokens, lengths, rq.max_new_tokens)
        found = cbviz.forecast(work, trace.meta.policy, cost="h100-llama-3.1-8b", slots=32, block_size=32, lag=1)
        assert found.iterations == len(trace.iterations)
        assert found.seconds == pytest.approx(trace.seconds, rel=0.03)
        seconds.append((found.seconds, trace.seconds))
    (static, real_static), (continuous, real_continuous) = seconds
    assert static / continuous == pytest.approx(real_static / real_continuous, rel=0.05)


def test_the_derived_a100_gives_the_published_throughput() -> None:
    """81 tokens a second, prompts counted, of static batches of 4 padded to the longest output of all."""
    from cbviz.workload import ExponentialTruncated

    work = Work.draw(1_000, ExponentialTruncated(128, 1_536), prompt_tokens=512, seed=0)
    policy = cbviz.Static(run_to=int(work.output_tokens.max()))
    found = cbviz.forecast(work, policy, cost="a100-40gb-opt-13b", slots=4)
    assert (work.prompt_tokens.sum() + found.tokens) / found.seconds == pytest.approx(81, rel=0.01)


def change(**entries: Any) -> bytes:
    content = json.loads(to_text(replace(TRUE, origin=ORIGIN)))
    for key, value in entries.items():
        where = content
        *path, last = key.split("__")
        for part in path:
            where = where[part]
        where[last] = value
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not JSON, or was cut short"),
        (to_text(TRUE).encode()[:200], "not JSON, or was cut short"),
        (b"\x80\x04K\x01.", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "something else wrote it"),
        (b"[1]", "something else wrote it"),
        (b" " * 300_000, "larger than"),
        (change(version=2), "version 2, and this cbviz reads version 1"),
        (change(seconds={"iteration": 1}), "must name the coefficients"),
        (change(seconds__iteration=-1), "coefficient iteration must be"),
        (change(seconds__iteration="1"), "coefficient iteration must be"),
        (change(seconds__iteration=True), "coefficient iteration must be"),
        (to_text(TRUE).replace("0.005", "NaN").encode(), "contains NaN"),
        (change(name=""), '"name" must be'),
        (change(name=3), '"name" must be'),
        (change(origin=[]), '"origin" must have the entries'),
        (change(origin__method="guessed"), "fitted or derived"),
        (change(origin__device=7), "where a text"),
        (change(origin__versions=[]), "must map names"),
        (change(origin__traces="x"), "must be a list of texts"),
        (change(origin__notes=[1]), "where a text"),
        (change(origin__extent={"decodes": 1}), '"extent" must have the entries'),
        (change(origin__extent__decodes=-1), '"decodes" must be a whole number'),
        (change(origin__held_out__ttft=-1), '"ttft" must be a number of at least 0'),
    ],
)
def test_a_damaged_or_foreign_file_gets_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(CalibrationError, match=sentence) as refused:
        from_text(data, "cost.json")
    assert str(refused.value).startswith("cost.json is no calibration that can be used: ")
    assert "\n" not in str(refused.value)


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="must be the path of a file, or one of"):
        load_cost(tmp_path / "none.json")
    with pytest.raises(FileError, match="cannot be read"):
        load_cost(tmp_path)


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "1", None])
def test_coefficients_are_seconds(wrong: Any) -> None:
    with pytest.raises(CalibrationError, match="coefficient decode must be"):
        CostModel(1.0, decode=wrong)
    with pytest.raises(CalibrationError, match="must cost something"):
        CostModel(0.0)
