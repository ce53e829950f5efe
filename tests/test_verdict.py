"""What a result says: twelve situations are made, each in both languages; docs/results.md shows the same sentences."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cbviz
from cbviz.cli.reading import reading
from cbviz.errors import CbvizError, MeasureError
from cbviz.measure.lane_times import Spread, decimals, two_digits
from cbviz.measure.standings import COMPARED, first_tokens, longest_gap
from cbviz.measure.verdict import RaceVerdict, verdict
from cbviz.messages import in_language, languages
from cbviz.models import LoadedModel, load
from cbviz.policies import TGI, Plan, Sarathi, View, VllmV0
from cbviz.run.progress import SilentProgress
from cbviz.run.race import Race, race
from cbviz.run.schedule import schedule
from cbviz.trace import Trace
from cbviz.trace.recordings import compared
from cbviz.view import Board, Outcome
from cbviz.view.answers import AnswerTable
from cbviz.view.run_table import RunTable, paragraphs
from cbviz.workload import Request, Workload
from tests.fake_runs import scheduled_trace

LENGTHS = [3, 9, 2, 30, 4, 4, 12, 1]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "results.md"


def lane(policy: str, seconds: float = 0.5, lengths: Sequence[int] = LENGTHS, slots: int = 4, **meta: Any) -> Trace:
    """A run of static or continuous batching that takes so many seconds an iteration, on a device."""
    trace = scheduled_trace(list(lengths), slots, policy, seconds)
    return replace(trace, meta=replace(trace.meta, policy=policy, **{"clock": "alone", **meta}))


def repeats(policy: str, *seconds: float) -> list[Trace]:
    return [lane(policy, each) for each in seconds]


def work(lengths: Sequence[int], arrivals: Sequence[float] | None = None) -> Workload:
    when = arrivals or [0.0] * len(lengths)
    requests = [
        Request(i, (20,) * 3, max_new_tokens=max(lengths), output_length=n, arrival=at, text=f"S{i + 1}")
        for i, (n, at) in enumerate(zip(lengths, when, strict=True))
    ]
    return Workload("made", requests, arrival_unit="iterations")


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu", dtype="float32", progress=False)


def small(tiny: LoadedModel, policies: Sequence[str] = ("static", "continuous"), **options: Any) -> Race:
    return race(tiny, policies, **{"live": False, "repeats": 1, **options})


def different(trace: Trace) -> Trace:
    """The same run with another first token for its first request."""
    table = trace.requests
    return replace(trace, requests=replace(table, tokens=((77,), *table.tokens[1:])))


def clocked(trace: Trace, seconds: float) -> Trace:
    """A real run as if each iteration had taken so many seconds: what is said must not depend on the machine."""
    ends = np.arange(1, len(trace.iterations) + 1) * seconds
    return replace(trace, iterations=replace(trace.iterations, t_start=ends - seconds, t_end=ends))


class StopAfter(SilentProgress):
    """Stops its race when the first request has ended."""

    def __init__(self) -> None:
        self.race: Race | None = None

    def advance(self, name: str, count: int, note: str = "") -> None:
        if count and self.race is not None:
            self.race.stop()


# ------------------------------------------------------------------ the situations


def two_lanes(tiny: LoadedModel) -> RaceVerdict:
    return verdict(repeats("static", 0.187, 0.18, 0.19), repeats("continuous", 0.121, 0.12, 0.122))


def four_lanes(tiny: LoadedModel) -> RaceVerdict:
    lengths = [16, 3, 9, 2, 12, 4, 7, 3, 11, 2, 5, 8]
    requests = [Request(i, (20,) * 3, max_new_tokens=16, output_length=n) for i, n in enumerate(lengths)]
    made = Workload("made", requests)
    names = ("static", "tgi", "orca", "vllm_v1")
    return verdict(*(schedule(cbviz.policies.get(n), made, slots=4, block_size=4, kv_blocks=11) for n in names))


def a_tie(tiny: LoadedModel) -> RaceVerdict:
    return small(tiny, ("static", "continuous", "orca"), slots=2, requests=6).verdict


def same_schedule(tiny: LoadedModel) -> RaceVerdict:
    return small(tiny, ("continuous", "orca"), slots=2, requests=6).verdict


def a_toy(tiny: LoadedModel) -> RaceVerdict:
    ran = small(tiny, slots=4, workload=work([3, 6, 2, 3, 3, 2, 2]))
    return verdict(*(clocked(trace, 0.003) for trace in ran.traces))


def one_run(tiny: LoadedModel) -> RaceVerdict:
    return verdict(lane("static", 0.187), lane("continuous", 0.189))


def unknown_direction(tiny: LoadedModel) -> RaceVerdict:
    return verdict(repeats("static", 0.30, 0.42, 0.33), repeats("continuous", 0.44, 0.48, 0.47))


def enough_slots(tiny: LoadedModel) -> RaceVerdict:
    return small(tiny, slots=8, requests=4).verdict


def one_slot(tiny: LoadedModel) -> RaceVerdict:
    return small(tiny, slots=1, requests=3).verdict


def equal_lengths(tiny: LoadedModel) -> RaceVerdict:
    return small(tiny, slots=2, workload=work([6] * 8)).verdict


def one_token(tiny: LoadedModel) -> RaceVerdict:
    return verdict(*(schedule(p, work([1] * 6), slots=8) for p in ("static", "continuous")))


def idle_queue(tiny: LoadedModel) -> RaceVerdict:
    return small(tiny, slots=2, workload=work([3, 2, 4, 3], arrivals=[0, 10, 20, 30])).verdict


def own_prompts(tiny: LoadedModel) -> RaceVerdict:
    return small(tiny, slots=8, prompts=["Count to 7", "The capital of California?"]).verdict


def random_weights(tiny: LoadedModel) -> RaceVerdict:
    return verdict(*cbviz.recorded("llama-8b-32"))


def sixteen_bits(tiny: LoadedModel) -> RaceVerdict:
    return verdict(lane("static", dtype="bfloat16"), different(lane("continuous", dtype="bfloat16")), gap=0.0625)


def a_gap(tiny: LoadedModel) -> RaceVerdict:
    burst = [Request(i, (20,) * 8, max_new_tokens=30, output_length=24) for i in range(3)]
    burst += [Request(9, (20,) * 60, max_new_tokens=3, output_length=3, arrival=8)]
    made = Workload("burst", burst, arrival_unit="iterations")
    lanes = [schedule(policy, made, slots=4) for policy in (VllmV0(), TGI(), Sarathi(chunk_size=16))]
    return verdict(*lanes, compare="longest_gap")


class OrderOf:
    """Continuous batching of a fixed order."""

    summary = "admit in a given order"

    def __init__(self, order: Sequence[int], name: str = "reordered") -> None:
        self.order, self.name = list(order), name

    def plan(self, view: View) -> Plan:
        waiting = sorted(view.waiting, key=lambda request: self.order.index(request.id))
        return Plan(admit=waiting[: view.free_slots])


class Renamed:
    """Continuous batching under another name."""

    name, summary = "mine", "refill"

    def plan(self, view: View) -> Plan:
        return cbviz.Continuous().plan(view)


ONE_DECIDES = ([20, 5, 2, 3], [0, 3, 2, 1])
BY_CHANCE = ([3, 5, 4, 4], [3, 2, 1, 0])
EQUAL_WAITS = ([4, 4, 4, 5], [0, 2, 1, 3])


def reordered(lengths: Sequence[int], order: Sequence[int], compare: Any = "iterations") -> RaceVerdict:
    made = work(lengths)
    return verdict(*(schedule(OrderOf(o), made, slots=2) for o in (range(len(lengths)), order)), compare=compare)


def same_policy(tiny: LoadedModel) -> RaceVerdict:
    return small(tiny, ("static", "static"), slots=2, requests=6).verdict


def same_options(tiny: LoadedModel) -> RaceVerdict:
    made = work(LENGTHS)
    return verdict(*(schedule(Sarathi(chunk_size=size), made, slots=4) for size in (64, 256)))


def same_decisions(tiny: LoadedModel) -> RaceVerdict:
    made = work(LENGTHS)
    return verdict(*(schedule(p, made, slots=4, block_size=4, kv_blocks=12) for p in (cbviz.Continuous(), Renamed())))


def one_request_decides(tiny: LoadedModel) -> RaceVerdict:
    return reordered(*ONE_DECIDES)


def equal_by_chance(tiny: LoadedModel) -> RaceVerdict:
    return reordered(*BY_CHANCE)


def equal_waits(tiny: LoadedModel) -> RaceVerdict:
    return reordered(*EQUAL_WAITS, "ttft")


def equal_gaps(tiny: LoadedModel) -> RaceVerdict:
    made = work([6, 6])
    return verdict(*(schedule(cbviz.policies.get(p), made, slots=2) for p in ("static", "tgi")), compare="longest_gap")


def one_lane(tiny: LoadedModel) -> RaceVerdict:
    return small(tiny, ("static",), slots=2, requests=6).verdict


def one_run_in_seconds(tiny: LoadedModel) -> RaceVerdict:
    return verdict(lane("static", 0.187), lane("continuous", 0.189), compare="seconds")


def a_toy_in_seconds(tiny: LoadedModel) -> RaceVerdict:
    return verdict(lane("static", 0.001), lane("continuous", 0.001), compare="seconds")


def in_turns(tiny: LoadedModel) -> RaceVerdict:
    return verdict(lane("static", 0.187, clock="lane"), lane("continuous", 0.189, clock="lane"))


def first_token(tiny: LoadedModel) -> RaceVerdict:
    return small(tiny, slots=2, requests=6, compare="ttft").verdict


def stopped(tiny: LoadedModel) -> RaceVerdict:
    stopper = StopAfter()
    ran = small(tiny, slots=2, requests=6, progress=stopper, run=False)
    stopper.race = ran
    return ran.run().verdict


def ended_together(tiny: LoadedModel) -> RaceVerdict:
    return small(tiny, slots=2, workload=work([3, 3, 7, 7, 2])).verdict


def two_engines(tiny: LoadedModel) -> RaceVerdict:
    return verdict(*([trace] for trace in compared("engines-tiny")))


SITUATIONS: dict[str, tuple[Callable[[LoadedModel], RaceVerdict], tuple[str, ...]]] = {
    "two lanes that take seconds, three runs": (two_lanes, ("pair_iterations", "because_held", "ratio", "times")),
    "four lanes": (four_lanes, ("best_iterations", "behind_iterations", "ratio", "because_idle", "modelled")),
    "two of three lanes tie": (a_tie, ("best_iterations", "behind_iterations", "ratio_tied")),
    "all lanes run the same schedule": (same_schedule, ("every_iterations", "nothing_memory")),
    "a toy of a few iterations": (a_toy, ("pair_iterations", "because_held", "too_short")),
    "one run of each lane": (one_run, ("pair_iterations", "timed_once")),
    "runs that disagree about time": (unknown_direction, ("pair_iterations", "undecided")),
    "no more requests than slots": (enough_slots, ("every_iterations", "nothing_slots")),
    "every batch ends as a whole": (ended_together, ("every_iterations", "nothing_together")),
    "recorded runs of two engines with one rule": (two_engines, ("every_iterations", "nothing_engines")),
    "one slot": (one_slot, ("every_iterations", "nothing_one_slot")),
    "answers of equal length": (equal_lengths, ("every_iterations", "nothing_lengths")),
    "answers of one token, all with a slot at once": (one_token, ("every_iterations", "nothing_slots")),
    "a queue that is always empty": (idle_queue, ("every_iterations", "nothing_queue")),
    "two prompts of your own (the answers follow)": (own_prompts, ("every_iterations", "nothing_requests", "same")),
    "random weights in 16 bits": (random_weights, ("differ", "differ_random_half", "differ_see")),
    "real weights in 16 bits": (sixteen_bits, ("differ", "differ_half", "differ_gap", "differ_see")),
    "a lesson compares the longest gap": (a_gap, ("best_longest_gap", "behind_longest_gap", "iterations")),
    "a lesson compares the first token": (first_token, ("pair_ttft", "iterations")),
    "the same policy in every lane": (same_policy, ("every_iterations", "nothing_same_policy")),
    "one policy, with options that change nothing": (same_options, ("every_iterations", "nothing_options")),
    "policies that decide alike, with little memory": (same_decisions, ("every_iterations", "nothing_decided")),
    "other schedules, one request sets the length": (one_request_decides, ("every_iterations", "nothing_last")),
    "other schedules of the same length": (equal_by_chance, ("every_iterations", "nothing_even")),
    "other schedules, equal waits for a first token": (equal_waits, ("every_ttft", "iterations", "nothing_even_ttft")),
    "no answer pauses in any lane": (equal_gaps, ("every_longest_gap", "nothing_gap")),
    "one lane": (one_lane, ("best_iterations", "one_did", "because_held", "one_lane")),
    "a lesson compares seconds, one run of each lane": (one_run_in_seconds, ("pair_iterations", "seconds_once")),
    "a lesson compares seconds of a toy": (a_toy_in_seconds, ("pair_iterations", "seconds_short")),
    "no timed run (repeats=0)": (in_turns, ("pair_iterations", "timed_turns", "clock_lane")),
    "a run that was stopped": (stopped, ("stopped", "so_far")),
}
"""Situation → what makes it, and the keys of the sentences that the page shows for it."""


def static_beside_continuous(
    slots: int, lengths: Sequence[int], arrivals: Sequence[float] | None = None
) -> RaceVerdict:
    return verdict(*(schedule(name, work(lengths, arrivals), slots=slots) for name in ("static", "continuous")))


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "lengths", [[1] * 4, [5] * 4, [5] * 12, [3, 9, 2, 30], [4], [1], [4, 7], [1] * 12, [2, 2, 7, 7, 3, 3]], ids=str
)
def test_what_is_advised_makes_a_difference(slots: int, lengths: list[int]) -> None:
    """Advice that cannot help is none: after everything that it asks for, the lanes no longer tie."""
    said = static_beside_continuous(slots, lengths)
    if len(said.ranking) and said.ranking[-1].place > 1:
        return
    advice = str(said.beside)
    assert " Try " in advice, advice
    tried = [part for part in ("more requests", "more slots", "fewer slots", "different lengths") if part in advice]
    if "more requests" in tried:
        lengths = [20, *lengths * 12]
    if "more slots" in tried:
        slots = 3
    if number := re.search(r"fewer slots, such as (\d+)", advice):
        assert 2 <= int(number[1]) < slots
        slots = int(number[1])
    if "different lengths" in tried:
        lengths = [lengths[0] + 20, *lengths[1:]]
    again = static_beside_continuous(slots, lengths)
    assert again.ranking[-1].place > 1, (advice, slots, lengths, str(again))


def test_advice_never_names_what_is_already_so() -> None:
    two_slots = static_beside_continuous(2, [3, 9, 2], [0, 20, 40])
    assert str(two_slots.beside).endswith("Try arrivals closer together."), "fewer slots than two would be one"
    same = verdict(*(schedule("static", work([5] * 3), slots=8) for _ in range(2)))
    assert str(same.beside).endswith(
        "Try another policy in one of them, and fewer slots, such as 2, and answers of different lengths."
    )
    single = [schedule(policy, work([1] * 6), slots=2) for policy in ("static", "continuous")]
    assert str(verdict(*single, compare="longest_gap").beside).endswith("Try answers of more than one token.")


@pytest.mark.parametrize(("lengths", "order"), [ONE_DECIDES, BY_CHANCE, EQUAL_WAITS])
@pytest.mark.parametrize("compare", COMPARED)
def test_another_measure_is_advised_only_if_these_runs_differ_in_it(
    lengths: list[int], order: list[int], compare: Any
) -> None:
    said = reordered(lengths, order, compare)
    advised = re.search(r"Compare (.*) instead", str(said.beside))
    if not said.ranking or said.ranking[-1].place > 1:
        assert advised is None
        return
    if said.beside is not None and said.beside.key == "verdict.nothing_gap":
        return
    others = {name for name in ("iterations", "longest_gap", "ttft") if name != compare}
    telling = {name for name in others if reordered(lengths, order, name).ranking[-1].place > 1}
    assert set(advised[1].split(" or ") if advised else ()) == telling


def words(said: RaceVerdict, keys: tuple[str, ...], language: str) -> str:
    """The sentences with these keys, as the page's table shows them."""
    chosen = [line for line in said.sentences if line.key.removeprefix("verdict.") in keys]
    assert {line.key.removeprefix("verdict.") for line in chosen} == set(keys)
    return "<br>".join(line.in_language(language) for line in chosen)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_situation_gets_its_sentences_in_both_languages(situation: str, tiny: LoadedModel) -> None:
    make, keys = SITUATIONS[situation]
    said = make(tiny)
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text("utf-8").splitlines() if "<br>" in line]
    (row,) = [row for row in rows if row[0] == situation]
    _, english, named, chinese = row
    assert (english, chinese) == (words(said, keys, "en"), words(said, keys, "zh"))
    assert re.search(r"[\u4e00-\u9fff]", named), "the situation has a name in Chinese, too"
    for language, lines in (("en", english), ("zh", chinese)):
        page = reading(language)
        assert "\n".join(f"  {line}" for line in lines.split("<br>")) in page, "cbviz results has the whole table"


