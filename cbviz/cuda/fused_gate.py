"""Gate, up and their product in one kernel, where the model is small.

A gated layer computes SiLU(gate) · up (Shazeer 2020, "GLU variants improve transformer"). As one product of matrices
(`fused_projections`) gate and up leave a kernel that only multiplies. In a small model it takes no longer than its
launch. With weights of more than a few megabytes cuBLAS's product counts for more than a launch
(`benchmarks/choices.py`).
"""

from __future__ import annotations

import math
from operator import mul
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from cbviz.cuda.fused_projections import follows, is_linear, operands
from cbviz.cuda.kernels import jit, tl, triton
from cbviz.models.capability import HOPPER, capability

LARGEST_GATE = 4 * 2**20
"""Bytes of gate and up together."""
_STEP = 64
"""Of the inner dimension that the kernel sums over, which must be a multiple of it, as the layer's width must."""


def fuse_gate(graph_module: fx.GraphModule) -> int:
    """Replace SiLU(gate) · up by one operator in a traced graph, before its projections are merged; return how many."""
    graph, found = graph_module.graph, 0
    for node in list(graph.nodes):
        gate = _gate_of(node) if node.target in (mul, torch.mul) and len(node.args) == 2 else None
        if gate is None:
            continue
        x, weight = gate.args[0], operands(gate)[0]
        assert isinstance(x, fx.Node)
        assert weight is not None
        width, inner = weight.meta["example_value"].shape
        if not _fits(x.meta["example_value"], 2 * width, inner):
            continue
        with graph.inserting_before(node):
            both = graph.call_function(torch.as_strided, (weight, (2 * width, inner), (inner, 1)))
            fused = graph.call_function(torch.ops.cbviz.gated_linear.default, (x, both))
        fused.meta.update(node.meta)
        node.replace_all_uses_with(fused)
        found += 1
    if found:
        graph.eliminate_dead_code()
        graph.lint()
        graph_module.recompile()
    return found


def _gate_of(product: fx.Node) -> fx.Node | None:
    """The linear of the gate, if that of up has the same input and weights behind its own in memory; else None."""
    for one, up in (product.args, product.args[::-1]):
        gate = one.args[0] if isinstance(one, fx.Node) and one.target is F.silu else None
        if is_linear(gate) and is_linear(up) and gate.args[0] is up.args[0]:
            mine, its = operands(gate), operands(up)
            return gate if mine[1] is None and follows(mine, its) else None
    return None


def _fits(example: Tensor, width: int, inner: int) -> bool:
    """Whether the kernel multiplies inputs like this one with a weight of [width, inner]."""
    if example.device.type != "cuda" or example.dtype not in (torch.float16, torch.bfloat16):
        return False
    sm = capability(example.device).sm
    steps = inner % _STEP == 0 and width % (2 * _STEP) == 0
    return sm is not None and sm >= HOPPER and steps and width * inner * example.element_size() <= LARGEST_GATE


class _Launch(NamedTuple):
    """A program's tokens and numbers of each, its warps, and the depth of Triton's software pipeline."""

    rows: int
    columns: int
    warps: int
    stages: int


_LAUNCHES = {
    64: _Launch(16, 32, 4, 5),
    128: _Launch(64, 32, 4, 5),
    256: _Launch(64, 64, 4, 5),
    768: _Launch(128, 64, 8, 4),
    math.inf: _Launch(128, 64, 8, 3),
}
"""Up to so many tokens, the fastest launch that was found for SmolLM2-135M on an H200: one wave of programs."""


@torch.library.custom_op("cbviz::gated_linear", mutates_args=())
def gated_linear(x: Tensor, weight: Tensor) -> Tensor:
    """SiLU(x · gate) · (x · up): x [..., inner], weight [2 × width, inner], gate's rows first; returns [..., width]."""
    if x.device.type != "cuda":
        return in_two_kernels(x, weight)
    return multiply(x.reshape(-1, x.shape[-1]), weight).view(*x.shape[:-1], -1)


@gated_linear.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0] // 2))


def in_two_kernels(x: Tensor, weight: Tensor) -> Tensor:
    """The same by PyTorch: gate and up as one product, then SiLU and their product."""
    gate, up = F.linear(x, weight).chunk(2, dim=-1)
    return F.silu(gate) * up


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """The kernel's SiLU(x · gate) · (x · up), rounded where two kernels would round.

    Parameters
    ----------
    x
        [tokens, inner]; inner a multiple of 64.
    weight
        [2 × width, inner], contiguous, gate's rows first; width a multiple of 64.

    Returns
    -------
    Tensor
        [tokens, width]
    """
    x = x.contiguous()
    (tokens, inner), width = x.shape, len(weight) // 2
    out = x.new_empty((tokens, width))
    how = next(launch for most, launch in _LAUNCHES.items() if tokens <= most)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        _gated_kernel[(triton.cdiv(tokens, how.rows), width // how.columns)](
            x, weight, out, tokens, inner=inner, width=width, rows=how.rows, columns=how.columns, step=_STEP,
            num_warps=how.warps, num_stages=how.stages,
        )  # fmt: skip
    return out


@jit
def _gated_kernel(
    x: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    tokens: tl.tensor,
    inner: tl.constexpr,
    width: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
    step: tl.constexpr,
) -> None:
    """A program makes `columns` numbers of `rows` tokens: both of their sums, side by side."""
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    number = tl.arange(0, step)
    real = row[:, None] < tokens
    x_there = x + row[:, None] * inner + number[None, :]
    gate_there = weight + column[None, :] * inner + number[:, None]
    up_there = gate_there + width * inner
    gate = tl.zeros([rows, columns], tl.float32)
    up = tl.zeros([rows, columns], tl.float32)
    for _ in range(0, inner, step):
        part = tl.load(x_there, mask=real, other=0.0)
        gate = tl.dot(part, tl.load(gate_there), gate)
        up = tl.dot(part, tl.load(up_there), up)
        x_there += step
        gate_there += step
        up_there += step
    kind = out.dtype.element_ty
    gate = gate.to(kind).to(tl.float32)
    activated = (gate / (1 + tl.exp(-gate))).to(kind).to(tl.float32)
    tl.store(out + row[:, None] * width + column[None, :], (activated * up.to(kind)).to(kind), mask=real)
