"""Stop takes effect with the pass in flight, whatever is queued.

Half a second is what a quiet machine keeps; the limit here is far above it, and far below what the run would take.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

from cbviz.core.block_pool import BlockPool
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.errors import CbvizError
from cbviz.models import LoadedModel, load
from cbviz.run.live import BURST
from cbviz.run.play import Play, play
from cbviz.run.play_run import MOST_WAITING
from cbviz.run.race import race
from cbviz.run.run_control import Stopped
from cbviz.view.controls import ControlError
from cbviz.workload import Request, Workload
from tests.clocks import HANGS, until

SOON = 10.0
"""Seconds. Without Stop, each of these runs would take minutes."""


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu", progress=False)


def stopped_after(run: Any) -> float:
    """Seconds from Stop until nothing runs any more."""
    began = time.monotonic()
    run.stop()
    until(lambda: not run.running)
    return time.monotonic() - began


def playground(tiny: LoadedModel, **options: Any) -> Play:
    return play(tiny, slots=2, live=False, run=False, **({"rate": 20, "pace": 240} | options))


def test_whatever_is_queued(tiny: LoadedModel) -> None:
    made = playground(tiny)
    board = made.watched()
    made.pause()
    made.start()
    for _ in range(1000):
        board._message(board, {"type": "control", "action": "burst"}, [])
    board._message(board, {"type": "control", "action": "resume"}, [])
    time.sleep(0.1)
    began = time.monotonic()
    board._message(board, {"type": "control", "action": "stop"}, [])
    assert board._status in ("stopping", "stopped"), "the board says so at once"
    until(lambda: not made.running)
    assert time.monotonic() - began < SOON
    made.wait(HANGS)
    assert made.finish().stopped


def test_adding_requests_costs_their_number(tiny: LoadedModel) -> None:
    def seconds(bursts: int) -> float:
        made = playground(tiny, rate=0, iterations=1)
        made.watched()
        for _ in range(bursts):
            made.burst()
        began = time.thread_time()
        made._take_changes()
        return time.thread_time() - began

    seconds(20)
    few, many = min(seconds(100) for _ in range(3)), min(seconds(800) for _ in range(2))
    assert many < 16 * few, "eight times as many, twice the time each at most"


def test_a_playground_takes_so_many_bursts_and_no_more(tiny: LoadedModel) -> None:
    made = playground(tiny, rate=0)
    for _ in range((MOST_WAITING - 1) // BURST):
        made.burst()
    with pytest.raises(ControlError, match=f"{MOST_WAITING:,} requests are waiting"):
        made.burst()


@pytest.mark.parametrize("state", ["paused", "resting", "between"])
def test_in_every_state(tiny: LoadedModel, state: str) -> None:
    made = playground(tiny, rate=0 if state == "between" else 20, mean=1)
    if state == "resting":
        made.values["pace"] = 0.01  # rests for 100 seconds after each iteration
    if state == "paused":
        made.pause()
    made.start()
    time.sleep(0.2)
    assert made.running
    assert stopped_after(made) < SOON


def test_a_race_between_its_repeats(tiny: LoadedModel) -> None:
    made = race(tiny, slots=2, requests=2, repeats=1000, live=False, run=False).start()
    until(lambda: any(made._runs))
    assert stopped_after(made) < SOON
    made.wait(HANGS)
    assert made.kept()["text/plain"]


def test_a_policy_that_thinks_on(tiny: LoadedModel) -> None:
    planning = threading.Event()

    class Slow:
        name, summary = "slow", "thinks for a minute"

        def plan(self, view: Any) -> Any:
            planning.set()
            end = time.monotonic() + 60
            while time.monotonic() < end:
                pass

    made = race(tiny, [Slow()], slots=2, requests=2, live=True)
    assert planning.wait(HANGS)
    assert stopped_after(made) < SOON
    with pytest.raises(CbvizError, match="policy 'slow' was still planning"):
        made.wait(HANGS)


def test_graphs_that_are_captured_stop_between_two(tiny: LoadedModel) -> None:
    seen: list[tuple[int, int]] = []

    def look(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        GraphExecutor(tiny.model, slots=4, pool=BlockPool(16, 16), end_tokens=tiny.end_tokens, progress=look)
    assert [done for done, _ in seen] == [0, 1, 2]
    assert seen[0][1] > 3


def test_a_race_that_is_stopped_before_its_lanes_are_ready(tiny: LoadedModel) -> None:
    made = race(tiny, slots=2, requests=4, live=True, run=False)
    made.stop()
    made.start().wait(HANGS)
    assert made.finish().stopped
    assert made.kept()["text/plain"]
    assert repr(made)


def test_an_interrupted_wait_stops_the_run(tiny: LoadedModel) -> None:
    made = playground(tiny).start()
    until(lambda: len(made.trace.iterations) > 3)

    class Interrupted(threading.Event):
        times = 0

        def wait(self, timeout: float | None = None) -> bool:
            Interrupted.times += 1
            if Interrupted.times == 1:
                raise KeyboardInterrupt
            return super().wait(timeout)

    over, made._done = made._done, Interrupted()
    made._done._flag = over._flag  # type: ignore[attr-defined]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        made.wait()
    assert time.monotonic() - began < SOON
    assert made.stopped
    assert not made.running
    assert len(made.trace.iterations) > 3


def test_malformed_messages_change_nothing(tiny: LoadedModel) -> None:
    dice = random.Random(0)
    made = playground(tiny, rate=0, backlog=1, mean=3, spread=0)
    board = made.watched()
    refused: list[str] = []
    board.send = lambda content, buffers=(): refused.append(content.get("sentence", ""))
    odd: list[Any] = [
        None,
        True,
        -1,
        2**70,
        1e308,
        float("nan"),
        "",
        "stop ",
        "\ud800",
        "x" * 5000,
        [],
        {},
        [[]],
        b"\xff",
    ]
    keys = ["type", "action", "request", "name", "value", "seq", "have", "__class__"]
    kinds = ["control", "ack", "resync", "contro", None, 3]
    for _ in range(500):
        message: Any = {key: dice.choice(odd) for key in dice.sample(keys, dice.randrange(len(keys)))}
        message["type"] = dice.choice(kinds)
        if dice.random() < 0.3:
            message["action"] = dice.choice(["set", "cancel", "Stop", "step\x00"])
        board._message(board, dice.choice(odd) if dice.random() < 0.1 else message, [])
    assert all(len(sentence) < 300 for sentence in refused)
    assert not made.stopped
    assert made.values == {name: knob.check(knob.value) for name, knob in made.knobs.items()}
    assert made._bursts == 0
    assert len(made.trace.requests) == 1


def test_many_runs_leave_nothing_behind(tiny: LoadedModel) -> None:
    import gc

    from ipywidgets.widgets import widget

    def left() -> tuple[int, int]:
        gc.collect()
        threads = [thread for thread in threading.enumerate() if thread.name.startswith(("cbviz race", "cbviz board"))]
        boards = [board for board in list(widget._instances.values()) if type(board).__name__ == "LiveBoard"]
        return len(threads), len(boards)

    before = left()
    for number in range(8):
        made: Any
        if number % 4:
            made = play(tiny, slots=2, mean=2, iterations=4, pace=240, seed=number, live=True)
        else:
            made = race(
                tiny, slots=2, workload=Workload("two", (Request(0, (5, 6), 3), Request(1, (7,), 3))), live=True
            )
        made.wait(HANGS)
        made.leave()
        assert made.board is None
        assert made.kept()["text/html"]
    del made
    until(lambda: left() <= before)
