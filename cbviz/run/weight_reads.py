"""Count the bytes of weights that a forward pass reads: every operation is looked at, not every module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cbviz.models import LoadedModel


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what each operation reads of the tensors whose storage is watched."""

    def __init__(self, watched: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watched = watched
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name == "aten::embedding":  # a table of which the rows asked for are read
            if _storage(args[0]) in self.watched:
                self.bytes += args[1].numel() * args[0].shape[-1] * args[0].element_size()
        elif not func.is_view:  # a view hands a tensor on under another shape and reads nothing
            for tensor in _tensors((args, kwargs)):
                if _storage(tensor) in self.watched:
                    self.bytes += tensor.numel() * tensor.element_size()
        return func(*args, **kwargs)


def weight_bytes_read(loaded: LoadedModel, call: Callable[[], object]) -> int:
    """Bytes of a model's weights that the operations of a call read.

    An operation counts as reading each of its weights once, which is the least that it can do: a kernel that goes over
    a matrix twice moves more. Of an embedding table only the rows that are looked up count.

    Parameters
    ----------
    loaded
        The model whose weights are watched.
    call
        Runs forward passes of it.

    Returns
    -------
    int
        0 if the call computes nothing with them.
    """
    reads = _Reads({_storage(weight) for weight in loaded.model.parameters()})
    with torch.no_grad(), reads:
        call()
    return reads.bytes


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
