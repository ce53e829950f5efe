"""Which models the engine serves, and how: right to the last token, or refused by name when they are made ready."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

import cbviz
from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.cuda.reasons import why_not_captured
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.errors import CapacityError, CbvizError, EngineError, ModelError
from cbviz.models import LoadedModel, load, masks
from cbviz.models.masks import Mask
from cbviz.models.modules import configurations, twin
from cbviz.models.served import attention_needs
from cbviz.policies import Continuous, VllmV1
from tests.shapes import make
from tools import shrink, sweep_models

LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 8,
    "long_factor": [4.0] * 8,
    "factor": 2.0,
    "original_max_position_embeddings": 64,
}


@pytest.fixture(autouse=True)
def _short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half as many output tokens as the sweep asks for: a window of 8 and a tight pool show all the same."""
    monkeypatch.setattr(sweep_models, "OUTPUTS", 12)


def small(kind: str, **changes: Any) -> PreTrainedModel:
    return shrink.small_model(shrink.small_config(kind, **changes))


SERVED: list[tuple[str, dict[str, Any]]] = [
    ("qwen3_moe", {}),
    ("mixtral", {"sliding_window": 6}),
    ("qwen2_moe", {"use_sliding_window": True, "max_window_layers": 1}),
    ("phimoe", {"sliding_window": 6}),
    ("deepseek_v3", {}),
    ("jetmoe", {}),
    ("mimo_v2_flash", {}),
    ("gemma4_text", {"num_kv_shared_layers": 0}),
    ("gemma4_text", {}),
    ("gpt_oss", {}),
    ("gemma2", {}),
    ("diffllama", {}),
    ("nemotron", {}),
    ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 64}),
    ("bert", {"is_decoder": True}),
]


@pytest.mark.parametrize(("kind", "changes"), SERVED)
def test_answers_are_those_of_generate_in_every_mode(kind: str, changes: dict[str, Any]) -> None:
    (model, right), work = sweep_models.telling_model(kind, changes), sweep_models.requests()
    assert isinstance(right, dict), right
    for name, policy, options in sweep_models.modes():
        assert sweep_models.served(model, work, policy, options) == right, name


