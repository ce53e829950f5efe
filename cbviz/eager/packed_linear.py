"""Matrix products with few rows on a CPU: weights laid out once for oneDNN, where that is faster.

A decode iteration multiplies a few rows with every weight, so it should take as long as reading the weights. PyTorch's
own product of 8 rows takes 2 to 4 times as long, because it lays a weight out anew for every call. oneDNN can keep the
layout (torch.compile's freezing uses the same operator); it costs a second copy of the weights, made when an engine is
built and shared by all engines of a model. Linears that read the same input are laid out as one (`sibling_linear`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from cbviz.eager.sibling_linear import JointProduct, SiblingLinear, joined_bias, sibling_groups
from cbviz.models.host_memory import available_bytes

FEW_ROWS = 64
"""Rows up to which the layout is used: a pass over a long prompt computes more than it reads."""
LEAST_GAIN = 1.1
"""A layout is kept where it makes products of this shape faster by this factor."""
LEAST_GAIN_TOGETHER = 1.02
"""Linears of one input become one product where that is faster than their packed products by this factor."""
SMALLEST = 2**16
"""Weights below this many entries stay as they are: all their products together take no time."""
ROWS_TO_LAY_OUT_FOR = 16
"""oneDNN chooses a layout for a number of rows. That for one row is a third slower, for one row too, than this one."""
ROOM = 2
"""The copy is made where this many times its size is free."""
REPEATS = 3
BEYOND_CACHES = 2**26
"""Bytes of weights of one shape that are timed in turn, where a model has so many: a pass reads each from memory."""


@dataclass(slots=True, weakref_slot=True)
class PackedWeight:
    """A weight, or several one below the other, as oneDNN wants it.

    Attributes
    ----------
    packed
        float32 [out, in] in a layout of oneDNN's own; only its operator can read it.
    witness
        float32 [1, out]: the plain product of a fixed row with the weights when they were laid out. A weight that has
        changed since, through any view of its memory, gives another one.
    """

    packed: Tensor
    witness: Tensor


Group = tuple[nn.Module, tuple[str, ...], list[nn.Linear]]
"""A module, names of linears in it, and these."""

_lock = threading.Lock()
_layouts: WeakValueDictionary[tuple[tuple[int, torch.Size], ...], PackedWeight] = WeakValueDictionary()
"""Addresses and shapes of weights → their layout, as long as an engine uses it."""
_faster: dict[tuple[tuple[torch.Size, ...], int], bool] = {}
"""Shapes of weights and rows → whether the layout paid here. Timed once, so that all lanes of a race compute alike."""


class PackedLinear(nn.Module):
    """A linear layer over two copies of its weight: one for few rows, the model's own for many."""

    def __init__(self, linear: nn.Linear, layout: PackedWeight) -> None:
        super().__init__()
        self.weight, self.bias, self.layout = linear.weight, linear.bias, layout

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        if x.numel() > FEW_ROWS * x.shape[-1]:
            return functional.linear(x, self.weight, self.bias)
        return _laid_out(self.layout, self.bias, x)


def pack_linears(model: nn.Module, rows: int) -> int:
    """Replace the linear layers of an engine's own modules by packed ones, where that is faster.

    Each shape is timed once in a process: plain, packed, and together with the others of its input. Nothing happens on
    other devices and dtypes, without oneDNN, or where memory has no room for a second copy of the weights. The weights
    must not change while an engine lives.

    Parameters
    ----------
    model
        The engine's modules (`serving_copy`): the model of the caller keeps its own.
    rows
        Rows of a usual pass: the engine's slots.

    Returns
    -------
    int
        Bytes of the weights that have two copies now.
    """
    found = list(_linears(model))
    rows = min(rows, FEW_ROWS)
    size = sum(weight.nbytes for weight in {linear.weight for _, _, linear in found})
    free = available_bytes()
    if not found or not onednn_packs() or (free is not None and free < ROOM * size):
        return 0
    used: dict[int, int] = {}

    def replaced(owner: nn.Module, name: str, linear: nn.Linear, packed: nn.Module) -> None:
        setattr(owner, name, packed)
        used[linear.weight.data_ptr()] = linear.weight.nbytes

    with _lock, torch.inference_mode():
        groups = [group for group in sibling_groups(model) if all(map(_eligible, group[2]))]
        for alike in _alike(groups):
            layouts = _worthwhile([linears for _, _, linears in alike], rows)
            for (owner, names, linears), layout in zip(alike, layouts, strict=False):
                product = functools.partial(_laid_out, layout, joined_bias(linears))
                joint = JointProduct(product, [linear.out_features for linear in linears], FEW_ROWS)
                for number, (name, linear) in enumerate(zip(names, linears, strict=True)):
                    replaced(owner, name, linear, SiblingLinear(linear, joint, number))
        for alike in _alike((owner, (name,), [linear]) for owner, name, linear in _linears(model)):
            layouts = _worthwhile([linears for _, _, linears in alike], rows)
            for (owner, (name,), (linear,)), layout in zip(alike, layouts, strict=False):
                replaced(owner, name, linear, PackedLinear(linear, layout))
    return sum(used.values())


