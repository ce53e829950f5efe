"""The graded task of notebook 11: a scheduler that shortens the mean wait and keeps the longest wait in bounds.

The package holds the task and no solution of it. A grader draws seeds of their own, or hands over a workload of their
own, so that a policy cannot be written for the requests it will meet.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any, Literal

from cbviz.checks import listed, number, one_line, shown, whole
from cbviz.course.exercise import SECONDS_TO_JUDGE
from cbviz.course.game import is_policy, serve
from cbviz.course.limit import TooSlow, within
from cbviz.course.show import Shown
from cbviz.course.show import table as as_table
from cbviz.course.words import say
from cbviz.errors import CbvizError, PolicyError
from cbviz.measure.rounding import kept_apart
from cbviz.policies import Policy, VllmV1, get
from cbviz.workload import Request, Workload

BLOCKS = 24
"""KV blocks of 16 positions: eight requests that reserve all they may ever need would take up to 72."""
SEEDS = (1, 2, 3)
"""For practice. A grader passes other seeds."""
MEAN, WORST = 0.9, 1.5
"""The mean wait and the longest wait that pass, as a share of vllm_v1's with the same requests."""

DECK = (16,) * 12 + (48,) * 3 + (96,)
"""The declared limits of sixteen requests in a row, before they are shuffled: most are short, one is long."""
COUNT, BURST, GAP = 128, 40, 2.4
"""So many requests; the first are there at the start, the others follow at this mean distance in iterations."""

Drawn = Workload | Sequence[Request]
Targets = tuple[float, float, float, float]


def requests(seed: int) -> list[Request]:
    """The requests of one seed: a queue at the start, then a stream that just about keeps the memory full.

    Limits are dealt from a shuffled `DECK`, prompts have 8 to 48 tokens, and an answer uses half of its limit or more.
    Arrivals count iterations.
    """
    rng = random.Random(seed)
    limits: list[int] = []
    while len(limits) < COUNT:
        limits += rng.sample(DECK, len(DECK))
    drawn, clock = [], 0.0
    for i, most in enumerate(limits[:COUNT]):
        if i >= BURST:
            clock += GAP * rng.uniform(0.5, 1.5)
        prompt = (1,) * rng.randint(8, 48)
        length = math.ceil(most * rng.uniform(0.5, 1))
        drawn.append(Request(i, prompt, max_new_tokens=most, output_length=length, arrival=float(int(clock))))
    return drawn


@dataclass(frozen=True, slots=True)
class Waits:
    """How long requests waited: iterations between arrival and last token in which a request got no token.

    Being in a slot does not end a wait: a request that is paused, or whose tokens are computed again after a
    preemption, goes on waiting until its next token.
    """

    mean: float
    worst: float


def waits(policy: str | Policy, given: Drawn, kv_blocks: int = BLOCKS) -> Waits:
    """Serve the requests on eight slots, with nothing computed, and measure the waits.

    Raises
    ------
    PolicyError
        It is no policy, it raised, planned something illegal, or is stuck.
    CapacityError
        A request that can never fit the pool.
    """
    by_id = {request.id: request for request in given}
    waited = []
    engine, events = serve(get(policy), list(given), kv_blocks)
    for event in events:
        for finish in event.finished:
            request = by_id[finish.request]
            waited.append(engine.arrival_clock - request.arrival - (request.output_length or 0))
    return Waits(sum(waited) / len(waited), max(waited))


@lru_cache(maxsize=64)
def yardstick(seed: int) -> Waits:
    """What vllm_v1 reaches with the course's own requests."""
    return waits(VllmV1(), requests(seed))


@dataclass(frozen=True, slots=True)
class Game:
    """One seed: what the policy reached, and the most that passes."""

    seed: int
    waits: Waits
    mean_target: float
    worst_target: float

    @property
    def mean_passed(self) -> bool:
        return self.waits.mean <= self.mean_target

    @property
    def worst_passed(self) -> bool:
        return self.waits.worst <= self.worst_target

    @property
    def passed(self) -> bool:
        return self.mean_passed and self.worst_passed


