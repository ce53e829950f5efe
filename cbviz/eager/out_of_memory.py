"""A clear sentence where a device's memory is full."""

from __future__ import annotations

import torch

from cbviz.errors import CapacityError

OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)
"""The errors that say so."""


def out_of_memory(device: torch.device, doing: str) -> CapacityError:
    """The error that says what to ask for instead. Whatever PyTorch can give back is freed."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return CapacityError(f"{device} ran out of memory while {doing}; ask for fewer slots or for a smaller KV cache.")
