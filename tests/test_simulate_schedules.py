"""The schedule on the virtual clock is that of the real engine, event for event."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import cbviz
from cbviz.config import EngineConfig, KVOptions
from cbviz.errors import CalibrationError, WorkloadError
from cbviz.models import LoadedModel, load
from cbviz.policies import TGI, Orca, Policy, Sarathi, Static, VllmV0, VllmV1
from cbviz.run.build import build_engine, build_executor
from cbviz.run.virtual import VirtualSetup, virtual_engine
from cbviz.simulator import CostModel, Work
from cbviz.trace import Recorder, Trace
from cbviz.workload import Request, Workload

COST = CostModel(iteration=0.01, decode=0.001, prefill_token=0.0001)
TIMES = ("t_start", "t_end")


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu", progress=False)


def work(n: int = 14, unit: str = "iterations", seed: int = 2) -> Workload:
    rng = random.Random(seed)
    arrivals = sorted(rng.choice([0.0, float(rng.randint(0, 30))]) for _ in range(n))
    requests = []
    for i, arrival in enumerate(arrivals):
        length = rng.randint(1, 12)
        prompt = tuple(rng.randint(3, 98) for _ in range(rng.choice([1, rng.randint(2, 20)])))
        requests.append(Request(i, prompt, length + rng.randint(0, 5), arrival=arrival, output_length=length))
    return Workload("mixed", tuple(requests), arrival_unit=unit)  # type: ignore[arg-type]


def real(model: LoadedModel, policy: Policy, served: Workload, setup: VirtualSetup) -> Trace:
    """A run of the model with the metadata of the simulated one, so that only times and tokens may differ."""
    _, meta = virtual_engine(policy, served, setup, 1.0)
    config = EngineConfig(
        setup.slots, meta.total_blocks, setup.block_size, kv=setup.kv, lag=setup.lag, context_limit=served.longest
    )
    engine = build_engine(build_executor(model, config, served), policy, config, served.arrival_unit)
    recorder = Recorder(meta, served)
    for event in engine.run(served):
        recorder.add(event)
    return recorder.trace()


def columns(trace: Trace) -> Iterator[tuple[str, Any]]:
    """Every column of every table but times and tokens."""
    for table in ("requests", "iterations", "spans", "marks"):
        rows = getattr(trace, table)
        for name in rows.__dataclass_fields__:
            if name not in (*TIMES, "tokens", "pieces", "prompt"):
                yield f"{table}.{name}", getattr(rows, name)


CASES: dict[str, tuple[Policy, int | None, int, KVOptions]] = {
    "static": (Static(), None, 0, KVOptions()),
    "continuous": (cbviz.Continuous(), None, 1, KVOptions()),
    "orca in tight memory": (Orca("power_of_two"), 14, 0, KVOptions()),
    "tgi": (TGI(), None, 1, KVOptions()),
    "vllm_v0 preempting": (VllmV0(), 12, 0, KVOptions()),
    "vllm_v1 chunking and preempting": (VllmV1(6), 10, 1, KVOptions()),
    "vllm_v1 swapping": (VllmV1(12), 10, 0, KVOptions(preemption="swap")),
    "vllm_v1 with a prefix cache": (VllmV1(12), 12, 0, KVOptions(prefix_cache=True)),
    "sarathi chunking and preempting": (Sarathi(6), 10, 0, KVOptions()),
}


@pytest.mark.parametrize("case", CASES)
def test_the_simulated_schedule_is_that_of_the_real_engine(tiny: LoadedModel, case: str) -> None:
    policy, blocks, lag, kv = CASES[case]
    served = work()
    simulated = cbviz.simulate(
        served,
        policy,
        cost=COST,
        slots=4,
        block_size=4,
        kv_blocks=blocks,
        lag=lag,
        prefix_cache=kv.prefix_cache,
        preemption=kv.preemption,
    )
    measured = real(tiny, policy, served, VirtualSetup(4, 4, blocks, None, lag, kv))
    for (name, found), (_, expected) in zip(columns(simulated), columns(measured), strict=True):
        same = np.array_equal(found, expected) if isinstance(found, np.ndarray) else found == expected
        assert same, f"{case}: {name}"
    assert simulated.meta.clock == "virtual"
    assert ("preempting" not in case) or simulated.requests.preemptions.sum() > 0
    assert ("prefix" not in case) or len(simulated.iterations) > 0


def test_seconds_are_those_of_the_formula() -> None:
    """By hand: two prompts of 3 and 1, outputs of 2, in one iteration each."""
    cost = CostModel(1.0, decode=0.1, kv_token=0.01, prefill_token=0.5, attention=0.25, prefill=2.0)
    requests = tuple(Request(i, (5,) * n, 2, output_length=2) for i, n in enumerate((3, 1)))
    trace = cbviz.simulate(Workload("two", requests), "continuous", cost=cost, slots=2)
    first = 1.0 + 0.1 + 0.01 + 0.5 * 3 + 0.25 * 4.5 + 2.0  # a prompt of one token is a row of one token
    second = 1.0 + 0.2 + 0.01 * (4 + 2)
    assert trace.iterations.t_end.tolist() == pytest.approx([first, first + second])


def test_an_interrupt_returns_what_was_served(monkeypatch: pytest.MonkeyPatch) -> None:
    real_add, seen = Recorder.add, []

    def add(self: Recorder, event: Any) -> None:
        real_add(self, event)
        seen.append(event)
        if len(seen) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "add", add)
    trace = cbviz.simulate(work(), "continuous", cost=COST, slots=2)
    assert len(trace.iterations) == 5
    assert "stopped" in trace.meta.extra["warnings"][0]


def test_bad_input_is_answered_by_a_sentence() -> None:
    open_ended = Workload("open", (Request(7, (1,), 4),))
    for given, error, sentence in (
        ((open_ended, "continuous", COST), WorkloadError, "request 7 has no output_length"),
        (("text", "continuous", COST), WorkloadError, "must be a Workload"),
        ((work(), "continuous", "no-such"), CalibrationError, "there is no calibration no-such"),
    ):
        for run in (cbviz.simulate, cbviz.forecast):
            with pytest.raises(error, match=sentence):
                run(given[0], given[1], cost=given[2])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"arrival": [0.0, -1.0]}, "row 1 arrives at -1"),
        ({"arrival": [1.0, 0.0]}, "row 1 arrives before the row above it"),
        ({"arrival": [0.0, float("nan")]}, "row 1 arrives at nan"),
        ({"arrival": []}, "at least one request"),
        ({"prompt_tokens": [3]}, "prompt_tokens has 1 rows and arrival 2"),
        ({"prompt_tokens": [3, 0]}, "row 1 has prompt_tokens 0"),
        ({"prompt_tokens": ["a", "b"]}, "must be a list of whole numbers"),
        ({"output_tokens": [3, 2.5]}, "must be a list of whole numbers"),
        ({"max_new_tokens": [9, 1]}, "row 1 has an output longer than its max_new_tokens"),
        ({"id": [4, 4]}, "share an id"),
        ({"arrival_unit": "days"}, "arrival_unit"),
    ],
)
def test_columns_that_make_no_sense_name_the_row(change: dict[str, Any], sentence: str) -> None:
    sound: dict[str, Any] = {"arrival": [0.0, 1.0], "prompt_tokens": [3, 4], "output_tokens": [2, 2]}
    Work(**sound)
    with pytest.raises(WorkloadError, match=sentence):
        Work(**{**sound, **change})


def test_columns_and_requests_are_two_forms_of_the_same_work() -> None:
    from cbviz.workload import ExponentialClipped, Poisson, synthetic

    laws: dict[str, Any] = {"prompt_tokens": ExponentialClipped(20, 60), "seed": 4}
    drawn = Work.draw(50, ExponentialClipped(9, 30), Poisson(3), **laws)
    other = Work.of(synthetic(50, ExponentialClipped(9, 30), Poisson(3), vocabulary=500, **laws))
    again = Work.of(drawn.workload())
    for name in ("arrival", "prompt_tokens", "output_tokens", "max_new_tokens", "id"):
        assert getattr(drawn, name).tolist() == getattr(other, name).tolist() == getattr(again, name).tolist()
    assert len(drawn.first(7)) == 7
