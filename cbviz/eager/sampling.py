"""From logits to a token: the most likely one where every request is greedy, else a draw (`drawing`)."""

from __future__ import annotations

from math import gcd

import numpy as np
import torch
from torch import Tensor

from cbviz.eager.drawing import HOTTEST, MOST_TOP_K, draw
from cbviz.events import IntArray
from cbviz.workload.request import Sampling


def most_likely(logits: Tensor) -> Tensor:
    """int64 [R]: the argmax of [R, vocabulary], the first of several; parts of a row are searched side by side.

    A GPU gives one block of threads to each row of an argmax, and a row of 100,000 numbers keeps it busy for as long as
    a small layer takes; so the vocabulary is cut into up to 128 rows first.
    """
    shares = gcd(logits.shape[-1], 128)
    best, place = logits.view(len(logits), shares, logits.shape[-1] // shares).max(-1)
    share = best.argmax(-1, keepdim=True)
    token: Tensor = share * (logits.shape[-1] // shares) + place.gather(-1, share)
    return token.squeeze(-1)


class SlotSampling:
    """Each slot's sampling parameters: on the device to draw with, and on the host to know whether any slot draws."""

    def __init__(self, slots: int, device: torch.device) -> None:
        self._temperature = torch.zeros(slots, dtype=torch.float32, device=device)
        self._top_k = torch.zeros(slots, dtype=torch.int64, device=device)
        self._top_p = torch.ones(slots, dtype=torch.float32, device=device)
        self._seed = torch.zeros(slots, dtype=torch.int64, device=device)
        self._sampled = np.zeros(slots, bool)

    def set(self, slot: int, sampling: Sampling) -> None:
        """A request is admitted. Between greedy requests nothing is sent to the device."""
        if self._sampled[slot] or not sampling.greedy:
            # Beyond these bounds float32 and int64 end; all tokens are as likely there, and all are kept.
            self._temperature[slot] = 0.0 if sampling.greedy else min(sampling.temperature, HOTTEST)
            self._top_k[slot] = min(sampling.top_k, MOST_TOP_K)
            self._top_p[slot] = sampling.top_p
            self._seed[slot] = sampling.seed
        self._sampled[slot] = not sampling.greedy

    def any_drawn(self, slots: IntArray) -> bool:
        """Whether any of these slots is not greedy."""
        return bool(self._sampled[slots].any())

    def draw(self, logits: Tensor, slots: Tensor, index: Tensor, *, sampled: bool) -> Tensor:
        """int64 [R]: the tokens that these slots (int64 [R]) draw, as their output number `index`.

        `sampled` False takes the most likely token everywhere, whatever the slots' temperatures.
        """
        if not sampled:
            return most_likely(logits)
        return draw(logits, self._temperature[slots], self._top_k[slots], self._top_p[slots], self._seed[slots], index)