def test_the_page_shows_no_situation_that_nothing_makes() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if "<br>" in line]
    assert len(rows) == len(SITUATIONS)


def test_what_made_the_difference_is_counted_from_the_traces() -> None:
    static, continuous = lane("static"), lane("continuous")
    said = verdict(static, continuous)
    assert said.beside is not None
    assert said.beside.facts["count"] == f"{int(static.iterations.held_slots.sum()):,}"
    assert [(rank.policy, rank.place, rank.value) for rank in said.ranking] == [
        ("continuous", 1, 30),
        ("static", 2, 42),
    ]
    turned = verdict(continuous, static)
    assert str(turned.headline) == "30 → 42 iterations"
    assert turned.beside == said.beside


def test_a_gap_and_a_first_token_are_counted_in_iterations() -> None:
    toy = lane("continuous", lengths=[3, 6, 2, 3, 3, 2, 2])
    assert longest_gap(toy) == (1, 8), "iteration 3: two prompts of three tokens beside two decodes"
    waits = [given[0] - arrived + 1 for given, arrived in zip(toy.requests.token_iterations, [0] * 7, strict=True)]
    assert first_tokens(toy) == sum(waits) / 7
    nothing = replace(toy, requests=replace(toy.requests, token_iterations=((),) * 7))
    assert (longest_gap(nothing), first_tokens(nothing)) == ((0, 0), 0.0)


