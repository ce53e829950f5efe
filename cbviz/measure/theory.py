"""What refilling slots must be worth: closed forms that measured runs are held against.

The question behind all of them: a static batch of n requests runs as long as its longest output, M = max of n draws of
the length law L; a slot that is refilled at once runs on average E[L]. So with enough work, equal slots, and iterations
that all take the same time, continuous batching needs

    S(n) = E[M] / E[L]

times fewer iterations, and a static batch uses 1 / S(n) of its slots. S depends on the law of the output lengths and on
nothing else. E[M] is the mean of an order statistic (David & Nagaraja, Order Statistics, 3rd ed., ch. 2 and 3).

Lengths are continuous here; real ones are whole tokens, rounded. `speedup_discrete` is exact for those.
"""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.errors import MeasureError
from cbviz.measure.checks import lengths_of, number, whole

FloatArray = npt.NDArray[np.float64]


# ---------------------------------------------------------------- S(n), law by law


def harmonic(n: int) -> float:
    """H_n = 1 + 1/2 + … + 1/n. Raises MeasureError unless n is a whole number from 1."""
    return float((1.0 / np.arange(1, whole("n", n) + 1)).sum())


def speedup_fixed(slots: int) -> float:
    """S(n) = 1: outputs of equal length end together, and there is nothing to refill. Raises MeasureError."""
    whole("slots", slots)
    return 1.0


def speedup_exponential(slots: int) -> float:
    """S(n) = H_n for exponential lengths of any mean: it grows like ln n, without limit.

    The longest of n exponentials waits for n, then n−1, …, then 1 of them: E[M] = μ (1/n + … + 1) (Rényi, 1953).
    Raises MeasureError unless `slots` is a whole number from 1.
    """
    return harmonic(whole("slots", slots))


def speedup_uniform(slots: int, low: float = 0.0, high: float = 1.0) -> float:
    """S(n) = 2 (low + (high − low) n/(n+1)) / (low + high) for lengths uniform from low to high: never above 2.

    Raises MeasureError unless slots ≥ 1 and 0 ≤ low < high.
    """
    n = whole("slots", slots)
    low = number("low", low, or_equal=True)
    high = number("high", high, low)
    return 2 * (low + (high - low) * n / (n + 1)) / (low + high)


def speedup_clipped_exponential(slots: int, mean: float, cap: float) -> float:
    """S(n) = Σ_{k=1…n} w^(k−1)/k, w = 1 − exp(−cap/mean), for exponential lengths of which the longer ones become cap.

    This is what `max_new_tokens` does to an exponential law. Integrate 1 − Fⁿ from 0 to the cap with F = 1 − e^(−x/μ):
    E[M] = μ Σ w^k/k, and E[L] = μ w is its case n = 1. A low cap makes lengths equal (S → 1), a high one leaves H_n.
    Raises MeasureError unless slots ≥ 1 and mean and cap are above 0.
    """
    n = whole("slots", slots)
    w = -math.expm1(-number("cap", cap) / number("mean", mean))
    k = np.arange(1, n + 1)
    return float((w ** (k - 1.0) / k).sum())


def speedup_truncated_exponential(slots: int, mean: float, cap: float) -> float:
    """S(n) for exponential lengths where everything above the cap is thrown away and drawn again.

    What the harness of "How continuous batching enables 23x throughput in LLM inference" (Anyscale, 2023) draws. With
    w = 1 − e^(−T/μ): E[M] = T(1 − w⁻ⁿ) + μ w⁻ⁿ Σ_{k=1…n} w^k/k and E[L] = μ − T(1 − w)/w. The two terms of E[M] cancel
    for large n, so E[M] is integrated over the quantiles instead, which is exact to rounding for any n: the p-quantile
    of the law is −μ ln(1 − w p), and the rank of the maximum is distributed as U^(1/n) for a uniform U.
    Raises MeasureError unless slots ≥ 1 and mean and cap are above 0.
    """
    n = whole("slots", slots)
    x = number("cap", cap) / number("mean", mean)
    w = -math.expm1(-x)
    if x < 1e-7:  # so flat below the cap that the law is uniform, to seven digits
        return speedup_uniform(n)

    def longest(u: FloatArray, rest: FloatArray) -> FloatArray:
        # 1 − w u^(1/n) without cancellation where u is close to 1 (rest = 1 − u).
        log_u = np.where(u < 0.5, np.log(u), np.log1p(-np.minimum(rest, 0.5)))
        return -np.log(math.exp(-x) - w * np.expm1(log_u / n))

    return float(_integrate_unit(longest)) / (1 - x * math.exp(-x) / w)


def speedup_empirical(slots: int, lengths: Any) -> float:
    """S(n) = Σ x_(i) [(i/m)ⁿ − ((i−1)/m)ⁿ] / mean, for batches drawn at random from m observed lengths x.

    x_(i) is the i-th smallest. It is the exact mean over all batches of n draws with replacement; the order in which
    the requests really came may give a little more or less. Raises MeasureError for slots < 1 or lengths not above 0.
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

    Raises
    ------
    MeasureError
        Arguments that are not so.
    """
    n = whole("slots", slots)
    p = lengths_of("probabilities", probabilities, least=-1.0)
    if (p < 0).any() or not math.isclose(p.sum(), 1.0, rel_tol=1e-9):
        raise MeasureError("probabilities must not be negative and must sum to 1.")
    below = np.append(0.0, np.cumsum(p)[:-1])  # F(0), F(1), …
    return float((1 - below**n).sum() / (1 - below).sum())