@pytest.mark.parametrize("kind", ["qwen3_moe", "deepseek_v3", "gpt_oss", "gemma2", "gemma4_text"])
def test_static_passes_answer_like_eager_ones(kind: str) -> None:
    """What a GPU without graphs never runs is right all the same: shapes, sinks, caps."""
    model, work = small(kind), sweep_models.requests()[:3]
    pool = BlockPool(80, 4)
    engine = Engine(GraphExecutor(model, slots=3, pool=pool, compiled=False), Continuous(), slots=3, pool=pool)
    for _ in engine.run(work):
        pass
    assert {r.id: engine.output(r.id) for r in work} == {r.id: sweep_models.alone(model, r) for r in work}


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("bert", {}, r"'bert' model cannot be served: bert.encoder.layer.0\S* lets tokens see later ones"),
        ("llama", {"is_causal": False}, "lets tokens see later ones; this engine serves causal attention"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "lets tokens see later ones"),
        ("llama4_text", {}, "'llama4_text' have layers of type chunked_attention"),
        ("qwen3_next", {}, "'qwen3_next' have layers of type linear_attention"),
        ("jamba", {}, "'jamba' have layers of type"),
        ("doge", {}, r"'doge' .* model.layers.0.self_attn adds numbers of its own to the attention scores"),
        ("moshi", {}, r"'moshi' .* keeps 8 positions, and its mask shows all of them"),
        ("falcon", {}, "'falcon' do not take their attention from transformers' registry"),
        ("bloom", {}, "configuration of this 'bloom' model does not say how long its context is"),
        ("bart", {}, "'bart' model cannot be served: it takes no position_ids"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "'dynamic' scale"),
    ],
)
def test_what_cannot_be_honoured_is_refused_at_once(
    kind: str, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small(kind, **changes)
    allocated: list[object] = []
    monkeypatch.setattr("cbviz.eager.eager_executor.cache_for", lambda *_: allocated.append(0))
    with pytest.raises(ModelError, match=message) as refused:
        ModelExecutor(model, slots=2, pool=BlockPool(8, 4))
    assert not allocated
    assert str(refused.value).count("\n") == 0
    assert str(refused.value).endswith(".")


def test_longrope_is_served_up_to_where_a_pass_begins_to_matter() -> None:
    model = small("phi3", rope_parameters=LONGROPE, original_max_position_embeddings=64)
    assert attention_needs(model).context_limit == 64
    assert LoadedModel("x", model, None, model.device, model.dtype).context_limit == 64
    ModelExecutor(model, slots=2, pool=BlockPool(64, 4), limit=64)
    with pytest.raises(CapacityError, match=r"65 is more than the 64 .*longrope.* up to 64 are served"):
        ModelExecutor(model, slots=2, pool=BlockPool(64, 4), limit=65)


def _convolved(model: PreTrainedModel) -> None:
    """A layer that looks at the token before, as no configuration says."""
    mlp = model.model.layers[1].mlp
    plain = type(mlp).forward

    class Convolved(type(mlp)):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return plain(self, x + torch.roll(x, 1, dims=1))

    mlp.__class__ = Convolved


def _no_attention(model: PreTrainedModel) -> None:
    class Mean(nn.Module):
        def forward(self, hidden_states: torch.Tensor, **_: object) -> tuple[torch.Tensor, None]:
            return hidden_states.mean(1, keepdim=True).expand_as(hidden_states), None

    model.model.layers[2].self_attn = Mean()


def _raising(model: PreTrainedModel) -> None:
    class Broken(nn.Module):
        def forward(self, hidden_states: torch.Tensor, **_: object) -> tuple[torch.Tensor, None]:
            raise IndexError("there is no such\nthing")

    model.model.layers[0].self_attn = Broken()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_convolved, "something other than causal attention mixes its tokens"),
        (_no_attention, r"model.layers.2 \(Mean\) is no attention"),
        (_raising, r"a forward pass of 48 tokens fails \(IndexError: there is no such\)"),
    ],
)
def test_layers_that_no_configuration_tells_of_are_found(
    spoil: Callable[[PreTrainedModel], None], message: str
) -> None:
    model = make("llama")
    ModelExecutor(model, slots=1, pool=BlockPool(8, 4))
    model = make("llama")
    spoil(model)
    with pytest.raises(ModelError, match=message):
        ModelExecutor(model, slots=1, pool=BlockPool(8, 4))


# ---------------------------------------------------------------------- masks


