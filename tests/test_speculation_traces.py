"""A run that drafted tokens, as its trace, its numbers, its file, its board, its race and its command line show it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cbviz
from cbviz.cli import main
from cbviz.config import Speculation
from cbviz.core.block_pool import BlockPool
from cbviz.core.speculation import SpeculativeEngine
from cbviz.errors import CalibrationError, CbvizError, MeasureError, TraceError
from cbviz.events import State
from cbviz.measure import latencies, side_by_side, verdict
from cbviz.policies import Continuous
from cbviz.run.race_run import Race
from cbviz.run.rerun import decision
from cbviz.trace import Recorder, Trace, TraceMeta
from cbviz.trace.check import check, check_meta
from cbviz.view import picture
from cbviz.view.look import bars, rejected
from cbviz.view.pack import LaneEncoder, merge, read, trace_blocks
from cbviz.workload.request import Request
from tests.test_speculation import Cycle

META = TraceMeta("continuous", "", slots=1, block_size=4, total_blocks=64, extra={"speculation": {"k": 3}})
WORK = [Request(0, (7, 8), 10, output_length=10), Request(1, (500, 9), 3, output_length=3)]
"""The first is the cycle of `test_a_slot_gives_up_to_k_plus_one_tokens`; the second has a draft that is wrong."""


@pytest.fixture(scope="module")
def run() -> tuple[Trace, list[bytes]]:
    """The trace, and the blocks that a live board would get, one an iteration."""
    engine = SpeculativeEngine(Cycle(), Continuous(), speculation=Speculation(3, 1, 1), slots=1, pool=BlockPool(64, 4))
    recorder, encoder, blocks = Recorder(META, WORK), LaneEncoder(0, 1), []
    for event in engine.run(WORK):
        recorder.add(event)
        blocks.append(encoder.encode([(event, {slot: "x" * len(given) for slot, given in event.given.items()})]))
    return recorder.trace(lambda tokens: ["x"] * len(tokens)), blocks


def test_the_trace_counts_drafts(run: tuple[Trace, list[bytes]]) -> None:
    trace, _ = run
    assert trace.iterations.generated.tolist() == [1, 1, 1, 1, 4, 2, 1, 1, 1]
    assert trace.drafts.tolist() == [0, 0, 0, 0, 3, 1, 0, 1, 0]
    assert trace.accepted.tolist() == [0, 0, 0, 0, 3, 1, 0, 0, 0]
    assert trace.requests.token_iterations == ((0, 1, 2, 3, 4, 4, 4, 4, 5, 5), (6, 7, 8))
    assert trace.requests.tokens[0] == (500, 501, 502, 500, 501, 502, 500, 501, 502, 500)
    assert trace.output_tokens == 13
    assert trace.occupancy == 1, "a slot is useful once an iteration, however many tokens it gives"


def test_several_tokens_at_once_share_the_time(run: tuple[Trace, list[bytes]]) -> None:
    """Ten tokens in six passes of a second: TTFT 1, TPOT 5 / 9. What comes together has one gap."""
    trace, _ = run
    found = latencies(trace)
    assert found.ttft.tolist() == [1, 7]
    assert found.tpot.tolist() == [pytest.approx(5 / 9), 1]
    assert found.itl.tolist() == [1] * 7


def test_a_table_has_drafts_if_a_run_drafted(run: tuple[Trace, list[bytes]]) -> None:
    trace, _ = run
    table = side_by_side(trace)
    assert table.text(["tokens a decode", "drafts accepted", "drafts rejected"]).split() == [
        *("continuous", "k=3", "tokens", "a", "decode", "1.57"),
        *("drafts", "accepted", "4", "drafts", "rejected", "1"),
    ]
    static, _ = cbviz.recorded("smollm2-8")
    assert "drafts" not in str(side_by_side(static))
    both = side_by_side(static, trace)
    assert both.cells("drafts accepted") == ["–", "4"]
    assert both.to_json()["continuous k=3"]["drafts rejected"] == 1


def test_a_file_keeps_it(run: tuple[Trace, list[bytes]], tmp_path: Path) -> None:
    trace, _ = run
    assert cbviz.load(trace.save(tmp_path / "a.cbviz")) == trace


def test_invented_drafts_are_refused(run: tuple[Trace, list[bytes]]) -> None:
    trace, _ = run
    with pytest.raises(TraceError, match="drafts in a run without speculation"):
        check(replace(trace, meta=replace(META, extra={})))
    checked = int(np.flatnonzero((trace.spans.state == State.DECODE) & (trace.spans.tokens == 4))[0])
    fed = trace.spans.tokens.copy()
    fed[checked] = 2
    with pytest.raises(TraceError, match="request 0 got more tokens than were computed"):
        check(replace(trace, spans=replace(trace.spans, tokens=fed)))
    fed[checked] = 1
    with pytest.raises(TraceError, match="request 0 got two tokens in an iteration without drafts"):
        check(replace(trace, spans=replace(trace.spans, tokens=fed)))
    for nonsense in (4, {}, {"k": 0}, {"k": "4"}, {"k": True}):
        with pytest.raises(TraceError, match=r"meta\.extra\.speculation must say how many"):
            check_meta(replace(META, extra={"speculation": nonsense}))


def test_the_board_gets_the_same_from_a_live_run_and_from_its_trace(run: tuple[Trace, list[bytes]]) -> None:
    trace, blocks = run
    [(_, live)] = read(merge(blocks))
    (_, recorded), header = read(trace_blocks(0, trace))[1], read(trace_blocks(0, trace))[1][0]
    rows = {name: live[f"draft_{name}"].tolist() for name in ("iteration", "slot", "checked", "accepted")}
    assert rows == {"iteration": [4, 5, 7], "slot": [0, 0, 0], "checked": [3, 1, 1], "accepted": [3, 1, 0]}
    for name in ("iteration", "slot", "checked", "accepted"):
        assert recorded[f"draft_{name}"].tolist() == rows[name]
    assert header["pieces"] == read(merge(blocks))[0][0]["pieces"] == [*"xxxx", "xxxx", "xx", *"xxx"]
    plain = cbviz.recorded("smollm2-8")[0]
    assert not any(name.startswith("draft_") for _, arrays in read(trace_blocks(0, plain)) for name in arrays)


def test_what_cannot_know_the_drafts_refuses_the_run(run: tuple[Trace, list[bytes]]) -> None:
    trace, _ = run
    with pytest.raises(MeasureError, match="cannot be rerun: it drafted tokens"):
        decision(trace, 3, Continuous())
    with pytest.raises(CalibrationError, match="leave out those that drafted tokens"):
        cbviz.calibrate(trace, simulated=True)


# ------------------------------------------------------------------------------------------------------------- races


@pytest.fixture(scope="module")
def race() -> Race:
    prompts = ["Repeat ab 12 times", "Repeat cat 9 times", "Count to 9"]
    return cbviz.race(
        "tiny", ["continuous"] * 2, speculate=[0, 4], prompts=prompts, slots=2, repeats=0, device="cpu", live=False
    )


def test_a_race_with_and_without(race: Race) -> None:
    assert race.names == ("continuous", "continuous k=4")
    assert race.identical_outputs
    without, with_drafts = race.lanes
    assert with_drafts.iterations < without.iterations
    assert with_drafts.output_tokens == without.output_tokens
    assert with_drafts.trace.meta.extra["speculation"] == {"k": 4, "n_max": 3, "n_min": 2}
    assert "speculation" not in without.trace.meta.extra
    assert verdict(*race.traces).iteration_ratio > 1
    drafts, accepted = with_drafts.trace.drafts.sum(), with_drafts.trace.accepted.sum()
    assert race.table().to_json()["continuous k=4"]["drafts rejected"] == drafts - accepted


def test_a_race_refuses_what_makes_no_sense(race: Race) -> None:
    options = {"policies": ["continuous"] * 2, "slots": 2, "requests": 2, "device": "cpu", "live": False}
    for speculate, said in (
        ([4], "speculate has 1 number for 2 lanes; give one, or one each"),
        (-1, "speculate must be"),
        ("4", "speculate must be"),
        (65, "speculate must be"),
    ):
        with pytest.raises(CbvizError, match=said):
            cbviz.race("tiny", speculate=speculate, **options)
    with pytest.raises(CbvizError, match="'graphs' cannot speculate"):
        cbviz.race("tiny", speculate=4, backend="graphs", **options)


def test_the_command_line_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "race --policies continuous,continuous --speculate 0,4 --requests 4 --slots 2 --repeats 1 --device cpu --json"
    )
    assert main(words.split()) == 0
    said = json.loads(capsys.readouterr().out)
    assert [lane["policy"] for lane in said["lanes"]] == ["continuous", "continuous k=4"]
    assert said["identical_outputs"]
    with pytest.raises(SystemExit):
        main(["race", "--speculate", "x"])
    assert "must be a whole number of at least 0" in capsys.readouterr().err


def test_a_picture_hatches_what_was_rejected_and_draws_one_bar(run: tuple[Trace, list[bytes]]) -> None:
    trace, _ = run
    assert bars(trace) == [(0, 0, 1, 0, 1), (0, 0, 2, 1, 6), (0, 1, 1, 6, 7), (0, 1, 2, 7, 9)]
    assert rejected(trace) == [(0, 7, 0.5)]
    drawn = picture.svg([trace])
    assert drawn.count('fill="url(#p9)"') == 2, "one cell, and the legend"
    assert "rejected drafts" in drawn
    plain = picture.svg(cbviz.recorded("smollm2-8"))
    assert "url(#p9)" not in plain
    assert "rejected" not in plain
