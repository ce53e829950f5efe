"""A decoder layer in few operations, for a pass of few rows on a CPU.

The modelling code of Llama's relatives launches some sixty small operations a layer. Each takes microseconds, and all
layers together as long as a quarter of the products. Here the same layer has twenty: a norm is one operation, query
and key heads turn together, the residual is added in place. A layer is replaced only if a trial shows that this code
computes what its own does; all others, and passes over long prompts, run the modelling code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from cbviz.eager.attention_hook import Scoring, attention
from cbviz.eager.packed_linear import FEW_ROWS, has_hooks
from cbviz.eager.sibling_linear import together

TRIAL_TOKENS = 3
FAR_APART = 10_000
"""Positions between the tokens of a trial: a layer that looks at them does something of its own."""
TOLERANCE = 1e-4
"""How far a trial may be from the modelling code, relatively: both round float32, in another order."""


class Rotation:
    """Cosines and sines of the pass at hand, as all its layers turn queries and keys with them.

    It belongs to one engine, whose passes run one after another.
    """

    def __init__(self) -> None:
        self._of: Tensor | None = None
        self._turns = torch.empty(0), torch.empty(0)

    def turns(self, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """[T, 1, size] each, of [1, T, size]: cosines, and sines with the sign that the other half of a head gets."""
        if self._of is not cos:
            half = sin.shape[-1] // 2
            signed = torch.cat((-sin[..., :half], sin[..., half:]), -1)
            self._of, self._turns = cos, (cos[0].unsqueeze(1), signed[0].unsqueeze(1))
        return self._turns


@dataclass(slots=True)
class Parts:
    """What a layer computes with, looked up once.

    Attributes
    ----------
    rotation
        Shared by the layers of an engine.
    head_size
        Numbers of a head.
    queries, turned, heads
        How many heads ask; how many turn, the key heads among them; and how many there are with the value heads.
    qkv, out, gate_up, down
        [T, in] → [T, out]: the products, those of one input end to end.
    act
        The activation.
    norms
        Before attention, and before the MLP.
    """

    rotation: Rotation
    head_size: int
    queries: int
    turned: int
    heads: int
    qkv: Callable[[Tensor], Tensor]
    out: Callable[[Tensor], Tensor]
    gate_up: Callable[[Tensor], Tensor]
    down: Callable[[Tensor], Tensor]
    act: Callable[[Tensor], Tensor]
    norms: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]

    @classmethod
    def of(cls, layer: Any, rotation: Rotation) -> Parts:
        """Those of a layer of Llama's form. Raises AttributeError, or whatever comes of parts of another kind."""
        asks, mlp, size = layer.self_attn, layer.mlp, layer.self_attn.head_dim
        projections = [asks.q_proj, asks.k_proj, asks.v_proj]
        queries, keys, values = (len(one.weight) // size for one in projections)
        return cls(
            rotation=rotation,
            head_size=size,
            queries=queries,
            turned=queries + keys,
            heads=queries + keys + values,
            qkv=together(projections),
            out=asks.o_proj.forward,
            gate_up=together([mlp.gate_proj, mlp.up_proj]),
            down=mlp.down_proj.forward,
            act=mlp.act_fn.forward,
            norms=(_norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)),
        )


