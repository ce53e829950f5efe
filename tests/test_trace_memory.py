"""What a trace says of KV memory: used, reserved, never used; found in a cache; swapped. And what it refuses."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbviz.config import Preemption
from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.errors import TraceError
from cbviz.events import FinishReason, Reuse
from cbviz.measure import serving_table, summary
from cbviz.policies import POLICIES, Continuous, Orca, Policy, Static, VllmV0, VllmV1
from cbviz.trace import Recorder, Trace, TraceMeta, check, load
from cbviz.workload.request import Request
from tests.kv_oracle import OracleExecutor
from tests.pictures import requests
from tests.test_policies_laws import drawn


def recorded(
    policy: Policy,
    slots: int,
    work: list[Request],
    *,
    blocks: int,
    size: int = 1,
    lag: int = 0,
    prefix_cache: bool = False,
    preemption: Preemption = "recompute",
    stop: int | None = None,
) -> Trace:
    pool = BlockPool(blocks, size, prefix_cache=prefix_cache)
    engine = Engine(
        OracleExecutor(slots, pool),
        policy,
        slots=slots,
        pool=pool,
        lag=lag,
        arrival_unit="iterations",
        preemption=preemption,
    )
    meta = TraceMeta(
        policy.name, "", slots, size, blocks, block_bytes=engine.block_bytes, arrival_unit="iterations", lag=lag
    )
    recorder = Recorder(meta, work)
    for event in engine.run(work):
        recorder.add(event)
        if stop is not None and event.index + 1 == stop:
            break
    return recorder.trace()


def memory(trace: Trace) -> list[tuple[int, int, int]]:
    """(used, reserved, never used) positions, iteration by iteration."""
    it = trace.iterations
    return list(zip(it.kv_used.tolist(), it.kv_reserved.tolist(), it.kv_internal.tolist(), strict=True))


def test_a_reservation_is_partly_used_later_and_partly_never() -> None:
    """Orca reserves 3 + 8 positions; the request gives 3 tokens, so it writes 3 + 2 (its last token is never fed).

    At 0 three are written, two more will be, and six never are. A scheduler that knew the length would reserve 6.
    """
    work = [Request(1, (1, 2, 3), 8, output_length=3)]
    assert memory(recorded(Orca(), 1, work, blocks=20)) == [(3, 2, 6), (4, 1, 6), (5, 0, 6)]
    oracle = recorded(Orca("oracle", lengths={1: 3}), 1, work, blocks=20)
    assert memory(oracle) == [(3, 2, 1), (4, 1, 1), (5, 0, 1)]


def test_paging_loses_at_most_what_lies_in_last_blocks() -> None:
    """Blocks of 4. The prompt of 3 leaves one position open, which is written next; the fifth opens a second block, of
    which the last two positions are never written."""
    work = [Request(1, (1, 2, 3), 8, output_length=4)]
    trace = recorded(VllmV1(), 1, work, blocks=5, size=4)
    assert memory(trace) == [(3, 1, 0), (4, 0, 0), (5, 1, 2), (6, 0, 2)]


def test_what_a_held_row_writes_does_not_count() -> None:
    """1 gives one token and is held until 2 has given three: it goes on writing, but what it reserved it never used."""
    work = [Request(1, (1, 2), 4, output_length=1), Request(2, (1, 2), 3, output_length=3)]
    trace = recorded(Static(), 2, work, blocks=20)
    assert memory(trace) == [(4, 2, 5), (6, 1, 4), (8, 0, 3)]
    assert trace.iterations.held_slots.tolist() == [0, 1, 1]


def test_preemption_ends_a_reservation() -> None:
    """vLLM V0 in 3 blocks of 4, prompts of 3. At 2 both need a second block and there is one: 2 goes, having filled its
    first. It comes back with 5 tokens when 1 has ended, in two blocks, and writes all but one of their positions."""
    trace = recorded(VllmV0(), 2, requests([5, 5], prompts=[3, 3]), blocks=3, size=4)
    assert trace.requests.preemptions.tolist() == [0, 1]
    assert memory(trace) == [(6, 2, 0), (8, 0, 0), (5, 2, 1), (6, 1, 1), (7, 0, 1), (5, 2, 1), (6, 1, 1), (7, 0, 1)]


def test_all_room_of_a_request_still_running_counts_as_reserved() -> None:
    work = [Request(1, (1, 2, 3), 8, output_length=3)]
    assert memory(recorded(Orca(), 1, work, blocks=20, stop=2)) == [(3, 8, 0), (4, 7, 0)]


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("name", POLICIES)
def test_memory_adds_up_under_every_policy(name: str, lag: int) -> None:
    work = drawn(random.Random(name), 14, arrive=True)
    options: list[tuple[bool, Preemption]] = [(False, "recompute"), (True, "recompute"), (True, "swap")]
    for prefix_cache, preemption in options:
        trace = recorded(
            POLICIES[name](), 3, work, blocks=8, size=3, lag=lag, prefix_cache=prefix_cache, preemption=preemption
        )
        it = trace.iterations
        assert ((it.kv_used + it.kv_reserved + it.kv_internal) == (it.blocks_used + it.blocks_reserved) * 3).all()
        assert (it.kv_used > 0).all()
        assert bool(it.prefix_hits.any()) == prefix_cache, "all prompts begin alike"
        assert trace.requests.cached_tokens.sum() == it.prefix_hits.sum()
        assert (trace.requests.reason == FinishReason.LENGTH).all()


def test_facts_of_memory_survive_a_file(tmp_path: Path) -> None:
    trace = eventful()
    assert trace.iterations.swapped_in.sum() > 0
    again = load(trace.save(tmp_path / "run.cbviz"))
    assert again == trace
    assert again.meta.block_bytes == 16


def eventful() -> Trace:
    """A run in which beginnings are found and blocks are swapped."""
    work = requests([5, 5, 4], prompts=[3, 3, 3], arrivals=[0, 1, 1])
    return recorded(VllmV0(), 3, work, blocks=5, size=2, prefix_cache=True, preemption="swap")


def test_the_summary_counts_hits_and_bytes() -> None:
    trace = eventful()
    found, table = summary(trace), serving_table(trace)
    it = trace.iterations
    assert (found.prefix_queries, found.prefix_hits) == (it.prefix_queries.sum(), it.prefix_hits.sum())
    assert found.evictions == it.evictions.sum() > 0
    assert found.swapped_in_bytes == it.swapped_in.sum() * 16 > 0
    assert f"Prefix cache evictions (blocks):         {found.evictions}" in table
    assert "Swapped out (MiB):" in table
    plain = serving_table(recorded(Continuous(), 1, requests([2]), blocks=9))
    assert "cache hits" not in plain
    assert "Swapped" not in plain


def changed(trace: Trace, table: str, column: str, at: int, value: int) -> Trace:
    array = getattr(getattr(trace, table), column).copy()
    array[at] = value
    return replace(trace, **{table: replace(getattr(trace, table), **{column: array})})


LIES: dict[str, tuple[Callable[[Trace], Trace], str]] = {
    "more used": (lambda t: changed(t, "iterations", "kv_used", 1, 1), "do not add up"),
    "never used": (lambda t: changed(t, "iterations", "kv_internal", 0, 999), "do not add up"),
    "found more than asked": (
        lambda t: changed(t, "iterations", "prefix_queries", int(np.argmax(t.iterations.prefix_hits)), 0),
        "more was found in the prefix cache than looked up",
    ),
    "half a block": (
        lambda t: changed(t, "iterations", "prefix_hits", int(np.argmax(t.iterations.prefix_hits)), 1),
        "a part of a block was found",
    ),
    "found without an admission": (
        lambda t: changed(t, "requests", "cached_tokens", 0, 2),
        "does not sum to what the requests found",
    ),
    "asked without an admission": (
        lambda t: changed(t, "iterations", "prefix_queries", len(t.iterations) - 1, 2),
        "a request was looked up in the prefix cache without a mark",
    ),
    "back before it went": (
        lambda t: changed(t, "iterations", "swapped_in", 0, 1),
        "more KV blocks were swapped in than had been swapped out",
    ),
    "swapped without a preemption": (
        lambda t: changed(t, "iterations", "swapped_out", len(t.iterations) - 1, 1),
        "KV blocks were swapped out without a mark",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_traces_that_lie_about_memory(lie: str) -> None:
    trace = eventful()
    check(trace)
    change, complaint = LIES[lie]
    with pytest.raises(TraceError, match=complaint):
        check(change(trace))


def test_a_request_that_begins_in_the_middle_must_have_found_its_beginning() -> None:
    work = [Request(i, (1, 2, 3, 4, 5), 2, output_length=2) for i in (1, 2)]
    trace = recorded(Continuous(), 1, work, blocks=10, size=2, prefix_cache=True)
    assert trace.requests.cached_tokens.tolist() == [0, 4]
    lying = changed(changed(trace, "requests", "cached_tokens", 1, 2), "iterations", "prefix_hits", 2, 2)
    with pytest.raises(TraceError, match="request 2 did not begin after its cached tokens"):
        check(lying)


def test_events_that_lie_about_memory() -> None:
    work = requests([2])
    engine = Engine(NullExecutor(seconds=1.0), Continuous(), slots=1, pool=BlockPool(9, 1))
    event = next(engine.run(work))
    changes: list[tuple[dict[str, Any], str]] = [
        ({"allotted": event.allotted * 0}, "has written more positions than it has blocks for"),
        ({"reused": (Reuse(77, 1, 0),)}, "request 77 was looked up in the prefix cache and never submitted"),
    ]
    for change, complaint in changes:
        recorder = Recorder(TraceMeta("x", "", 1, 1, 9), work)
        recorder.add(replace(event, **change))
        with pytest.raises(TraceError, match=complaint):
            recorder.trace()
