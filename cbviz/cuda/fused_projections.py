"""Fused projections without touching the modelling code: linear layers that read the same input become one.

A layer's query, key and value projections (and gate and up) multiply the same activations. One large matrix product
reads them once and fills the GPU better than three small ones. Two steps get there: the weights are laid side by side
in memory, each still its own parameter; then, while torch.compile traces the model, linears of the same input whose
weights are neighbours in memory are replaced by one linear over the whole stretch.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from operator import getitem
from typing import TypeGuard

import torch
from torch import Tensor, fx, nn

from cbviz.eager.sibling_linear import GROUPS


@torch.no_grad()
def lay_side_by_side(model: nn.Module) -> int:
    """Move the weights (and biases) of linears of one input next to each other; return how many groups were found.

    Every parameter keeps its identity, shape and values; only its place in memory changes. Those that lie so already
    stay, for graphs may have been captured over their addresses. Quantised weights stay where they are, too: they are
    several tensors each.
    """
    found = 0
    for module in model.modules():
        for names in GROUPS:
            linears = [x for name in names if isinstance(x := getattr(module, name, None), nn.Linear) and _plain(x)]
            if len(linears) == len(names) and len({linear.in_features for linear in linears}) == 1:
                _adjoin([linear.weight for linear in linears])
                if all(linear.bias is not None for linear in linears):
                    _adjoin([linear.bias for linear in linears if linear.bias is not None])
                found += 1
    return found


def _plain(linear: nn.Linear) -> bool:
    """Whether its weight is one ordinary tensor."""
    return type(linear.weight.data) is Tensor


def _adjoin(parameters: list[Tensor]) -> None:
    if all(_is_next(one.data, other.data) for one, other in pairwise(parameters)):
        return
    whole = torch.cat([parameter.data for parameter in parameters])
    for parameter, part in zip(parameters, torch.split(whole, [len(p) for p in parameters]), strict=True):
        parameter.data = part


def fuse_projections(graph_module: fx.GraphModule, *, equal: bool = True) -> int:
    """Replace linears of one input over neighbouring weights by one linear and a split; return how many groups.

    `equal` False leaves those of equal size alone. The weights are graph inputs; the merged weight is a view over the
    first one's memory that reaches across the others, so nothing is copied.
    """
    readers: defaultdict[fx.Node, list[fx.Node]] = defaultdict(list)
    for node in graph_module.graph.nodes:
        if is_linear(node):
            assert isinstance(node.args[0], fx.Node)
            readers[node.args[0]].append(node)
    merged = 0
    for linears in readers.values():
        for run in _runs_of_neighbours(linears):
            if not equal and len({_size(linear) for linear in run}) == 1:
                continue
            _merge(graph_module.graph, run)
            merged += 1
    if merged:
        graph_module.graph.lint()
        graph_module.recompile()
    return merged


def _runs_of_neighbours(linears: list[fx.Node]) -> list[list[fx.Node]]:
    """Maximal runs of linears whose weights (and biases, if any) follow each other in one storage."""
    runs: list[list[fx.Node]] = []
    for node in linears:
        if runs and follows(operands(runs[-1][-1]), operands(node)):
            runs[-1].append(node)
        else:
            runs.append([node])
    return [run for run in runs if len(run) > 1]


def operands(linear: fx.Node) -> list[fx.Node | None]:
    """Weight and bias of a linear, as nodes."""
    bias = linear.args[2] if len(linear.args) > 2 else linear.kwargs.get("bias")
    weight = linear.args[1]
    assert isinstance(weight, fx.Node)
    assert bias is None or isinstance(bias, fx.Node)
    return [weight, bias]


def follows(one: list[fx.Node | None], other: list[fx.Node | None]) -> bool:
    """Whether the operands of one linear lie in memory right behind those of another."""
    for a, b in zip(one, other, strict=True):
        if (a is None) != (b is None):
            return False
        if a is not None and b is not None and not _is_next(a.meta["example_value"], b.meta["example_value"]):
            return False
    return True


def _is_next(one: Tensor, other: Tensor) -> bool:
    """Whether `other` begins in memory where `one` ends."""
    return (
        one.untyped_storage()._cdata == other.untyped_storage()._cdata
        and one.is_contiguous()
        and other.is_contiguous()
        and one.shape[1:] == other.shape[1:]
        and other.storage_offset() == one.storage_offset() + one.numel()
    )


def _size(linear: fx.Node) -> int:
    """Output features."""
    weight = operands(linear)[0]
    assert weight is not None
    return int(weight.meta["example_value"].shape[0])


def _merge(graph: fx.Graph, linears: list[fx.Node]) -> None:
    first = linears[0]
    sizes = [_size(linear) for linear in linears]
    with graph.inserting_before(first):
        stretched: list[fx.Node | None] = []
        for operand in operands(first):
            if operand is None:
                stretched.append(None)
                continue
            example = operand.meta["example_value"]
            shape, stride = (sum(sizes), *example.shape[1:]), example.stride()
            stretched.append(graph.call_function(torch.as_strided, (operand, shape, stride)))
        whole = graph.call_function(torch._C._nn.linear, (first.args[0], *stretched))
        split = graph.call_function(torch.split, (whole, sizes), {"dim": -1})
        parts = [graph.call_function(getitem, (split, i)) for i in range(len(linears))]
    for linear, part in zip(linears, parts, strict=True):
        part.meta.update(linear.meta)
        linear.replace_all_uses_with(part)
        graph.erase_node(linear)


def is_linear(node: object) -> TypeGuard[fx.Node]:
    """Whether a node of a traced graph is a linear layer's product."""
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target is torch._C._nn.linear
