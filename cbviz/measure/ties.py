"""Why lanes tie in what is compared, and what to try: read from the traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cbviz.measure.latency import completed
from cbviz.measure.standings import MEASURES, Compare, longest_gap
from cbviz.messages import Message
from cbviz.trace import Trace

ARGUMENTS = {name: name for name in ("compare", "kv_tokens", "policies", "repeats")}
"""What an advice calls the settings of a race: its arguments. The command line puts its options in their place."""


def nothing_to_win(traces: Sequence[Trace], compare: Compare = "iterations") -> Message:
    """Why lanes tie, and what to try.

    Parameters
    ----------
    traces
        One run of each lane, all of the same requests and equal in what is compared.
    compare
        What is compared. Lanes whose seconds tie are explained by their iterations.

    Returns
    -------
    Message
        One sentence, and one with what to try: everything that has to change before lanes can differ.
    """
    missing = [] if compare == "longest_gap" else _missing(traces)
    if same_policy(traces):
        advice = advised("verdict.try_policy", *missing)
        return Message("verdict.nothing_same_policy", policy=traces[0].meta.policy, advice=advice)
    if compare == "longest_gap":
        if all(longest_gap(trace)[0] <= 1 for trace in traces):
            long = "verdict.try_prompts" if _longest_answer(traces[0]) > 1 else "verdict.try_longer"
            return Message("verdict.nothing_gap", advice=advised(long))
    elif (reason := _no_contest(traces)) is not None:
        key, facts = reason
        return Message(key, **facts, advice=advised(*missing))
    if not _same_schedule(traces):
        return _different_schedules(traces, compare)
    if any("engine" in trace.meta.extra for trace in traces):
        return Message("verdict.nothing_engines")
    if len({trace.meta.policy for trace in traces}) == 1:
        return Message("verdict.nothing_options", policy=traces[0].meta.policy, advice=advised("verdict.try_options"))
    if any(_short_of_memory(trace) for trace in traces):
        return Message("verdict.nothing_decided", advice=advised("verdict.try_others"))
    if _ended_together(traces[0]):
        return Message("verdict.nothing_together", advice=advised("verdict.try_lengths"))
    return Message("verdict.nothing_memory", advice=advised("verdict.try_memory"))


def advised(*keys: str | Message) -> str:
    """What to try, as the end of a line: all of it together. Empty if there is nothing."""
    parts = [key if isinstance(key, Message) else Message(key, **ARGUMENTS) for key in keys]
    if not parts:
        return ""
    what = parts[0]
    for part in parts[1:]:
        what = Message("verdict.try_and", first=what, second=part)
    return Message("verdict.try", what=what)


def _missing(traces: Sequence[Trace]) -> list[str | Message]:
    """What has to change, all of it, before any policy could finish these requests sooner than another."""
    slots, requests = traces[0].meta.slots, len(traces[0].requests)
    waited = _waited(traces)
    found: list[str | Message] = []
    if requests < 3:
        found.append("verdict.try_requests")
    if slots == 1:
        found.append("verdict.try_slots")
    elif not waited and 3 <= requests <= slots:
        found.append(Message("verdict.try_fewer_slots", fewer=(requests + 1) // 2))
    elif not waited and requests > slots:
        found.append("verdict.try_closer" if slots == 2 else "verdict.try_fewer_or_closer")
    if requests > 1 and _equal_lengths(traces[0]):
        found.append("verdict.try_lengths")
    elif requests == 1 and _longest_answer(traces[0]) <= 1:
        found.append("verdict.try_longer")
    return found


def _same_schedule(traces: Sequence[Trace]) -> bool:
    """Whether every request got its tokens in the same iterations in all runs."""
    first = _given(traces[0])
    return all(_given(trace) == first for trace in traces[1:])


def _no_contest(traces: Sequence[Trace]) -> tuple[str, dict[str, Any]] | None:
    """Why no policy can finish these requests sooner than another, as key and facts; None if one could."""
    slots, requests = traces[0].meta.slots, len(traces[0].requests)
    waited = _waited(traces)
    if slots == 1:
        return "verdict.nothing_one_slot", {}
    if not waited and requests <= slots:
        if requests < 3:
            return "verdict.nothing_requests", {"n": requests, "slots": f"{slots:,}"}
        return "verdict.nothing_slots", {"requests": f"{requests:,}", "slots": f"{slots:,}"}
    if not waited:
        return "verdict.nothing_queue", {}
    if _equal_lengths(traces[0]) and not traces[0].requests.arrived.any():
        return "verdict.nothing_lengths", {}
    return None


def _waited(traces: Sequence[Trace]) -> bool:
    return any((trace.iterations.waiting > 0).any() for trace in traces)


def _different_schedules(traces: Sequence[Trace], compare: Compare) -> Message:
    """Schedules that differ and still tie: by the request that ends last, or by chance."""
    advice = _compare_instead(traces, compare)
    if compare not in ("iterations", "seconds"):
        return Message(f"verdict.nothing_even_{compare}", advice=advice)
    last = _last(traces[0])
    if last is not None and all(_last(trace) == last for trace in traces[1:]):
        return Message("verdict.nothing_last", request=last[0], at=last[1], advice=advice)
    lanes = [_given(trace) for trace in traces]
    moved = sum(any(lane[request] != given for lane in lanes) for request, given in lanes[0].items())
    return Message("verdict.nothing_even", count=f"{moved:,}", all=f"{len(lanes[0]):,}", advice=advice)


def _compare_instead(traces: Sequence[Trace], compare: Compare) -> str:
    """The measures in which these very runs differ; where they differ in none, other requests."""
    kind = "iterations" if compare == "seconds" else compare
    telling = [name for name, count in MEASURES.items() if name != kind and len({count(trace) for trace in traces}) > 1]
    if not telling:
        return advised("verdict.try_others")
    measures = telling[0]
    for name in telling[1:]:
        measures = Message("verdict.try_or", first=measures, second=name)
    return Message("verdict.try_compare", measures=measures, compare=ARGUMENTS["compare"])


def _given(trace: Trace) -> dict[int, tuple[int, ...]]:
    """Request → the iterations that gave it its tokens."""
    table = trace.requests
    return dict(zip(table.id.tolist(), table.token_iterations, strict=True))


def _last(trace: Trace) -> tuple[int, int] | None:
    """The request that ended last and the iteration in which it entered; None if it paused, or several ended last."""
    table = trace.requests
    rows = np.flatnonzero(table.finished == table.finished.max())
    if len(rows) != 1:
        return None
    entered, tokens = int(table.admitted[rows[0]]), len(table.tokens[rows[0]])
    paused = int(table.finished[rows[0]]) - entered + 1 != tokens
    return None if paused else (int(table.id[rows[0]]), entered)


def same_policy(traces: Sequence[Trace]) -> bool:
    """Whether all lanes name one policy, with the same options as far as a trace records them, and did the same."""
    first = traces[0].meta
    return _same_schedule(traces) and all(
        (trace.meta.policy, str(trace.meta.policy_summary), trace.meta.extra)
        == (first.policy, str(first.policy_summary), first.extra)
        for trace in traces[1:]
    )


def _longest_answer(trace: Trace) -> int:
    return max((len(tokens) for tokens in trace.requests.tokens), default=0)


def _equal_lengths(trace: Trace) -> bool:
    lengths = {len(tokens) for tokens, done in zip(trace.requests.tokens, completed(trace), strict=True) if done}
    return len(lengths) == 1


def _ended_together(trace: Trace) -> bool:
    """Whether no slot came free while another request ran and one waited: every batch ended as a whole."""
    table = trace.requests
    entered, ended = table.admitted, table.finished
    for end in np.unique(ended[ended >= 0]):
        waits = ((table.arrived >= 0) & (table.arrived <= end) & (entered > end)).any()
        if waits and ((entered >= 0) & (entered <= end) & (ended > end)).any():
            return False
    return True


def _short_of_memory(trace: Trace) -> bool:
    """Whether a request was preempted, or one waited although a slot was free."""
    it = trace.iterations
    free = it.idle_slots - trace.closed_slots > 0
    return bool(trace.requests.preemptions.any() or np.any(free & (it.waiting > 0)))
