"""Changes that a user makes during a run: marks without a request, and closed slots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cbviz.errors import TraceError
from cbviz.events import NO_REQUEST, Mark
from cbviz.measure import slot_use
from cbviz.trace import MARK_KINDS, Trace, check
from cbviz.trace.files import from_bytes, to_bytes
from cbviz.view.pack import LaneEncoder, read, trace_blocks
from tests.fake_runs import record, request, scheduled

SLOTS = 4
LENGTHS = [2, 5, 3, 9, 4, 4, 2, 6]


def changed(at: dict[int, tuple[Mark, ...]]) -> tuple[Trace, list]:
    """A continuous run on four slots with these changes noted before these iterations."""
    asked = [request(id, output=length) for id, length in enumerate(LENGTHS)]
    events = [replace(event, changed=at.get(event.index, ())) for event in scheduled(asked, SLOTS)]
    return record(iter(events), asked, SLOTS, arrival_unit="iterations"), events


def test_changes_become_marks_and_survive_a_file():
    trace, _ = changed({0: (Mark(NO_REQUEST, 4, "slots = 4"),), 3: (Mark(NO_REQUEST, NO_REQUEST, "policy = static"),)})
    marked = trace.marks.kind == MARK_KINDS.index("set")
    assert trace.marks.iteration[marked].tolist() == [0, 3]
    assert [why for why, is_set in zip(trace.marks.reason, marked, strict=True) if is_set] == [
        "slots = 4",
        "policy = static",
    ]
    assert from_bytes(to_bytes(trace)) == trace
    assert set(trace.to_pandas()["marks"]["kind"]) >= {"set", "arrive"}


def test_closed_slots_count_neither_as_waste_nor_as_room():
    plain, _ = changed({})
    trace, _ = changed({6: (Mark(NO_REQUEST, 1, "slots = 1"),)})
    assert not plain.closed_slots.any()
    state, n = np.zeros((SLOTS, len(trace.iterations)), int), len(trace.iterations)
    for slot, first, end, what in zip(
        trace.spans.slot, trace.spans.first, trace.spans.end, trace.spans.state, strict=True
    ):
        state[slot, first:end] = what
    by_hand = [min(SLOTS - 1, int((state[:, i] == 0).sum())) if i >= 6 else 0 for i in range(n)]
    assert trace.closed_slots.tolist() == by_hand
    assert sum(by_hand) > 0
    assert trace.occupancy == pytest.approx(plain.useful_slot_iterations / (n * SLOTS - sum(by_hand)))
    use = slot_use(trace)
    assert use.total == n * SLOTS - sum(by_hand)
    assert use.wasted == trace.wasted_slot_iterations


def test_live_blocks_and_recorded_blocks_tell_the_same_changes():
    trace, events = changed({0: (Mark(NO_REQUEST, 2, "slots = 2"),), 5: (Mark(NO_REQUEST, NO_REQUEST, "rate = 3"),)})
    (live,) = read(LaneEncoder(0, SLOTS).encode([(event, {}) for event in events]))
    (recorded,) = (entry for entry in read(trace_blocks(0, trace)) if entry[0]["kind"] == "iterations")
    number = MARK_KINDS.index("set")
    for header, arrays in (live, recorded):
        marked = arrays["mark_kind"] == number
        assert arrays["mark_iteration"][marked].tolist() == [0, 5]
        assert arrays["mark_slot"][marked].tolist() == [2, NO_REQUEST]
        assert [header["reasons"][r] for r in arrays["mark_reason"][marked]] == ["slots = 2", "rate = 3"]


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [("request", 0, "names a request"), ("slot", 0, "opens 0 slots"), ("slot", 5, "opens 5 slots")],
)
def test_a_change_that_cannot_be_is_refused(column, value, sentence):
    trace, _ = changed({2: (Mark(NO_REQUEST, 2, "slots = 2"),)})
    entries = getattr(trace.marks, column).copy()
    entries[trace.marks.kind == MARK_KINDS.index("set")] = value
    with pytest.raises(TraceError, match=sentence):
        check(replace(trace, marks=replace(trace.marks, **{column: entries})))
