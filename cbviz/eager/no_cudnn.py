"""Attention on a GPU without cuDNN, which PyTorch prefers there: it makes a plan for every shape that it meets.

A context that has grown by a token is a shape of its own, so every iteration meets a new one. On an H200, 40 layers of
four rows took 64 ms an iteration, 44 of them for plans that are used once; PyTorch's other kernels need none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0
_found = True
"""What the setting, which is the process's, was before the first of those that are inside."""


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Within the block, in all threads, PyTorch's attention leaves cuDNN out; the last one to leave restores it."""
    global _inside, _found
    with _lock:
        if not _inside:
            _found = bool(torch.backends.cuda.cudnn_sdp_enabled())  # type: ignore[no-untyped-call]
            torch.backends.cuda.enable_cudnn_sdp(False)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                torch.backends.cuda.enable_cudnn_sdp(_found)