@functools.cache
def onednn_packs() -> bool:
    """Whether this PyTorch, on this processor, has oneDNN's operators for laid-out weights, and they compute right."""
    try:
        weight, x = torch.arange(64.0).reshape(8, 8), torch.eye(8)
        with torch.inference_mode():
            return torch.equal(_product(x, _packed(weight, 8), None), weight.T)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False


def _linears(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Every linear layer that can be packed, with the module that holds it and its name there."""
    for owner in list(model.modules()):
        for name, child in list(owner.named_children()):
            if type(child) is nn.Linear and _eligible(child):
                yield owner, name, child


def _eligible(linear: nn.Linear) -> bool:
    """Whether it is an ordinary float32 layer on a CPU, of which a call is nothing but its product."""
    weight = linear.weight
    return (
        type(weight.data) is Tensor
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.is_contiguous()
        and not has_hooks(linear)
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of the module does anything beside its forward method."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))


def _alike(groups: Iterable[Group]) -> list[list[Group]]:
    """Groups of linears by the shapes of their weights."""
    found: dict[tuple[torch.Size, ...], list[Group]] = {}
    for group in groups:
        found.setdefault(tuple(linear.weight.shape for linear in group[2]), []).append(group)
    return list(found.values())


def _worthwhile(alike: list[list[nn.Linear]], rows: int) -> list[PackedWeight]:
    """The layouts of linears, or of linears together, that are alike, where they pay; none elsewhere."""
    weights = [[linear.weight for linear in linears] for linears in alike]
    key = (tuple(weight.shape for weight in weights[0]), rows)
    if not _faster.get(key, sum(weight.numel() for weight in weights[0]) >= SMALLEST):
        return []
    few = weights[: max(1, BEYOND_CACHES // sum(weight.nbytes for weight in weights[0]))]
    layouts = [_layout(each, rows) for each in few]
    if key not in _faster:
        _faster[key] = _pays(few, layouts, rows)
    return layouts + [_layout(each, rows) for each in weights[len(few) :]] if _faster[key] else []


def _layout(weights: list[Tensor], rows: int) -> PackedWeight:
    """The layout that an engine uses already, or a new one."""
    key = tuple((weight.data_ptr(), weight.shape) for weight in weights)
    row = torch.linspace(-1, 1, weights[0].shape[1]).unsqueeze(0)
    witness = torch.cat([functional.linear(row, weight) for weight in weights], 1)
    known = _layouts.get(key)
    if known is None or not torch.equal(known.witness, witness):
        whole = weights[0] if len(weights) == 1 else torch.cat(weights)
        known = _layouts[key] = PackedWeight(_packed(whole, rows), witness)
    return known


def _pays(weights: list[list[Tensor]], layouts: list[PackedWeight], rows: int) -> bool:
    """Whether products over layouts are faster than plain ones, and than those over a layout of each weight."""
    x = torch.linspace(-1, 1, rows * weights[0][0].shape[1]).reshape(rows, -1)
    packed = [layout.packed for layout in layouts]
    if len(weights[0]) == 1:
        plain, apart = _fastest(
            [functools.partial(functional.linear, x, weight) for (weight,) in weights],
            [functools.partial(_product, x, one, None) for one in packed],
        )
        return plain > LEAST_GAIN * apart
    sizes = [len(weight) for weight in weights[0]]
    joints = [JointProduct(functools.partial(_product, packed=one, bias=None), sizes, FEW_ROWS) for one in packed]
    plain, apart, together = _fastest(
        [functools.partial(functional.linear, x, weight) for each in weights for weight in each],
        [functools.partial(_product, x, _packed(weight, rows), None) for each in weights for weight in each],
        [functools.partial(joint.part, number, x) for joint in joints for number in range(len(sizes))],
    )
    return plain > LEAST_GAIN * together and apart > LEAST_GAIN_TOGETHER * together


def _fastest(*ways: list[Callable[[], object]]) -> list[float]:
    """The least seconds of each way to compute the same products, the ways taken in turns."""
    seconds = [float("inf")] * len(ways)
    for _ in range(REPEATS + 1):  # the first call of each fills caches, and is never the fastest
        for number, products in enumerate(ways):
            began = perf_counter()
            for product in products:
                product()
            seconds[number] = min(seconds[number], perf_counter() - began)
    return seconds


def _packed(weight: Tensor, rows: int) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, max(rows, ROWS_TO_LAY_OUT_FOR))
    return packed


def _laid_out(layout: PackedWeight, bias: Tensor | None, x: Tensor) -> Tensor:
    """[…, in] → […, out], by a layout that lives as long as its user."""
    return _product(x, layout.packed, bias)


def _product(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """[…, in] → […, out]."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return product
