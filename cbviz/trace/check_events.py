"""Checks that the tokens and the marks of a trace agree with the spans: a request gets both only where it ran."""

from __future__ import annotations

from itertools import chain

import numpy as np

from cbviz.errors import TraceError
from cbviz.events import FinishReason, State
from cbviz.limits import MOST_TOKENS
from cbviz.messages import Message
from cbviz.reason import Reason
from cbviz.trace.check_columns import check_columns, first_id, request_rows, require, row_lengths, types_of, within
from cbviz.trace.trace import MARK_KINDS, IntColumn, MarkTable, RequestTable, SpanTable, Trace


class SpanLookup:
    """Finds the spans of many (request, iteration) pairs at once."""

    def __init__(self, rq: RequestTable, sp: SpanTable) -> None:
        row = request_rows(rq, sp.request, "a span")
        self._order = np.lexsort((sp.first, row))
        self._row, self._first, self._end = row[self._order], sp.first[self._order], sp.end[self._order]
        twice = (np.diff(self._row) == 0) & (self._first[1:] < self._end[:-1])
        require(not twice.any(), f"request {first_id(rq.id[self._row[1:]], twice)} is in two slots at once")
        self._stride = int(sp.end.max(initial=0)) + 1
        self._keys = self._row * self._stride + self._first

    def span(self, row: IntColumn, iteration: IntColumn) -> IntColumn:
        """Index of the span of the request of `row` in `iteration`, -1 if it was in no slot."""
        place = np.searchsorted(self._keys, row * self._stride + iteration, side="right") - 1
        if not len(self._keys):
            return np.full(len(row), -1, np.int64)
        there = np.maximum(place, 0)
        inside = (place >= 0) & (self._row[there] == row) & (iteration < self._end[there])
        return np.where(inside & (iteration >= 0), self._order[there], -1)


def check_tokens(trace: Trace, lookup: SpanLookup) -> None:
    """Require that every output token came in a span that computes one, and every decode iteration gave one.

    Where drafts were checked it gave one to as many as were computed.
    """
    rq, it, sp = trace.requests, trace.iterations, trace.spans
    counts = row_lengths(rq.token_iterations)
    try:
        at = np.fromiter(chain.from_iterable(rq.token_iterations), np.int64, int(counts.sum()))
        ids = np.fromiter(chain.from_iterable(rq.tokens), np.int64, int(counts.sum()))
    except OverflowError:
        raise TraceError("the trace does not hold together: an output token has more than 64 bits.") from None
    within(at, 0, len(it) - 1, "requests.token_iterations")
    within(ids, 0, MOST_TOKENS, "requests.tokens")
    row = np.repeat(np.arange(len(rq)), counts)
    back = (np.diff(row) == 0) & (np.diff(at) < 0)
    require(not back.any(), f"the tokens of request {first_id(rq.id[row[1:]], back)} are not in order")
    same = bool((np.bincount(at, minlength=len(it)) == it.generated).all())
    require(same, "iterations.generated does not count the output tokens")
    span = lookup.span(row, at)
    lost = span < 0
    require(not lost.any(), f"request {first_id(rq.id[row], lost)} got a token while it was in no slot")
    state = sp.state[span]
    silent = (state == State.HELD) | (state == State.STALLED)
    require(not silent.any(), f"request {first_id(rq.id[row], silent)} got a token while it was held or stalled")
    early = (state != State.DECODE) & (at != sp.end[span] - 1)
    require(not early.any(), f"request {first_id(rq.id[row], early)} got a token before its prompt was computed")
    drafted = (sp.state == State.DECODE) & (sp.tokens > sp.end - sp.first)
    twice = (np.diff(row) == 0) & (np.diff(at) == 0) & ~drafted[span[1:]]
    require(not twice.any(), f"request {first_id(rq.id[row[1:]], twice)} got two tokens in an iteration without drafts")
    given = np.bincount(span, minlength=len(sp))
    short = (sp.state == State.DECODE) & (given != sp.end - sp.first) & ~(drafted & (given >= 1))
    require(not short.any(), f"request {first_id(sp.request, short)} has a decode iteration without a token")
    many = drafted & (given > sp.tokens)
    require(not many.any(), f"request {first_id(sp.request, many)} got more tokens than were computed")
    last = np.full(len(rq), -1, np.int64)
    last[row] = at  # the last write wins: tokens are in order
    wrong = (rq.reason >= 0) & (rq.reason != FinishReason.CANCELLED) & (last != rq.finished)
    require(not wrong.any(), f"request {first_id(rq.id, wrong)} did not end with its last token")


