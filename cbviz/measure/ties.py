"""Why lanes tie in what is compared, and what to try: read from the traces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbviz.measure.latency import completed
from cbviz.measure.standings import Compare, longest_gap
from cbviz.messages import Message
from cbviz.trace import Trace


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
        One sentence.
    """
    if same_policy(traces):
        return Message("verdict.nothing_same_policy", policy=traces[0].meta.policy)
    if compare == "longest_gap":
        if all(longest_gap(trace)[0] <= 1 for trace in traces):
            return Message("verdict.nothing_gap")
    elif (reason := _no_contest(traces)) is not None:
        return reason
    if not _same_schedule(traces):
        return _different_schedules(traces, compare)
    if any("engine" in trace.meta.extra for trace in traces):
        return Message("verdict.nothing_engines")
    if len({trace.meta.policy for trace in traces}) == 1:
        return Message("verdict.nothing_options", policy=traces[0].meta.policy)
    if any(_short_of_memory(trace) for trace in traces):
        return Message("verdict.nothing_decided")
    return Message("verdict.nothing_together" if _ended_together(traces[0]) else "verdict.nothing_memory")


def _same_schedule(traces: Sequence[Trace]) -> bool:
    """Whether every request got its tokens in the same iterations in all runs."""
    first = _given(traces[0])
    return all(_given(trace) == first for trace in traces[1:])


def _no_contest(traces: Sequence[Trace]) -> Message | None:
    """Why no policy can finish these requests sooner than another; None if one could."""
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
    if _equal_lengths(traces[0]) and not traces[0].requests.arrived.any():
        return Message("verdict.nothing_lengths")
    return None


def _different_schedules(traces: Sequence[Trace], compare: Compare) -> Message:
    """Schedules that differ and still tie: by the request that ends last, or by chance."""
    if compare not in ("iterations", "seconds"):
        return Message(f"verdict.nothing_even_{compare}")
    last = _last(traces[0])
    if last is not None and all(_last(trace) == last for trace in traces[1:]):
        return Message("verdict.nothing_last", request=last[0], at=last[1])
    lanes = [_given(trace) for trace in traces]
    moved = sum(any(lane[request] != given for lane in lanes) for request, given in lanes[0].items())
    return Message("verdict.nothing_even", count=f"{moved:,}", all=f"{len(lanes[0]):,}")


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
