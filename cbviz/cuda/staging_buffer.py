"""What the host sends to the device without waiting: numbers in pinned memory, overwritten only once fetched."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cbviz.events import IntArray


class StagingBuffer:
    """A pinned buffer of int32 that the host fills and the device copies from, when it gets there.

    Parameters
    ----------
    length
        Numbers that it holds.
    device
        Where they go.
    """

    def __init__(self, length: int, device: torch.device) -> None:
        self._device = device
        cuda = device.type == "cuda"
        self._host = torch.zeros(length, dtype=torch.int32, pin_memory=cuda)
        self._sent: Any = torch.cuda.Event() if cuda else None  # type: ignore[no-untyped-call]

    def open(self, length: int) -> IntArray:
        """Its first `length` numbers, to be filled; waits for the device if it has not fetched the last ones yet."""
        if self._sent is not None:
            self._sent.synchronize()
        numbers: IntArray = self._host[:length].numpy()
        return numbers

    def send(self, target: Tensor) -> None:
        """Copy as many numbers as `target` holds, behind everything that the device has queued before."""
        target.view(-1).copy_(self._host[: target.numel()], non_blocking=True)
        if self._sent is not None:
            self._sent.record(torch.cuda.current_stream(self._device))