def check_marks(trace: Trace, lookup: SpanLookup) -> None:
    """Require that the marks account for the queue, the memory moves, the requests' columns and the spans."""
    rq, it, sp, mk = trace.requests, trace.iterations, trace.spans, trace.marks
    check_columns(mk, "marks")
    n = len(it)
    within(mk.kind, 0, len(MARK_KINDS) - 1, "marks.kind")
    within(mk.iteration, 0, n, "marks.iteration")
    require(types_of(mk.reason) <= {str, Message, Reason}, "a mark's reason is not text")
    require(bool((np.diff(mk.iteration) >= 0).all()), "the marks are not in order")
    mk = _check_changes(trace)
    within(mk.slot, -1, trace.meta.slots - 1, "marks.slot")
    row = request_rows(rq, mk.request, "a mark")
    is_kind = {kind: mk.kind == number for number, kind in enumerate(MARK_KINDS)}
    late = (mk.iteration == n) & ~is_kind["cancel"]
    require(not late.any(), "a mark lies after the last iteration")
    seated = is_kind["admit"] | is_kind["finish"] | is_kind["preempt"] | is_kind["stall"]
    bad = (seated & (mk.slot < 0)) | (is_kind["arrive"] & (mk.slot >= 0))
    require(not bad.any(), f"a mark of request {first_id(mk.request, bad)} lacks its slot, or has one too many")

    # Memory: lookups come with admissions, swaps to host memory with preemptions, swaps back with admissions.
    for moved, kind, what in (
        (it.prefix_queries, "admit", "a request was looked up in the prefix cache"),
        (it.swapped_in, "admit", "KV blocks were swapped in"),
        (it.swapped_out, "preempt", "KV blocks were swapped out"),
    ):
        unmarked = np.setdiff1d(np.flatnonzero(moved), mk.iteration[is_kind[kind]])
        require(not len(unmarked), f"{what} without a mark")
    if len(sp) and not it.swapped_in.any():
        stayed = np.flatnonzero((rq.admitted >= 0) & (rq.preemptions == 0))
        begun = lookup.span(stayed, rq.admitted[stayed])
        wrong = (begun >= 0) & (sp.context[begun] - sp.tokens[begun] != rq.cached_tokens[stayed])
        require(not wrong.any(), f"request {first_id(rq.id[stayed], wrong)} did not begin after its cached tokens")

    # The queue: arrivals and preemptions join it, admissions and cancellations of waiting requests leave it.
    queue = np.zeros(n + 2, np.int64)
    joins = is_kind["arrive"] | is_kind["preempt"]
    arrived = (rq.arrived[row] >= 0) & (rq.arrived[row] <= mk.iteration)
    leaves = is_kind["admit"] | (is_kind["cancel"] & (mk.slot < 0) & arrived)
    np.add.at(queue, mk.iteration[joins], 1)
    np.add.at(queue, mk.iteration[leaves], -1)
    # With a lag of 1, a request may be preempted before its end is seen; the queue loses it an iteration later.
    still = np.bincount(row[joins], minlength=len(rq)) - np.bincount(row[leaves], minlength=len(rq))
    joined = np.full(len(rq), -1, np.int64)
    joined[row[joins]] = mk.iteration[joins]
    np.add.at(queue, joined[(still > 0) & (rq.reason >= 0)] + 1, -1)
    same = bool((np.cumsum(queue)[:n] == it.waiting).all())
    require(same, "iterations.waiting does not follow from the arrivals, admissions, preemptions and cancellations")

    # The requests: their columns agree with the marks.
    cancelled = rq.reason == FinishReason.CANCELLED
    for kind, column, once in (
        ("arrive", rq.arrived, True),
        ("admit", rq.admitted, False),
        ("finish", np.where(cancelled, -1, rq.finished), True),
        ("cancel", np.where(cancelled, rq.finished, -1), True),
    ):
        mine = np.flatnonzero(is_kind[kind])
        first = np.full(len(rq), -1, np.int64)
        first[row[mine[::-1]]] = mk.iteration[mine[::-1]]
        wrong = first != column
        if once:
            wrong |= np.bincount(row[mine], minlength=len(rq)) > 1
        require(not wrong.any(), f"the {kind} mark of request {first_id(rq.id, wrong)} does not match its row")
    last = np.full(len(rq), -1, np.int64)
    last[row[is_kind["admit"]]] = mk.slot[is_kind["admit"]]
    require(bool((last == rq.slot).all()), f"request {first_id(rq.id, last != rq.slot)} is in another slot than marked")
    counted = np.bincount(row[is_kind["preempt"]], minlength=len(rq))
    wrong = counted != rq.preemptions
    require(not wrong.any(), f"request {first_id(rq.id, wrong)} was preempted more or less often than marked")
    names = np.array([reason.name.lower() for reason in FinishReason])
    marked = np.array(mk.reason, dtype=object)[is_kind["finish"]]
    wrong = marked != names[rq.reason[row[is_kind["finish"]]]]
    require(not np.any(wrong), "a finish mark gives another reason than its request")

    # The slots: a request marked in one was there.
    before = is_kind["preempt"] | (is_kind["cancel"] & (mk.slot >= 0))
    looked = seated | before
    span = lookup.span(row, mk.iteration - before)
    there = (span >= 0) & (sp.slot[span] == mk.slot) if len(sp) else np.zeros(len(mk), bool)
    wrong = looked & ~there
    require(not wrong.any(), f"a mark puts request {first_id(mk.request, wrong)} in a slot where it was not")
    if len(sp):
        wrong = is_kind["admit"] & (sp.first[span] != mk.iteration)
        require(not wrong.any(), f"request {first_id(mk.request, wrong)} was admitted while it ran")
        wrong = is_kind["stall"] & (sp.state[span] != State.STALLED)
        require(not wrong.any(), f"request {first_id(mk.request, wrong)} is marked as stalled and was not")


def _check_changes(trace: Trace) -> MarkTable:
    """Check the "set" marks, which name no request and open at least one slot; return the other marks."""
    mk, n, slots = trace.marks, len(trace.iterations), trace.meta.slots
    about_run = mk.kind == MARK_KINDS.index("set")
    if not about_run.any():
        return mk
    require(bool((mk.request[about_run] == -1).all()), "a set mark names a request")
    require(bool((mk.iteration[about_run] < n).all()), "a set mark lies after the last iteration")
    opened = mk.slot[about_run]
    sensible = (opened == -1) | ((opened >= 1) & (opened <= slots))
    require(bool(sensible.all()), f"a set mark opens {first_id(opened, ~sensible)} slots; there are 1 to {slots}")
    rest = ~about_run
    return MarkTable(
        kind=mk.kind[rest],
        iteration=mk.iteration[rest],
        request=mk.request[rest],
        slot=mk.slot[rest],
        reason=tuple(word for word, kept in zip(mk.reason, rest, strict=True) if kept),
    )
