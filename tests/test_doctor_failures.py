"""Requests that failed: they came, they were in flight, and a server that fails many of them did not keep up."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz.events import FinishReason
from cbviz.measure import results_of, saturation
from cbviz.workload import LoadResults, Served, read_results
from tests import fake_runs

REQUESTS, RATE = 300, 20.0
TOOK, STEP = 0.3, 0.01


def vllm_file(folder: Path, failed: set[int]) -> Path:
    """A result of vLLM's bench: 20 requests a second, each served in 0.3 s, of which some are refused."""
    numbers = range(REQUESTS)
    content = {
        "request_rate": RATE,
        "max_concurrency": None,
        "duration": REQUESTS / RATE + 1,
        "input_lens": [10] * REQUESTS,
        "output_lens": [0 if n in failed else 21 for n in numbers],
        "ttfts": [0.0 if n in failed else 0.1 + 0.001 * (n % 7) for n in numbers],
        "itls": [[] if n in failed else [STEP] * 20 for n in numbers],
        "errors": ["Service Unavailable" if n in failed else "" for n in numbers],
        "start_times": [n / RATE for n in numbers],
    }
    path = folder / "result.json"
    path.write_text(json.dumps(content))
    return path


def aiperf_file(folder: Path, failed: set[int], lasting: float, **metadata: Any) -> Path:
    """The same in AIPerf's format: a request that fails does so after so many seconds."""
    lines = []
    for n in range(REQUESTS):
        sent = 1_700_000_000 * 10**9 + round(n / RATE * 1e9)
        took = lasting if n in failed else TOOK
        times = {"request_start_ns": sent, "request_end_ns": sent + round(took * 1e9)}
        metrics = {
            "request_latency": {"value": TOOK * 1e3, "unit": "ms"},
            "time_to_first_token": {"value": 100 + n % 7, "unit": "ms"},
            "output_sequence_length": {"value": 21, "unit": "tokens"},
        }
        lines.append(
            {"metadata": times | metadata, "metrics": {}, "error": {"message": "timeout"}}
            if n in failed
            else {"metadata": times, "metrics": metrics}
        )
    path = folder / "profile_export.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_server_that_refuses_most_requests_did_not_keep_up(tmp_path: Path) -> None:
    """266 of 300 were refused, 20 came a second; the last that was served is number 297."""
    failed = {n for n in range(REQUESTS) if n % 9}
    path = vllm_file(tmp_path, failed)
    found = cbviz.doctor(path)
    said = "\n".join(found.sentences())
    assert "kept up" not in said
    assert "The server did not serve what came: 266 of 300 requests failed (89%). 20 requests came a second" in said
    assert "266 requests failed at a time that the file does not say" in said
    verdict = found.saturation
    assert (verdict.verdict, verdict.failed, verdict.unknown_ends) == ("fails", 266, 266)
    assert verdict.in_rate == pytest.approx(RATE)
    assert verdict.out_rate == pytest.approx(34 / (297 / RATE + 0.103 + 20 * STEP))
    assert found.to_json()["verdict"] == "fails"
    assert "300 个请求中有 266 个失败" in "\n".join(cbviz.doctor(path, language="zh").sentences())


def test_requests_that_time_out_are_in_flight_until_then(tmp_path: Path) -> None:
    """Six are in flight as long as all are served; then each of the last 150 stays for a minute."""
    path = aiperf_file(tmp_path, set(range(150, REQUESTS)), lasting=60.0)
    found = cbviz.doctor(path)
    verdict = found.saturation
    assert verdict.verdict == "fails"  # the wait of those that were served did not grow
    assert verdict.concurrency is not None
    assert verdict.concurrency.rises
    assert (verdict.failed, verdict.unknown_ends, verdict.peak) == (150, 0, 150)
    assert found.in_flight.series[0].y.max() == verdict.peak
    assert "150 of 300 requests failed (50%)" in "\n".join(found.sentences())


@pytest.mark.parametrize(("count", "verdict"), [(0, "keeps up"), (15, "keeps up"), (16, "fails")])
def test_one_request_in_twenty_may_fail(count: int, verdict: str, tmp_path: Path) -> None:
    found = cbviz.doctor(aiperf_file(tmp_path, set(range(5, 5 + 10 * count, 10)), lasting=0.01))
    assert found.saturation.verdict == verdict
    said = "\n".join(found.sentences())
    assert ("The server kept up" in said) == (verdict == "keeps up")
    assert (f"{count} of these 300 requests failed (5.0%)" in said) == (count == 15)


