"""A simulation that an interrupt cuts short stands for no whole: no row of a table, no exit code of success."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz.cli import main
from cbviz.run.forecast import uninterrupted
from cbviz.simulator import Work
from cbviz.simulator.asking import AskingLoop
from cbviz.workload import ExponentialClipped, Poisson


def a_work(requests: int = 400) -> Work:
    return Work.draw(requests, ExponentialClipped(40, 200), Poisson(3.0), prompt_tokens=64)


@pytest.fixture
def interrupted_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An interrupt arrives in the first simulation that asks a policy, after some of its requests have ended."""
    calls: list[int] = []
    run = AskingLoop.run

    def broken(self: AskingLoop, progress: Callable[[int], None]) -> bool:
        def counting(done: int) -> None:
            progress(done)
            if done and not calls:
                calls.append(done)
                raise KeyboardInterrupt

        return run(self, counting)

    monkeypatch.setattr(AskingLoop, "run", broken)
    return calls


def test_a_forecast_says_that_it_was_stopped(interrupted_once: list[int]) -> None:
    found = cbviz.forecast(a_work(), "tgi", cost="h100-llama-3.1-8b")
    assert interrupted_once
    assert found.stopped
    assert 0 < found.completed.sum() < 400
    with pytest.raises(KeyboardInterrupt):
        uninterrupted(found)
    assert not cbviz.forecast(a_work(), "tgi", cost="h100-llama-3.1-8b").stopped


def test_a_sweep_keeps_no_part_of_a_run(interrupted_once: list[int], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"requests": 400, "rate": 3.0, "output_dir": tmp_path / "kept"}
    first = cbviz.sweep({"policy": ["continuous", "tgi"]}, **settings)
    assert interrupted_once
    assert first.stopped
    assert [row["policy"] for row in first.rows] == ["continuous"]
    whole = cbviz.sweep({"policy": ["continuous", "tgi"]}, resume=True, **settings)
    assert [(row["policy"], row["completed"]) for row in whole.rows] == [("continuous", 400), ("tgi", 400)]


def test_the_command_says_how_far_it_came(
    interrupted_once: list[int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["simulate", "--policy", "tgi", "--requests", "400", "--rate", "3", "--save", str(tmp_path / "run.cbviz")]
    assert main(options) == 130
    said = capsys.readouterr().out
    assert said.startswith("Interrupted: ")
    assert "of 400 requests had completed" in said
    assert not list(tmp_path.iterdir())
    interrupted_once.clear()
    assert main([*options[:-2], "--json"]) == 130
    assert 0 < json.loads(capsys.readouterr().out)["completed"] < 400
