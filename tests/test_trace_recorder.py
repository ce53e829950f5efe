"""The recorder: what goes in as iterations comes out as spans, columns and marks that say the same."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.errors import TraceError
from cbviz.events import NO_REQUEST, FinishReason, Iteration, Mark, State
from cbviz.policies import Admit, Plan, View
from cbviz.trace import MARK_KINDS, Recorder, TraceMeta
from cbviz.workload.request import Request
from tests.fake_runs import meta, record, request, scheduled, scheduled_trace, wild, wild_trace


def test_the_toy_figure_span_by_span() -> None:
    """Four slots, outputs 3 6 2 3 and behind them 3 2 2: S5 takes S3's slot, S6 takes S1's, S7 takes S4's."""
    trace = scheduled_trace([3, 6, 2, 3, 3, 2, 2], slots=4)
    assert len(trace.iterations) == 6
    assert trace.useful_slot_iterations == 21
    assert trace.requests.slot.tolist() == [0, 1, 2, 3, 2, 0, 3]
    spans = list(
        zip(*(getattr(trace.spans, c).tolist() for c in ("slot", "request", "state", "first", "end")), strict=True)
    )
    prefill, decode = int(State.PREFILL), int(State.DECODE)
    assert spans == [
        (0, 0, prefill, 0, 1),
        (0, 0, decode, 1, 3),
        (0, 5, prefill, 3, 4),
        (0, 5, decode, 4, 5),
        (1, 1, prefill, 0, 1),
        (1, 1, decode, 1, 6),
        (2, 2, prefill, 0, 1),
        (2, 2, decode, 1, 2),
        (2, 4, prefill, 2, 3),
        (2, 4, decode, 3, 5),
        (3, 3, prefill, 0, 1),
        (3, 3, decode, 1, 3),
        (3, 6, prefill, 3, 4),
        (3, 6, decode, 4, 5),
    ]
    assert trace.requests.token_iterations[4] == (2, 3, 4)
    assert trace.iterations.waiting.tolist() == [3, 3, 2, 0, 0, 0]


def test_static_holds_what_has_finished() -> None:
    trace = scheduled_trace([3, 6, 2, 3, 3, 2, 2], slots=4, policy="static")
    assert len(trace.iterations) == 9
    assert trace.useful_slot_iterations == 21
    assert trace.iterations.held_slots.tolist() == [0, 0, 1, 3, 3, 3, 0, 0, 2]
    assert trace.iterations.idle_slots.tolist() == [0] * 6 + [1] * 3


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 5), most=st.integers(0, 120))
def test_whatever_happens_the_trace_says_what_the_iterations_said(seed: int, slots: int, most: int) -> None:
    """Every table is compared with a slow and simple count over the events; a run may stop anywhere."""
    dice = random.Random(seed)
    asked = [request(i, dice.randint(1, 9), dice.randint(1, 8)) for i in range(8)]
    events = list(wild(asked, slots, seed, most))
    trace = record(iter(events), asked, slots)

    grid: dict[tuple[int, int], tuple[int, int]] = {}
    for slot, who, state, first, end in zip(
        *(getattr(trace.spans, c).tolist() for c in ("slot", "request", "state", "first", "end")), strict=True
    ):
        for i in range(first, end):
            assert (i, slot) not in grid
            grid[i, slot] = (who, state)
    fed: Counter[tuple[int, int]] = Counter()
    outputs: dict[int, list[tuple[int, int]]] = {r.id: [] for r in asked}
    for event in events:
        for slot in range(slots):
            seen = (int(event.request[slot]), int(event.state[slot]))
            assert grid.get((event.index, slot), (NO_REQUEST, int(State.IDLE))) == seen
            fed[seen] += int(event.tokens[slot])
            if event.token[slot] != NO_REQUEST:
                outputs[seen[0]].append((event.index, int(event.token[slot])))
    folded: Counter[tuple[int, int]] = Counter()
    for who, state, tokens in zip(trace.spans.request, trace.spans.state, trace.spans.tokens, strict=True):
        folded[int(who), int(state)] += int(tokens)
    assert +folded == +fed

    rq, it = trace.requests, trace.iterations
    for row, r in enumerate(asked):
        assert list(zip(rq.token_iterations[row], rq.tokens[row], strict=True)) == outputs[r.id]
        assert rq.pieces[row] == tuple(f"t{token}" for token in rq.tokens[row])
        ends = [(e.index, f) for e in events for f in e.finished if f.request == r.id]
        gone = [e.index for e in events for m in e.cancelled if m.request == r.id]
        assert rq.finished[row] == (ends[0][0] if ends else gone[0] if gone else -1)
        assert rq.reason[row] == (ends[0][1].reason if ends else FinishReason.CANCELLED if gone else -1)
        admissions = [(e.index, m.slot) for e in events for m in e.admitted if m.request == r.id]
        assert (rq.admitted[row], rq.slot[row]) == (admissions[0][0], admissions[-1][1]) if admissions else (-1, -1)
        assert rq.preemptions[row] == sum(m.request == r.id for e in events for m in e.preempted)
    assert it.generated.tolist() == [e.generated for e in events]
    assert (it.prefill_slots + it.decode_slots).tolist() == [e.useful for e in events]
    assert it.waiting.tolist() == [e.waiting for e in events]
    assert it.blocks_used.tolist() == [e.blocks_used for e in events]
    assert (it.t_end - it.t_start).tolist() == [e.seconds for e in events]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_stall_is_marked_once_for_each_run_with_one_reason(seed: int) -> None:
    asked = [request(i, 4, 6) for i in range(6)]
    events = list(wild(asked, 3, seed))
    trace = record(iter(events), asked, 3)
    stalled = {(e.index, m.request): m.reason for e in events for m in e.stalled}
    begins = {(i, who): why for (i, who), why in stalled.items() if stalled.get((i - 1, who)) != why}
    mk = trace.marks
    marked = {
        (int(i), int(who)): why
        for kind, i, who, why in zip(mk.kind, mk.iteration, mk.request, mk.reason, strict=True)
        if MARK_KINDS[kind] == "stall"
    }
    assert marked == begins


