"""From event to event: the same times as iteration by iteration, whatever the policy, memory, lag and arrivals."""

from __future__ import annotations

import math
import random
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import cbviz
from cbviz.config import KVOptions
from cbviz.errors import PolicyError, WorkloadError
from cbviz.measure.queueing import littles_law, pollaczek_khinchine
from cbviz.policies import Continuous, Orca, Policy, Sarathi, Static, VllmV1, fresh
from cbviz.run.forecast import _looped
from cbviz.run.progress import SilentProgress
from cbviz.run.under_load import little_of
from cbviz.run.virtual import VirtualSetup
from cbviz.simulator import CostModel, Forecast, Work, fast, worth_compiling
from cbviz.simulator.asking import AskingLoop, GaveUpError
from cbviz.simulator.fast import Memory, can_skip, plain_work, skipping_forecast
from cbviz.simulator.growing import until_growth
from cbviz.simulator.skip import span, until_arrival
from cbviz.workload import ExponentialClipped, Poisson
from tests.schedulers import UNDER_TEST

CLOSE = 1e-9
COST = CostModel(iteration=1.0, decode=0.25, kv_token=0.125, prefill_token=0.5, attention=0.25, prefill=0.5)


def compare(
    policy: Policy,
    work: Work,
    memory: Memory,
    cost: CostModel,
    lag: int,
    clients: int | None,
    *,
    plain: bool = True,
    quantum: int = fast.QUANTUM_PLAIN,
) -> Forecast:
    """Both ways to serve; returns the fast one, which puts its state down after every `quantum` requests."""
    setup = VirtualSetup(
        memory.slots, memory.block_size, memory.blocks, memory.context_limit, lag, KVOptions(), clients
    )
    slow = _looped(work, work, fresh(policy), cost, setup, SilentProgress())
    quick = skipped(policy, work, memory, cost, lag, clients, plain=plain, quantum=quantum)
    same(quick, slow)
    return quick


