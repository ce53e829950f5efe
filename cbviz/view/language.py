"""The language that boards speak unless a call names another: a notebook sets it once."""

from __future__ import annotations

from cbviz.messages import FIRST, Message, check_language

RACE, RUN = Message("board.title_race"), Message("board.title_run")
"""Titles of boards that are given none."""

_spoken = FIRST


def speak(language: str) -> None:
    """From here on boards speak this language. Raises CbvizError unless it is one of `languages()`."""
    global _spoken
    _spoken = chosen(language)


def spoken() -> str:
    """The language that boards speak now."""
    return _spoken


def chosen(language: str | None) -> str:
    """The language that was asked for, or the one that is spoken if it is None. Raises CbvizError for another."""
    return _spoken if language is None else check_language(language)


def dotted(*parts: str) -> str:
    """Parts of a subtitle with dots between them, each in the viewer's language; empty ones are left out."""
    line, *rest = (part for part in parts if part)
    for part in rest:
        line = Message("board.dotted", first=line, second=part)
    return line
