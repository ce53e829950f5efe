"""After a race the page says what Python says of the same work: the same keys, the same facts, in the same order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from cbviz.measure.lane_times import two_digits
from cbviz.measure.rounding import fixed
from cbviz.measure.time_sentences import ratio_text
from cbviz.measure.verdict import verdict
from cbviz.messages import as_json
from cbviz.trace import Trace
from cbviz.trace.recorder import Recorder
from tests.fake_runs import meta
from tests.page import in_node
from tests.page_schedules import AMPLE, BLOCK_SIZE, BUDGETS, TIGHT, Case, answers, events, workload
from tools.page_data import facts


@dataclass(frozen=True)
class Race:
    """Some lanes of one workload; `tick` is how many seconds an iteration takes."""

    lanes: tuple[str, ...]
    slots: int
    requests: int
    seed: int = 0
    blocks: int = AMPLE
    tick: float = 1.0
    changed: bool = False
    """Whether the second lane gets another last token in its first request, so that the answers differ."""

    def names(self) -> tuple[str, ...]:
        same = [self.lanes[: i + 1].count(name) for i, name in enumerate(self.lanes)]
        return tuple(
            name if self.lanes.count(name) == 1 else f"{name} #{n}" for name, n in zip(self.lanes, same, strict=True)
        )


RACES = [
    Race(("static", "continuous"), 8, 24),
    Race(("continuous", "static"), 3, 16, seed=1),
    Race(("static", "continuous", "orca"), 3, 16, seed=1),
    Race(("static", "continuous", "sarathi"), 4, 16, seed=2, blocks=TIGHT),
    Race(("vllm_v1", "continuous", "wild"), 4, 12, seed=3, blocks=TIGHT),
    Race(("wild", "vllm_v1"), 4, 12, seed=3, blocks=TIGHT),
    Race(("continuous", "orca"), 4, 16, seed=2),
    Race(("continuous", "orca"), 4, 16, seed=2, blocks=TIGHT),
    Race(("continuous", "continuous"), 8, 16),
    Race(("static", "continuous"), 1, 6, seed=3),
    Race(("static", "continuous"), 16, 12, seed=2),
    Race(("static", "continuous"), 3, 2),
    Race(("static", "continuous"), 8, 1),
    Race(("static",), 3, 6),
    Race(("static", "continuous"), 8, 24, tick=0.001),
    Race(("static", "continuous"), 8, 24, tick=0.0),
    Race(("static", "continuous", "orca"), 8, 24, tick=0.0137),
    Race(("static", "continuous"), 8, 24, tick=11.3),
    Race(("static", "continuous"), 8, 24, changed=True),
]
ENOUGH_KEYS = 18
"""Lines of the catalogue that the races bring about, at least."""


def trace(race: Race, lane: int) -> Trace:
    """What Python's engine does in a lane, with the page's clock, as a trace."""
    asked, name = workload(race.requests, race.seed), race.lanes[lane]
    case = Case(name, race.slots, race.blocks, race.requests, race.seed, BUDGETS.get(name, {}))
    given = {"policy": name, "total_blocks": race.blocks, "block_size": BLOCK_SIZE, "clock": "lane", "dtype": "float32"}
    recorder = Recorder(replace(meta(race.slots), **given), tuple(asked))
    for event in events(case):
        recorder.add(replace(event, t_start=event.index * race.tick, t_end=(event.index + 1) * race.tick))
    made = recorder.trace(pieces=lambda tokens: [f"t{token}" for token in tokens])
    if not (race.changed and lane == 1):
        return made
    tokens = list(made.requests.tokens)
    tokens[0] = (*tokens[0][:-1], 5)
    return replace(made, requests=replace(made.requests, tokens=tokens))


@pytest.fixture(scope="module")
def ours() -> Any:
    races = [
        {
            "lanes": [
                [name, BUDGETS.get(name, {}), called] for name, called in zip(race.lanes, race.names(), strict=True)
            ],
            **{name: getattr(race, name) for name in ("slots", "requests", "seed", "blocks", "tick", "changed")},
        }
        for race in RACES
    ]
    known = {
        f"{requests} {seed}": [[list(prompt), answer] for prompt, answer in answers(requests, seed).items()]
        for requests, seed in {(race.requests, race.seed) for race in RACES}
    }
    return in_node("verdict.mjs", {"facts": facts(), "races": races, "answers": known})


LESS_MEMORY = ["page.choice", {"knob": ["page.memory", {}], "value": ["page.tight", {}]}]


def as_on_the_page(text: Any) -> Any:
    """A line as the page says it: its own control in place of an argument, and nothing about what it cannot compare."""
    if not isinstance(text, list):
        return text
    key, facts = text
    if key == "verdict.try_compare":
        return ["verdict.try", {"what": ["verdict.try_others", {}]}]
    return [key, {name: LESS_MEMORY if name == "kv_tokens" else as_on_the_page(fact) for name, fact in facts.items()}]


def theirs(race: Race) -> Any:
    found = verdict(*(trace(race, lane) for lane in range(len(race.lanes))), names=race.names())
    return {
        "headline": as_on_the_page(as_json(found.headline)) if found.headline is not None else None,
        "beside": as_on_the_page(as_json(found.beside)) if found.beside is not None else None,
        "lines": [as_on_the_page(as_json(line)) for line in found.lines],
        "timed": found.timed,
    }


@pytest.mark.parametrize("place", range(len(RACES)), ids=map(str, RACES))
def test_the_page_says_what_python_says(ours: Any, place: int) -> None:
    assert ours["verdicts"][place] == theirs(RACES[place])


def test_the_races_bring_about_many_different_sentences(ours: Any) -> None:
    keys = {
        text[0]
        for said in ours["verdicts"]
        for text in (said["headline"], said["beside"], *said["lines"])
        if text is not None
    }
    assert len(keys) >= ENOUGH_KEYS, sorted(keys)


def test_numbers_are_rounded_as_python_rounds_them(ours: Any) -> None:
    values = (2.125, 2.375, 2.625, 0.5, 1.005, 17.0, 0.0)
    assert ours["fixed"] == [[fixed(value, 2), two_digits(value), ratio_text(value)] for value in values]