class ShortLayer(nn.Module):
    """What the class of a decoder layer inherits from first: a forward method of few operations."""

    short: Parts

    def forward(self, hidden_states: Tensor, **named: Any) -> Tensor:
        """[1, T, hidden] → [1, T, hidden]."""
        parts, (cos, sin) = self.short, named["position_embeddings"]
        tokens = hidden_states.shape[1]
        if tokens > FEW_ROWS or cos.shape != (1, tokens, parts.head_size):
            own: Tensor = super().forward(hidden_states, **named)
            return own
        cos, sin = parts.rotation.turns(cos, sin)
        before, after = parts.norms
        residual = hidden_states[0]
        heads = parts.qkv(before(residual)).view(tokens, parts.heads, parts.head_size)
        still = heads[:, : parts.turned]
        turned = (still * cos).addcmul_(still.roll(parts.head_size // 2, -1), sin)
        each = turned[:, : parts.queries], turned[:, parts.queries :], heads[:, parts.turned :]
        query, key, value = (one.transpose(0, 1).unsqueeze(0) for one in each)
        module: Any = self.self_attn
        given = named.get("cbviz_pass")
        found, _ = attention(module, query, key, value, None, scaling=module.scaling, cbviz_pass=given)
        hidden = parts.out(found.view(tokens, -1)).add_(residual)
        gate, up = parts.gate_up(after(hidden)).chunk(2, -1)
        return parts.down(parts.act(gate).mul_(up)).add_(hidden).unsqueeze(0)


def shorten_layers(model: PreTrainedModel) -> int:
    """Give the decoder layers of an engine's own modules the short forward method, where a trial finds no difference.

    Parameters
    ----------
    model
        The engine's modules (`serving_copy`), float32 on a CPU; nothing happens on other devices and dtypes.

    Returns
    -------
    int
        Layers that have it now.
    """
    if model.device.type != "cpu" or model.dtype != torch.float32:
        return 0
    rotation, shortened = Rotation(), 0
    for layer in list(model.modules()):
        names = {name for name, _ in layer.named_children()}
        if names != {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}:
            continue
        plain = not any(has_hooks(part) or "forward" in vars(part) for part in layer.modules())
        shortened += plain and _made_short(layer, rotation)
    return shortened


def _norm(module: Any) -> Callable[[Tensor], Tensor]:
    """A root mean square norm as one operation."""
    weight: Tensor = module.weight
    return functools.partial(
        functional.rms_norm, normalized_shape=list(weight.shape), weight=weight, eps=module.variance_epsilon
    )


def _made_short(layer: Any, rotation: Rotation) -> bool:
    """Make a layer short, and return whether it computes as before; if it does not, it is again what it was."""
    own: Any = type(layer)
    try:
        with torch.inference_mode():
            wanted = _trial(layer)
            layer.short = Parts.of(layer, rotation)
            layer.__class__ = _short(own)
            found = _trial(layer)
        if found[1] == wanted[1] and float((found[0] - wanted[0]).norm()) <= TOLERANCE * float(wanted[0].norm()):
            return True
    except Exception:  # whatever a layer of another form makes of our input, or we of its parts
        pass
    layer.__class__ = own
    vars(layer).pop("short", None)
    return False


@functools.cache
def _short(own: type[nn.Module]) -> type[nn.Module]:
    """The class of a layer, with the short forward method before its own."""
    return type(f"Short{own.__name__}", (ShortLayer, own), {})


class _TrialPass:
    """Attention of a trial: every token sees all of them."""

    scoring: Scoring

    def attend(self, query: Tensor, key: Tensor, value: Tensor, **scoring: Unpack[Scoring]) -> Tensor:
        """See `AttentionPass`."""
        self.scoring = scoring
        scale = scoring["scale"]
        found = functional.scaled_dot_product_attention(query, key, value, scale=scale, enable_gqa=True)
        return found.transpose(1, 2)


def _trial(layer: Any) -> tuple[Tensor, Scoring]:
    """What a layer adds to a few random tokens, turned by random numbers, and how it scores keys."""
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, TRIAL_TOKENS, len(layer.input_layernorm.weight), generator=draw)
    turns = torch.randn(2, 1, TRIAL_TOKENS, layer.self_attn.head_dim, generator=draw)
    far = torch.arange(TRIAL_TOKENS).unsqueeze(0) * FAR_APART
    seen = _TrialPass()
    output: Tensor = layer(hidden, position_ids=far, position_embeddings=(turns[0], turns[1]), cbviz_pass=seen)
    return output - hidden, seen.scoring
