"""Behind its last attention a model works on each token by itself, and only for the tokens that draw is it needed.

Of a prompt's tokens the last one draws. All others must reach the last attention, as keys and values; what that layer's
output projection and gated layer make of them is read by nothing. So these two take the tokens that draw, and
give zeros to the others: with 32 layers a thirty-second less arithmetic, and more where layers are few.
"""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor, nn

from cbviz.models.needs import AttentionNeeds

WORTH = 10**10
"""Multiplications that must be spared: about 30 microseconds of a large GPU, several times what choosing takes."""


class Drawing:
    """The tokens of the pass at hand whose output is needed: int64 [D].

    No attribute of a module: torch.compile takes those to have one shape for ever.
    """

    tokens: Tensor


class DrawingTokens(nn.Module):
    """What the class of a module that works on each token by itself inherits from while some tokens are left out."""

    drawing: Drawing

    def forward(self, x: Tensor) -> Tensor:
        """[1, T, in] → [1, T, out]."""
        drawing = self.drawing.tokens
        few: Tensor = super().forward(x[:, drawing])
        return few.new_zeros((1, x.shape[1], few.shape[-1])).index_copy(1, drawing, few)


class BehindAttention:
    """The parts of a model behind its last attention that can be spared tokens.

    Parameters
    ----------
    model
        The engine's modules (`serving_copy`); while they are spared tokens, the parts have another class.
    needs
        Whose last layer names the last attention.
    """

    def __init__(self, model: nn.Module, needs: AttentionNeeds) -> None:
        where = needs.layers[-1].module
        layer: Any = model.get_submodule(where.rpartition(".")[0])
        attends: Any = model.get_submodule(where)
        found: list[Any] = []
        names = {name for name, _ in layer.named_children()}
        if {"mlp", "input_layernorm", "post_attention_layernorm"} <= names and hasattr(attends, "o_proj"):
            gated = {name for name, _ in layer.mlp.named_children()} >= {"gate_proj", "up_proj", "down_proj"}
            found = [attends.o_proj, layer.mlp] if gated else []
        self._drawing = Drawing()
        for part in found:
            part.drawing = self._drawing
        self._parts = [(part, own, _sparing(own)) for part in found for own in [part.__class__]]
        self._numbers = sum(weight.numel() for part in found for weight in part.parameters())

    def need(self, drawing: Tensor | None, tokens: int) -> None:
        """Of the next pass's tokens, only these (int64 [D]) are read; None if all are."""
        spared = drawing is not None and (tokens - len(drawing)) * self._numbers >= WORTH
        if spared and drawing is not None:
            self._drawing.tokens = drawing
        for part, own, sparing in self._parts:
            part.__class__ = sparing if spared else own


@functools.cache
def _sparing(own: type[nn.Module]) -> type[nn.Module]:
    """A class of modules with the method that leaves tokens out before its own."""
    return type(f"Drawing{own.__name__}", (DrawingTokens, own), {})