def test_seconds_can_be_compared_only_when_they_were_measured() -> None:
    quick = verdict(repeats("static", 0.5, 0.51, 0.5), repeats("continuous", 0.4, 0.41, 0.4), compare="seconds")
    assert str(quick.headline) == "21 → 12 s"
    assert [rank.place for rank in quick.ranking] == [1, 2]
    assert (quick.doubt, quick.speedup is not None and quick.speedup.count) == ("", 3)
    once = verdict(lane("static"), lane("continuous"), compare="seconds")
    assert (str(once.headline), once.ranking, once.doubt) == ("42 → 30 iterations", (), "timed_once")
    turns = verdict(lane("static", clock="lane"), lane("continuous", clock="lane"), compare="seconds")
    assert "no run had the device for itself" in str(turns)
    assert turns.doubt == "timed_in_turns"
    short = verdict(lane("static", 0.001), lane("continuous", 0.001), compare="seconds")
    assert (str(short.headline), short.ranking, short.doubt) == ("42 → 30 iterations", (), "too_short_to_time")
    assert not re.search(r"\d s\b", str(short))
    even = verdict(repeats("static", 0.3, 0.42, 0.33), repeats("continuous", 0.44, 0.48, 0.47), compare="seconds")
    assert str(even.headline) == "no difference in time"


