"""The article's headline and its parts: what it credits each with, and what theory says where it says anything."""

from __future__ import annotations

import math

from cbviz.measure.theory import speedup_truncated_exponential

ARTICLE = {
    "iteration_level": 8.0,
    "paged": 23 / 8,
    "fused": 4.0,
}
"""Multiples that "How continuous batching enables 23x throughput" (Anyscale, June 2023) gives at its highest cap, by
the factor they belong to: continuous batching (TGI, Ray Serve) 8 times static batching, vLLM's memory 23 / 8 times
that, FasterTransformer's kernels 4 times static batching."""
HEADLINE = 23.0
_OVER = {"iteration_level": ("dataset_longest", "batch_longest", "request_level"), "paged": ("tgi",)}
"""What the article's multiple of a schedule is over; with other steps left out it belongs to no factor."""


def article_credit(name: str, before: str) -> float | None:
    """The article's multiple of a factor.

    Parameters
    ----------
    name
        The factor.
    before
        The scheme that it replaces.

    Returns
    -------
    float or None
        None if the article gives none, or gives it over another scheme.
    """
    return ARTICLE.get(name) if before in _OVER.get(name, (before,)) else None


def expected_longest(batch: int, mean: float, cap: float) -> float:
    """E[max of n outputs] of the truncated exponential law, in tokens.

    Parameters
    ----------
    batch
        n, at least 1.
    mean, cap
        Of the law.

    Returns
    -------
    float
        Tokens.

    Examples
    --------
    >>> round(expected_longest(4, 128, 1_536))
    267
    """
    return speedup_truncated_exponential(batch, mean, cap) * moments(mean, cap)[0]


def moments(mean: float, cap: float) -> tuple[float, float]:
    """E[L] and E[L²] of the truncated exponential law, by its density e^(−x/μ) / (μ (1 − e^(−T/μ))) on 0…T.

    Parameters
    ----------
    mean, cap
        μ and T, above 0, in tokens.

    Returns
    -------
    tuple of float
        In tokens and tokens².
    """
    left = math.exp(-cap / mean)
    kept = -math.expm1(-cap / mean)
    first = mean - cap * left / kept
    return first, 2 * mean * first - cap * cap * left / kept


def rows_that_fit(pool: float, prompt: int, mean: float, cap: float, *, reserved: bool) -> float:
    """Requests that a pool of KV memory holds on average.

    A slot is more often seen with a long output than with a short one, so a reservation takes prompt + E[L²] / E[L]
    positions on average; what is written so far takes prompt + E[L (L − 1)] / (2 E[L]).

    Parameters
    ----------
    pool
        Positions.
    prompt
        Tokens of every prompt.
    mean, cap
        Of the law of outputs.
    reserved
        Whether each request reserves its whole output.

    Returns
    -------
    float
        Requests.

    Examples
    --------
    >>> [round(rows_that_fit(8_192, 512, 128, 1_536, reserved=kind), 1) for kind in (True, False)]
    [10.7, 12.8]
    """
    first, second = moments(mean, cap)
    return pool / (prompt + (second / first if reserved else (second - first) / (2 * first)))


def theory(before: str, after: str, *, batch: int, prompt: int, mean: float, cap: float, longest: int) -> float | None:
    """What a change of schemes is worth if all iterations cost the same: the ratio of their useful rows.

    More rows cost more in a real iteration, so this is the most that schemes can win which only fill slots.

    Parameters
    ----------
    before, after
        Two schemes (see `cbviz.run.decompose_plan`).
    batch
        Requests of a static batch; with room for the longest output they fill the memory.
    prompt, mean, cap
        Of the work.
    longest
        The longest output that was drawn.

    Returns
    -------
    float or None
        None where there is no closed form, as for TGI's rule.

    Examples
    --------
    >>> work = {"batch": 4, "prompt": 512, "mean": 128, "cap": 1_536, "longest": 1_030}
    >>> round(theory("dataset_longest", "batch_longest", **work), 2)
    3.86
    >>> round(theory("request_level", "iteration_level", **work), 2)
    2.08
    """
    pool = batch * (prompt + cap)
    most = pool // prompt  # slots: each holds its prompt at least

    def fits(reserved: bool) -> float:
        return min(most, max(batch, rows_that_fit(pool, prompt, mean, cap, reserved=reserved)))

    static = batch / speedup_truncated_exponential(batch, mean, cap)
    useful = {
        "dataset_longest": batch * moments(mean, cap)[0] / longest,
        "batch_longest": static,
        "request_level": static,
        "iteration_level": batch,
        "lengths_declared": fits(reserved=True),
        "paged": fits(reserved=False),
        "paged_double": 2 * fits(reserved=False),
    }
    if before not in useful or after not in useful or before == after:
        return None
    return useful[after] / useful[before]
