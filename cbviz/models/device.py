"""Choosing a device and a dtype, and the memory that is left."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cbviz.checks import one_line, shown
from cbviz.errors import CapacityError, ModelError
from cbviz.models import capability as known
from cbviz.models.capability import DTYPES, Capability, broken, capability
from cbviz.models.host_memory import available_bytes

__all__ = [
    "DTYPES",
    "allocatable_bytes",
    "check_device",
    "check_fit",
    "device_name",
    "fallback",
    "free_bytes",
    "full_device_refused",
    "pick_device",
    "pick_dtype",
]

ALLOWED = "allowed are 'cpu', 'cuda' and 'cuda:N'"
_NAME = re.compile(r"([a-z]+)(?::(0|[1-9][0-9]{0,5}))?")
_OTHERS = {
    "mps": "Apple's GPUs are not supported: cbviz was never tried on them",
    "xpu": "Intel's GPUs are not supported: cbviz was never tried on them",
    "hip": "PyTorch calls AMD's GPUs 'cuda', too",
    "meta": "'meta' holds shapes without numbers",
}
"""Other devices that PyTorch knows, and why they are refused."""


def pick_device(name: str | torch.device | None) -> torch.device:
    """Return the device of a name: "cpu", "cuda", "cuda:N"; None takes the GPU if it can be used, else the CPU.

    On a Mac that is the CPU. A MIG slice is a "cuda:N" like any GPU. Raises ModelError for other names, for missing
    GPUs and for GPUs that this PyTorch cannot use.
    """
    if name is None:
        device = _default_gpu()
        return torch.device("cpu") if device is None or capability(device).unusable else device
    kind, index = _parsed(name)
    if kind == "cpu":
        return torch.device("cpu")
    if kind != "cuda":
        detail = f" ({_OTHERS[kind]})" if kind in _OTHERS else ""
        raise ModelError(f"device {shown(str(name))} is not supported{detail}; {ALLOWED}.")
    about = known.probes()
    count = about.count()
    if not count:
        raise ModelError(
            f"there is no CUDA device here, so {shown(str(name))} cannot be used ({_why_none()}); use 'cpu'."
        )
    index = about.current() if index is None else index
    if index >= count:
        raise ModelError(
            f"there is no {shown(str(name))} here: {count} CUDA device(s), from 'cuda:0' to 'cuda:{count - 1}'."
        )
    device = torch.device("cuda", index)
    if unusable := capability(device).unusable:
        raise ModelError(f"{shown(str(name))} cannot be used: {unusable}; install a PyTorch for it, or use 'cpu'.")
    return device


def fallback(name: object) -> str:
    """Why `pick_device` took the CPU although there is a GPU, as a sentence; "" if it did not."""
    if name is not None:
        return ""
    if (device := _default_gpu()) is not None:
        why = capability(device).unusable
    else:
        why = _why_none() if known.probes().present() else ""
    return f"Runs on the CPU, for its GPU cannot be used: {why}." if why else ""


def pick_dtype(name: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Return the dtype of a name; None takes float32 on a CPU, bfloat16 on a GPU, float16 on an older one.

    On a CPU answers are compared token by token, and float32 is exact enough for that. GPUs before Ampere (compute
    capability 8.0) have no bfloat16 arithmetic. Raises ModelError for other names, and for a dtype that the device does
    not support.
    """
    if name is None:
        return capability(device).default_dtype
    dtype = DTYPES.get(name) if isinstance(name, str) else name
    if not isinstance(dtype, torch.dtype) or dtype not in DTYPES.values():
        raise ModelError(f"unknown dtype {shown(name)}; allowed are {', '.join(DTYPES)}.")
    if why := capability(device).why_not(dtype):
        raise ModelError(why)
    return dtype


def check_device(device: torch.device) -> Capability:
    """Raise ModelError if cbviz cannot run on the device, or the device does not work; return what it can do.

    A GPU must compute one addition, once: a visible GPU may still not work (another process may hold it exclusively, or
    PyTorch may lack kernels for it).
    """
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"cbviz does not run on {device.type!r} devices; {ALLOWED}.")
    if device.type == "cuda" and (why := broken(device)):
        raise ModelError(f"'{device}' ({capability(device).name}) cannot be used: {why}; use 'cpu'.")
    return capability(device)


def device_name(device: torch.device) -> str:
    """Product name of a device: "cpu", or that of the GPU."""
    return capability(device).name


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can still be allocated on the device; None if the system does not say.

    On Linux it respects the limit of a container, such as Binder's.
    """
    if device.type == "cpu":
        return available_bytes()
    try:
        return known.probes().free(device.index or 0)
    except Exception:  # not every driver answers
        return None


def allocatable_bytes(device: torch.device) -> int | None:
    """As `free_bytes`, plus the bytes that PyTorch holds on a GPU without using them."""
    free = free_bytes(device)
    if free is not None and device.type == "cuda":
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free


def check_fit(what: str, parameters: int, dtype: torch.dtype, device: torch.device) -> None:
    """Raise CapacityError, with the arithmetic, if that many parameters cannot fit into the device's free memory."""
    need, free = parameters * dtype.itemsize, free_bytes(device)
    if free is not None and need > free:
        raise CapacityError(
            f"{what} does not fit on {device}: {parameters:,} parameters × {dtype.itemsize} bytes = "
            f"{need / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free."
        )


@contextmanager
def full_device_refused(what: str, device: torch.device) -> Iterator[None]:
    """Turn a lack of device memory within the block into a CapacityError that names what was being loaded."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        if device.type == "cuda":
            torch.cuda.empty_cache()
        raise CapacityError(f"{what} does not fit on {device}: its memory ran out; take a smaller model.") from error


def _parsed(name: object) -> tuple[str, int | None]:
    """Type and index of a device. Parsed here, because PyTorch takes "cuda:256" for "cuda:0"."""
    if isinstance(name, torch.device):
        return name.type, name.index
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    if found is not None:
        try:
            return torch.device(found[1]).type, None if found[2] is None else int(found[2])
        except RuntimeError:  # an unknown type of device
            pass
    raise ModelError(f"unknown device {shown(name)}; {ALLOWED}.")


def _default_gpu() -> torch.device | None:
    about = known.probes()
    return torch.device("cuda", about.current()) if about.count() else None


def _why_none() -> str:
    """Why PyTorch sees no GPU."""
    build, version = known.probes().build()
    if platform.system() == "Darwin":
        return "no Mac has one"
    if not build:
        return f"PyTorch {version} was built without CUDA"
    try:
        known.probes().open()
    except Exception as error:  # the driver's, PyTorch's
        return one_line(error)
    return "the driver shows none"
