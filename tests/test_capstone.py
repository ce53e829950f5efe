"""The graded task of notebook 11: nothing that the notebooks or the package show solves it, and it can be solved."""

from __future__ import annotations

import ast
import contextlib
import re
from typing import Any

import nbformat
import pytest
from normalise_notebooks import NOTEBOOKS

import cbviz
from cbviz import course
from cbviz.course import capstone
from cbviz.course.exercise import GRADED, check, exercises
from cbviz.errors import CbvizError
from cbviz.policies import (
    POLICIES,
    TGI,
    VTC,
    Continuous,
    Orca,
    Plan,
    Policy,
    RequestLevel,
    Sarathi,
    ShortestFirst,
    View,
    VllmV0,
    VllmV1,
    get,
)
from cbviz.workload import Request, Workload
from tests.capstone_solutions import Deadlines, OldestOverdue

HIDDEN = [1_000_003 * n**3 + 17 for n in range(1, 21)]
"""Twenty seeds that stand nowhere else."""

pytestmark = pytest.mark.usefixtures("course_afresh")


class ShortestAged:
    """Smallest limit first, less so the longer a request has waited, and memory reserved in full."""

    summary = "shortest first with ageing, and nothing else"

    def __init__(self, ageing: float) -> None:
        self.ageing = ageing
        self.name = f"shortest first, ageing {ageing:g}"

    def plan(self, view: View) -> Plan:
        slots, blocks, admit = view.free_slots, view.free_blocks, []
        for request in sorted(view.waiting, key=lambda r: r.max_new_tokens - self.ageing * (view.clock - r.arrival)):
            blocks -= view.blocks_for(request.most)
            if len(admit) == slots or blocks < 0:
                break
            admit.append(request.id)
        return Plan(admit=admit)


def shown_in_notebooks() -> dict[str, Any]:
    """Every class with a method `plan` in a code cell of any notebook, made as the notebook makes it."""
    found: dict[str, Any] = {}
    for path in sorted(NOTEBOOKS.rglob("en/*.ipynb")):
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        trees = [ast.parse(source) for source in cells]
        space: dict[str, Any] = {"cbviz": cbviz, "notes": []}
        classes = [
            node
            for tree in trees
            for node in tree.body
            if isinstance(node, ast.ClassDef)
            and any(isinstance(part, ast.FunctionDef) and part.name == "plan" for part in node.body)
        ]
        for node in classes:
            exec(ast.unparse(node), space)
            made = [
                call
                for tree in trees
                for call in ast.walk(tree)
                if isinstance(call, ast.Call) and ast.unparse(call.func) == node.name
            ]
            for number, call in enumerate(made or [ast.parse(f"{node.name}()", mode="eval").body]):
                with contextlib.suppress(NameError):  # made of the loop's variables, which stand in another call too
                    found[f"{path.name[:2]} {node.name} {number}"] = eval(ast.unparse(call), space)
        assert {key.split()[1] for key in found if key.startswith(path.name[:2])} == {node.name for node in classes}
    return found


def solution(name: str) -> Any:
    space: dict[str, Any] = {}
    exec(exercises()[name].solution, space)
    return space["answer"]


VARIANTS: dict[str, Policy] = {
    "tgi 0.3": TGI(0.3),
    "tgi 0": TGI(0.0),
    "tgi 3": TGI(3.0, 5),
    "orca maximum": Orca("maximum"),
    "orca power of two": Orca("power_of_two"),
    "request level": RequestLevel(window=12),
    "vllm_v0 0.1": VllmV0(watermark=0.1),
    "vllm_v1 64": VllmV1(max_num_batched_tokens=64),
    "vllm_v1 chunks": VllmV1(long_prefill_token_threshold=16, reserve_full_sequence=False),
    **{f"sarathi {size}": Sarathi(chunk_size=size) for size in (16, 64, 128)},
    **{f"shortest first {slo}": ShortestFirst(slo=slo) for slo in (20, 60, 100, 135, 170, 300)},
    "vtc inputs": VTC(output_weight=0),
    **{f"shortest aged {ageing}": ShortestAged(ageing) for ageing in (0, 0.3, 1, 3)},
}
"""What notebooks make of the built-in policies, and shortest first with ageing, which is not enough in tight memory."""
SHOWN = {
    **{name: get(name) for name in POLICIES},
    **VARIANTS,
    **shown_in_notebooks(),
    **{f"solution {name}": solution(name) for name in exercises() if name.startswith("11.")},
}


def test_the_notebooks_show_policies() -> None:
    assert {"00 InGroups 0", "05 EveryIteration 0", "11 Optimist 0", "11 SmallestFirst 0"} <= SHOWN.keys()


@pytest.mark.parametrize("name", SHOWN)
def test_nothing_that_is_shown_passes(name: str) -> None:
    grade = course.grade(SHOWN[name], seeds=HIDDEN[:1])
    assert not grade.passed, grade
    assert not any(game.passed for game in grade.games), grade


def test_an_oracle_of_lengths_that_serves_in_order_does_not_pass() -> None:
    for seed in HIDDEN[:1]:
        lengths = {request.id: request.output_length for request in capstone.requests(seed)}
        assert not course.grade(Orca("oracle", lengths=lengths), seeds=[seed]).passed


