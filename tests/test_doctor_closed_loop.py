"""What-if of a closed loop: a request is sent when another has ended, so another setting changes when requests come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz.adapters.openai.result import Call, LoadResult
from cbviz.cli import main
from cbviz.messages import Message
from cbviz.run.what_if import Option
from cbviz.simulator import CostModel, Work
from cbviz.trace import load
from cbviz.workload import ExponentialClipped, LoadResults, Request, Served, Workload, read_results, read_traffic

COST = CostModel(iteration=0.01, decode=0.0005, prefill_token=1e-4)
WORK = Work.draw(60, ExponentialClipped(20, 60), prompt_tokens=30, seed=3)
CLIENTS = 12


def vllm_file(folder: Path, **facts: Any) -> Path:
    """What vLLM's bench would have saved of 12 clients on 8 slots, which kept requests back since its start."""
    found = cbviz.forecast(WORK, "continuous", cost=COST, slots=8, clients=CLIENTS)
    steps = [max(0, int(n) - 1) for n in found.output_tokens]
    decode = found.finished - found.first_token
    content = {
        "request_rate": "inf",
        "max_concurrency": CLIENTS,
        "duration": float(found.finished.max()),
        "input_lens": found.prompt_tokens.tolist(),
        "output_lens": found.output_tokens.tolist(),
        "ttfts": (found.first_token - found.arrival).tolist(),
        "itls": [[float(took) / n] * n if n else [] for took, n in zip(decode, steps, strict=True)],
        "errors": [""] * len(WORK),
        "start_times": found.arrival.tolist(),
        "queue_times": found.arrival.tolist(),
        **facts,
    }
    path = folder / "result.json"
    path.write_text(json.dumps(content))
    return path


def guidellm_file(folder: Path, strategy: dict[str, Any] | None) -> Path:
    timings = {"request_start": 1.0, "first_token_iteration": 1.5, "last_token_iteration": 2.0}
    row = {"request_id": "a", "prompt_tokens": 5, "output_tokens": 5, "info": {"timings": timings}}
    benchmark = {"requests": {"successful": [row]}, "config": {"strategy": strategy}}
    path = folder / "benchmarks.json"
    path.write_text(json.dumps({"metadata": {}, "benchmarks": [benchmark]}))
    return path


def test_a_closed_loop_of_vllms_is_simulated_as_one(tmp_path: Path) -> None:
    """The same times again, and on fewer slots those of the same twelve clients."""
    run = {"cost": COST, "ran": Option("continuous", 8), "options": [Option("continuous", 4)]}
    found = cbviz.doctor(vllm_file(tmp_path), **run)  # type: ignore[arg-type]
    assert found.options is not None
    assert found.options.error == pytest.approx(dict.fromkeys(("ttft", "tpot", "e2el"), 0.0), abs=1e-6)
    truth = cbviz.forecast(WORK, "continuous", cost=COST, slots=4, clients=CLIENTS)
    assert found.options.options[0].mean["e2el"] == pytest.approx(float(truth.e2e.mean()))
    assert "a closed loop of 12 clients" in "\n".join(found.sentences())
    facts = found.to_json()["what_if"]
    assert facts["clients"] == CLIENTS


@pytest.mark.parametrize("policy", ["continuous", "static", "vllm_v1"])
def test_a_closed_loop_of_ours_is_simulated_as_one(policy: str, tmp_path: Path) -> None:
    made = cbviz.simulate(WORK, policy, cost=COST, slots=8, clients=CLIENTS)
    trace = load(made.save(tmp_path / "loop.cbviz"))
    found = cbviz.doctor(trace, cost=COST, options=[{"slots": 4}]).options
    assert found is not None
    assert found.error == pytest.approx(dict.fromkeys(("ttft", "tpot", "e2el"), 0.0), abs=1e-9)
    truth = cbviz.forecast(WORK, policy, cost=COST, slots=4, clients=CLIENTS)
    assert found.options[0].mean["ttft"] == pytest.approx(float(truth.ttft.mean()))
    assert found.clients == CLIENTS


def test_the_command_reads_what_the_command_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, cost = str(tmp_path / "c.cbviz"), "h100-llama-3.1-8b"
    assert main(["simulate", "--clients", "5", "--requests", "40", "--cost", cost, "--quiet", "--save", path]) == 0
    assert main(["doctor", path, "--cost", cost, "--what-if", "slots=2"]) == 0
    assert "The load was a closed loop of 5 clients" in capsys.readouterr().out


def test_a_limit_on_a_rate_is_no_closed_loop(tmp_path: Path) -> None:
    found = cbviz.doctor(vllm_file(tmp_path, request_rate=9.0), cost=COST)
    assert found.options is not None
    assert found.options.clients is None
    assert "The client let at most 12 requests be in flight at once; the simulations" in "\n".join(found.sentences())


def test_an_open_loop_needs_no_word(tmp_path: Path) -> None:
    found = cbviz.doctor(vllm_file(tmp_path, request_rate=9.0, max_concurrency=None), cost=COST)
    assert found.options is not None
    assert found.options.note == ""