def test_a_tie_has_a_reason_whatever_is_compared() -> None:
    for compare in COMPARED:
        for lanes in (
            (lane("static", 0.001), lane("static", 0.001)),
            (lane("continuous", lengths=[5] * 8), lane("static", lengths=[5] * 8)),
            tuple(schedule(p, work([30, 24, 9], [0, 0, 8]), slots=2) for p in (VllmV0(), TGI())),
        ):
            said = verdict(*lanes, compare=compare)
            if said.ranking and all(lane.place == 1 for lane in said.ranking):
                assert any(line.key.startswith("verdict.nothing") for line in said.sentences), (compare, str(said))


def test_a_policy_does_not_beat_itself_by_the_machine() -> None:
    said = verdict(repeats("static", 0.2, 0.201), repeats("static", 0.18, 0.181), compare="seconds")
    assert str(said.headline) == "8.4 → 7.6 s"
    assert said.lines[-2].key == "verdict.nothing_same_policy"
    assert said.lines[-1].key == "verdict.same"


def test_identical_lanes_are_never_said_to_differ_in_time() -> None:
    """However far apart the repeats are: the machine made the difference."""
    for seconds in ((0.2, 0.201), (0.2, 0.201, 0.2)):
        said = verdict(repeats("static", *seconds), repeats("static", *(1.3 * each for each in seconds)))
        assert "times as long" not in str(said)
        assert f"Median and range of {len(seconds)} runs: static #1 8.4 s" in str(said)
        assert "only the machine can make a difference in time" in str(said.beside)


