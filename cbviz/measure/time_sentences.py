"""What a verdict says about seconds: no more than the repeats can show, and no digit that another set would change."""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.measure.lane_times import LaneTimes, Spread, two_digits
from cbviz.measure.rounding import fixed
from cbviz.measure.standings import listed as in_a_list
from cbviz.measure.ties import ARGUMENTS
from cbviz.messages import Message
from cbviz.trace import Trace


def about_seconds(times: LaneTimes | None, names: Sequence[str], *, alike: bool = False) -> list[Message]:
    """What the repeats say about time.

    Parameters
    ----------
    times
        Of all lanes; None where a run took no time.
    names
        Of the lanes.
    alike
        Whether all lanes did the same under one policy, so that a difference would be the machine's: none is named.

    Returns
    -------
    list of Message
        Sentences.
    """
    if times is None:
        return []
    if times.too_short:
        return [Message("verdict.too_short", n=len(names))]
    if times.repeats == 1:
        words = [
            Message("verdict.lane_seconds", policy=name, seconds=two_digits(lane.median))
            for name, lane in zip(names, times.seconds, strict=True)
        ]
        return [Message(_once(times), n=len(names), lanes=in_a_list(words))]
    if len(names) != 2 or alike:
        return _many_times(times, names)[: 1 if alike else None]
    slow, fast = (0, 1) if times.ratios[0, 1].median >= 1 else (1, 0)
    spread = times.ratios[slow, fast]
    ratio, low, high = spread.texts()
    if not times.differ(slow, fast):
        ends = {"low": ratio_text(spread.low), "high": ratio_text(spread.high)}
        return [Message("verdict.undecided", n=times.repeats, first=names[slow], last=names[fast], **ends)]
    of = {"slower": names[slow], "faster": names[fast], "times": ratio, "low": low, "high": high, "n": times.repeats}
    took = {"slow": _to_divide(times.seconds[slow]), "fast": _to_divide(times.seconds[fast])}
    return [Message("verdict.times", **of, **took)]


def no_seconds(times: LaneTimes | None) -> Message:
    """Why a race that was to compare seconds compares iterations, and what to do about it."""
    if times is None or times.too_short:
        return Message("verdict.seconds_short")
    return Message("verdict.seconds_turns" if times.in_turns else "verdict.seconds_once", repeats=ARGUMENTS["repeats"])


def about_clocks(traces: Sequence[Trace]) -> list[Message]:
    """How the seconds were measured, where all lanes were timed in the same way."""
    clocks = {trace.meta.clock for trace in traces}
    clock = clocks.pop() if len(clocks) == 1 else ""
    known = ("alone", "virtual") if len(traces) == 1 else ("lane", "alone", "virtual")  # one lane takes no turns
    return [Message(f"verdict.clock_{clock}")] if clock in known else []


def ratio_text(ratio: float) -> str:
    """A ratio of counts, or an end of a range, with three digits: exact, whatever the machine did."""
    return fixed(ratio, 2 if ratio < 10 else 1 if ratio < 100 else 0)


def _to_divide(seconds: Spread) -> str:
    """A median beside a ratio, with two digits at least, however far the repeats lie apart: readers divide."""
    return max(seconds.texts()[0], two_digits(seconds.median), key=len)


def _once(times: LaneTimes) -> str:
    """The line for lanes that were timed once: by a cost model, in turns, or alone."""
    return "verdict.modelled" if times.modelled else "verdict.timed_turns" if times.in_turns else "verdict.timed_once"


def _many_times(times: LaneTimes, names: Sequence[str]) -> list[Message]:
    """Every lane's median and range, the quickest first, and the lanes that the repeats cannot tell from it."""
    order = sorted(range(len(names)), key=lambda lane: times.seconds[lane].median)
    words = []
    for lane in order:
        middle, low, high = times.seconds[lane].texts()
        words.append(Message("verdict.lane_range", policy=names[lane], seconds=middle, low=low, high=high))
    found = [Message("verdict.times_ranked", n=times.repeats, lanes=in_a_list(words))]
    alike = [names[lane] for lane in order if lane == order[0] or not times.differ(order[0], lane)]
    if len(alike) > 1:
        found.append(Message("verdict.times_alike", n=times.repeats, lanes=in_a_list(alike)))
    return found