def speedup_bound(slots: int, cv: float) -> float:
    """The most that S(n) can be: min(n, 1 + CV (n − 1)/√(2n − 1)), whatever the law (and never below 1).

    CV is the coefficient of variation of the lengths, deviation / mean. From the bound on the mean of a maximum by
    Hartley & David and by Gumbel (Annals of Mathematical Statistics 25, 1954). No variance, no gain.
    Raises MeasureError unless slots ≥ 1 and cv ≥ 0.
    """
    n = whole("slots", slots)
    return min(float(n), 1 + number("cv", cv, or_equal=True) * (n - 1) / math.sqrt(2 * n - 1))


# ---------------------------------------------------------------- a given list of lengths, in order


def static_iterations(lengths: Any, slots: int, run_to: int | None = None) -> int:
    """Iterations that static batching takes for these output lengths, all there at 0, in order: each batch of n runs
    to its longest, or for `run_to` iterations (the longest of the data set, in the naive baseline).

    Holds for unchunked prompts, one iteration an output token. Raises MeasureError for lengths or slots below 1, or a
    `run_to` below the longest.
    """
    n = whole("slots", slots)
    x = _whole_lengths(lengths)
    if run_to is not None:
        run_to = whole("run_to", run_to, max(x))
    return sum(run_to if run_to is not None else max(x[i : i + n]) for i in range(0, len(x), n))


def continuous_iterations(lengths: Any, slots: int) -> int:
    """Iterations that continuous batching takes for these output lengths, all there at 0, in order: a freed slot takes
    the next request at once (list scheduling: Graham, SIAM J. Appl. Math. 17, 1969).

    Holds for unchunked prompts and a KV pool that never says no. Raises MeasureError for lengths or slots below 1.
    """
    n = whole("slots", slots)
    x = _whole_lengths(lengths)
    free_at = [0] * min(n, len(x))
    for length in x:
        heapq.heapreplace(free_at, free_at[0] + length)
    return max(free_at)


def makespan_bounds(lengths: Any, slots: int) -> tuple[float, float]:
    """Bounds on the iterations of continuous batching for a finite list: max(ΣL/n, max L) ≤ C ≤ ΣL/n + (1 − 1/n) max L.

    Graham's bound for list scheduling: the last request starts when all slots are busy, so the end is ragged by at most
    one longest request. Raises MeasureError for lengths or slots below 1.
    """
    n = whole("slots", slots)
    x = _whole_lengths(lengths)
    return max(sum(x) / n, float(max(x))), sum(x) / n + (1 - 1 / n) * max(x)


def _whole_lengths(lengths: Any) -> list[int]:
    x = lengths_of("lengths", lengths)
    if (x != np.floor(x)).any() or x.max() > 2**53:
        raise MeasureError("lengths must be whole numbers of tokens.")
    return [int(value) for value in x]


# ---------------------------------------------------------------- iterations that do not all cost the same


def speedup_shrinking(speedup: float, slots: int, a: float, b: float) -> float:
    """What continuous batching gains over a static batch that drops finished rows but does not refill them.

    For an iteration that costs a + bB with B rows: 1 + (S − 1) a/(a + bn). The dropped rows save their b, not their
    share of a (the weights are read all the same); the gain is what refilling spreads a over. Where finished rows are
    computed on (as padded static batching does), S itself holds for any cost that depends on B alone.
    Raises MeasureError unless speedup ≥ 1, slots ≥ 1, a and b ≥ 0 and not both 0.
    """
    n = whole("slots", slots)
    s = number("speedup", speedup, 1.0, or_equal=True)
    a, b = number("a", a, or_equal=True), number("b", b, or_equal=True)
    if a + b == 0:
        raise MeasureError("an iteration must cost something: a and b are both 0.")
    return 1 + (s - 1) * a / (a + b * n)


def speedup_with_prefill(speedup: float, slots: int, mean_length: float, step: float, prefill: float) -> float:
    """S(n) when every request costs a prefill that is computed apart: (E[M−1] t + nP) / (E[L−1] t + nP).

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

    Raises
    ------
    MeasureError
        Arguments that are not so.
    """
    n = whole("slots", slots)
    s = number("speedup", speedup, 1.0, or_equal=True)
    mean = number("mean_length", mean_length, 1.0, or_equal=True)
    t, p = number("step", step), number("prefill", prefill, or_equal=True)
    if mean == 1 and p == 0:
        raise MeasureError("outputs of one token without prefill cost nothing; there is no speed-up to speak of.")
    return ((s * mean - 1) * t + n * p) / ((mean - 1) * t + n * p)


def _integrate_unit(f: Any) -> float:
    """∫ f over 0 … 1 by the tanh-sinh rule (Takahasi & Mori, 1974), which does not mind a logarithm at either end.

    `f` takes the points u and, for accuracy close to 1, also 1 − u.
    """
    x = np.linspace(-4.0, 4.0, 513)
    step = x[1] - x[0]
    bend = 0.5 * math.pi * np.sinh(x)
    u, rest = 1 / (1 + np.exp(-2 * bend)), 1 / (1 + np.exp(2 * bend))
    weight = math.pi * np.cosh(x) * u * rest * step
    return float((weight * f(u, rest)).sum())
