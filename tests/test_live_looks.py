"""Looking at a run changes nothing: not in the middle, not from another thread, however often."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cbviz.config import EngineConfig
from cbviz.errors import CbvizError, TraceError, WorkloadError
from cbviz.models import LoadedModel, load
from cbviz.policies import get
from cbviz.run.capacity import kv_blocks_for
from cbviz.run.lane import Lane
from cbviz.run.live import MOST_SHOWN, Words, shown
from cbviz.run.model_workload import choose_workload
from cbviz.run.play import play
from cbviz.run.race import Race, race
from cbviz.trace import Trace
from cbviz.workload import Request
from tests.clocks import HANGS, until
from tests.test_models_pieces import certainty, of_kind


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu", progress=False)


def lane(tiny: LoadedModel, lag: int, seed: int) -> Lane:
    from cbviz.core.block_pool import BlockPool
    from cbviz.eager.eager_executor import ModelExecutor

    work = choose_workload(tiny, requests=9, seed=seed, max_new_tokens=12)
    blocks = kv_blocks_for(work, 2, 16)
    executor = ModelExecutor(
        tiny.model, slots=2, pool=BlockPool(blocks, 16), end_tokens=tiny.end_tokens, limit=tiny.context_limit
    )
    policy = get("continuous")
    return Lane(tiny, executor, policy, work, config=EngineConfig(2, blocks, 16, lag=lag), clock="alone")


def untimed(trace: Trace) -> tuple[Any, ...]:
    """All of a trace but its seconds."""
    tables = (trace.spans, trace.marks, trace.requests)
    columns = [getattr(table, name) for table in tables for name in table.__slots__ if name != "arrival"]
    return tuple(column.tolist() if hasattr(column, "tolist") else column for column in columns)


def served(run: Lane, seed: int, look: Callable[[Lane, random.Random], None]) -> tuple[Any, ...]:
    """Serve a lane, cancelling and submitting at iterations that the seed decides; `look` is called in between."""
    dice, eyes = random.Random(seed), random.Random(seed + 1)
    coming = [Request(100 + i, (5, 6, 7), 6, text="late") for i in range(3)]
    going = True
    while going or coming:
        if dice.random() < 0.3:
            run.engine.cancel(dice.randrange(9))
        if coming and (dice.random() < 0.1 or not going):
            run.submit(coming.pop())
        look(run, eyes)
        going = run.step() is not None
    for request in range(9):
        run.engine.cancel(request)
    run.step()
    look(run, eyes)
    return untimed(run.trace())


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_the_record_is_the_same_with_and_without_looks(tiny: LoadedModel, lag: int, seed: int) -> None:
    looks = 0

    def now_and_then(run: Lane, eyes: random.Random) -> None:
        nonlocal looks
        for _ in range(eyes.randrange(2)):
            run.trace(texts=eyes.random() < 0.5)
            looks += 1

    looked = served(lane(tiny, lag, seed), seed, now_and_then)
    assert looks > 5
    assert served(lane(tiny, lag, seed), seed, lambda run, eyes: None) == looked


@pytest.mark.parametrize("lag", [0, 1])
def test_a_look_from_another_thread_is_whole(tiny: LoadedModel, lag: int) -> None:
    run, over, looks, broken = lane(tiny, lag, 1), threading.Event(), 0, []

    def look() -> None:
        nonlocal looks
        while not over.is_set():
            try:
                run.trace(texts=False)
                looks += 1
            except TraceError as error:
                broken.append(error)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(5000):
        run.submit(Request(100 + i, (5, 6), 3))
        run.engine.cancel(100 + i if i % 3 else i % 9)
        run.step()
        if i >= 60 and looks > 10:
            break
    over.set()
    for thread in threads:
        thread.join()
    assert broken == []
    assert looks > 10


def forged(request: Request, **fields: object) -> Request:
    """The request with values that none takes of its own accord."""
    for name, value in fields.items():
        object.__setattr__(request, name, value)
    return request


def test_a_request_that_is_refused_leaves_no_trace(tiny: LoadedModel) -> None:
    run = lane(tiny, 0, 1)
    known = len(run.trace().requests)
    with pytest.raises(CbvizError, match=r"ids? must be below 2\*\*31"):
        run.submit(Request(500, (5,), 2), forged(Request(501, (5,), 2), id=2**31))
    with pytest.raises(WorkloadError, match="submitted before"):
        run.submit(Request(501, (5,), 2), Request(0, (5,), 2))
    assert len(run.trace().requests) == known
    run.submit(Request(500, (5,), 2), Request(501, (5,), 2))
    list(run.run())
    assert len(run.trace().requests) == known + 2


def look_at(made: Any, folder: Path) -> None:
    """Every way to look that does not wait for an end."""
    repr(made)
    made.kept()
    made._repr_mimebundle_()
    if not isinstance(made, Race):
        made.to_html(folder / "look.html")


def test_a_playground_is_looked_at_in_every_state(tiny: LoadedModel, tmp_path: Path) -> None:
    made = play(tiny, slots=2, rate=0, spread=0, mean=40, pace=240, live=False, run=False)
    made.watched()
    look_at(made, tmp_path)
    made.start()
    for act in (made.burst, made.pause, lambda: made.cancel(0), made.step_once, made.resume, made.stop):
        act()
        for _ in range(3):
            look_at(made, tmp_path)
    made.wait(HANGS)
    for _ in range(3):
        look_at(made, tmp_path)
    assert made.trace == made.trace


def test_a_race_is_looked_at_in_every_state(tiny: LoadedModel, tmp_path: Path) -> None:
    made = race(tiny, slots=2, requests=40, live=True, run=False)
    look_at(made, tmp_path)
    made.pause()
    made.start()
    made.step_once()
    until(lambda: any(len(trace.iterations) for trace in made.traces))
    for act in (made.step_once, lambda: made.cancel(39), lambda: made.submit(Request(99, (5, 6), 3)), made.step_once):
        act()
        for _ in range(3):
            look_at(made, tmp_path)
    made.stop()
    for _ in range(2):
        assert made.table().to_json()
        assert made.why(iteration=0)
        assert made.to_html(tmp_path / "race.html").stat().st_size
        assert len(made.save(tmp_path / "traces")) == 2
        look_at(made, tmp_path)
    assert made.traces == made.traces


def test_a_race_that_broke_shows_what_it_ran(tiny: LoadedModel, tmp_path: Path) -> None:
    class Broken:
        name, summary = "broken", "raises after three iterations"

        def plan(self, view: Any) -> Any:
            if view.iteration >= 3:
                raise ValueError("oops")
            return get("continuous").plan(view)

    made = race(tiny, [Broken()], slots=2, requests=4, live=True)
    for _ in range(2):
        assert made.to_html(tmp_path / "broken.html").stat().st_size
        assert "oops" in made._finish().note
        assert "broken: 3 iterations" in made.kept()["text/plain"]
        assert len(made.save(tmp_path / "traces")) == 1
        assert made.table().to_json()
        assert len(made.traces[0].iterations) == 3
    with pytest.raises(CbvizError, match="oops"):
        made.lanes  # noqa: B018


def test_the_live_text_of_a_request_is_whole_when_it_ends() -> None:
    class Model:
        tokenizer = object()

        @staticmethod
        def stream() -> Any:
            from cbviz.models.detokenizer import PieceStream

            return PieceStream(of_kind("byte level")[0], certainty("byte level"))

    from tests.fake_runs import request, scheduled

    words, texts, tokens = Words(Model()), {}, {}  # type: ignore[arg-type]
    dice = random.Random(3)
    for event in scheduled([request(i, output=1 + 5 * i) for i in range(4)], 2):
        given = event.token != -1
        event.token[given] = [dice.randrange(60, 300) for _ in range(int(given.sum()))]  # cut characters, mostly
        for slot, text in words.of(event).items():
            who = int(event.request[slot])
            texts[who] = texts.get(who, "") + text
            tokens.setdefault(who, []).append(int(event.token[slot]))
    assert texts == {who: of_kind("byte level")[0](ids) for who, ids in tokens.items()}
    assert not words._streams, "what has ended is let go"


def test_what_a_board_is_sent_of_a_prompt_is_bounded() -> None:
    text = "\x00\x1b\ud800" + "x" * 1_000_000
    row = shown(forged(Request(7, (1,), 2), text=text))
    assert len(row.prompt) == MOST_SHOWN
    assert row.prompt.endswith("…")
    from cbviz.view.pack import read, requests_block

    ((header, _),) = read(requests_block(None, [row]))
    assert header["rows"][0][1].startswith("\x00\x1b?x")