class Whim:
    """A policy that does, at random, everything that a policy may."""

    name, summary = "whim", "Anything goes."

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def plan(self, view: View) -> Plan:
        chance = self.dice.random
        hold = [r.id for r in view.finished if chance() < 0.4]
        preempt = {r.id: "no block" for r in view.running if chance() < 0.1}
        admit = [Admit(r.id, reason="fits") for r in view.waiting if chance() < 0.9][: view.free_slots - len(hold)]
        stay = [r for r in view.running if r.id not in preempt]
        pause = {r.id: self.dice.choice("ab") for r in stay if chance() < 0.2}
        if len(pause) == len(stay) and not admit:
            return Plan(admit=[r.id for r in list(view.waiting)[: view.free_slots]])
        chunk = {r.id: self.dice.randint(1, r.lacks) for r in stay if r.id not in pause and r.lacks and chance() < 0.4}
        return Plan(admit, hold, preempt, pause, chunk)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), lag=st.integers(0, 1), unit=st.sampled_from(["seconds", "iterations"]))
def test_the_engine_s_own_runs_are_accepted_with_any_policy_lag_and_cancellations(
    seed: int, lag: int, unit: str
) -> None:
    dice = random.Random(seed)
    arrivals = np.cumsum([dice.choice([0, 0, 1.5]) for _ in range(12)])
    asked = [
        Request(i, tuple(dice.randint(1, 900) for _ in range(dice.randint(1, 9))), dice.randint(1, 9), float(arrival))
        for i, arrival in enumerate(arrivals)
    ]
    executor = NullExecutor(64, seconds=0.5, end_tokens=tuple(range(0, 1000, 5)))
    engine = Engine(executor, Whim(seed), slots=3, pool=BlockPool(200, 4), lag=lag, arrival_unit=unit)  # type: ignore[arg-type]
    recorder = Recorder(TraceMeta("whim", "Anything goes.", 3, 4, 200, lag=lag, arrival_unit=unit), asked)
    engine.submit(*asked)
    while len(recorder) < 40 and (event := engine.step()) is not None:
        recorder.add(event)
        # Each step takes cancellations in before its next launch, so those of the last step stay untold: none then.
        if dice.random() < 0.1 and len(recorder) < 5:
            engine.cancel(dice.randrange(6, 12))
    trace = recorder.trace()
    assert trace.output_tokens == sum(len(tokens) for tokens in trace.requests.tokens)


def test_a_trace_can_be_taken_in_the_middle_and_recording_goes_on() -> None:
    asked = [request(i, output=5) for i in range(6)]
    recorder = Recorder(meta(2), asked)
    seen = []
    for event in scheduled(asked, 2):
        recorder.add(event)
        seen.append(recorder.trace())
    for i, (earlier, later) in enumerate(pairwise(seen)):
        assert len(earlier.iterations) == i + 1
        assert earlier.requests.tokens[0] == later.requests.tokens[0][: len(earlier.requests.tokens[0])]
    assert (seen[-1].requests.reason == FinishReason.LENGTH).all()


