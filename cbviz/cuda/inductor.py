"""How our traced graphs become kernels: what we rewrite first, and how Inductor is set.

torch.compile traces a part of a model and hands the graph to a backend. Ours make projections of one input one product
and move the rotary embedding into attention, then leave the rest to Inductor, PyTorch's own compiler.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from cbviz.cuda.fused_projections import fuse_projections
from cbviz.cuda.fused_rotary import fuse_rotary

INDUCTOR: dict[str, Any] = {"combo_kernels": True}
"""Inductor's settings where they differ from its own. Combo kernels do independent pieces of work in one launch: a step
of SmolLM2-135M with a single row takes 0.69 → 0.62 ms on an H100; with 128 rows it makes no difference."""

ONE_TOKEN: dict[str, Any] = {"coordinate_descent_tuning": True, "triton.enable_pdl": True}
"""More of them for a single token. With the first, Inductor writes a matrix times a vector as a sum of its own, into
which it fuses what comes after (the residual; gate, up and their product), and finds the launch by trying. With the
second, a kernel is launched while the one before it still runs (programmatic dependent launch). A step of SmolLM2-135M
on an H100: 0.95 → 0.74 → 0.69 ms. For more tokens cuBLAS is the better choice, and the second costs more than it
gains."""


def for_several_tokens(graph_module: fx.GraphModule, example_inputs: list[Any]) -> Any:
    """The backend for any number of tokens above one."""
    fuse_projections(graph_module)
    return _inductor(graph_module, example_inputs, INDUCTOR)


def for_one_token(graph_module: fx.GraphModule, example_inputs: list[Any]) -> Any:
    """The backend for a single token, which leaves projections of one size to Inductor's own fusion."""
    fuse_projections(graph_module, equal=False)
    return _inductor(graph_module, example_inputs, INDUCTOR | ONE_TOKEN)


def _inductor(graph_module: fx.GraphModule, example_inputs: list[Any], settings: dict[str, Any]) -> Any:
    from torch._inductor.compile_fx import compile_fx  # takes a second to import, and only graphs need it

    fuse_rotary(graph_module)
    return compile_fx(graph_module, example_inputs, config_patches=settings)


RECOMPILES = 64
"""How many versions of one function torch.compile may keep: all models of a process share a few functions."""

_lock = threading.Lock()
_compiling = 0
_limit_found = 8


@contextmanager
def many_recompiles() -> Iterator[None]:
    """Within the block torch.compile may keep `RECOMPILES` versions of a function."""
    global _compiling, _limit_found
    with _lock:
        if not _compiling:
            _limit_found = torch._dynamo.config.recompile_limit
            torch._dynamo.config.recompile_limit = max(RECOMPILES, _limit_found)
        _compiling += 1
    try:
        yield
    finally:
        with _lock:
            _compiling -= 1
            if not _compiling:
                torch._dynamo.config.recompile_limit = _limit_found