def skipped(
    policy: Policy,
    work: Work,
    memory: Memory,
    cost: CostModel,
    lag: int,
    clients: int | None,
    *,
    plain: bool,
    quantum: int,
) -> Forecast:
    """From event to event."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "QUANTUM_PLAIN", quantum)
        patch.setattr(fast, "QUANTUM_COMPILED", quantum)
        served = skipping_forecast(policy, work, cost, memory, lag, clients=clients, plain=plain)
    assert served is not None
    return served[0]


def same(quick: Forecast, slow: Forecast) -> None:
    """Times within a billionth, and equal counts."""
    for name in ("arrival", "admitted", "first_token", "finished"):
        expected, found = getattr(slow, name), getattr(quick, name)
        assert np.allclose(found, expected, rtol=CLOSE, atol=CLOSE, equal_nan=True), name
    assert quick.iterations == slow.iterations
    assert quick.preemptions.tolist() == slow.preemptions.tolist()
    assert quick.useful_slot_iterations == slow.useful_slot_iterations
    assert quick.reached == slow.reached
    assert math.isclose(quick.seconds, slow.seconds, rel_tol=CLOSE)
    little_of(quick)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Policy, Work, Memory, CostModel, int, int | None]:
    """Small work under tight limits. Half of it is on a grid of exact fractions, where times tie."""
    whole = st.integers
    n, slots, size = draw(whole(1, 12)), draw(whole(1, 6)), draw(st.sampled_from([1, 2, 4, 16]))
    prompts = draw(st.lists(whole(1, 12), min_size=n, max_size=n))
    outputs = draw(st.lists(whole(1, 9), min_size=n, max_size=n))
    most = [length + draw(whole(0, 6)) for length in outputs]
    ticks = sorted(draw(st.lists(whole(0, 200), min_size=n, max_size=n)))
    grid = draw(st.booleans())
    scale = 1 / 8 if grid else draw(st.floats(0.01, 1))
    coefficients = [draw(whole(0, 4)) * (1 / 4 if grid else draw(st.floats(0.01, 1))) for _ in range(6)]
    if not any(coefficients):
        coefficients[0] = 1.0
    clients = draw(st.none() | whole(1, 6))
    arrival = [0.0] * n if clients else [tick * scale for tick in ticks]
    work = Work(arrival, prompts, outputs, most)  # type: ignore[arg-type]
    least = -(-work.longest // size)
    blocks = least + draw(whole(0, least * 2))
    memory = Memory(slots, blocks, size, draw(st.sampled_from([work.longest, blocks * size])))
    budget = draw(whole(1, 8))
    lengths = dict(enumerate(outputs))
    policy = draw(
        st.sampled_from(
            [
                Static(),
                Static(run_to=budget),
                Continuous(),
                Orca(),
                Orca("power_of_two"),
                Orca("maximum"),
                Orca("oracle", lengths=lengths),
                VllmV1(),
                VllmV1(budget),
                VllmV1(budget, draw(whole(0, 3)), draw(st.booleans())),
                Sarathi(),
                Sarathi(budget, watermark=draw(st.sampled_from([0.0, 0.1, 0.4]))),
            ]
        )
    )
    return policy, work, memory, CostModel(*coefficients), draw(whole(0, 1)), clients


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(), st.sampled_from([1, 3, fast.QUANTUM_PLAIN]))
def test_events_give_the_times_of_iterations(
    case: tuple[Policy, Work, Memory, CostModel, int, int | None], quantum: int
) -> None:
    policy, work, memory, cost, lag, clients = case
    if can_skip(policy, work, memory):
        compare(policy, work, memory, cost, lag, clients, quantum=quantum)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(), st.sampled_from(sorted(UNDER_TEST)))
@example(  # iterations that take no time: what their ends let arrive is seen one plan later
    (Static(), Work([0.0] * 5, [1, 4, 1, 1, 2], [1] * 5), Memory(2, 5, 1, 5), CostModel(0.0, 0.0, prefill=0.25), 1, 2),
    "continuous",
)
def test_the_plain_loop_gives_the_times_of_the_engine(
    case: tuple[Policy, Work, Memory, CostModel, int, int | None], name: str
) -> None:
    """Every policy, asked before every iteration; where the engine refuses a plan, the plain loop gives up."""
    _, work, memory, cost, lag, clients = case
    if not plain_work(work, memory):
        return
    quick = AskingLoop(UNDER_TEST[name](), work, cost, memory, lag, clients)
    setup = VirtualSetup(
        memory.slots, memory.block_size, memory.blocks, memory.context_limit, lag, KVOptions(), clients
    )
    try:
        slow = _looped(work, work, UNDER_TEST[name](), cost, setup, SilentProgress())
    except PolicyError:
        with pytest.raises(GaveUpError):
            quick.run(lambda done: None)
        return
    assert quick.run(lambda done: None)
    same(quick.forecast(), slow)


TIGHT = Memory(slots=4, blocks=14, block_size=4, context_limit=56)


def drawn(n: int = 40, rate: float = 0.05, seed: int = 3) -> Work:
    rng = random.Random(seed)
    arrival = np.cumsum([rng.expovariate(rate) for _ in range(n)])
    lengths = [[rng.randint(1, 24) for _ in range(n)] for _ in range(2)]
    return Work(arrival, *lengths)  # type: ignore[arg-type]


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("policy", [VllmV1(6), VllmV1(9, 4, False), Sarathi(6), Sarathi(12, watermark=0.2)], ids=str)
def test_memory_that_runs_out_preempts_alike(policy: Policy, lag: int) -> None:
    """Prompts in chunks, and more than a few preemptions: what hypothesis seldom draws."""
    assert compare(policy, drawn(), TIGHT, COST, lag, None).preemptions.sum() > 5


LONG = Memory(slots=12, blocks=60, block_size=4, context_limit=120)
GROWING = [
    VllmV1(24),  # a budget for all decodes, and for some chunks beside them
    VllmV1(40, 5),  # rows behind a prompt in chunks decode already
    VllmV1(7, 0, False),  # a budget that decodes alone exceed
    VllmV1(9, 3, False),
    Sarathi(24),
    Sarathi(5, watermark=0.1),  # decodes beyond the budget
]


@pytest.mark.parametrize("policy", GROWING, ids=str)
def test_long_runs_agree_with_the_plain_loop(policy: Policy) -> None:
    """Hundreds of requests, with preemptions in all states of a row; the plain loop is held to the engine's above."""
    rng = np.random.default_rng(5)
    n = 200
    work = Work(np.cumsum(rng.exponential(9.0, n)), rng.integers(1, 40, n), rng.integers(1, 60, n))
    for lag, quantum in ((0, 7), (1, n)):
        loop = AskingLoop(fresh(policy), work, COST, LONG, lag, None)
        assert loop.run(lambda done: None)
        for plain in (True, False):  # without numba both are plain
            found = skipped(policy, work, LONG, COST, lag, None, plain=plain, quantum=quantum)
            same(found, loop.forecast())
        assert found.preemptions.sum() > 5


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=9),
    st.integers(0, 40),
    st.integers(1, 60),
    st.integers(0, 90),
)
def test_growth_is_found_by_arithmetic(due: list[int], iteration: int, k: int, free: int) -> None:
    """Counting iterations one by one finds the same."""
    rows = sum(due)
    if not rows:
        return
    fit = taken = 0
    while fit < k and taken + due[(iteration + fit) % len(due)] <= free:
        taken += due[(iteration + fit) % len(due)]
        fit += 1
    assert until_growth(due, iteration, k, rows, free) == (fit, taken)