class Grade(Shown):
    """What `grade` says: a table with one row a seed, and a sentence.

    Attributes
    ----------
    state
        "right", "wrong" or "not answered".
    games
        One `Game` for each seed that was played to its end.
    sentence
        The whole result in one sentence.
    """

    def __init__(
        self, state: Literal["right", "wrong", "not answered"], sentence: str, games: Sequence[Game] = ()
    ) -> None:
        self.state = state
        self.sentence = sentence
        self.games = tuple(games)
        html, text = f"<div>{escape(sentence)}</div>", sentence
        if games:
            head = ["seed", "mean wait", "mean wait allowed", "longest wait", "longest wait allowed", "passed"]
            rows = [
                (
                    str(game.seed),
                    *kept_apart(game.waits.mean, game.mean_target, least=1),
                    *kept_apart(game.waits.worst, game.worst_target),
                    game.passed,
                )
                for game in games
            ]
            drawn = as_table(head, rows, note=sentence)
            html, text = drawn.html, drawn.text
        super().__init__(html, text)

    @property
    def passed(self) -> bool:
        """Whether every seed passed."""
        return self.state == "right"


def grade(
    policy: Any,
    *,
    seeds: Iterable[int] = SEEDS,
    workload: Callable[[int], Drawn] | None = None,
    kv_blocks: int = BLOCKS,
    mean: float = MEAN,
    worst: float = WORST,
) -> Grade:
    """Grade a scheduler: the mean wait and the longest wait, each against vllm_v1's with the same requests.

    Parameters
    ----------
    policy
        A policy, or the name of a built-in one. `...` or None has not been written yet.
    seeds
        Whole numbers, one game each. The three of the notebook by default; a grader draws others.
    workload
        Seed → requests (a `Workload` whose arrivals count iterations, or a list of `Request`), each with its
        `output_length`; None takes the course's own.
    kv_blocks
        KV blocks of 16 positions that there are.
    mean, worst
        What passes, as a share of vllm_v1's figure: at most so much of its mean wait, and of its longest. Another
        workload may need other shares.

    Returns
    -------
    Grade
        The games of all seeds, and whether each was passed.

    Raises
    ------
    CbvizError
        Seeds, requests or shares that make no sense. Whatever is wrong with the policy is said in the grade.

    Example
    -------
    >>> from cbviz import course
    >>> course.grade("vllm_v1", seeds=[20261128]).passed
    False
    """
    chosen = _seeds(seeds)
    blocks = whole("kv_blocks", kv_blocks, most=10**6)
    shares = number("mean", mean, most=100), number("worst", worst, most=100)
    if policy is ... or policy is None:
        return Grade("not answered", say("11.graded open"))
    if not isinstance(policy, str) and not is_policy(policy):
        return Grade("wrong", say("11.no policy", given=shown(policy)))
    try:
        get(policy)
    except PolicyError as error:  # no built-in policy of this name, or a name or a summary that is no text
        return Grade("wrong", one_line(error, most=320) + ".")
    games: list[Game] = []
    for seed in chosen:
        given = _drawn(workload, seed)
        base = yardstick(seed) if workload is None and blocks == BLOCKS else waits(VllmV1(), given, blocks)
        try:
            reached = within(SECONDS_TO_JUDGE, lambda given=given: waits(policy, given, blocks))  # type: ignore[misc]
        except TooSlow:
            return Grade("wrong", say("too slow", seconds=f"{SECONDS_TO_JUDGE:g}"), games)
        except PolicyError as error:
            return Grade("wrong", say("11.graded stopped", seed=seed, error=one_line(error, most=320)), games)
        games.append(Game(seed, reached, shares[0] * base.mean, shares[1] * base.worst))
    if all(game.passed for game in games):
        return Grade("right", say("11.graded passed", count=len(games)), games)
    long_mean, long_worst = (
        sum(not passed for passed in column)
        for column in zip(*((game.mean_passed, game.worst_passed) for game in games), strict=True)
    )
    return Grade("wrong", say("11.graded missed", mean=long_mean, worst=long_worst, count=len(games)), games)


def _seeds(seeds: object) -> list[int]:
    chosen = listed("seeds", seeds, "whole numbers")
    if not chosen:
        raise CbvizError("seeds must name at least one seed.")
    return [whole("a seed", seed, least=0, most=2**63 - 1) for seed in chosen]


def _drawn(workload: object, seed: int) -> list[Request]:
    """The requests of a seed; those of another's function are checked first."""
    if workload is None:
        return requests(seed)
    if not callable(workload):
        raise CbvizError(f"workload must be a function that takes a seed and gives requests, not {shown(workload)}.")
    made = workload(seed)
    if not isinstance(made, Workload):
        made = Workload("graded", made, arrival_unit="iterations")
    if made.arrival_unit != "iterations":
        raise CbvizError(
            "the arrivals of a graded workload must count iterations: Workload(…, arrival_unit='iterations')."
        )
    if any(request.output_length is None for request in made):
        raise CbvizError("every request of a graded workload needs an output_length: nothing is computed.")
    return list(made)
