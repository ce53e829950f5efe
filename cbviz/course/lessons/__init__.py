"""The exercises of the notebooks, one file for each notebook. Their words are in the catalogue (`cbviz.messages`)."""

from __future__ import annotations

from typing import Protocol

from cbviz.course.judging import Exercise
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
    lesson09,
    lesson10,
    lesson11,
    lesson12,
    lesson13,
)


class Lesson(Protocol):
    """The contents of a file in this folder."""

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
    lesson09,
    lesson10,
    lesson11,
    lesson12,
    lesson13,
)
