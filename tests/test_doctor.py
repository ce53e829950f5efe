"""`cbviz doctor`: what a result shows, in sentences, pictures, a page and JSON."""

from __future__ import annotations

import gzip
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import cbviz
from cbviz.cli import main
from cbviz.errors import FileError, MeasureError, PolicyError, WorkloadError
from cbviz.measure import Targets
from cbviz.messages import Message
from cbviz.run.doctor import runs_in
from cbviz.run.what_if import Option, what_if
from cbviz.simulator import CostModel, HeldOut, Origin
from cbviz.trace import RECORDINGS
from cbviz.view.gantt import MOST_BARS, Gantt
from cbviz.view.load_charts import slo_curve
from cbviz.workload import LoadResults, Served, read_results
from tests.fake_runs import record, request, scheduled

RESULTS = Path(__file__).parent / "load_results"
BENCH, SERVER = RESULTS / "vllm_bench.json", RESULTS / "vllm_server_rtx4090.jsonl.gz"
FILES = ("vllm_bench.json", "vllm_bench_old.json", "aiperf.jsonl", "guidellm.json.gz", "inference_perf.json.gz")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_file_is_explained(name: str, language: str) -> None:
    found = cbviz.doctor(RESULTS / name, targets=Targets(ttft=0.15, tpot=0.03), language=language)
    said = "\n".join(found.sentences())
    assert "{" not in said
    assert found.goodput
    assert len(found.text().splitlines()) == 1 + 4 * 6
    json.dumps(found.to_json(), allow_nan=False)
    assert "<script" not in found.html()


def test_why_the_tools_differ() -> None:
    said = "\n".join(cbviz.doctor(RESULTS / "aiperf.jsonl").sentences())
    assert re.search(r"GuideLLM's is 1\.\d\d times vLLM's", said)
    assert "the client kept requests back for 2.17 ms on average" in said
    assert "4.00 ms on average after the last token" in said
    assert "0.6% of the tokens after the first came together with another" in said
    assert "1 request has a single one" in said


def with_gaps(n: int, *gaps: float) -> Served:
    """A request of five tokens, 10 ms apart, whose gaps the file holds if they are given."""
    return Served(str(n), n, n, n + 0.1, n + 0.14, n + 0.14, 5, 5, gaps or None)


def test_only_requests_whose_gaps_are_known_say_how_many_tokens_came_together() -> None:
    every = [0.01] * 4
    whole = cbviz.doctor(LoadResults("aiperf", "x", tuple(with_gaps(n, *every) for n in range(6))))
    half = cbviz.doctor(LoadResults("aiperf", "x", tuple(with_gaps(n, *every[: n % 2 * 4]) for n in range(6))))
    for found in (whole, half):
        assert "Chunks: " not in "\n".join(found.sentences())
    said = "Gaps: the file holds those of 3 of 6 requests with several tokens"
    assert any(sentence.startswith(said) for sentence in half.sentences())
    assert not any(sentence.startswith("Gaps: ") for sentence in whole.sentences())
    assert "6 个有多个 token 的请求中，文件只记录了 3 个" in "\n".join(replace(half, language="zh").sentences())


def test_a_quarter_of_the_tokens_came_together_in_the_requests_that_tell() -> None:
    rows = (with_gaps(0), with_gaps(1, 0.01, 0.01, 0.02), with_gaps(2), with_gaps(3, 0.01, 0.01, 0.02))
    said = cbviz.doctor(LoadResults("aiperf", "x", rows)).sentences()
    assert any(sentence.startswith("Chunks: 25.0% of the tokens after the first") for sentence in said)


def test_a_mean_gap_is_compared_with_the_tpot_of_the_same_requests() -> None:
    """The others are twice as slow, which is no cause of a difference between gaps and TPOT."""
    slow = [Served(str(n), n, n, n + 0.1, n + 0.18, n + 0.18, 5, 5) for n in range(3)]
    rows = (*slow, *(with_gaps(n, *[0.01] * 4) for n in range(3, 6)))
    said = cbviz.doctor(LoadResults("aiperf", "x", rows)).sentences()
    assert not any(sentence.startswith("ITL and TPOT: ") for sentence in said)


