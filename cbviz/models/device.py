"""Which device, which number format, and how much memory is left."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from cbviz.errors import CapacityError, ModelError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str | torch.device | None) -> torch.device:
    """Return the device of that name: "cpu", "cuda", "cuda:N"; None takes the GPU if there is one, else the CPU.

    Raises ModelError for other names and for GPUs that are not there.
    """
    if name is None:
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    allowed = "allowed are 'cpu', 'cuda' and 'cuda:N'"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"unknown device {name!r}; {allowed}.") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise ModelError(f"device {name!r} is not supported; {allowed}.")
    if not torch.cuda.is_available():
        raise ModelError(f"there is no CUDA device here, so {name!r} cannot be used; use 'cpu'.")
    count = torch.cuda.device_count()
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= count:
        raise ModelError(f"there is no {name!r} here: {count} CUDA device(s), from 'cuda:0' to 'cuda:{count - 1}'.")
    return torch.device("cuda", index)


def pick_dtype(name: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Return the number format of that name; None takes float32 on a CPU and bfloat16 on a GPU.

    On a CPU answers are compared token by token, and float32 is exact enough for that. Raises ModelError for other
    names.
    """
    if name is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    dtype = DTYPES.get(name) if isinstance(name, str) else name
    if dtype is None or dtype not in DTYPES.values():
        raise ModelError(f"unknown dtype {name!r}; allowed are {', '.join(DTYPES)}.")
    return dtype


def free_bytes(device: torch.device) -> int | None:
    """Return how many bytes can still be allocated on the device, None where the system does not tell.

    On Linux it heeds the limit of a container, such as Binder's.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    answers = [answer for answer in (_meminfo(), _cgroup_headroom()) if answer is not None]
    return min(answers) if answers else _physical()


def check_fit(what: str, parameters: int, dtype: torch.dtype, device: torch.device) -> None:
    """Raise CapacityError, with the arithmetic, if that many parameters cannot fit into the device's free memory."""
    need, free = parameters * dtype.itemsize, free_bytes(device)
    if free is not None and need > free:
        raise CapacityError(
            f"{what} does not fit on {device}: {parameters:,} parameters × {dtype.itemsize} bytes = "
            f"{need / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free."
        )


def _meminfo() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def _cgroup_headroom(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((group / "memory.current").read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    # Files that the kernel keeps in memory but can drop at once count as used there; they are free.
    return max(0, int(limit) - used + int(statistics.get("inactive_file", 0)))


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
