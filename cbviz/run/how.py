"""Whether a run uses CUDA graphs or eager passes, and the sentences that say so when it is not the fast way."""

from __future__ import annotations

import torch

from cbviz.checks import is_a, one_line, one_of
from cbviz.config import BACKENDS, Backend
from cbviz.cuda.reasons import why_no_graphs
from cbviz.errors import ModelError
from cbviz.models import LoadedModel


def choose_backend(loaded: LoadedModel, asked: str | None = None) -> Backend:
    """The backend for a model where it lies: as asked, or else "graphs" on a GPU that can capture it, and "sdpa".

    Raises
    ------
    ModelError
        There is no such backend, or this model cannot use it here.
    """
    if asked is None:
        return "graphs" if loaded.device.type == "cuda" and why_no_graphs(loaded.model) is None else "sdpa"
    if is_a(asked, str) and str(asked) == "graphs" and (reason := why_no_graphs(loaded.model)) is not None:
        raise ModelError(f"this model cannot run in CUDA graphs here: {reason}; backend='sdpa' runs it eagerly.")
    where = f"for this model on {loaded.device}"
    return one_of("backend", asked, backends_here(loaded), where=where, error=ModelError)


def backends_here(loaded: LoadedModel) -> tuple[Backend, ...]:
    """The backends that this model can use where it lies."""
    return BACKENDS if why_no_graphs(loaded.model) is None else ("sdpa",)


def how_it_runs(loaded: LoadedModel, asked: str | None = None) -> tuple[str, ...]:
    """Notes to read before a run's numbers: one sentence for each way in which it differs from a recent GPU.

    Empty if passes run as CUDA graphs, if the caller chose another backend, and on a CPU.
    """
    notes = [loaded.note] if loaded.note else []
    if asked is None and loaded.device.type == "cuda" and (reason := why_no_graphs(loaded.model)) is not None:
        precision = str(loaded.dtype).removeprefix("torch.")
        notes.append(
            f"Runs eagerly in {precision}, with PyTorch's own attention and without CUDA graphs: {reason.rstrip('.')}."
        )
    return tuple(notes)


def check_compiler(device: torch.device) -> None:
    """Raise ModelError if torch.compile is to run on a CPU without a C++ compiler.

    On a GPU, Inductor writes Triton kernels, and CUDA graphs are already refused where Triton does not work.
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
