"""The live board without a browser: what it sends, how it waits for confirmations, and what it refuses."""

from __future__ import annotations

import threading
import time

import pytest

from cbviz.errors import CbvizError, EngineError
from cbviz.view import Control, Knob, LaneInfo, LiveBoard, Outcome, RequestText
from cbviz.view.pack import read
from tests.clocks import until
from tests.fake_runs import request, scheduled


class Page:
    """A browser that only remembers: what was sent, in order, and the iterations that arrived."""

    def __init__(self, board: LiveBoard, confirms: bool = True) -> None:
        self.board, self.confirms = board, confirms
        self.frames: list[dict] = []
        self.sizes: list[int] = []
        self.refusals: list[str] = []
        self.times: list[float] = []
        self.have = [0] * len(board.lanes)
        board.send = self.receive

    def receive(self, content: dict, buffers: list[bytes] = ()) -> None:  # type: ignore[assignment]
        if content["type"] == "refused":
            self.refusals.append(content["sentence"])
            return
        self.frames.append(content)
        self.sizes.append(len(buffers))
        self.times.append(time.monotonic())
        for data in buffers:
            for header, _ in read(data):
                if header["kind"] == "iterations" and header["first"] <= self.have[header["lane"]]:
                    self.have[header["lane"]] = max(self.have[header["lane"]], header["first"] + header["n"])
        if self.confirms:
            self.say(type="ack", seq=content["seq"])

    def say(self, **message: object) -> None:
        self.board._message(self.board, message, [])

    def hello(self) -> None:
        self.say(type="hello", have=self.have)


def iterations(n: int = 40, slots: int = 2):
    asked = [request(id, output=length % 7 + 1) for id, length in enumerate(range(n))]
    return list(scheduled(asked, slots))


def live(**options) -> LiveBoard:
    return LiveBoard([LaneInfo("static", "a", 2, 8), LaneInfo("continuous", "b", 2, 8)], **options)


def test_everything_arrives_in_few_messages_and_the_whole_run_is_kept():
    board = live(title="T")
    page = Page(board)
    board.add_requests([RequestText(0, "prompt", 3, 4)])
    page.hello()
    events = iterations()
    for event in events:
        board.push(0, event, {0: "x"})
        board.push(1, event)
    until(lambda: page.have == [len(events)] * 2)
    board.finish(Outcome(clock="lane"))
    assert len(page.frames) < len(events) / 4, "increments are gathered"
    assert min(b - a for a, b in zip(page.times, page.times[1:], strict=False)) > 0.02 if len(page.times) > 1 else True
    kinds = [(header["kind"], header.get("n")) for header, _ in read(board._run)]
    assert kinds == [("requests", None), ("iterations", len(events)), ("iterations", len(events))]
    assert board._status == "finished"
    assert board._meta["finish"]["clock"] == "lane"


def test_with_two_unconfirmed_messages_it_waits_and_gathers():
    board = live()
    page = Page(board, confirms=False)
    page.hello()
    events = iterations(200)
    for event in events[:60]:
        board.push(0, event)
        time.sleep(0.004)
    until(lambda: len(page.frames) == 2)
    time.sleep(0.2)
    assert len(page.frames) == 2
    for event in events[60:]:
        board.push(0, event)
    page.say(type="ack", seq=page.frames[-1]["seq"])
    until(lambda: page.have[0] == len(events))
    assert len(page.frames) <= 4
    board.finish()


def test_a_page_that_comes_late_or_lost_something_gets_everything_it_misses():
    board = live()
    events = iterations()
    for event in events[:20]:
        board.push(0, event)
    time.sleep(0.1)
    page = Page(board)
    assert page.frames == []
    page.hello()
    until(lambda: page.have[0] == 20)
    page.have = [7, 0]
    page.say(type="resync", have=[7, 0])
    for event in events[20:]:
        board.push(0, event)
    until(lambda: page.have[0] == len(events))
    for nonsense in (None, [1], ["a", "b"], [-1, True], {"0": 1}):
        page.say(type="resync", have=nonsense)
    board.finish()


def test_a_run_that_begins_anew_sends_nothing_of_the_old_one():
    board = live()
    page = Page(board)
    page.hello()
    events = iterations()
    board.add_requests([RequestText(0, "old", 3, 4)])
    for event in events[:20]:
        board.push(0, event)
    until(lambda: page.have[0] == 20)
    assert {frame["epoch"] for frame in page.frames} == {0}
    for event in events[20:]:
        board.push(0, event)
    board.restart()
    sent, page.have = len(page.frames), [0, 0]
    board.add_requests([RequestText(1, "new", 3, 4)])
    for event in events[:10]:
        board.push(0, event)
    until(lambda: page.have[0] == 10)
    assert {frame["epoch"] for frame in page.frames[sent + 1 :]} <= {1}, "at most one was being sent"
    assert board._meta["epoch"] == 1
    # A page that still holds the old run gets all of the new one.
    page.have = [0, 0]
    page.say(type="resync", epoch=0, have=[40, 0])
    until(lambda: page.have[0] == 10)
    board.finish()
    assert [header.get("n") for header, _ in read(board._run)] == [None, 10]
    board.restart()  # a run that is over begins anew
    assert (board._status, board._meta["epoch"], board._meta["finish"], board._run) == ("running", 2, None, b"")
    board.push(0, events[0])
    board.finish()
    board.close()
    with pytest.raises(CbvizError, match="this board has been closed"):
        board.restart()


