"""A request, how its tokens are drawn, and a workload of many requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from cbviz.checks import as_float, as_int, is_a, shown
from cbviz.errors import WorkloadError
from cbviz.messages import Message
from cbviz.paths import printable
from cbviz.workload.checks import BEYOND_INT32, LATEST, elements, not_negative, text, token_ids, whole

ArrivalUnit = Literal["seconds", "iterations"]

COLDEST = 1e-5
"""Temperatures below this count as greedy: dividing by them overflows float32, and noise could decide near ties only
(as in vLLM's sampler)."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn from the logits.

    Parameters
    ----------
    temperature
        0, or anything below `COLDEST`, takes the most likely token (greedy). Otherwise the logits are divided by it.
    top_k
        Draw among the k most likely tokens only; 0 switches the filter off.
    top_p
        Draw among the smallest set of tokens whose probability reaches p; 1 switches the filter off.
    seed
        Seed of this request's own noise, from 0 to 2⁶³ - 1. The noise of output position i depends on (seed, i) alone,
        so a request draws the same tokens whatever shares its batch.

    Raises
    ------
    WorkloadError
        A value is not a number in its range. Numbers of numpy or torch become plain Python ones.

    Examples
    --------
    >>> from cbviz import Sampling
    >>> Sampling(temperature=0.8, top_p=0.95, seed=7).greedy
    False
    >>> Sampling(top_p=0)
    Traceback (most recent call last):
    cbviz.errors.WorkloadError: top_p must lie above 0 and be at most 1 (1 means off), not 0.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    greedy: bool = field(init=False, repr=False, compare=False)
    """Whether the most likely token is taken: at temperature 0, and below `COLDEST`."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "temperature", not_negative("temperature", self.temperature))
        put(self, "top_k", whole("top_k", self.top_k, least=0))
        top_p = as_float(self.top_p)
        if top_p is None or not 0 < top_p <= 1:
            raise WorkloadError(f"top_p must lie above 0 and be at most 1 (1 means off), not {shown(self.top_p)}.")
        put(self, "top_p", top_p)
        put(self, "seed", whole("a sampling seed", self.seed, least=0, below=2**63))
        put(self, "greedy", self.temperature < COLDEST)


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt, and how long its answer may be.

    Parameters
    ----------
    id
        A whole number of at least 0 and below 2³¹, unique in its workload.
    prompt
        Token ids below 2³¹, at least one; a list or a 1-D array of integers is kept as a tuple.
    max_new_tokens
        The most output tokens it may get, its END included; at least 1. Schedulers see this number.
    arrival
        Arrival time in the workload's unit (seconds on the lane's clock, or iterations); at most 10⁹.
    sampling
        How its tokens are drawn.
    output_length
        Forces the output to exactly this many tokens: END is ignored, and generation stops there. At most
        `max_new_tokens`. Only the engine reads it; a policy never sees it.
    stop_tokens
        Token ids that end the output, besides the model's own END. A stop token counts as an output token.
    text
        The prompt in plain words. Shown as text, never as markup.
    answer
        The right answer; None if it cannot be checked.
    client
        The tenant that it belongs to, for policies that share out by tenant; None if there is only one.
    priority
        For policies that admit by priority: of two waiting requests the one with the lower number goes first, as in
        vLLM. From -2³¹ to 2³¹ - 1.

    Raises
    ------
    WorkloadError
        A value is out of range; the message names the request, the value and what is allowed.

    Examples
    --------
    >>> from cbviz import Request
    >>> request = Request(id=0, prompt=[5, 6, 7], max_new_tokens=16, output_length=4)
    >>> request.prompt
    (5, 6, 7)
    >>> Request(id=1, prompt=[], max_new_tokens=16)
    Traceback (most recent call last):
    cbviz.errors.WorkloadError: request 1 has an empty prompt; a prompt needs at least one token.
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
    client: str | None = None
    priority: int = 0

    @property
    def positions(self) -> int:
        """The most positions that it can need: prompt + max_new_tokens."""
        return len(self.prompt) + self.max_new_tokens

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "id", whole("a request's id", self.id, least=0, below=BEYOND_INT32))
        mine = f"request {self.id}:"
        put(self, "prompt", token_ids(f"{mine} prompt tokens", self.prompt))
        if not self.prompt:
            raise WorkloadError(f"request {self.id} has an empty prompt; a prompt needs at least one token.")
        put(self, "max_new_tokens", whole(f"{mine} max_new_tokens", self.max_new_tokens))
        if len(self.prompt) + self.max_new_tokens >= BEYOND_INT32:
            raise WorkloadError(f"{mine} prompt and max_new_tokens must together be below 2**31 positions.")
        put(self, "arrival", not_negative(f"{mine} arrival", self.arrival))
        if self.arrival > LATEST:
            raise WorkloadError(f"{mine} arrival must be at most {LATEST:,.0f}, not {shown(self.arrival)}.")
        if not is_a(self.sampling, Sampling):
            raise WorkloadError(
                f"{mine} sampling must be a Sampling, such as Sampling(temperature=0.8), not {shown(self.sampling)}."
            )
        if self.output_length is not None:
            forced = as_int(self.output_length)
            if forced is None or not 1 <= forced <= self.max_new_tokens:
                raise WorkloadError(
                    f"{mine} output_length must be a whole number between 1 and max_new_tokens = "
                    f"{self.max_new_tokens}, not {shown(self.output_length)}."
                )
            put(self, "output_length", forced)
        put(self, "stop_tokens", token_ids(f"{mine} stop tokens", self.stop_tokens))
        put(self, "text", text(f"{mine} text", self.text))
        if self.answer is not None:
            put(self, "answer", text(f"{mine} answer", self.answer))
        if self.client is not None:
            put(self, "client", text(f"{mine} client", self.client))
        put(self, "priority", whole(f"{mine} priority", self.priority, -BEYOND_INT32, BEYOND_INT32))


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in order of arrival, and where they came from.

    Parameters
    ----------
    name
        What the run calls it, such as "tasks" or "exponential, mean 40".
    requests
        At least one, sorted by arrival, with unique ids.
    seed
        The seed it was drawn with, at least 0.
    arrival_unit
        Whether `Request.arrival` counts seconds on the lane's clock or iterations.

    Raises
    ------
    WorkloadError
        There is no request, an entry is not a `Request`, two requests share an id, the arrivals are not sorted, or
        another value is out of range.

    Examples
    --------
    >>> from cbviz import Request, Workload
    >>> lengths = [4, 1, 2]
    >>> requests = [Request(id=i, prompt=[1, 2], max_new_tokens=8, output_length=n) for i, n in enumerate(lengths)]
    >>> workload = Workload("three by hand", requests)
    >>> len(workload), workload.by_id[2].output_length
    (3, 2)
    """

    name: str
    requests: tuple[Request, ...]
    seed: int = 0
    arrival_unit: ArrivalUnit = "seconds"
    by_id: dict[int, Request] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        name = text("a workload's name", self.name)
        put(self, "name", self.name if type(self.name) is Message else name)
        given = elements(self.requests)
        if given is None or not all(is_a(request, Request) for request in given):
            raise WorkloadError(f"a workload's requests must be a list of Request, not {shown(self.requests)}.")
        put(self, "requests", tuple(given))
        if not self.requests:
            raise WorkloadError("a workload needs at least one request.")
        put(self, "seed", whole("a workload's seed", self.seed, least=0, below=2**63))
        if not is_a(self.arrival_unit, str) or self.arrival_unit not in ("seconds", "iterations"):
            raise WorkloadError(f"arrival_unit must be 'seconds' or 'iterations', not {shown(self.arrival_unit)}.")
        by_id = {r.id: r for r in self.requests}
        if len(by_id) != len(self.requests):
            raise WorkloadError("two requests of the workload share an id; ids must be unique.")
        for earlier, later in zip(self.requests, self.requests[1:], strict=False):
            if later.arrival < earlier.arrival:
                raise WorkloadError(
                    f"request {later.id} arrives before request {earlier.id}; sort requests by arrival."
                )
        put(self, "by_id", by_id)

    @property
    def longest(self) -> int:
        """The most positions that any of the requests can need."""
        return max(request.positions for request in self.requests)

    def __len__(self) -> int:
        return len(self.requests)

    def __repr__(self) -> str:
        count = f"{len(self.requests)} request{'s' * (len(self.requests) != 1)}"
        return printable(f"<Workload {self.name!r}: {count}, seed {self.seed}>")

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)


def only_requests(given: Any) -> tuple[Request, ...]:
    """The given requests as a tuple. Raises WorkloadError for a lone request, or an entry that is not one."""
    entries = tuple(given) if is_a(given, Iterable) else (given,)
    wrong = [entry for entry in entries if not is_a(entry, Request)]
    if wrong or is_a(given, Request):
        found = shown((*wrong, given)[0])
        raise WorkloadError(f"requests must be Request objects: submit(request, …) or run([request, …]), not {found}.")
    return entries
