"""Whether the engine can serve a model, and what it needs; checked once, when a model is prepared."""

from __future__ import annotations

import inspect
import threading
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from cbviz.checks import is_whole, shown
from cbviz.errors import ModelError
from cbviz.models.modules import configurations
from cbviz.models.needs import AttentionNeeds
from cbviz.models.probe import NO_POSITIONS, probe

_known: WeakKeyDictionary[PreTrainedModel, tuple[int, AttentionNeeds]] = WeakKeyDictionary()
_asking = threading.Lock()


def attention_needs(model: PreTrainedModel) -> AttentionNeeds:
    """What a model requires of its attention; a probe pass finds out the first time, and the answer is cached.

    Raises
    ------
    ModelError
        The engine cannot do something that the model requires; the message names the model's type, the layer or
        setting, and what is served.
    """
    refuse_by_configuration(model)
    limit, reason = context_limit(model)
    mark = _fingerprint(model)
    with _asking:
        known = _known.get(model)
        if known is None or known[0] != mark:
            found = probe(model, limit)
            known = _known[model] = mark, _because(found, reason)
    return known[1]


def refuse_by_configuration(model: PreTrainedModel) -> None:
    """Raise ModelError for what the configuration already shows, without a pass."""
    if (original := getattr(model, "_orig_mod", None)) is not None:
        raise ModelError(
            f"the model was compiled by torch.compile; pass the {type(original).__name__} that was compiled, and the "
            "engine does its own compiling."
        )
    if not isinstance(model, PreTrainedModel):
        raise ModelError(f"a causal language model of transformers is needed, not {shown(model)}.")
    if not model.can_generate():
        raise ModelError(
            f"{type(model).__name__} has no head that predicts the next token; load it with AutoModelForCausalLM."
        )
    if "forward" in vars(model):
        raise ModelError(
            f"the forward method of this {type(model).__name__} was replaced on the object, which the engine's copy of "
            "its modules would not follow; pass a model of a class that has the new method."
        )
    if type(model)._get_logits_processor is not GenerationMixin._get_logits_processor:
        raise ModelError(
            f"{type(model).__name__} changes logits in its own way (_get_logits_processor); this engine supports only "
            "settings of the generation config."
        )
    if model.training:
        raise ModelError("the model is in training mode; call model.eval() first.")
    config = model.config.get_text_config()
    kind = config.model_type
    if getattr(model.config, "is_encoder_decoder", False) or getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"models of type {kind!r} have an encoder; this engine serves decoder-only models.")
    takes = inspect.signature(type(model).forward).parameters
    if "position_ids" not in takes and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        raise ModelError(f"models of type {kind!r} cannot be served: {NO_POSITIONS}.")
    layer_types = {str(one) for one in getattr(config, "layer_types", None) or ()}
    if strange := sorted(layer_types - {"full_attention", "sliding_attention"}):
        raise ModelError(
            f"models of type {kind!r} have layers of type {', '.join(strange)}; this engine serves layers of full and "
            "of sliding-window attention."
        )
    if "dynamic" in _rope_types(config):
        raise ModelError(
            f"models of type {kind!r} with a rotary embedding of type 'dynamic' scale it by the longest text of a "
            "pass, so that what shares a pass would change an answer; this engine serves fixed scaling (linear, yarn, "
            "llama3)."
        )


def context_limit(model: PreTrainedModel) -> tuple[int, str]:
    """The most positions that a request may have, and why that is less than the configured context ("" if it is not).

    A rotary embedding of type longrope (Ding et al. 2024) has one set of factors up to a length and another above it,
    and a pass uses the set for its longest text. Up to that length every pass uses the same set.

    Raises
    ------
    ModelError
        The configuration does not say how long a text may be.
    """
    config = model.config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length"):
        stated = getattr(config, name, None)
        if isinstance(stated, int) and stated >= 1:
            break
    else:
        raise ModelError(f"the configuration of this {config.model_type!r} model does not say how long its context is.")
    if "longrope" not in _rope_types(config):
        return stated, ""
    short = min(_original_lengths(config), default=stated)
    if short >= stated:
        return stated, ""
    return short, (
        f"models of type {config.model_type!r} scale their rotary embedding (longrope) by the longest text of a pass "
        f"beyond {short:,} positions, so that what shares a pass would change an answer; up to {short:,} are served"
    )


def end_tokens_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None, name: str = ""
) -> tuple[int, ...]:
    """The token ids with which a model ends an output; () for a model that has none.

    They are those of its generation configuration, else of its configuration, else of its tokenizer. `name` is what an
    error calls the model.

    Raises
    ------
    ModelError
        They are no token ids.
    """
    config = model.config.get_text_config()
    for source in (getattr(model, "generation_config", None), config, tokenizer):
        found = getattr(source, "eos_token_id", None)
        if found is not None:
            break
    else:
        return ()
    found = found.tolist() if callable(getattr(found, "tolist", None)) else found
    ends = tuple(found) if isinstance(found, (list, tuple)) else (found,)
    if not all(is_whole(end) and 0 <= end < 2**31 for end in ends):
        raise ModelError(
            f"the end-of-sequence token of {name or f'this {config.model_type!r} model'} must be a token id, or some, "
            f"not {shown(found)}; set model.generation_config.eos_token_id to one."
        )
    return ends


def _rope_settings(config: PreTrainedConfig) -> list[dict[str, object]]:
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return [rope, *(one for one in rope.values() if isinstance(one, dict))] if isinstance(rope, dict) else []


def _rope_types(config: PreTrainedConfig) -> set[str]:
    return {str(one.get("rope_type") or one.get("type") or "default") for one in _rope_settings(config)}


def _original_lengths(config: PreTrainedConfig) -> list[int]:
    found = [one.get("original_max_position_embeddings") for one in _rope_settings(config)]
    found.append(getattr(config, "original_max_position_embeddings", None))
    return [one for one in found if isinstance(one, int)]


def _fingerprint(model: PreTrainedModel) -> int:
    """A number that changes with everything that a probe's answer depends on."""
    flags = tuple(module.__dict__.get("is_causal") for module in model.modules())
    settings = tuple(repr(sorted(vars(config).items(), key=str)) for config in configurations(model))
    return hash((settings, flags, str(model.device), str(model.dtype)))


def _because(needs: AttentionNeeds, reason: str) -> AttentionNeeds:
    return replace(needs, limit_reason=reason) if reason else needs


def on_meta(model: PreTrainedModel) -> bool:
    """Whether a model is an outline without weights, which cannot be probed."""
    return bool(model.device == torch.device("meta"))
