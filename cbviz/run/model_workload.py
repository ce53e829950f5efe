"""The default workload of a model: tasks, questions, or random tokens."""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.checks import counted, whole
from cbviz.errors import WorkloadError
from cbviz.limits import MOST_REQUESTS, MOST_SEED, MOST_TOKENS
from cbviz.models import LoadedModel
from cbviz.workload import Request, Workload
from cbviz.workload.checks import elements
from cbviz.workload.lengths import ExponentialClipped
from cbviz.workload.prompts import Prompt, prompt_workload
from cbviz.workload.questions import question_workload
from cbviz.workload.synthetic import synthetic
from cbviz.workload.tasks import task_workload

TASKS, QUESTIONS, RANDOM = 64, 48, 64
"""How many requests a race draws by default."""

ANSWER_LIMIT = 160
"""max_new_tokens of prompts that do not set it."""

RANDOM_PROMPT = 128
RANDOM_LENGTHS = ExponentialClipped(mean=128, cap=512)
"""Prompt tokens and output lengths for random weights: the laws of the yardstick workload."""


def choose_workload(
    loaded: LoadedModel,
    *,
    requests: int | None = None,
    prompts: Sequence[str | Prompt] | None = None,
    seed: int = 0,
    max_new_tokens: int | None = None,
) -> Workload:
    """The workload for a model: your prompts; tasks for tiny; random tokens for random weights; else questions.

    Parameters
    ----------
    loaded
        The model.
    requests
        How many; None means the usual number, or all of the prompts.
    prompts
        Your own, instead of a drawn workload.
    seed
        Seed of the draw.
    max_new_tokens
        The longest output; None means the workload's usual limit.

    Returns
    -------
    Workload
        All requests arrive at time 0.

    Raises
    ------
    WorkloadError
        No prompt, an empty prompt, a number below 1, or prompts for a model without a tokenizer.
    """
    for name, value, most in (("requests", requests, MOST_REQUESTS), ("max_new_tokens", max_new_tokens, MOST_TOKENS)):
        if value is not None:
            whole(name, value, 1, most, error=WorkloadError)
    whole("seed", seed, 0, MOST_SEED, error=WorkloadError)
    if prompts is not None:
        if loaded.tokenizer is None:
            raise WorkloadError(f"{loaded.name} has random weights and no tokenizer; it cannot read prompts.")
        limit = max_new_tokens or ANSWER_LIMIT
        given_prompts = elements(prompts) or ()
        if requests is not None and len(given_prompts) < requests:
            given = f"there {'is' if len(given_prompts) == 1 else 'are'} {counted(len(given_prompts), 'prompt')}"
            raise WorkloadError(f"{given}, fewer than the {requests:,} requests that were asked for.")
        return prompt_workload(loaded.encode, given_prompts[:requests], seed, limit, context_limit=loaded.context_limit)
    if loaded.tokenizer is None:
        return synthetic(
            requests or RANDOM,
            ExponentialClipped(RANDOM_LENGTHS.mean, max_new_tokens) if max_new_tokens else RANDOM_LENGTHS,
            prompt_tokens=RANDOM_PROMPT,
            vocabulary=loaded.vocabulary,
            seed=seed,
        )
    if loaded.name == "tiny":
        drawn = task_workload(loaded.encode, requests or TASKS, seed)
        return drawn if max_new_tokens is None else _limited(drawn, max_new_tokens)
    return question_workload(loaded.encode, requests or QUESTIONS, seed, max_new_tokens or ANSWER_LIMIT)


def _limited(workload: Workload, most: int) -> Workload:
    requests = tuple(
        Request(r.id, r.prompt, min(most, r.max_new_tokens), r.arrival, r.sampling, text=r.text, answer=r.answer)
        for r in workload
    )
    return Workload(workload.name, requests, workload.seed, workload.arrival_unit)