def window_of(width: int) -> masks.MaskFunction:
    return lambda b, h, q, k: (k <= q) & (k > q - width)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda b, h, q, k: k <= q, Mask()),
        (window_of(5), Mask(5)),
        (window_of(48), Mask(48)),
        (window_of(700), Mask(700)),
        (window_of(4096), Mask()),
        (lambda b, h, q, k: q >= 0, masks.NOT_CAUSAL),
        (lambda b, h, q, k: k < q + 2, masks.NOT_CAUSAL),
        (lambda b, h, q, k: (k <= q) & (k // 100 == q // 100), masks.STRANGE),
        (lambda b, h, q, k: (k <= q) & (k // 1000 == q // 1000), masks.STRANGE),
        (lambda b, h, q, k: (k <= q) & ((k > q - 9) | (k < 4)), masks.STRANGE),
        (lambda b, h, q, k: (k <= q) & ((k > q - 900) | (k < 4)), masks.STRANGE),
        (lambda b, h, q, k: (k <= q) & (torch.zeros(48)[q] == 0), Mask(near=True)),
        (lambda b, h, q, k: 1 / 0, masks.UNREADABLE),
    ],
)
def test_masks_are_read_beyond_the_prompt(function: masks.MaskFunction, found: Mask) -> None:
    assert masks.read_function(function, 48, 4096) == found


# ---------------------------------------------------------------------- whose model it is


def state_of(model: PreTrainedModel) -> tuple[object, ...]:
    return (
        [(id(module), sorted(map(str, module.__dict__))) for module in model.modules()],
        [(id(p), p.data_ptr(), p.requires_grad) for p in (*model.parameters(), *model.buffers())],
        [(id(c), copy.deepcopy(vars(c))) for c in configurations(model)],
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
    )


@pytest.mark.parametrize("kind", ["llama", "dbrx", "moshi", "gemma3"])
def test_a_model_is_as_it_was_nested_configurations_too(kind: str) -> None:
    model = small(kind)
    before = state_of(model)
    try:
        sweep_models.served(model, sweep_models.requests()[:2], Continuous(), {})
    except CbvizError:
        assert kind == "moshi"
    assert state_of(model) == before


def test_a_pass_that_raises_leaves_the_model_alone() -> None:
    model, pool = make("llama"), BlockPool(32, 4)
    before = state_of(model)
    right = sweep_models.alone(model, sweep_models.requests()[1])
    executor = ModelExecutor(model, slots=2, pool=pool)
    engine = Engine(executor, Continuous(), slots=2, pool=pool)

    def broken(module: nn.Module, given: object) -> None:
        raise RuntimeError("in the middle of a pass")

    hook = model.model.layers[1].register_forward_pre_hook(broken)
    with pytest.raises(EngineError):
        list(engine.run(sweep_models.requests()[:2]))
    hook.remove()
    assert state_of(model) == before
    assert sweep_models.alone(model, sweep_models.requests()[1]) == right


def test_hooks_that_come_later_see_the_engine_s_passes_and_not_the_probe_s() -> None:
    model, seen = make("llama"), []
    hook = model.lm_head.register_forward_hook(lambda module, given, out: seen.append(out.shape[-2]))
    executor = ModelExecutor(model, slots=2, pool=BlockPool(32, 4))
    assert not seen
    hook.remove()
    hook = model.lm_head.register_forward_hook(lambda module, given, out: seen.append(out.shape[-2]))
    engine = Engine(executor, Continuous(), slots=2, pool=BlockPool(32, 4))
    steps = len(list(engine.run(sweep_models.requests()[:2])))
    assert len(seen) == steps
    assert max(seen) == 2
    hook.remove()


def test_a_copy_shares_every_weight_and_nothing_else() -> None:
    model = make("llama-mha")
    copied = twin(model)
    assert all(a is b for a, b in zip(model.parameters(), copied.parameters(), strict=True))
    assert copied.lm_head.weight is copied.model.embed_tokens.weight
    assert not {id(m) for m in model.modules()} & {id(m) for m in copied.modules()}
    assert copied.config is not model.config
    assert copied.config is copied.model.layers[0].self_attn.config
    copied.model.rotary_emb.inv_freq.zero_()
    assert model.model.rotary_emb.inv_freq.any()


def test_two_threads_and_generate_share_a_model() -> None:
    model, work = make("llama"), sweep_models.requests()
    right = {r.id: sweep_models.alone(model, r) for r in work}
    threads_before = torch.get_num_threads()
    wrong: list[object] = []

    def engine() -> None:
        if any(sweep_models.served(model, work, Continuous(), {}) != right for _ in range(3)):
            wrong.append("engine")

    def generate() -> None:
        if any({r.id: sweep_models.alone(model, r) for r in work} != right for _ in range(2)):
            wrong.append("generate")

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in (engine, engine, generate)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert torch.get_num_threads() == threads_before
    assert model.config._attn_implementation == "sdpa"


def test_thread_counts_are_put_back_in_whatever_order_passes_end() -> None:
    from cbviz.eager.forward import one_thread

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    inside, leave, counts = threading.Event(), threading.Event(), {}

    def other() -> None:
        with one_thread():
            counts["inside"] = torch.get_num_threads()
            inside.set()
            leave.wait(10)
        counts["after"] = torch.get_num_threads()

    try:
        thread = threading.Thread(target=other)
        with one_thread():
            thread.start()
            inside.wait(10)
        assert torch.get_num_threads() == 3
        leave.set()
        thread.join()
        assert counts == {"inside": 1, "after": 3}
        late = threading.Thread(target=lambda: counts.update(late=torch.get_num_threads()))
        late.start()
        late.join()
        assert counts["late"] == 3
    finally:
        torch.set_num_threads(before)


def test_a_changed_configuration_is_probed_again() -> None:
    model = make("llama")
    first = attention_needs(model)
    assert attention_needs(model) is first
    model.config.is_causal = False
    with pytest.raises(ModelError, match="see later ones"):
        attention_needs(model)


# ---------------------------------------------------------------------- what is known of a model


def test_kv_bytes_are_what_the_layers_hold() -> None:
    model = small("deepseek_v3")
    layer = attention_needs(model).layers[0]
    assert (layer.key_size, layer.value_size) == (20, 16)
    loaded = LoadedModel("x", model, None, model.device, model.dtype)
    assert loaded.kv_bytes_per_token == 4 * 4 * (20 + 16) * 4
    executor = ModelExecutor(model, slots=2, pool=BlockPool(8, 4))
    assert executor.cache.bytes_per_position == loaded.kv_bytes_per_token
    held = sum(t.numel() * 4 for t in (*executor.cache.keys, *executor.cache.values))
    assert held == 8 * 4 * loaded.kv_bytes_per_token


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("llama", None),
        ("gemma2", "attention scores are capped"),
        ("gpt_oss", "heads have attention sinks"),
        ("deepseek_v3", "keys and values differ in size"),
        ("gemma4_text", "heads differ from layer to layer"),
        ("qwen3_moe", "experts"),
        ("diffllama", "a layer attends more than once a pass"),
        ("nemotron", "keyword arguments do not reach attention"),
    ],
)
def test_what_stands_against_graphs_is_said(kind: str, reason: str | None) -> None:
    found = why_not_captured(small(kind))
    assert found is None if reason is None else reason in (found or "")


