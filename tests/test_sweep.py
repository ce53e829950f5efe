"""A sweep gives the same table whatever computes it, loses no row to a stop, and names what failed."""

from __future__ import annotations

import csv
import errno
import io
import json
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

import cbviz
from cbviz.cli import main
from cbviz.errors import CbvizError, FileError, SweepError
from cbviz.run import sweep_work
from cbviz.run.progress import SilentProgress
from cbviz.run.sweep import Sweep, sweep
from cbviz.run.sweep_plan import SweepCell
from cbviz.run.sweep_table import _of_one_kind, row_of, to_csv
from cbviz.simulator import worth_compiling
from tests.sweep_cells import always_dies, dies_once, double, fails_at_two, misbehaves, takes_anything

GRID = {"x": [1, 2, 3]}
ROOT = Path(__file__).parents[1]


def test_the_table_is_tidy() -> None:
    found = cbviz.sweep({"x": [1, 2], "plus": [0, 10]}, num_runs=2, seed=5, work=double)
    assert [(r["x"], r["plus"], r["run"], r["seed"]) for r in found.rows] == [
        (x, plus, run, 5 + run) for x in (1, 2) for plus in (0, 10) for run in (0, 1)
    ]
    assert found.columns == ["x", "plus", "run", "seed", "y", "what", "error"]
    read = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [float(row["y"]) for row in read] == [row["y"] for row in found.rows]
    assert found.to_pandas().shape == (8, 7)
    assert not found.failed


def test_processes_give_the_same_table(tmp_path: Path) -> None:
    here = sweep(GRID, num_runs=2, work=double, plus=3)
    there = sweep(GRID, num_runs=2, work=double, plus=3, workers=2, output_dir=tmp_path / "s")
    assert here.to_csv() == there.to_csv() == (tmp_path / "s" / "results.csv").read_text()
    assert not multiprocessing.active_children()  # so that what they computed is counted, too


def test_the_table_does_not_say_what_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """That differs from process to process and between machines with numba and without, and the table must not."""

    class Compiled:
        typeof_pyval = staticmethod(type)

        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def compile(self, types: Any) -> None:
            pass

        def __call__(self, *arguments: Any) -> Any:
            return self.kernel(*arguments)

    monkeypatch.setattr("cbviz.jit.compiled", Compiled)
    tables = []
    for least in (0, 10**9):
        monkeypatch.setattr(worth_compiling, "COMPILE_FROM", least)
        found = sweep({"policy": ["static", "continuous", "tgi"]}, requests=30, slots=4)
        assert [row["how"] for row in found.rows] == ["skipping", "skipping", "loop"]
        tables.append(found.to_csv())
    assert tables[0] == tables[1]


def test_a_cell_that_fails_is_named_and_the_others_finish() -> None:
    found = sweep(GRID, work=fails_at_two)
    assert [row["error"] for row in found.rows] == ["", "two is", ""]
    assert [row.get("y") for row in found.rows] == [1, None, 3]
    assert [row["x"] for row in found.failed] == [2]


def test_the_first_failure_can_end_it() -> None:
    found = sweep(GRID, work=fails_at_two, continue_on_error=False)
    assert found.stopped
    assert [row["x"] for row in found.rows] == [1, 2]


def test_a_worker_that_dies_takes_no_cell_with_it(tmp_path: Path) -> None:
    found = sweep({"x": [1, 2, 3, 4]}, work=dies_once, workers=2, folder=str(tmp_path))
    assert (tmp_path / "died").exists()
    assert [row["y"] for row in found.rows] == [1, 2, 3, 4]


def test_a_cell_that_kills_every_worker_is_named() -> None:
    found = sweep(GRID, work=always_dies, workers=2)
    assert [row["error"] for row in found.rows] == ["", "its worker process died 3 times", ""]


# ------------------------------------------------------------------ stop, resume, a full disk


def test_an_interrupt_keeps_what_was_done_and_resume_does_the_rest(tmp_path: Path) -> None:
    asked: list[int] = []

    def work(x: int, seed: int) -> dict[str, Any]:
        asked.append(x)
        if x == 2 and len(asked) == 2:
            raise KeyboardInterrupt
        return {"y": x}

    first = sweep(GRID, work=work, output_dir=tmp_path)
    assert (first.stopped, len(first)) == (True, 1)
    second = sweep(GRID, work=work, output_dir=tmp_path, resume=True)
    assert asked == [1, 2, 2, 3]
    assert [row["y"] for row in second.rows] == [1, 2, 3]
    assert second.to_csv() == (tmp_path / "results.csv").read_text()


