"""What is asked: a request, how its tokens are drawn, and a workload of many requests."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from cbviz.errors import WorkloadError

ArrivalUnit = Literal["seconds", "iterations"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn from the logits.

    Parameters
    ----------
    temperature
        0 takes the most likely token (greedy); above 0 the logits are divided by it.
    top_k
        Draw among the k most likely tokens only; 0 switches the filter off.
    top_p
        Draw among the smallest set of tokens whose probability reaches p; 1 switches the filter off.
    seed
        Seed of this request's own noise. The noise of output position i depends on (seed, i) alone, so a request draws
        the same tokens whatever shares its batch.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise WorkloadError(f"temperature must be a finite number of at least 0, not {self.temperature!r}.")
        if isinstance(self.top_k, bool) or not isinstance(self.top_k, int) or self.top_k < 0:
            raise WorkloadError(f"top_k must be a whole number of at least 0 (0 means off), not {self.top_k!r}.")
        if not 0 < self.top_p <= 1:
            raise WorkloadError(f"top_p must lie above 0 and be at most 1 (1 means off), not {self.top_p!r}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise WorkloadError(f"a sampling seed must be a whole number from 0 to 2**63 - 1, not {self.seed!r}.")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and how much answer it may get.

    Parameters
    ----------
    id
        A whole number of at least 0, unique in its workload.
    prompt
        Token ids, at least one.
    max_new_tokens
        The most output tokens it may get, its END included; at least 1. Schedulers see this number.
    arrival
        When it arrives, in the workload's unit (seconds on the lane's clock, or iterations).
    sampling
        How its tokens are drawn.
    output_length
        Forces the output to exactly this many tokens: END is ignored and generation stops there. Only the engine reads
        it; a policy never sees it. At most `max_new_tokens`.
    stop_tokens
        Token ids that end the output, besides the model's own END. A stop token counts as an output token.
    text
        The prompt as people read it. Shown as text, never as markup.
    answer
        The right answer, where anyone can check it; None where nobody can.
    """

    id: int
    prompt: tuple[int, ...]
    max_new_tokens: int
    arrival: float = 0.0
    sampling: Sampling = Sampling()
    output_length: int | None = None
    stop_tokens: tuple[int, ...] = ()
    text: str = ""
    answer: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.id, bool) or not isinstance(self.id, int) or self.id < 0:
            raise WorkloadError(f"a request's id must be a whole number of at least 0, not {self.id!r}.")
        if not self.prompt:
            raise WorkloadError(f"request {self.id} has an empty prompt; a prompt needs at least one token.")
        if any(isinstance(t, bool) or not isinstance(t, int) or t < 0 for t in self.prompt):
            raise WorkloadError(f"request {self.id}: prompt tokens must be whole numbers of at least 0.")
        if isinstance(self.max_new_tokens, bool) or not isinstance(self.max_new_tokens, int) or self.max_new_tokens < 1:
            raise WorkloadError(
                f"request {self.id}: max_new_tokens must be a whole number of at least 1, not {self.max_new_tokens!r}."
            )
        if not (math.isfinite(self.arrival) and self.arrival >= 0):
            raise WorkloadError(
                f"request {self.id}: arrival must be a finite number of at least 0, not {self.arrival!r}."
            )
        if self.output_length is not None and not 1 <= self.output_length <= self.max_new_tokens:
            raise WorkloadError(
                f"request {self.id}: output_length must lie between 1 and max_new_tokens = {self.max_new_tokens}, "
                f"not {self.output_length!r}."
            )


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in order of arrival, and where they came from.

    Parameters
    ----------
    name
        What the run calls it, such as "tasks" or "exponential, mean 40".
    requests
        At least one; ids are unique, arrivals never go back.
    seed
        The seed it was drawn with.
    arrival_unit
        Whether `Request.arrival` counts seconds on the lane's clock or iterations.
    """

    name: str
    requests: tuple[Request, ...]
    seed: int = 0
    arrival_unit: ArrivalUnit = "seconds"
    by_id: dict[int, Request] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.requests:
            raise WorkloadError("a workload needs at least one request.")
        if self.arrival_unit not in ("seconds", "iterations"):
            raise WorkloadError(f"arrival_unit must be 'seconds' or 'iterations', not {self.arrival_unit!r}.")
        by_id = {r.id: r for r in self.requests}
        if len(by_id) != len(self.requests):
            raise WorkloadError("two requests of the workload share an id; ids must be unique.")
        for earlier, later in zip(self.requests, self.requests[1:], strict=False):
            if later.arrival < earlier.arrival:
                raise WorkloadError(
                    f"request {later.id} arrives before request {earlier.id}; sort requests by arrival."
                )
        object.__setattr__(self, "by_id", by_id)

    def __len__(self) -> int:
        return len(self.requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)
