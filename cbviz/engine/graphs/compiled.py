"""torch.compile, one decoder layer at a time.

All decoder layers run the same code on different weights, so one compiled layer serves them all: compiling takes
seconds, where a whole model of 32 layers takes minutes. The compiled parts stand in for the model's own only while a
pass runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from cbviz.engine.graphs.siblings import compile_with_merged_siblings, lay_side_by_side
from cbviz.errors import ModelError


class CompiledParts:
    """The compiled layers of a model, its final norm and its rotary embedding.

    Sibling projections are laid side by side in memory first; nothing else about the model changes.

    Raises
    ------
    ModelError
        The model has no list of decoder layers.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        lay_side_by_side(model)
        layers = decoder_layers(model)
        compiled: dict[type[nn.Module], Callable[..., Any]] = {}
        self._forwards: list[tuple[nn.Module, Callable[..., Any]]] = []
        for part in (*layers, *_companions(model, layers)):
            kind = type(part)
            if kind not in compiled:
                compiled[kind] = torch.compile(
                    kind.forward, backend=compile_with_merged_siblings, dynamic=True, fullgraph=True
                )
            self._forwards.append((part, compiled[kind].__get__(part)))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model runs its compiled parts."""
        try:
            for part, forward in self._forwards:
                part.forward = forward
            yield
        finally:
            for part, _ in self._forwards:
                part.__dict__.pop("forward", None)


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The list of a model's decoder layers. Raises ModelError if it has none."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(f"this {model.config.model_type!r} model has no list of {count} decoder layers to compile.")


def _companions(model: PreTrainedModel, layers: nn.ModuleList) -> list[nn.Module]:
    """What stands beside the list of layers and is not an embedding table: final norm, rotary embedding."""
    for module in model.modules():
        if any(child is layers for child in module.children()):
            return [child for child in module.children() if child is not layers and not isinstance(child, nn.Embedding)]
    return []