def test_one_lane_says_what_it_did_and_a_race_how_to_add_another() -> None:
    alone = verdict(*[repeats("continuous", 0.187, 0.18, 0.19)], raced=True)
    assert str(alone.headline) == "continuous: 30 iterations"
    assert str(alone.beside) == "It answered 8 requests with 65 tokens; 65 of its 120 slots did useful work."
    assert "Median and range of 3 runs: continuous 5.6 s (5.4 to 5.7)" in str(alone)
    assert str(alone.lines[-1]).endswith("such as static.")
    assert "nothing to be compared" not in str(verdict(lane("continuous"))), "a recorded run has no policies to add"
    assert str(verdict(lane("continuous", 0.001))).endswith("The run is too short to time.")
    turns = verdict(lane("continuous", clock="lane"))
    assert "turns" not in str(turns), "one lane takes no turns"
    with pytest.raises(MeasureError, match="raced must be"):
        verdict(lane("continuous"), raced="yes")  # type: ignore[arg-type]


def test_an_outcome_takes_its_numbers_from_the_verdict(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["cbviz.measure.verdict"]  # the package's attribute of this name is the function
    ran = small(tiny, slots=2, requests=6)
    counts = []
    honest = module.same_answers
    monkeypatch.setattr(module, "same_answers", lambda *traces: counts.append(1) or honest(*traces))
    shown = ran.finish()
    assert (shown.identical, shown.compared, len(counts)) == (6, 6, 1)
    assert Outcome.of(*ran.traces).identical == 6
    assert len(counts) == 2


def test_a_race_gives_programs_no_ratio_that_it_cannot_show(tiny: LoadedModel) -> None:
    ran = small(tiny, slots=2, requests=6)

    def facts(*lanes: list[Trace]) -> dict[str, Any]:
        ran._runs[:], ran.repeats = list(lanes), len(lanes[0])
        return ran.to_json()

    toy = facts([lane("static", 0.001)], [lane("continuous", 0.001)])
    assert (toy["speedup"], toy["speedup_range"], toy["speedup_doubt"]) == (None, None, "too_short_to_time")
    assert {(one["seconds"], one["tokens_per_second"]) for one in toy["lanes"]} == {(None, None)}
    assert {one[row] for one in toy["table"].values() for row in ("seconds", "TTFT p50 (ms)")} == {None}
    once = facts([lane("static", 0.18765)], [lane("continuous", 0.1)])
    assert (once["speedup"], once["speedup_doubt"]) == (None, "timed_once")
    assert [one["seconds"] for one in once["lanes"]] == [7.9, 3.0]
    assert [one["seconds"] for one in once["table"].values()] == [7.9, 3.0]
    two = facts(repeats("static", 0.1, 0.2), repeats("continuous", 0.1, 0.1))
    for name, one in zip(("static", "continuous"), two["lanes"], strict=True):
        assert two["table"][name]["seconds"] == pytest.approx(one["seconds"], rel=0.05), "one median, of two digits"
    wild = facts(repeats("static", 0.12, 1.3), repeats("continuous", 0.1, 0.1))
    assert wild["speedup_doubt"] is None
    assert wild["speedup_range"] == pytest.approx([1.68, 18.2])
    assert "static took 1.68 to 18.2 times as long as continuous" in str(ran.verdict)
    assert "2 runs could show no difference" in str(ran.verdict), "two runs that disagree by ten times decide nothing"
    assert wild["identical_outputs"] is True
    assert wild["iteration_ratio"] == 1.4


def test_a_gap_of_nothing_is_called_a_tie() -> None:
    static, other = lane("static"), lane("continuous")
    tokens = [(*given[:-1], given[-1] + 1) for given in other.requests.tokens]
    other = replace(other, requests=replace(other.requests, tokens=tokens))
    assert "the two best logits are equal." in str(verdict(static, other, gap=0.0))
    assert "the two best logits are at most 0.0031 apart." in str(verdict(static, other, gap=0.0031))


def test_answers_of_other_weights_are_not_compared() -> None:
    def computed(name: str, weights: str | None, shift: int) -> Trace:
        made = lane(name)
        tokens = [(*given[:-1], given[-1] + shift) for given in made.requests.tokens]
        extra = {**made.meta.extra, **({} if weights is None else {"weights": weights})}
        meta = replace(made.meta, extra=extra)
        return replace(made, meta=meta, requests=replace(made.requests, tokens=tokens))

    ours, theirs = computed("static", None, 0), computed("continuous", "random ones of vLLM's own", 1)
    alone = verdict(ours, theirs)
    assert "With other weights, so that answers cannot be compared: continuous." in alone.sentences
    assert not any("answers" in line and "differ" in line for line in alone.sentences)
    assert not any("token by token" in line for line in alone.sentences)
    three = verdict(ours, computed("tgi", None, 0), theirs)
    assert f"All {len(ours.requests)} answers are the same, token by token." in three.sentences
    assert three.identical == three.answered == len(ours.requests)
    assert "With other weights, so that answers cannot be compared: continuous." in three.sentences
    assert not any(
        "other weights" in line for line in verdict(theirs, computed("tgi", "random ones of vLLM's own", 1)).sentences
    )


def test_runs_of_different_requests_are_not_compared() -> None:
    said = verdict(lane("static"), lane("continuous", lengths=[3, 9, 2]))
    assert said.headline is None
    assert said.sentences == ("The runs served different requests, so nothing is compared.",)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ((), {}, "at least one run"),
        (([],), {}, "at least one run"),
        (("run",), {}, "trace"),
        ((lane("static"),), {"compare": "speed"}, "compare must be"),
        ((lane("static"),), {"names": ["a", "b"]}, "one name for each"),
    ],
)
def test_nonsense_gets_one_sentence(given: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MeasureError, match=message):
        verdict(*given, **options)


