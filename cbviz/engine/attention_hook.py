"""How our attention gets into transformers' own modelling code.

transformers looks its attention function up by name in a registry. We register one that writes the new keys and values
into our cache and asks our backend for the result. The model's configuration names it only while a forward pass runs,
so that the user's model is as it was found at any other time, whatever happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from cbviz.errors import CapacityError, ModelError

NAME = "cbviz"

_HARMLESS = frozenset({"dropout", "position_ids", "use_cache", "is_causal", "output_attentions", "attention_mask"})
"""Keyword arguments of the attention call that change nothing here: rows are causal and nothing is dropped."""


class AttentionPass(Protocol):
    """What one forward pass carries to every attention layer, as the keyword argument `cbviz_pass`."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, module: nn.Module, scale: float, window: int | None
    ) -> Tensor:
        """[1, heads, T, head size] each; write keys and values, and return [1, T, query heads, head size].

        `module` is the attention layer that asks; its `layer_idx` says which one.
        """
        ...


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cbviz_pass: AttentionPass | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The registered function."""
    if cbviz_pass is None:
        raise ModelError(
            f"{type(module).__name__} did not pass its keyword arguments on to attention; it cannot be served."
        )
    for name, given in others.items():
        if name not in _HARMLESS and given is not None:
            raise ModelError(f"{type(module).__name__} asks attention for {name!r}, which this engine does not know.")
    output = cbviz_pass.attend(
        query,
        key,
        value,
        module=module,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        window=sliding_window,
    )
    return output, None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)


class OurAttention:
    """Switches a model between its own attention and ours. Its configurations are looked up once, not at every pass."""

    def __init__(self, model: PreTrainedModel) -> None:
        configs = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}
        self._configs = list(configs.values())

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model's layers call our attention; afterwards they call what they called before."""
        before = [config._attn_implementation for config in self._configs]
        try:
            for config in self._configs:
                config._attn_implementation = NAME
            yield
        finally:
            for config, implementation in zip(self._configs, before, strict=True):
                config._attn_implementation = implementation


def refuse_what_we_cannot_honour(model: PreTrainedModel) -> None:
    """Raise ModelError, by name, for what would make our answers differ from the model's own."""
    config = model.config.get_text_config()
    kind = config.model_type
    if not getattr(model, "_supports_attention_backend", False):
        raise ModelError(f"models of type {kind!r} do not take their attention from transformers' registry.")
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"models of type {kind!r} have an encoder; this engine serves decoder-only models.")
    for name in ("attn_logit_softcapping", "softcap", "logit_softcapping"):
        if getattr(config, name, None):
            raise ModelError(
                f"models of type {kind!r} cap their attention scores ({name}); this engine cannot honour it."
            )
    layer_types = set(getattr(config, "layer_types", None) or ())
    if strange := layer_types - {"full_attention", "sliding_attention"}:
        raise ModelError(
            f"models of type {kind!r} have layers of type {sorted(strange)}; this engine serves attention only."
        )
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = {rope.get("rope_type", "default")} if "rope_type" in rope or not rope else set()
    kinds |= {each.get("rope_type", "default") for each in rope.values() if isinstance(each, dict)}
    if depends := kinds & {"dynamic", "longrope"}:
        raise ModelError(
            f"models of type {kind!r} scale their rotary embedding by the length of the batch ({sorted(depends)}); "
            f"answers would depend on who shares the batch."
        )
    if model.training:
        raise ModelError("the model is in training mode; call model.eval() first.")


def attention_shape(model: PreTrainedModel) -> tuple[int, int, int]:
    """(layers, KV heads, head size) of a model's cache."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return config.num_hidden_layers, kv_heads, head_size


def checked_limit(model: PreTrainedModel, limit: int | None) -> int:
    """The most positions a request may have: the model's own limit, or a smaller one. Raises CapacityError."""
    own = context_limit(model)
    if limit is not None and limit > own:
        raise CapacityError(f"a context of {limit} is more than the {own} that the model has.")
    return limit or own


def context_limit(model: PreTrainedModel) -> int:
    """The most positions that the model was made for."""
    config = model.config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "n_ctx"):
        limit = getattr(config, name, None)
        if limit:
            return int(limit)
    raise ModelError(f"the configuration of this {config.model_type!r} model does not say how long its context is.")
