"""A live race waits behind its Start button, and whatever needs its result starts it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from cbviz import course
from cbviz.errors import CbvizError, MeasureError
from cbviz.models import LoadedModel, load
from cbviz.run.play import play
from cbviz.run.race import Race, race
from cbviz.view import LaneInfo, LiveBoard
from tests.clocks import HANGS, until

race_module = import_module("cbviz.run.race")


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu", progress=False)


@pytest.fixture
def waiting(tiny: LoadedModel) -> Race:
    return race(tiny, slots=2, requests=4, live=True, start="button")


def press(board: Any, action: str) -> list[str]:
    """Press a button of a board; what it refuses."""
    refused: list[str] = []
    board.send = lambda content, buffers=(): refused.append(content.get("sentence", ""))
    board._message(board, {"type": "control", "action": action}, [])
    return [sentence for sentence in refused if sentence]


def test_it_runs_only_when_start_is_pressed(waiting: Race) -> None:
    board = waiting.board
    assert not waiting.started
    assert (board._status, "start" in board._actions) == ("waiting", True)
    assert waiting.traces == ()
    assert press(board, "start") == []
    waiting.wait(HANGS)
    assert [len(trace.iterations) > 0 for trace in waiting.traces] == [True, True]
    until(lambda: board._status == "finished")


def test_once(waiting: Race) -> None:
    board = waiting.board
    waiting.pause()  # so that the second press comes while it runs
    assert press(board, "start") == []
    assert board._status == "running"
    assert "has been started" in press(board, "start")[0]
    waiting.wait(HANGS)


@pytest.mark.parametrize("action", ["pause", "step", "burst"])
def test_nothing_else_acts_before(waiting: Race, action: str) -> None:
    assert press(waiting.board, action) == [f"this run cannot {action} before it has begun; press Start first."]
    assert not waiting.started


def test_stop_before_start_ends_it_without_an_iteration(waiting: Race) -> None:
    board = waiting.board
    press(board, "stop")
    until(lambda: board._status == "stopped")
    assert [len(trace.iterations) for trace in waiting.traces] == [0, 0]
    assert waiting.stopped
    assert "text/html" in waiting.kept()
    assert "this run has ended" in press(board, "start")[0]


def test_a_cell_that_needs_the_result_starts_it(waiting: Race) -> None:
    assert waiting.lanes[0].iterations > waiting.lanes[1].iterations
    assert waiting.board._status == "finished"


@pytest.mark.parametrize("tell", [course.numbers, course.slot_use, course.seconds, course.sooner])
def test_so_does_a_cell_of_the_course(tiny: LoadedModel, tell: Any) -> None:
    made = race(tiny, slots=2, requests=4, live=True, start="button")
    made.pause()  # a table of a race that still runs would show half of it
    shown = repr(tell(made))
    assert not made.running
    assert shown == repr(tell(made.traces))


def test_a_race_that_was_stopped_before_its_start_has_no_ratio(waiting: Race) -> None:
    waiting.stop()
    waiting.settle()
    for ask in (lambda: waiting.iteration_ratio, lambda: waiting.speedup):
        with pytest.raises(MeasureError, match="stopped before its first iteration"):
            ask()
    assert "0 / 0" in repr(course.numbers(waiting))


def test_a_race_that_was_not_to_run_still_says_so(tiny: LoadedModel) -> None:
    made = race(tiny, slots=2, requests=4, live=True, run=False)
    assert made.board._status == "waiting"
    with pytest.raises(CbvizError, match="has not been started"):
        made.wait()


def test_a_cell_that_runs_again_leaves_a_race_that_waited(waiting: Race) -> None:
    waiting.leave()
    assert not waiting.started
    assert waiting.board is None


def test_without_a_front_end_it_starts_at_once(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race_module, "attended", lambda: False)
    made = race(tiny, slots=2, requests=4, live=True, start="button")
    assert made.started
    made.wait(HANGS)
    assert not race(tiny, slots=2, requests=4, repeats=0, live=False, start="button").running


def test_a_saved_notebook_says_why_nothing_is_there(waiting: Race) -> None:
    data, _ = waiting.board._repr_mimebundle_()
    assert "static · continuous" in data["text/html"]
    assert "waits for its Start button" in data["text/html"]
    hostile = LiveBoard([LaneInfo("<i>", "", 1)], title="<b>", on_control=print, actions=("start",), waiting=True)
    assert "<b>" not in hostile._repr_mimebundle_()[0]["text/html"]
    assert "<i>" not in hostile._repr_mimebundle_()[0]["text/html"]
    hostile.begin()
    assert "text/html" not in hostile._repr_mimebundle_()[0]


def test_a_playground_that_was_not_run_waits_too(tiny: LoadedModel) -> None:
    made = play(tiny, slots=2, mean=4, iterations=8, pace=240, live=True, run=False)
    assert made.board._status == "waiting"
    made.board._message(made.board, {"type": "control", "action": "set", "name": "slots", "value": 1}, [])
    press(made.board, "start")
    made.wait(HANGS)
    assert made.values["slots"] == 1


def test_another_start_is_refused(tiny: LoadedModel) -> None:
    with pytest.raises(CbvizError, match="start must be one of now, button, not 'later'"):
        race(tiny, start="later")  # type: ignore[arg-type]