def test_an_over_saturated_run_says_how_many_failed() -> None:
    rows = [Served(str(n), n / 9, n / 9, n / 3, n / 3 + 1, n / 3 + 1, 5, 5) for n in range(200)]
    rows[::4] = [one._replace(output_tokens=0, error="timeout") for one in rows[::4]]
    found = cbviz.doctor(LoadResults("vllm-bench", "over", tuple(rows)))
    said = "\n".join(found.sentences())
    assert "Over-saturated: " in said
    assert "50 of these 200 requests failed (25%); latencies are those of the 150 that were served." in said


def test_what_the_client_gave_up_is_no_failure_of_the_server(tmp_path: Path) -> None:
    """The last 30 are cut off by the end of the benchmark, in flight until then."""
    last = set(range(REQUESTS - 30, REQUESTS))
    found = cbviz.doctor(aiperf_file(tmp_path, last, lasting=0.3, was_cancelled=True))
    assert (found.saturation.verdict, found.saturation.failed) == ("keeps up", 0)
    said = "\n".join(found.sentences())
    assert "300 requests, 0 failed and 30 not ended when the run did" in said
    assert "30 of the requests that were not served were given up by the client" in said
    assert found.to_json()["given_up"] == 30


@pytest.mark.parametrize(("status", "given_up"), [("incomplete", True), ("errored", False)])
def test_guidellm_says_which_were_given_up(status: str, given_up: bool, tmp_path: Path) -> None:
    timings = {"request_start": 1.0, "first_token_iteration": 1.5, "last_token_iteration": 2.0, "request_end": 2.5}
    row = {"request_id": "a", "prompt_tokens": 5, "output_tokens": 5, "info": {"timings": timings}}
    requests = {"successful": [row], status: [row | {"request_id": "b"}]}
    (tmp_path / "x.json").write_text(json.dumps({"metadata": {}, "benchmarks": [{"requests": requests}]}))
    (run,) = read_results(tmp_path / "x.json")
    assert [(one.id, one.good, one.given_up, one.gone) for one in run.served] == [
        ("a", True, False, 2.0), ("b", False, given_up, 2.5),
    ]  # fmt: skip


def test_most_failed_and_too_few_were_served_to_see_a_slope() -> None:
    rows = [Served(str(n), n, n, None, None, n + 0.1, 5, 0, error="503") for n in range(40)]
    rows[0] = Served("0", 0.0, 0.0, 0.1, 0.2, 0.2, 5, 5)
    found = cbviz.doctor(LoadResults("aiperf", "x", tuple(rows)))
    assert found.saturation.verdict == "fails"
    assert "39 of 40 requests failed (98%)" in "\n".join(found.sentences())
    assert "of the 1 that was served" in "\n".join(found.sentences())
    none = LoadResults("aiperf", "x", tuple(rows[1:]))
    assert saturation(none).verdict == "fails"
    assert saturation(none).out_rate == 0


def test_a_run_of_ours_that_was_cut_off() -> None:
    """Four iterations of 1 s on two slots: one request has ended, two are in flight, and the last never came."""
    asked = [fake_runs.request(n, output=length) for n, length in enumerate((2, 9, 9))]
    asked.append(fake_runs.request(3, arrival=50.0))
    trace = fake_runs.record(islice(fake_runs.scheduled(asked, 2), 4), asked, 2)
    assert [(one.id, one.good, one.given_up, one.gone) for one in results_of(trace).served] == [
        ("0", True, False, 2.0), ("1", False, True, 4.0), ("2", False, True, 4.0),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_a_cancelled_request_of_ours_ends_when_it_is_cancelled(seed: int) -> None:
    trace = fake_runs.wild_trace(seed)
    for one in results_of(trace).served:
        row = trace.requests.id.tolist().index(int(one.id))
        assert one.given_up == (trace.requests.reason[row] in (-1, FinishReason.CANCELLED))
        assert one.end is not None
        assert one.sent <= one.end <= trace.seconds
        assert (one.last or 0.0) <= one.end


def test_a_failed_request_is_drawn_as_one() -> None:
    """One without a message, such as vLLM's for an answer without a token, is no served request either."""
    good = Served("0", 0.0, 0.0, 0.1, 0.2, 0.2, 5, 5)
    found = cbviz.doctor(LoadResults("vllm-bench", "x", (good, Served("1", 0.1, 0.1, None, None, 0.3, 5, 0))))
    assert "failed" in found.gantt.svg()
    assert "failed" not in cbviz.doctor(replace(found.results, served=(good,))).gantt.svg()


def test_a_what_if_says_what_it_leaves_out(tmp_path: Path) -> None:
    path = vllm_file(tmp_path, set(range(0, REQUESTS, 30)))
    said = cbviz.doctor(path, cost="h100-llama-3.1-8b").sentences()
    assert "The 10 requests that were not served are not in these simulations." in said
