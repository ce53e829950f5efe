"""Weights in int8: their bytes, their rounding, their answers; without torchao one sentence."""

from __future__ import annotations

import builtins
import logging
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from int8 import Int8Result, agreement, int8

from cbviz.config import EngineConfig
from cbviz.cuda.fused_projections import lay_side_by_side
from cbviz.errors import ModelError
from cbviz.models import LoadedModel, load, quantised, quiet_imports
from cbviz.policies import Continuous
from cbviz.run.model_workload import choose_workload
from cbviz.run.progress import SilentProgress
from cbviz.run.rates import COPY_BYTES, SQUARE
from cbviz.run.timed_run import Setting
from cbviz.trace import Trace


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("tiny", device="cpu", progress=False)


@pytest.fixture(scope="module")
def small() -> LoadedModel:
    return load("tiny", device="cpu", weights="int8", progress=False)


def answers(loaded: LoadedModel, graphs: bool = False) -> Trace:
    work = choose_workload(loaded, requests=4)
    setting = Setting(loaded, Continuous(), work, EngineConfig(4, 60, 16, backend="graphs" if graphs else "sdpa"))
    lane = setting.timed(setting.executor(SilentProgress()), record=True).lane
    assert lane is not None
    return lane.trace()


def test_bytes_are_those_of_rows_of_int8_and_a_scale_each(tiny: LoadedModel, small: LoadedModel) -> None:
    linears = [p for name, p in tiny.model.named_parameters() if name.endswith("proj.weight")]
    rest = tiny.weight_bytes - sum(p.numel() * 4 for p in linears)
    stored = small.weight_bytes - rest
    numbers, rows = sum(p.numel() for p in linears), sum(p.shape[0] for p in linears)
    assert numbers + 4 * rows <= stored <= numbers + 12 * rows, "a scale, perhaps a zero point, for each row"
    assert small.parameters == tiny.parameters
    assert (small.weights, tiny.weights, small.dtype) == ("int8", "", torch.float32)
    assert small.kv_bytes_per_token == tiny.kv_bytes_per_token


def test_a_weight_is_off_by_half_a_step_at_most(tiny: LoadedModel, small: LoadedModel) -> None:
    exact = tiny.model.model.layers[0].mlp.down_proj.weight
    rounded = small.model.model.layers[0].mlp.down_proj.weight.dequantize()
    step = exact.abs().amax(dim=1, keepdim=True) / 127
    assert ((exact - rounded).abs() <= 0.51 * step).all()
    assert (exact != rounded).any()
    head, table = small.model.get_output_embeddings(), small.model.get_input_embeddings()
    assert head.weight is table.weight, "the output layer is left as it was"


def test_answers_are_still_right_eager_and_in_static_passes(tiny: LoadedModel, small: LoadedModel) -> None:
    before = answers(tiny)
    for graphs in (False, True):
        after = answers(small, graphs)
        assert after.requests.tokens == before.requests.tokens
        assert after.meta.extra["weights"] == "int8"


def test_quantised_weights_are_not_moved(small: LoadedModel) -> None:
    before = small.model.model.layers[0].self_attn.q_proj.weight
    assert lay_side_by_side(small.model) == 0
    assert small.model.model.layers[0].self_attn.q_proj.weight is before


@pytest.fixture(scope="module")
def measured() -> Int8Result:
    kept = COPY_BYTES["cpu"], SQUARE["cpu"]
    COPY_BYTES["cpu"], SQUARE["cpu"] = 2**20, 64
    try:
        return int8("tiny", requests=6, slots=3, repeats=1, device="cpu")
    finally:
        COPY_BYTES["cpu"], SQUARE["cpu"] = kept


def test_what_int8_changes_is_measured(measured: Int8Result) -> None:
    before, after = measured.weight_bytes
    assert after < before / 3
    assert measured.kv_tokens_gained == (before - after) // 2048
    assert all(seconds > 0 for seconds in measured.step_seconds)
    assert measured.plain.weights == ""
    assert measured.int8.to_json()["weights"] == "int8"
    found = measured.agreement
    assert found is not None
    assert found.requests == 6
    assert found.identical + len(found.partings) == 6
    assert 0.9 < found.next_token <= 1
    assert found.before_parting <= found.tokens == measured.plain.output_tokens
    text = str(measured)
    assert f"room for {measured.kv_tokens_gained:,} more tokens" in text
    assert measured.to_json()["agreement"]["identical"] == found.identical


def test_partings_are_counted(tiny: LoadedModel) -> None:
    """Of two runs of one model the second is given another third token: one answer parts, at position 2."""
    honest = answers(tiny)
    work = choose_workload(tiny, requests=4)
    same = agreement(tiny, work, honest, honest)
    assert (same.identical, same.next_token, same.partings) == (4, 1.0, {})
    assert same.before_parting == same.tokens
    rows = list(honest.requests.tokens)
    rows[1] = (*rows[1][:2], rows[1][2] + 1, *rows[1][3:])
    other = replace(honest, requests=replace(honest.requests, tokens=tuple(rows)))
    found = agreement(tiny, work, honest, other)
    assert found.partings == {int(honest.requests.id[1]): 2}
    assert found.before_parting == found.tokens - len(rows[1]) + 2
    assert agreement(tiny, work, other, honest).next_token < 1, "the model itself would not have said that"


def test_what_makes_no_sense(small: LoadedModel, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="weights of tiny are int8 already"):
        quantised(small)
    for weights in ("int4", "", 8):
        with pytest.raises(ModelError, match=r"as None \(as dtype says\) or 'int8', not"):
            load("tiny", weights=weights)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="a model that it loads itself, by name"):
        int8(tiny)  # type: ignore[arg-type]
    honest = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("torchao"):
            raise ImportError(name)
        return honest(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelError, match=r"int8 weights need torchao; run: pip install 'cbviz\[int8\]'"):
        load("tiny", weights="int8")


def test_torchao_is_quiet_and_its_errors_are_heard() -> None:
    code = "import cbviz.eager.eager_executor, torchao, sys; print('torchao' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("True\n", "")
    record = logging.LogRecord("torchao", logging.ERROR, "", 0, "Failed to load the weights", None, None)
    assert quiet_imports._heard(record)
