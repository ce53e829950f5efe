"""Did two runs give the same answers, and if not, was it a near tie?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from cbviz.workload import Workload


@dataclass(frozen=True, slots=True)
class Divergence:
    """Two outputs of one request part here.

    Attributes
    ----------
    request
        Its id.
    position
        Index of the first output token that differs (or that only one of them has).
    gap
        Difference of the model's two largest logits there, computed alone and in the model's own dtype. The smaller it
        is, the less a rounding error needs to turn the choice around.
    """

    request: int
    position: int
    gap: float


def first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    """Index of the first token in which two outputs differ; None if they are equal."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return None if len(a) == len(b) else min(len(a), len(b))


def divergences(
    model: PreTrainedModel, workload: Workload, one: dict[int, list[int]], other: dict[int, list[int]]
) -> list[Divergence]:
    """Every request whose outputs differ between two runs, with the gap at the place."""
    found = []
    for request in workload:
        position = first_difference(one[request.id], other[request.id])
        if position is not None:
            gap = top_two_gap(model, [*request.prompt, *one[request.id][:position]])
            found.append(Divergence(request.id, position, gap))
    return found


@torch.inference_mode()
def top_two_gap(model: PreTrainedModel, tokens: Sequence[int]) -> float:
    """Difference of the two largest logits after `tokens`, from a plain forward pass of the model."""
    ids = torch.tensor([tokens], device=model.device)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -1]
    first, second = logits.float().topk(2).values.tolist()
    return float(first - second)