def test_failed_runs_are_repeated_on_resume(tmp_path: Path) -> None:
    broken = [True]

    def work(x: int, seed: int) -> dict[str, Any]:
        if x == 2 and broken[0]:
            raise RuntimeError("not yet")
        return {"y": x}

    assert len(sweep(GRID, work=work, output_dir=tmp_path).failed) == 1
    broken[0] = False
    assert not sweep(GRID, work=work, output_dir=tmp_path, resume=True).failed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a device of Linux")
def test_a_full_disk_in_the_middle_loses_no_row(tmp_path: Path) -> None:
    kept, aside = tmp_path / "cells.jsonl", tmp_path / "aside"
    full = [True]

    def work(x: int, seed: int) -> dict[str, Any]:
        if x == 2 and full[0]:
            kept.rename(aside)
            kept.symlink_to("/dev/full")
        return {"y": x}

    with pytest.raises(FileError, match=r"No space left on device\. The rows before are kept; make room"):
        sweep(GRID, work=work, output_dir=tmp_path)
    kept.unlink()
    aside.rename(kept)
    full[0] = False
    found = sweep(GRID, work=work, output_dir=tmp_path, resume=True)
    assert [row["y"] for row in found.rows] == [1, 2, 3]
    assert len(kept.read_text().splitlines()) == 3


