"""Projections that read the same input, as one product over weights that oneDNN has laid out together.

A layer's query, key and value projections (and gate and up) multiply the same rows. A product of a few rows costs
something beside its bytes, so one large product takes less than two or three small ones. The modelling code calls the
projections one after the other and stays as it is: the first call computes all of them, and the others take their part.
The GPU's engine does the same while torch.compile traces the model (`cbviz.cuda.fused_projections`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Attribute names of linears that read the same input, as transformers' models call them."""


class JointProduct:
    """The last product of a group of linears, until each has taken its part.

    It belongs to one engine, whose passes run one after another.

    Parameters
    ----------
    product
        […, in] → […, all outputs], for a few rows.
    sizes
        Output features of each linear, in their order.
    few_rows
        Rows up to which the linears use it.
    """

    def __init__(self, product: Callable[[Tensor], Tensor], sizes: list[int], few_rows: int) -> None:
        self.few_rows = few_rows
        self.product = product
        self._sizes = sizes
        self._input: Tensor | None = None
        self._parts: list[Tensor | None] = []

    def part(self, number: int, x: Tensor) -> Tensor:
        """[…, in] → […, out of linear `number`]: of the last product if it was of this very tensor, or of a new one."""
        found = self._parts[number] if self._input is x else None
        if found is None:
            self._input = x
            # Contiguous, as a linear's own output is: modelling code may view it in any way.
            self._parts = [one.contiguous() for one in torch.split(self.product(x), self._sizes, dim=-1)]
            found = self._parts[number]
        assert found is not None
        self._parts[number] = None
        if all(one is None for one in self._parts):
            self._input = None
        return found


class SiblingLinear(nn.Module):
    """One linear of a group: its part of the joint product for a few rows, its own product for many."""

    def __init__(self, linear: nn.Linear, joint: JointProduct, number: int) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.joint, self.number = joint, number

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        if x.numel() > self.joint.few_rows * x.shape[-1]:
            return functional.linear(x, self.weight, self.bias)
        return self.joint.part(self.number, x)


def together(linears: Sequence[nn.Module]) -> Callable[[Tensor], Tensor]:
    """[…, in] → […, all outputs] of linears of one input, for a few rows: their joint product, if they have one."""
    joints = {one.joint for one in linears if isinstance(one, SiblingLinear)}
    if len(joints) == 1 and all(isinstance(one, SiblingLinear) for one in linears):
        return joints.pop().product
    return lambda x: torch.cat([one.forward(x) for one in linears], -1)


def sibling_groups(model: nn.Module) -> Iterator[tuple[nn.Module, tuple[str, ...], list[nn.Linear]]]:
    """Every module of a model that has all linears of a group, with their names there and the linears."""
    for owner in list(model.modules()):
        for names in GROUPS:
            linears = [x for name in names if type(x := getattr(owner, name, None)) is nn.Linear]
            if len(linears) == len(names) and len({linear.in_features for linear in linears}) == 1:
                yield owner, names, linears


def joined_bias(linears: list[nn.Linear]) -> Tensor | None:
    """Their biases end to end, zeros for one that has none; None if none has one."""
    if all(linear.bias is None for linear in linears):
        return None
    return torch.cat([torch.zeros(one.out_features) if one.bias is None else one.bias.detach() for one in linears])
