"""Settings of the whole process that a pass wants otherwise, held by however many passes run at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

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


RECOMPILES = 64
"""How many versions of one function torch.compile may keep: all models of a process share a few functions."""

_compiling = 0
_limit_found = 8


@contextmanager
def many_recompiles() -> Iterator[None]:
    """Within the block torch.compile may keep `RECOMPILES` versions of a function."""
    global _compiling, _limit_found
    with _lock:
        if not _compiling:
            _limit_found = torch._dynamo.config.recompile_limit
            torch._dynamo.config.recompile_limit = max(RECOMPILES, _limit_found)
        _compiling += 1
    try:
        yield
    finally:
        with _lock:
            _compiling -= 1
            if not _compiling:
                torch._dynamo.config.recompile_limit = _limit_found
