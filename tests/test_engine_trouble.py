"""What goes wrong: requests that cannot fit, bad policies, failing executors, interrupts. No request is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from cbviz.core import Engine, NullExecutor, Result, Step, interrupts
from cbviz.core.block_pool import BlockPool
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.errors import CapacityError, EngineError, PolicyError, WorkloadError
from cbviz.events import FinishReason, Iteration
from cbviz.policies import Admit, Continuous, Plan, Policy, Static, View, get
from cbviz.workload.request import Request, Sampling
from tests.kv_oracle import OracleExecutor
from tests.shapes import make as shape


def make(
    policy: Policy, slots: int = 2, blocks: int = 50, executor: NullExecutor | None = None, lag: int = 0
) -> Engine:
    return Engine(executor or NullExecutor(200), policy, slots=slots, pool=BlockPool(blocks, 4), lag=lag)


def work(number: int = 5, length: int = 6) -> list[Request]:
    return [Request(i, (1, 2, 3), length + i, output_length=length + i) for i in range(number)]


def finish(engine: Engine, requests: list[Request]) -> None:
    """Everything that is left can be served, and completely."""
    for _ in engine.run():
        pass
    assert [len(engine.output(r.id)) for r in requests] == [r.output_length for r in requests]
    assert engine.pool.free == engine.pool.blocks


@dataclass
class Script:
    """A policy from a function."""

    rule: Callable[[View], Plan]
    name: str = "script"
    summary: str = ""

    def plan(self, view: View) -> Plan:
        return self.rule(view)


def test_requests_that_make_no_sense() -> None:
    for build in (
        lambda: Request(0, (), 3),
        lambda: Request(0, (1,), 0),
        lambda: Request(0, (1,), 3, arrival=float("nan")),
        lambda: Request(0, (1,), 3, arrival=-1),
        lambda: Request(-1, (1,), 3),
        lambda: Request(0, (1,), 3, output_length=4),
        lambda: Request(0, (-5,), 3),
        lambda: Sampling(temperature=float("nan")),
        lambda: Sampling(top_p=0),
        lambda: Sampling(top_k=-1),
        lambda: Sampling(seed=-1),
    ):
        with pytest.raises(WorkloadError):
            build()


@pytest.mark.parametrize("slots", [0, -3, 1.5, True, "8"])
def test_slots_that_make_no_sense(slots: object) -> None:
    with pytest.raises(CapacityError, match="slots must be a whole number of at least 1"):
        make(Continuous(), slots=slots)  # type: ignore[arg-type]


def test_requests_that_can_never_fit_are_refused_and_no_others() -> None:
    engine = make(Continuous(), blocks=5)
    good = work(3)
    with pytest.raises(CapacityError, match=r"request 9 needs 210 positions .* the context has 200"):
        engine.submit(*good, Request(9, (1,) * 10, 200))
    with pytest.raises(CapacityError, match=r"25 positions = 7 KV blocks of 4.* the whole pool has 5"):
        engine.submit(*good, Request(9, (1,) * 5, 20))
    engine.executor.vocabulary = 100
    with pytest.raises(WorkloadError, match=r"request 9 has the token 100 in its prompt.* knows 0 to 99\."):
        engine.submit(*good, Request(9, (1, 100, 2), 3))
    engine.submit(*good)
    with pytest.raises(WorkloadError, match="submitted before"):
        engine.submit(good[1])
    finish(engine, good)


def test_unknown_policies() -> None:
    with pytest.raises(PolicyError, match=r"there is no policy 'magic'; choose one of static, continuous"):
        get("magic")
    with pytest.raises(PolicyError, match="not the class"):
        get(Static)  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="is no policy"):
        get(3)  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="run_to"):
        Static(run_to=0)


def raises(view: View) -> Plan:
    raise ZeroDivisionError("oops")


BAD_PLANS: dict[str, tuple[Callable[[View], object], str]] = {
    "raises": (raises, "raised ZeroDivisionError while planning iteration 0: oops"),
    "no plan": (lambda view: None, "must return a Plan, not NoneType"),
    "admits twice": (lambda view: Plan(admit=[0, 0]), "request 0 is admitted twice"),
    "an unknown request": (lambda view: Plan(admit=[77]), "request 77 is admitted but does not wait"),
    "too many": (lambda view: Plan(admit=[0, 1, 2]), "3 requests are admitted but only 2 slots are free"),
    "nonsense": (lambda view: Plan(admit=["x"]), "admit lists 'x'"),
    "no list": (lambda view: Plan(admit=5), "admit must be a list of requests, not int"),
    "holds an unfinished one": (lambda view: Plan(hold=[1]), "hold names request 1, which is not a finished request"),
    "preempts a waiting one": (lambda view: Plan(preempt={1: ""}), "preempt names request 1, which is not a running"),
    "pauses a waiting one": (lambda view: Plan(pause={1: ""}), "pause names request 1, which is not a running"),
    "chunks a waiting one": (lambda view: Plan(admit=[0], chunk={1: 1}), "chunk names request 1"),
    "empty chunk": (lambda view: Plan(admit=[0], chunk={0: 0}), "from 1 to the 3 that it lacks"),
    "long chunk": (lambda view: Plan(admit=[0], chunk={0: 4}), "from 1 to the 3 that it lacks"),
    "reserves too little": (lambda view: Plan(admit=[Admit(0, reserve=2)]), "request 0 reserves 2 positions"),
    "reserves too much": (lambda view: Plan(admit=[Admit(0, reserve=999)]), "request 0 reserves 999 positions"),
    "admits none": (lambda view: Plan(), "is stuck at iteration 0: 5 requests wait"),
}


@pytest.mark.parametrize("name", BAD_PLANS)
def test_bad_plans_are_named_and_lose_no_request(name: str) -> None:
    rule, message = BAD_PLANS[name]
    engine, requests = make(Script(rule)), work()  # type: ignore[arg-type]
    engine.submit(*requests)
    with pytest.raises(PolicyError, match=message):
        engine.step()
    engine.policy = Continuous()
    finish(engine, requests)


def test_bad_plans_in_the_middle_of_a_run() -> None:
    requests = work(4, 8)
    for bad, message in (
        (
            lambda view: Plan(pause={view.running[0].id: ""}, preempt={view.running[0].id: ""}),
            "both preempted and paused",
        ),
        (lambda view: Plan(pause={view.running[0].id: ""}, chunk={view.running[0].id: 1}), "also paused or preempted"),
        (lambda view: Plan(pause={r.id: "" for r in view.running}), "none is computed"),
        (lambda view: Plan(admit=[view.waiting[0].id]), "1 request is admitted but only 0 slots are free"),
    ):
        engine = make(Continuous())
        engine.submit(*requests)
        for _ in range(3):
            engine.step()
        engine.policy = Script(bad)
        with pytest.raises(PolicyError, match=message):
            engine.step()
        engine.policy = Continuous()
        finish(engine, requests)


def test_growing_out_of_the_pool_is_the_policys_business() -> None:
    greedy = Script(lambda view: Plan(admit=[Admit(r.id, reserve=r.lacks) for r in view.waiting[: view.free_slots]]))
    engine, requests = make(greedy, slots=2, blocks=5), work(2, 12)
    engine.submit(*requests)
    shortage = r"need 2 more KV blocks and 1 are free; preempt or pause until 1 more are"
    with pytest.raises(PolicyError, match=shortage):
        list(engine.run())
    engine.policy = Script(
        lambda view: Plan(
            preempt={view.running[-1].id: "no room"} if len(view.running) > 1 else {},
            admit=[] if view.running else view.fitting(),
        )
    )
    finish(engine, requests)


def test_a_policy_that_never_gets_anywhere_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbviz.core.loop.STUCK_AFTER", 50)

    def thrash(view: View) -> Plan:
        """Take in one token of the prompt, throw it away, begin again."""
        first = view.waiting[0].id
        return Plan(preempt={r.id: "thrash" for r in view.running}, admit=[first], chunk={first: 1})

    engine, requests = make(Script(thrash), slots=1), work(2)
    engine.submit(*requests)
    with pytest.raises(PolicyError, match=r"for 50 iterations .* no request advanced") as caught:
        list(engine.run())
    (note,) = caught.value.__notes__
    assert note.splitlines()[0].endswith("1 slot, 0 free; 50 KV blocks of 4, 3 taken")
    assert note.splitlines()[1:5] == [
        "running: 1",
        "  request 0 in slot 0: 1 of 3 tokens computed, 0 of at most 6 given, 3 KV blocks, 26 preemptions",
        "finished: 0",
        "waiting: 1",
    ]
    engine.policy = Continuous()
    finish(engine, requests)


class Failing(NullExecutor):
    """Fails once, at a given step."""

    def __init__(self, at: int, when: str) -> None:
        super().__init__(200)
        self.at, self.when = at, when

    def launch(self, step: Step) -> Result:
        if self.when == "launch" and step.iteration == self.at:
            self.at = -1
            raise RuntimeError("CUDA out of memory")
        return super().launch(step)

    def collect(self, ticket: Result) -> Result:
        if self.when == "collect":
            self.at -= 1
            if self.at == 0:
                raise RuntimeError("CUDA out of memory")
        return ticket


@pytest.mark.parametrize("policy", [Static(), Continuous()])
@pytest.mark.parametrize("when", ["launch", "collect"])
@pytest.mark.parametrize("lag", [0, 1])
def test_a_failing_executor_loses_no_request(policy: Policy, when: str, lag: int) -> None:
    requests = work(6)
    right = make(policy)
    assert list(right.run(requests))
    expected = {r.id: right.output(r.id) for r in requests}
    for at in range(1, 14):
        engine = make(policy, executor=Failing(at, when), lag=lag)
        engine.submit(*requests)
        events: list[Iteration] = []
        with pytest.raises(EngineError, match=r"failed in iteration \d+ with RuntimeError: CUDA out of memory"):
            events.extend(engine.run())
        events.extend(engine.run())
        assert {r.id: engine.output(r.id) for r in requests} == expected
        assert [event.index for event in events] == list(range(len(events)))
        assert sorted(r for event in events for r in event.arrived) == [r.id for r in requests]
        assert engine.pool.free == engine.pool.blocks


def test_a_full_device_ends_the_run_in_one_sentence_and_the_engine_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pool = shape("llama"), BlockPool(40, 4)
    executor = ModelExecutor(model, slots=3, pool=pool, end_tokens=())
    requests, logits = work(4), executor.logits
    engine = Engine(executor, Continuous(), slots=3, pool=pool)
    engine.submit(*requests)
    engine.step()

    def full(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(executor, "logits", full)
    with pytest.raises(EngineError, match=r"cpu ran out of memory while computing 3 tokens .* ask for fewer slots"):
        engine.step()
    monkeypatch.setattr(executor, "logits", logits)
    finish(engine, requests)


def test_cancelling_wherever_it_is() -> None:
    for lag in (0, 1):
        requests = [*work(5), Request(5, (1,), 3, arrival=1e9)]
        engine = make(Continuous(), lag=lag)
        engine.submit(*requests)
        events = [engine.step() for _ in range(3)]
        for gone in (0, 4, 5):
            engine.cancel(gone)
        with pytest.raises(WorkloadError, match="there is no request 99 to cancel"):
            engine.cancel(99)
        events += list(engine.run())
        cancelled = [m.request for e in events if e for m in e.cancelled]
        assert sorted(cancelled) == [0, 4, 5]
        assert len(engine.output(0)) in (3, 4)
        assert engine.output(4) == engine.output(5) == []
        assert [len(engine.output(i)) for i in (1, 2, 3)] == [7, 8, 9]
        finished = {f.request: f.reason for e in events if e for f in e.finished}
        assert finished == dict.fromkeys((1, 2, 3), FinishReason.LENGTH)
        assert engine.pool.free == engine.pool.blocks
        engine.cancel(1)
        assert list(engine.run()) == [], "cancelling what has ended changes nothing"


def test_cancelling_while_the_last_token_is_on_its_way_changes_nothing() -> None:
    """With lag 1 a request of known length has left its slot before the host sees its last token."""
    requests = work(4, 3)
    for step in range(1, 9):
        engine = make(Continuous(), lag=1)
        engine.submit(*requests)
        for _ in range(step):
            engine.step()
        before = [len(engine.output(r.id)) for r in requests]
        engine.cancel(0)
        events = list(engine.run())
        cancelled = any(mark.request == 0 for event in events for mark in event.cancelled)
        assert len(engine.output(0)) == 3 or (cancelled and len(engine.output(0)) - before[0] <= 1)
        assert [len(engine.output(i)) for i in (1, 2, 3)] == [4, 5, 6]
        assert engine.pool.free == engine.pool.blocks


def test_a_cancel_outlives_the_failure_of_the_last_token() -> None:
    """With lag 1 a cancel may come when the last token is on its way. It counts if that token never comes."""
    for place in ("launch", "collect"):
        requests = work(3, 3)
        engine = make(Continuous(), executor=(executor := OracleExecutor(2, BlockPool(50, 4))), lag=1)
        engine.submit(*requests)
        events = [engine.step(), engine.step()]
        assert engine.slots.ended[0], "the test needs a last token that is on its way"
        engine.cancel(0)
        executor.fails_at = place
        with pytest.raises(EngineError):
            events += [engine.step(), engine.step()]
        events += list(engine.run())
        assert [m.request for e in events if e for m in e.cancelled] == [0]
        assert len(engine.output(0)) < 3
        assert [len(engine.output(i)) for i in (1, 2)] == [4, 5]
        assert engine.pool.free == engine.pool.blocks


def test_an_interrupt_waits_for_the_iteration_and_loses_no_event() -> None:
    class Interrupted(NullExecutor):
        def launch(self, step: Step) -> Result:
            if step.iteration == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return super().launch(step)

    engine, requests = make(Continuous(), executor=Interrupted(200)), work()
    engine.submit(*requests)
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(event.index for event in engine.run())
    assert seen == [0, 1, 2]
    seen.extend(event.index for event in engine.run())
    assert seen == list(range(len(seen)))
    finish(engine, requests)


def endless(view: View) -> Plan:
    """A policy with a mistake: it never comes to an end from iteration 2 on."""
    while view.iteration >= 2:
        try:
            [0].index(1)
        except Exception:
            continue
    return Plan(admit=view.fitting())


def test_an_interrupt_reaches_a_policy_that_plans_without_end() -> None:
    engine, requests = make(Script(endless)), work()
    engine.submit(*requests)
    assert [event.index for event in (engine.step(), engine.step()) if event] == [0, 1]
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    engine.policy = Continuous()
    finish(engine, requests)


@pytest.mark.parametrize("thread", ["main", "another"])
def test_a_policy_that_plans_without_end_is_broken_off(thread: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "SECONDS_A_PLAN", 0.4)
    engine, requests = make(Script(endless)), work()
    engine.submit(*requests)
    errors: list[str] = []

    def run() -> None:
        with pytest.raises(PolicyError, match=r"policy 'script' was still planning iteration 2 after \d s") as caught:
            list(engine.run())
        errors.append(str(caught.value))

    if thread == "main":
        run()
    else:
        other = threading.Thread(target=run)
        other.start()
        other.join(20)
    assert errors
    engine.policy = Continuous()
    finish(engine, requests)


def test_a_long_plan_that_ends_in_time_is_let_be_and_nothing_strikes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "SECONDS_A_PLAN", 1.5)

    def slow(view: View) -> Plan:
        if view.iteration == 1:
            time.sleep(0.6)
        return Plan(admit=view.fitting())

    engine, requests = make(Script(slow)), work()
    engine.submit(*requests)
    finish(engine, requests)
    time.sleep(1.5)  # what is past its time here is no longer a plan


def test_a_process_that_ignores_interrupts_goes_on_ignoring_them() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        engine = make(Continuous())
        engine.submit(*work(2))
        engine.step()
        os.kill(os.getpid(), signal.SIGINT)
        finish(engine, work(2))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_requests_may_come_while_others_run() -> None:
    engine = make(Static())
    engine.submit(*work(2))
    engine.step()
    late = Request(10, (4, 5), 3, output_length=3)
    engine.submit(late)
    assert engine.output(10) == []
    finish(engine, [*work(2), late])
    with pytest.raises(KeyError):
        engine.output(11)


def test_a_pool_belongs_to_one_engine() -> None:
    pool = BlockPool(10, 4)
    pool.grow(1, 3)
    with pytest.raises(CapacityError, match="in use"):
        Engine(NullExecutor(), Continuous(), slots=1, pool=pool)
    for blocks, size in ((0, 4), (4, 0), (-1, 4), (2.5, 4)):
        with pytest.raises(CapacityError, match="must be a whole number of at least 1"):
            BlockPool(blocks, size)  # type: ignore[arg-type]


TRACED = """
import sys
from cbviz.core.interrupts import PlanTimeout, PolicyTimeout

def never_ends():
    while True:
        pass

try:
    PolicyTimeout().limit(never_ends, 0.1)
except PlanTimeout:
    print("broken off")
lines = []

def count(frame, event, argument):
    lines.append(event)
    return count

def loop():
    for _ in range(1000):
        pass

sys.settrace(count)
loop()
sys.settrace(None)
print(len(lines) > 1000)
"""


def test_code_can_be_traced_after_a_plan_was_broken_off() -> None:
    """CPython 3.11 loops forever there if the exception is called back by sending none."""
    found = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=300)
    assert found.stdout.split("\n")[:2] == ["broken off", "True"], found.stderr