def test_another_thread_may_take_traces_while_one_records() -> None:
    """What a live board does: every trace taken in between is whole."""
    asked = [request(i, output=3 + i % 7) for i in range(150)]
    recorder = Recorder(meta(4), asked)
    recording = threading.Thread(target=lambda: [recorder.add(event) for event in scheduled(asked, 4)])
    recording.start()
    taken = []
    while recording.is_alive():
        taken.append(len(recorder.trace().iterations))
    recording.join()
    assert taken == sorted(taken)
    assert (recorder.trace().requests.reason == FinishReason.LENGTH).all()


def test_nothing_recorded_is_a_trace_too() -> None:
    trace = Recorder(meta(2)).trace()
    assert (len(trace.iterations), len(trace.requests), len(trace.spans), len(trace.marks)) == (0, 0, 0, 0)
    assert (trace.seconds, trace.tokens_per_second, trace.occupancy, trace.wasted_slot_iterations) == (0, 0, 0, 0)


def test_requests_may_come_during_the_run() -> None:
    asked = [request(0, output=2), request(1, output=2, arrival=1.0)]
    recorder = Recorder(meta(1, arrival_unit="iterations"), asked[:1])
    for event in scheduled(asked, 1):
        if event.index == 1:
            recorder.add_requests(asked[1:])
        recorder.add(event)
    assert recorder.trace().requests.id.tolist() == [0, 1]
    with pytest.raises(TraceError, match="request 1 is recorded twice"):
        recorder.add_requests([request(2), request(1)])
    assert len(recorder.trace().requests) == 2  # all of them or none
    forged = request(3)
    object.__setattr__(forged, "id", 2**31)  # no Request is made with such an id
    with pytest.raises(TraceError, match="below 2"):
        recorder.add_requests([forged])


def test_a_cancellation_after_the_last_iteration_is_reported_separately() -> None:
    asked = [request(0, output=2), request(1, output=9)]
    recorder = Recorder(meta(2), asked)
    for event in list(scheduled(asked, 2))[:3]:
        recorder.add(event)
    recorder.add_cancelled([Mark(1, 1)])
    trace = recorder.trace()
    assert trace.requests.reason.tolist() == [FinishReason.LENGTH, FinishReason.CANCELLED]
    assert trace.requests.finished.tolist() == [1, 3]


def test_the_recorder_copies_so_the_engine_may_reuse_its_arrays() -> None:
    asked = [request(i, output=4) for i in range(3)]
    kept, reused = Recorder(meta(2), asked), Recorder(meta(2), asked)
    for event in scheduled(asked, 2):
        kept.add(event)
    for event in scheduled(asked, 2):
        reused.add(event)
        for column in (event.request, event.state, event.tokens, event.context, event.token):
            column[:] = 0
    assert reused.trace() == kept.trace()


def test_what_happened_cannot_be_rewritten() -> None:
    trace = scheduled_trace([3, 2], slots=1)
    with pytest.raises(ValueError, match="read-only"):
        trace.iterations.generated[0] = 7


