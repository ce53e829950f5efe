"""Checks of arguments: each answers nonsense with one sentence that names the argument and says what is allowed.

Every check returns the value as a plain Python object, so that nothing of the caller's types (numpy scalars, subclasses
of `str`) travels further. `error` is the class that is raised: the one of the room that asks.
"""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from cbviz.errors import CbvizError

LONGEST = 80
"""Characters of a refused value that a sentence shows."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = LONGEST


def shown(value: object) -> str:
    """How a sentence shows a value: its repr in one line of at most `LONGEST` characters, whatever the value is."""
    try:
        text = " ".join(_SHORT.repr(value).split())
    except Exception:  # a repr is the caller's code, and that of an integer of 5,000 digits raises as well
        text = f"<{type(value).__name__}>"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def one_line(error: BaseException, most: int = 160) -> str:
    """What an error says, as a piece of a sentence: its first line without a full stop, or its type."""
    try:
        said = str(error)
    except Exception:  # the error may be of the caller's own making
        said = ""
    line = next((" ".join(line.split()) for line in said.splitlines() if line.strip()), type(error).__name__)
    line = line.encode("utf-8", "backslashreplace").decode("utf-8").rstrip(". ")
    return line if len(line) <= most else f"{line[: most - 1]}…"


def whole(
    name: str, value: object, least: int = 1, most: int | None = None, *, error: type[CbvizError] = CbvizError
) -> int:
    """The value as an `int`, if it is a whole number (numpy's count) from `least` to `most`; raises `error`."""
    if not isinstance(value, bool) and isinstance(value, Integral):
        plain = int(value)
        if plain >= least and (most is None or plain <= most):
            return plain
    span = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"
    raise error(f"{name} must be a whole number {span}, not {shown(value)}.")


def number(
    name: str,
    value: object,
    above: float = 0.0,
    most: float = math.inf,
    *,
    or_equal: bool = False,
    error: type[CbvizError] = CbvizError,
) -> float:
    """The value as a `float`, if it is finite, above (or equal to) a limit and at most `most`; raises `error`."""
    plain = as_float(value)
    if math.isfinite(plain) and (plain > above or (or_equal and plain == above)) and plain <= most:
        return plain
    limit = f"of at least {above:g}" if or_equal else f"above {above:g}"
    limit += f" and at most {most:g}" if most < math.inf else ""
    raise error(f"{name} must be a finite number {limit}, not {shown(value)}.")


def as_float(value: object) -> float:
    """A real number (numpy's count, truth values do not) as a `float`; NaN for everything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except (OverflowError, ValueError):
        return math.nan


def text(name: str, value: object, *, error: type[CbvizError] = CbvizError) -> str:
    """The value as a `str`, if it is a text that is not empty and can be written as UTF-8; raises `error`."""
    if not isinstance(value, str) or not value.strip():
        raise error(f"{name} must be a text that is not empty, not {shown(value)}.")
    plain = str.__str__(value)
    try:
        plain.encode("utf-8")
    except UnicodeEncodeError:
        raise error(f"{name} must be text that can be written as UTF-8, not {shown(value)}.") from None
    return plain


def flag(name: str, value: object, *, error: type[CbvizError] = CbvizError) -> bool:
    """The value, if it is True or False and not merely something that counts as such; raises `error`."""
    if not isinstance(value, bool):
        raise error(f"{name} must be True or False, not {shown(value)}.")
    return value


def one_of(name: str, value: object, allowed: Iterable[str], *, error: type[CbvizError] = CbvizError) -> str:
    """The value as a `str`, if it is one of the allowed names; raises `error`."""
    names = tuple(allowed)
    if isinstance(value, str) and value in names:
        return str.__str__(value)
    raise error(f"{name} must be one of {', '.join(names)}, not {shown(value)}.")


def listed(name: str, values: object, of: str, *, error: type[CbvizError] = CbvizError) -> list[Any]:
    """The values as a list, if they can be gone through and are no text; raises `error`, which says of what."""
    try:
        if isinstance(values, Iterable) and not isinstance(values, str | bytes):
            return list(values)
    except Exception:  # an iterator is the caller's code
        pass
    raise error(f"{name} must be a list of {of}, not {shown(values)}.")


def path(name: str, value: object, *, error: type[CbvizError] = CbvizError) -> Path:
    """The value as a `Path`, if it is a path or a text that can be one; raises `error`."""
    try:
        given: Any = os.fspath(value)  # type: ignore[call-overload]
        if isinstance(given, str) and given and "\0" not in given:
            return Path(given)
    except Exception:  # `__fspath__` is the caller's code
        given = None
    raise error(f"{name} must be the path of a file or folder, not {shown(value)}.")
