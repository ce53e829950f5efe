"""Checks of arguments: each answers nonsense with one sentence that names the argument and says what is allowed.

Three layers, for every room:

- `is_whole`, `as_int`, `as_float`, `finite` read one value and never raise for it: they answer False or None.
- `whole`, `number`, `text`, `flag`, `one_of`, `listed`, `path` return the value as a plain Python object, so that
  nothing of the caller's types (numpy scalars, subclasses of `str`) travels further, or raise `error`: the class of the
  room that asks.
- `shown`, `counted`, `kind_of`, `one_line` put a value, a number of things, a type or an exception into a sentence.

Values come from notebooks and from learners' policies. Numbers of numpy and tensors without dimensions are numbers
here, and any object may be passed by mistake, one whose comparison or `repr` raises included. Neither numpy nor torch
is imported for it.
"""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Iterable
from importlib import import_module
from operator import index
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from cbviz.errors import BrokenOff, CbvizError

Name = TypeVar("Name", bound=str)

PASSING = (KeyboardInterrupt, BrokenOff)
"""What passes through a caller's code unchanged; whatever else it raises is handled."""

LONGEST = 80
"""Characters of a refused value that a sentence shows."""

LONGEST_INT = 256
"""Bits of an integer that is written out; of a longer one a sentence says how many digits it has."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = LONGEST

# ---------------------------------------------------------------------------------------------- values in sentences


def shown(value: object) -> str:
    """How a sentence shows a value: its repr in one line of at most `LONGEST` characters, whatever the value is."""
    try:
        if is_a(value, int) and (bits := int.bit_length(value)) > LONGEST_INT:  # type: ignore[arg-type]
            return f"a whole number of about {bits * 30103 // 100000 + 1:,} digits"
        text = " ".join(_SHORT.repr(value).split())
    except PASSING:
        raise
    except BaseException:  # a repr is the caller's code
        text = f"<{kind_of(value)}>"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def counted(number: int, what: str) -> str:
    """A number and what it counts, in English: "1 slot", "1,000 slots".

    Parameters
    ----------
    number
        How many.
    what
        The noun in the singular; an s makes its plural.
    """
    return f"{number:,} {noun(number, what)}"


def noun(number: int, what: str) -> str:
    """The noun after a number: "slot" after 1, else "slots"."""
    return what if number == 1 else f"{what}s"


def kind_of(value: object) -> str:
    """The name of a value's type, past any metaclass."""
    return type.__dict__["__name__"].__get__(type(value))[:100]  # type: ignore[no-any-return]


def one_line(error: BaseException, most: int = 160) -> str:
    """What an error says, as a piece of a sentence: its first line without a full stop, or its type."""
    try:
        said = str(error)
    except PASSING:
        raise
    except BaseException:  # the error may be of the caller's own making
        said = ""
    line = next((" ".join(line.split()) for line in said.splitlines() if line.strip()), type(error).__name__)
    line = line.encode("utf-8", "backslashreplace").decode("utf-8").rstrip(". ")
    return line if len(line) <= most else f"{line[: most - 1]}…"


# ------------------------------------------------------------------------------------------------------- one value


def is_a(value: object, kind: type | tuple[type, ...]) -> bool:
    """`isinstance` by the value's type alone: a `__class__` of the value's own is not asked, for it might raise."""
    return issubclass(type(value), kind)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is an `int` and no truth value: for values that are used as they were given."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_version(value: object, *known: int) -> bool:
    """Whether a file's version is one of those known, as a whole number: in Python True and 1.0 equal 1."""
    return type(value) is int and value in known


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite `int` or `float` and no truth value: for values that are used as they were given."""
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def as_int(value: object) -> int | None:
    """The value as an `int`, None if it is no whole number.

    Whole numbers are those of Python and numpy, and arrays and tensors of no dimension that hold one. Truth values and
    floats such as 1.0 are none.

    Examples
    --------
    >>> as_int(3), as_int(True), as_int(3.0), as_int("3")
    (3, None, None, None)
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
    except BaseException:  # the object's own methods, which may raise anything
        return None


def as_float(value: object) -> float | None:
    """The value as a `float`, None if it is no real number or too large for one; NaN and infinity are floats.

    Examples
    --------
    >>> as_float(2), as_float(True), as_float("2"), as_float(10**400)
    (2.0, None, None, None)
    """
    kind = type(value)
    if kind is float:
        return value  # type: ignore[return-value]
    if issubclass(kind, bool) or not (hasattr(kind, "__float__") or hasattr(kind, "__index__")):
        return None
    try:
        return float.__add__(float(value), 0.0) if _holds_one(value, "int", "float") else None  # type: ignore[arg-type]
    except PASSING:
        raise
    except BaseException:  # as above
        return None


def finite(value: object) -> float | None:
    """The value as a finite `float`, None if it is none."""
    plain = as_float(value)
    return plain if plain is not None and math.isfinite(plain) else None


def _holds_one(value: object, *kinds: str) -> bool:
    """Whether an array, a tensor or a number of numpy is a single one of these kinds; anything else may be."""
    dtype = getattr(value, "dtype", None)
    return dtype is None or (getattr(value, "ndim", 0) == 0 and any(kind in str(dtype) for kind in kinds))


