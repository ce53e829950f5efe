"""Values of a policy's plan as plain Python: whole numbers, numbers, text; and how a message shows any other value.

A policy is a learner's code, and what it returns may be anything: numpy's numbers, subclasses of `str`, objects whose
`repr` raises. Nothing of it may reach the engine, the events or a trace, so every value is turned into a plain one here
or into None, and no value can raise while that is tried.
"""

from __future__ import annotations

import reprlib
from operator import index

from cbviz.errors import BrokenOff
from cbviz.policies.base import RequestView

PASSING = (KeyboardInterrupt, BrokenOff)
"""What passes through a policy's code unchanged; everything else that it raises becomes a PolicyError."""
LONGEST_TEXT = 2000
"""Characters of a reason; a longer one ends in an ellipsis."""
LONGEST_SAID = 500
"""Characters of an exception's message within ours."""

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60
_short.maxlong = 40


def whole(value: object) -> int | None:
    """The value as an `int`, None if it is no whole number.

    Whole numbers are those of Python and numpy, and arrays and tensors of no dimension that hold one. Truth values and
    floats such as 1.0 are none.
    """
    kind = type(value)
    if kind is int:
        return value  # type: ignore[return-value]
    if issubclass(kind, bool):
        return None
    try:
        return int.__index__(index(value)) if _holds_one(value, "int") else None  # type: ignore[arg-type]
    except PASSING:
        raise
    except BaseException:
        return None


def number(value: object) -> float | None:
    """The value as a `float`, None if it is no number or too large for one; NaN and infinity are floats."""
    kind = type(value)
    if kind is float:
        return value  # type: ignore[return-value]
    if issubclass(kind, bool) or not (hasattr(kind, "__float__") or hasattr(kind, "__index__")):
        return None
    try:
        return float.__add__(float(value), 0.0) if _holds_one(value, "int", "float") else None  # type: ignore[arg-type]
    except PASSING:
        raise
    except BaseException:
        return None


def _holds_one(value: object, *kinds: str) -> bool:
    """Whether an array, a tensor or a number of numpy is a single one of these kinds; anything else may be."""
    dtype = getattr(value, "dtype", None)
    return dtype is None or (getattr(value, "ndim", 0) == 0 and any(kind in str(dtype) for kind in kinds))


def text(value: object, longest: int = LONGEST_TEXT) -> str | None:
    """The value as a `str` of at most so many characters that any file can hold, None if it is no text.

    Half a surrogate pair, which no encoding has, becomes U+FFFD.
    """
    if not issubclass(type(value), str):
        return None
    plain = str.__str__(value)
    if len(plain) > longest:
        plain = plain[: longest - 1] + "…"
    return plain if plain.isascii() else plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shown(value: object) -> str:
    """The value as a message shows it: its `repr`, shortened. It never raises and is never long."""
    try:
        if issubclass(type(value), int) and int.bit_length(value) > 256:  # type: ignore[arg-type]
            return f"a whole number of about {int.bit_length(value) * 30103 // 100000 + 1:,} digits"  # type: ignore[arg-type]
        if type(value) is RequestView:
            return f"the view of request {shown(value.id)}"
        written = _short.repr(value)
        return text(written, 100) or kind_of(value)
    except PASSING:
        raise
    except BaseException:
        return kind_of(value)


def kind_of(value: object) -> str:
    """The name of a value's type."""
    return type.__dict__["__name__"].__get__(type(value))[:100]  # type: ignore[no-any-return]  # past any metaclass


def said(error: BaseException) -> str:
    """An exception's message on one line, shortened."""
    try:
        return text(" ".join(str(error).split()), LONGEST_SAID) or ""
    except PASSING:
        raise
    except BaseException:
        return "its message cannot be read"
