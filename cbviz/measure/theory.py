"""What refilling slots is worth: closed forms to compare with measured runs.

A static batch of n requests runs as long as its longest output, M = max of n draws of the length law L; a slot that is
refilled at once is free again after E[L] on average. So with enough work, equal slots, and iterations of equal
duration, continuous batching needs

    S(n) = E[M] / E[L]

times fewer iterations, and a static batch uses 1 / S(n) of its slots. S depends only on the law of the output lengths.
E[M] is the mean of an order statistic (David & Nagaraja, Order Statistics, 3rd ed., ch. 2 and 3).

Lengths are continuous here; real ones are whole tokens, rounded. `speedup_discrete` is exact for those.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.errors import MeasureError
from cbviz.measure.checks import lengths_of, number, whole

FloatArray = npt.NDArray[np.float64]


def harmonic(n: int) -> float:
    """The harmonic number H_n = 1 + 1/2 + … + 1/n.

    Parameters
    ----------
    n
        At least 1.

    Returns
    -------
    float
        H_n.

    Raises
    ------
    MeasureError
        `n` is not a whole number of at least 1.

    Examples
    --------
    >>> from cbviz.measure import harmonic
    >>> harmonic(4) == 1 + 1 / 2 + 1 / 3 + 1 / 4
    True
    """
    return float((1.0 / np.arange(1, whole("n", n) + 1)).sum())


def speedup_fixed(slots: int) -> float:
    """S(n) = 1: outputs of equal length end together, and there is nothing to refill.

    Parameters
    ----------
    slots
        n, at least 1.

    Returns
    -------
    float
        1.0.

    Raises
    ------
    MeasureError
        `slots` is not a whole number of at least 1.
    """
    whole("slots", slots)
    return 1.0


def speedup_exponential(slots: int) -> float:
    """S(n) = H_n for exponential lengths of any mean: it grows like ln n, without limit.

    The maximum of n exponentials waits for the first of n to end, then of n−1, …, then of 1:
    E[M] = μ (1/n + … + 1) (Rényi, 1953).

    Parameters
    ----------
    slots
        n, at least 1.

    Returns
    -------
    float
        S(n).

    Raises
    ------
    MeasureError
        `slots` is not a whole number of at least 1.

    Examples
    --------
    >>> from cbviz.measure import speedup_exponential
    >>> [round(speedup_exponential(n), 2) for n in (1, 8, 32, 128)]
    [1.0, 2.72, 4.06, 5.43]
    """
    return harmonic(whole("slots", slots))


def speedup_uniform(slots: int, low: float = 0.0, high: float = 1.0) -> float:
    """S(n) = 2 (low + (high − low) n/(n+1)) / (low + high) for lengths uniform from low to high: never above 2.

    Parameters
    ----------
    slots
        n, at least 1.
    low, high
        Ends of the law, 0 ≤ low < high; only their ratio matters.

    Returns
    -------
    float
        S(n).

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> from cbviz.measure import speedup_uniform
    >>> speedup_uniform(3)
    1.5
    >>> round(speedup_uniform(32, low=64, high=192), 2)
    1.47
    """
    n = whole("slots", slots)
    low = number("low", low, or_equal=True)
    high = number("high", high, low)
    return 2 * (low + (high - low) * n / (n + 1)) / (low + high)


def speedup_clipped_exponential(slots: int, mean: float, cap: float) -> float:
    """S(n) = Σ_{k=1…n} w^(k−1)/k, w = 1 − exp(−cap/mean), for exponential lengths clipped to at most cap.

    This is what `max_new_tokens` does to an exponential law. Integrate 1 − Fⁿ from 0 to the cap with F = 1 − e^(−x/μ):
    E[M] = μ Σ w^k/k, and E[L] = μ w is the case n = 1. A low cap makes lengths equal (S → 1), a high one leaves H_n.

    Parameters
    ----------
    slots
        n, at least 1.
    mean, cap
        Mean μ of the unclipped law, and the cap, both above 0, in tokens.

    Returns
    -------
    float
        S(n).

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> from cbviz.measure import speedup_clipped_exponential
    >>> [round(speedup_clipped_exponential(32, mean=128, cap=cap), 2) for cap in (16, 128, 512, 10_000)]
    [1.06, 1.58, 3.61, 4.06]
    """
    n = whole("slots", slots)
    w = -math.expm1(-number("cap", cap) / number("mean", mean))
    k = np.arange(1, n + 1)
    return float((w ** (k - 1.0) / k).sum())


def speedup_truncated_exponential(slots: int, mean: float, cap: float) -> float:
    """S(n) for exponential lengths when a draw above the cap is rejected and drawn again.

    The harness of "How continuous batching enables 23x throughput in LLM inference" (Anyscale, 2023) draws this law.
    With w = 1 − e^(−T/μ): E[M] = T(1 − w⁻ⁿ) + μ w⁻ⁿ Σ_{k=1…n} w^k/k and E[L] = μ − T(1 − w)/w. The two terms of E[M]
    cancel for large n, so E[M] is integrated over the quantiles instead, which is exact to rounding for any n: the
    p-quantile of the law is −μ ln(1 − w p), and the rank of the maximum is distributed as U^(1/n) for a uniform U.

    Parameters
    ----------
    slots
        n, at least 1.
    mean, cap
        Mean μ of the untruncated law, and the cap T, both above 0, in tokens.

    Returns
    -------
    float
        S(n).

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> from cbviz.measure import speedup_truncated_exponential
    >>> [round(speedup_truncated_exponential(32, mean=128, cap=cap), 2) for cap in (32, 128, 512, 1536)]
    [2.02, 2.27, 3.44, 4.06]
    """
    n = whole("slots", slots)
    x = number("cap", cap) / number("mean", mean)
    w = -math.expm1(-x)
    if x < 1e-7:  # flat below the cap: uniform to seven digits
        return speedup_uniform(n)

    def longest(u: FloatArray, rest: FloatArray) -> FloatArray:
        # 1 − w u^(1/n) without cancellation where u is close to 1 (rest = 1 − u).
        log_u = np.where(u < 0.5, np.log(u), np.log1p(-np.minimum(rest, 0.5)))
        return -np.log(math.exp(-x) - w * np.expm1(log_u / n))

    return float(_integrate_unit(longest)) / (1 - x * math.exp(-x) / w)


def speedup_empirical(slots: int, lengths: Any) -> float:
    """S(n) = Σ x_(i) [(i/m)ⁿ − ((i−1)/m)ⁿ] / mean, for batches drawn at random from m observed lengths x.

    x_(i) is the i-th smallest. This is the exact mean over all batches of n draws with replacement; the actual order of
    the requests may give slightly more or less.

    Parameters
    ----------
    slots
        n, at least 1.
    lengths
        Observed output lengths, at least one, all above 0.

    Returns
    -------
    float
        S(n).

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> from cbviz.measure import speedup_empirical
    >>> speedup_empirical(2, [1, 3])  # of the four pairs, three run to 3 and one to 1: 2.5 / 2
    1.25
    """
    n = whole("slots", slots)
    x = np.sort(lengths_of("lengths", lengths))
    rank = np.arange(len(x) + 1) / len(x)
    return float((x * np.diff(rank**n)).sum() / x.mean())


def speedup_discrete(slots: int, probabilities: Any) -> float:
    """S(n) for any law of whole tokens, exactly: Σ_{k≥0} (1 − F(k)ⁿ) / Σ_{k≥0} (1 − F(k)).

    Parameters
    ----------
    slots
        n, at least 1.
    probabilities
        P(L = 1), P(L = 2), …: at least one, none negative, summing to 1.

    Returns
    -------
    float
        S(n).

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> from cbviz.measure import speedup_discrete
    >>> speedup_discrete(2, [0.5, 0, 0.5])  # lengths 1 and 3, as likely as each other
    1.25
    """
    n = whole("slots", slots)
    p = lengths_of("probabilities", probabilities, least=-1.0)
    if (p < 0).any() or not math.isclose(p.sum(), 1.0, rel_tol=1e-9):
        raise MeasureError("probabilities must not be negative and must sum to 1.")
    below = np.append(0.0, np.cumsum(p)[:-1])  # F(0), F(1), …
    return float((1 - below**n).sum() / (1 - below).sum())


def speedup_bound(slots: int, cv: float) -> float:
    """The largest S(n) of any law: min(n, 1 + CV (n − 1)/√(2n − 1)).

    CV is the coefficient of variation of the lengths, deviation / mean. It follows from the bound on the mean of a
    maximum by Hartley & David and by Gumbel (Annals of Mathematical Statistics 25, 1954). No variance, no gain.

    Parameters
    ----------
    slots
        n, at least 1.
    cv
        Coefficient of variation, at least 0.

    Returns
    -------
    float
        The bound, at least 1.

    Raises
    ------
    MeasureError
        An argument is out of range.

    Examples
    --------
    >>> from cbviz.measure import speedup_bound, speedup_exponential
    >>> speedup_bound(32, cv=0)
    1.0
    >>> speedup_exponential(32) <= speedup_bound(32, cv=1)
    True
    """
    n = whole("slots", slots)
    return min(float(n), 1 + number("cv", cv, or_equal=True) * (n - 1) / math.sqrt(2 * n - 1))


def _integrate_unit(f: Any) -> float:
    """∫ f over 0 … 1 by the tanh-sinh rule (Takahasi & Mori, 1974), which handles a logarithm at either end.

    `f` takes the points u and, for accuracy close to 1, also 1 − u.
    """
    x = np.linspace(-4.0, 4.0, 513)
    step = x[1] - x[0]
    bend = 0.5 * math.pi * np.sinh(x)
    u, rest = 1 / (1 + np.exp(-2 * bend)), 1 / (1 + np.exp(2 * bend))
    weight = math.pi * np.cosh(x) * u * rest * step
    return float((weight * f(u, rest)).sum())