def test_the_files_own_numbers_are_checked(tmp_path: Path) -> None:
    assert "The 12 numbers that the file itself reports agree with its requests." in cbviz.doctor(BENCH).sentences()
    content = json.loads(BENCH.read_text()) | {"mean_tpot_ms": 99.0}
    (tmp_path / "x.json").write_text(json.dumps(content))
    said = "\n".join(cbviz.doctor(tmp_path / "x.json").sentences())
    assert re.search(r"The file reports mean_tpot_ms = 99\.00 ms, but its requests give 27\.\d\d ms", said)


def test_over_saturation_is_said_first() -> None:
    said = cbviz.doctor(SERVER).sentences()
    assert any(sentence.startswith("Over-saturated: ") and "1.63 were completed" in sentence for sentence in said[:3])


def test_a_trace_of_ours() -> None:
    static, continuous = cbviz.recorded("smollm2-8")
    found = cbviz.doctor(continuous)
    assert found.by("ttft", "cbviz").mean < cbviz.doctor(static).by("ttft", "cbviz").mean
    assert "as one batch" in "\n".join(found.sentences())


def test_what_had_not_ended_has_not_failed(tmp_path: Path) -> None:
    """Requests that a run cut off: of cbviz load, of GuideLLM, and of a trace of ours."""
    content = json.loads(BENCH.read_text())
    content["errors"][:2] = [str(Message("load.interrupted"))] * 2
    (tmp_path / "cut.json").write_text(json.dumps(content))
    report = json.loads(gzip.decompress((RESULTS / "guidellm.json.gz").read_bytes()))
    asked = report["benchmarks"][0]["requests"]
    asked["incomplete"] = [asked["successful"].pop(), asked["successful"].pop()]
    (tmp_path / "cut_guidellm.json").write_text(json.dumps(report))
    for name in ("cut.json", "cut_guidellm.json"):
        found = cbviz.doctor(tmp_path / name)
        facts = found.to_json()
        assert (facts["requests"], facts["failed"], facts["given_up"]) == (24, 1, 2)
        assert found.sentences()[0].startswith(f"{name}: 24 requests, 1 failed and 2 not ended when the run did, ")
        assert "1 个失败，2 个在运行结束时尚未结束" in cbviz.doctor(tmp_path / name, language="zh").sentences()[0]
        assert "not ended" in found.gantt.svg()
    assert cbviz.doctor(BENCH).to_json()["given_up"] == 0
    assert "not ended" not in cbviz.doctor(BENCH).gantt.svg()

    asked = [request(0, output=4), request(1, output=2)]
    facts = cbviz.doctor(record(list(scheduled(asked, 2))[:3], asked, 2)).to_json()
    assert (facts["requests"], facts["failed"], facts["given_up"]) == (2, 0, 1)


def test_a_run_of_several_is_chosen(tmp_path: Path) -> None:
    text = BENCH.read_text()
    path = tmp_path / "appended.json"
    path.write_text(f"{text}\n{text}\n")
    found = cbviz.doctor(path, run=2)
    assert (found.runs, found.run) == (2, 2)
    assert "This is run 2 of 2." in found.sentences()
    with pytest.raises(MeasureError, match="there are 2 runs, and no run 3"):
        cbviz.doctor(path, run=3)


# ------------------------------------------------------------------ pictures


def test_the_gantt_has_a_bar_for_every_phase() -> None:
    picture = cbviz.doctor(BENCH).gantt
    root = ElementTree.fromstring(picture.svg())
    bars = [node for node in root.iter() if node.tag.endswith("rect") and node.get("stroke") is None]
    assert len(bars) == 23 * 2 + 1  # the failed request has one
    assert picture.svg() == cbviz.doctor(BENCH).gantt.svg()
    assert "waiting" in cbviz.doctor(SERVER).gantt.svg()  # the server knows when it admitted a request
    assert "等待" in cbviz.doctor(SERVER, language="zh").gantt.svg()


def test_many_requests_are_thinned_and_it_says_so() -> None:
    picture = cbviz.doctor(SERVER).gantt
    drawn = picture.drawn()
    assert len(drawn) == MOST_BARS
    assert (drawn[0].id, drawn[-1].id) == ("bench-0", "bench-299")
    assert "200 of 300 requests" in picture.svg()


def test_names_are_text() -> None:
    row = Served("0", 0.0, 0.0, 0.1, 0.2, 0.2, 5, 2, (0.1,))
    found = cbviz.doctor(LoadResults("vllm-bench", "<script>alert(1)</script>", (row,)))
    assert "<script>" not in found.html()
    assert "<script>" not in found.gantt.svg()


