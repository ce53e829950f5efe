"""A race in one call each, and its first iterations drawn large: all of it is what the trace holds."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

import cbviz
from cbviz import course
from cbviz.course.show import Shown
from cbviz.errors import CbvizError
from cbviz.trace import Trace


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    course.language("en")


@pytest.fixture(scope="module")
def runs() -> tuple[Trace, ...]:
    return cbviz.recorded("smollm2-8")


class Raced:
    """What a race offers to these functions."""

    def __init__(self, *traces: Trace) -> None:
        self.traces = traces


def drawing(shown: Shown) -> str:
    found = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', shown.html)
    assert found is not None
    return base64.b64decode(found[1]).decode("utf-8")


def test_the_counts_are_those_of_the_traces(runs: tuple[Trace, ...]) -> None:
    lines = repr(course.numbers(runs)).splitlines()
    for trace, line in zip(runs, lines[1:], strict=True):
        assert line.split()[:3] == [trace.meta.policy, str(len(trace.iterations)), f"{trace.occupancy:.0%}"]
        assert line.endswith("46 / 48")


def test_the_parts_of_a_lane_are_all_its_slot_iterations(runs: tuple[Trace, ...]) -> None:
    for trace, line in zip(runs, repr(course.slot_use(runs)).splitlines()[1:], strict=True):
        parts = [int(part) for part in line.split()[1:]]
        assert sum(parts) == trace.meta.slots * len(trace.iterations)
        assert parts[2] == int(trace.iterations.held_slots.sum())


def test_the_bars_of_two_lanes_keep_their_proportion(runs: tuple[Trace, ...]) -> None:
    bars = re.findall(r'<rect x="[\d.]+" y="(\d+)" width="([\d.]+)" height="28"', drawing(course.slot_use(runs)))
    lengths = [sum(float(wide) for y, wide in bars if y == line) for line in sorted({y for y, _ in bars}, key=int)]
    assert lengths[0] / lengths[1] == pytest.approx(len(runs[0].iterations) / len(runs[1].iterations), rel=1e-3)


def test_sooner_counts_every_request_once(runs: tuple[Trace, ...]) -> None:
    counts = [int(n) for n in repr(course.sooner(runs)).splitlines()[1].split()]
    before, after = (trace.requests.finished for trace in runs)
    assert counts == [int(n) for n in ((after < before).sum(), (after == before).sum(), (after > before).sum())]
    assert sum(counts) == 48


def test_a_race_is_taken_like_its_traces(runs: tuple[Trace, ...]) -> None:
    race = Raced(*runs)
    for tell in (course.numbers, course.seconds, course.slot_use, course.sooner):
        assert repr(tell(race)) == repr(tell(runs))


def test_the_seconds_are_those_of_the_traces(runs: tuple[Trace, ...]) -> None:
    lines = repr(course.seconds(runs)).splitlines()[1:]
    assert [line.split()[1] for line in lines] == [f"{trace.seconds:.2f}" for trace in runs]
    assert lines[0].split()[-1] == "1.00"


@pytest.mark.parametrize("wrong", [None, 3, (), ["static"], "ab", Raced()], ids=lambda wrong: type(wrong).__name__)
def test_what_is_no_race_is_refused(wrong: object) -> None:
    for tell in (course.numbers, course.seconds, course.slot_use, course.sooner):
        with pytest.raises(CbvizError, match="takes a race"):
            tell(wrong)


def test_sooner_needs_two_lanes_of_the_same_work(runs: tuple[Trace, ...]) -> None:
    with pytest.raises(CbvizError, match="two lanes"):
        course.sooner(runs[:1])
    with pytest.raises(CbvizError, match="same work"):
        course.sooner((runs[0], cbviz.recorded("llama-8b-32")[0]))


def test_a_still_shows_every_token_in_its_slot_and_iteration(runs: tuple[Trace, ...]) -> None:
    """Read back from the text: the words of a request, in order, are those that the trace has."""
    table = runs[0].requests
    lines = repr(course.still(runs[0], iterations=12)).splitlines()[1:]
    assert len(lines) == runs[0].meta.slots
    for slot, line in enumerate(lines):
        words = line.partition(f"request {slot}: ")[2].split(" ")
        given = [p.replace(" ", "␣") or "END" for p in table.pieces[slot][:12]]
        assert words == given + ["×"] * (12 - len(given))


def test_a_still_draws_a_cell_for_each_slot_and_iteration_and_its_four_captions(runs: tuple[Trace, ...]) -> None:
    for language, grey in (("en", "Grey is computed for nothing"), ("zh", "灰色是空算")):
        course.language(language)
        svg = drawing(course.still(runs[0], iterations=12))
        assert len(re.findall(r'<rect x="[\d.]+" y="[\d.]+" width="58"', svg)) == 8 * 12
        assert svg.count('fill="url(#held)"') == 7
        assert grey in svg
        assert svg.count("Havana") == 1
    course.language("en")
    assert "Grey" not in drawing(course.still(runs[1], iterations=6)), "nothing is held, so nothing explains grey"


def test_a_still_begins_at_the_iteration_that_is_asked_for(runs: tuple[Trace, ...]) -> None:
    later = repr(course.still(runs[1], first=7, iterations=4)).splitlines()
    assert later[0] == "continuous, iterations 7 to 10"
    assert later[8] == "slot 7, request 7: END request 8: 1 . ␣**", "its slot is refilled in the next iteration"


def test_text_in_a_still_is_never_markup(runs: tuple[Trace, ...]) -> None:
    requests = runs[0].requests
    hostile = tuple(("<script>alert(1)</script>", *pieces[1:]) for pieces in requests.pieces)
    trace = replace(runs[0], requests=replace(requests, pieces=hostile, prompt=("<b>",) * len(requests)))
    shown = course.still(trace)
    assert "<script" not in shown.html
    assert "<script" not in drawing(shown)
    assert "<b>" not in drawing(shown)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"first": 10_000}, "no two from"),
        ({"first": -1}, "first"),
        ({"iterations": 1}, "iterations"),
        ({"iterations": 1000}, "iterations"),
    ],
    ids=str,
)
def test_a_still_of_nothing_is_refused(runs: tuple[Trace, ...], options: dict[str, int], sentence: str) -> None:
    with pytest.raises(CbvizError, match=sentence):
        course.still(runs[0], **options)


def test_a_still_needs_a_trace_of_few_slots() -> None:
    with pytest.raises(CbvizError, match=r"a trace, such as race\.traces"):
        course.still("tiny")  # type: ignore[arg-type]
    with pytest.raises(CbvizError, match="at most 16 slots"):
        course.still(cbviz.recorded("llama-8b-32")[0])
