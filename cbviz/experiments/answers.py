"""Did two runs give the same answers, and if not, was it a near tie?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from cbviz.measure.compare import find_divergences
from cbviz.trace import Trace
from cbviz.workload import Request


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


def divergences(model: PreTrainedModel, requests: Iterable[Request], one: Trace, other: Trace) -> list[Divergence]:
    """Every request whose outputs differ between two runs, with the gap at the place."""
    prompts = {request.id: request.prompt for request in requests}
    found = []
    for place in find_divergences(one, other):
        answer = one.requests.tokens[one.requests.row(place.request)]
        gap = top_two_gap(model, [*prompts[place.request], *answer[: place.position]])
        found.append(Divergence(place.request, place.position, gap))
    return found


@torch.inference_mode()
def top_two_gap(model: PreTrainedModel, tokens: Sequence[int]) -> float:
    """Difference of the two largest logits after `tokens`, from a plain forward pass of the model."""
    ids = torch.tensor([tokens], device=model.device)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -1]
    first, second = logits.float().topk(2).values.tolist()
    return float(first - second)