def test_a_race_refuses_an_unknown_comparison(tiny: LoadedModel) -> None:
    with pytest.raises(CbvizError, match="compare must be"):
        small(tiny, compare="speed")


# ------------------------------------------------------------------ digits


def test_digits_follow_the_spread() -> None:
    assert Spread.of([2.16, 2.08, 2.18]).texts() == ("2.16", "2.08", "2.18"), "2.2 would lie outside"
    assert Spread.of([2.12, 2.08, 2.18]).texts() == ("2.1", "2.08", "2.18")
    assert Spread.of([2.1, 2.55, 2.6]).texts() == ("2.5", "2.1", "2.6")
    assert Spread.of([2.163, 2.162, 2.164]).texts() == ("2.16", "2.16", "2.16")
    assert decimals(740.0, 0.0) == 0
    assert [two_digits(value) for value in (7.85, 13.68, 0.0384, 1639, 99.7, 0)] == [
        "7.9", "14", "0.038", "1,600", "100", "0",
    ]  # fmt: skip


def test_a_direction_needs_repeats_that_agree() -> None:
    assert Spread.of([1.4, 1.42, 1.39]).decided
    assert Spread.of([0.7, 0.72, 0.71]).decided
    assert not Spread.of([0.97, 1.3, 1.2]).decided
    assert not Spread.of([1.08, 1.22]).decided, "two runs lie on one side half of the time"
    assert Spread.of([2.1, 2.5]).decided
    assert not Spread.of([1.02, 1.3, 1.2]).decided, "on one side, but scattered further than it is away"
    assert not Spread.of([1.001, 1.002, 1.003]).decided, "a thousandth is no difference"


SECONDS = st.floats(0.0005, 3.0)


@settings(deadline=None, max_examples=40)
@given(
    data=st.lists(st.lists(SECONDS, min_size=3, max_size=3), min_size=2, max_size=4),
    runs=st.integers(1, 3),
    compare=st.sampled_from(COMPARED),
    clock=st.sampled_from(["lane", "alone", "virtual"]),
    seed=st.integers(0, 10_000),
)
def test_no_result_says_more_than_it_knows(
    data: list[list[float]], runs: int, compare: Any, clock: str, seed: int
) -> None:
    lengths = random.Random(seed).choices(range(1, 30), k=8)
    policies = ("static", "continuous", "static", "continuous")
    lanes = [
        [lane(policy, seconds, lengths, clock=clock) for seconds in times[:runs]]
        for policy, times in zip(policies, data, strict=False)
    ]
    said = verdict(*lanes, compare=compare)
    timed = [line for line in said.sentences if re.search(r"\d s\b|times as long", str(line))]
    for line in map(str, said.sentences):
        assert not re.search(r"times (fewer|less)|fewer iterations|\bfaster\b|\bslower\b|nan|inf\b", line), line
    if not said.timed:
        assert not timed
        assert not re.search(r"\d 秒|倍。?$", said.in_language("zh").replace(_counted(said), ""))
    if runs == 1:
        assert all(len(digits) < 3 for line in timed for digits in _significant(str(line))), timed
        assert "times as long" not in str(said)
    assert said.ranking == () or said.ranking[0].place == 1
    assert {rank.policy for rank in said.ranking} in (set(), {*_names(len(lanes))})
    for language in languages():
        assert "{" not in said.in_language(language)