@pytest.mark.parametrize("policy", [Continuous(), Static(), VllmV1(6), Sarathi(6)], ids=lambda policy: policy.name)
def test_compiled_kernels_give_the_same(policy: Policy) -> None:
    pytest.importorskip("numba", reason="compiling needs numba (cbviz[fast])")
    for lag in (0, 1):
        found = compare(policy, drawn(), TIGHT, COST, lag, None, plain=False)
        assert found.how == "compiled"


@given(st.integers(1, 50), st.integers(0, 1), st.floats(0, 40), st.floats(0, 2), st.floats(0, 0.2), st.floats(-1, 40))
def test_an_arrival_is_found_by_arithmetic(k: int, lag: int, now: float, s: float, q: float, gap: float) -> None:
    """Counting iterations one by one finds the same."""
    arrival = now + gap
    found = until_arrival(k, lag, now, arrival, s, q)
    counted = next((m + lag for m in range(1 - lag, k - lag) if now + span(m, s, q) >= arrival), k)
    assert found == counted


def test_the_forecast_chooses_how() -> None:
    work = drawn(12)
    options: dict[str, Any] = {"cost": COST, "slots": 3}
    for policy in ("static", "continuous", "orca", "vllm_v1", "sarathi"):
        assert cbviz.forecast(work, policy, **options).how in ("skipping", "compiled")
    assert cbviz.forecast(work, "tgi", **options).how == "loop"
    assert cbviz.forecast(work, VllmV1(priority={0: 1}), **options).how == "loop"
    assert cbviz.forecast(work, "continuous", **options, prefix_cache=True).how == "loop"


