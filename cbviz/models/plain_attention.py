"""Attention written out, for what PyTorch's fused function cannot express, and for probes."""

from __future__ import annotations

import torch
from torch import Tensor


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seen: Tensor,
    *,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """softmax(cap(scale · query · key)) · value, the softmax in float32 as in transformers' own eager attention.

    Parameters
    ----------
    query
        [batch, query heads, queries, key size].
    key, value
        [batch, KV heads, keys, key size] and [batch, KV heads, keys, value size]; each KV head serves an equal share of
        the query heads, in order.
    seen
        bool, broadcast to [batch, query heads, queries, keys]: the keys that a query may see, at least one each.
    scale
        Factor on the dot products.
    softcap
        Scores are squeezed into ±softcap: softcap · tanh(score / softcap) (Gemma 2, 2024, §2).
    sinks
        [query heads]: a score per head that joins the softmax and has no value (gpt-oss, 2025).

    Returns
    -------
    Tensor
        [batch, query heads, queries, value size].
    """
    heads = query.shape[1]
    key, value = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (key, value))
    scores = torch.matmul(query, key.transpose(2, 3)) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.float().masked_fill(~seen, float("-inf"))
    if sinks is not None:
        there = sinks.float().view(1, heads, 1, 1).expand(*scores.shape[:3], 1)
        weights = torch.cat([scores, there], dim=-1).softmax(dim=-1)[..., :-1]
    else:
        weights = scores.softmax(dim=-1)
    return torch.matmul(weights.to(value.dtype), value)
