"""Why one policy needed more iterations than another, and why none could win: counted from the traces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbviz.measure.latency import completed
from cbviz.measure.slot_use import slot_use
from cbviz.messages import Message
from cbviz.trace import Trace

CAUSES = {
    "held": "verdict.because_held",
    "wasted_idle": "verdict.because_idle",
    "recompute": "verdict.because_recompute",
    "stalled": "verdict.because_stalled",
    "spare_idle": "verdict.because_spare",
}
"""A field of `SlotUse` → the line that names it as the cause."""


def cause(name: str, worse: Trace, better: Trace) -> Message | None:
    """What the run with more iterations did with them: the use of slots of which it had most more than the other.

    Both runs computed the same answers, so a longer one spent its additional slot-iterations on something else.

    Parameters
    ----------
    name
        Of the worse run.
    worse, better
        The runs; the first has more iterations.

    Returns
    -------
    Message or None
        How many slot-iterations went where; None if more passes for the same prompts are all there is.
    """
    mine, theirs = slot_use(worse), slot_use(better)
    more = {use: getattr(mine, use) - getattr(theirs, use) for use in ("prefill", *CAUSES)}
    use = max(more, key=lambda key: more[key])
    if use not in CAUSES or more[use] <= 0:
        return None
    count = int(getattr(mine, use))
    return Message(CAUSES[use], policy=name, n=count, count=f"{count:,}")


def nothing_to_win(traces: Sequence[Trace]) -> Message | None:
    """Why runs that needed equally many iterations had to, and what to try; None if none of the known reasons applies.

    Parameters
    ----------
    traces
        One run of each policy, all of the same requests.

    Returns
    -------
    Message or None
        One sentence.
    """
    slots, requests = traces[0].meta.slots, len(traces[0].requests)
    waited = any((trace.iterations.waiting > 0).any() for trace in traces)
    if slots == 1:
        return Message("verdict.nothing_one_slot")
    if not waited and requests <= slots:
        if requests < 3:
            return Message("verdict.nothing_requests", n=requests, slots=f"{slots:,}")
        return Message("verdict.nothing_slots", requests=f"{requests:,}", slots=f"{slots:,}", fewer=(requests + 1) // 2)
    if not waited:
        return Message("verdict.nothing_queue")
    if _equal_lengths(traces[0]):
        return Message("verdict.nothing_lengths")
    if _same_schedule(traces) and not any(_short_of_memory(trace) for trace in traces):
        return Message("verdict.nothing_memory")
    return None


def _equal_lengths(trace: Trace) -> bool:
    lengths = {len(tokens) for tokens, done in zip(trace.requests.tokens, completed(trace), strict=True) if done}
    return len(lengths) == 1


def _same_schedule(traces: Sequence[Trace]) -> bool:
    first = traces[0].requests.token_iterations
    return all(trace.requests.token_iterations == first for trace in traces[1:])


def _short_of_memory(trace: Trace) -> bool:
    """Whether a request was preempted, or one waited although a slot was free."""
    it = trace.iterations
    free = it.idle_slots - trace.closed_slots > 0
    return bool(trace.requests.preemptions.any() or np.any(free & (it.waiting > 0)))
