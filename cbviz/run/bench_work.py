"""What a benchmark serves: workloads by name, and the one that suits a model."""

from __future__ import annotations

from cbviz.checks import is_a, known_elsewhere, shown
from cbviz.errors import WorkloadError
from cbviz.models import LoadedModel
from cbviz.workload import Workload
from cbviz.workload.lengths import ExponentialClipped, ExponentialTruncated, LengthLaw
from cbviz.workload.questions import question_workload
from cbviz.workload.synthetic import synthetic, yardstick
from cbviz.workload.tasks import task_workload

WORKLOADS = {
    "yardstick": "for comparing engines: prompts of 128, outputs exponential with mean 128, clipped to 512",
    "exponential": "the same laws, with token ids that every model has",
    "truncated": "prompts of 512, outputs exponential with mean 128, redrawn above 1,536",
    "questions": "questions for a chat model, ended by the model itself",
    "tasks": "small tasks for the built-in model, ended by the model itself",
}
YARDSTICK_VOCABULARY = 128_000
MEAN = 128
REQUESTS = {"yardstick": 128, "exponential": 128, "truncated": 128, "questions": 48, "tasks": 64}


def suitable(loaded: LoadedModel) -> str:
    """The name of the workload that suits a model: "tasks", "questions" or "exponential"."""
    if loaded.name == "tiny":
        return "tasks"
    if loaded.tokenizer is not None:
        return "questions"
    return "yardstick" if loaded.vocabulary >= YARDSTICK_VOCABULARY else "exponential"


def named_workload(
    name: str,
    loaded: LoadedModel,
    *,
    requests: int | None = None,
    prompt_tokens: int | None = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
) -> Workload:
    """Draw a workload of `WORKLOADS` for a model.

    Parameters
    ----------
    loaded
        The model, for its tokenizer and vocabulary.
    name
        One of `WORKLOADS`.
    requests
        How many; None means the workload's usual number.
    prompt_tokens
        Length of every prompt, for "exponential" (default 128) and "truncated" (default 512) only.
    max_new_tokens
        The longest output: where the two laws are clipped (512) or truncated (1,536), or the limit for questions.
    seed
        Seed of the draw.

    Returns
    -------
    Workload
        Requests 0, 1, …, all arriving at time 0.

    Raises
    ------
    WorkloadError
        An unknown name, an option that the workload does not take, or a model that cannot serve it.
    """
    if not is_a(name, str) or name not in WORKLOADS:
        known = f"{', '.join(WORKLOADS)}{known_elsewhere(name)}"
        raise WorkloadError(f"there is no workload {shown(name)}; choose one of {known}.")
    laws = name in ("exponential", "truncated")
    if prompt_tokens is not None and not laws:
        raise WorkloadError(
            f"the prompts of {name!r} have a fixed length; prompt_tokens changes only exponential and truncated."
        )
    if max_new_tokens is not None and not laws and name != "questions":
        raise WorkloadError(
            f"the outputs of {name!r} have fixed lengths; max_new_tokens changes exponential, truncated and questions."
        )
    n = REQUESTS[name] if requests is None else requests
    if laws:
        law: LengthLaw = ExponentialClipped(MEAN, max_new_tokens or 512)
        if name == "truncated":
            law = ExponentialTruncated(MEAN, max_new_tokens or 1536)
        length = prompt_tokens or (512 if name == "truncated" else 128)
        return synthetic(n, law, prompt_tokens=length, vocabulary=loaded.vocabulary, seed=seed)
    if name == "yardstick":
        if loaded.vocabulary < YARDSTICK_VOCABULARY:
            raise WorkloadError(
                f"the yardstick's prompts use token ids up to {YARDSTICK_VOCABULARY - 1:,}, and {loaded.name} has "
                f"{loaded.vocabulary:,}; 'exponential' has the same lengths and suits every model."
            )
        return yardstick(n, seed)
    if loaded.tokenizer is None:
        raise WorkloadError(f"{loaded.name} has random weights and no tokenizer; it cannot read {name}.")
    if name == "tasks":
        return task_workload(loaded.encode, n, seed)
    return question_workload(loaded.encode, n, seed, max_new_tokens or 160)
