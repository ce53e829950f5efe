"""Every exercise accepts its solution and answers plausible mistakes with sentences of their own; hints by degrees."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import repeat
from typing import Any

import pytest

from cbviz import course
from cbviz.course.exercise import Verdict, check, exercises, forget
from cbviz.course.limit import TooSlow, within
from cbviz.course.words import say
from cbviz.errors import CbvizError
from tests.course_answers import WRONG, solved

pytestmark = pytest.mark.usefixtures("course_afresh")


@pytest.mark.parametrize("name", exercises())
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_solution_is_accepted(name: str, language: str) -> None:
    course.language(language)
    verdict = check(name, solved(name))
    assert verdict.right, verdict
    assert repr(verdict).startswith(say("right"))


@pytest.mark.parametrize("name", exercises())
def test_five_plausible_mistakes_each_get_their_own_sentence(name: str) -> None:
    said = []
    for wrong, expected in WRONG[name]:
        forget()
        verdict = check(name, wrong)
        assert verdict.right is False, f"{name} accepts {wrong!r}"
        first = repr(verdict).splitlines()[0]
        assert expected in first, f"{name}, {wrong!r}: {first}"
        said.append(first)
    assert len(set(said)) >= 5, f"{name} tells fewer than five mistakes apart"


@pytest.mark.parametrize("name", exercises())
def test_what_is_not_answered_is_not_wrong(name: str) -> None:
    for nothing in (..., None):
        verdict = check(name, nothing)
        assert verdict.right is None
        assert "not answered yet" in repr(verdict)
    assert course.progress().text.count(say("open")) == len(exercises())


@pytest.mark.parametrize("name", exercises())
@pytest.mark.parametrize(
    "nonsense",
    ["", [], {}, object(), 1e400, float("nan"), -1, True, "A" * 500, int],
    ids=lambda it: repr(it).split(" at ")[0],
)
def test_nonsense_gets_a_short_sentence(name: str, nonsense: Any) -> None:
    verdict = check(name, nonsense)
    assert verdict.right is False
    assert len(repr(verdict)) < 400


@pytest.mark.parametrize("name", exercises())
def test_hints_come_one_by_one_and_then_the_way_to_the_solution(name: str) -> None:
    hints = exercises()[name].hints
    assert len(hints) >= 2
    wrong = WRONG[name][0][0]
    for count in range(len(hints) + 2):
        lines = repr(check(name, wrong)).splitlines()
        shown = min(count, len(hints))
        assert lines[1 : 1 + shown] == [
            f"{say('hint', number=i + 1, all=len(hints))} {say(key)}" for i, key in enumerate(hints[:shown])
        ]
        assert (f"course.solution({name!r})" in lines[-1]) == (count >= len(hints))
    assert exercises()[name].solution.strip() in repr(course.solution(name))


def test_progress_tells_them_apart() -> None:
    names = list(exercises())
    check(names[0], solved(names[0]))
    check(names[1], WRONG[names[1]][0][0])
    lines = repr(course.progress()).splitlines()[1:]
    states = [line.removeprefix(name).strip() for name, line in zip(names, lines, strict=True)]
    assert states[:3] == ["right", "not yet", "not answered"]
    assert len(repr(course.progress("01")).splitlines()) == 4
    with pytest.raises(CbvizError, match="no notebook '77'"):
        course.progress("77")


def test_unknown_exercises_are_refused() -> None:
    for ask in (lambda: check("99.nothing", 1), lambda: course.solution("99.nothing")):
        with pytest.raises(CbvizError, match=r"no exercise '99.nothing'; there are 00\.groups"):
            ask()


def test_what_a_learner_wrote_is_text() -> None:
    verdict = check("01.spell", "<script>alert(1)</script>")
    assert isinstance(verdict, Verdict)
    assert "<script>" not in verdict.html


def forever(*arguments: object) -> None:
    while True:
        pass


def stubborn(*arguments: object) -> None:
    while True:
        with suppress(Exception):
            forever()


@pytest.mark.parametrize("loop", [forever, stubborn])
def test_endless_loops_are_stopped(loop: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooSlow):
        within(0.1, loop)
    monkeypatch.setattr("cbviz.course.exercise.SECONDS_TO_JUDGE", 0.1)
    assert "does a loop of yours never end?" in repr(check("01.fed", loop))


def test_the_limit_lets_results_and_errors_through_and_cleans_up() -> None:
    import sys

    before = sys.gettrace()
    assert within(5, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)
    assert sys.gettrace() is before


def of_tokens(result: Any) -> Callable[..., Any]:
    """A function that returns this whatever it is asked."""
    return lambda *given, **named: result


@pytest.mark.parametrize("name", [name for name in exercises() if name != "11.graded"])
def test_a_huge_answer_gets_a_short_sentence(name: str) -> None:
    large: list[Any] = [[1] * 10**6, "x" * 10**6, 10**400]
    for answer in (*large, *map(of_tokens, large), -(10**300)):
        verdict = check(name, answer)
        assert verdict.right is False
        said = verdict.text
        assert len(said) < 2_000, said[:300]


def test_a_loop_may_return_an_iterator_without_an_end() -> None:
    assert "It returns [1, 1, 1, 1, 1, 1, ...]" in check("01.loop", of_tokens(repeat(1))).text
    said = check("01.loop", lambda next_token, *rest: next_token(repeat(1))).text
    assert "next_token got 1000 tokens" in said
    handed = check("01.loop", lambda next_token, prompt, *rest: [next_token(iter([*prompt, 1]))]).text
    assert "next_token got 4 tokens" in handed, "an iterator is read once"
