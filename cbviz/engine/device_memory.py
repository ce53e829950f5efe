"""What happens when a device's memory is full after all: one clear sentence, and whatever can be freed is freed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cbviz.errors import CapacityError


@contextmanager
def out_of_memory_told(device: torch.device, doing: str) -> Iterator[None]:
    """Turn an out-of-memory error within the block into a CapacityError that says what to ask for instead."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        if device.type == "cuda":
            torch.cuda.empty_cache()
        raise CapacityError(
            f"{device} ran out of memory while {doing}; ask for fewer slots or for a smaller KV cache."
        ) from error
