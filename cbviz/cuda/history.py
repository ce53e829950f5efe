"""The tokens of every slot on the device, for rules that ask which ones a request has."""

from __future__ import annotations

from itertools import cycle

import torch

from cbviz.cuda.layout import StagingBuffer
from cbviz.events import IntArray

HISTORY_BUFFERS = 4
"""Pinned buffers in rotation: a request's tokens need not wait until those of the one before have arrived."""


class History:
    """The slots' tokens, always at the same addresses, as CUDA graphs want it.

    The host writes what is known of a request when it takes its slot; the graph itself appends each token that it
    draws.

    Parameters
    ----------
    slots
        Slots of the engine; one more row is scratch, where padding writes.
    positions
        The most positions of a request.

    Attributes
    ----------
    tokens
        int32 [slots + 1, positions + 1]: a token drawn at the last position is still an output token.
    """

    def __init__(self, slots: int, positions: int, device: torch.device) -> None:
        self.tokens = torch.zeros((slots + 1, positions + 1), dtype=torch.int32, device=device)
        self._buffers = cycle([StagingBuffer(positions + 1, device) for _ in range(HISTORY_BUFFERS)])

    def seat(self, slot: int, tokens: IntArray) -> None:
        """A request takes a slot; what earlier steps write there is overwritten, for the device works in order."""
        buffer = next(self._buffers)
        buffer.open(len(tokens))[:] = tokens
        buffer.send(self.tokens[slot, : len(tokens)])
