"""What a model's generation configuration means here: every setting is honoured, harmless, or refused by name.

`model.generate` obeys `generation_config.json`, so an engine that ignored it would give other answers than the model's
own. The fields are those of transformers 5.17 to 5.23. "Harmless" is said of greedy answers: what only concerns
sampling, beams, caches or the form of the result cannot change them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import GenerationConfig, PreTrainedModel

from cbviz.errors import ModelError

HONOURED = frozenset(
    {
        "begin_suppress_tokens",
        "eos_token_id",
        "min_length",
        "min_new_tokens",
        "no_repeat_ngram_size",
        "repetition_penalty",
        "suppress_tokens",
    }
)
"""Obeyed as `generate` does (see `LogitRules`; END by the engine)."""

HARMLESS = frozenset(
    {
        # Requests say how long their outputs may be.
        "max_length", "max_new_tokens",
        # Sampling: each request has its own, greedy unless it says so.
        "do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
        # Beams, and what is left of their variants where there is a single one.
        "early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty", "low_memory",
        # Where keys and values lie, and how a pass is cut or compiled.
        "use_cache", "cache_config", "max_cache_len", "prefill_chunk_size", "compile_config", "disable_compile",
        "continuous_batching_config",
        # The form of the result, and tokens that only shape inputs.
        "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores", "output_logits",
        "return_dict_in_generate", "pad_token_id", "bos_token_id", "decoder_start_token_id", "transformers_version",
        # Adds one number to all logits of a token.
        "renormalize_logits",
        # Drafts: greedy verification keeps the tokens that the model itself would have chosen.
        "use_mtp", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
        "prompt_lookup_num_tokens", "max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind",
        "target_lookbehind", "speculation_type",
    }
)  # fmt: skip
"""They change no greedy answer."""

REFUSED: dict[str, Callable[[Any], bool]] = {
    "assistant_ensemble_weight": lambda value: True,
    "bad_words_ids": lambda value: True,
    "cache_implementation": lambda value: value == "quantized",
    "constraints": lambda value: True,
    "dola_layers": lambda value: True,
    "encoder_no_repeat_ngram_size": lambda value: value != 0,
    "encoder_repetition_penalty": lambda value: value != 1,
    "exponential_decay_length_penalty": lambda value: True,
    "force_words_ids": lambda value: True,
    "forced_bos_token_id": lambda value: True,
    "forced_eos_token_id": lambda value: True,
    "guidance_scale": lambda value: value != 1,
    "is_assistant": bool,
    "max_time": lambda value: True,
    "num_beams": lambda value: value != 1,
    "penalty_alpha": lambda value: value != 0,
    "remove_invalid_values": bool,
    "sequence_bias": lambda value: True,
    "stop_strings": lambda value: True,
    "token_healing": bool,
    "watermarking_config": lambda value: True,
}
"""They would change a greedy answer, where the function says so of their value; None always means "not set"."""

HOW_TO_IGNORE = (
    "ignore_generation_config=True (--ignore-generation-config) serves the model without its generation config, "
    "END excepted"
)


def settings(model: PreTrainedModel) -> dict[str, Any]:
    """The settings that are honoured and set, END excepted.

    Raises
    ------
    ModelError
        A setting that would change a greedy answer and is not honoured, or one that is not known here.
    """
    found: GenerationConfig | None = getattr(model, "generation_config", None)
    if found is None:
        return {}
    known = vars(GenerationConfig())
    given = {name: value for name, value in vars(found).items() if value is not None and not name.startswith("_")}
    for name, value in given.items():
        if name in HONOURED or name in HARMLESS:
            continue
        if name in REFUSED:
            if REFUSED[name](value):
                raise refusal(name, value, "cannot be honoured")
        elif name in known:  # `generate` itself does not know what lies beside its own fields
            raise refusal(name, value, "is not known here, so that answers might differ")
    legacy: dict[str, Any] = getattr(model.config, "_get_generation_parameters", dict)()
    for name, value in legacy.items():
        raise refusal(name, value, "stands in the model's configuration, where transformers refuses it, too")
    return {name: given[name] for name in sorted(HONOURED & set(given)) if name != "eos_token_id"}


def refusal(name: str, value: object, why: str) -> ModelError:
    """The error for a setting."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}…"
    return ModelError(f"the model's generation config sets {name} = {shown}, which {why}; {HOW_TO_IGNORE}.")