def test_without_start_times_there_is_no_picture() -> None:
    found = cbviz.doctor(RESULTS / "vllm_bench_old.json")
    with pytest.raises(MeasureError, match="does not say when requests were sent"):
        found.gantt  # noqa: B018
    with pytest.raises(MeasureError, match="does not say when requests were sent"):
        found.in_flight  # noqa: B018
    assert "<img" not in found.html()


def test_charts() -> None:
    found = cbviz.doctor(SERVER)
    flight = found.in_flight.series[0]
    assert flight.y.max() == pytest.approx(found.saturation.peak, rel=0.05)
    assert found.ttft_over_time.series[0].y.max() > 100
    assert found.cdf("e2el").series[0].y[-1] == 1
    with pytest.raises(MeasureError, match="has no inter-token latency"):
        found.cdf("itl")
    with pytest.raises(MeasureError, match="curves must map names"):
        slo_curve({})
    with pytest.raises(MeasureError, match="a run is needed"):
        Gantt(5)  # type: ignore[arg-type]


# ------------------------------------------------------------------ what if


def measured() -> tuple[LoadResults, CostModel]:
    """A run whose cost is known exactly: it was simulated."""
    cost = CostModel(iteration=0.01, decode=0.0005, name="exact")
    (run,) = read_results(SERVER)
    work = cbviz.run.traffic_work.work_of(run.traffic().first(60).clipped(200, 40))
    found = cbviz.forecast(work, "continuous", cost=cost, slots=8)
    columns = zip(
        found.arrival, found.first_token, found.finished, found.output_tokens, found.prompt_tokens, strict=True
    )
    rows = [Served(str(n), a, a, f, e, e, int(p), int(o)) for n, (a, f, e, o, p) in enumerate(columns)]
    return LoadResults("cbviz", "simulated", tuple(rows), settings={"policy": "continuous", "slots": 8}), cost


def test_the_setting_that_ran_is_simulated_first() -> None:
    run, cost = measured()
    found = cbviz.doctor(run, cost=cost, options=[Option("continuous", 32), Option("static", 8)]).options
    assert found is not None
    assert all(abs(error) < 1e-6 for error in found.error.values())
    more, static = found.options
    assert more.mean["ttft"] < found.as_it_ran.mean["ttft"] < static.mean["ttft"]


def test_a_wrong_cost_model_shows_as_uncertainty() -> None:
    run, cost = measured()
    slow = CostModel(iteration=2 * cost.iteration, decode=2 * cost.decode, name="slow")
    found = cbviz.doctor(run, cost=slow, options=[Option("continuous", 32)])
    assert found.options is not None
    assert 0.8 < found.options.error["tpot"] < 1.5
    for name, error in found.options.error.items():
        assert found.options.options[0].uncertainty[name] >= abs(1 / (1 + error) - 1)  # a share of the simulated
    assert "continuous, 32 slots: TTFT" in "\n".join(found.sentences())
    json.dumps(found.to_json(), allow_nan=False)


def test_a_budget_is_simulated() -> None:
    run, cost = measured()
    found = cbviz.doctor(run, cost=cost, options=[Option("vllm_v1", 8, budget=64), Option("vllm_v1", 8)]).options
    assert found is not None
    small, usual = found.options
    assert small.mean["e2el"] > usual.mean["e2el"]
    assert small.option.label == "vllm_v1, 8 slots, 64 tokens"
    with pytest.raises(PolicyError, match="has no bound on the tokens"):
        cbviz.doctor(run, cost=cost, options=[Option("static", 8, budget=64)])


