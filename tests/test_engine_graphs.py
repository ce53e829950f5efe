"""The graph executor gives the answers of the eager one. Without CUDA its passes run as they are, padding and all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.core.executor import Step
from cbviz.cuda import drawing_tokens, fused_gate, graph_replay
from cbviz.cuda.attend import STATIC_PASS, LayerCall, attend
from cbviz.cuda.fused_gate import fuse_gate
from cbviz.cuda.fused_projections import fuse_projections, lay_side_by_side
from cbviz.cuda.fused_rotary import fuse_rotary, rotate
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.cuda.layout import PromptPieces, Shape, StagingBuffer
from cbviz.eager.attention_hook import working_on
from cbviz.errors import EngineError
from cbviz.events import IntArray
from cbviz.policies import Continuous, Policy, Sarathi, Static
from cbviz.workload.request import Request, Sampling
from tests.shapes import make, solo
from tests.test_engine_answers import Jumpy, requests, serve


def graph_serve(
    model: torch.nn.Module, policy: Policy, work: list[Request], *, slots: int = 4, lag: int = 0, compiled: bool = False
) -> dict[int, list[int]]:
    pool = BlockPool(64, 4)
    executor = GraphExecutor(model, slots=slots, pool=pool, lag=lag, compiled=compiled)  # type: ignore[arg-type]
    engine = Engine(executor, policy, slots=slots, pool=pool, lag=lag)
    for _ in engine.run(work):
        pass
    assert pool.free == pool.blocks
    return {r.id: engine.output(r.id) for r in work}


@pytest.mark.parametrize("architecture", ["llama", "qwen2-sliding", "qwen3", "gpt2", "opt"])
def test_padding_and_packing_change_no_answer(architecture: str) -> None:
    model, work = make(architecture), requests(10)
    alone = {r.id: solo(model, r) for r in work}
    assert graph_serve(model, Continuous(), work, lag=1) == alone


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("policy", [Static(), Jumpy()])
def test_every_kind_of_row(policy: Policy, lag: int) -> None:
    model, work = make("llama"), requests(12, seed=3)
    alone = {r.id: solo(model, r) for r in work}
    assert graph_serve(model, policy, work, slots=5, lag=lag) == alone


def test_sampled_rows_draw_as_in_the_eager_executor() -> None:
    model = make("qwen2")
    work = [
        Request(r.id, r.prompt, r.max_new_tokens, sampling=Sampling(0.9 * (r.id % 3 > 0), top_p=0.9, seed=r.id))
        for r in requests(10, seed=7)
    ]
    assert graph_serve(model, Continuous(), work) == serve(model, Continuous(), work)


def test_a_second_executor_leaves_the_weights_where_the_first_one_s_graphs_read_them() -> None:
    model = make("llama")
    GraphExecutor(model, slots=2, pool=BlockPool(8, 4), compiled=False)
    places = [parameter.data_ptr() for parameter in model.parameters()]
    GraphExecutor(model, slots=2, pool=BlockPool(8, 4), compiled=True)
    assert [parameter.data_ptr() for parameter in model.parameters()] == places


class Moment:
    """An event of a device whose clock is a number."""

    clock = 0.0

    def __init__(self) -> None:
        self.at = Moment.clock

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, later: Moment) -> float:
        return (later.at - self.at) * 1e3


@pytest.mark.parametrize("pauses", [False, True])
def test_a_pause_of_the_caller_is_no_part_of_an_iteration(pauses: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def moment(executor: GraphExecutor) -> Moment:
        Moment.clock += 1
        return Moment()

    monkeypatch.setattr(GraphExecutor, "_event", moment)
    Moment.clock = 0.0
    work, pool = requests(2), BlockPool(64, 4)
    executor = GraphExecutor(make("llama"), slots=2, pool=pool, lag=1, compiled=False)
    engine = Engine(executor, Continuous(), slots=2, pool=pool, lag=1)
    engine.submit(*work)
    engine.step()
    engine.step()
    before = engine.now
    Moment.clock += 100
    if pauses:
        executor.pause()
    engine.step()
    engine.step()
    assert (engine.now - before < 10) == pauses


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("compiled", [False, True])
def test_tokens_that_draw_nothing_are_left_out_behind_the_last_attention(
    architecture: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []

    def watched(self: drawing_tokens.DrawingTokens, x: Tensor) -> Tensor:
        widths.append(len(self.drawing.tokens))
        return forward(self, x)

    forward = drawing_tokens.DrawingTokens.forward
    model, work = make(architecture), requests(6, seed=4)
    expected = {r.id: solo(model, r) for r in work}
    if not compiled:
        monkeypatch.setattr(drawing_tokens.DrawingTokens, "forward", watched)
    monkeypatch.setattr(drawing_tokens, "WORTH", 1)
    monkeypatch.setattr("cbviz.cuda.compiled._inductor", lambda graph_module, *_: graph_module)
    torch._dynamo.reset()
    assert graph_serve(model, Continuous(), work, lag=1, compiled=compiled) == expected
    assert graph_serve(model, Sarathi(chunk_size=3), work, lag=1, compiled=compiled) == expected
    torch._dynamo.reset()
    assert bool(widths) == (architecture != "gpt2" and not compiled), "GPT-2's layers are of another form"


@pytest.mark.parametrize("lag", [0, 1])
def test_a_full_device_ends_the_run_and_the_engine_goes_on(lag: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, work, pool = make("llama"), requests(6), BlockPool(64, 4)
    alone = {r.id: solo(model, r) for r in work}
    executor = GraphExecutor(model, slots=3, pool=pool, lag=lag, compiled=False)
    engine = Engine(executor, Continuous(), slots=3, pool=pool, lag=lag)
    engine.submit(*work)
    for _ in range(2):
        engine.step()
    executor._shapes.clear()

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    with monkeypatch.context() as patch:
        patch.setattr("cbviz.cuda.graph_replay.prepare", full)
        with pytest.raises(EngineError, match=r"ran out of memory while capturing the graph of .* ask for fewer slots"):
            finish(engine)
    assert executor._latest is None, "what failed is not in flight"
    finish(engine)
    assert {r.id: engine.output(r.id) for r in work} == alone
    assert pool.free == pool.blocks


def finish(engine: Engine) -> None:
    while engine.step() is not None:
        pass


def test_a_buffer_is_filled_again_only_when_the_device_has_fetched_it() -> None:
    """A step may have more passes than there are buffers, and the host is done with all of them long before the GPU."""
    calls: list[str] = []

    class Event:
        def synchronize(self) -> None:
            calls.append("waited")

        def record(self, stream: object) -> None:
            calls.append("sent")

    buffer = StagingBuffer(4, torch.device("cpu"))
    target = torch.zeros((1, 2), dtype=torch.int32)
    buffer.open(2)[:] = [7, 8]
    buffer.send(target)
    assert target.tolist() == [[7, 8]]
    buffer._sent = Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "current_stream", lambda device: "stream")
        for number in (1, 2):
            buffer.open(2)[:] = number
            buffer.send(target)
            assert target.tolist() == [[number, number]]
    assert calls == ["waited", "sent"] * 2


def test_prompts_longer_than_a_pass_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbviz.cuda.graph_replay.PROMPT_SIZES", (8, 16))
    monkeypatch.setattr("cbviz.cuda.graph_replay.PROMPT_LENGTHS", (8, 16))
    model, work = make("llama"), requests(10, seed=9)
    assert any(len(r.prompt) > 8 for r in work)
    alone = {r.id: solo(model, r) for r in work}
    assert graph_serve(model, Continuous(), work, slots=6) == alone


def test_many_short_prompts_take_a_graph_with_room_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [graph_replay.size_for(*wanted) for wanted in ((64, 4), (65, 4), (40, 5), (640, 128))] == [
        64,
        128,
        128,
        2048,
    ]
    assert graph_replay.size_for(9000, 1) == graph_replay.size_for(10, 600) == graph_replay.PROMPT_SIZES[-1]
    # A burst of six prompts, of which a graph has room for two: three passes, the same answers.
    monkeypatch.setattr("cbviz.cuda.graph_replay.PROMPT_SIZES", (16, 32))
    model, work = make("llama"), requests(10, seed=9)
    work = [replace(request, prompt=request.prompt[:3]) for request in work]
    alone = {r.id: solo(model, r) for r in work}
    passes: list[int] = []
    run_shape = GraphExecutor._run_shape

    def counted(self: GraphExecutor, step: Step, rows: IntArray, pieces: PromptPieces, *rest: Any) -> Shape:
        passes.append(len(pieces.row))
        shape = run_shape(self, step, rows, pieces, *rest)
        assert len(pieces.row) <= shape.prompts
        return shape

    monkeypatch.setattr(GraphExecutor, "_run_shape", counted)
    assert graph_serve(model, Continuous(), work, slots=6) == alone
    assert passes[:3] == [2, 2, 2]


@pytest.mark.parametrize("most_keys", [12, 32768])
def test_prompts_that_continue_read_what_is_cached(monkeypatch: pytest.MonkeyPatch, most_keys: int) -> None:
    monkeypatch.setattr("cbviz.cuda.graph_replay.MOST_KEYS", most_keys)
    model, work = make("llama"), requests(10, seed=5)
    alone = {r.id: solo(model, r) for r in work}
    assert graph_serve(model, Sarathi(chunk_size=6), work, slots=5, lag=1) == alone


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_compiled_layers_answer_as_the_model_does(architecture: str) -> None:
    model, work = make(architecture), requests(4)
    alone = {r.id: solo(model, r) for r in work}
    assert graph_serve(model, Continuous(), work[:3], compiled=True) == {r.id: alone[r.id] for r in work[:3]}
    assert graph_serve(model, Continuous(), work[3:], slots=1, compiled=True) == {3: alone[3]}


@pytest.mark.parametrize(("architecture", "groups"), [("llama", 6), ("opt", 3), ("gpt2", 0)])
def test_siblings_move_together_and_nothing_else_changes(architecture: str, groups: int) -> None:
    model = make(architecture)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prompt = torch.tensor([[5, 6, 7, 8]])
    logits = model(prompt).logits
    assert lay_side_by_side(model) == groups
    places = [parameter.data_ptr() for parameter in model.parameters()]
    assert lay_side_by_side(model) == groups
    assert [parameter.data_ptr() for parameter in model.parameters()] == places, "graphs may read them there"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(model(prompt).logits, logits, rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ["llama", "opt"])
def test_merged_siblings_compute_the_same(architecture: str) -> None:
    model = make(architecture)
    lay_side_by_side(model)
    merged: list[int] = []

    def backend(graph_module: torch.fx.GraphModule, example_inputs: list[torch.Tensor]) -> object:
        merged.append(fuse_projections(graph_module))
        return graph_module

    layer = model.model.layers[0].mlp if architecture == "llama" else model.model.decoder.layers[0].self_attn
    if architecture == "llama":
        function, x = layer, torch.randn(1, 5, 48)
    else:
        function, x = (lambda y: layer.q_proj(y) + 2 * layer.k_proj(y) - layer.v_proj(y)), torch.randn(1, 5, 48)
    with torch.no_grad():
        expected = function(x)
        got = torch.compile(function, backend=backend)(x)
    assert merged == [1]
    torch.testing.assert_close(got, expected)


def gated(x: Tensor, gate: Tensor, up: Tensor, form: str) -> Tensor:
    """SiLU(gate) · up, or something like it that is not."""
    left, right = F.linear(x, gate), F.linear(x, up)
    made = {
        "gated": lambda: F.silu(left) * right,
        "up first": lambda: right * F.silu(left),
        "by up": lambda: F.silu(right) * left,
        "tanh": lambda: F.gelu(left) * right,
        "twice itself": lambda: F.silu(left) * left,
        "added": lambda: F.silu(left) + right,
        "by two": lambda: F.silu(left) * 2 + right,
    }
    return made[form]()


@pytest.mark.parametrize(
    ("form", "fused"),
    [("gated", 1), ("up first", 1), ("by up", 0), ("tanh", 0), ("twice itself", 0), ("added", 0), ("by two", 0)],
)
def test_a_gated_layer_becomes_one_operator(form: str, fused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def backend(graph_module: torch.fx.GraphModule, example_inputs: list[Tensor]) -> object:
        found.append(fuse_gate(graph_module))
        assert fuse_projections(graph_module) == 1 - found[0]
        return graph_module

    monkeypatch.setattr(fused_gate, "_fits", lambda example, width, inner: (width, inner) == (12, 8))
    weights = torch.randn(12, 8)
    x = torch.randn(1, 5, 8)
    with torch.no_grad():
        expected = gated(x, weights[:6], weights[6:], form)
        got = torch.compile(gated, backend=backend)(x, weights[:6], weights[6:], form)
    assert found == [fused]
    torch.testing.assert_close(got, expected)


def test_only_small_products_on_a_recent_gpu_are_gated_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def fits(width: int, inner: int, dtype: torch.dtype = torch.bfloat16, sm: tuple[int, int] | None = (9, 0)) -> bool:
        monkeypatch.setattr(fused_gate, "capability", lambda device: SimpleNamespace(sm=sm))
        example: Any = SimpleNamespace(device=torch.device("cuda"), dtype=dtype, element_size=lambda: dtype.itemsize)
        return fused_gate._fits(example, width, inner)

    assert fits(3072, 576)
    assert fits(3072, 576, torch.float16)
    assert fits(3072, 576, sm=(10, 0))
    assert not fits(3072, 576, torch.float32)
    assert not fits(3072, 576, sm=(8, 9))
    assert not fits(3072, 576, sm=None)
    assert not fits(28672, 4096)
    assert not fits(3072, 580)
    assert not fits(3008, 576), "each of both halves must be a multiple of 64"
    assert not fused_gate._fits(torch.zeros(1, dtype=torch.bfloat16), 3072, 576)


class AskedFor:
    """Static attention that keeps whether it had to rotate, and answers with something that depends on all inputs."""

    def attend(self, call: LayerCall, static: Any) -> Tensor:
        query, key, value = call.query, call.key, call.value
        self.rotates = call.rotary is not None
        if call.rotary is not None:
            cos, sin = (x.unsqueeze(1) for x in call.rotary)
            query, key = (rotate(x, cos, sin, x.shape[-1] // 2) for x in (query, key))
        return query.contiguous() + 2 * key + 3 * value


def half_a_head(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    turned = apply_rotary_pos_emb(query[..., :8], key[..., :8], cos[..., :8], sin[..., :8])
    return tuple(torch.cat([x, y[..., 8:]], -1) for x, y in zip(turned, (query, key), strict=True))


def alike(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    return apply_rotary_pos_emb(query, key, cos, sin)


def by_wide_angles(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *wide: Tensor) -> tuple[Tensor, Tensor]:
    return apply_rotary_pos_emb(query, key, *wide)


def differently(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    return apply_rotary_pos_emb(query, query, cos, sin)[0], apply_rotary_pos_emb(key, key, sin, cos)[1]


def queries_alone(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    return apply_rotary_pos_emb(query, query, cos, sin)[0], key


@pytest.mark.parametrize(
    ("turn", "dtype", "fused"),
    [
        (alike, torch.float32, 1),
        (alike, torch.bfloat16, 1),
        (by_wide_angles, torch.float32, 1),
        (by_wide_angles, torch.bfloat16, 0),
        (differently, torch.float32, 0),
        (queries_alone, torch.float32, 0),
        (half_a_head, torch.float32, 0),
    ],
)
def test_attention_rotates_where_it_can(
    turn: Callable[..., tuple[Tensor, Tensor]], dtype: torch.dtype, fused: int
) -> None:
    counts: list[int] = []

    def backend(graph_module: torch.fx.GraphModule, example_inputs: list[Tensor]) -> object:
        counts.append(fuse_rotary(graph_module))
        return graph_module

    def layer(query: Tensor, key: Tensor, value: Tensor, *angles: Tensor) -> Tensor:
        query, key = turn(query, key, *angles)
        output: Tensor = attend(query, key, value.to(query.dtype), 0.25, 0)
        return output

    query, key, value = torch.randn(3, 1, 2, 5, 16, dtype=dtype)
    cos, sin = torch.randn(2, 1, 5, 16)
    inputs = (query, key, value, cos.to(dtype), sin.to(dtype), cos, sin)
    asked = AskedFor()
    static: Any = SimpleNamespace(attention=asked, layer=0)
    with torch.no_grad(), working_on(STATIC_PASS, static):
        expected = layer(*inputs)
        assert not asked.rotates
        got = torch.compile(layer, backend=backend)(*inputs)
    assert (counts, asked.rotates) == ([fused], bool(fused))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(("architecture", "layers"), [("llama", 3), ("qwen3", 3), ("opt", 0)])
def test_whole_models_with_gated_layers_answer_the_same(
    architecture: str, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def counting(graph_module: torch.fx.GraphModule) -> int:
        counts.append(fuse_gate(graph_module))
        return counts[-1]

    def traced(graph_module: torch.fx.GraphModule, example_inputs: list[Tensor], settings: object) -> object:
        return graph_module

    monkeypatch.setattr(fused_gate, "_fits", lambda *_: True)
    monkeypatch.setattr("cbviz.cuda.compiled.fuse_gate", counting)
    monkeypatch.setattr("cbviz.cuda.compiled._inductor", traced)
    model, work = make(architecture), requests(4)
    torch._dynamo.reset()
    answers = graph_serve(model, Continuous(), work, compiled=True)
    assert answers == {r.id: solo(model, r) for r in work}
    assert max(counts) == layers
    torch._dynamo.reset()


@pytest.mark.parametrize(("architecture", "layers"), [("llama", 3), ("qwen2-sliding", 1), ("qwen3", 3), ("opt", 0)])
def test_whole_models_leave_their_rotation_to_attention(
    architecture: str, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def counting(graph_module: torch.fx.GraphModule, example_inputs: list[Tensor], settings: object) -> object:
        counts.append(fuse_rotary(graph_module))
        return graph_module

    monkeypatch.setattr("cbviz.cuda.compiled._inductor", counting)
    model, work = make(architecture), requests(4)
    torch._dynamo.reset()
    answers = graph_serve(model, Continuous(), work, compiled=True)
    assert answers == {r.id: solo(model, r) for r in work}
    assert max(counts) == layers  # of those that are compiled together
    torch._dynamo.reset()
