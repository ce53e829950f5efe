"""Does a trace hold together? Asked of every trace that is recorded, saved or read, so nobody downstream has to ask.

A trace says everything twice: as counts an iteration and as spans, as marks and as columns of a request. That is what
makes a damaged or invented one show: `check` compares the two accounts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.errors import TraceError
from cbviz.limits import (
    LONGEST_SECONDS,
    MOST_CELLS,
    MOST_COUNT,
    MOST_EXACT,
    MOST_ID,
    MOST_SEED,
    MOST_TOKENS,
    RECORDED_SLOTS,
)
from cbviz.trace.events import FinishReason, State
from cbviz.trace.trace import (
    MARK_KINDS,
    IntColumn,
    IterationTable,
    MarkTable,
    RequestTable,
    SpanTable,
    Trace,
    TraceMeta,
)

DEEPEST_EXTRA = 16
CLOCKS = ("lane", "alone", "virtual")
ARRIVAL_UNITS = ("seconds", "iterations")

SLOT_COLUMNS = {
    State.PREFILL: "prefill_slots",
    State.DECODE: "decode_slots",
    State.RECOMPUTE: "recompute_slots",
    State.HELD: "held_slots",
    State.STALLED: "stalled_slots",
}
"""Which column of the iteration table counts which state. Idle slots are the rest."""

BoolArray = npt.NDArray[np.bool_]


def check(trace: Trace) -> None:
    """Raise TraceError, with the first contradiction found, unless the trace is one that an engine can have made.

    Holds for runs that were stopped in the middle, too. It looks at structure and consistency; it cannot know whether
    a time was measured.
    """
    check_meta(trace.meta)
    _check_iterations(trace.iterations, trace.meta)
    _check_requests(trace.requests, trace.meta, trace.iterations)
    _check_spans(trace.spans, trace.requests, trace.iterations, trace.meta)
    where = _Whereabouts(trace.requests, trace.spans)
    _check_tokens(trace, where)
    _check_marks(trace, where)


def check_meta(meta: TraceMeta) -> None:
    """Raise TraceError unless the metadata are plain, known and sensible."""
    for name in ("policy", "policy_summary", "model", "device", "dtype", "workload", "created"):
        value = getattr(meta, name)
        _require(isinstance(value, str), f"meta.{name} must be text, not {value!r:.80}")
    for name, least, most in (
        ("slots", 1, RECORDED_SLOTS),
        ("block_size", 1, MOST_COUNT),
        ("total_blocks", 0, MOST_COUNT),
        ("block_bytes", 0, MOST_EXACT),
        ("seed", 0, MOST_SEED),
        ("lag", 0, 1),
    ):
        value = getattr(meta, name)
        sensible = type(value) is int and least <= value <= most
        _require(sensible, f"meta.{name} must be a whole number from {least} to {most}, not {value!r:.80}")
    _require(meta.clock in CLOCKS, f"meta.clock must be one of {', '.join(CLOCKS)}, not {meta.clock!r:.80}")
    known_unit = meta.arrival_unit in ARRIVAL_UNITS
    _require(known_unit, f"meta.arrival_unit must be seconds or iterations, not {meta.arrival_unit!r:.80}")
    versions = meta.versions
    plain = isinstance(versions, dict) and all(isinstance(word, str) for pair in versions.items() for word in pair)
    _require(plain, "meta.versions must map names to texts")
    _require(isinstance(meta.extra, dict), "meta.extra must be a dictionary")
    _check_json(meta.extra, DEEPEST_EXTRA)


def check_size(slots: int, iterations: int) -> None:
    """Raise TraceError for a run with more slot-iterations than can be drawn, before memory for them is asked for."""
    if slots * iterations > MOST_CELLS:
        raise TraceError(
            f"this run is too large to be drawn or kept in a file: {slots:,} slots × {iterations:,} iterations are "
            f"more than {MOST_CELLS:,}."
        )


def _require(holds: bool | np.bool_, complaint: str) -> None:
    if not holds:
        raise TraceError(f"the trace does not hold together: {complaint}.")


def _check_json(value: Any, depth: int) -> None:
    """Only what JSON can say and read back unchanged, at most `depth` levels deep."""
    _require(depth > 0, f"meta.extra is nested deeper than {DEEPEST_EXTRA} levels")
    if isinstance(value, dict):
        _require(all(isinstance(key, str) for key in value), "a key in meta.extra is not text")
        for item in value.values():
            _check_json(item, depth - 1)
    elif type(value) is list:
        for item in value:
            _check_json(item, depth - 1)
    elif type(value) is float:
        _require(math.isfinite(value), "a number in meta.extra is not finite")
    elif type(value) is int:
        _require(abs(value) < 2**63, "a number in meta.extra has more than 64 bits")
    else:
        plain = value is None or type(value) in (str, bool)
        _require(plain, f"meta.extra holds a {type(value).__name__}; only JSON values survive a file")


def _check_columns(table: RequestTable | IterationTable | SpanTable | MarkTable, name: str) -> None:
    """Arrays are one-dimensional int64 or float64, finite, and as long as each other; lists are tuples as long."""
    for field in fields(table):
        column = getattr(table, field.name)
        if str(field.type) in ("FloatArray", "IntColumn"):
            dtype = np.float64 if str(field.type) == "FloatArray" else np.int64
            right = isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype == dtype
            _require(right, f"{name}.{field.name} must be a one-dimensional {np.dtype(dtype).name} array")
            _require(bool(np.isfinite(column).all()), f"{name}.{field.name} has an entry that is not finite")
        else:
            _require(isinstance(column, tuple), f"{name}.{field.name} must be a tuple")
        same = len(column) == len(table)
        _require(same, f"{name}.{field.name} has {len(column)} rows where {name} has {len(table)}")


def _within(column: IntColumn, least: int, most: int, name: str) -> None:
    if len(column):
        low, high = int(column.min()), int(column.max())
        fits = least <= low and high <= most
        _require(fits, f"{name} must lie between {least} and {most}, and has {low if low < least else high}")


def _check_iterations(it: IterationTable, meta: TraceMeta) -> None:
    _check_columns(it, "iterations")
    for field in fields(it):
        if str(field.type) == "IntColumn":
            positions = field.name in ("kv_used", "kv_reserved", "kv_internal")
            _within(getattr(it, field.name), 0, MOST_EXACT if positions else MOST_COUNT, f"iterations.{field.name}")
    edges = np.column_stack([it.t_start, it.t_end]).ravel()
    forward = not len(edges) or (edges[0] >= 0 and bool((np.diff(edges) >= 0).all()))
    _require(forward, "the clock of the iterations goes back")
    short = not len(edges) or bool(edges[-1] <= LONGEST_SECONDS)
    _require(short, f"the clock of the iterations goes beyond {LONGEST_SECONDS:,.0f} seconds")
    slots = it.idle_slots + sum(getattr(it, column) for column in SLOT_COLUMNS.values())
    _require(bool((slots == meta.slots).all()), f"the slots of an iteration do not add up to {meta.slots}")
    fits = bool((it.blocks_used + it.blocks_reserved <= meta.total_blocks).all())
    _require(fits, f"an iteration uses more KV blocks than the pool's {meta.total_blocks}")
    allotted = (it.blocks_used + it.blocks_reserved) * meta.block_size
    adds_up = bool((it.kv_used + it.kv_reserved + it.kv_internal == allotted).all())
    _require(adds_up, "the KV positions used, reserved and never used do not add up to the blocks that are allotted")
    full = it.blocks_used * meta.block_size
    _require(bool((it.kv_used <= full).all()), "more KV positions are written than the blocks used can hold")
    _require(bool((it.blocks_used <= it.kv_used).all()), "a KV block is used and holds nothing")
    _require(bool((it.prefix_hits <= it.prefix_queries).all()), "more was found in the prefix cache than looked for")
    _require(not (it.prefix_hits % meta.block_size).any(), "something less than a whole block was found in a cache")
    back = bool((np.cumsum(it.swapped_in) <= np.cumsum(np.append(0, it.swapped_out))[: len(it)]).all())
    _require(back, "more KV blocks came back from host memory than went there before")
    _require(not it.prefill_tokens[it.prefill_slots == 0].any(), "prefill tokens in an iteration without a prefill")
    _require(not it.recompute_tokens[it.recompute_slots == 0].any(), "recomputed tokens in an iteration without one")


def _check_requests(rq: RequestTable, meta: TraceMeta, it: IterationTable) -> None:
    _check_columns(rq, "requests")
    iterations = len(it)
    _within(rq.id, 0, MOST_ID, "requests.id")
    _require(len(np.unique(rq.id)) == len(rq), "two requests share an id")
    _require(bool((rq.arrival >= 0).all()), "a request arrives before 0")
    _require(bool((rq.arrival <= LONGEST_SECONDS).all()), f"a request arrives after {LONGEST_SECONDS:,.0f}")
    _within(rq.prompt_tokens, 1, MOST_TOKENS, "requests.prompt_tokens")
    _within(rq.max_new_tokens, 1, MOST_TOKENS, "requests.max_new_tokens")
    _within(rq.arrived, -1, iterations - 1, "requests.arrived")
    _within(rq.admitted, -1, iterations - 1, "requests.admitted")
    _within(rq.finished, -1, iterations, "requests.finished")
    _within(rq.reason, -1, max(FinishReason), "requests.reason")
    _within(rq.slot, -1, meta.slots - 1, "requests.slot")
    _within(rq.preemptions, 0, MOST_COUNT, "requests.preemptions")
    _within(rq.cached_tokens, 0, MOST_TOKENS, "requests.cached_tokens")
    same = rq.cached_tokens.sum() == it.prefix_hits.sum()
    _require(same, "iterations.prefix_hits does not sum to what the requests found in the prefix cache")
    admitted, ended = rq.admitted >= 0, rq.finished >= 0
    cancelled = rq.reason == FinishReason.CANCELLED
    for broken, complaint in (
        (admitted != (rq.slot >= 0), "was admitted and has no slot, or has one and was not"),
        (admitted & (rq.arrived < 0), "was admitted and never arrived"),
        (admitted & (rq.admitted < rq.arrived), "was admitted before it arrived"),
        (ended != (rq.reason >= 0), "has ended without a reason, or has a reason and goes on"),
        (ended & (rq.finished < rq.admitted), "ended before it was admitted"),
        (ended & ~cancelled & ~admitted, "ended and was never admitted"),
        (ended & ~cancelled & (rq.finished >= iterations), "ended after the last iteration"),
        (~admitted & (rq.preemptions > 0), "was preempted and never admitted"),
        (~admitted & (rq.cached_tokens > 0), "found something in a cache and was never admitted"),
    ):
        _require(not broken.any(), f"request {_first(rq.id, broken)} {complaint}")
    if meta.arrival_unit == "seconds":
        came = np.flatnonzero(rq.arrived >= 0)
        ahead = rq.arrival[came] > it.t_start[rq.arrived[came]]
        _require(not ahead.any(), f"request {_first(rq.id[came], ahead)} was seen before it arrived")
    _require(_types(rq.prompt) <= {str}, "a prompt is not text")
    for name, kind in (("tokens", int), ("pieces", str), ("token_iterations", int)):
        column: Sequence[tuple[Any, ...]] = getattr(rq, name)
        _require(_types(column) <= {tuple}, f"requests.{name} must hold a tuple a request")
        right = _types(chain.from_iterable(column)) <= {kind}
        _require(right, f"requests.{name} holds something that is no {kind.__name__}")
    lengths, stamps = _lengths(rq.tokens), _lengths(rq.token_iterations)
    pieces = _lengths(rq.pieces)
    most = rq.max_new_tokens
    for broken, complaint in (
        (lengths != stamps, "has output tokens whose iterations are not told"),
        ((pieces != 0) & (pieces != lengths), "has more or fewer text pieces than output tokens"),
        (lengths > most, "has more output tokens than its max_new_tokens"),
        (ended & ~cancelled & (lengths == 0), "ended without an output token"),
    ):
        _require(not broken.any(), f"request {_first(rq.id, broken)} {complaint}")


def _types(values: Iterable[object]) -> set[type]:
    return set(map(type, values))


def _lengths(column: Sequence[Sequence[object]]) -> IntColumn:
    return np.fromiter(map(len, column), np.int64, len(column))


def _first(ids: IntColumn, broken: BoolArray) -> str:
    """The id of the first row that is broken, for the complaint."""
    return str(ids[np.argmax(broken)]) if broken.any() else ""


def _check_spans(sp: SpanTable, rq: RequestTable, it: IterationTable, meta: TraceMeta) -> None:
    _check_columns(sp, "spans")
    n = len(it)
    _within(sp.slot, 0, meta.slots - 1, "spans.slot")
    _within(sp.state, State.PREFILL, State.STALLED, "spans.state")
    _within(sp.first, 0, n - 1, "spans.first")
    _within(sp.end, 1, n, "spans.end")
    _within(sp.tokens, 0, MOST_EXACT, "spans.tokens")
    _within(sp.context, 0, MOST_TOKENS, "spans.context")
    length = sp.end - sp.first
    _require(bool((length > 0).all()), "a span ends before it begins")
    slot_step, gap = np.diff(sp.slot), sp.first[1:] - sp.end[:-1]
    _require(bool((slot_step >= 0).all()), "the spans are not sorted by slot")
    _require(bool((gap[slot_step == 0] >= 0).all()), "two spans of one slot overlap, or are not sorted")
    for state, column in SLOT_COLUMNS.items():
        mine = sp.state == state
        change = np.zeros(n + 1, np.int64)
        np.add.at(change, sp.first[mine], 1)
        np.add.at(change, sp.end[mine], -1)
        same = bool((np.cumsum(change)[:n] == getattr(it, column)).all())
        _require(same, f"iterations.{column} does not count what the spans say")
    prefill, recompute = sp.state == State.PREFILL, sp.state == State.RECOMPUTE
    same = sp.tokens[prefill].sum() == it.prefill_tokens.sum()
    _require(same, "iterations.prefill_tokens does not sum to what the spans took in")
    same = sp.tokens[recompute].sum() == it.recompute_tokens.sum()
    _require(same, "iterations.recompute_tokens does not sum to what the spans took in")
    fed = sp.tokens
    decode, stalled = sp.state == State.DECODE, sp.state == State.STALLED
    _require(bool((fed[decode] == length[decode]).all()), "a decode span did not feed one token an iteration")
    _require(not fed[stalled].any(), "a stalled span fed tokens")
    taking = prefill | recompute
    _require(bool((fed[taking] >= length[taking]).all()), "a prefill or recompute span had an iteration without tokens")

    # With a lag of 1 the host sees an end one iteration late: until then the slot may still stall, or be held early.
    row = rows_of(rq, sp.request, "a span")
    cancelled = (rq.reason == FinishReason.CANCELLED)[row]
    last = np.where(rq.finished < 0, n, rq.finished)[row] - cancelled  # its last iteration in a slot, save held ones
    held = sp.state == State.HELD
    early = (rq.admitted[row] < 0) | (sp.first < rq.admitted[row])
    _require(not early.any(), f"request {_first(sp.request, early)} is in a slot before its admission")
    late = ~held & (sp.end - 1 > last + np.where(stalled, meta.lag, 0))
    _require(not late.any(), f"request {_first(sp.request, late)} goes on after its end")
    soon = held & ((rq.finished[row] < 0) | (sp.first <= last - cancelled * meta.lag))
    _require(not soon.any(), f"request {_first(sp.request, soon)} is held before its end")


def rows_of(rq: RequestTable, ids: IntColumn, who: str) -> IntColumn:
    """Rows of many request ids at once. Raises TraceError for an id that the request table does not have."""
    order = np.argsort(rq.id)
    place = np.searchsorted(rq.id, ids, sorter=order)
    known = np.zeros(len(ids), bool)
    inside = place < len(rq)
    row = np.zeros(len(ids), np.int64)
    row[inside] = order[place[inside]]
    known[inside] = rq.id[row[inside]] == ids[inside]
    _require(bool(known.all()), f"{who} names request {_first(ids, ~known)}, which is not in the request table")
    return row


class _Whereabouts:
    """Answers, for many (request, iteration) at once: in which span was it then?"""

    def __init__(self, rq: RequestTable, sp: SpanTable) -> None:
        self._spans = sp
        row = rows_of(rq, sp.request, "a span")
        self._order = np.lexsort((sp.first, row))
        self._row, self._first, self._end = row[self._order], sp.first[self._order], sp.end[self._order]
        twice = (np.diff(self._row) == 0) & (self._first[1:] < self._end[:-1])
        _require(not twice.any(), f"request {_first(rq.id[self._row[1:]], twice)} is in two slots at once")
        self._stride = int(sp.end.max(initial=0)) + 1
        self._keys = self._row * self._stride + self._first

    def span(self, row: IntColumn, iteration: IntColumn) -> IntColumn:
        """Index of the span that the request of `row` was in during `iteration`, -1 where it was in none."""
        place = np.searchsorted(self._keys, row * self._stride + iteration, side="right") - 1
        if not len(self._keys):
            return np.full(len(row), -1, np.int64)
        there = np.maximum(place, 0)
        inside = (place >= 0) & (self._row[there] == row) & (iteration < self._end[there])
        return np.where(inside & (iteration >= 0), self._order[there], -1)


def _check_tokens(trace: Trace, where: _Whereabouts) -> None:
    rq, it, sp = trace.requests, trace.iterations, trace.spans
    counts = _lengths(rq.token_iterations)
    try:
        at = np.fromiter(chain.from_iterable(rq.token_iterations), np.int64, int(counts.sum()))
        ids = np.fromiter(chain.from_iterable(rq.tokens), np.int64, int(counts.sum()))
    except OverflowError:
        raise TraceError("the trace does not hold together: an output token has more than 64 bits.") from None
    _within(at, 0, len(it) - 1, "requests.token_iterations")
    _within(ids, 0, MOST_TOKENS, "requests.tokens")
    row = np.repeat(np.arange(len(rq)), counts)
    back = (np.diff(row) == 0) & (np.diff(at) <= 0)
    _require(not back.any(), f"the tokens of request {_first(rq.id[row[1:]], back)} are not in order")
    same = bool((np.bincount(at, minlength=len(it)) == it.generated).all())
    _require(same, "iterations.generated does not count the output tokens")
    span = where.span(row, at)
    lost = span < 0
    _require(not lost.any(), f"request {_first(rq.id[row], lost)} got a token while it was in no slot")
    state = sp.state[span]
    dumb = (state == State.HELD) | (state == State.STALLED)
    _require(not dumb.any(), f"request {_first(rq.id[row], dumb)} got a token while it was held or stalled")
    early = (state != State.DECODE) & (at != sp.end[span] - 1)
    _require(not early.any(), f"request {_first(rq.id[row], early)} got a token before its prompt was taken in")
    given = np.bincount(span, minlength=len(sp))
    short = (sp.state == State.DECODE) & (given != sp.end - sp.first)
    _require(not short.any(), f"request {_first(sp.request, short)} has a decode iteration without a token")
    last = np.full(len(rq), -1, np.int64)
    last[row] = at  # the last one written stays: tokens are in order
    wrong = (rq.reason >= 0) & (rq.reason != FinishReason.CANCELLED) & (last != rq.finished)
    _require(not wrong.any(), f"request {_first(rq.id, wrong)} did not end with its last token")


def _check_changes(trace: Trace) -> MarkTable:
    """Marks of what somebody changed about the run name no request, and open at least one slot; the others."""
    mk, n, slots = trace.marks, len(trace.iterations), trace.meta.slots
    about_run = mk.kind == MARK_KINDS.index("set")
    if not about_run.any():
        return mk
    _require(bool((mk.request[about_run] == -1).all()), "a set mark names a request")
    _require(bool((mk.iteration[about_run] < n).all()), "a set mark lies after the last iteration")
    opened = mk.slot[about_run]
    sensible = (opened == -1) | ((opened >= 1) & (opened <= slots))
    _require(bool(sensible.all()), f"a set mark opens {_first(opened, ~sensible)} slots; there are 1 to {slots}")
    rest = ~about_run
    return MarkTable(
        kind=mk.kind[rest],
        iteration=mk.iteration[rest],
        request=mk.request[rest],
        slot=mk.slot[rest],
        reason=tuple(word for word, kept in zip(mk.reason, rest, strict=True) if kept),
    )


def _check_marks(trace: Trace, where: _Whereabouts) -> None:
    rq, it, sp, mk = trace.requests, trace.iterations, trace.spans, trace.marks
    _check_columns(mk, "marks")
    n = len(it)
    _within(mk.kind, 0, len(MARK_KINDS) - 1, "marks.kind")
    _within(mk.iteration, 0, n, "marks.iteration")
    _require(_types(mk.reason) <= {str}, "a mark's reason is not text")
    _require(bool((np.diff(mk.iteration) >= 0).all()), "the marks are not in order")
    mk = _check_changes(trace)
    _within(mk.slot, -1, trace.meta.slots - 1, "marks.slot")
    row = rows_of(rq, mk.request, "a mark")
    is_kind = {kind: mk.kind == number for number, kind in enumerate(MARK_KINDS)}
    late = (mk.iteration == n) & ~is_kind["cancel"]
    _require(not late.any(), "a mark lies after the last iteration")
    seated = is_kind["admit"] | is_kind["finish"] | is_kind["preempt"] | is_kind["stall"]
    bad = (seated & (mk.slot < 0)) | (is_kind["arrive"] & (mk.slot >= 0))
    _require(not bad.any(), f"a mark of request {_first(mk.request, bad)} lacks its slot, or has one too many")

    # Memory: lookups come with admissions, blocks go to host memory with preemptions and come back with admissions.
    for moved, kind, what in (
        (it.prefix_queries, "admit", "somebody was looked up in the prefix cache"),
        (it.swapped_in, "admit", "KV blocks came back from host memory"),
        (it.swapped_out, "preempt", "KV blocks went to host memory"),
    ):
        unmarked = np.setdiff1d(np.flatnonzero(moved), mk.iteration[is_kind[kind]])
        _require(not len(unmarked), f"{what} without a mark of it")
    if len(sp) and not it.swapped_in.any():
        stayed = np.flatnonzero((rq.admitted >= 0) & (rq.preemptions == 0))
        begun = where.span(stayed, rq.admitted[stayed])
        wrong = (begun >= 0) & (sp.context[begun] - sp.tokens[begun] != rq.cached_tokens[stayed])
        _require(
            not wrong.any(), f"request {_first(rq.id[stayed], wrong)} began elsewhere than behind its cached tokens"
        )

    # The queue: who arrives or is preempted joins it, who is admitted or cancelled while waiting leaves it.
    queue = np.zeros(n + 2, np.int64)
    joins = is_kind["arrive"] | is_kind["preempt"]
    arrived = (rq.arrived[row] >= 0) & (rq.arrived[row] <= mk.iteration)
    leaves = is_kind["admit"] | (is_kind["cancel"] & (mk.slot < 0) & arrived)
    np.add.at(queue, mk.iteration[joins], 1)
    np.add.at(queue, mk.iteration[leaves], -1)
    # With a lag of 1, one may be preempted before its end is seen: the queue loses it an iteration later.
    still = np.bincount(row[joins], minlength=len(rq)) - np.bincount(row[leaves], minlength=len(rq))
    joined = np.full(len(rq), -1, np.int64)
    joined[row[joins]] = mk.iteration[joins]
    np.add.at(queue, joined[(still > 0) & (rq.reason >= 0)] + 1, -1)
    same = bool((np.cumsum(queue)[:n] == it.waiting).all())
    _require(same, "iterations.waiting does not count who arrived, was admitted, preempted or cancelled")

    # The requests: what their columns say is what was marked.
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
        _require(not wrong.any(), f"the {kind} mark of request {_first(rq.id, wrong)} does not agree with its row")
    last = np.full(len(rq), -1, np.int64)
    last[row[is_kind["admit"]]] = mk.slot[is_kind["admit"]]
    _require(
        bool((last == rq.slot).all()), f"request {_first(rq.id, last != rq.slot)} sits in another slot than marked"
    )
    counted = np.bincount(row[is_kind["preempt"]], minlength=len(rq))
    wrong = counted != rq.preemptions
    _require(not wrong.any(), f"request {_first(rq.id, wrong)} was preempted more or less often than marked")
    names = np.array([reason.name.lower() for reason in FinishReason])
    told = np.array(mk.reason, dtype=object)[is_kind["finish"]]
    wrong = told != names[rq.reason[row[is_kind["finish"]]]]
    _require(not np.any(wrong), "a finish mark gives another reason than its request")

    # The slots: whoever is marked in one was there.
    before = is_kind["preempt"] | (is_kind["cancel"] & (mk.slot >= 0))
    looked = seated | before
    span = where.span(row, mk.iteration - before)
    there = (span >= 0) & (sp.slot[span] == mk.slot) if len(sp) else np.zeros(len(mk), bool)
    wrong = looked & ~there
    _require(not wrong.any(), f"a mark puts request {_first(mk.request, wrong)} into a slot where it was not")
    if len(sp):
        wrong = is_kind["admit"] & (sp.first[span] != mk.iteration)
        _require(not wrong.any(), f"request {_first(mk.request, wrong)} was admitted while it ran")
        wrong = is_kind["stall"] & (sp.state[span] != State.STALLED)
        _require(not wrong.any(), f"request {_first(mk.request, wrong)} is marked as stalled and was not")