def test_without_a_page_nothing_is_sent_and_nothing_waits():
    board = live()
    page = Page(board)
    events = iterations(400)
    start = time.monotonic()
    for event in events:
        board.push(0, event)
    board.finish()
    assert time.monotonic() - start < len(events) / 30, "no message that is due every thirtieth of a second holds it up"
    assert page.frames == []
    assert read(board._run)[0][0]["n"] == len(events)


def test_eight_thousand_iterations_in_a_hurry_lose_nothing():
    board = live()
    page = Page(board)
    page.hello()
    events = iterations(4100)
    assert len(events) > 8000
    thread = threading.Thread(target=lambda: [board.push(0, event) for event in events])
    thread.start()
    thread.join()
    until(lambda: page.have[0] == len(events), 10)
    assert len(page.frames) < 200
    board.finish()


def test_controls_arrive_checked_and_stop_is_acknowledged_at_once():
    heard: list[Control] = []
    board = live(
        on_control=heard.append,
        actions=("pause", "resume", "step", "stop", "cancel", "burst"),
        knobs=[Knob("slots", "Slots", 2, 1, 8), Knob("policy", "Policy", "static", choices=("static", "continuous"))],
    )
    board.add_requests([RequestText(3, "prompt", 3, 4)])
    page = Page(board)
    for message in (
        {"action": "pause"},
        {"action": "step"},
        {"action": "resume"},
        {"action": "cancel", "request": 3},
        {"action": "burst"},
        {"action": "set", "name": "slots", "value": 4},
        {"action": "set", "name": "policy", "value": "continuous"},
    ):
        page.say(type="control", **message)
    assert [control.action for control in heard] == ["pause", "step", "resume", "cancel", "burst", "set", "set"]
    assert heard[3].request == 3
    assert (heard[5].name, heard[5].value) == ("slots", 4.0)
    assert [knob["value"] for knob in board._knobs] == [4.0, "continuous"]
    page.say(type="control", action="pause")
    assert board._status == "paused"
    page.say(type="control", action="stop")
    assert board._status == "stopping"
    assert page.refusals == []
    board.finish(Outcome(stopped=True))
    assert board._status == "stopped"
    page.say(type="control", action="pause")
    assert "ended" in page.refusals[-1]


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"action": "explode"}, "cannot 'explode'; it can pause, resume, step, stop"),
        ({"action": None}, "cannot None"),
        ({"action": ["stop"]}, "cannot \\['stop'\\]"),
        ({"action": "burst"}, "cannot 'burst'"),
        ({"action": "set", "name": "slots", "value": 99}, "slots must be a number from 1 to 8, not 99"),
        ({"action": "set", "name": "slots", "value": True}, "slots must be a number"),
        ({"action": "set", "name": "slots", "value": float("nan")}, "slots must be a number"),
        ({"action": "set", "name": "__class__", "value": 1}, "there is no control"),
        ({"action": "set", "name": "x" * 5000}, "there is no control"),
    ],
)
def test_a_malformed_control_is_refused_with_a_sentence(message, sentence):
    import re

    heard: list[Control] = []
    board = live(on_control=heard.append, knobs=[Knob("slots", "Slots", 2, 1, 8)])
    page = Page(board)
    page.say(type="control", **message)
    assert heard == []
    assert re.search(sentence, page.refusals[0])
    assert len(page.refusals[0]) < 200


def test_unknown_messages_never_raise():
    board = live()
    page = Page(board)
    for nonsense in (None, 7, "x", [], {}, {"type": "ack", "seq": "x"}, {"type": {}}, {"type": "control"}):
        board._message(board, nonsense, [])
    assert all(isinstance(sentence, str) for sentence in page.refusals)
    assert len(page.refusals) == 3


def test_what_the_owner_raises_is_shown_and_kills_nothing():
    def owner(control: Control) -> None:
        if control.action == "pause":
            raise EngineError("the engine is busy.")
        raise ZeroDivisionError("oops")

    board = live(on_control=owner)
    page = Page(board)
    page.say(type="control", action="pause")
    page.say(type="control", action="step")
    assert page.refusals[0] == "the engine is busy."
    assert "ZeroDivisionError" in page.refusals[1]
    assert board._status == "running"


def test_a_board_that_is_over_takes_nothing_more():
    board = live()
    board.finish()
    board.finish()
    with pytest.raises(CbvizError, match="over"):
        board.push(0, iterations()[0])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LiveBoard([]), "1 to 4 lanes"),
        (lambda: LiveBoard([LaneInfo("a", "", 1)] * 5), "1 to 4 lanes"),
        (lambda: LaneInfo("a", "", 0), "at least 1 slots"),
        (lambda: live(language="fr"), "language must be"),
        (lambda: live(actions=("fly",)), "actions are"),
        (lambda: live().push(2, iterations()[0]), "lanes 0 to 1"),
        (lambda: live().add_requests([request(1)]), "RequestText"),
    ],
)
def test_nonsense_is_refused(make, sentence):
    with pytest.raises(CbvizError, match=sentence):
        make()


def test_its_text_is_the_same_every_time():
    assert repr(live()) == "LiveBoard(static, continuous)"
    data, _ = live()._repr_mimebundle_()
    assert data["text/plain"] == "LiveBoard(static, continuous)"
    assert "application/vnd.jupyter.widget-view+json" in data


def test_the_pump_ends_when_nothing_comes_and_starts_again(monkeypatch):
    monkeypatch.setattr("cbviz.view.widget.LINGER", 0.05)
    board = live()
    events = iterations()
    board.push(0, events[0])
    until(lambda: board._pump is None)
    board.push(0, events[1])
    until(lambda: board._outbox.counts[0] == 2)
    board.close()
