"""Small random models of every architecture that the engine is tested on, and what each answers alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from cbviz.workload.request import Request

VOCABULARY = 97
END = 2


def _llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**_common(), num_key_value_heads=2))


def _llama_multi_head() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**_common(), num_key_value_heads=4, tie_word_embeddings=True))


def _qwen2() -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(**_common(), num_key_value_heads=2))


def _qwen2_sliding() -> PreTrainedModel:
    config = Qwen2Config(
        **_common(), num_key_value_heads=2, use_sliding_window=True, sliding_window=6, max_window_layers=1
    )
    return Qwen2ForCausalLM(config)


def _qwen3() -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config(**_common(), num_key_value_heads=2, head_dim=24))


def _gpt2() -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=128, n_embd=48, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=END
    )
    return GPT2LMHeadModel(config)


def _opt() -> PreTrainedModel:
    config = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        word_embed_proj_dim=48,
        ffn_dim=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=END,
        pad_token_id=0,
    )
    return OPTForCausalLM(config)


def _common() -> dict[str, object]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "bos_token_id": 1,
        "eos_token_id": END,
        "pad_token_id": 0,
    }


ARCHITECTURES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": _llama,
    "llama-mha": _llama_multi_head,
    "qwen2": _qwen2,
    "qwen2-sliding": _qwen2_sliding,
    "qwen3": _qwen3,
    "gpt2": _gpt2,
    "opt": _opt,
}


def make(architecture: str, seed: int = 0) -> PreTrainedModel:
    """A model with weights large enough that its answers differ from prompt to prompt."""
    torch.manual_seed(seed)
    model = ARCHITECTURES[architecture]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return model


@torch.inference_mode()
def solo(model: PreTrainedModel, request: Request) -> list[int]:
    """What `model.generate` answers to this request alone, greedily."""
    forced = request.output_length is not None
    prompt = torch.tensor([request.prompt], device=model.device)
    answer = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=request.output_length or request.max_new_tokens,
        eos_token_id=[-1] if forced else [END, *request.stop_tokens],
        pad_token_id=0,
    )
    return answer[0, len(request.prompt) :].tolist()
