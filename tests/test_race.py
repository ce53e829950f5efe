"""The race, end to end on the built-in model: same answers, honest ratios, bad input, pause, stop, display."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

import cbviz
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.errors import CbvizError, ModelError, PolicyError, WorkloadError
from cbviz.events import FinishReason
from cbviz.models import LoadedModel, load
from cbviz.policies import Continuous, Plan, Static, View
from cbviz.run.answers import TokenDivergence, divergences, top_two_gap
from cbviz.run.race import Race, race
from cbviz.trace import Trace
from cbviz.workload import Request, Workload
from tests.clocks import HANGS, until


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu", progress=False)


@pytest.fixture(scope="module")
def small(tiny: LoadedModel) -> Race:
    return race(tiny, slots=4, requests=12, repeats=2, live=False)


class ShortestPromptFirst:
    name = "shortest prompt first"
    summary = "let the shortest prompts in first"

    def plan(self, view: View) -> Plan:
        by_length = sorted(view.waiting, key=lambda request: request.prompt_tokens)
        return Plan(admit=by_length[: view.free_slots])


def test_answers_are_right_and_the_same(small: Race) -> None:
    assert small.identical_outputs
    assert small.divergences == ()
    for trace in small.traces:
        for row, request in enumerate(small.workload):
            assert "".join(trace.requests.pieces[row]) == request.answer
            assert trace.requests.reason[row] == FinishReason.END


def test_ratios_are_those_of_the_traces(small: Race) -> None:
    static, refill = small.lanes
    assert small.iteration_ratio == len(static.trace.iterations) / len(refill.trace.iterations) > 1.2
    low, high = small.speedup_range
    assert low <= small.speedup <= high
    assert static.output_tokens == refill.output_tokens == sum(len(r.answer or "") + 1 for r in small.workload)
    assert small.clock == "alone"
    assert all(trace.meta.clock == "alone" and trace.meta.lag == 0 for trace in small.traces)
    finish = small.finish()
    assert finish.iteration_ratio == small.iteration_ratio
    assert (finish.speedup is None) == (small.verdict.doubt != "")
    assert (finish.identical, finish.compared) == (12, 12)


def test_json_has_every_key_and_survives_a_round_trip(small: Race) -> None:
    facts = json.loads(json.dumps(small.to_json(), allow_nan=False))
    assert list(facts) == [
        "model", "weights", "device", "notes", "logit_rules", "ignore_generation_config", "reference", "slots",
        "requests", "seed", "clock", "lag", "repeats", "lanes", "table", "iteration_ratio", "speedup", "speedup_range",
        "speedup_doubt", "identical_outputs", "divergences", "verdict",
    ]  # fmt: skip
    keys = ["policy", "iterations", "seconds", "output_tokens", "occupancy", "tokens_per_second"]
    assert [list(lane) for lane in facts["lanes"]] == [keys, keys]
    assert (facts["model"], facts["slots"], facts["requests"], facts["repeats"]) == ("tiny", 4, 12, 2)


def test_traces_and_page_can_be_kept(small: Race, tmp_path: Path) -> None:
    paths = small.save(tmp_path / "kept")
    assert [path.name for path in paths] == ["0-static.cbviz", "1-continuous.cbviz"]
    assert [Trace.load(path) for path in paths] == list(small.traces)
    page = small.to_html(tmp_path / "race.html")
    assert page.stat().st_size < 800_000
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    bundle = small._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert "second" not in bundle["text/plain"]


def test_a_notebook_shows_the_table_of_a_race(small: Race) -> None:
    table = small.table()
    shown = table._repr_mimebundle_()
    assert shown["text/plain"] == str(table)
    assert "<th>static</th><th>continuous</th>" in shown["text/html"]
    assert table.to_json() == small.to_json()["table"]


def test_a_policy_of_ones_own_races(tiny: LoadedModel) -> None:
    lanes = race(tiny, ("static", "continuous", ShortestPromptFirst()), slots=4, requests=12, repeats=1, live=False)
    assert [lane.policy for lane in lanes.lanes] == ["static", "continuous", "shortest prompt first"]
    assert lanes.identical_outputs


def test_a_policy_may_race_against_itself(tiny: LoadedModel) -> None:
    lanes = race(tiny, (Static(), Static(run_to=40)), slots=2, requests=4, repeats=1, live=False, max_new_tokens=20)
    assert [lane.policy for lane in lanes.lanes] == ["static #1", "static #2"]
    assert lanes.lanes[1].iterations == 80
    assert lanes.traces[1].meta.extra["run_to"] == 40


def test_prompts_of_ones_own(tiny: LoadedModel) -> None:
    asked = ["Count to 7", "The capital of California?", "Repeat ab 0 times"]
    mine = race(tiny, prompts=asked, slots=2, repeats=0, live=False)
    answers = ["".join(pieces) for pieces in mine.traces[-1].requests.pieces]
    assert answers == ["1 2 3 4 5 6 7", "Sacramento", ""]
    assert mine.traces[-1].requests.prompt == tuple(asked)
    assert mine.clock == "lane"


def test_turns_go_to_the_lane_whose_clock_is_behind(tiny: LoadedModel) -> None:
    lanes = race(tiny, slots=2, requests=6, repeats=0, live=False)
    assert all(trace.meta.clock == "lane" for trace in lanes.traces)
    assert lanes.speedup == lanes.traces[0].seconds / lanes.traces[1].seconds
    assert lanes.speedup_range == (lanes.speedup, lanes.speedup)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policies": ("static", "magic")}, "there is no policy 'magic'"),
        ({"policies": "static"}, "a list of 1 to 4 policies"),
        ({"policies": ()}, "1 to 4 policies"),
        ({"policies": ("static",) * 5}, "1 to 4 policies"),
        ({"slots": 0}, "slots must be a whole number of at least 1"),
        ({"slots": -2}, "slots must be a whole number of at least 1"),
        ({"requests": 0}, "requests must be a whole number of at least 1"),
        ({"repeats": -1}, "repeats must be a whole number of at least 0"),
        ({"block_size": 0}, "block_size must be a whole number of at least 1"),
        ({"kv_blocks": 2}, "the whole pool has 2"),
        ({"kv_tokens": 10}, "kv_tokens must be a whole number from 16, one KV block, to"),
        ({"kv_tokens": 10**40}, "kv_tokens must be a whole number from 16, one KV block, to"),
        ({"prompts": [" "]}, "a prompt must be a text that is not blank"),
        ({"prompts": "Count to 3"}, "prompts must be a list of at least one text"),
        ({"prompts": []}, "prompts must be a list of at least one text"),
        ({"prompts": ["Spell " + "x" * 400]}, "in a context of 384"),
        ({"prompts": ["a"], "workload": Workload("w", (Request(0, (5,), 3),))}, "a workload or prompts, not both"),
        (
            {"workload": Workload("w", (Request(0, (5,), 3),)), "requests": 9},
            "requests=9 is for requests that are drawn",
        ),
        (
            {"workload": Workload("w", (Request(0, (5,), 3),)), "max_new_tokens": 9},
            "max_new_tokens=9 is for requests that are drawn",
        ),
        (
            {"workload": Workload("w", (Request(0, (5,), 3),)), "seed": 9},
            "seed=9 is for requests that are drawn; workload has its own",
        ),
        ({"prompts": ["a"], "requests": 2}, "there is 1 prompt, fewer than the 2 requests that were asked for"),
        ({"dtype": "float16"}, "dtype='float16' cannot be had of a model that is loaded, with 'float32'"),
        ({"device": "cuda"}, "device='cuda' cannot be had of a model that is loaded, with 'cpu'"),
        ({"weights": "int8"}, "weights='int8' cannot be had of a model that is loaded"),
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"workload": Workload("w", (Request(0, (5,) * 300, 100),))}, "the context has 384"),
    ],
)
def test_nonsense_is_answered_in_a_sentence_before_anything_runs(
    tiny: LoadedModel, options: dict[str, object], message: str
) -> None:
    with pytest.raises(CbvizError, match=message):
        race(tiny, live=False, **options)  # type: ignore[arg-type]


def test_unknown_models_and_devices() -> None:
    with pytest.raises(CbvizError, match="tiny"):
        race("no-such-model", live=False)
    with pytest.raises(CbvizError, match="device"):
        race("tiny", device="quantum", live=False)


class Endless:
    name = "endless"
    summary = "never makes up its mind"
    planning = threading.Event()

    def plan(self, view: View) -> Plan:
        self.planning.set()
        while True:
            pass


def test_a_race_whose_policy_plans_without_end_can_be_stopped_and_says_whose_it_was(tiny: LoadedModel) -> None:
    lanes = race(tiny, [Endless(), "continuous"], requests=2, slots=1, live=True)
    assert Endless.planning.wait(HANGS)
    assert lanes.running
    lanes.stop()
    with pytest.raises(
        PolicyError, match=r"policy 'endless' was still planning iteration 0 after \d+ s and was broken"
    ):
        lanes.wait(timeout=HANGS)
    assert not lanes.running


def test_a_race_in_the_background_pauses_steps_and_stops(tiny: LoadedModel) -> None:
    def served(lanes: Race) -> int:
        return sum(counted)

    counted: list[int] = []
    lanes = Race(
        tiny, (Static(), Continuous()), race(tiny, requests=2, repeats=0, live=False).workload,
        slots=1, block_size=16, kv_blocks=None, repeats=0, progress=cbviz.run.progress.SilentProgress(),
        watched=True,
    )  # fmt: skip
    lanes.watch = lambda number, lane, event: counted.append(1)
    lanes.pause()
    lanes.start()
    time.sleep(0.3)
    assert served(lanes) == 0
    lanes.step_once()
    until(lambda: served(lanes) >= 1)
    time.sleep(0.2)
    assert served(lanes) == 1
    lanes.stop()
    lanes.wait(timeout=HANGS)
    assert lanes.stopped
    assert not lanes.identical_outputs
    assert sum(len(trace.iterations) for trace in lanes.traces) == 1
    assert lanes.finish().stopped


def test_a_live_race_takes_a_burst_and_a_cancellation_from_its_board(tiny: LoadedModel) -> None:
    pytest.importorskip("anywidget")
    lanes = race(tiny, slots=2, requests=6, live=True)
    board = lanes.board
    until(lambda: lanes._turns)
    board._message(board, {"type": "control", "action": "burst"}, [])
    board._message(board, {"type": "control", "action": "cancel", "request": 5}, [])
    lanes.wait(timeout=HANGS)
    assert len(lanes.requests) == 14
    for trace in lanes.traces:
        assert sorted(trace.requests.id.tolist()) == list(range(14))
        reasons = dict(zip(trace.requests.id.tolist(), trace.requests.reason.tolist(), strict=True))
        assert reasons.pop(5) == FinishReason.CANCELLED
        assert set(reasons.values()) <= {FinishReason.END, FinishReason.LENGTH}
    assert lanes.divergences == ()
    with pytest.raises(CbvizError, match="requests can join only while the lanes run"):
        lanes.submit(Request(99, (5,), 3))


def test_what_breaks_a_race_reaches_every_caller(tiny: LoadedModel) -> None:
    class Broken:
        name, summary = "broken", ""

        def plan(self, view: View) -> Plan:
            raise ValueError("oops")

    with pytest.raises(PolicyError, match="raised ValueError while planning iteration 0: oops"):
        race(tiny, ("static", Broken()), requests=3, slots=1, repeats=1, live=False)
    good = race(tiny, requests=3, slots=1, repeats=1, live=False)
    assert good.identical_outputs, "the model is usable afterwards"


def test_a_divergence_shows_the_gap_of_the_two_best_tokens(tiny: LoadedModel, small: Race) -> None:
    one = small.traces[0]
    tokens = list(one.requests.tokens)
    row = max(range(len(tokens)), key=lambda i: len(tokens[i]))
    changed = (*tokens[row][:3], 9, *tokens[row][4:])
    other = Trace(
        one.meta,
        type(one.requests)(
            **{
                name: getattr(one.requests, name) if name != "tokens" else (*tokens[:row], changed, *tokens[row + 1 :])
                for name in one.requests.__dataclass_fields__
            }
        ),
        one.iterations,
        one.spans,
        one.marks,
    )
    request = int(one.requests.id[row])
    found = divergences(tiny.model, small.requests, one, other)
    gap = top_two_gap(tiny.model, [*small.workload.by_id[request].prompt, *tokens[row][:3]])
    assert found == [TokenDivergence(request, 3, gap)]
    assert gap > 1, "tiny is sure of its answers"


def test_workloads_that_a_model_cannot_read(tiny: LoadedModel) -> None:
    random = load("random:smollm2-135m", device="cpu", progress=False)
    with pytest.raises(WorkloadError, match="no tokenizer"):
        race(random, prompts=["Hello"], live=False)
    beyond = Workload("beyond", (Request(0, (3, 64_000), 4),))
    with pytest.raises(WorkloadError, match="request 0 has the token 64,000 in its prompt, but the model knows 0 to"):
        race(tiny, workload=beyond, live=False)


def test_a_backend_is_chosen_by_name(tiny: LoadedModel) -> None:
    with pytest.raises(ModelError, match=r"^backend must be one of sdpa, graphs for this model on cpu, not 'cuda'\.$"):
        cbviz.race(tiny, requests=2, live=False, backend="cuda")
    tokens = []
    for backend, executor in (("sdpa", ModelExecutor), ("graphs", GraphExecutor)):
        raced = cbviz.race(tiny, ["continuous"], requests=4, slots=2, repeats=1, live=False, backend=backend)
        assert raced.backend == raced.config.backend == backend
        assert all(isinstance(each, executor) for each in raced.executors.values())
        tokens.append(raced.lanes[0].trace.requests.tokens)
    assert tokens[0] == tokens[1]
