"""Texts of a policy's plan as plain Python, and how a message shows what a plan holds; `cbviz.checks` has the numbers.

A policy is a learner's code, and what it returns may be anything: numpy's numbers, subclasses of `str`, objects whose
`repr` raises. Nothing of it may reach the engine, the events or a trace, so every value is turned into a plain one or
into None, and no value can raise while that is tried.
"""

from __future__ import annotations

from cbviz.checks import PASSING
from cbviz.checks import shown as shown_value
from cbviz.messages import LONGEST_FACT, Message
from cbviz.policies.policy_view import RequestView
from cbviz.reason import Reason

LONGEST_TEXT = LONGEST_FACT
"""Characters of a reason; a longer one ends in an ellipsis."""
LONGEST_SAID = 500
"""Characters of an exception's message within ours."""


def text(value: object, longest: int = LONGEST_TEXT) -> str | None:
    """The value as a `str` of at most so many characters that any file can hold, None if it is no text.

    Half a surrogate pair, which no encoding has, becomes U+FFFD. A message that is neither long nor broken stays one.
    """
    kind = type(value)
    if not issubclass(kind, str):
        return None
    if (kind is Reason or kind is Message) and len(value) <= longest and _writable(value):  # type: ignore[arg-type]
        return value  # type: ignore[return-value]
    plain = str.__str__(value)
    if len(plain) > longest:
        plain = plain[: longest - 1] + "…"
    return plain if plain.isascii() else plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _writable(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def shown(value: object) -> str:
    """The value as a message shows it; a view of a request by its id alone."""
    if type(value) is RequestView:
        return f"the view of request {shown_value(value.id)}"
    return shown_value(value)


def said(error: BaseException) -> str:
    """An exception's message on one line, shortened."""
    try:
        return text(" ".join(str(error).split()), LONGEST_SAID) or ""
    except PASSING:
        raise
    except BaseException:
        return "its message cannot be read"