def test_a_process_that_serves_few_requests_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes seconds, so it waits until so many requests were served that it pays, and the times are equal."""
    tried = []

    class Compiled:
        typeof_pyval = staticmethod(type)

        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def compile(self, types: Any) -> None:
            tried.append(self.kernel)

        def __call__(self, *arguments: Any) -> Any:
            return self.kernel(*arguments)

    monkeypatch.setattr("cbviz.jit.compiled", Compiled)
    monkeypatch.setattr(worth_compiling, "_served", {})
    work = drawn(40)
    monkeypatch.setattr(worth_compiling, "COMPILE_FROM", 3 * len(work))
    options: dict[str, Any] = {"cost": COST, "slots": 3}
    found = [cbviz.forecast(work, "continuous", **options) for _ in range(4)]
    assert [one.how for one in found] == ["skipping", "skipping", "compiled", "compiled"]
    assert len(tried) == 2
    assert all((one.finished == found[0].finished).all() for one in found)
    assert cbviz.forecast(work, "static", **options).how == "skipping"  # every kernel is compiled by itself


def test_forecast_and_trace_agree() -> None:
    """`simulate` and `forecast` are two ways to say one thing."""
    work = drawn(30)
    trace = cbviz.simulate(work, "vllm_v1", cost=COST, slots=3, kv_blocks=9, lag=1)
    found = cbviz.forecast(work, "vllm_v1", cost=COST, slots=3, kv_blocks=9, lag=1)
    measured = cbviz.measure.latencies(trace)
    for name, other in (("ttft", "ttft"), ("tpot", "tpot"), ("e2e", "e2el"), ("queue", "queue")):
        assert np.allclose(getattr(found, name), getattr(measured, other), rtol=1e-9, equal_nan=True), name
    assert found.occupancy == pytest.approx(trace.occupancy)
    assert found.tokens_per_second == pytest.approx(trace.tokens_per_second)
    assert found.preemptions.tolist() == trace.requests.preemptions.tolist()


def test_a_closed_loop_keeps_its_clients_busy() -> None:
    work = Work([0.0] * 60, [5] * 60, [7] * 60)  # type: ignore[arg-type]
    found = cbviz.forecast(work, "continuous", cost=CostModel(1.0), slots=8, clients=4)
    assert little_of(found).in_system == pytest.approx(4)
    assert found.arrival[:4].tolist() == [0.0] * 4
    assert sorted(found.arrival[4:]) == sorted(found.finished)[:56]
    with pytest.raises(WorkloadError, match="closed loop"):
        cbviz.forecast(drawn(), "continuous", cost=COST, clients=4)


def test_one_slot_waits_as_pollaczek_and_khinchine_say() -> None:
    """Constant service of one token: λE[S²]/2(1-λE[S]) in the queue; an iteration begins when a request comes."""
    rate, service, n = 0.7, 1.0, 200_000
    work = Work.draw(n, 1, Poisson(rate), prompt_tokens=1, seed=5)
    found = cbviz.forecast(work, "continuous", cost=CostModel(iteration=service), slots=1)
    assert found.queue.mean() == pytest.approx(pollaczek_khinchine(rate, service, service**2), rel=0.03)


def test_all_at_zero_is_over_when_the_closed_form_says() -> None:
    lengths = random.Random(1).choices(range(1, 60), k=200)
    work = Work([0.0] * 200, [1] * 200, lengths)  # type: ignore[arg-type]
    found = cbviz.forecast(work, "continuous", cost=CostModel(1.0), slots=7)
    assert found.iterations == cbviz.measure.continuous_iterations(lengths, 7) == round(found.seconds)
    batches = cbviz.forecast(work, "static", cost=CostModel(1.0), slots=7)
    assert batches.iterations == cbviz.measure.static_iterations(lengths, 7) == round(batches.seconds)


def test_an_interrupt_leaves_what_was_served(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work.draw(30_000, ExponentialClipped(mean=8, cap=30), prompt_tokens=4)
    monkeypatch.setattr("cbviz.simulator.fast.QUANTUM_PLAIN", 5_000)
    monkeypatch.setattr("cbviz.jit.compiled", lambda kernel: None)

    class Interrupting(SilentProgress):
        def advance(self, title: str, steps: int = 1, note: str = "") -> None:
            signal.raise_signal(signal.SIGINT)

    for policy in ("continuous", "vllm_v1"):
        found = cbviz.forecast(work, policy, cost=COST, slots=8, progress=Interrupting())
        assert 0 < found.completed.sum() < len(work)
        assert any("stopped" in warning for warning in found.warnings)
        assert little_of(found).error < CLOSE


def test_the_loop_is_interrupted_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbviz.simulator.asking.BETWEEN_LOOKS", 16)

    class Interrupting(SilentProgress):
        def advance(self, title: str, steps: int = 1, note: str = "") -> None:
            raise KeyboardInterrupt

    found = cbviz.forecast(drawn(), "tgi", cost=COST, slots=2, progress=Interrupting())
    assert found.how == "loop"
    assert 0 < found.completed.sum() < 40


def test_what_cannot_be_served_is_refused_as_by_the_engine() -> None:
    work = Work([0.0], [40], [8])  # type: ignore[arg-type]
    for policy in ("continuous", "tgi", "vllm_v1"):
        with pytest.raises(cbviz.CbvizError, match="it can never run"):
            cbviz.forecast(work, policy, cost=COST, kv_blocks=2)
    with pytest.raises(PolicyError, match="lengths must be the true ones"):
        cbviz.forecast(work, Orca("oracle", lengths={0: 3}), cost=COST)


def test_outside_the_range_there_is_a_warning() -> None:
    cost = cbviz.simulator.load_cost("h100-llama-3.1-8b")
    most = cost.origin.extent.decodes  # type: ignore[union-attr]
    work = Work([0.0] * (most + 1), [1] * (most + 1), [2] * (most + 1))  # type: ignore[arg-type]
    inside = cbviz.forecast(work, "continuous", cost=cost, slots=most)
    beyond = cbviz.forecast(work, "continuous", cost=cost, slots=most + 1)
    assert not inside.warnings
    assert str(most + 1) in beyond.warnings[0]
    trace = cbviz.simulate(work, "continuous", cost=cost, slots=most + 1)
    assert trace.meta.extra["warnings"] == list(beyond.warnings)


def test_little_finds_a_wrong_time() -> None:
    found = cbviz.forecast(drawn(), "continuous", cost=COST)
    late = replace(found, arrival=found.finished + 1)
    with pytest.raises(cbviz.CbvizError, match="leaves before it arrives"):
        little_of(late)
    assert littles_law([], [], 1.0).in_system == 0