def test_near_saturation_a_wait_is_less_certain_than_an_iteration() -> None:
    """The held-out error of an iteration, taken through the queue, is a larger one of the wait."""
    cost = CostModel(
        iteration=0.01, decode=0.0005, name="exact",
        origin=Origin("fitted", "a", "b", "c", {}, (), None, HeldOut(9, 0.01, 0.05, 0.01), ()),
    )  # fmt: skip
    run, _ = measured()
    work = cbviz.run.traffic_work.work_of(run.traffic())
    span = float(work.arrival[-1])
    busy = cbviz.forecast(work, "continuous", cost=cost, slots=8).seconds
    factor = busy / span * 1.05  # arrivals just slower than what the slots serve
    times = [one.sent * factor for one in run.served]
    served = [
        one._replace(arrival=t, sent=t, first=None, last=t + 1, end=None)
        for one, t in zip(run.served, times, strict=True)
    ]
    stretched = replace(run, served=tuple(served))
    found = what_if(stretched, Option("static", 8), cost=cost, ran=Option("continuous", 8))
    [static] = found.options
    assert static.uncertainty["tpot"] >= 0.05
    assert static.uncertainty["ttft"] > 0.05
    least, expected, most = static.change["ttft"]
    assert 0 < least <= expected <= most
    assert found.as_it_ran.change["ttft"] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("factor", [0.1, 0.8, 1.25, 10])
def test_what_was_measured_is_within_the_uncertainty_of_its_simulation(factor: float) -> None:
    """With a calibration of iterations that are `factor` times as long as the true ones, under no load."""
    true = CostModel(iteration=0.01, decode=0.0005, prefill_token=1e-4)
    work = cbviz.simulator.Work([2000.0 * n for n in range(30)], [30] * 30, [1 + n for n in range(30)])  # type: ignore[arg-type]
    trace = cbviz.simulate(work, "continuous", cost=true, slots=4)
    wrong = CostModel(*(value * factor for value in true.coefficients))
    found = cbviz.doctor(trace, cost=wrong, options=[Option("continuous", 2)]).options
    assert found is not None
    for metric in ("ttft", "tpot", "e2el"):
        assert found.error[metric] == pytest.approx(factor - 1)
        for row in (found.as_it_ran, *found.options):
            measured = row.mean[metric] / factor
            apart = max(factor, 1 / factor) - 1
            assert row.uncertainty[metric] == pytest.approx(apart)
            assert abs(measured - row.mean[metric]) <= row.uncertainty[metric] * row.mean[metric] * (1 + 1e-6)


def test_a_held_out_error_becomes_a_share_of_the_forecast() -> None:
    """An error of 20 % of the truth is one of 25 % of a forecast that is 20 % too low."""
    true = CostModel(iteration=0.01, decode=0.0005, prefill_token=1e-4)
    trace = cbviz.simulate(cbviz.simulator.Work.draw(30, 9, prompt_tokens=9), "continuous", cost=true, slots=4)
    for error, share in ((0.2, 0.25), (1.5, math.inf)):
        origin = Origin("fitted", "a", "b", "c", {}, (), None, HeldOut(9, error, None, error), ())
        found = cbviz.doctor(trace, cost=replace(true, origin=origin)).options
        assert found is not None
        assert found.as_it_ran.uncertainty["ttft"] == pytest.approx(share)


@pytest.mark.parametrize("policy", ["static", "continuous", "vllm_v1", "sarathi"])
def test_a_trace_says_what_ran(policy: str) -> None:
    """Its own slots, memory, lag and parameters are simulated: the same times again."""
    cost = cbviz.simulator.CostModel(iteration=0.01, decode=0.0005, prefill_token=1e-4)
    work = cbviz.simulator.Work.draw(
        40, cbviz.workload.ExponentialClipped(20, 60), cbviz.workload.Poisson(9), prompt_tokens=30, seed=3
    )
    chosen = {"vllm_v1": cbviz.policies.VllmV1(64), "sarathi": cbviz.policies.Sarathi(48)}.get(policy, policy)
    trace = cbviz.simulate(work, chosen, cost=cost, slots=5, kv_blocks=24, block_size=8, lag=1)
    found = cbviz.doctor(trace, cost=cost, options=[{"slots": 2}, {"policy": "orca", "kv_blocks": 60}]).options
    assert found is not None
    assert all(abs(error) < 1e-9 for error in found.error.values())
    ran, fewer, orca = found.as_it_ran.option, found.options[0].option, found.options[1].option
    assert (ran.slots, ran.kv_blocks, ran.lag) == (5, 24, 1)
    assert fewer == replace(ran, slots=2)
    assert orca == replace(ran, policy="orca", kv_blocks=60)


