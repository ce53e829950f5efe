"""A type's default configuration, made small, for the sweep over transformers' model types.

Only sizes change: layers, heads, widths, vocabulary, experts, context and windows. The kind of model, and whatever
distinguishes its layers, stays as in the default.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

VOCABULARY = 128
"""Ids from 3 to `FIRST_SPECIAL` - 1 are ordinary."""
FIRST_SPECIAL = 96
LAYERS = 4
HEADS = 4

_SIZES: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "word_embed_proj_dim", "embedding_size"), 64),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"), LAYERS
    ),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads", "encoder_attention_heads"), HEADS
    ),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length"), 128),
    **dict.fromkeys(("sliding_window", "sliding_window_size", "window_size", "attention_window"), 8),
    **dict.fromkeys(("head_dim", "kv_channels", "swa_head_dim", "v_head_dim"), 16),
    **dict.fromkeys(("global_head_dim",), 24),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts"), 2),
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "qk_head_dim": 20,
    "hidden_size_per_layer_input": 8,
    "hidden_act_dim": 32,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "moe_layer_start_index": 1,
    "num_kv_shared_layers": 1,
    "num_nextn_predict_layers": 0,
    "rotary_dim": 8,
    "zero_expert_num": 2,
    "expert_ffn_hidden_size": 32,
    "max_window_layers": 2,
    "num_key_value_groups": 2,
}


_STATED: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4} for kind in ("full_attention", "sliding_attention")
        }
    },
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], LAYERS // 2]]},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "ministral": {"head_dim": 16},
    "nemotron": {"num_key_value_heads": 2},
    "reformer": {"is_decoder": True},
    "xmod": {"default_language": "en_XX"},
    "zamba2": {"layer_types": ["mamba", "hybrid"] * (LAYERS // 2)},
}
"""Settings that a model needs but its default leaves open or states for each layer."""


def small_config(kind: str, **changes: Any) -> PreTrainedConfig:
    """The default configuration of a type with small sizes, and `changes` on top of it.

    A configuration that cannot be that small raises its own error.
    """
    small = _shrunk(AutoConfig.for_model(kind)) | {"pad_token_id": 0} | _STATED.get(kind, {})
    return AutoConfig.for_model(kind, **small | changes)


def _shrunk(default: PreTrainedConfig) -> dict[str, Any]:
    """Arguments of a small configuration; nested configurations become nested arguments."""
    accepted = set(inspect.signature(type(default).__init__).parameters) | set(vars(default))
    stated = {name: _stated(default, name) for name in sorted(accepted)}
    small: dict[str, Any] = {}
    special = iter(range(VOCABULARY - 1, FIRST_SPECIAL, -1))
    for name, value in stated.items():
        if isinstance(value, PreTrainedConfig):
            small[name] = _shrunk(value)
        elif type(value) is int and value > 0:
            if name in _SIZES:
                small[name] = min(_SIZES[name], value)
            elif "intermediate_size" in name or "ffn" in name or "inner" in name:
                small[name] = min(64, value)
            elif name.endswith(("token_id", "token_index")) and value >= FIRST_SPECIAL:
                small[name] = next(special)
    if "head_dim" in small and "qk_rope_head_dim" in small:  # there head_dim is the rotated part
        small["head_dim"] = small["qk_rope_head_dim"]
    heads = stated.get("num_attention_heads")
    for name in ("num_key_value_heads", "swa_num_key_value_heads", "num_global_key_value_heads"):
        kv = stated.get(name)
        if isinstance(kv, int) and isinstance(heads, int):
            small[name] = HEADS if kv == heads else 1 if kv == 1 else 2
    small |= {name: i for name, i in (("bos_token_id", 1), ("eos_token_id", 2)) if type(stated.get(name)) is int}
    kinds = stated.get("layer_types")
    if isinstance(kinds, list) and kinds:
        different = list(dict.fromkeys(kinds))
        small["layer_types"] = [different[i % len(different)] for i in range(small.get("num_hidden_layers", LAYERS))]
    return small


def _stated(config: PreTrainedConfig, name: str) -> Any:
    """A configuration's value; for a value stated per layer, the one it was given."""
    try:
        return getattr(config, name, None)
    except Exception:
        return vars(config).get(name)


def small_model(config: PreTrainedConfig, seed: int = 0, spread: float = 3.0) -> PreTrainedModel:
    """A model of that configuration, with random weights scaled by `spread`.

    Without scaling, a model answers every prompt alike.
    """
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not torch.isfinite(parameter).all():
                parameter.normal_(0, 0.1)
            # Gains, biases, sinks: none may stay at its neutral value.
            parameter.mul_(spread) if parameter.ndim > 1 else parameter.add_(torch.randn_like(parameter) * 0.1)
    return model
