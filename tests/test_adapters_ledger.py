"""Another engine's passes become iterations: slots, states and marks follow from positions alone."""

from __future__ import annotations

from typing import Any

import pytest

from cbviz.adapters.ledger import BatchRow, Ledger, Pass
from cbviz.adapters.versions import KnownRange
from cbviz.errors import AdapterError
from cbviz.events import NO_REQUEST, FinishReason, State
from cbviz.trace import Trace, TraceMeta
from cbviz.workload import Request

END, LENGTH = FinishReason.END, FinishReason.LENGTH


def ledger_of(*prompts: int, most: int = 9, arrivals: tuple[float, ...] = ()) -> Ledger:
    ledger = Ledger()
    for id, prompt in enumerate(prompts):
        ledger.arrive(Request(id, (7,) * prompt, most, arrival=arrivals[id] if arrivals else 0.0))
    return ledger


def add(ledger: Ledger, *rows: BatchRow, **more: Any) -> None:
    n = len(ledger)
    ledger.add(Pass(float(n), n + 1.0, rows, **more))


def traced(ledger: Ledger, **more: Any) -> Trace:
    facts = {"lag": 0, "block_size": 1, **more}
    return ledger.trace(TraceMeta("theirs", "", slots=ledger.slots, total_blocks=0, **facts))


def states(ledger: Ledger, slot: int) -> list[State]:
    return [State(ledger.iteration(n).state[slot]) for n in range(len(ledger))]


def test_a_freed_slot_goes_to_the_next_request_one_pass_later() -> None:
    ledger = ledger_of(2, 3, 2)
    add(ledger, BatchRow(0, 2, 0, 5), BatchRow(1, 3, 0, 5))
    add(ledger, BatchRow(0, 1, 2, 6), BatchRow(1, 1, 3, 6), finished={0: END})
    add(ledger, BatchRow(1, 1, 4, 6), BatchRow(2, 2, 0, 5), finished={1: LENGTH, 2: END})
    trace = traced(ledger)
    assert trace.requests.admitted.tolist() == [0, 0, 2]
    assert trace.requests.slot.tolist() == [0, 1, 0]
    assert trace.iterations.waiting.tolist() == [1, 1, 0]
    assert trace.requests.tokens == ((5, 6), (5, 6, 6), (5,))
    assert trace.useful_slot_iterations == 6


def test_a_prompt_in_chunks_and_a_row_left_out() -> None:
    ledger = ledger_of(5)
    add(ledger, BatchRow(0, 3, 0))
    add(ledger)
    add(ledger, BatchRow(0, 2, 3, 4))
    add(ledger, BatchRow(0, 1, 5, 4), finished={0: LENGTH})
    assert states(ledger, 0) == [State.PREFILL, State.STALLED, State.PREFILL, State.DECODE]
    trace = traced(ledger)
    assert trace.iterations.prefill_tokens.tolist() == [3, 0, 2, 0]
    assert "left it out" in trace.marks.reason[2]


def test_a_preempted_request_recomputes_and_is_held_nowhere() -> None:
    ledger = ledger_of(3, 2)
    add(ledger, BatchRow(0, 3, 0, 4), BatchRow(1, 2, 0, 4))
    add(ledger, BatchRow(0, 1, 3, 4), BatchRow(1, 1, 2, 4))
    add(ledger, BatchRow(0, 1, 4, 4), preempted=(1,), finished={0: LENGTH})
    add(ledger, BatchRow(1, 4, 0, 4), finished={1: LENGTH})
    trace = traced(ledger)
    assert trace.requests.preemptions.tolist() == [0, 1]
    assert trace.iterations.recompute_tokens.tolist() == [0, 0, 0, 4]
    assert trace.iterations.waiting.tolist() == [0, 0, 1, 0]
    assert trace.requests.tokens[1] == (4, 4, 4)


def test_a_row_computed_after_the_end_is_held() -> None:
    ledger = ledger_of(2, 2)
    add(ledger, BatchRow(0, 2, 0, 4), finished={0: END})
    add(ledger, BatchRow(0, 1, 2), BatchRow(1, 2, 0, 4), finished={1: END})
    assert states(ledger, 0) == [State.PREFILL, State.HELD]
    trace = traced(ledger, lag=1)
    assert trace.iterations.held_slots.tolist() == [0, 1]
    assert trace.requests.slot.tolist() == [0, 1]


