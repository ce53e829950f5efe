"""A folder continues one sweep over files as they were, and a dry run is refused where the sweep would be."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz.cli import main
from cbviz.errors import SweepError
from cbviz.run.sweep import sweep
from cbviz.simulator import CostModel, save_cost
from tests.sweep_cells import double, sleeps

ROOT = Path(__file__).parents[1]
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
TRAFFIC = HEADER + "2023-11-16 18:15:46.0,10,10\n2023-11-16 18:15:47.0,12,9\n"
SLOTS = {"slots": [1, 2]}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_cost(cbviz.simulator.load_cost("h100-smollm2-135m"), "mine.json")
    Path("day.csv").write_text(TRAFFIC)
    return tmp_path


def swept(**more: Any) -> Any:
    return sweep(SLOTS, requests=4, output_dir="sw", **more)


def plan() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path("sw/sweep.json").read_text())
    return read


@pytest.mark.parametrize(("name", "file"), [("cost", "mine.json"), ("trace", "day.csv")])
def test_rows_of_two_files_are_not_mixed(name: str, file: str, home: Path) -> None:
    first = swept(**{name: file})
    assert list(plan()["files"]) == [f"{name}={file}"]
    assert swept(**{name: file}, resume=True).to_csv() == first.to_csv()
    before = Path(file).read_text()
    if name == "cost":
        save_cost(CostModel(0.5, name="slow"), file)
    else:
        Path(file).write_text(TRAFFIC.replace(",10,10", ",10,90"))
    kept = Path("sw/cells.jsonl").read_text()
    Path("sw/cells.jsonl").write_text(kept.splitlines(keepends=True)[0])
    with pytest.raises(
        SweepError, match=rf"has rows of another {name}={file}: the file has changed since; put it back"
    ):
        swept(**{name: file}, resume=True)
    Path(file).write_text(before)
    assert swept(**{name: file}, resume=True).to_csv() == first.to_csv()


def test_a_file_in_the_grid_is_known_by_its_content(home: Path) -> None:
    grid = {"cost": ["mine.json", "h100-llama-3.1-8b"]}
    sweep(grid, requests=4, output_dir="sw")
    assert list(plan()["files"]) == ["cost=mine.json"]
    save_cost(CostModel(0.5, name="slow"), "mine.json")
    with pytest.raises(SweepError, match=r"another cost=mine\.json"):
        sweep(grid, requests=4, output_dir="sw", resume=True)


def test_an_older_plan_continues_and_knows_its_files_from_then_on(home: Path) -> None:
    swept(cost="mine.json")
    older = {name: value for name, value in plan().items() if name != "files"}
    Path("sw/sweep.json").write_text(json.dumps(older))
    swept(cost="mine.json", resume=True)
    assert list(plan()["files"]) == ["cost=mine.json"]


def test_a_file_that_was_missing_may_be_brought(home: Path) -> None:
    Path("day.csv").rename("aside.csv")
    assert len(swept(trace="day.csv").failed) == 2
    assert plan()["files"] == {}
    Path("aside.csv").rename("day.csv")
    assert not swept(trace="day.csv", resume=True).failed
    assert list(plan()["files"]) == ["trace=day.csv"]


@pytest.mark.parametrize("files", [5, ["x"], {"cost=mine.json": 5}])
def test_damaged_digests_are_one_sentence(files: Any, home: Path) -> None:
    swept(cost="mine.json")
    Path("sw/sweep.json").write_text(json.dumps({**plan(), "files": files}))
    with pytest.raises(SweepError, match=r"sweep\.json is damaged: its files must be names and SHA-256 digests"):
        swept(cost="mine.json", resume=True)


def test_a_file_is_read_again_when_it_has_changed(home: Path) -> None:
    (before,) = sweep({"trace": ["day.csv"]}, requests=4).rows
    Path("day.csv").write_text(TRAFFIC.replace(",10,10", ",10,900"))
    (after,) = sweep({"trace": ["day.csv"]}, requests=4).rows
    assert after["tokens"] > before["tokens"]


# ------------------------------------------------------------------ dry runs


def test_a_dry_run_is_refused_where_the_sweep_would_be(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "slots=1,2", "requests=4", "cost=mine.json", "--quiet"]
    kept = [*words, "--output-dir", "sw"]
    assert main([*kept, "--dry-run"]) == 0
    assert not Path("sw").exists()
    assert main(kept) == 0
    state = {path: path.read_bytes() for path in Path("sw").iterdir()}
    capsys.readouterr()
    refused = [
        (kept, "holds a sweep already; resume it"),
        ([*kept, "--resume", "--num-runs", "2"], "holds another sweep: its num_runs is 1, and this one's 2"),
        ([*kept, "--resume", "--seed", "4"], "holds another sweep: its seed is 0"),
        ([*words, "--resume"], "--resume needs --output-dir, the folder that holds the sweep"),
        ([*words, "--resume", "--output-dir", "other"], "there is nothing to resume"),
        ([*words, "--address", ""], "address must be None"),
        ([*words, "--output-dir", "day.csv"], "it must be a folder"),
    ]
    for given, sentence in refused:
        said = []
        for dry in (["--dry-run"], []):
            assert main([*given, *dry]) == 2, given
            printed = capsys.readouterr()
            assert not printed.out
            said.append(printed.err)
        assert sentence in said[0]
        assert said[0] == said[1]
    save_cost(CostModel(0.5, name="slow"), "mine.json")
    assert main([*kept, "--resume", "--dry-run"]) == 2
    assert "has rows of another cost=mine.json" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("sw").iterdir()} == state


def test_a_dry_run_of_a_resumed_sweep_lists_what_is_left(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "slots=1,2,0", "requests=4", "--quiet", "--output-dir", "sw"]
    assert main(words) == 2
    rows = Path("sw/cells.jsonl").read_bytes()
    cut = rows.splitlines(keepends=True)[0] + rows.splitlines()[1][:30]
    Path("sw/cells.jsonl").write_bytes(cut)
    capsys.readouterr()
    assert main([*words, "--resume", "--dry-run"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "slots=2, seed=0\nslots=0, seed=0\n2 runs; nothing was computed.\n"
    assert "slots=0, seed=0 would be refused" in printed.err
    assert Path("sw/cells.jsonl").read_bytes() == cut


def test_what_is_refused_at_once_leaves_no_folder(home: Path) -> None:
    for more in ({"address": ""}, {"workers": 2, "work": lambda x, seed: {}}):
        with pytest.raises(SweepError):
            sweep({"x": [1]}, output_dir="new", **{"work": double, **more})  # type: ignore[arg-type]
        assert not Path("new").exists()


# ------------------------------------------------------------------ a stop

STOPPED = """
import os
from cbviz.run.progress import SilentProgress
from cbviz.run.sweep import sweep
from tests.sweep_cells import double

class Interrupting(SilentProgress):
    def advance(self, title, steps=1, note=""):
        raise KeyboardInterrupt

if __name__ == "__main__":
    print(sweep({"x": list(range(40))}, work=double, workers=2, progress=Interrupting()).stopped, flush=True)
    os._exit(0)  # as the command ends after an interrupt
"""


def test_a_stop_leaves_nothing_of_the_workers(tmp_path: Path) -> None:
    """Python's resource tracker names what was not given back, after the command has said its last word."""
    (tmp_path / "stopped.py").write_text(STOPPED)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "stopped.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_an_interrupt_while_work_is_handed_out_waits_for_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first cell would sleep for minutes."""
    submit = ProcessPoolExecutor.submit

    def interrupted(pool: Any, *given: Any) -> Any:
        submit(pool, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    assert sweep({"x": [300, 301]}, work=sleeps, workers=2).stopped
    assert not multiprocessing.active_children()
