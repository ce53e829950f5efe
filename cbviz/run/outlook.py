"""An upper bound on how long a run will take, from its first iterations.

The lengths of answers are known only when they have ended; beforehand only their limits are. Static batching is the
slowest a reasonable policy gets: every batch runs as long as its longest answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.events import Iteration
from cbviz.workload import Workload


def longest_run(workload: Workload, slots: int, first: Sequence[Iteration]) -> float:
    """Upper bound on the seconds of one run of a workload, extrapolated from its first iterations.

    Parameters
    ----------
    workload, slots
        The requests, and how many run at once.
    first
        The first iterations of a run: the one that prefills, then some that decode.

    Returns
    -------
    float
        Seconds; 0 if nothing has been measured.
    """
    if not first:
        return 0.0
    decode = min((it.seconds / max(1, it.generated) for it in first[1:]), default=first[0].seconds)
    # The first call also loads libraries; a prompt token costs at most as much as an output token.
    prefill = min(first[0].seconds, decode * max(1, int(first[0].tokens.sum())))
    decode *= min(slots, len(workload))
    longest = max(request.output_length or request.max_new_tokens for request in workload)
    batches = -(-len(workload) // slots)
    return batches * (prefill + (longest - 1) * decode)


def runs_within(repeats: int, seconds: float, enough: float | None) -> int:
    """How many timed runs start if each takes `seconds` and none starts after `enough` seconds; at least 1."""
    if enough is None or seconds <= 0:
        return repeats
    return max(1, min(repeats, int(enough // seconds) + 1))


def rough(seconds: float) -> str:
    """A duration rounded as in speech: "40 s", "3 min", "2 h".

    >>> rough(37), rough(170), rough(6000)
    ('35 s', '3 min', '1.7 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds / 5) * 5 if seconds > 10 else round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.0f} h" if seconds > 36_000 else f"{seconds / 3600:.1f} h"
