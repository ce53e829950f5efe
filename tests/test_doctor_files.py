"""Files of several runs, some of which cannot be examined, and facts of a file that contradict one another."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz.cli import main
from cbviz.errors import MeasureError
from cbviz.measure import Targets
from cbviz.run.doctor import runs_in

RESULTS = Path(__file__).parent / "load_results"


def benchmark() -> dict[str, Any]:
    """The one benchmark of GuideLLM's report."""
    content = json.loads(gzip.decompress((RESULTS / "guidellm.json.gz").read_bytes()))
    return content["benchmarks"][0]  # type: ignore[no-any-return]


def with_errors_only() -> dict[str, Any]:
    """The same, at a rate at which every request failed."""
    requests = benchmark()["requests"]
    errored = requests["errored"] + requests["successful"]
    return benchmark() | {"requests": {"successful": [], "errored": errored}, "duration": 0.0}


def report(folder: Path, *benchmarks: dict[str, Any]) -> Path:
    path = folder / "sweep.json"
    path.write_text(json.dumps({"metadata": {"version": 2}, "benchmarks": benchmarks}))
    return path


def test_a_rate_at_which_every_request_failed_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = report(tmp_path, benchmark(), with_errors_only(), benchmark())
    assert main(["doctor", str(path)]) == 2
    printed = capsys.readouterr()
    assert [line.partition(":")[0] for line in printed.out.splitlines() if "measured by" in line] == [
        "sweep.json, 1", "sweep.json, 3",
    ]  # fmt: skip
    assert printed.err == "cbviz: no request of sweep.json, 2 was served, so there is nothing to measure.\n"
    assert cbviz.doctor(path, run=3).runs == 3
    with pytest.raises(MeasureError, match="no request of sweep"):
        cbviz.doctor(path, run=2)


def test_a_rate_without_a_request_is_left_out_and_named(tmp_path: Path) -> None:
    path = report(tmp_path, {"requests": {"successful": []}, "duration": 0.0}, benchmark(), {})
    assert runs_in(path) == 1
    said = cbviz.doctor(path).sentences()
    assert said[0].startswith("sweep.json, 2: 24 requests")
    assert said[1:3] == tuple(f"Benchmark {n} of the file holds no requests and is left out." for n in (1, 3))
    chinese = cbviz.doctor(path, language="zh").sentences()
    assert "第 3 个 benchmark 没有请求" in chinese[2]


def test_an_appended_result_without_a_served_request_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = json.loads((RESULTS / "vllm_bench.json").read_text())
    count = len(good["errors"])
    bad = good | {"errors": ["refused"] * count, "output_lens": [0] * count, "duration": 0.0}
    path = tmp_path / "appended.json"
    path.write_text("\n".join(map(json.dumps, (bad, good))))
    assert main(["doctor", str(path), "--json"]) == 2
    printed = capsys.readouterr()
    assert [run["run"] for run in json.loads(printed.out)["runs"]] == [2]
    assert "no request of appended.json was served" in printed.err


def test_the_same_complaint_of_every_run_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = report(tmp_path, benchmark(), benchmark())
    assert main(["doctor", str(path), "--cost", "nope"]) == 2
    assert capsys.readouterr().err.count("there is no calibration") == 1


def vllm_bench(folder: Path, name: str = "vllm_bench.json", **facts: Any) -> Path:
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads((RESULTS / name).read_text()) | facts))
    return path


def test_a_duration_in_which_the_requests_have_no_room_is_named(tmp_path: Path) -> None:
    """The requests take 6.06 s, of which a duration of 1 s would make six times the goodput."""
    targets = Targets(e2el=100.0)
    sound, wrong = (cbviz.doctor(vllm_bench(tmp_path, **facts), targets=targets) for facts in ({}, {"duration": 1.0}))
    said = "The file reports a duration of 1 s, but its requests take 6.06 s from the first sending to the last token"
    assert any(sentence.startswith(said) for sentence in wrong.sentences())
    assert not any("duration" in sentence for sentence in sound.sentences())
    assert wrong.goodput["vllm-bench"] == pytest.approx(sound.goodput["vllm-bench"], rel=0.01)
    assert "文件报告的时长是 1 s" in "\n".join(
        cbviz.doctor(vllm_bench(tmp_path, duration=1.0), language="zh").sentences()
    )


@pytest.mark.parametrize(("share", "named"), [(0.99, True), (0.996, False), (1.5, False)])
def test_a_duration_may_be_rounded_or_longer(share: float, named: bool, tmp_path: Path) -> None:
    span = cbviz.doctor(vllm_bench(tmp_path)).results.shortest
    found = cbviz.doctor(vllm_bench(tmp_path, duration=share * span))
    assert any("reports a duration" in sentence for sentence in found.sentences()) == named


def test_without_start_times_no_request_may_take_longer_than_the_run(tmp_path: Path) -> None:
    path = vllm_bench(tmp_path, "vllm_bench_old.json", duration=0.01)
    found = cbviz.doctor(path, targets=Targets(e2el=100.0))
    assert any("reports a duration of 0.01 s" in sentence for sentence in found.sentences())
    assert math.isnan(found.goodput["vllm-bench"])


def test_a_duration_of_guidellms_is_held_against_its_requests_too(tmp_path: Path) -> None:
    found = cbviz.doctor(report(tmp_path, benchmark() | {"duration": 2.0}))
    assert any("reports a duration of 2 s" in sentence for sentence in found.sentences())
