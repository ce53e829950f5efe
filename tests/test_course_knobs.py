"""Sliders over a function, and the picture of when tokens came."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import pytest

from cbviz import course
from cbviz.course.control import WIDGET
from cbviz.errors import CbvizError


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    course.language("en")


def doubled(slots: int = 2, ratio: float = 0.5) -> Any:
    return course.table(["slots", "ratio"], [(2 * slots, ratio)])


def test_knobs_begin_at_the_defaults_and_follow_their_sliders() -> None:
    knobs = course.knobs(doubled, slots=[1, 2, 3], ratio=[0.5, 1.5])
    bundle = knobs._repr_mimebundle_()
    assert bundle["text/plain"] == "slots = 2, ratio = 0.5\nslots  ratio\n    4    0.5"
    assert WIDGET in bundle
    first, second, page = knobs._made().children
    assert "jp-RenderedHTMLCommon" in page._dom_classes
    assert [slider.words[slider.index] for slider in (first, second)] == ["2", "0.5"]
    first.index, second.index = 2, 1
    assert knobs.chosen == {"slots": 3, "ratio": 1.5}
    assert ">6<" in page.value
    assert ">1.5<" in page.value
    assert page.value == knobs._repr_mimebundle_()["text/html"]


def test_a_slider_stays_among_its_values() -> None:
    """A page may send any number."""
    knobs = course.knobs(doubled, slots=[1, 2, 3])
    slider = knobs._made().children[0]
    for sent, taken in ((99, 3), (-5, 1)):
        slider.index = sent
        assert knobs.chosen["slots"] == taken


def test_knobs_speak_chinese_and_stack_what_a_list_holds() -> None:
    course.language("zh")
    knobs = course.knobs(lambda slots=1: [doubled(slots), doubled(slots + 1)], slots=[1, 2])
    assert repr(knobs).startswith("槽位数 = 1\n")
    assert knobs._repr_mimebundle_()["text/html"].count("<table") == 2
    assert knobs._made().children[0].name == "槽位数"


@pytest.mark.parametrize(
    ("show", "values", "said"),
    [
        (doubled, {}, "at least one"),
        (None, {"slots": [1]}, "needs a function"),
        (doubled, {"rows": [1]}, "no parameter 'rows'"),
        (lambda slots: slots, {"slots": [1]}, "no parameter 'slots' with a default"),
        (doubled, {"slots": [1, 3]}, "is not among its values"),
    ],
)
def test_knobs_refuse_nonsense(show: Any, values: dict[str, Any], said: str) -> None:
    with pytest.raises(CbvizError, match=said):
        course.knobs(show, **values)


def test_a_function_that_returns_no_picture_is_found_out() -> None:
    for nothing in (None, 3, [], [3]):
        with pytest.raises(CbvizError, match=r"course\.table and the like"):
            repr(course.knobs(lambda slots=1, nothing=nothing: nothing, slots=[1]))


def picture(shown: Any) -> str:
    (data,) = re.findall(r"base64,([^\"]+)", shown.html)
    return base64.b64decode(data).decode("utf-8")


def test_a_timeline_marks_every_token_and_says_the_longest_gap() -> None:
    shown = course.timeline([("static", [1, 2, 3.5, 4]), ("<b>", [0.5, 4.5])], arrivals=[2, 6])
    assert repr(shown) == ("static: 4 tokens, longest gap 1.5 (2.0 – 3.5)\n<b>: 2 tokens, longest gap 4.0 (0.5 – 4.5)")
    svg = picture(shown)
    assert svg.count("v12") == 6
    assert svg.count("h8z") == 2
    assert "<b>" not in svg
    assert ">1.5</text>" in svg
    # 0 to 6 is 560 wide from 150: 4.5 lies at 570.
    assert "H570.0" in svg


@pytest.mark.parametrize(
    "rows", [[], [("a", [1])], [("a", [1, 1])], [("a", [2, 1])], [("a", [1, float("nan")])], [("a", [1, float("inf")])]]
)
def test_a_timeline_refuses_nonsense(rows: list[tuple[str, list[float]]]) -> None:
    with pytest.raises(CbvizError, match=r"at least one row|finite numbers that rise"):
        course.timeline(rows)
