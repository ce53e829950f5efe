"""A view is a value: it shows what was true for as long as it is kept, and leads to nothing that is hidden."""

from __future__ import annotations

import copy
import gc
import pickle
import random
from collections.abc import Callable, Iterator
from types import (
    BuiltinMethodType,
    CellType,
    ClassMethodDescriptorType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import pytest

import cbviz
from cbviz.core import Engine, NullExecutor, views
from cbviz.core.block_pool import BlockPool
from cbviz.core.request_state import RequestState
from cbviz.core.slots import Outputs, Slots
from cbviz.core.views import ViewMaker
from cbviz.errors import EngineError
from cbviz.measure.roofline_bound import Rates
from cbviz.models import LoadedModel, load
from cbviz.policies import Continuous, Plan, Policy, RequestView, View, VllmV0, VllmV1
from cbviz.run.bench import bench
from cbviz.run.race import race
from cbviz.run.schedule import schedule
from cbviz.run.why import why
from cbviz.trace import Trace
from cbviz.workload import Request, Workload
from tests.kv_oracle import OracleExecutor
from tests.schedulers import UNDER_TEST

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one ahead": {"lag": 1},
    "prefix cache": {"prefix_cache": True},
    "prefix cache, one ahead": {"prefix_cache": True, "lag": 1},
    "swapping": {"preemption": "swap"},
    "everything": {"prefix_cache": True, "preemption": "swap", "lag": 1},
}


def engine_of(policy: Policy, *, slots: int = 3, blocks: int = 14, **setting: Any) -> Engine:
    pool = BlockPool(blocks, 4, prefix_cache=setting.pop("prefix_cache", False))
    return Engine(OracleExecutor(slots, pool), policy, slots=slots, pool=pool, **setting)


def requests(number: int = 12) -> list[Request]:
    return [Request(i, (1 + i % 2,) * (3 + i % 4 * 3), 5 + i % 5, output_length=1 + i % 5) for i in range(number)]


def spelled(view: View) -> tuple[Any, ...]:
    """Everything that a view says, as plain values."""
    together = view.freed_together
    pairs = [(a.id, b.id) for a in view.running for b in view.running]
    return (
        *(view.iteration, view.now, view.clock, view.slots, view.free_slots, view.free_blocks, view.last_admission),
        *([tuple(request) for request in group] for group in (view.waiting, view.running, view.finished)),
        None if together is None else [together(pair) for pair in pairs],
        view.fitting(),
    )


class Keeping:
    """Plans as another policy does, and keeps its views. `looks` says whether it looks at them before it answers."""

    name, summary = "keeping", "keeps its views"

    def __init__(self, policy: Policy, looks: bool) -> None:
        self.policy, self.looks = policy, looks
        self.views: list[View] = []
        self.at_once: list[tuple[Any, ...]] = []

    def plan(self, view: View) -> Plan:
        if self.looks:
            self.at_once.append(spelled(view))
        self.views.append(view)
        return self.policy.plan(view)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "name", ["continuous", "static", "vllm_v0", "vllm_v1_rash", "vllm_v1_priority", "sarathi_tight"]
)
def test_a_view_that_is_kept_still_says_what_was_true(name: str, setting: str) -> None:
    """Of two equal runs one looks at every view at once, the other at the end: they see the same."""
    kept = []
    for looks in (True, False):
        keeping = Keeping(UNDER_TEST[name](), looks)
        engine = engine_of(keeping, **SETTINGS[setting])
        engine.submit(*requests())
        for step in range(400):
            if step == 3:
                engine.cancel(9)
            if step == 6:
                engine.executor.fails_at = "collect"  # type: ignore[attr-defined]
            try:
                if engine.step() is None:
                    break
            except EngineError:
                continue
        kept.append(keeping)
    first, second = kept
    assert len(first.views) > 8
    assert [spelled(view) for view in second.views] == first.at_once
    assert [spelled(view) for view in first.views] == first.at_once
    assert not views._makers, "nothing is left that could make more of a settled view"


def test_a_queue_that_is_kept_can_be_compared_with_the_next() -> None:
    class Slides:
        name, summary = "slides", "who is new?"
        old: Any = ()
        new: list[list[int]] = []  # noqa: RUF012

        def plan(self, view: View) -> Plan:
            old, self.old = self.old, view.waiting
            self.new.append([r.id for r in view.waiting if r.id not in {x.id for x in old}])
            return Plan(admit=view.fitting())

    engine = engine_of(Slides(), slots=2)
    engine.submit(*(Request(i, (5,) * 4, 6, arrival=float(i)) for i in range(6)))
    assert len(list(engine.run()))
    assert sorted(request for new in Slides.new for request in new) == list(range(6))


