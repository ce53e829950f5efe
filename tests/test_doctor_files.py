"""Files of several runs, some of which cannot be examined, and facts of a file that contradict one another."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz.cli import main
from cbviz.errors import MeasureError
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
