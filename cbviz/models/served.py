"""May the engine serve this model, and what does it need? Asked once, when a model is made ready."""

from __future__ import annotations

import inspect
import threading
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel

from cbviz.checks import shown
from cbviz.errors import ModelError
from cbviz.models.modules import configurations
from cbviz.models.needs import AttentionNeeds
from cbviz.models.probe import NO_POSITIONS, probe

_known: WeakKeyDictionary[PreTrainedModel, tuple[int, AttentionNeeds]] = WeakKeyDictionary()
_asking = threading.Lock()


def attention_needs(model: PreTrainedModel) -> AttentionNeeds:
    """What a model asks of its attention; found out by a probe pass the first time, remembered after that.

    Raises
    ------
    ModelError
        The engine cannot honour something that the model does; the sentence names the model's type, the layer or
        setting, and what is served instead.
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
    """Raise ModelError for what a configuration says plainly; no pass is needed to see it."""
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
            f"{type(model).__name__} changes logits in a way of its own (_get_logits_processor); this engine honours "
            "settings of the generation config only."
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
    """The most positions that a request may have, and why that is less than the model was made for ("" if it is not).

    A rotary embedding of type longrope (Ding et al. 2024) has one set of factors up to a length and another above it,
    and a pass uses the set of its longest text. Up to that length every pass uses the same.

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
    """A number that changes with what a probe's answer depends on."""
    flags = tuple(module.__dict__.get("is_causal") for module in model.modules())
    settings = tuple(repr(sorted(vars(config).items(), key=str)) for config in configurations(model))
    return hash((settings, flags, str(model.device), str(model.dtype)))


def _because(needs: AttentionNeeds, reason: str) -> AttentionNeeds:
    return replace(needs, limit_reason=reason) if reason else needs


def on_meta(model: PreTrainedModel) -> bool:
    """Whether a model is an outline without weights, which cannot be probed."""
    return bool(model.device == torch.device("meta"))
