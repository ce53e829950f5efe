"""Checks of numbers, token ids and text: what is harmless becomes a plain value, anything else one sentence.

Those of `cbviz.checks` that raise WorkloadError, and what only workloads ask: token ids, encoders, generators.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

from cbviz.checks import as_int, counted, flag, is_a, number, shown
from cbviz.checks import text as checked_text
from cbviz.checks import whole as checked_whole
from cbviz.errors import WorkloadError

BEYOND_INT32 = 2**31
"""Ids, tokens and positions are kept in int32, with -1 for "none"."""
LATEST = 1e9
"""The latest arrival: in seconds 31 years; later, a clock in float64 no longer tells microseconds apart."""
MOST_TOKENS = 2**27
"""Tokens that a range or another lazy sequence may promise: ten times the longest context of any model."""
MOST_REQUESTS = 10_000_000
"""Requests or draws asked for at once: more would not fit the memory of most machines."""

positive = partial(number, error=WorkloadError)
not_negative = partial(number, or_equal=True, error=WorkloadError)
truth = partial(flag, error=WorkloadError)
text = partial(checked_text, empty=True, error=WorkloadError)


def whole(name: str, value: object, least: int = 1, below: int | None = None) -> int:
    """Return `value` as an int if it is a whole number from `least` to `below` - 1; raise WorkloadError otherwise."""
    plain = checked_whole(name, value, least, error=WorkloadError)
    if below is not None and plain >= below:
        raise WorkloadError(f"{name} must be below {_power(below)}, not {shown(value)}.")
    return plain


def amount(name: str, value: object, least: int = 1) -> int:
    """Return `value` as an int if it is a whole number from `least` to `MOST_REQUESTS`; raise WorkloadError."""
    return checked_whole(name, value, least, MOST_REQUESTS, error=WorkloadError)


def rate_in_time(name: str, rate: float, n: int) -> None:
    """Raise WorkloadError unless n requests at a rate arrive by `LATEST`; `name` is what the caller calls the rate."""
    least = whole("the number of requests", n) / LATEST
    if rate < least:
        raise WorkloadError(
            f"{name} must be at least {least} for {counted(n, 'request')}, not {shown(rate)}: the last request may "
            f"arrive after at most {LATEST:,.0f} s."
        )


def mean_in_range(name: str, mean: float, times: int, most: str) -> None:
    """Raise WorkloadError unless `times` a mean length is a length; `most` is what the caller calls the longest."""
    if mean > (BEYOND_INT32 - 1) // times:
        raise WorkloadError(
            f"{name} must be at most {(BEYOND_INT32 - 1) // times:,} where outputs may be {times} times as long, not "
            f"{shown(mean)}; {most} sets the longest."
        )


def generator(value: Any) -> random.Random:
    """Return `value` if it is a `random.Random`; raise WorkloadError otherwise."""
    if not is_a(value, random.Random):
        raise WorkloadError(f"draws need a random.Random, such as random.Random(0), not {shown(value)}.")
    drawn: random.Random = value
    return drawn


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
    found = elements(value)
    if found is None:
        raise WorkloadError(f"{name} must be token ids in a list, tuple or 1-D array of integers, not {shown(value)}.")
    # The usual case, in a few passes at C speed.
    ids = found if set(map(type, found)) <= {int} else [as_int(token) for token in found]
    if None in ids or (ids and not 0 <= min(ids) <= max(ids) < BEYOND_INT32):
        pairs = zip(found, ids, strict=True)
        wrong = next(given for given, token in pairs if token is None or not 0 <= token < BEYOND_INT32)
        raise WorkloadError(f"{name} must be whole numbers of at least 0 and below 2**31, not {shown(wrong)}.")
    return tuple(ids)


def fits(value: object, protocol: type) -> bool:
    """Whether a value, no class, has what a protocol asks for. An attribute that raises makes it False."""
    try:
        return not is_a(value, type) and isinstance(value, protocol)
    except Exception:  # the object's own properties
        return False


def elements(value: Any) -> list[Any] | tuple[Any, ...] | None:
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