# ---------------------------------------------------------------------- races


@pytest.mark.parametrize("kind", ["qwen3_moe", "deepseek_v3", "gpt_oss", "gemma2", "gemma4_text"])
def test_a_race_from_a_folder(kind: str, tmp_path: Path) -> None:
    config = shrink.small_config(kind, max_position_embeddings=1024)
    shrink.small_model(config).save_pretrained(tmp_path / kind)
    loaded = load(str(tmp_path / kind), device="cpu")
    work = cbviz.Workload("small", tuple(sweep_models.requests()))
    policies = ["static", "continuous", VllmV1(max_num_batched_tokens=8)]
    race = cbviz.race(loaded, policies, workload=work, slots=3, repeats=1, live=False)
    assert race.identical_outputs
    assert race.reference is not None
    assert race.reference.gap is None
    assert race.reference.same == race.reference.tokens > 0
    assert "tokens the same" in race.to_json()["reference"]["sentence"]
    tokens = race.traces[1].requests
    for request in work:
        assert list(tokens.tokens[tokens.row(request.id)]) == sweep_models.alone(loaded.model, request)


def test_lanes_that_are_wrong_alike_are_not_raced(monkeypatch: pytest.MonkeyPatch) -> None:
    from cbviz.eager.sampling import SlotSampling

    draw = SlotSampling.draw
    model = make("llama")
    loaded = LoadedModel("wrong alike", model, None, model.device, model.dtype)
    work = cbviz.Workload("small", tuple(sweep_models.requests()))
    monkeypatch.setattr(SlotSampling, "draw", lambda *args, **named: (draw(*args, **named) + 1) % 97)
    with pytest.raises(
        ModelError, match=r"this engine answers wrongly with wrong alike and does not serve it: .* own generate gives"
    ):
        cbviz.race(loaded, workload=work, slots=2, repeats=1, live=False)


# ---------------------------------------------------------------------- the table in the documentation


def test_the_table_is_the_sweep_s_and_keeps_its_promise() -> None:
    root = Path(sweep_models.ROOT)
    found = json.loads((root / "docs" / "models.json").read_text("utf-8"))
    classes = [row["class"] for row in found["rows"] if not row["variant"]]
    assert len(classes) == 189
    assert {"wrong", "raw error", "refused late"}.isdisjoint(row["class"] for row in found["rows"])
    assert classes.count("exact") >= 100
    assert all(row["reason"] for row in found["rows"] if row["class"] != "exact")
    assert (root / "docs" / "models.md").read_text("utf-8") == sweep_models.page(found)


def test_weights_on_the_meta_device_are_counted_by_their_configuration() -> None:
    with torch.device("meta"):
        outline = AutoModelForCausalLM.from_config(LlamaConfig(num_hidden_layers=2))
    loaded = LoadedModel("outline", outline, None, torch.device("meta"), torch.bfloat16)
    assert loaded.kv_bytes_per_token == 2 * 2 * 4096 * 2
