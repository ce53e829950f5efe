"""Scheduling by hand: what a learner may do, what is counted, and what each wrong move is answered with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import cbviz
from cbviz import course
from cbviz.course.by_hand import ByHandGame, work_of
from cbviz.course.by_hand_control import ByHand
from cbviz.course.control import WIDGET
from cbviz.errors import CbvizError
from cbviz.trace import Trace
from cbviz.workload import Request, Workload

LENGTHS = (3, 6, 2, 3, 3, 2, 2)
"""The famous figure: static takes 9 iterations on four slots, continuous 6."""


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    course.language("en")


def work(lengths: tuple[int, ...] = LENGTHS) -> Workload:
    made = (Request(i, (7,) * 3, n, output_length=n, text=f"S{i + 1} <b>") for i, n in enumerate(lengths))
    return Workload("toy", tuple(made))


def control(lengths: tuple[int, ...] = LENGTHS, slots: int = 4) -> ByHand:
    return ByHand(ByHandGame(work(lengths), slots), tuple(tuple("abcdefgh"[:n]) for n in lengths))


def run(game: ByHandGame, *order: int) -> ByHandGame:
    for request in order:
        game.give(request)
    return game


def test_in_order_it_is_continuous_batching() -> None:
    game = run(ByHandGame(work(), 4), *range(7))
    assert game.over
    verdict = game.verdict()
    assert verdict.iterations == {"static": 9, "continuous": 6, "you": 6}
    assert (verdict.key, verdict.empty) == ("by hand same", 0)
    continuous = cbviz.schedule("continuous", work(), slots=4)
    owners = game.lane().owners
    for request, slot, first in zip(
        continuous.requests.id, continuous.requests.slot, continuous.requests.admitted, strict=True
    ):
        assert owners[slot, first] == request


def test_time_runs_on_only_until_a_slot_needs_a_decision() -> None:
    game = ByHandGame(work(), 4)
    run(game, 0, 1, 2)
    assert (len(game.events), game.free, game.running) == (0, [3], {0: 0, 1: 1, 2: 2})
    game.give(3)
    assert (len(game.events), game.free) == (2, [2]), "S3 has two tokens, and ends first"
    assert game.waiting == [4, 5, 6]
    assert [game.written(request) for request in range(5)] == [2, 2, 2, 2, 0]


def test_a_slot_left_empty_is_counted_and_ends_a_batch_like_static() -> None:
    game = run(ByHandGame(work(), 4), 0, 1, 2, 3)
    while len(game.free) < 4:
        game.wait()
    run(game, 4, 5, 6)
    verdict = game.verdict()
    assert (verdict.iterations["you"], verdict.key) == (9, "by hand static")
    assert verdict.empty == 4 * 6 - (3 + 6 + 2 + 3)


def test_each_way_to_finish_has_its_sentence() -> None:
    long_last = (1, 1, 1, 1, 1, 1, 6)
    assert run(ByHandGame(work(long_last), 2), 6, 0, 1, 2, 3, 4, 5).verdict().key == "by hand better"
    worse = run(ByHandGame(work((6, 1, 1, 1, 1, 1, 1)), 2), 1, 2, 3, 4, 5, 6, 0).verdict()
    assert (worse.iterations["you"], worse.iterations["continuous"], worse.empty) == (9, 6, 0)
    assert worse.key in ("by hand order", "by hand static")
    late = ByHandGame(work((6, 1, 6, 1, 6, 1)), 2)
    late.give(0)
    late.wait()
    run(late, *(request for request in (1, 2, 3, 4, 5)))
    assert late.verdict().empty > 0


@pytest.mark.parametrize(
    ("moves", "last", "said"),
    [
        ((), 7, "no request 7: they are numbered 0 to 6"),
        ((), -1, "no request -1"),
        ((), "S1", "no request 'S1'"),
        ((), None, "no request None"),
        ((), 1.5, "no request 1.5"),
        ((0,), 0, "Request 0 is in slot 0 already"),
        ((0, 1, 2, 3), 2, "Request 2 has its answer already"),
        (range(7), 0, "Every request has its answer"),
    ],
)
def test_a_wrong_choice_is_answered_and_changes_nothing(moves: tuple[int, ...], last: object, said: str) -> None:
    game = run(ByHandGame(work(), 4), *moves)
    before = (game.waiting, game.running, len(game.events))
    with pytest.raises(CbvizError, match=said):
        game.give(last)
    assert (game.waiting, game.running, len(game.events)) == before


def test_waiting_needs_something_that_runs() -> None:
    game = ByHandGame(work(), 4)
    with pytest.raises(CbvizError, match="Nothing runs"):
        game.wait()
    run(game, *range(7))
    with pytest.raises(CbvizError, match="Every request has its answer"):
        game.wait()


def test_waiting_with_a_choice_made_runs_that_choice() -> None:
    game = run(ByHandGame(work((2, 2)), 2), 0)
    game.wait()
    assert (game.free, len(game.events)) == ([0, 1], 2)
    game.give(1)
    assert game.over
    assert game.verdict().iterations == {"static": 2, "continuous": 2, "you": 4}


def test_the_buttons_do_what_the_methods_do() -> None:
    played = control()
    bundle = played._repr_mimebundle_()
    assert WIDGET in bundle
    assert "Which gets slot 0?" in bundle["text/plain"]
    assert "S1 <b>" not in bundle["text/html"], "a question is text"
    choices = played._choices
    for request in (0, 1, 2, 3):
        choices[request].click()
    assert [choice.layout.display for choice in choices] == ["none"] * 4 + [""] * 3
    assert "Which gets slot 2?" in played._status.value
    assert "ab" in played._slots.value
    played.give(3)
    assert "Request 3 is in slot 3 already" in played._status.value
    played._waits.click()
    assert played.game.free == [0, 2, 3]
    for request in (4, 5, 6):
        choices[request].click()
    assert played.game.over
    assert "You needed 6 iterations, as many as continuous batching" in played._status.value
    assert "continuous" in played._below().text
    assert played._waits.layout.display == "none"
    played._restart.click()
    assert (played.game.waiting, len(played.game.events)) == ([*range(7)], 0)
    assert choices[0].layout.display == ""


def test_it_speaks_chinese() -> None:
    course.language("zh")
    played = control()
    assert "槽位 0 给谁？" in repr(played)
    for request in range(7):
        played.give(request)
    assert "和连续批处理一样" in repr(played)


def recorded() -> Trace:
    return cbviz.recorded("smollm2-8")[0]


def test_a_run_gives_questions_and_lengths() -> None:
    made, answers = work_of(recorded(), requests=6, longest=60)
    assert [request.output_length for request in made] == [len(answer) for answer in answers]
    assert all(1 <= len(answer) <= 60 for answer in answers)
    assert len(course.by_hand(recorded(), requests=6, longest=60).game.workload) == 6


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: course.by_hand(3), "takes a trace"),
        (lambda: course.by_hand(recorded(), requests=1), "requests"),
        (lambda: course.by_hand(recorded(), slots=9), "slots"),
        (lambda: course.by_hand(recorded(), longest=0), "longest"),
        (lambda: course.by_hand(recorded(), requests=24, longest=1), "answers of at most 1 tokens"),
    ],
)
def test_nonsense_is_refused(call: object, said: str) -> None:
    with pytest.raises(CbvizError, match=said):
        call()  # type: ignore[operator]
