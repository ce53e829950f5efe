"""Answers of numpy and torch count as what they hold, huge numbers stay numbers, an exit is an error like others."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from cbviz import course
from cbviz.course.exercise import check, exercises
from cbviz.course.judging import rounded
from cbviz.course.lessons.lesson08 import CASES
from cbviz.course.plain import LONGEST_ANSWER, plain
from tests.course_answers import solved

HUGE = [10**400, -(10**400), 2**60, 1e300]

pytestmark = pytest.mark.usefixtures("course_afresh")


def numpy_of(value: Any) -> Any:
    return np.array(value) if isinstance(value, list | tuple) else np.array([value])[0]


def torch_of(value: Any) -> Any:
    return value if isinstance(value, str | tuple) else torch.tensor(value, dtype=kind_of(value))


def kind_of(value: Any) -> torch.dtype | None:
    held = value[0] if isinstance(value, list) else value
    return torch.float64 if isinstance(held, float) else None


def floats_of(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [floats_of(one) for one in value]
    return float(value) if type(value) is int else value


def no_dimension(value: Any) -> Any:
    return np.array(value)


def elements(value: Any) -> Any:
    return [np.array([one])[0] for one in value] if isinstance(value, list | tuple) else Fraction(value)


def returns(function: Any, made: Callable[[Any], Any]) -> Any:
    return lambda *given: made(function(*given))


@pytest.mark.parametrize("name", [name for name in exercises() if not name.startswith("11.")])
@pytest.mark.parametrize("made", [numpy_of, torch_of, floats_of, no_dimension, elements])
def test_right_answers_are_right_whichever_library_computed_them(name: str, made: Callable[[Any], Any]) -> None:
    answer = solved(name)
    if isinstance(answer, str) and made is elements:
        return
    verdict = check(name, returns(answer, made) if callable(answer) else made(answer))
    assert verdict.right, verdict


def test_numpy_answers_as_learners_write_them() -> None:
    assert check("09.factors", lambda rates: np.array(rates)[1:] / np.array(rates)[:-1]).right
    assert check("09.factors", lambda rates: torch.tensor(rates)[1:] / torch.tensor(rates)[:-1]).right
    for array in (np.array, torch.tensor):
        sees = lambda i, j, o, p, array=array: (array(o)[i] == array(o)[j]) & (array(p)[j] <= array(p)[i])  # noqa: E731
        assert check("13.mask", sees).right
    assert check("04.worst", list(np.array([1, 1, 1, 100]))).right
    assert check("04.worst", [1.0, 1, 1, 100.0]).right
    assert check("01.loop", with_arrays).right


def with_arrays(next_token: Any, prompt: list[int], limit: int, end: int) -> Any:
    known = np.array(prompt)
    while len(known) < len(prompt) + limit:
        known = np.append(known, next_token(torch.tensor(known)))
        if known[-1] == end:
            break
    return known[len(prompt) :]


def test_wrong_answers_of_numpy_get_the_sentence_of_the_plain_ones() -> None:
    assert "1 to 100" in check("04.worst", np.array([1, 1, 1, 1000])).text
    assert "whole number from 1 to 100" in check("04.worst", np.ones((2, 2))).text
    assert "those are differences" in check("09.factors", np.diff).text
    assert "this is 7.5." in check("05.hand", np.float32(7.5)).text
    assert "neither True nor False" in check("13.mask", lambda *given: np.array([True, False])).text


class Hostile:
    """Every attribute raises, and so does its repr."""

    def __getattr__(self, name: str) -> Any:
        raise SystemExit(name)

    def __repr__(self) -> str:
        raise SystemExit

    def __len__(self) -> int:
        raise SystemExit

    def __float__(self) -> float:
        raise SystemExit

    def __eq__(self, other: object) -> bool:
        raise SystemExit

    __hash__ = None  # type: ignore[assignment]


class Liar:
    """An array by its methods, which return themselves."""

    dtype = "float64"
    ndim = 1

    def __len__(self) -> int:
        return 3

    def tolist(self) -> Any:
        return self

    item = tolist


ODD = {
    "hostile": Hostile(),
    "liar": Liar(),
    "list": [Hostile()],
    "meta": torch.empty(3, device="meta"),
    "two dimensions": np.zeros((2, 2)),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_cannot_be_made_plain_stays_as_it_is(kind: str) -> None:
    odd = ODD[kind]
    assert plain(odd) is odd or isinstance(odd, list)
    for name in exercises():
        assert check(name, odd).right is False
        assert check(name, lambda *given: odd).right is False


def test_long_arrays_iterators_and_functions_stay_as_they_are() -> None:
    for same in (np.zeros(LONGEST_ANSWER + 1), [1.0] * (LONGEST_ANSWER + 1), iter([1.0]), solved, int):
        assert plain(same) is same
    assert type(plain(np.float64(2.5))) is float
    assert type(plain(np.str_("D"))) is str


@pytest.mark.parametrize("huge", HUGE, ids=lambda huge: f"{type(huge).__name__}{huge > 0}")
@pytest.mark.parametrize("name", exercises())
def test_a_huge_number_is_not_called_no_number(name: str, huge: Any) -> None:
    answer = (lambda *given: huge) if callable(solved(name)) else huge
    said = check(name, answer).text.splitlines()[0]
    for untrue in ("which is no number", "no whole number", "answer is a whole number", "answer is a number"):
        assert untrue not in said


@pytest.mark.parametrize("huge", HUGE, ids=lambda huge: f"{type(huge).__name__}{huge > 0}")
def test_a_huge_number_is_said_to_be_too_far(huge: Any) -> None:
    assert "far beyond every right answer" in check("05.hand", huge).text
    assert "far beyond the right answer" in check("09.factors", lambda *given: [huge]).text
    said = check("04.count", lambda *given: huge).text
    assert "far beyond the right answer" in said
    course.language("zh")
    assert "远远超出正确答案" in check("08.found", lambda *given: huge).text


@pytest.mark.parametrize("stop", [sys.exit, lambda: sys.exit(3), lambda: exit_with(GeneratorExit())])
@pytest.mark.parametrize("name", [name for name in exercises() if callable(solved(name))])
def test_an_exit_is_an_error_like_others(name: str, stop: Callable[[], Any]) -> None:
    said = check(name, lambda *given: stop()).text
    assert "Your function stops with " in said
    assert "SystemExit: SystemExit" not in said


def exit_with(error: BaseException) -> None:
    raise error


def test_an_exit_of_a_generator_and_of_a_policy() -> None:
    def write(*given: Any) -> Iterator[int]:
        yield 8
        sys.exit(3)

    assert "Your function stops with SystemExit: 3" in check("01.loop", write).text

    class Leaves:
        name, summary = "leaves", "at once"

        def plan(self, view: object) -> Any:
            sys.exit(3)

    assert "raised SystemExit" in check("11.single", Leaves()).text
    assert course.grade(Leaves()).state == "wrong"


def test_an_interrupt_passes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        check("01.fed", lambda *given: exit_with(KeyboardInterrupt()))


# ----------------------------------------------------------------------- what 08.found tells apart


def alike(one: list[int], prompt: list[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, prompt, strict=False)) if a != b), min(len(one), len(prompt)))


def best(cached: list[list[int]], prompt: list[int], block: int) -> int:
    return max((alike(one, prompt[:-1]) // block * block for one in cached), default=0)


WRONG_FOUND: list[Callable[[list[list[int]], list[int], int], int]] = [
    lambda c, p, b: alike(c[-1], p[:-1]) // b * b if c else 0,
    lambda c, p, b: alike(c[0], p[:-1]) // b * b if c else 0,
    lambda c, p, b: max([alike(o, p) // b * b - (b if alike(o, p) == len(p) else 0) for o in c] + [0]),
    lambda c, p, b: max([alike(o, p) // b * b - (b if o == p else 0) for o in c] + [0]),
    lambda c, p, b: max([0 if alike(o, p) == len(p) else alike(o, p) // b * b for o in c] + [0]),
    lambda c, p, b: max([alike(o, p[:-b]) // b * b for o in c] + [0]),
    lambda c, p, b: max([alike(o[:-1], p) // b * b for o in c] + [0]),
    lambda c, p, b: sum(alike(o, p[:-1]) // b * b for o in c),
    lambda c, p, b: min([alike(o, p[:-1]) // b * b for o in c] + [len(p)]),
    lambda c, p, b: next((n for o in c if (n := alike(o, p[:-1]) // b * b)), 0),
    lambda c, p, b: next((n for o in c[::-1] if (n := alike(o, p[:-1]) // b * b)), 0),
    lambda c, p, b: best(c[1:] or c, p, b),
    lambda c, p, b: best(c[:-1] or c, p, b),
    lambda c, p, b: best([o for o in c if len(o) >= len(p)], p, b),
    lambda c, p, b: best([o for o in c if len(o) <= len(p)], p, b),
    lambda c, p, b: best(c, p, 2),
    lambda c, p, b: len({t for o in c for t in o} & set(p[:-1])) // b * b,
]


@pytest.mark.parametrize("number", range(len(WRONG_FOUND)))
def test_no_wrong_search_of_the_cache_is_accepted(number: int) -> None:
    assert check("08.found", WRONG_FOUND[number]).right is False


def test_the_cases_of_the_cache_are_solved_by_the_right_search() -> None:
    assert check("08.found", best).right
    places = [[best([one], prompt, block) for one in cached] for cached, prompt, block in CASES if len(cached) > 1]
    assert {found.index(max(found)) + 1 == len(found) for found in places} == {True, False}
    assert any(0 < found.index(max(found)) < len(found) - 1 for found in places)


# ---------------------------------------------------------------------------------------- rounding


def test_rounded_is_not_wrong() -> None:
    for right, places in itertools.product((4.0123, 0.27126, 11.1111), range(1, 6)):
        assert rounded(round(right, places), right)
    assert rounded(float(np.float16(4.0123)), 4.0123)
    assert not rounded(0.0, 0.2)
    assert not rounded(3.9, 4.0123)


def test_a_rounded_answer_is_not_shown_beside_its_equal() -> None:
    for places in range(1, 5):
        said = check("09.factors", lambda rates: [round(b / a, places) for a, b in itertools.pairwise(rates)]).text  # noqa: B023
        assert "right but rounded" in said
    course.language("zh")
    assert "被舍入" in check("09.factors", lambda rates: np.round(np.array(rates)[1:] / rates[:-1], 2)).text
