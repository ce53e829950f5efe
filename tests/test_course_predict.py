"""Predictions: recorded when the learner moves the control, optional, and never stored in a saved notebook."""

from __future__ import annotations

import base64
import math
import re
from typing import Any

import pytest

from cbviz import course
from cbviz.course.control import WIDGET
from cbviz.errors import CbvizError


def picture(shown: Any) -> str:
    (data,) = re.findall(r"base64,([^\"]+)", shown.html)
    return base64.b64decode(data).decode("utf-8")


def test_without_a_touch_there_is_no_guess_and_the_result_stands_alone() -> None:
    guess = course.predict(range(1, 41))
    bundle = guess._repr_mimebundle_()
    assert bundle["text/plain"] == "no guess yet (1 to 40)"
    assert guess.guess is None
    shown = guess.beside(11)
    assert repr(shown).startswith("the run says: 11 (you made no guess")
    assert picture(shown).count("<circle") == 1


def test_moving_the_slider_records_a_guess_and_moving_it_back_takes_it_away() -> None:
    guess = course.predict(range(1, 41), unit=" passes")
    slider = guess._made()
    assert slider.words[slider.index] == "?"
    assert slider.name == "Your guess:"
    slider.index = 1
    assert guess.guess == 1
    slider.index = 22
    assert guess.guess == 22
    assert repr(guess) == "your guess: 22 passes"
    shown = guess.beside(11)
    assert repr(shown) == "you guessed 22 passes, the run says 11 passes: off by a factor of 2"
    assert picture(shown).count("<circle") == 2
    slider.index = 0
    assert guess.guess is None


def test_a_near_guess_is_praised() -> None:
    guess = course.predict([x / 10 for x in range(10, 41)], unit="×")
    guess._made().index = 13
    assert guess.guess == 2.2
    assert repr(guess.beside(2.27)).endswith("well guessed")


def test_choices_are_buttons() -> None:
    guess = course.predict("ABC")
    assert repr(guess) == "no guess yet (A, B, C)"
    assert "press a button" in repr(guess.beside("B"))
    guess._made().children[1].index = 0
    assert repr(guess.beside("B")) == "you guessed A, the run says B"
    assert repr(guess.beside("A")).endswith("well guessed")
    guess._made().children[1].index = 1
    assert guess.guess == "B"


def test_it_shows_a_widget_whose_fallback_is_the_same_each_time() -> None:
    bundles = [course.predict("AB")._repr_mimebundle_() for _ in range(2)]
    assert all(WIDGET in bundle for bundle in bundles)
    first, second = ({k: v for k, v in bundle.items() if k != WIDGET} for bundle in bundles)
    assert first == second


def test_it_works_without_ipywidgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
    guess = course.predict([1, 2])
    assert set(guess._repr_mimebundle_()) == {"text/html", "text/plain"}


def test_results_outside_the_slider_and_zero_are_drawn() -> None:
    guess = course.predict([0, 5])
    guess.guess = 5
    assert repr(guess.beside(0)) == "you guessed 5, the run says 0"
    assert "9" in picture(guess.beside(9))


@pytest.mark.parametrize(
    "nonsense",
    [[], [1], "A", ["A", "A"], "ABCDEFGHI", [1, "B"], [2, 1], [1, 1], [1, math.nan], [True, 2], 7, None],
)
def test_nonsense_is_refused(nonsense: Any) -> None:
    with pytest.raises(CbvizError):
        course.predict(nonsense)


@pytest.mark.parametrize(("values", "result"), [("AB", "C"), ([1, 2], "A"), ([1, 2], math.inf), ([1, 2], None)])
def test_a_result_of_another_kind_is_refused(values: Any, result: Any) -> None:
    with pytest.raises(CbvizError, match="the result must be"):
        course.predict(values).beside(result)