def _counted(said: RaceVerdict) -> str:
    """The sentence on the ratio of iterations, in Chinese: a ratio of counts may have its digits."""
    return next((line.in_language("zh") for line in said.sentences if line.key.startswith("verdict.ratio")), "\0")


def _names(count: int) -> list[str]:
    four = ["static #1", "continuous #1", "static #2", "continuous #2"]
    return {2: ["static", "continuous"], 3: ["static #1", "continuous", "static #2"]}.get(count, four)


def _significant(line: str) -> list[str]:
    """The significant digits of every number of seconds."""
    return [digits.replace(",", "").replace(".", "").strip("0") for digits in re.findall(r"([\d.,]+) s\b", line)]


# ------------------------------------------------------------------ where it is shown


def test_board_page_table_and_json_say_the_same(tiny: LoadedModel) -> None:
    ran = small(tiny, slots=2, requests=6, language="zh")
    said = ran.verdict
    words = [line.as_json() for line in said.sentences]
    shown = ran.finish().as_json()
    assert [shown["headline"], shown["beside"], *shown["lines"]] == words
    assert ran.to_json()["verdict"]["sentences"] == words
    assert all(line.in_language("zh") in repr(ran) for line in said.sentences)
    assert all(line.in_language("zh") in ran.kept()["text/html"] for line in said.sentences)
    assert all(line.in_language("zh") in ran.table().html() for line in said.sentences)
    assert said.in_language("zh") in str(ran.table())
    assert "迭代次数" in str(ran.table())
    assert "iterations" not in str(ran.table())


def test_a_board_of_recorded_runs_compares_what_a_lesson_chooses() -> None:
    board = Board(lane("static"), lane("continuous"), compare="ttft")
    assert board.summary is not None
    assert board.summary.as_json()["compare"] == "ttft"
    with pytest.raises(CbvizError, match="compare must be"):
        Board(lane("static"), lane("continuous"), compare="speed")  # type: ignore[arg-type]


def test_a_name_of_a_policy_is_text_everywhere() -> None:
    said = verdict(lane("<b>static</b>"[3:9]), lane("continuous"), names=["<img src=x>", "b"])
    table = RunTable({"<img src=x>": {}}, "en", 0, said)
    assert "<img" not in paragraphs(table.verdict, "en")
    assert "&lt;img src=x&gt;" in paragraphs(table.verdict, "en")


def test_answers_to_prompts_of_ones_own_are_shown(tiny: LoadedModel, tmp_path: Path) -> None:
    ran = small(tiny, slots=2, prompts=["Count to 7", "Repeat ab 2 times"])
    assert ran.shows_answers
    assert str(ran.answers) == "0  Count to 7\n   → 1 2 3 4 5 6 7\n1  Repeat ab 2 times\n   → ab ab"
    bundle = ran.kept()
    assert ran.workload.name == "your prompts"
    assert in_language(ran.workload.name, "zh") == "自己的提示词"
    assert "1 2 3 4 5 6 7</td>" in bundle["text/html"]
    assert str(ran.answers) in bundle["text/plain"]
    page = ran.to_html(tmp_path / "race.html").read_text("utf-8")
    assert "1 2 3 4 5 6 7</td>" in page.partition("</main>")[2].partition("<script")[0], "the page prints them, too"
    assert ran.to_json()["answers"][1] == {"request": 1, "prompt": "Repeat ab 2 times", "answers": ["ab ab"]}
    assert not small(tiny, slots=2, requests=2).shows_answers
    odd = small(tiny, slots=2, prompts=["Repeat ab 0 times", "Count to 2\n<b>now</b>"])
    assert "0  Repeat ab 0 times\n   → (empty answer)" in str(odd.answers)
    assert '<td dir="auto" style="text-align:start">(empty answer)</td>' in odd.answers.html()
    assert "Count to 2 &lt;b&gt;now&lt;/b&gt;" in odd.answers.html()
    assert odd.to_json()["answers"][0]["answers"] == [""]
    assert "→ （空回答）" in str(AnswerTable.of(odd.traces[:1], ["static"], "zh"))


class Breaks:
    """Continuous batching with a bug in iteration 5."""

    name, summary = "breaks", "raises in iteration 5"

    def plan(self, view: View) -> Plan:
        if view.iteration >= 5:
            raise ValueError("a bug")
        return cbviz.Continuous().plan(view)


@pytest.mark.parametrize("repeats", [0, 1])
def test_a_race_that_failed_says_so_wherever_it_is_shown(tiny: LoadedModel, repeats: int) -> None:
    """The lanes that ran before the error are not a result, and nothing asks for a lane that was there."""
    ran = race(tiny, ["static", Breaks()], slots=2, requests=6, repeats=repeats, live=False, run=False)
    with pytest.raises(CbvizError, match="a bug"):
        ran.run()
    assert repr(ran).startswith("<Race of static, breaks: 6 requests on 2 slots, failed>\nThe race failed, so nothing")
    assert "raised ValueError while planning iteration 5: a bug" in repr(ran)
    said = ran.verdict
    assert (said.headline, said.ranking, said.speedup, said.doubt) == (None, (), None, "failed")
    for text in (str(said), str(ran.table()), ran.kept()["text/plain"]):
        assert "a bug" in text
        assert "nothing to be compared with" not in text
    assert "竞赛因出错而结束" in said.in_language("zh")


