"""Read a mask: is it causal, and does it have a window?

transformers describes a mask as a function of two positions. Evaluated at distant positions, it reveals windows longer
than any prompt that is practical to compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

MaskFunction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Mask:
    """What a query sees: its own position and everything before it, or the last `window` positions of these.

    `problem` names in a few words whatever else the mask does; "" if nothing. `near` means that the mask could be
    evaluated within the prompt only, so that a longer window would have gone unnoticed.
    """

    window: int | None = None
    problem: str = ""
    near: bool = False


NOT_CAUSAL = Mask(problem="lets tokens see later ones")
STRANGE = Mask(problem="uses a mask that is neither causal nor a causal window")
UNREADABLE = Mask(problem="uses a mask that depends on more than positions")


def read_function(function: MaskFunction, length: int, limit: int) -> Mask:
    """The mask that a function of (batch, head, query position, key position) describes.

    It is evaluated for all pairs of the first `length` positions, and for a few late queries, the last at `limit` - 1.
    """
    try:
        near = read_pattern(_rows(function, torch.arange(length), length))
    except Exception:  # the function is the model's
        return UNREADABLE
    if near.problem:
        return near
    try:
        last = _row_width(function, limit - 1)
        window = near.window if last == limit or last == near.window else last
        if near.window not in (None, window):
            return STRANGE
        # A window has the same width everywhere; a chunk does not.
        asked = {limit // 2, limit // 3, limit // 7, *(() if window is None else (window - 1, window, window + 1))}
        for query in sorted(at for at in asked if 0 <= at < limit):
            if _row_width(function, query) != min(query + 1, window or limit):
                return STRANGE
    except _GapError:
        return STRANGE
    except Exception:  # it may index something that exists for the prompt only
        return Mask(near.window, near=True)
    return Mask(window if window is not None and window < limit else None)


def read_pattern(seen: Tensor) -> Mask:
    """The mask of a square bool tensor [queries, keys], with the first query at the first key."""
    length = len(seen)
    position = torch.arange(length, device=seen.device)
    distance = position[:, None] - position[None, :]
    if (seen & (distance < 0)).any():
        return NOT_CAUSAL
    window = int(seen[-1].sum())
    expected = (distance >= 0) & (distance < window)
    if not torch.equal(seen, expected):
        return STRANGE
    return Mask(window if window < length else None)


class _GapError(Exception):
    """A query sees something other than a stretch that ends at itself."""


def _rows(function: MaskFunction, queries: Tensor, keys: int) -> Tensor:
    """bool [queries, keys]"""
    none, key = torch.tensor(0), torch.arange(keys)
    return function(none, none, queries[:, None], key[None, :]).expand(len(queries), keys)


def _row_width(function: MaskFunction, query: int) -> int:
    """How many positions a query sees, itself included."""
    row = _rows(function, torch.tensor([query]), query + 1)[0]
    width = int(row.sum())
    if not row[query + 1 - width :].all():
        raise _GapError
    return width
