"""Tables and rows of tokens: the same bytes each time, in the language that is spoken, and never markup."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from cbviz import course
from cbviz.errors import CbvizError
from cbviz.view.svg import image


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    course.language("en")


def test_a_table_aligns_numbers_to_the_right_and_rounds() -> None:
    shown = course.table(["policy", "ratio"], [("static", 2.71828), ("continuous", 10)])
    assert repr(shown) == "policy      ratio\nstatic      2.718\ncontinuous     10"
    assert '<td style="text-align:right">2.718</td>' in shown.html


def test_truth_becomes_yes_and_no() -> None:
    shown = course.table(["same answers"], [(True,), (np.bool_(False),)])
    assert repr(shown).splitlines() == ["same answers", "yes", "no"]


def test_a_chinese_table_aligns_by_the_width_of_its_signs() -> None:
    course.language("zh")
    lines = repr(course.table(["policy", "iterations"], [("static", 490), ("groups of 4", 216)])).splitlines()
    assert lines == ["策略         迭代数", "静态            490", "groups of 4     216"]


def test_nothing_is_markup() -> None:
    for shown in (course.table(["<b>"], [("<script>",)]), course.tokens(["<script>"])):
        assert "<script>" not in shown.html
        assert "<b>" not in shown.html


def test_tokens_show_their_spaces_and_end() -> None:
    shown = course.tokens(["a b", "\n"], ["c", ""])
    assert repr(shown) == "prompt: a␣b ⏎  (2)\nanswer: c END  (2)"


@pytest.mark.parametrize(
    ("head", "rows"), [([], []), (["a"], [(1, 2)]), (["a", "b"], [("x",)])], ids=["no column", "too many", "too few"]
)
def test_nonsense_is_refused(head: list[str], rows: list[tuple[object, ...]]) -> None:
    with pytest.raises(CbvizError, match="a table"):
        course.table(head, rows)


def test_tokens_need_tokens() -> None:
    with pytest.raises(CbvizError, match="at least one text"):
        course.tokens([])
    with pytest.raises(CbvizError, match="1 to 2 groups"):
        course.tokens(["a"], ["b"], ["c"])


def test_memory_draws_what_is_written_and_what_is_kept() -> None:
    shown = course.memory([("paged", [("A", 3, 1), ("", 0, 2), ("<B>", 2, 0)])], total=10)
    assert repr(shown) == "paged: A 3+1, – 2, <B> 2+0, – 2"
    assert "<B>" not in shown.html


def test_memory_refuses_what_does_not_fit() -> None:
    for rows, total in (([("x", [("A", 8, 3)])], 10), ([("x", [("A", -1, 0)])], 10), ([], 10)):
        with pytest.raises(CbvizError, match=r"does not fit|at least one row"):
            course.memory(rows, total)


def test_marks_carry_their_labels_as_text() -> None:
    marks = course.ref("S3", 7, " <b>x ")
    assert repr(marks) == "S3 7 <b>x"
    assert marks._repr_html_().startswith(
        '<b class="cbviz-ref" tabindex="0">S3</b> <b class="cbviz-ref" tabindex="0">7<'
    )
    assert "&lt;b&gt;x" in marks._repr_html_()
    for wrong in ((), ("",), (None,), (True,)):
        with pytest.raises(CbvizError):
            course.ref(*wrong)


def test_a_wide_picture_scrolls_on_a_phone_before_its_text_is_too_small() -> None:
    assert 'style="min-width:560px"' in course.timeline([("static", [1.0, 2.0])]).html
    assert "min-width" not in image('<svg xmlns="http://www.w3.org/2000/svg" width="560" height="20"></svg>')
    assert "min-width" not in image("<svg></svg>")
