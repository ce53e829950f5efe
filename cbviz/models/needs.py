"""What a model requires of its attention, layer by layer: the facts that size caches and compute passes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple


class KVShape(NamedTuple):
    """Keys and values of one position in one layer."""

    key_heads: int
    key_size: int
    value_heads: int
    value_size: int

    @property
    def numbers(self) -> int:
        """Numbers per position."""
        return self.key_heads * self.key_size + self.value_heads * self.value_size


@dataclass(frozen=True, slots=True)
class LayerNeeds:
    """One call of attention in a forward pass; nearly always one per layer.

    Parameters
    ----------
    module
        Dotted name of the calling module.
    query_heads, key_heads, value_heads, key_size, value_size
        Shapes. Queries have the size of keys, outputs the size of values.
    window
        A token sees itself and the `window` - 1 positions before it; None sees everything before it.
    softcap, sinks
        Whether scores are capped, and whether heads have sinks (see `cbviz.models.plain_attention`).
    """

    module: str
    query_heads: int
    key_heads: int
    value_heads: int
    key_size: int
    value_size: int
    window: int | None = None
    softcap: bool = False
    sinks: bool = False

    @property
    def kv(self) -> KVShape:
        """What the cache holds per position."""
        return KVShape(self.key_heads, self.key_size, self.value_heads, self.value_size)


@dataclass(frozen=True)
class AttentionNeeds:
    """What a whole model requires.

    Parameters
    ----------
    kind
        The model's type, such as "llama".
    layers
        The calls of one forward pass, in order. A cache has keys and values for each.
    context_limit
        The most positions that a request may have.
    limit_reason
        Why it is less than the configuration states; "" if it is not.
    keywords
        Which of "logits_to_keep" and "cbviz_pass" the model's forward pass accepts.
    hands_on
        Whether keyword arguments of the forward pass reach attention.
    """

    kind: str
    layers: tuple[LayerNeeds, ...]
    context_limit: int
    limit_reason: str = ""
    keywords: frozenset[str] = field(default_factory=frozenset)
    hands_on: bool = True

    @cached_property
    def numbers(self) -> int:
        """Keys and values of one position in all layers, counted in numbers."""
        return sum(layer.kv.numbers for layer in self.layers)

    @cached_property
    def peculiarity(self) -> str:
        """Why kernels for ordinary attention cannot serve it; "" if they can."""
        first = self.layers[0]
        shape = (first.query_heads, first.key_heads, first.key_size)
        for layer in self.layers:
            if (layer.key_heads, layer.key_size) != (layer.value_heads, layer.value_size):
                return f"keys and values differ in size ({layer.key_size} and {layer.value_size})"
            if (layer.query_heads, layer.key_heads, layer.key_size) != shape:
                return "heads differ from layer to layer"
            if layer.softcap:
                return "attention scores are capped"
            if layer.sinks:
                return "heads have attention sinks"
        if len({layer.module for layer in self.layers}) < len(self.layers):
            return "a layer attends more than once a pass"
        return "" if self.hands_on else "keyword arguments do not reach attention"
