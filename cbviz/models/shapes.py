"""Real shapes with random weights: how fast a model of that size runs, without downloading it.

The numbers are those of the published configurations. The output of such a model is meaningless, so its lengths are
forced, and it has neither a tokenizer nor an END.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from cbviz.checks import shown
from cbviz.errors import ModelError
from cbviz.models.device import check_fit

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

SPREAD = 0.02
"""Standard deviation of the random weights: the initialisation of GPT-2 and its descendants."""


def llama_31_8b() -> PreTrainedConfig:
    """Llama 3.1 8B: grouped queries, 4 per KV head; 128 KiB of KV per token in 16 bits."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=131_072,
        rms_norm_eps=1e-5,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        **_NO_SPECIAL_TOKENS,
    )


def opt_13b() -> PreTrainedConfig:
    """OPT-13B, the model of the article's benchmark: every head has its own keys and values, 800 KiB per token."""
    from transformers import OPTConfig

    return OPTConfig(
        vocab_size=50_272,
        hidden_size=5120,
        word_embed_proj_dim=5120,
        ffn_dim=20_480,
        num_hidden_layers=40,
        num_attention_heads=40,
        max_position_embeddings=2048,
        **_NO_SPECIAL_TOKENS,
    )


def qwen3_06b() -> PreTrainedConfig:
    """Qwen3 0.6B: heads larger than hidden size / heads, normalised queries and keys; 112 KiB of KV per token."""
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=151_936,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40_960,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        tie_word_embeddings=True,
        **_NO_SPECIAL_TOKENS,
    )


def smollm2_135m() -> PreTrainedConfig:
    """SmolLM2 135M: a Llama that fits anywhere; 22.5 KiB of KV per token."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        **_NO_SPECIAL_TOKENS,
    )


_NO_SPECIAL_TOKENS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}

SHAPES: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama-3.1-8b": llama_31_8b,
    "opt-13b": opt_13b,
    "qwen3-0.6b": qwen3_06b,
    "smollm2-135m": smollm2_135m,
}
"""The shapes that may follow "random:"."""


def random_model(shape: str, device: torch.device, dtype: torch.dtype, seed: int = 0) -> PreTrainedModel:
    """Make a model of a shape with weights drawn on the device in the dtype: no copy, no download.

    The same seed gives the same weights on the same kind of device; a CPU and a GPU draw different ones.

    Parameters
    ----------
    shape
        A key of `SHAPES`.

    Raises
    ------
    ModelError
        The shape is unknown.
    CapacityError
        It does not fit into the device's free memory; nothing was allocated.
    """
    if shape not in SHAPES:
        raise ModelError(f"unknown shape {shown(shape)}; 'random:' knows {', '.join(SHAPES)}.")
    return random_weights(SHAPES[shape](), f"random:{shape}", device, dtype, seed)


def random_weights(
    config: PreTrainedConfig, name: str, device: torch.device, dtype: torch.dtype, seed: int
) -> PreTrainedModel:
    """As `random_model`, for any configuration of a causal LM."""
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    # On the meta device a model has shapes but no memory, so its size is known before anything is allocated.
    with torch.device("meta"):
        outline = AutoModelForCausalLM.from_config(config, dtype=dtype)
    check_fit(name, sum(p.numel() for p in outline.parameters()), dtype, device)

    # The libraries' own initialisation passes over all weights twice, ours once.
    with torch.device(device), no_init_weights():
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.tie_weights()
    draw = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, SPREAD, generator=draw)
            elif parameter_name.endswith("bias"):
                parameter.zero_()
            else:  # the gain of a normalisation
                parameter.fill_(1)
    loaded: PreTrainedModel = model
    return loaded
