"""How a run is computed: as CUDA graphs, or eagerly; and the sentences that say so where it is not the fast way."""

from __future__ import annotations

import torch

from cbviz.checks import one_line
from cbviz.engine.graphs import why_no_graphs
from cbviz.errors import ModelError
from cbviz.models import LoadedModel


def graphs_or_not(loaded: LoadedModel, asked: bool | None = None) -> bool:
    """Whether iterations run in the graphs' executor: as asked, or else wherever model and device allow CUDA graphs.

    Raises ModelError, before anything runs, if graphs were asked for and cannot be had.
    """
    if asked is None:
        return loaded.device.type == "cuda" and why_no_graphs(loaded.model) is None
    if asked and (reason := why_no_graphs(loaded.model)) is not None:
        raise ModelError(f"this model cannot run in CUDA graphs here: {reason}; leave graphs out to run it eagerly.")
    return asked


def how_it_runs(loaded: LoadedModel, asked: bool | None = None) -> tuple[str, ...]:
    """What should be said before a run's numbers are read: one sentence for each thing that is not as on a recent GPU.

    Empty where passes run as CUDA graphs, where the caller chose to do without them (`asked` False), and on a CPU.
    """
    told = [loaded.note] if loaded.note else []
    if asked is None and loaded.device.type == "cuda" and (reason := why_no_graphs(loaded.model)) is not None:
        precision = str(loaded.dtype).removeprefix("torch.")
        told.append(
            f"Runs eagerly in {precision}, with PyTorch's own attention and without CUDA graphs: {reason.rstrip('.')}."
        )
    return tuple(told)


def check_compiler(device: torch.device) -> None:
    """Raise ModelError, before anything runs, if torch.compile is wanted on a CPU and there is no C++ compiler.

    On a GPU it writes Triton kernels, and CUDA graphs are refused where Triton does not work.
    """
    if device.type != "cpu":
        return
    from torch._inductor.cpp_builder import get_cpp_compiler  # only compiled passes need Inductor

    try:
        get_cpp_compiler()
    except Exception as error:  # Inductor's, the compiler's
        raise ModelError(
            f"torch.compile needs a C++ compiler on a CPU ({one_line(error)}); compiled=False (--no-compile) does "
            "without it."
        ) from error
