"""The Perfetto export, read back and held against the Trace Event Format and against the trace."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbviz.errors import TraceError
from cbviz.events import State
from cbviz.trace import MARK_KINDS, Trace
from cbviz.trace.perfetto import perfetto_events
from tests.fake_runs import scheduled_trace, wild_trace

Event = dict[str, Any]


def exported(trace: Trace, folder: Path) -> list[Event]:
    path = trace.to_perfetto(folder / "run.json")
    content = json.loads(path.read_text("ascii"))
    assert content["displayTimeUnit"] == "ms"
    assert content["otherData"]["policy"] == trace.meta.policy
    events: list[Event] = content["traceEvents"]
    return events


@pytest.fixture(scope="module")
def wild() -> Trace:
    return wild_trace(seed=5, requests=20, slots=4)


def test_every_event_has_the_fields_of_its_phase(wild: Trace, tmp_path: Path) -> None:
    needed = {"M": {"args"}, "X": {"ts", "dur", "cat", "args"}, "C": {"ts", "args"}, "i": {"ts", "s", "args"}}
    events = exported(wild, tmp_path)
    assert {event["ph"] for event in events} == set(needed)
    for event in events:
        assert {"ph", "name", "pid", "tid"} | needed[event["ph"]] <= event.keys()
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        for key in ("ts", "dur"):
            assert isinstance(event.get(key, 0), int)
            assert event.get(key, 0) >= 0
        if event["ph"] == "C":
            assert all(isinstance(value, int) for value in event["args"].values())
        if event["ph"] == "i":
            assert event["s"] == "t"


def test_there_is_one_named_track_a_slot(wild: Trace, tmp_path: Path) -> None:
    events = exported(wild, tmp_path)
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert names == {1: "slot 000", 2: "slot 001", 3: "slot 002", 4: "slot 003"}
    assert {event["tid"] for event in events if event["ph"] in "Xi"} <= set(names)
    assert [event["args"]["name"] for event in events if event["name"] == "process_name"] == ["fake"]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), most=st.integers(0, 80))
def test_time_never_goes_back_and_slices_never_overlap(seed: int, most: int) -> None:
    """On one track a slice must end before the next begins, or Perfetto would nest or drop it."""
    trace = wild_trace(seed, most=most)
    timed = [event for event in perfetto_events(trace) if event["ph"] != "M"]
    assert all(a["ts"] <= b["ts"] for a, b in pairwise(timed))
    tracks: dict[int, list[Event]] = defaultdict(list)
    for event in timed:
        if event["ph"] == "X":
            tracks[event["tid"]].append(event)
    assert sum(map(len, tracks.values())) == len(trace.spans)
    for track in tracks.values():
        assert all(a["ts"] + a["dur"] <= b["ts"] for a, b in pairwise(track))


def test_slices_are_the_spans(wild: Trace, tmp_path: Path) -> None:
    slices = [event for event in exported(wild, tmp_path) if event["ph"] == "X"]
    it, sp = wild.iterations, wild.spans
    marked = sorted(
        (
            e["tid"] - 1,
            e["ts"],
            e["ts"] + e["dur"],
            e["args"]["request"],
            e["cat"],
            e["args"]["tokens"],
            e["args"]["context"],
        )
        for e in slices
    )
    start, end = (np.rint(t * 1e6).astype(int) for t in (it.t_start[sp.first], it.t_end[sp.end - 1]))
    states = [State(number).name.lower() for number in sp.state]
    columns = (sp.slot.tolist(), start.tolist(), end.tolist(), sp.request.tolist(), states, sp.tokens.tolist())
    assert marked == sorted(zip(*columns, sp.context.tolist(), strict=True))
    assert all(e["name"] == f"request {e['args']['request']}: {e['cat']}" for e in slices)


def test_slices_carry_the_policy_s_reasons(wild: Trace, tmp_path: Path) -> None:
    reasons = {event["args"]["reason"] for event in exported(wild, tmp_path) if event["ph"] == "X"}
    assert reasons == {"", "ratio met", "paused", "budget"}


def test_preemptions_are_instants_on_the_slot_that_was_lost(wild: Trace, tmp_path: Path) -> None:
    mk = wild.marks
    lost = mk.kind == MARK_KINDS.index("preempt")
    expected = list(zip(mk.slot[lost].tolist(), mk.request[lost].tolist(), strict=True))
    instants = [event for event in exported(wild, tmp_path) if event["ph"] == "i"]
    assert [(event["tid"] - 1, event["args"]["request"]) for event in instants] == expected
    assert expected


def test_counters_say_what_held_at_any_time(wild: Trace) -> None:
    it = wild.iterations
    expected = {
        ("running", "slots"): 4 - it.idle_slots,
        ("waiting", "requests"): it.waiting,
        ("KV blocks", "used"): it.blocks_used,
        ("KV blocks", "reserved"): it.blocks_reserved,
        ("tokens per iteration", "prefill"): it.prefill_tokens,
        ("tokens per iteration", "recompute"): it.recompute_tokens,
        ("tokens per iteration", "output"): it.generated,
    }
    counters = [event for event in perfetto_events(wild) if event["ph"] == "C"]
    start = np.rint(it.t_start * 1e6)
    for (name, series), values in expected.items():
        mine = [event for event in counters if event["name"] == name]
        times = np.array([event["ts"] for event in mine])
        for i in np.flatnonzero(np.append(np.diff(start) > 0, False)):  # iterations of no length share a microsecond
            held = mine[int(np.searchsorted(times, start[i], side="right")) - 1]["args"][series]
            assert held == values[i]
        assert mine[-1]["args"][series] == 0
        assert mine[-1]["ts"] == round(wild.seconds * 1e6)


def test_an_empty_run_exports_names_only() -> None:
    assert {event["ph"] for event in perfetto_events(wild_trace(seed=0, most=0))} == {"M"}


def test_the_name_must_end_in_json(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"ends in \.json"):
        scheduled_trace([2], 1).to_perfetto(tmp_path / "run.perfetto")
    with pytest.raises(TraceError, match="cannot be written"):
        scheduled_trace([2], 1).to_perfetto(tmp_path / "nowhere" / "run.json")