def test_an_answer_that_has_not_begun_says_so(tiny: LoadedModel) -> None:
    stopper = StopAfter()
    ran = small(tiny, slots=1, prompts=["Count to 2", "Count to 3"], progress=stopper, run=False)
    stopper.race = ran
    ran.run()
    assert str(ran.answers).endswith("1  Count to 3\n   → (no answer yet)")
    assert ran.answers.to_json()[1]["answers"] == [None]


def test_answers_are_text_short_and_one_for_each_lane_where_they_differ() -> None:
    first, other = lane("static"), lane("continuous")
    prompts = ("<script>alert(1)</script>", "\x1b[31mred", *["p"] * 6)
    pieces = (("a" * 400,), *[("x",)] * 7)
    first = replace(first, requests=replace(first.requests, prompt=prompts, pieces=pieces))
    other = replace(other, requests=replace(other.requests, prompt=prompts, pieces=(("b",), *[("x",)] * 7)))
    table = AnswerTable.of([first, other], ["static", "continuous"], "zh")
    assert table.names == ("static", "continuous")
    assert "<script>" not in table.html()
    assert "&lt;script&gt;" in table.html()
    assert "\x1b" not in str(table) + table.html()
    assert "a" * 299 + "…" in str(table)
    assert "a" * 300 not in str(table)
    assert "<th>回答 (static)</th>" in table.html()
    many = AnswerTable(("static",), tuple((n, "p", ("a",)) for n in range(25)))
    assert str(many).endswith("… and 5 more")
    assert AnswerTable.of([first, first], ["a", "b"]).names == ("a",)


def test_an_outcome_without_a_verdict_is_still_a_result() -> None:
    assert "headline" not in Outcome(clock="lane").as_json()


@given(st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=7))
def test_a_median_lies_within_its_range_as_shown(values: list[float]) -> None:
    middle, low, high = (float(text.replace(",", "")) for text in Spread.of(values).texts())
    assert low <= middle <= high


@given(st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6)), min_size=1, max_size=7))
def test_a_ratio_is_that_of_the_medians_beside_it_and_within_its_range(pairs: list[tuple[float, float]]) -> None:
    over, under = zip(*pairs, strict=True)
    spread = Spread.quotient(over, under)
    assert spread.low <= spread.median <= spread.high
    assert spread.median == pytest.approx(median(over) / median(under))


def test_a_single_request_is_written_in_the_singular(tiny: LoadedModel) -> None:
    assert repr(small(tiny, slots=1, requests=1)).startswith("<Race of static, continuous: 1 request on 1 slot, ended>")


def test_a_race_that_was_not_started_says_so() -> None:
    made = cbviz.race("tiny", slots=4, requests=6, repeats=1, run=False, live=False)
    assert "not started" in repr(made)
    for ask in (made.table, made.to_json, lambda: made.verdict, lambda: made.lanes, lambda: made.speedup):
        with pytest.raises(CbvizError, match=r"^this race has not been started; call run\(\) or start\(\) first\.$"):
            ask()
    assert made._repr_mimebundle_() == {"text/plain": repr(made)}


def test_what_is_printed_is_in_the_language_of_the_race() -> None:
    made = cbviz.race("tiny", slots=4, requests=6, repeats=1, live=False, language="zh")
    assert made.verdict.in_language("zh") in repr(made)


@pytest.mark.parametrize("nonsense", ["de", None, 3, [], object(), np.arange(2)])
def test_a_language_and_a_gap_that_are_none_get_one_sentence(nonsense: Any) -> None:
    said = verdict(*cbviz.recorded("smollm2-8"))
    with pytest.raises(CbvizError, match="language must be 'en' or 'zh', not"):
        said.in_language(nonsense)
    with pytest.raises(CbvizError, match="language must be 'en' or 'zh', not"):
        said.sentences[0].in_language(nonsense)
    if nonsense is not None and type(nonsense) is not int:
        with pytest.raises(CbvizError, match="gap must be a"):
            verdict(*cbviz.recorded("smollm2-8"), gap=nonsense)


def test_accepted_drafts_are_why_a_lane_took_fewer_iterations() -> None:
    prompts = [f"Repeat {word} 15 times" for word in ("cat", "dog", "desk", "lamp", "tree", "boat", "star", "door")]
    result = race("tiny", ["continuous"] * 2, speculate=[0, 4], prompts=prompts, slots=4, repeats=0, live=False)
    accepted = int(result.lanes[1].trace.accepted.sum())
    said = f"{result.lanes[1].policy} got {accepted:,} tokens from drafts, without an iteration of their own."
    assert accepted > 0
    assert said in [str(line) for line in result.verdict.sentences]
