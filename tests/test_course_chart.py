"""Charts of the notebooks: words in the language of the course, and one sentence for nonsense."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from cbviz import course
from cbviz.errors import CbvizError


@pytest.fixture(autouse=True)
def english_again() -> Any:
    yield
    course.language("en")


def drawn(shown: Any) -> str:
    (picture,) = re.findall(r"base64,([^\"]+)", shown.html)
    return base64.b64decode(picture).decode("utf-8")


def test_names_and_labels_are_translated() -> None:
    lines = {"static": ([1, 2], [3, 4]), "mine": ([1, 2], [4, 5])}
    assert repr(course.chart("Busy is not useful", "slots", "output tokens a second", lines)) == (
        "Busy is not useful: output tokens a second against slots of static · mine"
    )
    course.language("zh")
    picture = drawn(course.chart("Busy is not useful", "slots", "output tokens a second", lines))
    for word in ("忙不等于有用", "槽位数", "静态", "mine"):
        assert f">{word}<" in picture


def test_a_cdf_rises_to_one_and_leaves_out_what_is_not_known() -> None:
    picture = drawn(course.chart("t", "x", "y", {"a": [3.0, 1.0, float("nan"), 2.0]}, kind="cdf"))
    assert picture.count("H") >= 2
    assert re.search(r">1<", picture)


def test_points_that_a_scale_cannot_show_are_left_out() -> None:
    whole = drawn(course.chart("t", "x", "y", {"a": ([1, 2, 3], [1.0, 10.0, 100.0])}, y_scale="log"))
    part = drawn(course.chart("t", "x", "y", {"a": ([1, 2, 0, 3], [1.0, 10.0, 0.0, 100.0])}, y_scale="log"))
    assert part == whole


def test_text_is_never_markup() -> None:
    picture = drawn(course.chart("<b>", "<i>", "&", {"<script>": ([1, 2], [3, 4])}))
    assert "<script>" not in picture
    assert "&lt;script&gt;" in picture


@pytest.mark.parametrize(
    ("lines", "options", "sentence"),
    [
        ({}, {}, "must map names to columns"),
        ([1, 2], {}, "must map names to columns"),
        ({"a": 3}, {}, "columns"),
        ({"a": ([1, 2], [3])}, {}, "two columns of numbers, equally long"),
        ({"a": ([1], ["x"])}, {}, "two columns of numbers"),
        ({"a": (["nan"], [1.0])}, {}, "nothing to draw"),
        ({"a": ["x"]}, {"kind": "cdf"}, "needs numbers"),
        ({"a": []}, {"kind": "cdf"}, "needs numbers"),
        ({"a": ([1], [1])}, {"kind": "pie"}, "kind must be one of"),
        ({"a": ([1], [1])}, {"x_scale": "square"}, "x_scale must be one of"),
        ({"a": ([1], [-1])}, {"y_scale": "log"}, "nothing to draw"),
        ({"a": ([1, 2], [1e308, -1e308])}, {}, "too far apart"),
    ],
)
def test_nonsense_gets_one_sentence(lines: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CbvizError, match=sentence):
        course.chart("t", "x", "y", lines, **options)