def test_where_the_file_does_not_say_a_sentence_warns(tmp_path: Path) -> None:
    rows = tuple(Served(str(n), n, n, n + 0.1, n + 0.2, n + 0.2, 5, 5) for n in range(9))
    for language, said in (("en", "The file does not say whether a request"), ("zh", "文件没有说明请求是按")):
        found = cbviz.doctor(LoadResults("aiperf", "x", rows), cost=COST, language=language)
        assert said in "\n".join(found.sentences())
    assert read_results(Path(__file__).parent / "load_results" / "aiperf.jsonl")[0].closed is None
    assert read_results(Path(__file__).parent / "load_results" / "inference_perf.json.gz")[0].closed is None
    server = read_results(Path(__file__).parent / "load_results" / "vllm_server_rtx4090.jsonl.gz")[0]
    assert server.closed is False


@pytest.mark.parametrize(
    ("strategy", "closed", "clients"),
    [
        ({"type_": "synchronous"}, True, 1),
        ({"type_": "concurrent", "streams": 16}, True, 16),
        ({"kind": "concurrent", "streams": 16, "max_concurrency": 16}, True, 16),
        ({"type_": "throughput", "max_concurrency": 512}, True, 512),
        ({"type_": "throughput", "max_concurrency": None}, None, None),
        ({"type_": "constant", "rate": 4.0, "max_concurrency": 512}, False, None),
        ({"type_": "poisson", "rate": 4.0}, False, None),
        ({"type_": "replay"}, None, None),
        (None, None, None),
    ],
)
def test_guidellm_names_its_strategy(
    strategy: dict[str, Any] | None, closed: bool | None, clients: int | None, tmp_path: Path
) -> None:
    (run,) = read_results(guidellm_file(tmp_path, strategy))
    assert (run.closed, run.concurrency) == (closed, clients)


@pytest.mark.parametrize(
    ("facts", "closed"),
    [
        ({}, True),
        ({"ramp_up_strategy": "linear"}, False),
        ({"request_rate": 4.0}, False),
        ({"max_concurrency": None}, False),
        ({"request_rate": None}, None),
    ],
)
def test_vllm_says_rate_and_limit(facts: dict[str, Any], closed: bool | None, tmp_path: Path) -> None:
    assert read_results(vllm_file(tmp_path, **facts))[0].closed is closed


def test_a_rate_that_ramps_up_is_not_all_at_once(tmp_path: Path) -> None:
    path = vllm_file(tmp_path, max_concurrency=None, ramp_up_strategy="linear", start_times=None, queue_times=None)
    assert not read_results(path)[0].timed
    path = vllm_file(tmp_path, max_concurrency=None, start_times=None, queue_times=None)
    assert read_results(path)[0].timed


def test_traffic_of_a_closed_loop_comes_when_it_was_sent(tmp_path: Path) -> None:
    """vLLM's bench holds requests back from its start on, so each "arrives" at 0."""
    traffic = read_traffic(vllm_file(tmp_path))
    assert traffic.arrival[-1] > 0.1
    assert read_traffic(vllm_file(tmp_path, request_rate=9.0)).arrival[-1] == 0


@pytest.mark.parametrize(
    ("arrivals", "limit", "closed"), [((0, 0), 1, True), ((0, 0), None, False), ((0, 2), 1, False)]
)
def test_a_run_of_load_knows_its_own_loop(arrivals: tuple[float, ...], limit: int | None, closed: bool) -> None:
    calls = tuple(Call(n, time, time + n, 5.0, 7, [4.0, 4.5], 2) for n, time in enumerate(arrivals))
    work = Workload("w", [Request(n, (1,), 2, output_length=2) for n in range(2)])
    run = LoadResult("http://x", "m", work, calls, 5.0, limit).results()
    assert (run.closed, run.concurrency) == (closed, limit)
    assert not any(one.given_up for one in run.served)


def test_what_an_interrupted_load_left_open_was_given_up() -> None:
    calls = (Call(0, 0.0, 0.0, 1.0, 7, [0.5], 1), Call(1, 0.0, 0.1, error=Message("load.interrupted")))
    work = Workload("w", [Request(n, (1,), 1, output_length=1) for n in range(2)])
    _, left = LoadResult("http://x", "m", work, calls, 3.0).results().served
    assert (left.given_up, left.gone) == (True, 3.0)


def test_a_closed_loop_cannot_be_kept_up_with(tmp_path: Path) -> None:
    """Twelve clients never have more than twelve requests in flight, so slots cannot be too few for them."""
    found = cbviz.doctor(vllm_file(tmp_path))
    assert (found.saturation.verdict, found.saturation.why) == ("unknown", "closed loop")
    said = "\n".join(found.sentences())
    assert "kept up" not in said
    assert "each request was sent when another had ended (a closed loop), so no queue can grow" in said
    refused = ["refused" if n % 2 else "" for n in range(len(WORK))]
    assert cbviz.doctor(vllm_file(tmp_path, errors=refused)).saturation.verdict == "fails"
