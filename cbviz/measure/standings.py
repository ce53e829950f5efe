"""What is compared between lanes, each lane's number, and its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from cbviz.measure.lane_times import LaneTimes
from cbviz.measure.rounding import fixed
from cbviz.messages import Message
from cbviz.trace import Trace

Compare = Literal["iterations", "seconds", "longest_gap", "ttft"]
COMPARED: tuple[Compare, ...] = get_args(Compare)
"""What a race may compare. Only "seconds" is timed; the others are counted, and so the same on every machine."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One lane's number in what is compared, and its place.

    Attributes
    ----------
    policy
        Name of the lane.
    place
        From 1; lanes that tie share a place.
    value
        Iterations; for "seconds" the median of the repeats; for "ttft" the mean iterations from a request's arrival to
        its first token; for "longest_gap" the iterations from one token of an answer to the next, at most.
    text
        The value as it is shown: counts exactly, means with one decimal, seconds with the digits that repeats support.
    tokens
        For "longest_gap", the tokens that the model computed in that gap, which break a tie; else 0.
    """

    policy: str
    place: int
    value: float
    text: str
    tokens: int = 0

    def facts(self) -> dict[str, Any]:
        """The number as facts of a line.

        Returns
        -------
        dict
            `n`, which chooses singular or plural; `count` and `tokens`, as text.
        """
        return {"n": int(self.value == 1) or 2, "count": self.text, "tokens": f"{self.tokens:,}"}

    def to_json(self) -> dict[str, Any]:
        """The standing as plain values.

        Returns
        -------
        dict
            One entry for each attribute but the text.
        """
        return {"policy": self.policy, "place": self.place, "value": self.value, "tokens": self.tokens}


def longest_gap(trace: Trace) -> tuple[int, int]:
    """The longest wait of a request between two of its tokens, counted in iterations.

    A prefill that shares an iteration with decodes lengthens that iteration instead of adding one. So of equally many
    iterations, the gap in which the model computed more tokens counts as longer.

    Parameters
    ----------
    trace
        The run.

    Returns
    -------
    tuple[int, int]
        Iterations, and the tokens that the model computed in them; (0, 0) if no request got two tokens.
    """
    it = trace.iterations
    work = it.prefill_tokens + it.recompute_tokens + it.decode_slots + it.held_slots + trace.drafts
    done = np.concatenate([[0], np.cumsum(work)])
    longest = (0, 0)
    for given in trace.requests.token_iterations:
        at = np.array(given, np.int64)
        if len(at) > 1:
            gaps, computed = np.diff(at), np.diff(done[at + 1])
            most = np.lexsort((computed, gaps))[-1]
            longest = max(longest, (int(gaps[most]), int(computed[most])))
    return longest


def first_tokens(trace: Trace) -> float:
    """Mean iterations from a request's arrival to its first token, that one included.

    Parameters
    ----------
    trace
        The run.

    Returns
    -------
    float
        Iterations; 0 if no request got a token.
    """
    table = trace.requests
    waits = [
        given[0] - arrived + 1
        for given, arrived in zip(table.token_iterations, table.arrived.tolist(), strict=True)
        if given and arrived >= 0
    ]
    return float(np.mean(waits)) if waits else 0.0


MEASURES: dict[str, Callable[[Trace], tuple[float, int]]] = {
    "iterations": lambda trace: (float(len(trace.iterations)), 0),
    "longest_gap": lambda trace: (float(longest_gap(trace)[0]), longest_gap(trace)[1]),
    "ttft": lambda trace: (first_tokens(trace), 0),
}


def standings(
    traces: Sequence[Trace], names: Sequence[str], compare: Compare, times: LaneTimes | None
) -> tuple[Standing, ...]:
    """The lanes in order, the best first; lanes that tie keep the order of the race.

    Parameters
    ----------
    traces, names
        One run of each lane, and its name.
    compare
        What is compared.
    times
        Needed for "seconds": two lanes tie where the repeats show no difference between them.
    """
    lanes = range(len(traces))
    if compare == "seconds":
        medians = [0.0 if times is None else times.seconds[lane].median for lane in lanes]
        order = sorted(lanes, key=lambda lane: medians[lane])
        tied = [times is None or not times.differ(order[n - 1], order[n]) for n in range(1, len(order))]
        values: list[tuple[float, int]] = [(value, 0) for value in medians]
        texts = ["" if times is None else times.seconds[lane].texts()[0] for lane in lanes]
    else:
        values = [MEASURES[compare](trace) for trace in traces]
        order = sorted(lanes, key=lambda lane: values[lane])
        tied = [values[order[n - 1]] == values[order[n]] for n in range(1, len(order))]
        texts = [fixed(value, 0 if float(value).is_integer() else 1) for value, _ in values]
    places = [1]
    for n, same in enumerate(tied, start=1):
        places.append(places[-1] if same else n + 1)
    return tuple(
        Standing(names[lane], place, values[lane][0], texts[lane], values[lane][1])
        for lane, place in zip(order, places, strict=True)
    )


def listed(parts: Sequence[str]) -> str:
    """Texts or messages as a list in the reader's language: "a, b, c"."""
    found = parts[0]
    for part in parts[1:]:
        found = Message("verdict.listed", first=found, second=part)
    return found


def best_of(ranking: Sequence[Standing]) -> tuple[Standing, ...]:
    """All lanes in the first place."""
    return tuple(lane for lane in ranking if lane.place == 1)


def headline(ranking: Sequence[Standing], names: Sequence[str], compare: Compare) -> Message:
    """The result in a few words: both numbers of two lanes in the order of the race, or the best of several lanes.

    Parameters
    ----------
    ranking
        What `standings` returned, for at least two lanes.
    names
        The lanes in the order of the race.
    compare
        What was compared.
    """
    lane = {standing.policy: standing for standing in ranking}
    best = best_of(ranking)
    if len(best) == len(ranking):
        return Message(f"verdict.every_{compare}", **best[0].facts())
    if len(ranking) == 2:
        first, last = lane[names[0]], lane[names[-1]]
        if compare == "longest_gap" and first.value == last.value:
            return Message("verdict.pair_tokens", first=f"{first.tokens:,}", last=f"{last.tokens:,}")
        return Message(f"verdict.pair_{compare}", first=first.text, last=last.text)
    leaders = listed([standing.policy for standing in best])
    return Message(f"verdict.best_{compare}", policy=leaders, **best[0].facts())


def others(ranking: Sequence[Standing], compare: Compare) -> Message | None:
    """The lanes behind the best, in order, with their numbers; lanes that tie side by side. None if all tie."""
    behind = ranking[len(best_of(ranking)) :]
    if not behind:
        return None
    words = [Message("verdict.then", policy=lane.policy, value=_detail(lane, compare)) for lane in behind]
    return Message(f"verdict.behind_{compare}", lanes=listed(words))


def _detail(lane: Standing, compare: Compare) -> str:
    if compare == "longest_gap":
        return Message("verdict.gap", count=lane.text, tokens=f"{lane.tokens:,}")
    return lane.text
