"""A run that has ended begins anew on its own board: a race behind Start, and a playground."""

from __future__ import annotations

from typing import Any

import pytest

from cbviz.errors import CbvizError
from cbviz.models import LoadedModel, load
from cbviz.run.play import Play, play
from cbviz.run.race import Race, race
from cbviz.run.run_control import ControlledRun
from cbviz.trace import Trace
from cbviz.view.pack import read
from tests.clocks import HANGS, until

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu", progress=False)


class Output:
    """The place of a notebook's output: the kinds of content that it has had."""

    def __init__(self, run: ControlledRun) -> None:
        self.had: list[dict[str, str]] = []
        run.outputs._handles.append(self)

    def update(self, data: dict[str, str], **options: Any) -> None:
        self.had.append(data)

    @property
    def kinds(self) -> list[str]:
        return ["board" if WIDGET in data else "picture" for data in self.had]


def press(run: ControlledRun, action: str) -> list[str]:
    """Press a button of the run's board; what it refuses."""
    refused: list[str] = []
    run.board.send = lambda content, buffers=(): refused.append(content.get("sentence", ""))
    run.board._message(run.board, {"type": "control", "action": action}, [])
    return [sentence for sentence in refused if sentence]


def stopped_after(run: ControlledRun, iterations: int) -> None:
    """Start a run from its board, step through some iterations, and stop it."""
    run.pause()
    assert press(run, "start") == []
    for _ in range(iterations):
        run.step_once()
    until(lambda: sum(len(trace.iterations) for trace in run.traces) >= iterations)  # type: ignore[attr-defined]
    assert press(run, "stop") == []
    run.wait(HANGS)


def schedule(traces: Any) -> list[Any]:
    """What the lanes computed, without the times."""
    return [(len(t.iterations), t.requests.id.tolist(), [list(row) for row in t.requests.tokens]) for t in traces]


@pytest.fixture
def raced(tiny: LoadedModel) -> Race:
    return race(tiny, slots=2, requests=4, live=True, start="button", repeats=1)


def test_a_race_that_was_stopped_runs_whole_on_the_same_board(tiny: LoadedModel, raced: Race) -> None:
    board, output = raced.board, Output(raced)
    stopped_after(raced, 3)
    assert (board._status, raced.stopped, output.kinds) == ("stopped", True, ["picture"])
    assert f'id="{board._meta["kept"]}"' in output.had[0]["text/html"], "the picture finds its board by this id"
    assert press(raced, "restart") == []
    raced.wait(HANGS)
    until(lambda: board._status == "finished")
    assert raced.board is board
    assert output.kinds == ["picture", "board", "picture"]
    assert (raced.stopped, raced.identical_outputs, board._meta["epoch"]) == (False, True, 1)
    undisturbed = race(tiny, slots=2, requests=4, live=False, repeats=1)
    assert schedule(raced.traces) == schedule(undisturbed.traces)
    blocks = list(read(board._run))
    assert [header["n"] for header, _ in blocks if header["kind"] == "iterations"] == [
        len(trace.iterations) for trace in raced.traces
    ], "nothing of the run before"
    assert sum(len(header["rows"]) for header, _ in blocks if header["kind"] == "requests") == 4


def test_requests_that_joined_the_run_before_are_not_in_the_next(raced: Race) -> None:
    raced.pause()
    assert press(raced, "start") == []
    until(lambda: bool(raced._turns))
    assert press(raced, "burst") == []
    assert len(raced.requests) > 4
    assert press(raced, "stop") == []
    raced.wait(HANGS)
    raced.restart()
    raced.wait(HANGS)
    assert [len(trace.requests) for trace in raced.traces] == [4, 4]


def test_a_race_that_has_finished_or_never_began_runs_again_too(raced: Race) -> None:
    assert press(raced, "stop") == [], "before its Start"
    raced.wait(HANGS)
    for _ in range(2):
        raced.restart()
        raced.wait(HANGS)
        assert [len(trace.requests) for trace in raced.traces] == [4, 4]
        assert not raced.stopped


def test_a_race_that_still_runs_or_has_not_begun_says_so(tiny: LoadedModel, raced: Race) -> None:
    with pytest.raises(CbvizError, match=r"this race has not been started; there is nothing to restart\."):
        raced.restart()
    assert press(raced, "restart") == ["this run cannot restart before it has begun; press Start first."]
    raced.pause()
    raced.start()
    assert press(raced, "restart") == ["this race is still running; stop it first."]
    raced.stop()
    raced.wait(HANGS)
    raced.leave()
    with pytest.raises(CbvizError, match=r"the cell of this race has run again; restart the new one\."):
        raced.restart()


@pytest.fixture
def played(tiny: LoadedModel) -> Play:
    made = play(tiny, live=False, run=False, slots=3, rate=40, mean=10, iterations=24, pace=240, seed=5)
    made.watched()
    return made


def first_changes(trace: Trace) -> list[str]:
    return [why for at, why in zip(trace.marks.iteration, trace.marks.reason, strict=True) if at == 0 and "=" in why]


def test_a_playground_that_was_stopped_runs_again_under_its_last_settings(played: Play) -> None:
    board, output = played.board, Output(played)
    stopped_after(played, 4)
    assert (board._status, output.kinds) == ("stopped", ["picture"])
    played.set("slots", 2)
    assert press(played, "restart") == []
    played.wait(HANGS)
    until(lambda: board._status == "finished")
    assert output.kinds == ["picture", "board", "picture"]
    assert len(played.trace.iterations) == 24
    assert "slots = 2" in first_changes(played.trace)
    assert played.trace.requests.id.tolist()[:3] == [0, 1, 2]
    assert board._meta["epoch"] == 1


def test_a_playground_that_broke_runs_again(played: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(type(played._lanes[0]), "step", lambda lane: 1 / 0)
        assert press(played, "start") == []
        with pytest.raises(ZeroDivisionError):
            played.wait(HANGS)
    played.restart()
    played.wait(HANGS)
    assert (played.failure, len(played.trace.iterations)) == (None, 24)


def test_a_board_that_was_closed_cannot_begin_anew(played: Play) -> None:
    board = played.board
    board.close()
    with pytest.raises(CbvizError, match=r"this board has been closed; make a new board for another run\."):
        board.restart()
