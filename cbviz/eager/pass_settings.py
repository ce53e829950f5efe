"""What surrounds a pass: PyTorch's number of threads, and a clear sentence where the device's memory is full."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cbviz.errors import CapacityError

_lock = threading.Lock()
_passes = 0
_found = 1
"""PyTorch's number of threads before the first of the passes that run now."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block PyTorch computes on one thread: sharing small operations out costs more than computing them.

    PyTorch keeps the number for each thread, and lets a new one begin with what was set last, anywhere. So every thread
    puts its own number back; one that was born while another was in here gets the number from before.
    """
    global _passes, _found
    with _lock:
        mine = torch.get_num_threads()
        if not _passes:
            _found = mine
        before = _found if mine == 1 else mine
        _passes += 1
        if mine != 1:
            torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _passes -= 1
            if before != 1:
                torch.set_num_threads(before)


@contextmanager
def out_of_memory_explained(device: torch.device, doing: str) -> Iterator[None]:
    """Turn an out-of-memory error within the block into a CapacityError that says what to ask for instead.

    Whatever PyTorch can give back is freed.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        if device.type == "cuda":
            torch.cuda.empty_cache()
        raise CapacityError(
            f"{device} ran out of memory while {doing}; ask for fewer slots or for a smaller KV cache."
        ) from error
