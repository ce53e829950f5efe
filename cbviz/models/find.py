"""Find a model by name and load it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch

from cbviz.checks import known_elsewhere, shown
from cbviz.errors import FileError, ModelError
from cbviz.models.device import check_device, fallback, full_device_refused, pick_device, pick_dtype
from cbviz.models.folder import load_folder, ready
from cbviz.models.half import check_finite
from cbviz.models.int8 import check_int8, quantised
from cbviz.models.loaded import LoadedModel
from cbviz.models.shapes import SHAPES, random_model
from cbviz.paths import path_of, short, why

TINY = Path(__file__).parent / "tiny"
SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def catalogue() -> dict[str, str]:
    """The models that `load` knows by name.

    Returns
    -------
    dict[str, str]
        Name → one line about the model.

    Examples
    --------
    >>> import cbviz
    >>> cbviz.models.catalogue()["tiny"]
    'built in, no network: 1.6 M parameters that spell, count, sort and repeat'
    """
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
        "cpu", "cuda" or "cuda:N"; None takes a GPU that this PyTorch can use, else the CPU.
    dtype
        "float32", "bfloat16" or "float16"; None takes float32 on a CPU, bfloat16 on a GPU, float16 on a GPU before
        Ampere (compute capability 8.0).
    weights
        "int8" stores each weight of the layers in one byte (see `cbviz.models.int8`); it needs the extra int8. None
        stores them as `dtype`.
    progress
        Whether downloads and conversions may draw a progress bar on standard error.

    Returns
    -------
    LoadedModel
        The model in evaluation mode on its device, with its tokenizer.

    Raises
    ------
    ModelError
        The name, device, dtype or storage of weights is unknown; the device does not work or does not support the
        dtype; int8 lacks torchao; the model cannot be fetched, is not a causal LM, or overflows float16.
    CapacityError
        The model does not fit into the device's free memory.

    Examples
    --------
    >>> import cbviz
    >>> tiny = cbviz.models.load("tiny", device="cpu")
    >>> f"{tiny.parameters:,} parameters, {tiny.kv_bytes_per_token:,} bytes of KV per token"
    '1,593,600 parameters, 2,048 bytes of KV per token'
    """
    if not isinstance(name, str) or not name.strip():
        raise ModelError(f"a model's name must be a text that is not empty, not {shown(name)}; {_allowed()}")
    where = pick_device(device)
    what = pick_dtype(dtype, where)
    check_device(where)
    if weights is not None:
        if not isinstance(weights, str) or weights != "int8":
            raise ModelError(f"weights can be stored as None (as dtype says) or 'int8', not {shown(weights)}.")
        check_int8()
    with full_device_refused(name, where):
        loaded = replace(_loaded(name, where, what, progress), note=fallback(device))
        check_finite(loaded)
        return quantised(loaded) if weights else loaded


def as_loaded(
    model: object,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    weights: str | None = None,
    progress: bool = True,
) -> LoadedModel:
    """Load a model given by name; return a loaded model unchanged.

    Parameters
    ----------
    model
        A name, or a model from `load`.
    device, dtype, weights, progress
        As in `load`; ignored for a loaded model.

    Returns
    -------
    LoadedModel
        The model.

    Raises
    ------
    ModelError
        `model` is neither, `load` refuses it, or cbviz does not run on its device.
    CapacityError
        The model does not fit into the device's free memory.
    """
    if isinstance(model, str):
        return load(model, device=device, dtype=dtype, weights=weights, progress=progress)
    if not isinstance(model, LoadedModel):
        raise ModelError(f"model must be a name, or a model from cbviz.models.load, not {shown(model)}; {_allowed()}")
    check_device(model.device)
    _as_it_is(model, device=device, dtype=dtype, weights=weights)
    return model


def _as_it_is(model: LoadedModel, **asked: object) -> None:
    """Raise ModelError if a loaded model is asked to be on another device, or in another type: it stays as it is."""
    for name, wanted in asked.items():
        if wanted is None:
            continue
        has, said = (str(value).removeprefix("torch.") for value in (getattr(model, name), _plain(wanted)))
        if said != has and not (name == "device" and said == model.device.type):
            cannot = f"{name}={shown(said)} cannot be had of a model that is loaded, with {has!r}"
            raise ModelError(f"{cannot}; pass it to cbviz.models.load, or pass the name of the model.")


def _loaded(name: str, where: torch.device, what: torch.dtype, progress: bool) -> LoadedModel:
    if name == "tiny":
        return load_folder(name, TINY, where, what)
    if name == "smollm2-135m":
        from cbviz.models.smollm2 import converted

        return load_folder(name, converted(progress), where, what)
    if name.startswith("random:"):
        return ready(name, random_model(name.removeprefix("random:"), where, what), None, where, what)
    if (folder := _folder(name)) is not None:
        return load_folder(name, folder, where, what)
    repository = SMOLLM2_HUB if name == "smollm2-135m@hub" else name
    if not HUB_ID.fullmatch(repository):
        allowed = f"{_allowed().removesuffix('.')}{known_elsewhere(name)}."
        raise ModelError(f"there is no model and no folder called {shown(name)}; {allowed}")
    from cbviz.models.hub import fetch

    return load_folder(name, fetch(repository, progress), where, what)


def _folder(name: str) -> Path | None:
    """The folder of that name; None if there is none. Raises ModelError for an impossible name."""
    try:
        folder = path_of(name, "the model")
        return folder if folder.is_dir() else None
    except FileError as error:
        raise ModelError(f"{str(error).removesuffix('.')}; {_allowed()}") from None
    except OSError as error:
        raise ModelError(f"the model {short(name)} cannot be looked up: {why(error)}.") from None


def _allowed() -> str:
    return f"allowed are {', '.join(catalogue())}, a folder, or a Hugging Face id such as Qwen/Qwen3-0.6B."


def _plain(value: object) -> object:
    """The value where `str` writes it as PyTorch's name; else how a sentence shows it."""
    return value if isinstance(value, str | torch.device | torch.dtype) else shown(value)
