"""Attention inside a compiled, captured forward pass: one opaque operator a layer.

torch.compile must not look into the cache: a cache that is a traced input which the function changes would be copied at
every call. So the operator gets the new queries, keys and values only, and finds cache, tables and lengths by a number,
through a table of passes. It writes the cache and attends in one go; its output feeds the next layer, which keeps the
order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Protocol

import torch
from torch import Tensor

from cbviz.engine.graphs.layout import Shape
from cbviz.engine.kv_cache import KVCache


class StaticAttention(Protocol):
    """Attention over fixed-shape batches whose lengths lie on the device."""

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layer: int,
        scale: float,
        window: int | None,
        static: StaticPass,
    ) -> Tensor:
        """Write the new keys and values, attend, and return [width, query heads, head size], contiguous.

        query is [width, query heads, head size], key and value are [width, KV heads, head size], of any strides.
        """
        ...


@dataclass(slots=True)
class StaticPass:
    """What the attention layers of a captured pass need besides their inputs: all of it at fixed addresses.

    `fields` are the layout's (int32), `tables` int32 [slots + 1, blocks a request].
    """

    shape: Shape
    fields: dict[str, Tensor]
    tables: Tensor
    cache: KVCache
    attention: StaticAttention


_passes: dict[int, StaticPass | None] = {}
_numbers = count()


def new_handle() -> int:
    """A number under which an executor's current pass can be found."""
    handle = next(_numbers)
    _passes[handle] = None
    return handle


def set_pass(handle: int, static: StaticPass | None) -> None:
    """Say which pass the operator works on; None forgets it."""
    _passes[handle] = static


def drop_handle(handle: int) -> None:
    """The executor is gone."""
    _passes.pop(handle, None)


@torch.library.custom_op("cbviz::attend", mutates_args=())
def attend(query: Tensor, key: Tensor, value: Tensor, layer: int, handle: int, scale: float, window: int) -> Tensor:
    """[1, heads, width, head size] each; window 0 means none. Returns [1, width, query heads, head size]."""
    static = _passes[handle]
    assert static is not None
    output = static.attention.attend(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        layer,
        scale,
        window or None,
        static,
    )
    return output.unsqueeze(0)


@attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, layer: int, handle: int, scale: float, window: int) -> Tensor:
    batch, heads, width, size = query.shape
    return query.new_empty((batch, width, heads, size))
