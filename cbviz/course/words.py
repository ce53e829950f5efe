"""The words that the course shows: lines of the catalogue, in the language that is spoken.

`say` looks a sentence up (`course.` in `cbviz.messages`), `term` a heading or a label of a table (`term.`).
"""

from __future__ import annotations

from typing import Any

from cbviz import messages
from cbviz.checks import shown
from cbviz.errors import CbvizError
from cbviz.view.language import speak, spoken


def language(name: str | None = None) -> str | None:
    """Set the language of the course and the boards, or return the present one.

    Parameters
    ----------
    name
        One of `cbviz.messages.languages()`: "en" or "zh". None changes nothing.

    Returns
    -------
    str or None
        The present language if `name` is None, else None.

    Raises
    ------
    CbvizError
        Another language.
    """
    if name is None:
        return spoken()
    speak(name)
    return None


def say(key: str, **values: Any) -> str:
    """The words under a key in the present language, the values filled in. Raises CbvizError for an unknown key."""
    try:
        return messages.say(spoken(), f"course.{key}", values)
    except CbvizError as error:
        raise CbvizError(f"the course has no words under {key!r}: {error}") from None


def term(word: object) -> str:
    """A heading or label of a table in the present language.

    Parameters
    ----------
    word
        The English word, a message of the catalogue, or any object.

    Returns
    -------
    str
        Its translation; what the catalogue does not know, as text.
    """
    if isinstance(word, messages.Message):
        return word.in_language(spoken())
    try:
        text = str(word).encode("utf-8", "backslashreplace").decode("utf-8")
    except Exception:  # what is shown may be a learner's object, or an integer too long for `str`
        text = shown(word)
    return messages.lines(spoken()).get(f"term.{text}", text)


def knob(name: str) -> str:
    """The label of a function's parameter that the learner sets: what it counts, or the term of that name."""
    return messages.lines(spoken()).get(f"knob.{name}") or term(name)
