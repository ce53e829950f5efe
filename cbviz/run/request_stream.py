"""An endless stream of requests for the playground, which sets their arrival rate and the spread of their lengths."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import defaultdict
from dataclasses import replace
from functools import cache

from cbviz.models import LoadedModel
from cbviz.run.model_workload import choose_workload
from cbviz.workload import Request
from cbviz.workload.tasks import ANSWER_ROOM, Task, catalogue

POOL = 48
"""Number of prompts that are reused for models other than tiny."""


@cache
def _tasks_by_length() -> dict[int, list[Task]]:
    """Tokens of the right answer → the tasks that have it."""
    table: defaultdict[int, list[Task]] = defaultdict(list)
    for task in catalogue():
        table[task.output_length].append(task)
    return dict(table)


class RequestStream:
    """Draws one request after another.

    Output lengths follow a gamma law with the given mean and a coefficient of variation (standard deviation / mean)
    that may change from request to request: 0 makes all lengths equal, 1 is the exponential law. Lengths are clipped
    to 1 … `longest`. `tiny` gets a task whose answer has the drawn length and ends by its own END. Any other model
    gets a prompt of its usual workload, and its output is forced to the drawn length.

    Parameters
    ----------
    loaded
        The model that answers.
    mean
        Mean output length in tokens, 1 to 320.
    seed
        The same seed and the same spreads give the same requests.
    """

    def __init__(self, loaded: LoadedModel, mean: float, seed: int) -> None:
        self.mean = mean
        self._loaded = loaded
        self._dice = random.Random(f"requests {seed}")
        self._gaps = random.Random(f"arrivals {seed}")
        self._tasks: dict[int, list[Task]] = {}
        self._prompts: tuple[Request, ...] = ()
        if loaded.name == "tiny":
            self._tasks = _tasks_by_length()
            self._lengths = sorted(self._tasks)
            # One token is one character for tiny.
            longest_text = max((task.prompt for task in catalogue()), key=len)
            self.longest = ANSWER_ROOM
            self.largest = Request(0, tuple(loaded.encode(longest_text)), ANSWER_ROOM)
        else:
            self._prompts = choose_workload(loaded, requests=POOL, seed=seed).requests
            longest_prompt = max((request.prompt for request in self._prompts), key=len)
            self.longest = min(ANSWER_ROOM, loaded.context_limit - len(longest_prompt))
            self.largest = Request(0, longest_prompt, self.longest)
        """`largest`: the largest request that can be drawn, for sizing the KV pool."""

    def gap(self, rate: float) -> float:
        """Iterations until the next arrival: exponential with mean 100 / rate, so that arrivals are Poisson."""
        return self._gaps.expovariate(rate / 100)

    def draw(self, id: int, spread: float) -> Request:
        """The next request; the caller decides when it arrives."""
        length = self._length(spread)
        if self._prompts:
            chosen = self._dice.choice(self._prompts)
            return replace(chosen, id=id, arrival=0.0, max_new_tokens=self.longest, output_length=length, answer=None)
        at = min(bisect_left(self._lengths, length), len(self._lengths) - 1)
        if at and length - self._lengths[at - 1] < self._lengths[at] - length:
            at -= 1
        task = self._dice.choice(self._tasks[self._lengths[at]])
        prompt = tuple(self._loaded.encode(task.prompt))
        return Request(id, prompt, ANSWER_ROOM, text=task.prompt, answer=task.answer)

    def _length(self, spread: float) -> int:
        if spread == 0:
            return max(1, min(self.longest, round(self.mean)))
        drawn = self._dice.gammavariate(1 / spread**2, self.mean * spread**2)
        return max(1, min(self.longest, round(drawn)))
