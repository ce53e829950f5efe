"""Layers of few operations: the modelling code's results, only where a trial finds no difference."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from cbviz.eager import packed_linear, short_layer
from cbviz.eager.packed_linear import FEW_ROWS, onednn_packs, pack_linears
from cbviz.eager.serving import serving_copy
from cbviz.eager.short_layer import ShortLayer, shorten_layers
from cbviz.models.served import attention_needs
from cbviz.policies import Static
from tests.shapes import ARCHITECTURES, make, solo
from tests.test_engine_answers import Jumpy, requests, serve

FITTING = ("llama", "llama-mha", "qwen2", "qwen2-sliding")


def served(model: PreTrainedModel) -> PreTrainedModel:
    return serving_copy(model, attention_needs(model))


def inner(layer: Any, tokens: int) -> Tensor:
    """What a layer makes of random tokens whose attention is that of a trial."""
    draw = torch.Generator().manual_seed(7)
    hidden = torch.randn(1, tokens, 48, generator=draw)
    cos, sin = torch.randn(2, 1, tokens, layer.self_attn.head_dim, generator=draw)
    with torch.inference_mode():
        found = layer(hidden, position_embeddings=(cos, sin), cbviz_pass=short_layer._TrialPass())
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_which_models_get_short_layers(architecture: str) -> None:
    model = make(architecture)
    copied = served(model)
    assert shorten_layers(copied) == (3 if architecture in FITTING else 0)
    short = [part for part in copied.modules() if isinstance(part, ShortLayer)]
    assert len(short) == (3 if architecture in FITTING else 0)
    assert not any(isinstance(part, ShortLayer) or "short" in vars(part) for part in model.modules())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("architecture", FITTING)
def test_a_short_layer_computes_what_the_modelling_code_does(
    architecture: str, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_linear, "LEAST_GAIN", 0.0)
    monkeypatch.setattr(packed_linear, "LEAST_GAIN_TOGETHER", 0.0)
    monkeypatch.setattr(packed_linear, "SMALLEST", 1)
    monkeypatch.setattr(packed_linear, "_faster", {})
    model = make(architecture)
    own, short = served(model), served(model)
    if packed and onednn_packs():
        assert pack_linears(short, 8) > 0
    assert shorten_layers(short) == 3
    for layer, other in zip(own.model.layers, short.model.layers, strict=True):
        for tokens in (1, 2, 8, FEW_ROWS, FEW_ROWS + 1):
            torch.testing.assert_close(inner(other, tokens), inner(layer, tokens), rtol=1e-4, atol=1e-4)


def test_the_short_code_runs_for_few_rows_and_the_modelling_code_for_many() -> None:
    copied = served(make("llama"))
    shorten_layers(copied)
    layer = copied.model.layers[1]
    with patch.object(short_layer, "attention", wraps=short_layer.attention) as asked:
        inner(layer, FEW_ROWS)
        assert asked.call_count == 1
        inner(layer, FEW_ROWS + 1)
        assert asked.call_count == 1


def test_the_turns_of_a_pass_are_made_once_and_those_of_the_next_anew() -> None:
    rotation = short_layer.Rotation()
    cos, sin = torch.randn(2, 1, 5, 8)
    first = rotation.turns(cos, sin)
    assert rotation.turns(cos, sin) is first
    assert rotation.turns(2 * cos, sin)[0].equal(2 * first[0])


def scaled_residual(layer: Any) -> None:
    """As Granite does."""

    class Scaled(type(layer)):  # type: ignore[misc]
        def forward(self, hidden: Tensor, **named: Any) -> Tensor:
            return hidden + 0.5 * (super().forward(hidden, **named) - hidden)

    layer.__class__ = Scaled


def norm_of_gemma(layer: Any) -> None:
    """A weight that counts from one."""

    class FromOne(type(layer.input_layernorm)):  # type: ignore[misc]
        def forward(self, hidden: Tensor) -> Tensor:
            return super().forward(hidden) * (1 + 1 / self.weight)

    layer.input_layernorm.__class__ = FromOne


def no_rotation(layer: Any) -> None:
    """As every fourth layer of SmolLM3 does."""
    attention = type(layer.self_attn)

    class Still(attention):  # type: ignore[misc, valid-type]
        def forward(self, hidden_states: Tensor, position_embeddings: Any, **named: Any) -> Any:
            cos, sin = position_embeddings
            return super().forward(hidden_states, (torch.ones_like(cos), torch.zeros_like(sin)), **named)

    layer.self_attn.__class__ = Still


def scaled_by_position(layer: Any) -> None:
    """As Llama 4 scales the queries of far tokens."""
    attention = type(layer.self_attn)

    class Far(attention):  # type: ignore[misc, valid-type]
        def forward(self, hidden_states: Tensor, position_ids: Tensor | None = None, **named: Any) -> Any:
            found, weights = super().forward(hidden_states, **named)
            return found * (1 if position_ids is None else 1 + (position_ids > 4096).unsqueeze(-1)), weights

    layer.self_attn.__class__ = Far


def capped(layer: Any) -> None:
    """Attention that asks for something else than ours would: only the scoring shows it."""
    attention = type(layer.self_attn)

    class Capped(attention):  # type: ignore[misc, valid-type]
        def forward(self, *arguments: Any, **named: Any) -> Any:
            return super().forward(*arguments, softcap=30.0, **named)

    layer.self_attn.__class__ = Capped


def hooked(layer: Any) -> None:
    layer.mlp.register_forward_hook(lambda *_: None)


def replaced(layer: Any) -> None:
    layer.mlp.forward = MethodType(type(layer.mlp).forward, layer.mlp)


def one_more_part(layer: Any) -> None:
    layer.adapter = nn.Identity()


@pytest.mark.parametrize(
    "change",
    [
        scaled_residual,
        norm_of_gemma,
        no_rotation,
        scaled_by_position,
        capped,
        hooked,
        replaced,
        one_more_part,
    ],
)
def test_a_layer_that_does_anything_else_keeps_its_code(change: Callable[[Any], None]) -> None:
    copied = served(make("llama"))
    layer = copied.model.layers[1]
    change(layer)
    own, before = type(layer), inner(layer, 2)
    assert shorten_layers(copied) == 2, "the others"
    assert type(layer) is own
    assert "short" not in vars(layer)
    assert inner(layer, 2).equal(before)


def test_other_number_formats_keep_their_code() -> None:
    assert shorten_layers(served(make("llama").to(torch.bfloat16))) == 0


def test_cosines_of_another_size_run_the_modelling_code() -> None:
    """Their layer would turn a part of each head."""
    copied = served(make("llama"))
    shorten_layers(copied)
    layer, half = copied.model.layers[0], torch.ones(1, 2, 6)
    with pytest.raises(RuntimeError, match="size of tensor"):  # Llama's own code turns whole heads alone
        layer(torch.zeros(1, 2, 48), position_embeddings=(half, half), cbviz_pass=short_layer._TrialPass())


def test_random_numbers_go_on_as_they_would_have() -> None:
    copied = served(make("llama"))
    before = torch.get_rng_state()
    shorten_layers(copied)
    assert torch.get_rng_state().equal(before)


def test_an_engine_that_has_gone_leaves_no_layer() -> None:
    copied = served(make("llama"))
    shorten_layers(copied)
    layer = weakref.ref(copied.model.layers[0])
    gc.collect()
    gc.disable()
    try:
        del copied
        assert layer() is None, "no layer refers to itself, so its weights go at once"
    finally:
        gc.enable()


@pytest.mark.parametrize("architecture", FITTING)
def test_answers_are_those_of_generate(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbviz.eager.forward.SMALL", 0)
    model, work = make(architecture), requests(8, seed=9)
    alone = {r.id: solo(model, r) for r in work}
    with patch.object(short_layer, "attention", wraps=short_layer.attention) as asked:
        assert serve(model, Jumpy(), work) == alone
        assert serve(model, Static(), work) == alone
    assert asked.call_count > 50