def test_a_trace_of_a_policy_that_is_not_ours() -> None:
    class Mine:
        name, summary = "mine", "refills"

        def plan(self, view: cbviz.View) -> cbviz.Plan:
            return cbviz.Plan(admit=view.fitting())

    cost = cbviz.simulator.CostModel(iteration=0.01)
    trace = cbviz.simulate(cbviz.simulator.Work.draw(20, 9, prompt_tokens=3), Mine(), cost=cost, slots=3, kv_blocks=9)
    with pytest.raises(MeasureError, match=r"ran under 'mine', which is no policy of cbviz's own; .*--ran"):
        cbviz.doctor(trace, cost=cost)
    found = cbviz.doctor(trace, cost=cost, ran={"policy": "continuous"}).options
    assert found is not None
    assert (found.as_it_ran.option.slots, found.as_it_ran.option.kv_blocks) == (3, 9)
    assert abs(found.error["ttft"]) < 1e-9
    with pytest.raises(MeasureError, match="a setting has no 'slotz'"):
        cbviz.doctor(trace, cost=cost, ran={"policy": "continuous"}, options=[{"slotz": 3}])


def test_what_if_needs_times_and_a_calibration() -> None:
    with pytest.raises(MeasureError, match="can be simulated only with a calibration"):
        cbviz.doctor(BENCH, options=[Option(slots=4)])
    with pytest.raises(MeasureError, match="no other setting can be simulated"):
        cbviz.doctor(RESULTS / "vllm_bench_old.json", cost="h100-llama-3.1-8b")


# ------------------------------------------------------------------ nonsense, and the command


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"ran": {"slots": 4}}, "ran is where a simulation starts from, .* pass cost=, too"),
        ({"run": 0}, "run must be a whole number of at least 1"),
        ({"targets": "fast"}, "there is no preset 'fast'"),
        ({"targets": 5}, "targets must be Targets"),
        ({"ran": 5}, "ran and options must be Option"),
        ({"options": [5]}, "ran and options must be Option"),
    ],
)
def test_nonsense_is_one_sentence(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(MeasureError, match=complaint):
        cbviz.doctor(BENCH, **options)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no file"):
        cbviz.doctor(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(WorkloadError, match="is in no format that is known here"):
        cbviz.doctor(tmp_path / "x.json")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["doctor", str(BENCH), str(SERVER), "--target-ttft", "1", "--html", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "24 requests, 1 failed, measured by vLLM bench." in printed
    assert "Over-saturated" in printed
    assert "Goodput in requests a second" in printed
    text = page.read_text()
    assert text.count("<h2>") == 2
    assert "default-src 'none'" in text
    assert len(text) < 1_000_000
    assert main(["doctor", str(SERVER), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["runs"][0]["verdict"] == "over-saturated"


def test_a_recorded_run_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    for name, lanes in {**dict.fromkeys(RECORDINGS, 2), "engines-tiny": 2, "engines-llama-8b": 4}.items():
        assert runs_in(name) == lanes
    found = cbviz.doctor("engines-tiny", run=2)
    assert (found.runs, found.run) == (2, 2)
    assert found.sentences()[0].startswith("transformers fifo: 32 requests")
    assert main(["doctor", "engines-tiny", "smollm2-8", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["name"] for run in runs] == ["continuous", "transformers fifo", "static", "continuous"]
    with pytest.raises(MeasureError, match="there are 4 runs, and no run 5"):
        cbviz.doctor("engines-llama-8b", run=5)


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What could be examined is reported, and a script learns from the exit code that something could not."""
    missing, page = str(tmp_path / "none"), tmp_path / "page.html"
    assert main(["doctor", missing, str(BENCH)]) == 2
    printed = capsys.readouterr()
    assert "there is no file" in printed.err
    assert "24 requests" in printed.out
    assert main(["doctor", str(BENCH), missing, "--json", "--html", str(page)]) == 2
    printed = capsys.readouterr()
    assert "there is no file" in printed.err
    assert len(json.loads(printed.out)["runs"]) == 1
    assert "24 requests" in page.read_text()
    assert main(["doctor", missing]) == 2
    assert "examined" not in capsys.readouterr().err
    assert main(["doctor", missing, str(tmp_path)]) == 2
    assert "nothing could be examined" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["64", "slots=many", "slots=0", "colour=red", "policy="])
def test_a_wrong_setting_is_one_sentence(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(BENCH), "--cost", "h100-llama-3.1-8b", "--what-if", setting]) == 2
    assert re.search("a setting is written|must be a whole number", capsys.readouterr().err)
