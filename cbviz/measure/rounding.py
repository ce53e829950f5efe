"""Rounding as a reader does it with pencil and paper: halves go up.

Ratios, shares and means of counts are often exact halves (5 of 8 slots, 21 iterations against 8). Python's `format`
takes the even digit, or whichever side the binary number happens to lie on; browsers round a half up. A number that is
shown is rounded here, so that a table, a sentence, the board and a reader who divides agree.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal

_EXACT = Context(prec=700, rounding=ROUND_HALF_UP)
"""Digits enough for every float."""


def fixed(value: float, places: int = 0) -> str:
    """A number with commas and this many decimal places, halves rounded away from zero.

    Parameters
    ----------
    value
        The number; NaN and infinity are shown as they are.
    places
        Decimal places, at least 0.

    Examples
    --------
    >>> fixed(21 / 8, 2), f"{21 / 8:.2f}"
    ('2.63', '2.62')
    """
    return _fixed(float(value), places, 0)


def percent(share: float, places: int = 0) -> str:
    """A share as a percentage, halves rounded away from zero.

    Parameters
    ----------
    share
        Usually from 0 to 1.
    places
        Decimal places, at least 0.

    Returns
    -------
    str
        With its sign: "63%".

    Examples
    --------
    >>> percent(5 / 8), f"{5 / 8:.0%}"
    ('63%', '62%')
    """
    return f"{_fixed(float(share), places, 2)}%"


def kept_apart(value: float, *bounds: float, least: int = 0) -> tuple[str, ...]:
    """A value and bounds, with the fewest decimal places that show on which side of each bound the value lies.

    Parameters
    ----------
    value, bounds
        Finite numbers.
    least
        Decimal places at least.

    Examples
    --------
    >>> kept_apart(170, 170.5), kept_apart(171, 170.5), kept_apart(12.34, 12.31, least=1)
    (('170', '171'), ('171.0', '170.5'), ('12.34', '12.31'))
    """
    for places in range(least, 17):
        shown = tuple(fixed(number, places) for number in (value, *bounds))
        first, *others = (Decimal(text.replace(",", "")) for text in shown)
        pairs = zip(others, bounds, strict=True)
        if all((first <= other, first == other) == (value <= bound, value == bound) for other, bound in pairs):
            return shown
    return tuple(map(repr, (value, *bounds)))


def _fixed(value: float, places: int, shift: int) -> str:
    """The shortest decimal of the number, moved left by `shift` places, and then rounded."""
    if not math.isfinite(value):
        return f"{value}"
    exact = Decimal(repr(value)).scaleb(shift, _EXACT)
    return f"{exact.quantize(Decimal(1).scaleb(-places), context=_EXACT):,f}"
