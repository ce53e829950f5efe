"""Slips in what a user of the simulator writes or hands on: each gets one sentence that says what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cbviz
from cbviz.cli import main
from cbviz.errors import CalibrationError, CbvizError, SweepError, WorkloadError
from cbviz.run import sweep_work
from cbviz.simulator import Work, load_cost
from cbviz.workload import read_traffic

SHIPPED = Path(cbviz.__file__).parent / "simulator" / "calibrations" / "h100-llama-3.1-8b.json"
RESULTS = Path(__file__).parent / "load_results"


@pytest.mark.parametrize(
    ("word", "option"),
    [
        ("seed=4", "--seed 4"),
        ("seed=3,4", "--seed 3,4"),
        ("num_runs=3", "--num-runs 3"),
        ("workers=2", "--workers 2"),
        ("address=local", "--address local"),
        ("resume=true", "--resume true"),
        ("continue_on_error=x", "--continue-on-error x"),
        ("output_dir=x,y", "--output-dir x,y"),
        ("dry_run=true", "--dry-run true"),
    ],
)
def test_an_option_written_as_a_parameter(word: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "slots=1", "requests=10", word]) == 2
    said = capsys.readouterr().err
    assert f"it is written {option}." in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("word", ["grid=2", "progress=2", "work=3"])
def test_a_name_that_only_python_has(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "slots=1,2", "requests=10", word]) == 2
    assert f"a run has no parameter {word.partition('=')[0]};" in capsys.readouterr().err


def test_a_sweep_interrupted_before_its_first_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_work, "forecast", interrupted)
    sweep = ["sweep", "slots=1,2", "requests=10", "--quiet"]
    assert main([*sweep, "--output-dir", str(tmp_path / "kept")]) == 130
    out, said = capsys.readouterr()
    assert out == ""
    assert "0 of 2 runs are kept, and --resume continues" in said
    assert main(sweep) == 130
    out, said = capsys.readouterr()
    assert out == ""
    assert "With --output-dir" in said


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("seconds", {"iteration": 1e306}, "the coefficient iteration must be a number of seconds from 0 to 3,600"),
        ("seconds", {"decode": -1.0}, "from 0 to 3,600, not -1.0"),
        ("version", True, "it has version True"),
        ("version", 1.0, "it has version 1.0"),
        ("formula", "iteration * decode", "those of another formula"),
    ],
)
def test_a_changed_calibration(name: str, value: Any, says: str, tmp_path: Path) -> None:
    content = json.loads(SHIPPED.read_text("utf-8"))
    content[name] = {**content[name], **value} if isinstance(value, dict) else value
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content), "utf-8")
    with pytest.raises(CalibrationError, match=says):
        load_cost(changed)


def test_numbers_of_thousands_of_digits(tmp_path: Path) -> None:
    content = json.loads(SHIPPED.read_text("utf-8"))
    content["seconds"]["decode"] = 0.25
    (tmp_path / "long.json").write_text(json.dumps(content).replace("0.25", "9" * 5_000), "utf-8")
    with pytest.raises(CalibrationError, match=r"it is not JSON, or was cut short"):
        load_cost(tmp_path / "long.json")
    rows = tmp_path / "trace.jsonl"
    rows.write_text(f'{{"timestamp": 0, "input_length": {"9" * 5_000}, "output_length": 3, "hash_ids": []}}\n', "utf-8")
    with pytest.raises(WorkloadError, match="thousands of digits") as refused:
        read_traffic(rows)
    assert "set_int_max_str_digits" not in str(refused.value)


def test_a_sweep_of_one_policy_is_one_curve() -> None:
    found = cbviz.sweep({"rate": [1.0, 2.0, 4.0]}, slots=2, requests=20)
    assert list(found.capacities(2.0)) == list(found.knees()) == ["ttft_p99"]
    assert len(found.chart().series) == 1
    with pytest.raises(SweepError, match="no column 5"):
        found.chart(5)  # type: ignore[arg-type]
    with pytest.raises(SweepError, match="no column 'scheduler'"):
        found.curves("ttft_p99", by="scheduler")


def test_a_setting_given_twice(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["doctor", str(RESULTS / "vllm_bench.json"), "--cost", "h100-llama-3.1-8b"]
    assert main([*options, "--ran", "slots=8,policy=static,slots=9"]) == 2
    assert "slots is given twice" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["a", 0, -1, 1.5, None, True])
def test_the_first_requests_of_a_work(number: Any) -> None:
    work = Work(arrival=np.array([0.0]), prompt_tokens=np.array([5]), output_tokens=np.array([3]))
    with pytest.raises(CbvizError, match="the number of requests"):
        work.first(number)
    assert len(work.first(1)) == 1


def test_what_a_file_of_traffic_leaves_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    burst = Path(__file__).parent / "traffic" / "burstgpt.csv"
    left_out = read_traffic(burst).left_out
    assert left_out == 1
    assert main(["simulate", "--workload", str(burst)]) == 0
    assert "1 row of the file is left out" in capsys.readouterr().err
    assert main(["simulate", "--workload", str(burst), "--quiet"]) == 0
    assert not capsys.readouterr().err


def test_numbers_in_json_are_no_text(tmp_path: Path) -> None:
    rows = tmp_path / "trace.jsonl"
    row = {"timestamp": 0, "input_length": 600, "output_length": 3, "hash_ids": [1, 2]}
    rows.write_text(json.dumps(row), "utf-8")
    assert len(read_traffic(rows)) == 1
    rows.write_text(json.dumps(row | {"input_length": "600"}), "utf-8")
    with pytest.raises(WorkloadError, match="row 1: input_length must be a finite number, not '600'"):
        read_traffic(rows)
