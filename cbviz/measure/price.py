"""What a token costs, from the price of the machine that makes it."""

from __future__ import annotations

from cbviz.measure.checks import number


def dollars_per_million_tokens(tokens_per_second: float, dollars_per_hour: float) -> float:
    """Dollars for a million output tokens: dollars per hour / (tokens per second × 3,600) × 10⁶.

    It counts the whole hour, idle seconds included: at a low rate of arrivals the same machine makes dearer tokens.

    Parameters
    ----------
    tokens_per_second
        Output tokens of the run per second of its duration, above 0.
    dollars_per_hour
        Price of the machine, at least 0.

    Returns
    -------
    float
        Dollars.

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> from cbviz.measure import dollars_per_million_tokens
    >>> round(dollars_per_million_tokens(tokens_per_second=2_500, dollars_per_hour=3.6), 2)
    0.4
    """
    rate = number("tokens_per_second", tokens_per_second)
    return number("dollars_per_hour", dollars_per_hour, or_equal=True) / (rate * 3_600) * 1e6
