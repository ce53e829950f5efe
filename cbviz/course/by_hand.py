"""Scheduling by hand: the learner decides who gets each freed slot, and is raced against two policies.

The engine serves the requests and checks every decision, as it does for any policy; no model runs, for the lengths are
those of a recorded run. What the learner sees and clicks is in `cbviz.course.by_hand_control`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cbviz.checks import as_int, shown
from cbviz.config import KVOptions
from cbviz.core import Engine
from cbviz.course.lanes import SlotLane
from cbviz.course.words import say
from cbviz.errors import CbvizError
from cbviz.events import Iteration
from cbviz.policies import Plan, View
from cbviz.run.schedule import schedule
from cbviz.run.virtual import VirtualSetup, virtual_engine
from cbviz.trace import Trace
from cbviz.view.look import WASTED
from cbviz.workload import Request, Workload

RIVALS = ("static", "continuous")


@dataclass(slots=True)
class Hand:
    """A policy that admits what was chosen."""

    name: str = "you"
    summary: str = "admits what the learner chose"
    chosen: list[int] = field(default_factory=list)

    def plan(self, view: View) -> Plan:
        """See `cbviz.policies.Policy.plan`."""
        admit, self.chosen = self.chosen, []
        return Plan(admit=admit)


@dataclass(frozen=True, slots=True)
class HandResult:
    """How the learner did.

    Attributes
    ----------
    iterations
        Lane → iterations: "static", "continuous" and "you".
    empty
        Slot-iterations that the learner left empty while a request waited.
    key
        Of the sentence: "by hand better", "by hand same", "by hand order", "by hand empty" or "by hand static".
    """

    iterations: dict[str, int]
    empty: int
    key: str

    @property
    def sentence(self) -> str:
        """In the present language."""
        return say(
            self.key, empty=self.empty, more=self.iterations["you"] - self.iterations["continuous"], **self.iterations
        )


def work_of(trace: Trace, requests: int, longest: int) -> tuple[Workload, tuple[tuple[str, ...], ...]]:
    """The first requests of a run whose answers have at most `longest` tokens, numbered anew, and their answers."""
    table = trace.requests
    made: list[Request] = []
    answers: list[tuple[str, ...]] = []
    for prompt, known, pieces in zip(table.prompt, table.prompt_tokens.tolist(), table.pieces, strict=True):
        length = len(pieces)
        if 1 <= length <= longest and len(made) < requests:
            made.append(Request(len(made), (1,) * known, length, output_length=length, text=prompt))
            answers.append(tuple(pieces))
    if len(made) < requests:
        raise CbvizError(
            f"this run has {len(made)} answers of at most {longest} tokens; a game by hand needs {requests}."
        )
    return Workload("by hand", tuple(made)), tuple(answers)


class ByHandGame:
    """The state of a game, and what the learner may do.

    Attributes
    ----------
    rivals
        The same work under static and under continuous batching, as lanes.
    events
        The iterations so far.
    """

    def __init__(self, workload: Workload, slots: int) -> None:
        self.workload = workload
        self.slots = slots
        self.rivals = {name: SlotLane.of(schedule(name, workload, slots=slots), name) for name in RIVALS}
        self.restart()

    def restart(self) -> None:
        """Begin again: every slot is free, and every request waits."""
        self.events: list[Iteration] = []
        self._hand = Hand()
        setting = VirtualSetup(self.slots, 16, None, None, 0, KVOptions())
        self._engine: Engine = virtual_engine(self._hand, self.workload, setting, 1.0)[0]
        self._engine.submit(*self.workload)
        self._started: dict[int, int] = {}

    @property
    def waiting(self) -> list[int]:
        """Requests that no slot was given to yet."""
        return [request.id for request in self.workload if request.id not in self._started]

    @property
    def running(self) -> dict[int, int]:
        """Slot → the request in it; those just chosen have the lowest free slots."""
        slots: dict[int, int] = {}
        if self.events:
            last = self.events[-1]
            ended = {done.request for done in last.finished}
            slots = {slot: who for slot, who in enumerate(last.request.tolist()) if who >= 0 and who not in ended}
        for request in self._hand.chosen:
            slots[next(slot for slot in range(self.slots) if slot not in slots)] = request
        return slots

    @property
    def free(self) -> list[int]:
        """Slots without a request."""
        running = self.running
        return [slot for slot in range(self.slots) if slot not in running]

    @property
    def over(self) -> bool:
        """Whether every request has been served."""
        return not self.waiting and not self.running

    def written(self, request: int) -> int:
        """Tokens that a request has so far."""
        begun = self._started.get(request)
        length = self.workload.requests[request].output_length or 0
        return 0 if begun is None else min(len(self.events) - begun, length)

    def give(self, request: object) -> None:
        """Give the lowest free slot to a waiting request; time runs on until the next slot needs a decision.

        Raises
        ------
        CbvizError
            There is no such request, it waits no longer, or everything has been served.
        """
        asked = as_int(request)
        last = len(self.workload) - 1
        if self.over:
            raise CbvizError(say("by hand over"))
        if asked is None or not 0 <= asked <= last:
            raise CbvizError(say("by hand unknown", given=shown(request), last=last))
        if asked in self._started:
            slot = next((slot for slot, who in self.running.items() if who == asked), None)
            if slot is None:
                raise CbvizError(say("by hand served", request=asked))
            raise CbvizError(say("by hand runs", request=asked, slot=slot))
        self._hand.chosen.append(asked)
        self._started[asked] = len(self.events)
        self._run_on()

    def wait(self) -> None:
        """Leave the free slots empty until one more is freed.

        Raises
        ------
        CbvizError
            Nothing runs, so that no slot would ever be freed.
        """
        if self.over:
            raise CbvizError(say("by hand over"))
        if not self.running:
            raise CbvizError(say("by hand nothing runs"))
        before = len(self.free)
        self._step()
        while len(self.free) <= before and not self.over:
            self._step()
        self._run_on()

    def _run_on(self) -> None:
        while not self.over and not (self.free and self.waiting):
            self._step()

    def _step(self) -> None:
        event = self._engine.step()
        if event is not None:
            self.events.append(event)

    def lane(self) -> SlotLane:
        """The learner's run so far."""
        return SlotLane.so_far("you", self.events, self.slots)

    def verdict(self) -> HandResult:
        """The counts, once everything has been served."""
        mine = self.lane()
        counts = {name: lane.iterations for name, lane in self.rivals.items()} | {"you": mine.iterations}
        empty = mine.count(WASTED)
        you = counts["you"]
        if you < counts["continuous"]:
            key = "by hand better"
        elif you == counts["continuous"]:
            key = "by hand same"
        elif you >= counts["static"]:
            key = "by hand static"
        else:
            key = "by hand empty" if empty else "by hand order"
        return HandResult(counts, empty, key)