def first_event() -> Iteration:
    return next(scheduled([request(0), request(1)], 2))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"index": 1}, "iteration 0 comes next, not iteration 1"),
        ({"t_start": -1.0}, "must go forward"),
        ({"t_end": float("nan")}, "must go forward"),
        ({"t_end": float("inf")}, "must go forward"),
        ({"t_start": 2.0, "t_end": 1.0}, "must go forward"),
        ({"blocks_total": 7}, "has a pool of 7 KV blocks"),
        ({"request": np.zeros(3, np.int32)}, r"shape \(3,\); it must be int32 of shape \(2,\)"),
        ({"state": np.zeros(2, np.int64)}, "int64 of shape"),
        ({"token": np.zeros(2, np.float32)}, "float32 of shape"),
    ],
)
def test_a_bad_iteration_is_refused_and_changes_nothing(change: dict[str, object], complaint: str) -> None:
    recorder = Recorder(meta(2), [request(0), request(1)])
    with pytest.raises(TraceError, match=complaint):
        recorder.add(replace(first_event(), **change))  # type: ignore[arg-type]
    assert len(recorder) == 0
    recorder.add(first_event())
    assert len(recorder.trace().iterations) == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"state": np.array([1, 9], np.uint8)}, "slot 1 has an unknown state in iteration 0"),
        ({"state": np.array([1, 0], np.uint8)}, "slot 1 is idle with a request in it"),
        ({"state": np.array([1, 4], np.uint8)}, "slot 1 gave a token though it was idle, held or stalled"),
        ({"token": np.array([-2, 3], np.int32)}, "slot 0 gave a negative token"),
        ({"tokens": np.array([3, -3], np.int32)}, "slot 1 has a negative count"),
        ({"request": np.array([0, 5], np.int32)}, "request 5, which was never submitted"),
        ({"arrived": (0, 1, 8)}, "request 8, which was never submitted"),
        ({"arrived": (0,)}, "request 1 was admitted and never arrived"),
        ({"arrived": (0, 1, 1), "waiting": 1}, "arrive mark of request 1"),
        ({"admitted": (Mark(0, 0),)}, "request 1 is in a slot before its admission"),
        ({"admitted": (Mark(0, 0), Mark(1, 2))}, "names a slot that is not one of the 2"),
        ({"admitted": (Mark(0, 1), Mark(1, 0))}, "in a slot where it was not"),
        ({"waiting": 3}, "waiting does not follow from"),
        ({"waiting": 0.5}, "no whole number"),
        ({"blocks_used": 200_000}, "more KV blocks than the pool"),
        ({"padded": -1}, "iterations.padded must lie between 0"),
    ],
)
def test_a_contradiction_is_named_when_the_trace_is_made(change: dict[str, object], complaint: str) -> None:
    recorder = Recorder(meta(2), [request(0), request(1)])
    recorder.add(replace(first_event(), **change))  # type: ignore[arg-type]
    with pytest.raises(TraceError, match=complaint):
        recorder.trace()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"slots": 0}, "meta.slots must be a whole number from 1 to"),
        ({"slots": True}, "meta.slots"),
        ({"slots": 10**9}, "meta.slots"),
        ({"block_size": 0}, "meta.block_size"),
        ({"seed": -1}, "meta.seed"),
        ({"lag": 2}, "meta.lag"),
        ({"policy": None}, "meta.policy must be text"),
        ({"clock": "wall"}, "meta.clock must be one of lane, alone, virtual"),
        ({"arrival_unit": "days"}, "meta.arrival_unit"),
        ({"versions": {"torch": 2}}, "meta.versions"),
        ({"extra": []}, "meta.extra must be a dictionary"),
        ({"extra": {"x": float("nan")}}, "not finite"),
        ({"extra": {"x": (1, 2)}}, "holds a tuple"),
        ({"extra": {"x": 2**70}}, "64 bits"),
        ({"extra": {1: 2}}, "is not text"),
        ({"extra": {"x": np.int64(3)}}, "holds a int64"),
    ],
)
def test_senseless_metadata_are_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(TraceError, match=complaint):
        Recorder(replace(meta(2), **change))  # type: ignore[arg-type]


def test_extra_may_not_be_nested_without_end() -> None:
    deep: dict[str, object] = {}
    deep["again"] = deep
    with pytest.raises(TraceError, match="nested deeper than 16"):
        Recorder(meta(2, extra=deep))


def test_pieces_must_be_one_text_a_token() -> None:
    asked = [request(0)]
    recorder = Recorder(meta(1), asked)
    for event in scheduled(asked, 1):
        recorder.add(event)
    with pytest.raises(TraceError, match="3 texts for 4 output tokens"):
        recorder.trace(pieces=lambda tokens: ["x"] * 3)
    with pytest.raises(TraceError, match="is not str"):
        recorder.trace(pieces=lambda tokens: [1] * 4)  # type: ignore[list-item]
    assert recorder.trace().requests.pieces == ((),)


def test_recording_allocates_by_the_chunk_not_by_the_request() -> None:
    """64 slots for 3,000 iterations: chunks of 2,048 rows, so two of them."""
    asked = [request(i, output=3000) for i in range(64)]
    recorder = Recorder(meta(64), asked)
    for event in scheduled(asked, 64):
        recorder.add(event)
    assert len(recorder._chunks) == 2
    assert recorder.trace().spans.end.max() == 3000


def test_wild_runs_exercise_every_state_and_mark() -> None:
    """The random runs that the other tests lean on do visit everything."""
    traces = [wild_trace(seed) for seed in range(20)]
    assert {State(s) for t in traces for s in t.spans.state} == set(State) - {State.IDLE}
    assert {MARK_KINDS[k] for t in traces for k in t.marks.kind} == set(MARK_KINDS) - {"set"}  # no run changes those
