"""Whatever a policy writes into its plan: it is taken as plain Python, or refused with the field and what is allowed.

Every wrong plan is tried in five engines. After it nothing has changed: another policy goes on, every request is
answered right, and no block is lost. Nothing that a policy made reaches an event or a trace.
"""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from cbviz.checks import as_float, as_int
from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.errors import PolicyError
from cbviz.events import NO_REQUEST, Iteration
from cbviz.policies import Admit, Continuous, Plan, View, get
from cbviz.policies.values import said, shown, text
from cbviz.trace import Recorder, TraceMeta, load
from cbviz.view import player
from cbviz.workload.request import Request
from tests.kv_oracle import OracleExecutor, answer

Rule = Callable[[Any], Any]
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one ahead": {"lag": 1},
    "prefix cache": {"prefix_cache": True},
    "swapping": {"preemption": "swap"},
    "iterations": {"arrival_unit": "iterations"},
}
SERVED = ""
"""Instead of a message: the plan is legal, and the work gets done under it."""


class Script:
    """A policy from a function."""

    summary = "as the test says"

    def __init__(self, rule: Rule, name: str = "script") -> None:
        self.rule = rule
        self.name = name

    def plan(self, view: View) -> Plan:
        return self.rule(view)  # type: ignore[no-any-return]


def admits(make: Callable[[int], Any]) -> Rule:
    """Admits what fits, each by `make(id)`."""
    return lambda view: Plan(admit=[make(request) for request in view.fitting()])


def beside(**fields: Callable[[View], Any]) -> Rule:
    """Admits what fits, with other fields of the plan beside it."""
    return lambda view: Plan(admit=view.fitting(), **{name: make(view) for name, make in fields.items()})


def now_and_then(**fields: Callable[[View], Any]) -> Rule:
    """The same, but those fields only in every other iteration in which several run, and then none is admitted."""

    def rule(view: View) -> Plan:
        if view.iteration % 2 and len(view.running) > 1:
            return Plan(**{name: make(view) for name, make in fields.items()})
        return Plan(admit=view.fitting())

    return rule


def once(field: str, value: Any) -> Rule:
    """Waits at first, then goes on as usual."""
    return lambda view: Plan(**{field: value}) if view.clock == 0 else Plan(admit=view.fitting())


def throws(error: BaseException) -> Rule:
    def rule(view: View) -> NoReturn:
        raise error

    return rule


class Loud:
    """Raises whatever is done to it."""

    def _no(self, *_: object) -> NoReturn:
        raise ValueError("leave me alone")

    __repr__ = __str__ = __eq__ = __hash__ = __iter__ = __len__ = __index__ = __float__ = __bool__ = _no  # type: ignore[assignment]


class Text(str):
    """A string that says something else when asked."""

    def __str__(self) -> str:
        return "changed"


Priority = IntEnum("Priority", {f"REQUEST_{n}": n for n in range(10)})  # type: ignore[misc]


class Fickle(Plan):
    """A plan that cannot be read."""

    hold = ()

    def __init__(self) -> None:
        pass

    @property
    def admit(self) -> NoReturn:  # type: ignore[override]
        raise KeyError("no admissions today")


class Mute(Mapping[int, str]):
    """A mapping that has entries and does not give them."""

    def __getitem__(self, key: int) -> str:
        return ""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[int]:
        raise OSError("the disk is gone")


async def coroutine(view: View) -> Plan:
    return Plan()


def smallest(view: View, number: int) -> list[Admit]:
    """The smallest requests, each with room for its prompt only."""
    return [Admit(r.id, reserve=r.lacks) for r in sorted(view.waiting, key=lambda r: r.most)[:number]]


