"""Did two runs give the same answers, and if not, was it a near tie?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from cbviz.eager.logit_rules import NO_RULES, LogitRules, SlotRules
from cbviz.measure.compare import find_divergences
from cbviz.trace import Trace
from cbviz.workload import Request


@dataclass(frozen=True, slots=True)
class TokenDivergence:
    """The point where two outputs of one request diverge.

    Attributes
    ----------
    request
        Its id.
    position
        Index of the first output token that differs (or that only one of them has).
    gap
        Difference of the model's two largest logits there, computed alone and in the model's own dtype. The smaller
        the gap, the smaller the rounding error that can flip the choice.
    """

    request: int
    position: int
    gap: float


def divergences(
    model: PreTrainedModel, requests: Iterable[Request], one: Trace, other: Trace, rules: LogitRules = NO_RULES
) -> list[TokenDivergence]:
    """Every request whose outputs differ between two runs, with the logit gap where they diverge.

    Parameters
    ----------
    model
        The model that both runs used.
    requests
        The requests of the runs, for their prompts.
    one, other
        The traces of the two runs.
    rules
        The logit rules of both runs.

    Returns
    -------
    list[TokenDivergence]
        One for each request that differs; empty if all outputs agree.
    """
    prompts = {request.id: request.prompt for request in requests}
    found = []
    for place in find_divergences(one, other):
        answer = one.requests.tokens[one.requests.row(place.request)]
        prompt = prompts[place.request]
        gap = top_two_gap(model, [*prompt, *answer[: place.position]], rules, len(prompt))
        found.append(TokenDivergence(place.request, place.position, gap))
    return found


def top_two_gap(model: PreTrainedModel, tokens: Sequence[int], rules: LogitRules = NO_RULES, prompt: int = 0) -> float:
    """Difference of the two largest logits after `tokens`, from a plain forward pass of the model.

    Parameters
    ----------
    model
        The model to ask.
    tokens
        Token ids [positions].
    rules
        Applied to the logits first, except those that only suppress END.
    prompt
        How many of `tokens` the rules count as prompt.

    Returns
    -------
    float
        In units of the logits, at least 0.
    """
    first, second = best_two(model, tokens, rules, prompt)[:2]
    return first - second


@torch.inference_mode()
def best_two(
    model: PreTrainedModel, tokens: Sequence[int], rules: LogitRules, prompt: int
) -> tuple[float, float, float]:
    """The two largest logits after `tokens` under the rules, and the largest absolute logit without them."""
    ids = torch.tensor([tokens], device=model.device)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[:, -1].float()
    size = float(logits.abs().max())
    at_work = SlotRules.made(rules, model, 1, ())
    if at_work is not None:
        slot, length = torch.tensor([[0], [len(tokens)]], device=model.device)
        logits = at_work.apply(logits, slot, ids, length, length - prompt)
    first, second = logits[0].topk(2).values.tolist()
    return first, second, size
