"""How long a run will take at most, said after its first iterations.

How long answers get is known when they have ended; what can be known before is the most that they may get. Static
batching is the slowest that a policy can reasonably be: every batch runs as long as its longest answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.trace import Iteration
from cbviz.workload import Workload


def longest_run(workload: Workload, slots: int, first: Sequence[Iteration]) -> float:
    """Seconds that one run of a workload takes at most, as far as its first iterations tell.

    Parameters
    ----------
    workload, slots
        What is served, and how many at once.
    first
        The first iterations of a run: the one that takes the prompts in, then some that decode.

    Returns
    -------
    float
        0 where nothing has been measured.
    """
    if not first:
        return 0.0
    decode = min((it.seconds / max(1, it.generated) for it in first[1:]), default=first[0].seconds)
    # The first call loads libraries, too; a prompt token costs at most what an output token costs.
    prefill = min(first[0].seconds, decode * max(1, int(first[0].tokens.sum())))
    decode *= min(slots, len(workload))
    longest = max(request.output_length or request.max_new_tokens for request in workload)
    batches = -(-len(workload) // slots)
    return batches * (prefill + (longest - 1) * decode)


def runs_within(repeats: int, seconds: float, enough: float | None) -> int:
    """Timed runs of all lanes that are begun, if each takes `seconds` and none begins after `enough`; at least 1."""
    if enough is None or seconds <= 0:
        return repeats
    return max(1, min(repeats, int(enough // seconds) + 1))


def rough(seconds: float) -> str:
    """A duration as people say it: "40 s", "3 min", "2 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds / 5) * 5 if seconds > 10 else round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.0f} h" if seconds > 36_000 else f"{seconds / 3600:.1f} h"