NO_TEXT = "a reason is text"
NO_IDS = "it must list request ids or Admit entries"
BY_ID = "it must name a request by its id"
BY_IDS = "it must name requests by their ids"
TO_REASONS = "must map request ids to reasons, not be"
RULES: dict[str, tuple[Rule, str]] = {
    # whom to admit
    "admit None": (lambda view: Plan(admit=None), "admit must be a list of requests, not NoneType"),
    "admit a number": (lambda view: Plan(admit=3), r"admit must be a list of requests, not int \(3\)"),
    "admit one view": (
        lambda view: Plan(admit=view.waiting[0]),
        r"not RequestView \(the view of request 0\); write it in",
    ),
    "admit one Admit": (lambda view: Plan(admit=Admit(0)), "must be a list of requests, not Admit"),
    "admit text": (lambda view: Plan(admit="all"), r"admit must be a list of requests, not str \('all'\)"),
    "admit bytes": (lambda view: Plan(admit=b"\0"), "admit must be a list of requests, not bytes"),
    "admit int64": (admits(np.int64), SERVED),
    "admit uint8": (admits(np.uint8), SERVED),
    "admit scalars of numpy": (admits(np.array), SERVED),
    "admit tensors": (admits(torch.tensor), SERVED),
    "admit an array": (lambda view: Plan(admit=np.array(view.fitting(), np.int32)), SERVED),
    "admit a tensor": (lambda view: Plan(admit=torch.tensor(view.fitting(), dtype=torch.int64)), SERVED),
    "admit a scalar array": (lambda view: Plan(admit=np.array(3)), "admit must be a list of requests, not ndarray"),
    "admit rows": (lambda view: Plan(admit=np.array([[0, 1]])), NO_IDS),
    "admit floats": (admits(float), "admit lists 0.0; " + NO_IDS),
    "admit floats of numpy": (admits(np.float64), NO_IDS),
    "admit truth": (lambda view: Plan(admit=[True]), "admit lists True; " + NO_IDS),
    "admit truth of numpy": (lambda view: Plan(admit=[np.True_]), NO_IDS),
    "admit truth of torch": (lambda view: Plan(admit=[torch.tensor(True)]), NO_IDS),
    "admit an enum": (lambda view: Plan(admit=[Priority(r) for r in view.fitting()[:1]]), SERVED),
    "admit a generator": (lambda view: Plan(admit=(request for request in view.fitting())), SERVED),
    "admit a raising generator": (
        lambda view: Plan(admit=(1 // 0 for _ in [1])),
        "admit cannot be read: it raised ZeroDivisionError: integer division or modulo by zero",
    ),
    "admit without an end": (lambda view: Plan(admit=itertools.repeat(0)), "admit has more than 100,000 entries"),
    "admit a set": (lambda view: Plan(admit=set(view.fitting())), SERVED),
    "admit a dict": (lambda view: Plan(admit=dict.fromkeys(view.fitting(), "why")), SERVED),
    "admit twice": (lambda view: Plan(admit=[view.waiting[0].id] * 2), "request 0 is admitted twice"),
    "admit the queue": (
        lambda view: Plan(admit=view.waiting),
        "10 requests are admitted but only 3 slots are free",
    ),
    "admit a runner": (
        lambda view: Plan(admit=[*view.fitting(), *(r.id for r in view.running)]),
        r"request \d is admitted but does not wait",
    ),
    "admit a negative": (lambda view: Plan(admit=[-1]), "request -1 is admitted but does not wait"),
    "admit a huge id": (lambda view: Plan(admit=[2**70]), "is admitted but does not wait"),
    "admit 5,000 digits": (
        lambda view: Plan(admit=[10**5000]),
        "request a whole number of about 5,001 digits is admit",
    ),
    "admit something loud": (
        lambda view: Plan(admit=[Loud()]),
        f"admit lists <Loud instance at .*>; {NO_IDS}",
    ),
    "admit a loud list": (
        lambda view: Plan(admit=Loud()),
        "admit cannot be read: it raised ValueError: leave me alone",
    ),
    "admit a megabyte": (lambda view: Plan(admit=["x" * 10**6]), r"admit lists 'x+\.\.\.x+'; "),
    # Admit entries
    "Admit of a view": (lambda view: Plan(admit=[Admit(view.waiting[0])]), "the view of request 0; .*; write its id"),
    "Admit of text": (lambda view: Plan(admit=[Admit("x")]), f"an Admit names 'x'; {BY_ID}"),
    "Admits of two kinds": (lambda view: Plan(admit=[Admit("x"), Admit(10**6)]), f"an Admit names 'x'; {BY_ID}"),
    "Admit of a list": (lambda view: Plan(admit=[Admit([1])]), BY_ID),
    "Admit of None": (lambda view: Plan(admit=[Admit(None)]), f"an Admit names None; {BY_ID}"),
    "Admit of int64": (admits(lambda request: Admit(np.int64(request))), SERVED),
    "Admit of a float": (admits(lambda request: Admit(float(request))), f"an Admit names 0.0; {BY_ID}"),
    "Admit of truth": (admits(lambda request: Admit(bool(request))), f"an Admit names False; {BY_ID}"),
    "reserve int64": (
        lambda view: Plan(admit=[Admit(r, reserve=np.int64(16)) for r in view.fitting()[:1]]),
        SERVED,
    ),
    "reserve a float": (
        admits(lambda r: Admit(r, reserve=20.0)),
        "reserves 20.0 positions; it must be None or a whole",
    ),
    "reserve truth": (admits(lambda r: Admit(r, reserve=True)), "reserves True positions"),
    "reserve nothing": (admits(lambda r: Admit(r, reserve=0)), "reserves 0 positions; it must be a whole number from"),
    "reserve too much": (admits(lambda r: Admit(r, reserve=10**30)), "to the context limit of 48"),
    "reserve text": (admits(lambda r: Admit(r, reserve="max")), "reserves 'max' positions"),
    "reason 5": (admits(lambda r: Admit(r, reason=5)), f"the reason to admit request 0 is 5; {NO_TEXT}"),
    "reason None": (admits(lambda r: Admit(r, reason=None)), f"is None; {NO_TEXT}"),
    "reason bytes": (admits(lambda r: Admit(r, reason=b"why")), f"is b'why'; {NO_TEXT}"),
    "reason list": (admits(lambda r: Admit(r, reason=["a"])), NO_TEXT),
    "reason with half a pair": (admits(lambda r: Admit(r, reason="\ud800<script>")), SERVED),
    "reason of a megabyte": (admits(lambda r: Admit(r, reason="x" * 10**6)), SERVED),
    "reason of a subclass": (admits(lambda r: Admit(r, reason=Text("as it is"))), SERVED),
    # whom to hold
    "hold None": (beside(hold=lambda view: None), "hold must be a list of requests, not NoneType"),
    "hold a number": (beside(hold=lambda view: 3), "hold must be a list of requests, not int"),
    "hold truth": (beside(hold=lambda view: True), "hold must be a list of requests, not bool"),
    "hold text": (beside(hold=lambda view: "everybody"), "hold is 'everybody'; .* or be \"all\""),
    "hold views": (
        lambda view: Plan(hold=list(view.finished)) if view.finished else Plan(admit=view.fitting()),
        f"hold names the view of request 0; {BY_IDS}; write its id",
    ),
    "hold a list": (beside(hold=lambda view: [[1]]), rf"hold names \[1\]; {BY_IDS}"),
    "hold twice": (now_and_then(hold=lambda view: [r.id for r in view.finished] * 2), SERVED),
    "hold int64": (now_and_then(hold=lambda view: [np.int64(r.id) for r in view.finished]), SERVED),
    "hold a generator": (now_and_then(hold=lambda view: (r.id for r in view.finished)), SERVED),
    "hold a subclass": (now_and_then(hold=lambda view: Text("all")), SERVED),
    # whom to preempt, and whom to pause
    "preempt a list": (beside(preempt=lambda view: [0]), rf"preempt {TO_REASONS} list \(\[0\]\)"),
    "preempt a set": (beside(preempt=lambda view: {0}), rf"preempt {TO_REASONS} set"),
    "preempt a number": (beside(preempt=lambda view: 1), rf"preempt {TO_REASONS} int \(1\)"),
    "preempt None": (beside(preempt=lambda view: None), f"preempt {TO_REASONS} NoneType"),
    "preempt a view": (
        now_and_then(preempt=lambda view: {view.running[0]: "x"}),
        rf"preempt names the view of request \d; {BY_IDS}; write its id",
    ),
    "preempt without a reason": (
        now_and_then(preempt=lambda view: {view.running[1].id: None}),
        f"reason None; {NO_TEXT}",
    ),
    "preempt for 7": (now_and_then(preempt=lambda view: {view.running[1].id: 7}), f"the reason 7; {NO_TEXT}"),
    "preempt pairs": (beside(preempt=lambda view: [(0, "why")]), f"preempt {TO_REASONS} list"),
    "preempt text": (beside(preempt=lambda view: {"a": "b"}), f"preempt names 'a'; {BY_IDS}"),
    "preempt int64": (
        lambda view: (
            Plan(preempt={np.int64(view.running[-1].id): Text("out")})
            if len(view.running) > 1 and view.iteration in (3, 5)
            else Plan(admit=view.fitting())
        ),
        SERVED,
    ),
    "preempt a mute mapping": (
        beside(preempt=lambda view: Mute()),
        "preempt cannot be read: it raised OSError: the disk is",
    ),
    "pause a list": (beside(pause=lambda view: [0]), f"pause {TO_REASONS} list"),
    "pause None": (beside(pause=lambda view: None), f"pause {TO_REASONS} NoneType"),
    "pause all": (
        beside(pause=lambda view: {r.id: "" for r in view.running}),
        r"is stuck at iteration \d+: \d requests wait and none is computed",
    ),
    "pause without a reason": (now_and_then(pause=lambda view: {view.running[0].id: None}), f"reason None; {NO_TEXT}"),
    "pause for a list": (now_and_then(pause=lambda view: {view.running[0].id: [1]}), rf"the reason \[1\]; {NO_TEXT}"),
    "pause for something loud": (
        now_and_then(pause=lambda view: {view.running[0].id: Loud()}),
        f"reason <Loud instance .*>; {NO_TEXT}",
    ),
    "pause the finished": (
        lambda view: Plan(pause={r.id: "x" for r in view.finished}) if view.finished else Plan(admit=view.fitting()),
        "pause names request 0, which is not a running request",
    ),
    "pause int32": (now_and_then(pause=lambda view: {np.int32(view.running[0].id): "rest"}), SERVED),
    # how many tokens
    "chunk a number": (
        beside(chunk=lambda view: 5),
        r"chunk must map request ids to numbers of tokens, not be int \(5\)",
    ),
    "chunk None": (beside(chunk=lambda view: None), "chunk must map request ids to numbers of tokens, not be NoneType"),
    "chunk pairs": (
        beside(chunk=lambda view: [(0, 1)]),
        "chunk must map request ids to numbers of tokens, not be list",
    ),
    "chunk -3": (
        beside(chunk=lambda view: dict.fromkeys(view.fitting(), -3)),
        "a chunk of -3 tokens; it must be a whole",
    ),
    "chunk 0": (beside(chunk=lambda view: dict.fromkeys(view.fitting(), 0)), "a chunk of 0 tokens; it must be a whole"),
    "chunk 1.0": (beside(chunk=lambda view: dict.fromkeys(view.fitting(), 1.0)), "a chunk of 1.0 tokens"),
    "chunk int64": (beside(chunk=lambda view: dict.fromkeys(view.fitting(), np.int64(1))), SERVED),
    "chunk huge": (beside(chunk=lambda view: dict.fromkeys(view.fitting(), 10**20)), "from 1 to the 1 that it lacks"),
    "chunk text": (beside(chunk=lambda view: dict.fromkeys(view.fitting(), "1")), "a chunk of '1' tokens"),
    "chunk text and reserve": (
        lambda view: Plan(admit=[Admit(0, reserve=10)], chunk={0: "1"}),
        "request 0 gets a chunk of '1' tokens",
    ),
    "chunk nothing": (beside(chunk=lambda view: dict.fromkeys(view.fitting())), "a chunk of None tokens"),
    "chunk nan": (beside(chunk=lambda view: dict.fromkeys(view.fitting(), float("nan"))), "a chunk of nan tokens"),
    "chunk an unknown request": (
        beside(chunk=lambda view: {10**9: 1}),
        "which is neither running nor admitted by this plan",
    ),
    "chunk a view": (now_and_then(chunk=lambda view: {view.running[0]: 1}), rf"chunk names the view .*{BY_IDS}"),
    "chunk truth": (beside(chunk=lambda view: dict.fromkeys(view.fitting(), True)), "a chunk of True tokens"),
    # until when to wait
    "wait nan": (
        once("wait_until", float("nan")),
        "wait_until is nan; it must be a finite number above the clock of 0",
    ),
    "wait inf": (once("wait_until", float("inf")), "wait_until is inf; it must be a finite number"),
    "wait for the past": (once("wait_until", -1), "wait_until is -1; it must be a finite number above the clock of 0"),
    "wait text": (once("wait_until", "later"), "wait_until is 'later'; it must be a finite number"),
    "wait a number in text": (once("wait_until", "5"), "wait_until is '5'; it must be a finite number"),
    "wait truth": (once("wait_until", True), "wait_until is True; it must be a finite number"),
    "wait complex": (once("wait_until", 1j), "wait_until is 1j; it must be a finite number"),
    "wait float64": (once("wait_until", np.float64(1.5)), SERVED),
    "wait float32": (once("wait_until", np.float32(1.5)), SERVED),
    "wait int64": (once("wait_until", np.int64(2)), SERVED),
    "wait a tensor": (once("wait_until", torch.tensor(2.5)), SERVED),
    "wait an array": (
        once("wait_until", np.array([2.5])),
        r"wait_until is array\(\[2.5\]\); it must be a finite number",
    ),
    "wait very long": (once("wait_until", 1e8), SERVED),
    "wait longer than a trace can tell": (
        once("wait_until", 1e308),
        r"wait_until is 1e\+308; it must .* at most 1e\+09",
    ),
    "wait for a huge number": (
        once("wait_until", 10**400),
        "wait_until is a whole number of about 401 digits; it must",
    ),
    "wait for ever": (lambda view: Plan(wait_until=view.clock + 1), "times in a row no request advanced and it waited"),
    # why not
    "put off None": (beside(put_off=lambda view: None), f"put_off {TO_REASONS} NoneType"),
    "put off a list": (beside(put_off=lambda view: [1, 2]), f"put_off {TO_REASONS} list"),
    "put off text": (beside(put_off=lambda view: {"a": object()}), f"put_off names 'a'; {BY_IDS}"),
    "put off for an object": (beside(put_off=lambda view: {0: object()}), NO_TEXT),
    # what plan() returns
    "None": (lambda view: None, r"plan\(\) must return a Plan, not NoneType"),
    "a dict": (lambda view: {"admit": view.fitting()}, r"plan\(\) must return a Plan, not dict"),
    "a list": (lambda view: view.fitting(), r"plan\(\) must return a Plan, not list"),
    "a class": (lambda view: Plan, r"plan\(\) must return a Plan, not type"),
    "a generator": (lambda view: (Plan() for _ in range(1)), r"plan\(\) must return a Plan, not generator"),
    "a tuple": (lambda view: (view.fitting(),), r"plan\(\) must return a Plan, not tuple"),
    "a coroutine": (coroutine, r"plan\(\) must return a Plan, not coroutine"),
    "something loud": (lambda view: Loud(), r"plan\(\) must return a Plan, not Loud"),
    "an unreadable plan": (lambda view: Fickle(), "admit cannot be read: it raised KeyError: 'no admissions today'"),
    "nothing": (lambda view: Plan(), "is stuck at iteration 0: 10 requests wait and none is computed"),
    # what plan() raises
    "KeyError": (lambda view: {}["k"], "raised KeyError while planning iteration 0: 'k'"),
    "StopIteration": (lambda view: next(iter([])), "raised StopIteration while planning iteration 0"),
    "sys.exit": (lambda view: sys.exit(3), "raised SystemExit while planning iteration 0: 3"),
    "GeneratorExit": (throws(GeneratorExit()), "raised GeneratorExit while planning iteration 0"),
    "RecursionError": (
        lambda view: (lambda f: f(f))(lambda f: f(f)),
        "raised RecursionError while planning iteration 0",
    ),
    "MemoryError": (lambda view: bytearray(2**62), "raised MemoryError while planning iteration 0"),
    "a BaseException": (
        throws(BaseException("of my own")),
        "raised BaseException while planning iteration 0: of my own",
    ),
    "a long message": (throws(ValueError("x" * 10**6)), r"raised ValueError while planning iteration 0: x{499}…$"),
    "a loud message": (throws(type("Bad", (Exception,), {"__str__": Loud._no})()), "its message cannot be read"),
    # what is done to the view
    "more than the slots": (
        lambda view: Plan(admit=[r.id for r in view.waiting[: view.slots + 1]]),
        "4 requests are admitted but only 3 slots are free",
    ),
    "preempt and readmit": (
        lambda view: (
            Plan(admit=[view.running[0].id], preempt={view.running[0].id: "x"})
            if view.running
            else Plan(admit=view.fitting())
        ),
        r"request \d is admitted but does not wait",
    ),
    "set a field": (
        lambda view: setattr(view, "free_slots", 99) or Plan(),
        "raised FrozenInstanceError while planning",
    ),
    "force a field": (
        lambda view: object.__setattr__(view, "free_slots", 99) or Plan(admit=smallest(view, 4)),
        "it changed its view, which is read-only",
    ),
    "clear the queue": (lambda view: view.waiting.clear(), "has no attribute 'clear'"),
    "pop the queue": (lambda view: Plan(admit=[view.waiting.pop(0)]), "has no attribute 'pop'"),
    "sort the queue": (lambda view: view.waiting.sort(), "has no attribute 'sort'"),
    "delete from the queue": (lambda view: view.waiting.__delitem__(0), "has no attribute '__delitem__'"),
    "replace the queue": (lambda view: setattr(view.waiting, "_all", ()), "views are read-only"),
    "change a request": (lambda view: setattr(view.waiting[0], "generated", 5), "can't set attribute"),
}


def engine_of(rule: Rule, name: str = "script", **setting: Any) -> tuple[Engine, Recorder, list[Request]]:
    """Three slots, 48 positions of KV memory, ten requests of all sizes; the recorder of what happens."""
    pool = BlockPool(12, 4, prefix_cache=setting.pop("prefix_cache", False))
    engine = Engine(OracleExecutor(3, pool), Script(rule, name), slots=3, pool=pool, **setting)
    work = [Request(i, (5 + i % 3,) * (1 + i % 5 * 2), 1 + i % 7) for i in range(10)]
    engine.submit(*work)
    meta = TraceMeta(
        policy=name, policy_summary="", slots=3, block_size=4, total_blocks=12, block_bytes=engine.block_bytes,
        arrival_unit=engine.arrival_unit, clock="virtual", lag=engine.lag,
    )  # fmt: skip
    return engine, Recorder(meta, work), work


def finish(engine: Engine, recorder: Recorder, work: list[Request]) -> list[Iteration]:
    """Everything that is left is served, every answer is right, and the pool is empty."""
    events = []
    for event in engine.run():
        recorder.add(event)
        events.append(event)
    assert {request.id: engine.output(request.id) for request in work} == {r.id: answer(r) for r in work}
    assert engine.pool.free == engine.pool.blocks
    return events


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", RULES)
def test_every_plan_is_served_or_refused_by_name(name: str, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbviz.core.loop.STUCK_AFTER", 50)
    rule, message = RULES[name]
    engine, recorder, work = engine_of(rule, name, **SETTINGS[setting])
    if message == SERVED:
        finish(engine, recorder, work)
        recorder.trace()
        return
    with pytest.raises(PolicyError, match=message) as caught:
        finish(engine, recorder, work)
    assert type(caught.value) is PolicyError
    assert f"policy {name!r}" in str(caught.value)
    assert "iteration" in str(caught.value) or "stuck" in str(caught.value)
    assert len(str(caught.value)) < 800
    recorder.trace()
    engine.policy = Continuous()
    finish(engine, recorder, work)
    recorder.trace()


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_interrupt_stays_an_interrupt_and_the_engine_goes_on(setting: str) -> None:
    engine, recorder, work = engine_of(throws(KeyboardInterrupt()), **SETTINGS[setting])
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    engine.policy = Continuous()
    finish(engine, recorder, work)


def test_nothing_of_a_policy_reaches_an_event_or_a_trace(tmp_path: Path) -> None:
    """Subclasses of `str` and numpy's numbers become plain; a file and a page hold any reason."""
    controls = Text("".join(map(chr, range(32))) + "\x7f\ud83d\ude00\udfff<b>&amp;" + "y" * 5000)

    def rule(view: View) -> Plan:
        several = len(view.running) > 1 and view.iteration < 12
        if several and view.iteration % 3 == 2:
            return Plan(preempt={np.int64(view.running[-1].id): controls}, put_off={np.int8(0): controls})
        if several and view.iteration % 3 == 1:
            return Plan(pause={np.int64(view.running[0].id): controls})
        return Plan(admit=[Admit(np.int64(r), reason=controls) for r in view.fitting()[:2]])

    engine, recorder, work = engine_of(rule)
    events = finish(engine, recorder, work)
    assert any(event.preempted for event in events)
    assert any(event.stalled for event in events)
    marks = [mark for event in events for mark in (*event.admitted, *event.preempted, *event.stalled)]
    assert {mark.reason[31:35] for mark in marks if mark.reason} == {"\x1f\x7f\U0001f600\ufffd"}
    assert {len(mark.reason) for mark in marks} == {2000 - 1}, "2,000 units, of which two were halves of one character"
    for mark in marks:
        assert (type(mark.request), type(mark.slot), type(mark.reason)) == (int, int, str)
    assert b"tests." not in pickle.dumps(events)
    saved = load(recorder.trace().save(tmp_path / "run.cbviz"))
    assert saved.marks.reason == recorder.trace().marks.reason
    assert player.html([saved])
    assert all(event.request.dtype == np.int32 and NO_REQUEST == -1 for event in events)


# ------------------------------------------------------------------ values, one by one


def test_whole_numbers() -> None:
    taken: list[Any] = [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), IntEnum("Three", "A B C")(3)]  # type: ignore[misc]
    assert [(as_int(value), type(as_int(value))) for value in taken] == [(3, int)] * len(taken)
    refused: list[Any] = [
        True, np.True_, torch.tensor(True), 3.0, np.float32(3), "3", b"3", None, [3], np.array([3]), torch.tensor([3]),
        Loud(), np.timedelta64(3), np.datetime64(3, "s"), 3j,
    ]  # fmt: skip
    assert [as_int(value) for value in refused] == [None] * len(refused)


def test_numbers() -> None:
    taken: list[Any] = [2, 2.0, np.float16(2), np.int8(2), np.array(2.0), torch.tensor(2.0), torch.tensor(2).bfloat16()]
    assert [(as_float(value), type(as_float(value))) for value in taken] == [(2.0, float)] * len(taken)
    refused: list[Any] = [
        True, np.False_, "2", b"2", bytearray(b"2"), memoryview(b"2"), np.array("2"), None, [2.0], np.array([2.0]), 2j,
        10**400, Loud(), np.timedelta64(2),
    ]  # fmt: skip
    assert [as_float(value) for value in refused] == [None] * len(refused)


def test_text_is_plain_and_any_file_can_hold_it() -> None:
    assert (text(Text("as it is")), type(text(Text("as it is")))) == ("as it is", str)
    assert text("\ud83d\ude00 and \ud83d") == "\U0001f600 and \ufffd"
    assert text("x" * 5000, 10) == "x" * 9 + "…"
    assert [text(value) for value in (None, 5, b"x", ["x"], Loud())] == [None] * 5


def test_what_a_message_shows_is_short_and_never_raises() -> None:
    class Liar:
        @property
        def __class__(self) -> Any:  # type: ignore[override]
            raise ValueError("I am nothing")

        def __repr__(self) -> str:
            sys.exit(1)

    nested: list[Any] = []
    nested.append(nested)
    for value in (
        Loud(),
        Liar(),
        "x" * 10**6,
        10**5000,
        nested,
        {"a": "b" * 10**6},
        b"x" * 10**6,
        "\ud800",
        [Loud()] * 99,
    ):
        assert len(shown(value)) <= 100
        shown(value).encode()
    assert said(ValueError("two\nlines")) == "two lines"


# ------------------------------------------------------------------ names


class Named:
    def __init__(self, name: Any = "mine", summary: Any = "a line") -> None:
        self.name, self.summary = name, summary

    def plan(self, view: View) -> Plan:
        return Plan(admit=view.fitting())


class Broken(Named):
    @property
    def name(self) -> str:  # type: ignore[override]
        raise OSError("no name today")

    @name.setter
    def name(self, value: str) -> None: ...


class Anything:
    """Answers to every name with a function."""

    def __getattr__(self, name: str) -> Callable[..., Plan]:
        return lambda *_: Plan()


class Hostile:
    def __getattr__(self, name: str) -> NoReturn:
        raise ZeroDivisionError(name)


class Asynchronous(Named):
    async def plan(self, view: View) -> Plan:  # type: ignore[override]
        return Plan()


class Generating(Named):
    def plan(self, view: View) -> Iterator[Plan]:  # type: ignore[override]
        yield Plan()


class Flat(Named):
    plan = 3  # type: ignore[assignment]


LINE = "it must be text of at most"
NO_POLICIES: dict[str, tuple[Any, str]] = {
    "a number as name": (Named(5), f"the name of Named is 5; {LINE} 100 printable characters on one line"),
    "no name": (Named(None), f"the name of Named is None; {LINE}"),
    "an empty name": (Named(""), "the name of Named is empty; a policy needs a name"),
    "a blank name": (Named("  "), "the name of Named is empty"),
    "half a pair": (Named("a\ud800"), rf"the name of Named is 'a\\ud800'; {LINE}"),
    "two lines": (Named("a\nb"), rf"the name of Named is 'a\\nb'; {LINE}"),
    "a long name": (Named("x" * 100_000), r"the name of Named is 'x+\.\.\.x+'; "),
    "a loud name": (Named(Loud()), f"the name of Named is <Loud instance .*>; {LINE}"),
    "a raising name": (Broken(), "Broken is no policy: reading its name raised OSError: no name today"),
    "a number as summary": (Named(summary=5), f"the summary of Named is 5; {LINE} 500 printable"),
    "a long summary": (Named(summary="x" * 501), "the summary of Named is 'x"),
    "every attribute": (Anything(), "the name of Anything is <function"),
    "a hostile object": (Hostile(), "Hostile is no policy: reading its name raised ZeroDivisionError: name"),
    "a coroutine": (
        Asynchronous(),
        r"plan of Asynchronous is a coroutine \(async def\); it must be a method that returns",
    ),
    "a generator": (Generating(), r"plan of Generating is a generator \(it has a yield\)"),
    "a plan that is a number": (Flat(), "its plan must be a method plan\\(view\\), not 3"),
    "no plan": (type("Bare", (), {"name": "x", "summary": ""})(), "is no policy; a policy has .* and it has no plan"),
    "something loud": (Loud(), "<Loud instance .*> is no policy; a policy has a name, a summary"),
}


@pytest.mark.parametrize("case", NO_POLICIES)
def test_what_is_no_policy_is_refused_before_anything_runs(case: str) -> None:
    policy, message = NO_POLICIES[case]
    with pytest.raises(PolicyError, match=message):
        get(policy)
    pool = BlockPool(9, 1)
    with pytest.raises(PolicyError, match=message):
        Engine(OracleExecutor(1, pool), policy, slots=1, pool=pool)
    engine = Engine(OracleExecutor(1, pool), Continuous(), slots=1, pool=pool)
    with pytest.raises(PolicyError, match=message):
        engine.policy = policy
    assert isinstance(engine.policy, Continuous)


@pytest.mark.parametrize("name", ["static", "../../x", "<b>bold</b>", "短的优先", "a & b", "x" * 100])
def test_any_printable_name_will_do(name: str) -> None:
    policy = Named(name)
    assert get(policy) is policy


def test_a_name_that_is_gone_later_does_not_hide_the_error() -> None:
    class Forgetful(Named):
        def plan(self, view: View) -> Plan:
            self.name = None
            raise ValueError("oops")

    pool = BlockPool(9, 1)
    engine = Engine(OracleExecutor(1, pool), Forgetful(), slots=1, pool=pool)
    engine.submit(Request(0, (1,), 2))
    with pytest.raises(PolicyError, match="policy 'Forgetful' raised ValueError while planning iteration 0: oops"):
        engine.step()