@pytest.mark.parametrize("policy", [OldestOverdue(), Deadlines()], ids=["overdue", "deadlines"])
def test_two_honest_solutions_pass_on_every_seed(policy: Policy) -> None:
    grade = course.grade(policy, seeds=HIDDEN)
    assert grade.passed, grade
    assert len(grade.games) == 20
    for game in grade.games:  # with room to spare
        assert game.waits.mean < 0.95 * game.mean_target
        assert game.waits.worst < 0.95 * game.worst_target


@pytest.mark.parametrize("name", [name for name in exercises() if name.startswith("11.")])
def test_no_class_of_the_notebooks_and_no_built_in_policy_solves_an_exercise(name: str) -> None:
    for key, policy in {**{name: get(name) for name in POLICIES}, **shown_in_notebooks()}.items():
        assert check(name, policy).right is False, f"{key} solves {name}"


def test_the_package_holds_no_solution() -> None:
    for ask in (lambda: course.solution(GRADED), lambda: check(GRADED, Continuous())):
        with pytest.raises(CbvizError, match=r"11\.capstone is the graded task: course\.grade\(policy\) judges it"):
            ask()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_grade_is_a_table_and_a_sentence(language: str) -> None:
    course.language(language)
    grade = course.grade("vllm_v1", seeds=[5, 6])
    lines = repr(grade).splitlines()
    assert len(lines) == 4
    assert re.match(r"(seed|种子) ", lines[0])
    assert lines[1].split()[0] == "5"
    assert lines[1].split()[-1] in ("no", "否")
    assert lines[3] == grade.sentence
    assert "<table" in grade._repr_mimebundle_()["text/html"]
    yard = capstone.yardstick(5)
    assert grade.games[0].waits == yard
    assert grade.games[0].mean_target == pytest.approx(0.9 * yard.mean)
    assert grade.games[0].worst_target == pytest.approx(1.5 * yard.worst)


def few(seed: int) -> list[Request]:
    return [Request(i, (1,) * 8, max_new_tokens=4 + seed, output_length=3) for i in range(20)]


def test_a_grader_brings_seeds_a_workload_and_shares() -> None:
    met: list[int] = []

    def workload(seed: int) -> Workload:
        met.append(seed)
        return Workload("mine", few(seed), arrival_unit="iterations")

    assert course.grade(Continuous(), seeds=(4, 9), workload=workload, mean=1, worst=1, kv_blocks=40).passed
    assert met == [4, 9]
    assert not course.grade(Continuous(), seeds=[4], workload=few, mean=0.01).passed


def test_a_wait_is_what_passes_without_a_token() -> None:
    """Three requests of two tokens, one slot's worth of memory: they wait 0, 2 and 4 iterations."""
    three = [Request(i, (1,) * 8, max_new_tokens=8, output_length=2) for i in range(3)]
    assert capstone.waits("continuous", three, kv_blocks=1) == capstone.Waits(mean=2.0, worst=4)


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        (Continuous, "Hand over an object with a name"),
        (3, "Hand over an object with a name"),
        ("fastest", "there is no policy 'fastest'"),
        (ShortestAged(float("nan")), None),
    ],
)
def test_what_is_no_policy_gets_one_sentence(policy: Any, sentence: str | None) -> None:
    grade = course.grade(policy, seeds=[1])
    assert grade.state == "wrong"
    if sentence is not None:
        assert sentence in repr(grade)
        assert len(repr(grade).splitlines()) == 1


class Broken:
    name = "broken"
    summary = "raises, or plans what is illegal"

    def __init__(self, plan: Any) -> None:
        self.answer = plan

    def plan(self, view: View) -> Any:
        return self.answer if self.answer != "raise" else 1 / 0


@pytest.mark.parametrize("plan", [None, Plan(), Plan(admit=[0, 0]), "raise"])
def test_what_the_engine_stops_gets_one_sentence(plan: Any) -> None:
    grade = course.grade(Broken(plan), seeds=[77])
    assert grade.state == "wrong"
    assert "Not yet: on seed 77 the engine stopped it: " in repr(grade)
    assert len(repr(grade).splitlines()) == 1
    assert len(repr(grade)) < 400


def test_an_endless_plan_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Continuous):
        def plan(self, view: View) -> Plan:
            while True:
                pass

    monkeypatch.setattr(capstone, "SECONDS_TO_JUDGE", 0.2)
    assert "does a loop of yours never end?" in repr(course.grade(Endless(), seeds=[1]))


@pytest.mark.parametrize("nothing", [..., None])
def test_what_is_not_written_is_not_wrong(nothing: Any) -> None:
    grade = course.grade(nothing)
    assert grade.state == "not answered"
    assert "Not graded yet" in repr(grade)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"seeds": 3}, "seeds must be a list of whole numbers, not 3"),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": [1.5]}, "a seed must be a whole number"),
        ({"seeds": [-1]}, "a seed must be a whole number"),
        ({"mean": 0}, "mean must be a finite number above 0"),
        ({"worst": float("nan")}, "worst must be a finite number"),
        ({"kv_blocks": 0}, "kv_blocks must be a whole number"),
        ({"kv_blocks": 1}, "but the context has 16"),
        ({"workload": 7}, "workload must be a function that takes a seed"),
        ({"workload": lambda seed: 7}, "must be a list of Request"),
        ({"workload": lambda seed: Workload("x", few(1))}, "must count iterations"),
        ({"workload": lambda seed: [Request(0, (1,), max_new_tokens=4)]}, "needs an output_length"),
    ],
)
def test_a_grader_s_mistake_gets_one_sentence(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CbvizError, match=re.escape(sentence)) as caught:
        course.grade(Continuous(), **asked)
    assert "\n" not in str(caught.value)
