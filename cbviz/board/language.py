"""Which language boards speak unless they are told otherwise: a notebook says it once."""

from __future__ import annotations

from cbviz.checks import shown
from cbviz.errors import CbvizError

LANGUAGES = ("en", "zh")

_spoken = LANGUAGES[0]


def speak(language: str) -> None:
    """From here on boards speak this language. Raises CbvizError unless it is "en" or "zh"."""
    global _spoken
    _spoken = chosen(language)


def spoken() -> str:
    """The language that boards speak now: "en" or "zh"."""
    return _spoken


def chosen(language: str | None) -> str:
    """The language that was asked for, or the one that is spoken if it is None. Raises CbvizError for another."""
    if language is None:
        return _spoken
    if not isinstance(language, str) or language not in LANGUAGES:
        raise CbvizError(f"language must be 'en' or 'zh', not {shown(language)}.")
    return language
