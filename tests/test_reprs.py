"""What is printed at a prompt is short: no result shows whole arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import cbviz
from cbviz import measure
from cbviz.models import load
from cbviz.run.race import Race, race
from cbviz.workload.tasks import task_workload
from tests.fake_runs import request, scheduled


@pytest.fixture(scope="module")
def raced() -> Race:
    return race(load("tiny", device="cpu", progress=False), slots=2, requests=3, repeats=1, live=False)


def results(raced: Race) -> dict[str, Any]:
    static, continuous = cbviz.recorded("llama-8b-32")
    one = raced.traces[0]
    return {
        "trace": static,
        "requests": static.requests,
        "iterations": static.iterations,
        "spans": static.spans,
        "marks": static.marks,
        "latencies": measure.latencies(static),
        "comparison": measure.compare(static, continuous),
        "explanation": measure.explain(static, continuous),
        "verdict": measure.verdict(static, continuous),
        "outcome": cbviz.view.Outcome.of(static, continuous),
        "lane": raced.lanes[0],
        "model": raced.model,
        "workload": task_workload(raced.model.encode, requests=64, seed=0),
        "bench": cbviz.bench(raced.model, slots=2, requests=3, repeats=1),
        "iteration": next(iter(scheduled([request(0), request(1)], 2))),
        "empty": replace(one, meta=replace(one.meta, model="")),
    }


def test_every_result_is_one_line_without_arrays(raced: Race) -> None:
    for name, value in results(raced).items():
        shown = repr(value)
        assert "\n" not in shown, name
        assert "array(" not in shown, name
        assert len(shown) < 1_500, name


def test_a_trace_says_policy_model_requests_slots_and_iterations(raced: Race) -> None:
    one = cbviz.recorded("smollm2-8")[0]
    assert repr(one) == "<Trace of static: smollm2-135m, 48 requests on 8 slots, 631 iterations>"
    odd = replace(one, meta=replace(one.meta, policy="a\nb\x1b[31m", model=""))
    assert repr(odd) == "<Trace of a\\nb\\x1b[31m: 48 requests on 8 slots, 631 iterations>"
    assert repr(raced.workload).startswith("<Workload ")
    assert repr(raced.model) == "<LoadedModel tiny: LlamaForCausalLM in float32 on cpu>"
