"""Runs as bytes: live and recorded ones say the same, and the module that ships reads what Python wrote."""

from __future__ import annotations

import json
import random
import subprocess
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbviz.errors import TraceError
from cbviz.events import NO_REQUEST, State
from cbviz.view.look import WASTED, dense
from cbviz.view.pack import LaneEncoder, RequestText, merge, meta_block, read, requests_block, trace_blocks
from tests.fake_runs import record, request, scheduled, wild
from tests.node import node, shipped_module


def live_and_recorded(seed: int, slots: int = 3):
    dice = random.Random(seed)
    asked = [request(id, dice.randint(1, 9), dice.randint(1, 8)) for id in range(12)]
    iterations = list(wild(asked, slots, seed))
    trace = record(iter(iterations), asked, slots)
    pieces = [{s: f"t{token}" for s, token in enumerate(it.token) if token != NO_REQUEST} for it in iterations]
    return list(zip(iterations, pieces, strict=True)), trace


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 60), max_size=6))
def test_live_blocks_however_cut_merge_to_what_the_trace_packs_to(seed, cuts):
    batch, trace = live_and_recorded(seed)
    encoder = LaneEncoder(0, 3)
    edges = [0, *sorted({cut for cut in cuts if cut < len(batch)}), len(batch)]
    blocks = [encoder.encode(batch[a:b]) for a, b in pairwise(edges)]
    [(live, live_arrays)] = read(merge(blocks))
    (_, _), (recorded, arrays) = read(trace_blocks(0, trace))
    assert live["n"] == recorded["n"] == len(batch)
    for name in arrays:
        if name in ("mark_reason", "change_tokens") or name.startswith("mark_"):
            continue
        assert np.array_equal(live_arrays[name], arrays[name]), name
    # A recorded span keeps the tokens of its iterations as one sum.
    assert live_arrays["change_tokens"].sum() == arrays["change_tokens"].sum()
    assert live["pieces"] == recorded["pieces"]

    def marks(header, columns):
        rows = zip(
            *(columns[f"mark_{part}"].tolist() for part in ("iteration", "kind", "request", "slot")), strict=True
        )
        return sorted((*row, header["reasons"][why]) for row, why in zip(rows, columns["mark_reason"], strict=True))

    # The recorder marks a run of equal stalls once; all other marks are the same, one by one.
    stall = 4
    assert [m for m in marks(live, live_arrays) if m[1] != stall] == [
        m for m in marks(recorded, arrays) if m[1] != stall
    ]
    assert {m for m in marks(recorded, arrays) if m[1] == stall} <= set(marks(live, live_arrays))


def test_the_shipped_module_reads_every_cell_mark_and_token():
    _, trace = live_and_recorded(5)
    script = f"""
        import {{ Run }} from {json.dumps(shipped_module())};
        import {{ readFileSync }} from "node:fs";
        const run = new Run();
        run.add(new Uint8Array(readFileSync(0)));
        const lane = run.lanes[0];
        const cells = lane.rows.map((row, slot) => Array.from({{ length: lane.n }}, (_, i) => {{
          const span = lane.spanAt(slot, i);
          return [row.state[span], row.request[span]];
        }}));
        const requests = [...lane.requests.values()].map((r) => [r.id, r.tokens, r.pieces, r.arrived, r.finished]);
        const sums = [lane.counters(lane.n).wasted, lane.sum.useful.at(lane.n), lane.counters(lane.n).generated];
        console.log(JSON.stringify({{ cells, requests, sums, prompts: [...run.own[0]] }}));
    """
    lanes = [{"name": "a", "slots": 3, "total_blocks": 4}]
    data = meta_block({"lanes": lanes}) + trace_blocks(0, trace)
    done = subprocess.run([node(), "--input-type=module", "-e", script], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    state, owner = dense(trace)
    assert np.array_equal(np.array(seen["cells"])[..., 0], state)
    assert np.array_equal(np.array(seen["cells"])[..., 1], owner)
    assert seen["sums"] == [trace.wasted_slot_iterations, trace.useful_slot_iterations, trace.output_tokens]
    table = trace.requests
    by_id = {row[0]: row[1:] for row in seen["requests"]}
    for row, id in enumerate(table.id.tolist()):
        tokens, pieces, arrived, finished = by_id[id]
        assert tokens == list(table.token_iterations[row])
        assert pieces == list(table.pieces[row])
        assert arrived == table.arrived[row]
        assert finished == table.finished[row]
    assert [text["prompt"] for _, text in seen["prompts"]] == list(table.prompt)


def test_dense_tells_wasted_from_spare_idle():
    asked = [request(i, output=3) for i in range(3)]
    trace = record(scheduled(asked, 2, "static"), asked, 2)
    state, owner = dense(trace)
    assert state.shape == owner.shape == (2, 6)
    assert (state[1, 3:] == State.IDLE).all()
    assert not (state == WASTED).any()
    assert (owner[1, 3:] == -1).all()


def test_iterations_out_of_order_or_with_other_slots_are_refused():
    asked = [request(i) for i in range(3)]
    iterations = [(it, {}) for it in scheduled(asked, 2)]
    with pytest.raises(TraceError, match="expected iteration 0 and got iteration 1"):
        LaneEncoder(0, 2).encode(iterations[1:])
    with pytest.raises(TraceError, match="has 5 slots"):
        LaneEncoder(0, 5).encode(iterations)


@pytest.mark.parametrize("length", [3, 15, 40, -1])
def test_cut_or_foreign_bytes_are_refused(length):
    data = requests_block(None, [RequestText(0, "prompt", 3, 4)])
    with pytest.raises(TraceError):
        read(data[:length])
    with pytest.raises(TraceError, match="not a run of cbviz"):
        read(b"X" + data[1:])


def test_any_text_survives_the_trip():
    wild_text = 'quote " back\\slash </script> \u2028 \u202e 中文 \U0001f600 \x00'
    [(header, _)] = read(requests_block(2, [RequestText(7, wild_text, 1, 2, 0.5)]))
    assert header["rows"] == [[7, wild_text, 1, 2, 0.5]]
    [(header, _)] = read(requests_block(2, [RequestText(7, "a\ud800b", 1, 2)]))
    assert header["rows"][0][1] == "a?b"