def test_views_are_read_only_sequences() -> None:
    seen: list[View] = []

    class Looking:
        name, summary = "looking", "looks"

        def plan(self, view: View) -> Plan:
            seen.append(view)
            queue = view.waiting
            assert queue == list(queue) == queue[:]
            assert queue == tuple(queue)
            assert queue != queue[1:]
            assert queue[-1] == queue[len(queue) - 1]
            assert queue[::-2] == list(queue)[::-2]
            assert list(reversed(queue)) == list(queue)[::-1]
            assert queue[0] in queue
            assert queue.index(queue[0]) == 0
            assert copy.copy(queue) is copy.deepcopy(queue) is queue
            assert pickle.loads(pickle.dumps(queue)) == tuple(queue)
            assert {queue: 1}[queue] == 1
            assert repr(queue) == repr(list(queue))
            for change in (
                lambda: queue.clear(),  # type: ignore[attr-defined]
                lambda: queue.sort(),  # type: ignore[attr-defined]
                lambda: queue.__setitem__(0, None),  # type: ignore[attr-defined]
                lambda: setattr(queue, "_all", ()),
                lambda: delattr(queue, "_all"),
                lambda: setattr(queue, "more", 1),
                lambda: setattr(queue[0], "id", 7),
                lambda: setattr(view, "waiting", ()),
            ):
                with pytest.raises(AttributeError):
                    change()
            for place in (len(queue), -len(queue) - 1):
                with pytest.raises(IndexError, match="there are 12 requests here; there is no number"):
                    queue[place]
            return Plan(admit=view.fitting())

    engine = engine_of(Looking())
    engine.submit(*requests())
    engine.step()
    assert copy.deepcopy(seen[0]) == seen[0]


def test_a_long_queue_costs_only_what_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    honest = ViewMaker._queued
    monkeypatch.setattr(ViewMaker, "_queued", lambda self, live, users: made.append(1) or honest(self, live, users))
    engine = Engine(NullExecutor(64), Continuous(), slots=4, pool=BlockPool(4000, 4))
    engine.submit(*(Request(i, (1,) * 4, 8) for i in range(10_000)))
    for _ in range(20):
        engine.step()
    assert len(made) < 20 * 8
    keeping = Keeping(Continuous(), looks=False)
    engine.policy = keeping
    made.clear()
    engine.step()
    assert len(made) == len(keeping.views[0].waiting) > 9_900, "one that is kept is finished"


def test_blocks_that_come_free_together_are_counted_as_the_pool_does() -> None:
    """Against the pool's own count, while it still is as the view saw it."""
    checked = 0
    for seed in range(6):
        rng = random.Random(seed)

        class Counting:
            name, summary = "counting", "counts blocks"

            def plan(self, view: View) -> Plan:
                nonlocal checked
                leaving = [r.id for r in view.finished]
                for size in range(len(view.running) + 1):
                    some = [r.id for r in rng.sample(list(view.running), size)]  # noqa: B023
                    assert view.freed_together is not None
                    expected = engine.pool.frees([*leaving, *some]) - engine.pool.frees(leaving)  # noqa: B023
                    assert view.freed_together(some) == expected
                    checked += expected > 0
                return VllmV1(5, reserve_full_sequence=False).plan(view)

        engine = engine_of(Counting(), prefix_cache=True)
        assert len(list(engine.run(requests())))
    assert checked > 100


# ------------------------------------------------------------------ what can be reached

SECRETS = (Request, Workload, Trace, Engine, RequestState, Slots, Outputs, ViewMaker, BlockPool)
DEPTH = 8
PLAIN = (int, float, str, bytes, bool, type(None), ModuleType)
IN_C = (
    *(BuiltinMethodType, MethodWrapperType, WrapperDescriptorType, MethodDescriptorType, GetSetDescriptorType),
    *(MemberDescriptorType, ClassMethodDescriptorType),
)


def reachable(start: object) -> Iterator[tuple[str, object]]:
    """Everything that attributes, items, slots, `__self__`, closures and frames of generators lead to, 8 steps deep."""
    seen = {id(start)}
    keep: list[object] = [start]
    layer: list[tuple[str, object]] = [("view", start)]
    for _ in range(DEPTH):
        beyond = []
        for path, thing in layer:
            for step, part in _steps(thing):
                if isinstance(part, PLAIN) or id(part) in seen:
                    continue
                seen.add(id(part))
                keep.append(part)
                beyond.append((path + step, part))
        yield from beyond
        layer = beyond