LIMITED = """
import resource, sys
from cbviz.errors import FileError
from cbviz.run.sweep import sweep
from tests.sweep_cells import double
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    sweep({"x": list(range(20))}, work=double, output_dir=sys.argv[1])
except FileError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [500, 900])
def test_a_disk_that_fills_within_a_row_loses_that_row_only(limit: int, tmp_path: Path) -> None:
    """The system itself ends the file in the middle of a line."""
    pytest.importorskip("resource", reason="limits of processes are Unix's")
    said = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), str(limit)], cwd=ROOT, capture_output=True, text=True
    )
    assert "cells.jsonl cannot be written: " in said.stdout, said.stderr
    assert said.stdout.rstrip().endswith("The rows before are kept; make room, and continue with resume.")
    kept = (tmp_path / "cells.jsonl").read_bytes()
    assert len(kept) == limit
    assert kept[-1:] != b"\n"
    found = sweep({"x": list(range(20))}, work=double, output_dir=tmp_path, resume=True)
    assert found.to_csv() == sweep({"x": list(range(20))}, work=double).to_csv()
    whole = (tmp_path / "cells.jsonl").read_bytes()
    assert whole.startswith(kept[: kept.rindex(b"\n") + 1])
    assert whole.count(b"\n") == 20


def test_a_table_that_cannot_be_written_loses_no_row(tmp_path: Path) -> None:
    blocked = tmp_path / "results.csv"
    blocked.mkdir()
    with pytest.raises(FileError, match=r"results\.csv"):
        sweep(GRID, work=double, output_dir=tmp_path)
    blocked.rmdir()
    asked: list[int] = []
    found = sweep(GRID, work=double, output_dir=tmp_path, resume=True, progress=_Counting(asked))
    assert asked == [0]  # nothing was left to compute
    assert blocked.read_text() == found.to_csv() == sweep(GRID, work=double).to_csv()


def test_a_plan_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(FileError, match="No space left on device"):
            sweep(GRID, work=double, output_dir=tmp_path / "new")
    assert not sweep(GRID, work=double, output_dir=tmp_path / "new").failed


class _Counting(SilentProgress):
    """Notes how many runs a sweep is about to compute."""

    def __init__(self, asked: list[int]) -> None:
        self._asked = asked

    def start(self, title: str, total: int) -> None:
        """See `Progress.start`."""
        self._asked.append(total)


def test_an_interrupt_with_workers_keeps_what_was_done(tmp_path: Path) -> None:
    class Interrupting(SilentProgress):
        def advance(self, title: str, steps: int = 1, note: str = "") -> None:
            raise KeyboardInterrupt

    first = sweep(GRID, num_runs=3, work=double, workers=2, output_dir=tmp_path, progress=Interrupting())
    assert (first.stopped, len(first)) == (True, 1)
    second = sweep(GRID, num_runs=3, work=double, workers=2, output_dir=tmp_path, resume=True)
    assert second.to_csv() == sweep(GRID, num_runs=3, work=double).to_csv()


def test_a_row_that_was_cut_off_is_computed_again(tmp_path: Path) -> None:
    sweep(GRID, work=double, output_dir=tmp_path)
    whole = (tmp_path / "cells.jsonl").read_bytes()
    (tmp_path / "cells.jsonl").write_bytes(whole[:-20])
    sweep(GRID, work=double, output_dir=tmp_path, resume=True)
    assert (tmp_path / "cells.jsonl").read_bytes() == whole


@pytest.mark.parametrize("content", ['{"format": "cbviz sweep", "ver', "", "[" * 100_000, "\xff"])
def test_a_plan_that_is_cut_short_is_one_sentence(content: str, tmp_path: Path) -> None:
    sweep({"slots": [1]}, requests=2, output_dir=tmp_path)
    (tmp_path / "sweep.json").write_text(content, "latin-1")
    with pytest.raises(
        SweepError, match=r"sweep.json was cut short or damaged, .* remove that file to start again"
    ) as no:
        sweep({"slots": [1]}, requests=2, output_dir=tmp_path, resume=True)
    assert "line" not in str(no.value)
    assert "column" not in str(no.value)


def test_a_folder_belongs_to_one_sweep(tmp_path: Path) -> None:
    sweep(GRID, work=double, output_dir=tmp_path)
    with pytest.raises(SweepError, match="holds a sweep already; resume it, or name another folder"):
        sweep(GRID, work=double, output_dir=tmp_path)
    with pytest.raises(SweepError, match="holds another sweep: its num_runs is 1, and this one's 2"):
        sweep(GRID, work=double, output_dir=tmp_path, num_runs=2, resume=True)
    (tmp_path / "cells.jsonl").write_text('[7, {"error": ""}]\n')
    with pytest.raises(SweepError, match="row 1: this is no row of a sweep"):
        sweep(GRID, work=double, output_dir=tmp_path, resume=True)
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(SweepError, match="is not the plan of a sweep"):
        sweep(GRID, work=double, output_dir=tmp_path, resume=True)


@pytest.mark.parametrize("version", [True, 1.0, 2, "1", None])
def test_a_plan_of_another_version(version: Any, tmp_path: Path) -> None:
    sweep(GRID, work=double, output_dir=tmp_path)
    plan = json.loads((tmp_path / "sweep.json").read_text())
    (tmp_path / "sweep.json").write_text(json.dumps({**plan, "version": version}))
    with pytest.raises(SweepError, match=f"the plan of a sweep of version {version!r}; version 1 is read"):
        sweep(GRID, work=double, output_dir=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("before", "now", "part"),
    [
        ({"x": [True, False]}, {"x": [1, 0]}, "grid"),
        ({"x": [1, 2], "plus": [3, 4]}, {"plus": [3, 4], "x": [1, 2]}, "grid"),  # the order numbers the runs
    ],
)
def test_a_plan_that_only_counts_as_equal(before: Any, now: Any, part: str, tmp_path: Path) -> None:
    sweep(before, work=double, output_dir=tmp_path)
    with pytest.raises(SweepError, match=f"holds another sweep: its {part} is"):
        sweep(now, work=double, output_dir=tmp_path, resume=True)


@pytest.mark.parametrize("index", ["true", "1.0", "null"])
def test_a_row_whose_number_only_counts_as_one(index: str, tmp_path: Path) -> None:
    sweep(GRID, work=double, output_dir=tmp_path)
    (tmp_path / "cells.jsonl").write_text(f'[{index}, {{"error": ""}}]\n')
    with pytest.raises(SweepError, match="row 1: this is no row of a sweep"):
        sweep(GRID, work=double, output_dir=tmp_path, resume=True)


@pytest.mark.parametrize(
    "row",
    [
        '{"error": ""}',
        '{"x": 1, "run": 0, "error": ""}',
        '{"x": 2, "run": 0, "seed": 0, "error": ""}',
        '{"x": true, "run": 0, "seed": 0, "error": ""}',
        '{"x": 1, "run": 0, "seed": 5, "error": ""}',
        '{"x": 1, "run": 0, "seed": 0, "y": [2], "error": ""}',
        '{"x": 1, "run": 0, "seed": 0, "y": NaN, "error": ""}',
        '{"x": 1, "run": 0, "seed": 0, "error": null}',
        '["x", "run", "seed", "error"]',
        "[" * 100_000,
    ],
)
def test_a_row_of_another_run_replaces_none(row: str, tmp_path: Path) -> None:
    sweep(GRID, work=double, output_dir=tmp_path)
    with (tmp_path / "cells.jsonl").open("a") as file:
        file.write(f"[0, {row}]\n")
    with pytest.raises(SweepError, match="row 4: this is no row of a sweep; remove it and resume"):
        sweep(GRID, work=double, output_dir=tmp_path, resume=True)


def test_a_cell_is_known_by_its_place() -> None:
    plan = sweep({"x": [1, 2], "plus": [0, 10, 20]}, num_runs=2, work=double).plan
    assert [plan.cell(index) for index in range(len(plan))] == plan.cells()


def test_where_there_is_no_sweep_nothing_is_resumed(tmp_path: Path) -> None:
    for folder, there in ((tmp_path / "mistyped", "does not exist"), (tmp_path, "holds no sweep")):
        with pytest.raises(SweepError, match=f"nothing to resume: the folder .* {there}; leave resume out to begin"):
            sweep(GRID, work=double, output_dir=folder, resume=True)
    assert not list(tmp_path.iterdir())


def test_parquet_holds_the_same_table(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    found = sweep(GRID, work=fails_at_two, output_dir=tmp_path)
    assert parquet.read_table(tmp_path / "results.parquet").to_pylist() == [
        {name: row.get(name) for name in found.columns} for row in found.rows
    ]


# ------------------------------------------------------------------ nonsense


@pytest.mark.parametrize(
    ("grid", "options", "complaint"),
    [
        ({}, {}, "a grid must map names to lists of values"),
        ([1], {}, "a grid must map names to lists of values"),
        ({"x": []}, {}, "no value for x"),
        ({"x": 5}, {}, "the values of x must be a list"),
        ({"x": [1, 1]}, {}, "a value of x twice"),
        ({"x": [object()]}, {}, "a value of x must be a text, a finite number"),
        ({"x": [float("nan")]}, {}, "a value of x must be a text, a finite number"),
        ({"x": [10**5000]}, {}, "a value of x must be .* not a whole number of about 5,001 digits"),
        ({"seed": [1]}, {}, "a parameter must have a name such as slots"),
        ({"a b": [1]}, {}, "a parameter must have a name such as slots"),
        ({"x": [1]}, {"x": 2}, "x is given twice"),
        ({"x": range(1001), "y": range(1000)}, {}, "1,001,000 runs; at most 1,000,000"),
        (GRID, {"num_runs": 0}, "num_runs must be a whole number of at least 1"),
        (GRID, {"workers": 0}, "workers must be a whole number of at least 1"),
        (GRID, {"work": 5}, "work must be a function"),
        (GRID, {"work": lambda x, seed: {}, "workers": 2}, "cannot be sent to other processes"),
        (GRID, {"resume": True}, "resume needs output_dir"),
        (GRID, {"address": 5}, "address must be None"),
    ],
)
def test_nonsense_is_one_sentence(grid: Any, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SweepError, match=complaint):
        sweep(grid, **{"work": double, **options})


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (5, "the cell returned no mapping"),
        (
            {"y": 10**5000},
            "a result must be a number that a float can hold, .*, not a whole number of about 5,001 digits",
        ),
        ({"y": numpy.array([1, 2])}, "a result must be a number"),
        ({"x": numpy.array([1, 2])}, "a result must be a number"),
        ({1: 2}, "the name of a result must be a text, not 1"),
        ({"seed": None}, "the result 'seed' has the name of a parameter"),
        ({"error": ""}, "the result 'error' has the name of a parameter"),
        ({"y": object()}, "a result must be a number"),
        ({"x": 2}, "has the name of a parameter"),
    ],
)
def test_a_result_that_no_table_can_hold_is_a_failure(result: Any, complaint: str, tmp_path: Path) -> None:
    found = sweep({"x": [1, 3]}, work=lambda x, seed: result if x == 1 else {"y": 3}, output_dir=tmp_path)
    assert re.search(complaint, found.rows[0]["error"])
    assert (found.rows[1]["y"], found.rows[1]["error"]) == (3, "")
    assert list(found.rows[0].values())[:3] == [1, 0, 0]


def test_a_cell_that_ends_python_or_cannot_be_sent_fails_alone() -> None:
    for grid, sentence in (
        ({"x": [1, "exit"]}, "it ended Python with 3"),
        ({"x": [1, "unsendable"]}, "its results could not be sent here ("),
    ):
        found = sweep(grid, work=misbehaves, workers=2)
        assert [row.get("y") for row in found.rows] == [1, None]
        assert found.rows[1]["error"].startswith(sentence)
    assert sweep({"x": ["exit", 2]}, work=misbehaves).rows[1]["y"] == 2


def test_whole_numbers_of_any_length_fit_every_table(tmp_path: Path) -> None:
    rows = [row_of(SweepCell(n, {"x": n}, 0, 0), {"y": 10**300 * n, "z": (1, 0.5)[n]}, "") for n in (0, 1)]
    assert to_csv(rows).splitlines()[2] == f"1,0,0,{10**300},0.5,"
    assert _of_one_kind([row["y"] for row in rows]) == ["0", str(10**300)]
    assert _of_one_kind([row["z"] for row in rows]) == [1.0, 0.5]
    assert _of_one_kind([2, True, None]) == ["2", "True", None]
    assert _of_one_kind(["a\ud800"]) == ["a?"]


def test_a_result_that_is_not_finite_is_an_empty_field() -> None:
    (row,) = sweep({"x": [1]}, work=lambda x, seed: {"y": float("nan")}).rows
    assert row["y"] is None


# ------------------------------------------------------------------ the simulator in it


def swept() -> Sweep:
    return sweep({"policy": ["static", "continuous"], "rate": [2.0, 6.0, 12.0]}, requests=150, slots=8)


def test_policies_are_compared_on_the_same_requests() -> None:
    found = swept()
    by = {(row["policy"], row["rate"]): row for row in found.rows}
    for rate in (2.0, 6.0, 12.0):
        assert by["static", rate]["tokens"] == by["continuous", rate]["tokens"]
        assert by["continuous", rate]["ttft_mean"] < by["static", rate]["ttft_mean"]
    alone = cbviz.forecast(
        cbviz.simulator.Work.draw(
            150,
            cbviz.workload.ExponentialClipped(128, 512),
            cbviz.workload.Poisson(6.0),
            prompt_tokens=128,
            seed=0,
        ),
        "continuous",
        cost="h100-llama-3.1-8b",
        slots=8,
    )
    assert by["continuous", 6.0]["e2e_mean"] == pytest.approx(float(alone.e2e.mean()), rel=1e-9)


def test_curves_and_capacities() -> None:
    found = swept()
    curves = found.curves("ttft_p99", by="policy")
    assert curves["static"][0] == [2.0, 6.0, 12.0]
    capacity = found.capacities(0.5)
    assert capacity["static"] < capacity["continuous"]
    chart = found.chart(target=0.5)
    assert chart.svg() == swept().chart(target=0.5).svg()
    assert (chart.title, chart.x_label) == ("P99 TTFT in seconds against requests a second", "requests a second")
    with pytest.raises(SweepError, match="has no column 'ttff'"):
        found.curves("ttff")


def test_every_configuration_has_a_curve_of_its_own() -> None:
    """A mean over slots would be the capacity of no configuration."""
    grid = {"policy": ["continuous"], "rate": [1, 2, 4, 8], "slots": [2, 64]}
    found = sweep(grid, requests=60, num_runs=2)
    alone = {
        f"continuous, slots={slots}": sweep({**grid, "slots": [slots]}, requests=60, num_runs=2).capacities(1.0)
        for slots in (2, 64)
    }
    assert found.capacities(1.0) == {name: one["continuous"] for name, one in alone.items()}
    assert len(set(found.capacities(1.0).values())) == 2
    names = list(alone)
    assert list(found.knees()) == list(found.curves("ttft_p99", by="policy")) == names
    assert [series.name for series in found.chart().series] == names
    assert list(found.curves("ttft_p99")) == ["slots=2", "slots=64"]
    assert list(found.curves("ttft_p99", by="slots")) == ["2", "64"]
    assert list(found.curves("ttft_p99", by="run")) == [f"{run}, slots={slots}" for slots in (2, 64) for run in (0, 1)]
    for name, (at, means) in found.curves("ttft_p99", by="policy").items():
        assert at == [1, 2, 4, 8]
        rows = [row for row in found.rows if name.endswith(f"slots={row['slots']}") and row["rate"] == 4]
        assert means[2] == pytest.approx(sum(row["ttft_p99"] for row in rows) / 2)


def test_a_result_as_x_runs_along_one_parameter() -> None:
    found = sweep({"x": [1, 2], "plus": [0, 10]}, work=double, num_runs=2)
    assert found.curves("seed", x="y", by="plus") == {
        "0": ([2.0625, 4.0625], [0.5, 0.5]),
        "10": ([12.0625, 14.0625], [0.5, 0.5]),
    }
    with pytest.raises(
        SweepError, match=r"^y is a result, and x and plus vary, so a curve could run along any of them"
    ):
        found.curves("seed", x="y")
    loaded = sweep({"slots": [4, 8], "rate": [2.0, 9.0]}, requests=30)
    assert {name: len(at) for name, (at, _) in loaded.curves("ttft_p99", x="tokens_per_second").items()} == {
        "slots=4": 2,
        "slots=8": 2,
    }


def test_values_that_look_alike_are_named_apart() -> None:
    found = sweep({"x": [1, 2], "plus": [2, "2"]}, work=lambda x, plus, seed: {"y": x if plus == 2 else -x})
    assert found.curves("y", x="x") == {"plus=2": ([1, 2], [1, 2]), "plus='2'": ([1, 2], [-1, -2])}


def test_a_trace_is_resampled_at_the_rate() -> None:
    trace = str(Path(__file__).parent / "traffic" / "azure_2023_conversation.csv.gz")
    (row,) = sweep({"rate": [5.0]}, trace=trace, requests=400, slots=16).rows
    assert row["completed"] == 400
    assert row["simulated_seconds"] >= 399 / 5.0


def test_clients_make_a_closed_loop_of_laws_and_of_traces() -> None:
    trace = str(Path(__file__).parent / "traffic" / "azure_2023_conversation.csv.gz")
    for more in ({}, {"trace": trace}):
        few, many = sweep({"clients": [2, 6]}, requests=60, slots=8, **more).rows
        assert few["in_system"] < 2.001 < many["in_system"] < 6.001
        assert many["simulated_seconds"] < few["simulated_seconds"]


def test_targets_give_goodput_and_a_budget_reaches_the_policy() -> None:
    found = sweep({"budget": [64, 2048]}, policy="vllm_v1", requests=40, rate=20.0, target_ttft=0.5)
    small, large = found.rows
    assert 0 <= small["within_targets"] <= large["within_targets"] <= 1
    assert small["iterations"] > large["iterations"]
    (row,) = sweep({"policy": ["static"]}, budget=64, requests=10).rows
    assert "has no bound on the tokens" in row["error"]


def test_a_wrong_parameter_is_named() -> None:
    """At once: no run could succeed."""
    with pytest.raises(SweepError, match=r"there is no parameter 'slotz'; allowed are block_size, budget, .*, trace\."):
        sweep({"slotz": [1]})
    assert [row["y"] for row in sweep({"x": [1]}, work=takes_anything, z=3).rows] == [4]


def test_the_number_of_requests_can_be_swept() -> None:
    assert [row["requests"] for row in sweep({"requests": [3, 5]}, output_tokens=4).rows] == [3, 5]


# ------------------------------------------------------------------ the command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "slots=4,8", "requests=30", "--num-runs", "2", "--quiet", "--output-dir", str(tmp_path / "s")]
    assert main([*words, "--dry-run"]) == 0
    assert "4 runs; nothing was computed." in capsys.readouterr().out
    assert main([*words, "--resume"]) == 2
    assert "there is nothing to resume: the folder" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
    assert main(words) == 0
    assert "4 of 4 runs are in the table" in capsys.readouterr().out
    assert main(words) == 2
    assert "holds a sweep already" in capsys.readouterr().err
    assert main([*words, "--resume", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["runs"], facts["done"]) == (4, 4)
    assert len(facts["rows"]) == 4


def test_the_command_names_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "slots=4,0", "requests=10", "--quiet"]) == 2
    printed = capsys.readouterr()
    assert "slots=0, seed=0 failed: slots must be" in printed.err
    assert len(printed.out.splitlines()) == 3


def test_a_stop_is_said_although_a_run_had_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The failure is named, and that the others are missing, too."""
    served = sweep_work.forecast

    def interrupted(work: Any, policy: Any, *, slots: int, **more: Any) -> Any:
        if slots == 5:
            raise KeyboardInterrupt
        return served(work, policy, slots=slots, **more)

    monkeypatch.setattr(sweep_work, "forecast", interrupted)
    words = ["sweep", "slots=0,4,5,6", "requests=10", "--quiet", "--output-dir", str(tmp_path / "s")]
    assert main(words) == 130
    said = capsys.readouterr().err
    assert "slots=0, seed=0 failed: slots must be" in said
    assert "interrupted; 2 of 4 runs are kept" in said
    assert main([*words, "--no-continue-on-error", "--resume"]) == 2
    assert "interrupted" not in capsys.readouterr().err


