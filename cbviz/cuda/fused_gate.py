"""Gate, up and their product in one kernel, where the model is small.

A gated layer computes SiLU(gate) · up (Shazeer 2020, "GLU variants improve transformer"). Gate and up are one product
of matrices already (`fused_projections`); what is left is a kernel that only multiplies. In a small model it takes no
longer than its launch. With weights of more than a few megabytes, or with hundreds of tokens, cuBLAS's
product counts for more than a launch (`benchmarks/choices.py`).
"""

from __future__ import annotations

from operator import getitem, mul

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from cbviz.cuda.kernels import jit, tl, triton
from cbviz.models.capability import HOPPER, capability

LARGEST_GATE = 4 * 2**20
"""Bytes of gate and up together."""
MOST_TOKENS = 256
"""Of more, the product of matrices counts for more than a launch."""
_STEP = 64
"""Of the inner dimension that the kernel sums over, which must be a multiple of it, as the layer's width must."""


def fuse_gate(graph_module: fx.GraphModule) -> int:
    """Replace SiLU(gate) · up of one merged linear by one operator in a traced graph; return how many were found."""
    graph, found = graph_module.graph, 0
    for node in list(graph.nodes):
        whole = _gated(node) if node.target in (mul, torch.mul) and len(node.args) == 2 else None
        if whole is None or not _small(whole):
            continue
        with graph.inserting_before(node):
            fused = graph.call_function(torch.ops.cbviz.gated_linear.default, tuple(whole.args[:2]))
        fused.meta.update(node.meta)
        node.replace_all_uses_with(fused)
        found += 1
    if found:
        graph.eliminate_dead_code()
        graph.lint()
        graph_module.recompile()
    return found


def _gated(product: fx.Node) -> fx.Node | None:
    """The merged linear of gate and up whose parts a product multiplies; None if it multiplies something else."""
    for gate, up in (product.args, product.args[::-1]):
        if not (isinstance(gate, fx.Node) and gate.target is F.silu):
            continue
        whole, first = _part(gate.args[0])
        same, second = _part(up)
        if whole is not None and whole is same and (first, second) == (0, 1):
            return whole
    return None


def _part(node: object) -> tuple[fx.Node | None, object]:
    """The merged linear of which a node is a part, and which part; None if it is none, or not of two halves."""
    if not (isinstance(node, fx.Node) and node.target is getitem):
        return None, None
    split, which = node.args
    if not (isinstance(split, fx.Node) and split.target is torch.split):
        return None, None
    whole, sizes = split.args[:2]
    halves = isinstance(sizes, list | tuple) and len(sizes) == 2 and sizes[0] == sizes[1]
    merged = isinstance(whole, fx.Node) and whole.target is torch._C._nn.linear and not any(whole.args[2:])
    return (whole, which) if isinstance(whole, fx.Node) and halves and merged else (None, None)


def _small(linear: fx.Node) -> bool:
    """Whether the kernel serves this product: on a Hopper GPU or a newer one, in 16 bits, and of few bytes."""
    x, weight = linear.args[:2]
    if not (isinstance(x, fx.Node) and isinstance(weight, fx.Node) and weight.target is torch.as_strided):
        return False
    shape, example = weight.args[1], x.meta["example_value"]
    assert isinstance(shape, list | tuple)
    return _fits(example, *(int(str(length)) for length in shape))


def _fits(example: Tensor, width: int, inner: int) -> bool:
    """Whether the kernel multiplies inputs like this one with a weight of [width, inner]."""
    if example.device.type != "cuda" or example.dtype not in (torch.float16, torch.bfloat16):
        return False
    sm = capability(example.device).sm
    steps = inner % _STEP == 0 and width % (2 * _STEP) == 0
    return sm is not None and sm >= HOPPER and steps and width * inner * example.element_size() <= LARGEST_GATE


@torch.library.custom_op("cbviz::gated_linear", mutates_args=())
def gated_linear(x: Tensor, weight: Tensor) -> Tensor:
    """SiLU(x · gate) · (x · up): x [..., inner], weight [2 × width, inner], gate's rows first; returns [..., width]."""
    tokens = x.numel() // x.shape[-1]
    if x.device.type != "cuda" or tokens > MOST_TOKENS:
        return in_two_kernels(x, weight)
    return multiply(x.reshape(tokens, -1), weight).view(*x.shape[:-1], -1)


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
    rows, columns = 16 if tokens <= 32 else 64, 32 if tokens <= 128 else 64
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        _gated_kernel[(triton.cdiv(tokens, rows), width // columns)](
            x, weight, out, tokens, inner=inner, width=width, rows=rows, columns=columns, step=_STEP,
            num_warps=4, num_stages=5,
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
