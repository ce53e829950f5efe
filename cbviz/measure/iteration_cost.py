"""What is left of a speed-up when iterations do not all cost the same."""

from __future__ import annotations

from cbviz.errors import MeasureError
from cbviz.measure.checks import number, whole


def speedup_shrinking(speedup: float, slots: int, a: float, b: float) -> float:
    """What continuous batching gains over a static batch that drops finished rows but does not refill them.

    For an iteration that costs a + bB with B rows: 1 + (S − 1) a/(a + bn). The dropped rows save their b, but not their
    share of a (the weights are still read); refilling gains by spreading a over more rows. If finished rows are still
    computed (as in padded static batching), S itself holds for any cost that depends on B alone.

    Parameters
    ----------
    speedup
        S(n) of the length law, at least 1.
    slots
        n, at least 1.
    a, b
        Cost of an iteration and of a row, in the same unit; at least 0, and not both 0.

    Returns
    -------
    float
        The gain, between 1 and `speedup`.

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> from cbviz.measure import speedup_shrinking
    >>> speedup_shrinking(4.0, slots=32, a=1, b=0), speedup_shrinking(4.0, slots=32, a=0, b=1)
    (4.0, 1.0)
    """
    n = whole("slots", slots)
    s = number("speedup", speedup, 1.0, or_equal=True)
    a, b = number("a", a, or_equal=True), number("b", b, or_equal=True)
    if a + b == 0:
        raise MeasureError("an iteration must cost something: a and b are both 0.")
    return 1 + (s - 1) * a / (a + b * n)


def speedup_with_prefill(speedup: float, slots: int, mean_length: float, step: float, prefill: float) -> float:
    """S(n) when every request costs a prefill of its own: (E[M−1] t + nP) / (E[L−1] t + nP).

    A prefill of P seconds yields the first token; t is the time of a decode iteration. Both schedulers pay the same
    n P a batch, so prefill dilutes the gain: long prompts and short answers leave little of it.

    Parameters
    ----------
    speedup
        S(n) = E[M]/E[L] of the length law, at least 1.
    slots
        n, at least 1.
    mean_length
        E[L] in tokens, at least 1; above 1 if prefill is 0.
    step, prefill
        t and P in the same unit; t above 0, P at least 0.

    Returns
    -------
    float
        S(n) with prefill.

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> from cbviz.measure import speedup_with_prefill
    >>> [round(speedup_with_prefill(4, slots=32, mean_length=128, step=1, prefill=p), 2) for p in (0, 1, 10)]
    [4.02, 3.42, 1.86]
    """
    n = whole("slots", slots)
    s = number("speedup", speedup, 1.0, or_equal=True)
    mean = number("mean_length", mean_length, 1.0, or_equal=True)
    t, p = number("step", step), number("prefill", prefill, or_equal=True)
    if mean == 1 and p == 0:
        raise MeasureError("outputs of one token without prefill cost nothing, so they have no speed-up.")
    return ((s * mean - 1) * t + n * p) / ((mean - 1) * t + n * p)
