"""Runs without an engine: iterations made up by the rules that every engine keeps, to test what reads them.

`scheduled` is static or continuous batching with forced lengths; `wild` does everything that may happen to a request,
at random: chunks, stalls, preemptions, cancellations, held slots.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cbviz.events import NO_REQUEST, Finish, FinishReason, Iteration, Mark, State
from cbviz.trace import Recorder, Trace, TraceMeta
from cbviz.workload.request import Request

Cost = float | Sequence[float] | Callable[[int, int], float]
"""Seconds of an iteration: always the same; for each number of busy slots (index 0 unused); or a function of how many
slots are busy and how many requests prefill."""

BLOCK = 4
POOL = 100_000


def meta(slots: int, **more: object) -> TraceMeta:
    given = {
        "policy": "fake",
        "policy_summary": "For tests.",
        "slots": slots,
        "block_size": BLOCK,
        "total_blocks": POOL,
    }
    return TraceMeta(**{**given, **more})  # type: ignore[arg-type]


def request(id: int, prompt: int = 3, output: int = 4, arrival: float = 0.0) -> Request:
    return Request(id, tuple(range(1, prompt + 1)), output, arrival, text=f"prompt {id}", output_length=output)


@dataclass
class Seat:
    """One request's progress."""

    request: Request
    computed: int = 0
    seen: int = 0
    generated: int = 0
    ended: bool = False

    @property
    def known(self) -> int:
        return len(self.request.prompt) + self.generated


