"""Cases for the page's engine, and what Python's engine does in them.

The tokens are torch's: each workload is served once by the model under `continuous`, and the other schedules replay
those answers, which are the same under every policy (test_policies_answers.py). The page computes them every time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from cbviz.config import EngineConfig
from cbviz.core import Engine
from cbviz.core.block_pool import BlockPool
from cbviz.core.executor import Result, Step
from cbviz.events import FinishReason, Iteration, Mark
from cbviz.messages import as_json
from cbviz.policies import POLICIES, Admit, Plan, Policy, Sarathi, View, VllmV1
from cbviz.run.build import build_engine, build_executor
from cbviz.workload import Workload
from cbviz.workload.tasks import task_workload
from tests.page import tiny

BLOCK_SIZE = 16
AMPLE, TIGHT = 24 * 16, 26
"""KV blocks: room for 16 of the longest requests, and for hardly more than one."""
SEEDS, SLOTS = (0, 1, 2, 3, 4), (1, 3, 8, 16)
BUDGETS: dict[str, dict[str, int]] = {"vllm_v1": {"max_num_batched_tokens": 6}, "sarathi": {"chunk_size": 6}}
"""So small that prompts are cut; the defaults would cut none of these prompts."""


class Wild:
    """A policy that uses every field of a plan, as in `wild.mjs`: no built-in one holds some, or pauses here."""

    name = "wild"
    summary = "uses every field of a plan"

    def plan(self, view: View) -> Plan:
        turn = view.iteration
        hold = [request.id for request in view.finished if (request.id + turn) % 3 == 0]
        preempt: dict[int, str] = {}
        if turn % 11 == 5 and len(view.running) > 1:
            preempt[view.running[-1].id] = "every eleventh"
        rest = [request for request in view.running if request.id not in preempt]
        paused = {request.id: "its turn to wait" for request in rest[1:] if (request.id + turn) % 4 == 0}
        chunk = {request.id: 5 for request in rest if request.lacks > 5 and request.id not in paused}
        blocks = view.free_blocks - sum(request.blocks for request in view.finished if request.id in hold)
        admit = []
        for request in view.waiting[: max(0, view.free_slots - len(hold))]:
            blocks -= view.blocks_taken(request, request.most)
            if blocks < 0:
                break
            admit.append(Admit(request.id, reason=f"room for {request.most}"))
            if request.lacks > 7:
                chunk[request.id] = 7
        return Plan(admit=admit, hold=hold, preempt=preempt, pause=paused, chunk=chunk)


@dataclass(frozen=True)
class Case:
    """One run.

    `whole` asks the page for every number of it, not for a digest alone; `replayed` gives it torch's answers, so that
    only the schedule is computed there.
    """

    policy: str
    slots: int
    blocks: int
    requests: int
    seed: int
    options: dict[str, int] = field(default_factory=dict, hash=False)
    whole: bool = False
    replayed: bool = False

    def made(self) -> Policy:
        """Python's policy."""
        if self.policy == "wild":
            return Wild()
        if self.policy == "vllm_v1":
            return VllmV1(**self.options)
        return Sarathi(**self.options) if self.policy == "sarathi" else POLICIES[self.policy]()


def grid(requests: int, *, replayed: bool) -> list[Case]:
    """Five policies, five seeds, four numbers of slots, ample and tight memory."""
    names = ("static", "continuous", "orca", "vllm_v1", "sarathi")
    return [
        Case(name, slots, blocks, requests, seed, BUDGETS.get(name, {}), replayed=replayed)
        for seed in SEEDS
        for slots in SLOTS
        for blocks in (AMPLE, TIGHT)
        for name in names
    ]


@cache
def workload(requests: int, seed: int) -> Workload:
    """The tasks of a seed."""
    return task_workload(tiny().encode, requests, seed)


@cache
def answers(requests: int, seed: int) -> dict[tuple[int, ...], list[int]]:
    """Prompt → torch's answer, computed by the engine and the model."""
    asked = workload(requests, seed)
    config = EngineConfig(slots=8, blocks=AMPLE, block_size=BLOCK_SIZE)
    engine = build_engine(build_executor(tiny(), config, asked), POLICIES["continuous"](), config, asked.arrival_unit)
    for _ in engine.run(asked):
        pass
    return {request.prompt: engine.output(request.id) for request in asked}


class Replay:
    """Gives the tokens of known answers."""

    def __init__(self, known: dict[tuple[int, ...], list[int]], slots: int) -> None:
        self.context_limit, self.vocabulary, self.end_tokens = tiny().context_limit, None, tiny().end_tokens
        self._known = known
        self._answer: list[list[int]] = [[]] * slots

    def provide_swap(self, blocks: int) -> int:
        return 0

    def launch(self, step: Step) -> Result:
        for seat in step.seats:
            tokens = seat.tokens.tolist()
            self._answer[seat.slot] = self._known[
                tuple(tokens[: tokens.index(3) + 1])
            ]  # a prompt ends with its newline
        given = [self._token(slot, draw) for slot, draw in zip(step.slot.tolist(), step.draw.tolist(), strict=True)]
        return Result(np.array(given, np.int32), 1.0)

    def _token(self, slot: int, draw: int) -> int:
        return self._answer[slot][draw] if 0 <= draw < len(self._answer[slot]) else 0

    def collect(self, ticket: Result) -> Result:
        return ticket


def events(case: Case) -> Iterator[Iteration]:
    """What Python's engine does in a case."""
    asked = workload(case.requests, case.seed)
    executor = Replay(answers(case.requests, case.seed), case.slots)
    engine = Engine(executor, case.made(), slots=case.slots, pool=BlockPool(case.blocks, BLOCK_SIZE))
    return engine.run(asked)


def row(event: Iteration) -> list[Any]:
    """Everything of an iteration but its times, as `schedules.mjs` lists it."""

    def marks(given: tuple[Mark, ...]) -> list[Any]:
        return [[mark.request, mark.slot, as_json(mark.reason)] for mark in given]

    arrays = (event.request, event.state, event.tokens, event.context, event.token, event.allotted)
    finished = [[end.request, end.slot, FinishReason(end.reason).name.lower()] for end in event.finished]
    counts = (event.waiting, event.blocks_used, event.blocks_reserved, event.blocks_total)
    return [
        event.index,
        *(array.tolist() for array in arrays),
        list(event.arrived),
        *(marks(given) for given in (event.admitted, event.preempted, event.stalled)),
        finished,
        *counts,
    ]


def digest(rows: list[Any]) -> str:
    """Of the text that JSON.stringify makes of the same rows."""
    return hashlib.sha256(json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