REFUSED: dict[str, tuple[list[str], str]] = {
    "a slot too few": (["slots=4,0"], "slots=0, seed=0"),
    "no such policy": (["policy=static,nothing"], "policy=nothing, seed=0"),
    "no such calibration": (["cost=nothing,h100-llama-3.1-8b"], "cost=nothing, seed=0"),
    "memory for less than a request": (["kv_blocks=3,400"], "kv_blocks=3, seed=0"),
    "a budget without a bound": (["policy=static,sarathi", "budget=64"], "policy=static, seed=0"),
    "no such law": (["lengths=fixed,gauss"], "lengths=gauss, seed=0"),
    "a rate below zero": (["rate=1,-1"], "rate=-1, seed=0"),
    "a rate in a closed loop": (["clients=none,4", "rate=3"], "clients=4, seed=0"),
    "clients that are none": (["clients=4,0"], "clients=0, seed=0"),
    "requests that are none": (["requests=10,0"], "requests=0, seed=0"),
    "a target that is none": (["target_ttft=1,-1"], "target_ttft=-1, seed=0"),
    "no such file": (["trace=nothing,none"], "trace=nothing, seed=0"),
    "a price below zero": (["dollars_per_hour=1,-1"], "dollars_per_hour=-1, seed=0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_dry_run_names_what_the_sweep_would_refuse(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same runs, with the same reasons and the same exit code as the sweep itself, without computing it."""
    words, cell = REFUSED[case]
    few = [] if words[0].startswith("requests") else ["requests=12"]
    assert main(["sweep", *words, *few, "--quiet"]) == 2
    real = capsys.readouterr().err
    assert f"{cell} failed: " in real
    assert main(["sweep", *words, *few, "--quiet", "--dry-run"]) == 2
    printed = capsys.readouterr()
    assert printed.err == real.replace(" failed: ", " would be refused: ")
    assert "nothing was computed" in printed.out
    assert main(["sweep", *words, *few, "--quiet", "--dry-run", "--json"]) == 2
    refused = json.loads(capsys.readouterr().out)["refused"]
    assert cell in [one["run"] for one in refused]


def test_a_dry_run_of_a_long_sweep_serves_no_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[int] = []
    original = sweep_work.forecast

    def counted(work: Any, *rest: Any, **named: Any) -> Any:
        served.append(len(work))
        return original(work, *rest, **named)

    monkeypatch.setattr(sweep_work, "forecast", counted)
    assert main(["sweep", "slots=4,8", "requests=1000000", "--num-runs", "50", "--quiet", "--dry-run"]) == 0
    assert "100 runs; nothing was computed." in capsys.readouterr().out
    assert served == [1, 1]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["slots"], "is written NAME=VALUE"),
        (["slots=1,,2"], "is written NAME=VALUE"),
        (["slots=1", "slots=2"], "slots is given twice"),
        (["slotz=1,2"], "there is no parameter 'slotz'"),
        (["slotz=1,2", "--dry-run"], "there is no parameter 'slotz'"),
        (["slots=nan,1"], "a value of slots must be a text, a finite number"),
    ],
)
def test_a_wrong_word_is_one_sentence(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *words]) == 2
    assert complaint in capsys.readouterr().err


# ------------------------------------------------------------------ Ray


def test_without_ray_the_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(SweepError, match=r"install it with: pip install cbviz\[ray\]"):
        sweep(GRID, "local", work=double)


def test_errors_of_sweeps_are_cbviz_errors() -> None:
    assert issubclass(SweepError, CbvizError)
