"""How close a mixture of experts comes to choosing other experts: where rounding alone may turn an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

LAST = 2.0
"""A router's scores for the last token tie if they differ by at most this many units of the dtype's rounding: of the 8
bits of bfloat16, some layers' rounding takes two."""
EARLIER = 0.5
"""The same for an earlier token, whose keys and values come from its experts: one unit in the last place."""


@contextmanager
def router_scores(model: PreTrainedModel, found: list[tuple[Tensor, int]]) -> Iterator[None]:
    """Within the block, every `topk` of a forward pass adds its scores [tokens, experts] and its k to `found`."""
    plain = torch.topk

    def noting(scores: Tensor, k: int, *rest: Any, **named: Any) -> Any:
        if scores.dim() >= 2 and 0 < k < scores.shape[-1]:
            found.append((scores.detach().float().reshape(-1, scores.shape[-1]), k))
        return plain(scores, k, *rest, **named)

    method = Tensor.topk
    torch.topk = noting  # type: ignore[assignment]
    Tensor.topk = noting  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.topk = plain
        Tensor.topk = method  # type: ignore[method-assign]


@torch.inference_mode()
def routing_gaps(model: PreTrainedModel, tokens: Sequence[int]) -> tuple[float, float] | None:
    """Least difference of a router's k-th and (k + 1)-th scores, as a share of the k-th.

    Parameters
    ----------
    model
        Any model of transformers.
    tokens
        Token ids of one sequence.

    Returns
    -------
    tuple of float, or None
        For the last token, and for all tokens; the least of all layers. None where there is no router.
    """
    found: list[tuple[Tensor, int]] = []
    ids = torch.tensor([tokens], device=model.device)
    with router_scores(model, found):
        model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    last, every = [], []
    for scores, k in found:
        best = scores.topk(k + 1).values
        gap = (best[:, k - 1] - best[:, k]) / best[:, k - 1].abs().clamp(min=1e-9)
        last.append(float(gap[-1]))
        every.append(float(gap.min()))
    return (min(last), min(every)) if found else None


def tied(gaps: tuple[float, float], dtype: torch.dtype) -> float | None:
    """The gap within which rounding in this dtype may choose another expert, None if neither is that small."""
    unit = torch.finfo(dtype).eps
    last, every = gaps
    if last <= LAST * unit:
        return last
    return every if every <= EARLIER * unit else None