def test_a_token_that_came_too_late_for_its_request_is_no_token() -> None:
    """Under async batching a pass may come back after its request has lost its place."""
    ledger = ledger_of(2, 2)
    add(ledger, BatchRow(0, 2, 0, 4), BatchRow(1, 2, 0, 4))
    add(ledger, BatchRow(0, 1, 2, 4), BatchRow(1, 1, 2))
    add(ledger, BatchRow(0, 1, 3, 4), preempted=(1,), finished={0: LENGTH})
    add(ledger, BatchRow(1, 3, 0, 4), finished={1: LENGTH})
    trace = traced(ledger, lag=1)
    assert trace.requests.tokens == ((4, 4, 4), (4, 4))
    assert states(ledger, 1)[1] == State.RECOMPUTE


def test_a_cached_prefix_is_counted_once() -> None:
    ledger = ledger_of(6)
    add(ledger, BatchRow(0, 2, 4, 4), finished={0: END})
    trace = traced(ledger, block_size=4)
    assert (trace.iterations.prefix_queries.tolist(), trace.iterations.prefix_hits.tolist()) == ([6], [4])
    assert trace.iterations.prefill_tokens.tolist() == [2]


def test_cancelled_while_waiting_while_running_and_after_the_last_pass() -> None:
    ledger = ledger_of(2, 2, 2, 2)
    add(ledger, BatchRow(0, 2, 0, 4), BatchRow(1, 2, 0, 4))
    add(ledger, BatchRow(0, 1, 2, 4), cancelled=(1, 2))
    facts = TraceMeta("theirs", "", slots=ledger.slots, total_blocks=0, block_size=1)
    trace = ledger.trace(facts, cancelled=(3, 3, 99))
    assert trace.requests.reason.tolist() == [-1, *[FinishReason.CANCELLED] * 3]
    assert trace.requests.finished.tolist() == [-1, 1, 1, 2]


def test_a_row_of_a_cancelled_request_that_was_under_way_is_no_slot() -> None:
    ledger = ledger_of(2, 2)
    add(ledger, BatchRow(0, 2, 0, 4), BatchRow(1, 2, 0, 4))
    add(ledger, BatchRow(0, 1, 2, 4), BatchRow(1, 1, 2), cancelled=(1,), finished={0: LENGTH})
    assert traced(ledger, lag=1).requests.reason.tolist() == [FinishReason.LENGTH, FinishReason.CANCELLED]


def test_arrivals_enter_the_queue_when_their_time_has_come_or_their_row_runs() -> None:
    ledger = ledger_of(2, 2, 2, arrivals=(0.0, 1.0, 1.5))
    add(ledger, BatchRow(0, 2, 0, 4))
    add(ledger, BatchRow(0, 1, 2, 4))
    add(ledger, BatchRow(0, 1, 3, 4), BatchRow(2, 2, 0, 4))
    assert traced(ledger).requests.arrived.tolist() == [0, 1, 2]


def test_the_clock_never_goes_back() -> None:
    """An async engine schedules a pass before the one in front of it has ended."""
    ledger = ledger_of(2)
    ledger.add(Pass(0.0, 2.0, (BatchRow(0, 2, 0, 4),)))
    ledger.add(Pass(1.0, 3.0, (BatchRow(0, 1, 2, 4),), finished={0: LENGTH}))
    trace = traced(ledger)
    assert (trace.iterations.t_start.tolist(), trace.iterations.t_end.tolist()) == ([0.0, 2.0], [2.0, 3.0])


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(AdapterError, match=r"^pass 0 computes request 5, which never arrived\.$"):
        add(ledger_of(2), BatchRow(5, 1, 0))
    with pytest.raises(AdapterError, match=r"^request 0 came twice; ids must be unique in a run\.$"):
        ledger_of(2).arrive(Request(0, (1,), 1))
    speculating = ledger_of(2)
    add(speculating, BatchRow(0, 2, 0, 4))
    with pytest.raises(AdapterError, match=r"^pass 1 feeds 3 tokens of request 0 in one decode; speculative decoding"):
        add(speculating, BatchRow(0, 3, 2, 4))
    with pytest.raises(AdapterError, match=r"^pass 0 uses slot 0, and slots 0 to -1 were asked for\.$"):
        speculating.iteration(0, slots=0)


LOST = r"^pass 2 needs output token 2 of request 0, which no pass gave\.$"


@pytest.mark.parametrize("token", [4, NO_REQUEST])
def test_a_token_that_was_lost_is_missed_when_it_is_read(token: int) -> None:
    ledger = ledger_of(3)
    add(ledger, BatchRow(0, 3, 0, 4))
    add(ledger, BatchRow(0, 1, 3))
    with pytest.raises(AdapterError, match=LOST):
        add(ledger, BatchRow(0, 1, 4, token))
    first = ledger_of(3)
    add(first, BatchRow(0, 3, 0))
    with pytest.raises(AdapterError, match=r"^pass 1 needs output token 1 of request 0, which no pass gave\.$"):
        add(first, BatchRow(0, 1, 3, token))


