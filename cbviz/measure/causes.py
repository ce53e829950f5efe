"""What a run did with its slots beside computing answers: counted from the traces."""

from __future__ import annotations

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


def cause(worse: tuple[str, Trace], better: tuple[str, Trace]) -> Message | None:
    """What the run with more iterations did with them: the use of slots of which it had most more than the other.

    Both runs computed the same answers, so a longer one spent its additional slot-iterations on something else, or the
    shorter one got tokens without an iteration of their own: drafts that were accepted.

    Parameters
    ----------
    worse, better
        Name and run; the first has more iterations.

    Returns
    -------
    Message or None
        How many slot-iterations went where; None if more passes for the same prompts are all there is.
    """
    (name, long), (leader, short) = worse, better
    mine, theirs = slot_use(long), slot_use(short)
    more = {use: getattr(mine, use) - getattr(theirs, use) for use in ("prefill", *CAUSES)}
    use = max(more, key=lambda key: more[key])
    drafts = int(short.accepted.sum() - long.accepted.sum())
    if drafts > max(0, more[use]):
        count = int(short.accepted.sum())
        return Message("verdict.because_drafts", policy=leader, n=count, count=f"{count:,}")
    if use not in CAUSES or more[use] <= 0:
        return None
    count = int(getattr(mine, use))
    return Message(CAUSES[use], policy=name, n=count, count=f"{count:,}")


def wasted(name: str, trace: Trace) -> list[Message]:
    """What one run did with slots that a waiting request could have used, the most first.

    Parameters
    ----------
    name
        Of the run.
    trace
        The run.

    Returns
    -------
    list of Message
        One for each kind of waste that occurred.
    """
    use = slot_use(trace)
    counts = {kind: int(getattr(use, kind)) for kind in CAUSES if kind != "spare_idle"}
    most_first = sorted((kind for kind in counts if counts[kind]), key=lambda kind: -counts[kind])
    return [Message(CAUSES[kind], policy=name, n=counts[kind], count=f"{counts[kind]:,}") for kind in most_first]
