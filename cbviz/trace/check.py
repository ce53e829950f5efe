"""Checks that a trace is consistent. Every trace is checked when it is recorded, saved or read, and not again later.

A trace holds everything twice: as counts per iteration and as spans, as marks and as columns of a request. `check`
compares the two accounts, which exposes a damaged or invented trace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from itertools import chain
from typing import Any

import numpy as np

from cbviz.checks import shown
from cbviz.config import MOST_DRAFTS
from cbviz.errors import TraceError
from cbviz.events import FinishReason, State
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
from cbviz.trace.check_columns import check_columns, first_id, request_rows, require, row_lengths, types_of, within
from cbviz.trace.check_events import SpanLookup, check_marks, check_tokens
from cbviz.trace.trace import (
    HANDED_OVER,
    SPECULATION,
    IterationTable,
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
"""The column of the iteration table that counts each state. Idle slots are the rest."""


def check(trace: Trace) -> None:
    """Check that an engine can have produced a trace; a run may have been stopped in the middle.

    The check covers structure and consistency. It cannot know whether a time was measured.

    Parameters
    ----------
    trace
        The run.

    Raises
    ------
    TraceError
        The trace contradicts itself; the message names the first contradiction found.
    """
    check_meta(trace.meta)
    _check_iterations(trace.iterations, trace.meta)
    _check_requests(trace.requests, trace.meta, trace.iterations)
    _check_spans(trace.spans, trace.requests, trace.iterations, trace.meta)
    lookup = SpanLookup(trace.requests, trace.spans)
    check_tokens(trace, lookup)
    check_marks(trace, lookup)


def check_meta(meta: TraceMeta) -> None:
    """Raise TraceError unless the metadata are plain, known and sensible."""
    for name in ("policy", "policy_summary", "model", "device", "dtype", "workload", "created"):
        value = getattr(meta, name)
        require(isinstance(value, str), f"meta.{name} must be text, not {shown(value)}")
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
        require(sensible, f"meta.{name} must be a whole number from {least} to {most}, not {shown(value)}")
    require(meta.clock in CLOCKS, f"meta.clock must be one of {', '.join(CLOCKS)}, not {shown(meta.clock)}")
    known_unit = meta.arrival_unit in ARRIVAL_UNITS
    require(known_unit, f"meta.arrival_unit must be seconds or iterations, not {shown(meta.arrival_unit)}")
    versions = meta.versions
    plain = isinstance(versions, dict) and all(isinstance(word, str) for pair in versions.items() for word in pair)
    require(plain, "meta.versions must map names to texts")
    require(isinstance(meta.extra, dict), "meta.extra must be a dictionary")
    _check_json(meta.extra, DEEPEST_EXTRA)
    if SPECULATION in meta.extra:
        how = meta.extra[SPECULATION]
        drafts = how.get("k") if isinstance(how, dict) else None
        sensible = type(drafts) is int and 1 <= drafts <= MOST_DRAFTS
        require(sensible, f"meta.extra.{SPECULATION} must say how many tokens are drafted, k, from 1 to {MOST_DRAFTS}")


def check_size(slots: int, iterations: int) -> None:
    """Raise TraceError for a run with more slot-iterations than can be drawn, before allocating memory for them."""
    if slots * iterations > MOST_CELLS:
        raise TraceError(
            f"this run is too large to be drawn or kept in a file: {slots:,} slots × {iterations:,} iterations are "
            f"more than {MOST_CELLS:,}."
        )


def _check_json(value: Any, depth: int) -> None:
    """Allow only values that JSON stores and reads back unchanged, at most `depth` levels deep."""
    require(depth > 0, f"meta.extra is nested deeper than {DEEPEST_EXTRA} levels")
    if isinstance(value, dict):
        require(all(isinstance(key, str) for key in value), "a key in meta.extra is not text")
        for item in value.values():
            _check_json(item, depth - 1)
    elif type(value) is list:
        for item in value:
            _check_json(item, depth - 1)
    elif type(value) is float:
        require(math.isfinite(value), "a number in meta.extra is not finite")
    elif type(value) is int:
        require(abs(value) < 2**63, "a number in meta.extra has more than 64 bits")
    else:
        plain = value is None or type(value) in (str, bool)
        require(plain, f"meta.extra holds a {type(value).__name__}; only JSON values survive a file")


def _check_iterations(it: IterationTable, meta: TraceMeta) -> None:
    check_columns(it, "iterations")
    for field in fields(it):
        if str(field.type) == "IntColumn":
            positions = field.name in ("kv_used", "kv_reserved", "kv_internal")
            within(getattr(it, field.name), 0, MOST_EXACT if positions else MOST_COUNT, f"iterations.{field.name}")
    edges = np.column_stack([it.t_start, it.t_end]).ravel()
    forward = not len(edges) or (edges[0] >= 0 and bool((np.diff(edges) >= 0).all()))
    require(forward, "the clock of the iterations goes back")
    short = not len(edges) or bool(edges[-1] <= LONGEST_SECONDS)
    require(short, f"the clock of the iterations goes beyond {LONGEST_SECONDS:,.0f} seconds")
    slots = it.idle_slots + sum(getattr(it, column) for column in SLOT_COLUMNS.values())
    require(bool((slots == meta.slots).all()), f"the slots of an iteration do not add up to {meta.slots}")
    fits = bool((it.blocks_used + it.blocks_reserved <= meta.total_blocks).all())
    require(fits, f"an iteration uses more KV blocks than the pool's {meta.total_blocks}")
    allotted = (it.blocks_used + it.blocks_reserved) * meta.block_size
    adds_up = bool((it.kv_used + it.kv_reserved + it.kv_internal == allotted).all())
    require(adds_up, "the KV positions used, reserved and never used do not add up to the blocks that are allotted")
    full = it.blocks_used * meta.block_size
    require(bool((it.kv_used <= full).all()), "more KV positions are written than the blocks used can hold")
    require(bool((it.blocks_used <= it.kv_used).all()), "a used KV block holds no position")
    require(bool((it.prefix_hits <= it.prefix_queries).all()), "more was found in the prefix cache than looked up")
    require(not (it.prefix_hits % meta.block_size).any(), "a part of a block was found in the prefix cache")
    back = bool((np.cumsum(it.swapped_in) <= np.cumsum(np.append(0, it.swapped_out))[: len(it)]).all())
    require(back or HANDED_OVER in meta.extra, "more KV blocks were swapped in than had been swapped out")
    require(not it.prefill_tokens[it.prefill_slots == 0].any(), "prefill tokens in an iteration without a prefill")
    require(not it.recompute_tokens[it.recompute_slots == 0].any(), "recomputed tokens in an iteration without one")


def _check_requests(rq: RequestTable, meta: TraceMeta, it: IterationTable) -> None:
    check_columns(rq, "requests")
    iterations = len(it)
    within(rq.id, 0, MOST_ID, "requests.id")
    require(len(np.unique(rq.id)) == len(rq), "two requests share an id")
    require(bool((rq.arrival >= 0).all()), "a request arrives before 0")
    require(bool((rq.arrival <= LONGEST_SECONDS).all()), f"a request arrives after {LONGEST_SECONDS:,.0f}")
    within(rq.prompt_tokens, 1, MOST_TOKENS, "requests.prompt_tokens")
    within(rq.max_new_tokens, 1, MOST_TOKENS, "requests.max_new_tokens")
    within(rq.arrived, -1, iterations - 1, "requests.arrived")
    within(rq.admitted, -1, iterations - 1, "requests.admitted")
    within(rq.finished, -1, iterations, "requests.finished")
    within(rq.reason, -1, max(FinishReason), "requests.reason")
    within(rq.slot, -1, meta.slots - 1, "requests.slot")
    within(rq.preemptions, 0, MOST_COUNT, "requests.preemptions")
    within(rq.cached_tokens, 0, MOST_TOKENS, "requests.cached_tokens")
    same = rq.cached_tokens.sum() == it.prefix_hits.sum()
    require(same, "iterations.prefix_hits does not sum to what the requests found in the prefix cache")
    admitted, ended = rq.admitted >= 0, rq.finished >= 0
    cancelled = rq.reason == FinishReason.CANCELLED
    for broken, complaint in (
        (admitted != (rq.slot >= 0), "was admitted and has no slot, or has one and was not"),
        (admitted & (rq.arrived < 0), "was admitted and never arrived"),
        (admitted & (rq.admitted < rq.arrived), "was admitted before it arrived"),
        (ended != (rq.reason >= 0), "has ended without a reason, or has a reason and has not ended"),
        (ended & (rq.finished < rq.admitted), "ended before it was admitted"),
        (ended & ~cancelled & ~admitted, "ended and was never admitted"),
        (ended & ~cancelled & (rq.finished >= iterations), "ended after the last iteration"),
        (~admitted & (rq.preemptions > 0), "was preempted and never admitted"),
        (~admitted & (rq.cached_tokens > 0), "found tokens in a cache and was never admitted"),
    ):
        require(not broken.any(), f"request {first_id(rq.id, broken)} {complaint}")
    if meta.arrival_unit == "seconds":
        came = np.flatnonzero(rq.arrived >= 0)
        ahead = rq.arrival[came] > it.t_start[rq.arrived[came]]
        require(not ahead.any(), f"request {first_id(rq.id[came], ahead)} was seen before it arrived")
    require(types_of(rq.prompt) <= {str}, "a prompt is not text")
    require(types_of(rq.client) <= {str}, "a client is not text")
    within(rq.priority, -(2**31), 2**31 - 1, "requests.priority")
    for name, kind in (("tokens", int), ("pieces", str), ("token_iterations", int)):
        column: Sequence[tuple[Any, ...]] = getattr(rq, name)
        require(types_of(column) <= {tuple}, f"requests.{name} must hold one tuple per request")
        right = types_of(chain.from_iterable(column)) <= {kind}
        require(right, f"requests.{name} holds an entry that is not {kind.__name__}")
    lengths, stamps = row_lengths(rq.tokens), row_lengths(rq.token_iterations)
    pieces = row_lengths(rq.pieces)
    most = rq.max_new_tokens
    for broken, complaint in (
        (lengths != stamps, "has output tokens without their iterations"),
        ((pieces != 0) & (pieces != lengths), "has more or fewer text pieces than output tokens"),
        (lengths > most, "has more output tokens than its max_new_tokens"),
        (ended & ~cancelled & (lengths == 0), "ended without an output token"),
    ):
        require(not broken.any(), f"request {first_id(rq.id, broken)} {complaint}")


def _check_spans(sp: SpanTable, rq: RequestTable, it: IterationTable, meta: TraceMeta) -> None:
    check_columns(sp, "spans")
    n = len(it)
    within(sp.slot, 0, meta.slots - 1, "spans.slot")
    within(sp.state, State.PREFILL, State.STALLED, "spans.state")
    within(sp.first, 0, n - 1, "spans.first")
    within(sp.end, 1, n, "spans.end")
    within(sp.tokens, 0, MOST_EXACT, "spans.tokens")
    within(sp.context, 0, MOST_TOKENS, "spans.context")
    length = sp.end - sp.first
    require(bool((length > 0).all()), "a span ends before it begins")
    slot_step, gap = np.diff(sp.slot), sp.first[1:] - sp.end[:-1]
    require(bool((slot_step >= 0).all()), "the spans are not sorted by slot")
    require(bool((gap[slot_step == 0] >= 0).all()), "two spans of one slot overlap, or are not sorted")
    for state, column in SLOT_COLUMNS.items():
        mine = sp.state == state
        change = np.zeros(n + 1, np.int64)
        np.add.at(change, sp.first[mine], 1)
        np.add.at(change, sp.end[mine], -1)
        same = bool((np.cumsum(change)[:n] == getattr(it, column)).all())
        require(same, f"iterations.{column} does not count what the spans say")
    prefill, recompute = sp.state == State.PREFILL, sp.state == State.RECOMPUTE
    same = sp.tokens[prefill].sum() == it.prefill_tokens.sum()
    require(same, "iterations.prefill_tokens does not sum to what the spans took in")
    same = sp.tokens[recompute].sum() == it.recompute_tokens.sum()
    require(same, "iterations.recompute_tokens does not sum to what the spans took in")
    fed = sp.tokens
    decode, stalled = sp.state == State.DECODE, sp.state == State.STALLED
    drafted = decode & (fed > length)
    require(bool((fed[decode] >= length[decode]).all()), "a decode span has an iteration without a token fed")
    require(bool((length[drafted] == 1).all()), "a decode span fed more than one token an iteration")
    require(not drafted.any() or SPECULATION in meta.extra, "a decode span fed drafts in a run without speculation")
    require(not fed[stalled].any(), "a stalled span fed tokens")
    taking = prefill | recompute
    require(bool((fed[taking] >= length[taking]).all()), "a prefill or recompute span has an iteration without tokens")

    # With a lag of 1 the host sees an end one iteration late: until then the slot may stall, or be held early.
    row = request_rows(rq, sp.request, "a span")
    cancelled = (rq.reason == FinishReason.CANCELLED)[row]
    last = np.where(rq.finished < 0, n, rq.finished)[row] - cancelled  # its last iteration in a slot, unless held
    held = sp.state == State.HELD
    early = (rq.admitted[row] < 0) | (sp.first < rq.admitted[row])
    require(not early.any(), f"request {first_id(sp.request, early)} is in a slot before its admission")
    late = ~held & (sp.end - 1 > last + np.where(stalled, meta.lag, 0))
    require(not late.any(), f"request {first_id(sp.request, late)} runs after its end")
    soon = held & ((rq.finished[row] < 0) | (sp.first <= last - cancelled * meta.lag))
    require(not soon.any(), f"request {first_id(sp.request, soon)} is held before its end")