def test_passes_under_way_when_a_request_loses_its_place_read_no_lost_token() -> None:
    """Under async scheduling they were scheduled before the token was known to be lost; none of them gives one."""
    ledger = ledger_of(3)
    ledger.add(Pass(0.0, 2.0, (BatchRow(0, 3, 0, 4),)))
    ledger.add(Pass(1.0, 3.0, (BatchRow(0, 1, 3),)))
    with pytest.raises(AdapterError, match=LOST):
        ledger.add(Pass(2.0, 4.0, (BatchRow(0, 1, 4, 4),)))
    ledger.add(Pass(2.0, 4.0, (BatchRow(0, 1, 4),)))
    ledger.add(Pass(2.9, 5.0, (BatchRow(0, 1, 5),)))
    with pytest.raises(AdapterError, match=r"^pass 4 needs output token 2 of request 0"):
        ledger.add(Pass(3.0, 6.0, (BatchRow(0, 1, 6),)))
    ledger.add(Pass(3.0, 6.0, (BatchRow(0, 4, 0, 4),), finished={0: LENGTH}, preempted=(0,)))
    assert traced(ledger, lag=1).requests.tokens == ((4, 4),)


def test_a_token_comes_only_behind_all_that_its_request_has() -> None:
    ledger = ledger_of(2)
    add(ledger, BatchRow(0, 2, 0, 4))
    add(ledger, BatchRow(0, 1, 2, 4))
    with pytest.raises(AdapterError, match=r"^pass 2 gives request 0 a token before those that it has were computed"):
        add(ledger, BatchRow(0, 3, 0, 4), preempted=(0,))
    add(ledger, BatchRow(0, 3, 0), preempted=(0,))
    add(ledger, BatchRow(0, 1, 3, 4), finished={0: LENGTH})
    assert traced(ledger).requests.tokens == ((4, 4, 4),)


@pytest.mark.parametrize("found", ["5.16.3", "5.24.0", "6.0", "4.57.1", "0.1.dev0+unknown", "dev", "", None, 5.2, "5"])
def test_a_version_outside_the_range_is_named(found: object) -> None:
    known = KnownRange("transformers", (5, 17), (5, 23))
    with pytest.raises(AdapterError) as refused:
        known.check(found)
    assert str(refused.value).endswith("this adapter knows transformers 5.17 to 5.23.")
    assert str(found)[:3] in str(refused.value)


@pytest.mark.parametrize("found", ["5.17.0", "5.17.0.dev0", "5.23.9", "5.20rc1"])
def test_a_known_version_passes(found: str) -> None:
    assert KnownRange("transformers", (5, 17), (5, 23)).check(found)[0] == 5


@pytest.mark.parametrize(
    ("rows", "times", "said"),
    [
        ((BatchRow(1, 3, 0), BatchRow(1, 1, 3)), (1.0, 2.0), r"pass 1 has two rows of request 1\.$"),
        ((BatchRow(1, 1, 4),), (1.0, 2.0), "pass 1 begins at position 4 of request 1, of which it can have 3 at most"),
        ((BatchRow(1, 2, 0, 5),), (1.0, 2.0), "pass 1 gives request 1 a token before its prompt was computed"),
        ((BatchRow(0, 1, 2, 5),), (1.0, 2.0), "pass 1 gives request 0 a token more than its 1 output token"),
        ((BatchRow(1, 3, 0),), (1.0, 0.9), r"pass 1 ends at 0\.900000 s, before it began\.$"),
        ((BatchRow(1, 3, 0),), (0.1, 0.9), r"pass 1 ends at 0\.900000 s, before pass 0 had ended\.$"),
    ],
)
def test_a_pass_that_contradicts_those_before_it_changes_nothing(
    rows: tuple[BatchRow, ...], times: tuple[float, float], said: str
) -> None:
    ledger = ledger_of(2, 3, most=1)
    add(ledger, BatchRow(0, 2, 0, 5))
    with pytest.raises(AdapterError, match=said):
        ledger.add(Pass(*times, rows, cancelled=(1,)))
    assert (len(ledger), ledger.slots) == (1, 1)
    add(ledger, BatchRow(1, 3, 0, 5), finished={1: LENGTH})
    assert traced(ledger).requests.admitted.tolist() == [0, 1]
