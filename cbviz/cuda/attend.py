"""Attention inside a compiled, captured forward pass: one opaque operator a layer.

torch.compile must not look into the cache: a cache that is a traced input which the function changes would be copied at
every call. So the operator gets the new queries, keys and values only, and finds cache, tables and lengths in the pass
that its thread works on. It writes the cache and attends in one go; its output feeds the next layer, which keeps the
order.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol, Unpack

import torch
from torch import Tensor

from cbviz.cuda.layout import Shape
from cbviz.eager.attention_hook import Scoring
from cbviz.eager.kv_cache import KVCache


@dataclass(frozen=True, slots=True)
class LayerCall:
    """What one layer asks of attention.

    query is [width, query heads, key size], key and value are [width, KV heads, size], of any strides. `layer` is the
    layer's number. `softcap` and `sinks` are those of `cbviz.models.plain_attention`. `rotary` is (cosines, sines),
    [width, key size] each, of queries and keys that are still to be rotated.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    layer: int
    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None
    rotary: tuple[Tensor, Tensor] | None = None


class StaticAttention(Protocol):
    """Attention over fixed-shape batches whose lengths lie on the device."""

    def attend(self, call: LayerCall, static: StaticPass) -> Tensor:
        """Write the new keys and values, attend, and return [width, query heads, value size], contiguous."""
        ...


@dataclass(slots=True)
class StaticPass:
    """What the attention layers of a captured pass need besides their inputs: all of it at fixed addresses.

    `fields` are the layout's (int32), `tables` int32 [slots + 1, blocks a request], `arrivals` zeros for
    `triton_decode.decode`. `layer` counts the attention layers as they come: one compiled layer serves them all, so the
    layer itself must not know its number.
    """

    shape: Shape
    fields: dict[str, Tensor]
    tables: Tensor
    arrivals: Tensor
    cache: KVCache
    attention: StaticAttention
    layer: int = 0


STATIC_PASS = threading.local()
"""Its `work`, set by `working_on`, is the pass of this thread."""


# Inductor keeps what it compiled on disk, calls of this operator included: other arguments want another name.
@torch.library.custom_op("cbviz::attend_paged", mutates_args=())
def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    window: int,
    cos: Tensor | None = None,
    sin: Tensor | None = None,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
) -> Tensor:
    """[1, heads, width, size] each; window 0 and softcap 0 mean none. Returns [1, width, query heads, value size].

    With `cos` and `sin`, [1, 1, width, key size] each, query and key are still to be rotated (`fused_rotary`).
    """
    static: StaticPass = STATIC_PASS.work
    call = LayerCall(
        query=query[0].transpose(0, 1),
        key=key[0].transpose(0, 1),
        value=value[0].transpose(0, 1),
        layer=static.layer,
        scale=scale,
        window=window or None,
        softcap=softcap or None,
        sinks=sinks,
        rotary=None if cos is None or sin is None else (cos[0, 0], sin[0, 0]),
    )
    output = static.attention.attend(call, static)
    static.layer += 1
    return output.unsqueeze(0)


@attend.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    window: int,
    cos: Tensor | None = None,
    sin: Tensor | None = None,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
) -> Tensor:
    batch, heads, width, _ = query.shape
    return query.new_empty((batch, width, heads, value.shape[-1]))


class StaticAttentionPass:
    """What reaches the attention layers as `cbviz_pass`: it has no state, so one compiled layer serves them all."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, **scoring: Unpack[Scoring]) -> Tensor:
        """See `AttentionPass`."""
        scale, window = scoring["scale"], scoring["window"] or 0
        softcap, sinks = scoring["softcap"], scoring["sinks"]
        output: Tensor
        if softcap is None and sinks is None:
            output = attend(query, key, value, scale, window)
        else:
            output = attend(query, key, value, scale, window, None, None, softcap or 0.0, sinks)
        return output


STATIC = StaticAttentionPass()
