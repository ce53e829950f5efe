"""The course's words: both languages of everything, and one place that says which is spoken."""

from __future__ import annotations

import string
from collections.abc import Iterator
from types import SimpleNamespace

import chinese
import pytest

import cbviz
from cbviz import course
from cbviz.board.language import spoken
from cbviz.course import words
from cbviz.course.words import Text, say, table, term
from cbviz.errors import CbvizError
from tests.fake_runs import wild_trace


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    course.language("en")


def fields(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("key", table())
def test_every_text_is_there_in_both_languages(key: str) -> None:
    text = table()[key]
    assert text.en
    assert text.zh
    assert fields(text.en) == fields(text.zh), "both languages fill in the same values"
    assert not chinese.is_chinese(text.en)
    assert chinese.is_chinese(text.zh) or text.en == text.zh == "token" or key == "tokens"
    assert chinese.fullwidth(text.zh) == text.zh


def test_terms_are_chinese_or_the_field_s_own_words() -> None:
    for english, translated in words.TERMS.items():
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


def test_two_lessons_cannot_share_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = SimpleNamespace(WORDS={"right": Text("a", "一")}, EXERCISES=())
    monkeypatch.setattr("cbviz.course.lessons.LESSONS", (twin,))
    table.cache_clear()
    try:
        with pytest.raises(CbvizError, match="keys must be unique"):
            table()
    finally:
        monkeypatch.undo()
        table.cache_clear()
