"""Checks of numbers, token ids and text: what is harmless becomes a plain value, anything else one sentence.

Values come from notebooks, so numpy's integers and a tensor's elements are numbers here, and any object at all may be
passed by mistake, one whose comparison or `repr` raises included. A check returns a plain `int`, `float`, `str` or
`tuple`, and raises nothing but WorkloadError. Neither numpy nor torch is imported for it.
"""

from __future__ import annotations

import math
import operator
import random
import reprlib
from collections.abc import Sequence
from itertools import islice
from typing import Any

from cbviz.errors import WorkloadError

BEYOND_INT32 = 2**31
"""Ids, tokens and positions are kept in int32, with -1 for "none"."""
LATEST = 1e9
"""The latest arrival: in seconds 31 years; later, a clock in float64 no longer tells microseconds apart."""
MOST_TOKENS = 2**27
"""Tokens that a range or another lazy sequence may promise: ten times the longest context of any model."""
MOST_REQUESTS = 10_000_000
"""Requests or draws asked for at once: more would not fit the memory of most machines."""

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 60


def shown(value: object) -> str:
    """A value as a message shows it: on one line, at most about 60 characters, whatever its `repr` does."""
    try:
        text = " ".join(_BRIEF.repr(value).split())
    except Exception:  # a number of thousands of digits, or a repr that fails
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}…"


def whole(name: str, value: object, least: int = 1, below: int | None = None) -> int:
    """Return `value` as an int if it is a whole number from `least` to `below` - 1; raise WorkloadError otherwise."""
    number = as_int(value)
    if number is None or number < least:
        raise WorkloadError(f"{name} must be a whole number of at least {least}, not {shown(value)}.")
    if below is not None and number >= below:
        raise WorkloadError(f"{name} must be below {_power(below)}, not {shown(value)}.")
    return number


def amount(name: str, value: object, least: int = 1) -> int:
    """Return `value` as an int if it is a whole number from `least` to `MOST_REQUESTS`; raise WorkloadError."""
    number = whole(name, value, least)
    if number > MOST_REQUESTS:
        raise WorkloadError(f"{name} must be at most {MOST_REQUESTS:,}, not {shown(value)}.")
    return number


def positive(name: str, value: object) -> float:
    """Return `value` as a float if it is a finite number above 0; raise WorkloadError otherwise."""
    number = as_float(value)
    if number is None or not (math.isfinite(number) and number > 0):
        raise WorkloadError(f"{name} must be a finite number above 0, not {shown(value)}.")
    return number


def not_negative(name: str, value: object) -> float:
    """Return `value` as a float if it is a finite number of at least 0; raise WorkloadError otherwise."""
    number = as_float(value)
    if number is None or not (math.isfinite(number) and number >= 0):
        raise WorkloadError(f"{name} must be a finite number of at least 0, not {shown(value)}.")
    return number


def generator(value: Any) -> random.Random:
    """Return `value` if it is a `random.Random`; raise WorkloadError otherwise."""
    if not is_a(value, random.Random):
        raise WorkloadError(f"draws need a random.Random, such as random.Random(0), not {shown(value)}.")
    drawn: random.Random = value
    return drawn


def truth(name: str, value: Any) -> bool:
    """Return `value` if it is True or False; raise WorkloadError otherwise."""
    if value is not True and value is not False:
        raise WorkloadError(f"{name} must be True or False, not {shown(value)}.")
    return bool(value)


def text(name: str, value: Any) -> str:
    """Return `value` as a plain str that can be written as UTF-8; raise WorkloadError otherwise."""
    if not is_a(value, str):
        raise WorkloadError(f"{name} must be text, not {shown(value)}.")
    plain = str.__str__(value)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise WorkloadError(f"{name} holds half of a surrogate pair, which no file can hold: {shown(plain)}.") from None
    return plain


def encoder(value: object) -> None:
    """Raise WorkloadError for what cannot turn text into token ids."""
    if not callable(value):
        raise WorkloadError(f"encode must be a function from text to token ids, not {shown(value)}.")


def token_ids(name: str, value: object) -> tuple[int, ...]:
    """Return token ids as a tuple of plain ints.

    Parameters
    ----------
    name
        What the ids are, for the message.
    value
        A list, tuple, range or other sequence of whole numbers from 0 to 2³¹ - 1, or a numpy array or tensor of
        integers with one dimension.

    Raises
    ------
    WorkloadError
        Anything else: text, a set (it has no order), a generator (it can be read once), two dimensions.
    """
    found = listed(value)
    if found is None:
        raise WorkloadError(f"{name} must be token ids in a list, tuple or 1-D array of integers, not {shown(value)}.")
    # The usual case, in a few passes at C speed.
    ids = found if set(map(type, found)) <= {int} else [as_int(token) for token in found]
    if None in ids or (ids and not 0 <= min(ids) <= max(ids) < BEYOND_INT32):
        pairs = zip(found, ids, strict=True)
        wrong = next(given for given, token in pairs if token is None or not 0 <= token < BEYOND_INT32)
        raise WorkloadError(f"{name} must be whole numbers of at least 0 and below 2**31, not {shown(wrong)}.")
    return tuple(ids)


def is_a(value: object, kind: type | tuple[type, ...]) -> bool:
    """`isinstance` by the value's type alone: a `__class__` of the value's own is not asked, for it might raise."""
    return issubclass(type(value), kind)


def fits(value: object, protocol: type) -> bool:
    """Whether a value, no class, has what a protocol asks for. An attribute that raises makes it False."""
    try:
        return not is_a(value, type) and isinstance(value, protocol)
    except Exception:  # the object's own properties
        return False


def as_int(value: Any) -> int | None:
    """A whole number as a plain int: an int, numpy's, or an integer tensor without dimensions. None if it is none."""
    if type(value) is int:
        return value
    try:
        number = None if _is_no_number(value) else int(operator.index(value))
    except Exception:  # the object's own methods, which may raise anything
        return None
    return number if type(number) is int else None


def as_float(value: Any) -> float | None:
    """A real number as a plain float; infinity where it is too large for one. None if it is none."""
    if type(value) is float:
        return value
    try:
        number = None if _is_no_number(value) else float(value)
    except OverflowError:
        return math.inf
    except Exception:  # as above
        return None
    return number if type(number) is float else None


def _is_no_number(value: Any) -> bool:
    """Whether it is a truth value, text, a complex number or an array with dimensions, which only look like numbers."""
    if is_a(value, (bool, str, bytes, bytearray, complex)):
        return True
    kind = str(getattr(value, "dtype", type(value).__name__))
    return "bool" in kind or "complex" in kind or getattr(value, "ndim", 0) != 0


def listed(value: Any) -> list[Any] | tuple[Any, ...] | None:
    """The elements of an ordered collection or of a 1-D array of integers; None if it is neither."""
    if type(value) is list or type(value) is tuple:
        return value
    if is_a(value, (str, bytes, bytearray, memoryview)):
        return None
    try:
        if is_a(value, Sequence):
            length = len(value)
            return list(islice(value, length)) if length <= MOST_TOKENS else None
        if getattr(value, "ndim", None) == 1 and "int" in str(value.dtype):
            elements = value.tolist()
            return elements if type(elements) is list else None
    except Exception:  # the object's own methods
        return None
    return None


def _power(number: int) -> str:
    """A bound as people write it: 2**31."""
    return f"2**{number.bit_length() - 1}" if number & (number - 1) == 0 else f"{number:,}"