# ------------------------------------------------------------------------------------------------------- arguments


def whole(
    name: str,
    value: object,
    least: int = 1,
    most: int | None = None,
    *,
    or_none: bool = False,
    error: type[CbvizError] = CbvizError,
) -> int:
    """The value as an `int`, if it is a whole number within bounds.

    Parameters
    ----------
    name
        What the sentence calls it.
    value
        Anything.
    least, most
        Its bounds, both included; None for no upper bound.
    or_none
        Say in the sentence that None is allowed, too: the caller has handled None already.
    error
        The class to raise.

    Raises
    ------
    CbvizError
        It is no whole number, or beyond a bound; the sentence names the bound.

    Examples
    --------
    >>> whole("slots", 0, 1, 4096)
    Traceback (most recent call last):
    cbviz.errors.CbvizError: slots must be a whole number of at least 1, not 0.
    """
    plain = as_int(value)
    also = "None or " if or_none else ""
    if plain is None or plain < least:
        raise error(f"{name} must be {also}a whole number of at least {least:,}, not {shown(value)}.")
    if most is not None and plain > most:
        raise error(f"{name} must be {also}a whole number of at most {most:,}, not {shown(value)}.")
    return plain


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
    plain = finite(value)
    if plain is not None and (plain > above or (or_equal and plain == above)) and plain <= most:
        return plain
    limit = f"of at least {above:g}" if or_equal else f"above {above:g}"
    limit += f" and at most {most:g}" if most < math.inf else ""
    raise error(f"{name} must be a finite number {limit}, not {shown(value)}.")


def text(name: str, value: object, *, empty: bool = False, error: type[CbvizError] = CbvizError) -> str:
    """The value as a `str`, if it is text that can be written as UTF-8, and is not blank unless `empty`."""
    if not is_a(value, str):
        raise error(f"{name} must be {'text' if empty else 'a text that is not empty'}, not {shown(value)}.")
    plain = str.__str__(value)
    if not empty and not plain.strip():
        raise error(f"{name} must be a text that is not empty, not {shown(value)}.")
    try:
        plain.encode("utf-8")
    except UnicodeEncodeError:
        raise error(f"{name} holds half of a surrogate pair, which no file can hold: {shown(value)}.") from None
    return plain


def flag(name: str, value: object, *, error: type[CbvizError] = CbvizError) -> bool:
    """The value, if it is True or False and not merely something that counts as such; raises `error`."""
    if value is not True and value is not False:
        raise error(f"{name} must be True or False, not {shown(value)}.")
    return value


def one_of(
    name: str, value: object, allowed: Iterable[Name], *, where: str = "", error: type[CbvizError] = CbvizError
) -> Name:
    """The value, if it is one of the allowed names; raises `error`, which says `where` no other is allowed."""
    names = tuple(allowed)
    if is_a(value, str) and (plain := str.__str__(value)) in names:
        return names[names.index(plain)]  # a plain name, whatever the value could do
    choices = f"{'one of ' if len(names) > 1 else ''}{', '.join(names)}"
    raise error(f"{name} must be {choices}{where and f' {where}'}, not {shown(value)}.")


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


# ------------------------------------------------------------------------------------- names that another function has

KNOWN_BY = {
    "cbviz.recorded": ("cbviz.trace", "RECORDINGS"),
    "cbviz.trace.compared": ("cbviz.trace", "COMPARISONS"),
    "cbviz.policies.get": ("cbviz.policies", "POLICIES"),
    "cbviz.workload.fetch_trace": ("cbviz.workload", "PUBLIC_TRACES"),
    "cbviz.simulator.load_cost": ("cbviz.simulator", "shipped"),
    "cbviz.models.load": ("cbviz.models", "catalogue"),
    "cbviz.bench": ("cbviz.run.bench_work", "WORKLOADS"),
    "cbviz.run.recorded_decomposition": ("cbviz.run.decompose_file", "DECOMPOSITIONS"),
}
"""A function that takes names → the module and the name of what holds them. Imported only where a name is refused."""


def known_elsewhere(name: object) -> str:
    """Who knows a name that is being refused, as the end of the sentence that refuses it.

    Parameters
    ----------
    name
        What was refused: any object.

    Returns
    -------
    str
        Such as "; cbviz.trace.compared knows it"; empty if no function does.
    """
    if not is_a(name, str):
        return ""
    knows = []
    for function, (module, held) in KNOWN_BY.items():
        try:
            names = getattr(import_module(module), held)
        except ImportError:  # a browser's Python has only some of the rooms
            continue
        if str.__str__(name) in (names() if callable(names) else names):
            knows.append(function)
    return f"; {' and '.join(knows)} {'knows' if len(knows) == 1 else 'know'} it" if knows else ""


def three_digits(value: float) -> str:
    """A number as people read it: three digits, with commas instead of an exponent where it is large.

    Examples
    --------
    >>> three_digits(1448.2), three_digits(0.12345), three_digits(227.4)
    ('1,448', '0.123', '227')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
