"""Why a model runs without CUDA graphs, said in half a sentence."""

from __future__ import annotations

import re

import torch
from transformers import PreTrainedModel

from cbviz.cuda import varlen
from cbviz.cuda.compiled import decoder_layers
from cbviz.errors import ModelError
from cbviz.models.capability import capability
from cbviz.models.served import attention_needs

_EXPERTS = re.compile(r"Experts|MoE$|SparseMoe|Moe(Block|MLP|Mlp)")
"""Names that transformers gives to modules which send tokens to experts."""


def why_no_graphs(model: PreTrainedModel) -> str | None:
    """Why a model cannot run in CUDA graphs where it lies; None if it can. (On a CPU nothing is captured.)

    Raises
    ------
    ModelError
        The engine cannot serve the model at all.
    """
    if model.device.type == "cpu":
        return None
    return capability(model.device).no_graphs or why_not_captured(model)


def why_not_captured(model: PreTrainedModel) -> str | None:
    """What in the model itself prevents it, whatever the device can do; None if nothing does."""
    needs = attention_needs(model)
    if needs.peculiarity:
        return f"{needs.peculiarity}, which the graphs' kernels do not know"
    head = torch.empty((1, 1, needs.layers[0].key_size), dtype=model.dtype, device=model.device)
    if model.device.type == "cuda" and (refused := varlen.refusal(head)):
        return refused
    experts = next((type(part).__name__ for part in model.modules() if _EXPERTS.search(type(part).__name__)), None)
    if experts:
        return f"experts ({experts}) are chosen token by token, and a graph repeats the same work every time"
    try:
        decoder_layers(model)
    except ModelError:
        return "its decoder layers do not lie in one list"
    return None
