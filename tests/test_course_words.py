"""The course's words: both languages of everything, and one place that says which is spoken."""

from __future__ import annotations

from collections.abc import Iterator

import chinese
import pytest

import cbviz
from cbviz import course, messages
from cbviz.course.words import say, term
from cbviz.errors import CbvizError
from cbviz.view.language import spoken
from tests.fake_runs import wild_trace


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    course.language("en")


COURSE = [key for key in messages.lines("en") if key.startswith("course.")]


@pytest.mark.parametrize("key", COURSE)
def test_every_text_is_english_and_chinese(key: str) -> None:
    english, translated = messages.lines("en")[key], messages.lines("zh")[key]
    assert english
    assert not chinese.is_chinese(english)
    assert chinese.is_chinese(translated) or english == translated == "token" or key == "course.tokens"
    assert chinese.fullwidth(translated) == translated


def test_terms_are_chinese_or_the_field_s_own_words() -> None:
    for key, translated in messages.lines("zh").items():
        if key.startswith("term."):
            english = key.removeprefix("term.")
            assert messages.lines("en")[key] == english
            assert chinese.is_chinese(translated) or translated.lower() == english, english


def test_say_speaks_the_language_that_was_set() -> None:
    assert say("right") == "Right."
    course.language("zh")
    assert say("right") == "正确。"
    assert course.language() == "zh"
    assert term("iterations") == "迭代数"
    assert term("groups of 4") == "groups of 4"


def test_the_boards_follow() -> None:
    course.language("zh")
    board = cbviz.Board(wild_trace(1))
    assert board.language == spoken() == "zh"
    assert cbviz.Board(wild_trace(1), language="en").language == "en"


@pytest.mark.parametrize("nonsense", ["fr", "", 3, "ZH"])
def test_an_unknown_language_is_refused_and_nothing_changes(nonsense: str) -> None:
    with pytest.raises(CbvizError, match="language must be 'en' or 'zh', not"):
        course.language(nonsense)
    with pytest.raises(CbvizError, match="language must be"):
        cbviz.Board(wild_trace(1), language=nonsense)
    assert course.language() == "en"


def test_unknown_words_are_refused() -> None:
    with pytest.raises(CbvizError, match="no words under 'nothing'"):
        say("nothing")


def test_a_message_in_a_table_speaks_the_language_of_the_course() -> None:
    reason = messages.Message("why.no_slot")
    assert "no slot is free" in repr(course.table(["reason"], [(reason,)]))
    course.language("zh")
    assert "没有空槽位" in repr(course.table(["reason"], [(reason,)]))


def test_a_chart_is_described_in_the_language_of_the_course() -> None:
    course.language("zh")
    described = repr(
        course.chart("Latency against load", "requests a second", "throughput", {"static": ([1, 2], [3, 4])})
    )
    assert described == "延迟与负载：静态，吞吐量随每秒请求数的变化"
