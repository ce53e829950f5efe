"""The rotary embedding moved into attention, without touching the modelling code.

What a model writes for its rotary embedding becomes a kernel that takes about as long as it takes to launch one, once a
layer. Our attention can do it on the way, where it reads queries and keys anyway. While torch.compile traces the model,
attention whose query and key have just been rotated alike gets them unrotated, and the cosines and sines beside them.
A model that rotates in another way (a part of a head only, neighbours for pairs) keeps its own kernels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.fx.passes.utils.matcher_utils import SubgraphMatcher


def rotate(x: Tensor, cos: Tensor, sin: Tensor, half: int) -> Tensor:
    """What transformers' models compute: [..., 2 × half], rotated (RoFormer, Su et al. 2021, §3.4.2)."""
    return (x * cos) + (torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin)


class _Rotated(NamedTuple):
    """What a rotated node is made of."""

    x: fx.Node
    cos: fx.Node
    sin: fx.Node


def fuse_rotary(graph_module: fx.GraphModule) -> int:
    """Hand attention its queries and keys unrotated, in place, in a traced graph; return how many layers were found."""
    attends = [node for node in graph_module.graph.nodes if node.target is torch.ops.cbviz.attend_paged.default]
    found: dict[Any, _Rotated] = {}
    for half in {int(_meta(node.args[0]).shape[-1]) // 2 for node in attends}:
        found |= _rotations(graph_module.graph, half)
    fused = 0
    for node in attends:
        query, key = found.get(node.args[0]), found.get(node.args[1])
        if query and key and (query.cos, query.sin) == (key.cos, key.sin):
            node.args = (query.x, key.x, *node.args[2:5], query.cos, query.sin, *node.args[7:])
            fused += 1
    if fused:
        graph_module.graph.eliminate_dead_code()
        graph_module.graph.lint()
        graph_module.recompile()
    return fused


def _rotations(graph: fx.Graph, half: int) -> dict[fx.Node, _Rotated]:
    """The nodes of a graph that come out of `rotate`."""
    pattern = fx.symbolic_trace(lambda x, cos, sin: rotate(x, cos, sin, half)).graph
    x, cos, sin = (node for node in pattern.nodes if node.op == "placeholder")
    found: dict[fx.Node, _Rotated] = {}
    for match in SubgraphMatcher(pattern).match(graph):
        parts = _Rotated(match.nodes_map[x], match.nodes_map[cos], match.nodes_map[sin])
        (result,) = match.returning_nodes
        # Where cosines and sines are wider than the queries, the model continues in their type, and so must we.
        if _meta(parts.x).dtype == _meta(result).dtype:
            found[result] = parts
    return found


def _meta(node: object) -> Tensor:
    """A tensor that has the shape and type of a node's result, and no numbers."""
    assert isinstance(node, fx.Node)
    example: Tensor = node.meta["example_value"]
    return example