def _steps(thing: object) -> Iterator[tuple[str, object]]:
    if isinstance(thing, dict):
        yield from ((f"[{key!r}]", part) for pair in thing.items() for key, part in zip(pair, pair, strict=True))
    elif isinstance(thing, list | tuple | set | frozenset | views.RequestViews):
        yield from ((f"[{n}]", part) for n, part in enumerate(thing))
    if isinstance(thing, IN_C):
        yield ".__self__", getattr(thing, "__self__", None)
        return
    if isinstance(thing, CellType):
        yield ".cell_contents", thing.cell_contents
        return
    if isinstance(thing, GeneratorType):
        yield from thing.gi_frame.f_locals.items() if thing.gi_frame else ()
    if isinstance(thing, FunctionType):
        names = ["__closure__", "__wrapped__", "__defaults__", "__kwdefaults__", "__dict__"]
    elif isinstance(thing, type):
        names = ["__dict__"] if thing.__module__.startswith("cbviz") else []
    elif isinstance(thing, MethodType):
        names = ["__self__", "__func__", "__wrapped__"]
    else:
        names = [*dir(thing), "__dict__", "__slots__", "__self__", "__closure__", "__wrapped__"]
    for name in names:
        try:
            part = getattr(thing, name)
        except Exception:
            continue
        # A method in C is made anew whenever it is looked up; only what it belongs to matters.
        yield f".{name}", getattr(part, "__self__", None) if isinstance(part, IN_C) else part


class Walking:
    """Plans as another policy does, after a walk through its view, and through one that it kept."""

    name, summary = "walking", "looks for what it must not know"

    def __init__(self, policy: Policy | None = None, every: int = 3) -> None:
        self.policy: Policy = policy or VllmV0()
        self.every = every
        self.kept: View | None = None
        self.walked = 0
        self.found = 0

    def plan(self, view: View) -> Plan:
        if view.iteration % self.every == 0 and self.walked < 12:
            for start in (view, self.kept):
                if start is None:
                    continue
                things = list(reachable(start))
                bad = [path for path, thing in things if isinstance(thing, SECRETS) or hasattr(thing, "output_length")]
                assert not bad, bad
                self.found += sum(isinstance(thing, RequestView) for _, thing in things)
                self.walked += 1
            self.kept = view
        return self.policy.plan(view)


def test_the_walker_finds_what_is_there() -> None:
    class Leaking:
        def __init__(self, request: Request) -> None:
            self.ways: list[Any] = [
                [lambda: request],
                (request for request in [request]),
                {"a": [RequestState(request, 0).declared, MethodType(repr, request)]},
                type("Slotted", (), {"__slots__": ("inner",)})(),
            ]
            self.ways[3].inner = {1: (request,)}

    for way in Leaking(Request(0, (1,), 2)).ways:
        if isinstance(way, GeneratorType):
            next(way)
        assert any(isinstance(thing, Request) for _, thing in reachable(way)), way


@pytest.mark.parametrize("setting", SETTINGS)
def test_nothing_hidden_can_be_reached_from_a_view(setting: str) -> None:
    walking = Walking()
    engine = engine_of(walking, **SETTINGS[setting])
    assert len(list(engine.run(requests())))
    assert walking.walked > 3
    assert walking.found > 20


def test_nothing_hidden_can_be_reached_in_a_race_a_benchmark_a_playground_a_schedule_or_why() -> None:
    tiny: LoadedModel = load("tiny")
    ran = race(tiny, [Walking(every=4)], slots=3, requests=5, repeats=1, max_new_tokens=6, live=False)
    assert ran.lanes[0].policy_object.walked > 0  # type: ignore[attr-defined]
    bench(tiny, Walking(every=4), requests=5, slots=3, repeats=1, rates=Rates(1e11, 1e12), prefix_cache=True)
    played = cbviz.play(
        tiny, Walking(Continuous()), policies=["static"], rate=90, mean=4, iterations=12, pace=240, live=False
    )
    assert played._lanes[-1].policy.policy.walked > 0  # type: ignore[attr-defined]
    trace = schedule(
        Walking(), Workload("w", tuple(requests())), slots=3, block_size=4, kv_blocks=14, prefix_cache=True
    )
    prompts = {request.id: request.prompt for request in requests()}
    assert why(trace, None, 3, policy=Walking(every=1), prompts=prompts).lanes


def test_nothing_is_left_behind_by_views() -> None:
    before = len(views._makers)
    raising: Callable[[View], Plan] = lambda view: {}[len(view.waiting)]  # noqa: E731
    policy = type("Raising", (), {"name": "raising", "summary": "", "plan": staticmethod(raising)})()
    engine = engine_of(policy)
    engine.submit(*requests())
    for _ in range(3):
        with pytest.raises(cbviz.CbvizError):
            engine.step()
    gc.collect()
    assert len(views._makers) == before
