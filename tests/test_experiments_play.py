"""The playground: controls act on the engine that runs, every change is in the trace, and closed slots stay empty."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest

from cbviz.errors import CbvizError
from cbviz.events import Iteration, State
from cbviz.models import LoadedModel, load
from cbviz.policies import POLICIES, get
from cbviz.run.play import Play, play
from cbviz.run.request_stream import RequestStream
from cbviz.trace import MARK_KINDS, Trace
from cbviz.view import Board, Control
from cbviz.view.controls import ControlError
from cbviz.view.player import describe
from tests.clocks import HANGS, until


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu", progress=False)


Changes = Mapping[int, Mapping[str, float | str]]


class Hand:
    """Stands where a board stands, and sets controls after given iterations: a hand that never varies."""

    def __init__(self, play: Play, changes: Changes, bursts: tuple[int, ...] = ()) -> None:
        self.play, self.changes, self.bursts = play, changes, bursts
        self.events: list[Iteration] = []
        self.asked: list[Any] = []
        self.restarts: list[int] = []
        self.ended = ""

    def push(self, lane: int, event: Iteration, pieces: Mapping[int, str]) -> None:
        self.events.append(event)
        for name, value in self.changes.get(event.index, {}).items():
            self.play.set(name, value)
        if event.index in self.bursts:
            self.play.burst()

    def begin(self) -> None: ...

    def restart(self) -> None:
        self.restarts.append(len(self.events))
        self.asked.clear()

    def show_knob(self, name: str, value: float | str) -> None: ...

    def add_requests(self, rows: Any) -> None:
        self.asked += rows

    def kept_as(self, element: str) -> None: ...

    def finish(self, summary: Any) -> None:
        self.ended = "finished"

    def fail(self, sentence: str) -> None:
        self.ended = sentence


_ALONE = {"pace": 240, "iterations": 160, "slots": 8, "most_slots": 8, "rate": 20, "beside": None, "backlog": 1}


def played(tiny: LoadedModel, changes: Changes, bursts: tuple[int, ...] = (), **options: Any) -> tuple[Trace, Hand]:
    made = play(
        tiny,
        live=False,
        run=False,
        **(_ALONE | options),
    )
    hand = Hand(made, changes, bursts)
    made.board = hand
    made.run()
    assert hand.ended == "finished"
    return made.trace, hand


def changes_of(trace: Trace) -> list[tuple[int, str]]:
    marks = trace.marks
    rows = zip(marks.kind, marks.iteration, marks.reason, strict=True)
    return [(int(i), reason) for kind, i, reason in rows if MARK_KINDS[kind] == "set"]


def test_every_change_is_marked_before_the_next_iteration_and_survives_a_file(
    tiny: LoadedModel, tmp_path: Path
) -> None:
    changes = {19: {"slots": 3}, 49: {"policy": "static", "rate": 60}, 89: {"spread": 0}}
    trace, hand = played(tiny, changes, slots=5)
    start = [(0, "slots = 5"), (0, "rate = 20"), (0, "spread = 1"), (0, "policy = continuous"), (0, "pace = 240")]
    later = [(20, "slots = 3"), (50, "policy = static"), (50, "rate = 60"), (90, "spread = 0")]
    assert changes_of(trace) == [*start, *later]
    assert Trace.load(trace.save(tmp_path / "played.cbviz")) == trace
    assert [mark.reason for mark in hand.events[50].changed] == ["policy = static", "rate = 60"]
    assert {row.id for row in hand.asked} == set(trace.requests.id[1:].tolist())
    assert trace.meta.policy == "playground"


def test_the_same_seed_and_the_same_hand_give_the_same_schedule(tiny: LoadedModel) -> None:
    changes: Changes = {9: {"slots": 2}, 39: {"policy": "vllm_v1", "rate": 80}, 70: {"slots": 8}}
    one, _ = played(tiny, changes, bursts=(20,), iterations=110)
    two, _ = played(tiny, changes, bursts=(20,), iterations=110)
    for name in ("slot", "request", "state", "first", "end"):
        assert getattr(one.spans, name).tolist() == getattr(two.spans, name).tolist(), name
    assert one.requests.tokens == two.requests.tokens


def test_no_request_enters_a_closed_slot_and_none_is_thrown_out_of_one(tiny: LoadedModel) -> None:
    trace, hand = played(tiny, {29: {"slots": 2}, 119: {"slots": 6}}, slots=6, rate=90)
    for before, event in pairwise(hand.events):
        busy = int((event.state != State.IDLE).sum())
        limit = 6 if event.index < 30 or event.index >= 120 else 2
        if event.admitted:
            assert busy <= limit, f"iteration {event.index}"
            assert all(mark.slot < limit for mark in event.admitted)
        left = set(before.request.tolist()) - set(event.request.tolist()) - {-1}
        assert left <= {end.request for end in before.finished}, "who runs goes on to its end"
    assert int((hand.events[29].state != State.IDLE).sum()) == 6, "all six were busy"
    assert int((hand.events[119].state != State.IDLE).sum()) == 2
    assert int((hand.events[125].state != State.IDLE).sum()) == 6, "opened again, they fill at once"
    # A request waits all the time: idle slots are closed, not wasted.
    assert trace.iterations.waiting[60:119].min() > 0
    closed = trace.closed_slots
    assert (trace.iterations.idle_slots[60:119] == closed[60:119]).all()
    assert closed[:30].max() == 2
    assert closed[119] == 6


@pytest.mark.parametrize("policy", list(POLICIES))
def test_every_policy_keeps_to_the_open_slots_and_hands_over(tiny: LoadedModel, policy: str) -> None:
    changes: Changes = {14: {"slots": 2}, 44: {"policy": "continuous"}, 59: {"policy": policy, "slots": 4}}
    _, hand = played(tiny, changes, policy=policy, slots=4, rate=100, mean=12, iterations=90)
    for before, event in pairwise(hand.events):
        limit = 2 if 15 <= event.index < 60 else 4
        busy = int((event.state != State.IDLE).sum())
        assert busy <= limit or (busy <= int((before.state != State.IDLE).sum()) and not event.admitted)
    late = [mark.reason for mark in hand.events[60].changed]
    assert late == [f"policy = {policy}", "slots = 4"]


def test_a_policy_decides_from_the_next_plan_on(tiny: LoadedModel) -> None:
    _, hand = played(tiny, {79: {"policy": "static"}}, slots=4, rate=100, mean=10)
    before = [event for event in hand.events if event.index < 80]
    assert not any((event.state == State.HELD).any() for event in before)
    assert any((event.state == State.HELD).any() for event in hand.events[80:])
    entering = [event.index for event in hand.events[81:] if event.admitted]
    assert entering
    for i in entering:
        ended = {end.request for event in hand.events[:i] for end in event.finished}
        seated = {r for r in hand.events[i - 1].request.tolist() if r != -1}
        assert seated <= ended, "static admits only when its whole batch has ended"


def test_rate_and_spread_act_on_the_next_arrivals(tiny: LoadedModel) -> None:
    _, hand = played(tiny, {0: {"rate": 0}, 59: {"rate": 100}}, rate=50, slots=8)
    arrivals = np.array([len(event.arrived) for event in hand.events])
    assert arrivals[2:60].sum() == 0
    assert 60 <= arrivals[61:].sum() <= 140, "100 in 100 iterations, give or take four standard deviations"
    burst, _ = played(tiny, {0: {"rate": 0}}, bursts=(10,), slots=8, iterations=30)
    assert (burst.requests.arrived == 11).sum() == 8


def test_lengths_spread_as_asked(tiny: LoadedModel) -> None:
    source = RequestStream(tiny, 40, seed=3)
    for spread in (0.0, 0.5, 1.0):
        lengths = [len(source.draw(i, spread).answer or "") + 1 for i in range(600)]
        assert fmean(lengths) == pytest.approx(40, rel=0.12)
        assert stdev(lengths) / fmean(lengths) == pytest.approx(spread, abs=0.12)
        assert spread > 0 or len(set(lengths)) == 1
    same = [[RequestStream(tiny, 40, seed).draw(0, 1.0) for _ in range(2)] for seed in (1, 1, 2)]
    assert same[0] == same[1]
    assert same[0] != same[2]
    assert np.mean([source.gap(25) for _ in range(2000)]) == pytest.approx(4, rel=0.15)


def test_it_waits_when_no_request_is_there_and_stops_when_asked(tiny: LoadedModel) -> None:
    made = play(tiny, live=False, run=False, rate=0, mean=3, spread=0, pace=240).start()
    until(lambda: len(made.trace.iterations) >= 3)
    time.sleep(0.2)
    assert made.running
    known = len(made.trace.requests)
    made.burst()
    until(lambda: len(made.trace.requests) > known)
    made.pause()
    made.step_once()
    made.cancel(0)
    made.stop()
    made.wait(20)
    assert len(made.trace.requests) == known + 8
    assert made.finish().stopped
    with pytest.raises(TimeoutError):
        play(tiny, live=False, run=False).wait(0.01)


def test_wishes_of_a_board_reach_the_engine(tiny: LoadedModel) -> None:
    made = play(tiny, live=False, run=False, iterations=40, pace=240)
    board = made.watched()
    for control in (Control("set", name="slots", value=3), Control("burst"), Control("pause"), Control("resume")):
        made.obey(control)
    assert {knob["name"]: knob["value"] for knob in board._knobs}["slots"] == 3
    made.set("policy", "orca")
    assert {knob["name"]: knob["value"] for knob in board._knobs}["policy"] == "orca"
    made.run()
    assert board._status == "finished"
    assert len(made.trace.requests) >= 9
    assert "policy orca" in repr(made)
    assert set(made._repr_mimebundle_()) == {"text/html", "text/plain"}


def test_two_lanes_serve_the_same_arrivals_and_only_their_policies_differ(tiny: LoadedModel) -> None:
    made = play(tiny, live=False, run=False, slots=4, most_slots=6, rate=60, mean=12, iterations=120, pace=240)
    board = made.watched()
    assert [lane["slots"] for lane in board._meta["lanes"]] == [6, 6]
    assert made.values["beside"] == "static"
    made.run()
    above, below = made.traces
    assert len(above.iterations) == len(below.iterations) == 120
    assert above.requests.id.tolist() == below.requests.id.tolist()
    assert above.requests.arrived.tolist() == below.requests.arrived.tolist(), "nothing is idle here: the same arrivals"
    assert int(above.iterations.waiting[0]) == int(below.iterations.waiting[0]) == 4, "eight wait, four enter at once"
    settings = [{words for i, words in changes_of(trace) if i == 0} for trace in (above, below)]
    assert settings[0] ^ settings[1] == {"policy = static", "policy = continuous"}
    assert (above.spans.state == State.HELD).any()
    assert not (below.spans.state == State.HELD).any()
    done = [(trace.requests.reason >= 0).sum() for trace in (above, below)]
    assert done[1] > done[0]
    both = [
        i for i in above.requests.id.tolist() if all(t.requests.reason[t.requests.row(i)] >= 0 for t in (above, below))
    ]
    assert both
    for i in both:
        assert len({trace.requests.tokens[trace.requests.row(i)] for trace in (above, below)}) == 1


def test_the_upper_lane_changes_its_policy_alone(tiny: LoadedModel) -> None:
    made = play(tiny, live=False, run=False, slots=3, rate=40, mean=10, iterations=60, pace=240)
    hand = Hand(made, {19: {"beside": "continuous", "slots": 2}})
    made.board = hand
    made.run()
    above, below = made.traces
    later = [[words for i, words in changes_of(trace) if i > 0] for trace in (above, below)]
    assert [sorted(set(words)) for words in later] == [["policy = continuous", "slots = 2"], ["slots = 2"]]


def test_what_breaks_it_is_said_and_what_was_run_is_kept(tiny: LoadedModel) -> None:
    class Broken:
        name, summary = "broken", "raises after ten iterations"

        def plan(self, view: Any) -> Any:
            if view.iteration >= 10:
                raise ValueError("oops")
            return get("continuous").plan(view)

    made = play(tiny, Broken(), live=False, run=False, pace=240)
    hand = Hand(made, {})
    made.board = hand
    with pytest.raises(CbvizError, match="oops"):
        made.run()
    assert "oops" in hand.ended
    assert len(made.trace.iterations) == 10
    with pytest.raises(CbvizError, match="oops"):
        made.wait(1)


def test_pages_and_pictures_leave_closed_slots_empty(tiny: LoadedModel, tmp_path: Path) -> None:
    made = play(tiny, live=False, run=False, slots=2, most_slots=4, rate=80, iterations=60, pace=240).run()
    page = made.to_html(tmp_path / "play.html", language="zh")
    assert "试验场" in page.read_text("utf-8")
    from PIL import Image

    image = Image.open(Board(made.trace).to_png(tmp_path / "play.png", width=400, scale=1)).convert("RGB")
    pixels = np.asarray(image)
    busy, closed = pixels[42:44, 60:300], pixels[40 + 3 * 24 + 2 : 40 + 3 * 24 + 4, 60:300]
    assert (closed == 255).all(), "the page shows through"
    assert not (busy == 255).all(axis=-1).any()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"slots": 0}, "slots must be a whole number of at least 1"),
        ({"slots": 2.5}, "slots must be a whole number"),
        ({"backlog": 0}, "backlog must be a whole number of at least 1"),
        ({"beside": "magic"}, "there is no policy 'magic'"),
        ({"most_slots": True}, "most_slots must be"),
        ({"rate": -1}, "rate must be a number from 0 to 100"),
        ({"rate": float("nan")}, "rate must be"),
        ({"spread": 3}, "spread must be a number from 0 to 2"),
        ({"mean": 0}, "mean must be a number of tokens from 1 to 320"),
        ({"pace": 0}, "pace must be a number from 1 to 240"),
        ({"iterations": 0}, "iterations must be"),
        ({"seed": -1}, "seed must be"),
        ({"policy": "magic"}, "there is no policy 'magic'"),
        ({"policies": "static"}, "policies must be a list"),
        ({"policies": ["magic"]}, "there is no policy 'magic'"),
        ({"language": "fr"}, "language must be"),
    ],
)
def test_nonsense_is_refused(tiny: LoadedModel, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CbvizError, match=sentence):
        play(tiny, live=False, run=False, **options)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("slots", 99, "slots must be a number from 1 to 8"),
        ("slots", 2.5, "slots must be a whole number"),
        ("policy", "magic", "policy must be one of continuous, static"),
        ("colour", 1, "there is no control 'colour'"),
        ("rate", "many", "rate must be a number"),
    ],
)
def test_a_control_refuses_what_it_cannot_take(tiny: LoadedModel, name: str, value: Any, sentence: str) -> None:
    made = play(tiny, live=False, run=False)
    before = dict(made.values)
    with pytest.raises(ControlError, match=sentence):
        made.set(name, value)
    assert made.values == before


def test_a_restart_serves_the_same_requests_under_the_controls_as_they_are(tiny: LoadedModel) -> None:
    made = play(tiny, live=False, run=False, slots=4, rate=40, mean=10, iterations=40, pace=240, seed=5)
    hand = Hand(made, {9: {"slots": 2, "policy": "orca"}})
    made.board = hand
    push, seen = hand.push, []

    def push_and_restart(lane: int, event: Iteration, pieces: Mapping[int, str]) -> None:
        if lane == 1 and event.index == 20 and not hand.restarts:
            seen.append(made.trace)
            made.pause()
            made.restart()  # a paused playground continues
        push(lane, event, pieces)

    hand.push = push_and_restart  # type: ignore[method-assign]
    made.run()
    before, after = seen[0], made.trace
    assert len(hand.restarts) == 1
    assert (len(before.iterations), len(after.iterations)) == (21, 40), "the limit counts from the restart"
    assert [words for i, words in changes_of(after) if i == 0] == [
        *("slots = 2", "rate = 40", "spread = 1", "policy = orca", "pace = 240")
    ]
    common = min(len(before.requests), len(after.requests))
    assert before.requests.prompt[:common] == after.requests.prompt[:common]
    assert {row.id for row in hand.asked} == set(after.requests.id.tolist()), "no prompt of the old run is left"
    made.restart()  # it has ended: so it runs again
    made.wait(HANGS)
    assert (len(hand.restarts), len(made.trace.iterations)) == (2, 40)


def test_why_a_request_waits_is_the_reason_of_the_last_plan(tiny: LoadedModel) -> None:
    made = play(tiny, live=False, run=False, slots=2, rate=0, backlog=6, mean=30, spread=0, iterations=12, pace=240)
    assert made.why(5) == ["", ""], "nothing has been planned"
    made.run()
    assert made.why(0) == ["", ""], "it does not wait"
    assert [reason.key for reason in made.why(5)] == ["why.no_slot"] * 2  # type: ignore[attr-defined]


def test_every_page_hears_why(tiny: LoadedModel) -> None:
    made = play(tiny, live=False, run=False, slots=2, rate=0, backlog=6, mean=30, spread=0, iterations=6, pace=240)
    board = made.watched()
    sent: list[dict[str, Any]] = []
    board.send = lambda content, buffers=(): sent.append(content)
    made.run()
    board._over = False  # as if it still ran
    board._message(board, {"type": "control", "action": "why", "request": 5}, [])
    assert [(message["type"], message["request"], len(message["reasons"])) for message in sent] == [("why", 5, 2)]
    assert all(isinstance(reason, list) for reason in sent[0]["reasons"]), "as a message, said in the page's language"
    board._message(board, {"type": "control", "action": "why", "request": 99}, [])
    assert sent[-1]["sentence"] == "there is no request 99 to ask about."
    board._over = True
    board._message(board, {"type": "control", "action": "why", "request": 5}, [])
    assert len(sent) == 2, "asked while it ended: nothing to refuse"


def test_the_result_calls_the_lanes_by_their_policies_and_keeps_the_controls(tiny: LoadedModel) -> None:
    made = play(tiny, live=False, run=False, slots=2, rate=40, mean=8, iterations=20, pace=240)
    made.board = Hand(made, {9: {"policy": "orca", "slots": 1}})
    made.run()
    said = made.kept()["text/plain"].splitlines()
    assert [line.split(":")[0] for line in said] == ["static", "orca"]
    knobs = [replace(knob, value=made.values[name]) for name, knob in made.knobs.items()]
    meta = describe(made.traces, made.finish(), "title", None, knobs)
    assert [lane["name"] for lane in meta["lanes"]] == ["static", "orca"]
    assert {knob["name"]: knob["value"] for knob in meta["knobs"]}["slots"] == 1
    assert "knobs" not in describe(made.traces, made.finish(), "title", None)
