"""A second set of a model's modules over the same weights.

The engine makes models call its attention, and replaces some of their layers by compiled ones. Both are switches on
module and configuration objects, and those belong to the caller, who may call `generate` in another thread at any time.
So an engine works on its own modules: copies of every Python object, with shared tensors. They take hardly any memory
and a few milliseconds, and changes to them never show in the original.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from cbviz.errors import ModelError

Model = TypeVar("Model", bound=PreTrainedModel)

_HOOKS = tuple(
    f"_{name}"
    for name in (
        "forward_hooks",
        "forward_hooks_with_kwargs",
        "forward_hooks_always_called",
        "forward_pre_hooks",
        "forward_pre_hooks_with_kwargs",
    )
)
"""The attributes of a module with the hooks that a forward pass calls."""


def twin(model: Model, attention: str | None = None, *, hooks: bool = True) -> Model:
    """Copy a model's modules and configurations; parameters and buffers stay the very same tensors.

    Parameters
    ----------
    model
        The model; it stays unchanged.
    attention
        The attention implementation set in all configurations of the copy; None keeps the model's own.
    hooks
        Whether the copy shares the forward hooks: it then calls those of the original, including later ones. False
        gives it none.

    Returns
    -------
    PreTrainedModel
        The copy. It owns what a forward pass writes in place (the frequencies of a rotary embedding).

    Raises
    ------
    ModelError
        Something in the model cannot be copied.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        for tensor in module._parameters.values():
            memo[id(tensor)] = tensor
        for name, tensor in module._buffers.items():
            if not name.endswith("inv_freq"):  # a rotary embedding overwrites these for longer texts
                memo[id(tensor)] = tensor
        for kind in _HOOKS:
            memo[id(module.__dict__[kind])] = module.__dict__[kind] if hooks else type(module.__dict__[kind])()
    try:
        copied = copy.deepcopy(model, memo)
    except Exception as error:  # whatever a custom module keeps
        raise ModelError(
            f"this {model.config.model_type!r} model cannot be served beside its other uses, because a part of it "
            f"cannot be copied: {str(error).splitlines()[0] if str(error) else type(error).__name__}."
        ) from error
    if attention is not None:
        for config in configurations(copied):
            config._attn_implementation_internal = attention
    return copied


def configurations(model: nn.Module) -> list[PreTrainedConfig]:
    """Every configuration object that a module of the model reads, nested ones included, each once."""
    found: dict[int, PreTrainedConfig] = {}
    for module in model.modules():
        for value in module.__dict__.values():
            if isinstance(value, PreTrainedConfig):
                found.update((id(one), one) for one in _with_nested(value))
    return list(found.values())


def _with_nested(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    yield config
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from _with_nested(value)


def drops_cap(model: PreTrainedModel) -> bool:
    """Whether a model's own attention leaves out the cap on scores that its configuration asks for.

    PyTorch's scaled_dot_product_attention has no such cap. Recent versions of transformers do not offer it to these
    models; older ones (5.17) use it for them by default, which changes their answers.
    """
    config = model.config.get_text_config()
    return bool(getattr(config, "attn_logit_softcapping", None)) and config._attn_implementation == "sdpa"
