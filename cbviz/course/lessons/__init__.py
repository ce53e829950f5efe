"""The exercises of each notebook, with the words that go with them: one file a notebook."""

from __future__ import annotations

from typing import Protocol

from cbviz.course.exercise import Exercise
from cbviz.course.lessons import (
    lesson00,
    lesson01,
    lesson02,
    lesson03,
    lesson04,
    lesson05,
    lesson06,
    lesson07,
    lesson08,
    lesson11,
)
from cbviz.course.words import Text


class Lesson(Protocol):
    """What a file of this folder has."""

    @property
    def WORDS(self) -> dict[str, Text]: ...  # noqa: N802

    @property
    def EXERCISES(self) -> tuple[Exercise, ...]: ...  # noqa: N802


LESSONS: tuple[Lesson, ...] = (
    lesson00,
    lesson01,
    lesson02,
    lesson03,
    lesson04,
    lesson05,
    lesson06,
    lesson07,
    lesson08,
    lesson11,
)
