"""torch.compile, a few decoder layers at a time.

All decoder layers run the same code on different weights, so a few compiled layers serve them all: compiling takes
seconds, where a whole model of 32 layers takes minutes. A few rather than one, for then the sum at the end of a layer
and the norm at the beginning of the next become one kernel. A pass of a single token has a version of its own: there
every product is a matrix times a vector. The compiled parts stand in for those of the engine's own copy.

torch.compile traces a part and hands the graph to a backend. Ours make projections of one input one product, of a small
model's gated layer one kernel, and move the rotary embedding into attention; the rest they leave to Inductor, PyTorch's
own compiler.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from transformers import PreTrainedModel

from cbviz.cuda.fused_gate import fuse_gate
from cbviz.cuda.fused_projections import fuse_projections
from cbviz.cuda.fused_rotary import fuse_rotary
from cbviz.errors import ModelError

TOGETHER = 6
"""At most so many layers are compiled together; as many as divide the model's number of layers."""


class CompiledParts:
    """The compiled layers of a model, its final norm and its rotary embedding.

    Raises
    ------
    ModelError
        The model has no list of decoder layers.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        layers = decoder_layers(model)
        runs, companions = _runs(model, layers), _companions(model, layers)
        self._forwards = {one: _stand_ins(runs, companions, one_token=one) for one in (False, True)}

    @contextmanager
    def in_place(self, *, one_token: bool) -> Iterator[None]:
        """Within the block the model runs its compiled parts: those for a single token, or those for several."""
        forwards = self._forwards[one_token]
        try:
            for part, forward in forwards:
                part.forward = forward
            # All models of a process share these few functions, and each compiles its own versions of them.
            with many_recompiles():
                yield
        finally:
            for part, _ in forwards:
                part.__dict__.pop("forward", None)


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The list of a model's decoder layers. Raises ModelError if it has none."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(f"this {model.config.model_type!r} model has no list of {count} decoder layers to compile.")


def compile_part(function: Callable[..., Any], *, one_token: bool) -> Callable[..., Any]:
    """The function by torch.compile: for a single token, or for any number above."""
    backend = for_one_token if one_token else for_several_tokens
    return torch.compile(function, backend=backend, dynamic=not one_token, fullgraph=True)


def _stand_ins(
    runs: list[tuple[nn.Module, ...]], companions: list[nn.Module], *, one_token: bool
) -> list[tuple[nn.Module, Callable[..., Any]]]:
    """What each part of the model runs instead of its own `forward`."""
    run_layers = compile_part(run_in_turn, one_token=one_token)
    forwards: list[tuple[nn.Module, Callable[..., Any]]] = []
    for run in runs:
        forwards.append((run[0], partial(run_layers, run)))
        forwards += [(layer, _passes_on) for layer in run[1:]]
    for part in companions:
        forwards.append((part, compile_part(type(part).forward, one_token=one_token).__get__(part)))
    return forwards


def run_in_turn(layers: tuple[nn.Module, ...], hidden: Tensor, *arguments: Any, **named: Any) -> Any:
    """Each layer on the output of the one before, all with the same other arguments."""
    output: Any = hidden
    for layer in layers:
        # By its class: the instance's `forward` is its replacement.
        output = type(layer).forward(layer, output[0] if isinstance(output, tuple) else output, *arguments, **named)
    return output


def _passes_on(hidden: Tensor, *arguments: Any, **named: Any) -> Tensor:
    """Replaces a layer that an earlier one has run together with itself."""
    return hidden


def _runs(model: PreTrainedModel, layers: nn.ModuleList) -> list[tuple[nn.Module, ...]]:
    """The layers in runs of equal length; of one each where a model gives its layers different arguments."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    together = max(n for n in range(1, TOGETHER + 1) if len(layers) % n == 0) if len(kinds) < 2 else 1
    return [tuple(layers)[i : i + together] for i in range(0, len(layers), together)]


def _companions(model: PreTrainedModel, layers: nn.ModuleList) -> list[nn.Module]:
    """The modules beside the list of layers that are no embedding table: final norm, rotary embedding."""
    for module in model.modules():
        if any(child is layers for child in module.children()):
            return [child for child in module.children() if child is not layers and not isinstance(child, nn.Embedding)]
    return []


# ---------------------------------------------------------------------- how Inductor is set

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
    fuse_gate(graph_module)
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