@dataclass
class Loop:
    """The bookkeeping of an engine: seats in slots, a queue, a clock. Callers decide; `step` runs one iteration."""

    slots: int
    queue: list[Seat] = field(default_factory=list)
    now: float = 0.0
    index: int = 0

    def __post_init__(self) -> None:
        self.seats: list[Seat | None] = [None] * self.slots

    def slot_of(self, seat: Seat) -> int:
        return next(slot for slot, other in enumerate(self.seats) if other is seat)

    def admit(self, seat: Seat, reason: str = "") -> Mark:
        slot = self.seats.index(None)
        self.queue.remove(seat)
        self.seats[slot] = seat
        return Mark(seat.request.id, slot, reason)

    def preempt(self, seat: Seat, reason: str = "") -> Mark:
        slot = self.slot_of(seat)
        self.seats[slot] = None
        seat.computed = 0
        self.queue.insert(0, seat)
        return Mark(seat.request.id, slot, reason)

    def step(self, seconds: float, chunks: dict[int, int], stalled: dict[int, str], **marks: object) -> Iteration:
        """Everybody in a slot goes on: `chunks` limits what a request takes in, `stalled` takes nothing."""
        who, token, fed, context = (np.full(self.slots, value, np.int32) for value in (NO_REQUEST, NO_REQUEST, 0, 0))
        state = np.zeros(self.slots, np.uint8)
        finished: list[Finish] = []
        for slot, seat in enumerate(self.seats):
            if seat is None:
                continue
            id = seat.request.id
            who[slot], context[slot] = id, seat.computed
            if seat.ended:
                state[slot], fed[slot] = State.HELD, 1
                continue
            if id in stalled:
                state[slot] = State.STALLED
                continue
            take = min(chunks.get(id, 10**9), seat.known - seat.computed)
            if seat.computed < seat.seen:
                state[slot] = State.RECOMPUTE
            elif seat.computed < len(seat.request.prompt):
                state[slot] = State.PREFILL
            else:
                state[slot] = State.DECODE
            seat.computed += take
            fed[slot], context[slot] = take, seat.computed
            if seat.computed == seat.known:
                token[slot] = (id * 7 + seat.generated) % 50
                seat.generated += 1
                if seat.generated == seat.request.output_length:
                    seat.ended = True
                    finished.append(Finish(id, slot, FinishReason.LENGTH))
            seat.seen = max(seat.seen, seat.computed)
        blocks = -(-context // BLOCK)
        start, self.now = self.now, self.now + seconds
        self.index += 1
        return Iteration(
            self.index - 1,
            start,
            self.now,
            who,
            state,
            fed,
            context,
            token,
            blocks * BLOCK,
            finished=tuple(finished),
            stalled=tuple(Mark(id, int(np.flatnonzero(who == id)[0]), why) for id, why in stalled.items()),
            waiting=len(self.queue),
            blocks_used=int(blocks.sum()),
            blocks_total=POOL,
            written=int(context.sum()),
            **marks,  # type: ignore[arg-type]
        )

    def leave_ended(self) -> None:
        self.seats = [None if seat and seat.ended else seat for seat in self.seats]


def scheduled(
    requests: Sequence[Request], slots: int, policy: str = "continuous", seconds: Cost = 1.0
) -> Iterator[Iteration]:
    """Static (to the batch's longest) or continuous batching; arrivals count iterations, prompts go in whole."""
    loop = Loop(slots)
    coming = list(requests)
    while coming or loop.queue or any(seat and not seat.ended for seat in loop.seats):
        new = [seat for seat in map(Seat, coming) if seat.request.arrival <= loop.index]
        coming = coming[len(new) :]
        loop.queue += new
        if policy == "continuous" or all(seat is None or seat.ended for seat in loop.seats):
            loop.leave_ended()
        admitted: list[Mark] = []
        if policy == "continuous" or not any(loop.seats):
            while loop.queue and None in loop.seats:
                admitted.append(loop.admit(loop.queue[0]))
        busy = sum(seat is not None for seat in loop.seats)
        if callable(seconds):
            took = seconds(busy, len(admitted))
        else:
            took = seconds if isinstance(seconds, float) else seconds[busy]
        yield loop.step(took, {}, {}, arrived=tuple(seat.request.id for seat in new), admitted=tuple(admitted))


def wild(requests: Sequence[Request], slots: int, seed: int, most: int = 400) -> Iterator[Iteration]:
    """Everything that the contract allows, at random, until all is done or `most` iterations have run."""
    dice = random.Random(seed)
    loop = Loop(slots)
    coming = [Seat(asked) for asked in requests]
    while loop.index < most and (coming or loop.queue or any(seat and not seat.ended for seat in loop.seats)):
        arrived: list[int] = []
        while coming and dice.random() < 0.5:
            loop.queue.append(coming.pop(0))
            arrived.append(loop.queue[-1].request.id)
        cancelled: list[Mark] = []
        if dice.random() < 0.05 and loop.queue:
            cancelled.append(Mark(loop.queue.pop(dice.randrange(len(loop.queue))).request.id, NO_REQUEST))
        running = [seat for seat in loop.seats if seat and not seat.ended]
        if dice.random() < 0.03 and running:
            gone = running.pop(dice.randrange(len(running)))
            slot = loop.slot_of(gone)
            loop.seats[slot] = None
            cancelled.append(Mark(gone.request.id, slot))
        if dice.random() < 0.6:
            loop.leave_ended()
        preempted: list[Mark] = []
        if dice.random() < 0.15 and running:
            preempted.append(loop.preempt(running.pop(), dice.choice(["no block", ""])))
        admitted: list[Mark] = []
        while loop.queue and None in loop.seats and dice.random() < 0.7:
            admitted.append(loop.admit(loop.queue[0], dice.choice(["ratio met", ""])))
        ids = [seat.request.id for seat in loop.seats if seat and not seat.ended]
        chunks = {id: dice.randint(1, 3) for id in ids if dice.random() < 0.5}
        stalled = {id: dice.choice(["paused", "budget"]) for id in ids if dice.random() < 0.2}
        loop.now += dice.choice([0.0, 0.0, 0.5])
        yield loop.step(
            dice.choice([0.0, 0.001, 0.25]),
            chunks,
            stalled,
            arrived=tuple(arrived),
            cancelled=tuple(cancelled),
            preempted=tuple(preempted),
            admitted=tuple(admitted),
        )


def record(iterations: Iterator[Iteration], requests: Sequence[Request], slots: int, **more: object) -> Trace:
    recorder = Recorder(meta(slots, **more), requests)
    for iteration in iterations:
        recorder.add(iteration)
    return recorder.trace(pieces=lambda tokens: [f"t{token}" for token in tokens])


def scheduled_trace(outputs: Sequence[int], slots: int, policy: str = "continuous", seconds: Cost = 1.0) -> Trace:
    asked = [request(id, output=length) for id, length in enumerate(outputs)]
    made = record(scheduled(asked, slots, policy, seconds), asked, slots, arrival_unit="iterations")
    return replace(made, meta=replace(made.meta, policy=policy))


def wild_trace(seed: int, requests: int = 12, slots: int = 3, most: int = 400) -> Trace:
    dice = random.Random(seed)
    asked = [request(id, dice.randint(1, 9), dice.randint(1, 8)) for id in range(requests)]
    return record(wild(asked, slots, seed, most), asked, slots)
