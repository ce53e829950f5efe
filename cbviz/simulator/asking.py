"""The loop in plain Python, for policies that must be asked before every iteration and work that no tensor computes.

It keeps what a plan can change and a time can depend on, a row a request: positions, blocks, slots, the queue. Prefix
caches, swapping, cancellations and executors are the engine's, and so are its errors: where a plan is refused or
nothing advances, this loop gives up, and the engine's says why. A test holds both to the same times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import islice
from math import inf, nan
from weakref import ref

import numpy as np

from cbviz.core.interrupts import PlanTimeout, PolicyTimeout, interrupts_deferred
from cbviz.core.loop import STUCK_AFTER
from cbviz.core.views import RequestViews, ViewMaker
from cbviz.errors import PolicyError
from cbviz.policies import Policy, RequestView, View, identity
from cbviz.policies.check import ask
from cbviz.policies.plan import CheckedPlan
from cbviz.simulator.cost import CostModel, Extent
from cbviz.simulator.fast import Memory
from cbviz.simulator.forecast import Forecast
from cbviz.simulator.work import Work

BETWEEN_LOOKS = 256
"""Iterations between two looks at interrupts and progress."""


_new = tuple.__new__
"""A `RequestView` from a tuple of its fields, as `cbviz.core.views` makes them."""


class GaveUpError(Exception):
    """The engine's loop must say what is wrong."""


class AskingLoop(ViewMaker):
    """Serves work under a policy; `run` does it.

    Parameters
    ----------
    policy
        A fresh copy: this loop asks it.
    work, cost, memory, lag, clients
        As for `cbviz.simulator.fast.skipping_forecast`.
    """

    def __init__(
        self, policy: Policy, work: Work, cost: CostModel, memory: Memory, lag: int, clients: int | None
    ) -> None:
        n = len(work)
        self._open: dict[int, ref[RequestViews]] = {}
        self._policy, self._work, self._cost, self._memory, self._lag = policy, work, cost, memory, lag
        self._timeout = PolicyTimeout()
        self._opened = n if clients is None else min(clients, n)
        """The next request that arrives when another ends, in a closed loop."""
        self._sent = self._opened
        """Requests that can be seen. With lag 1 a plan follows before the tokens, and so the ends, of the iteration in
        flight are there: what they let arrive is not, not even where that iteration takes no time at all."""
        self._arrival: list[float] = work.arrival.tolist() if clients is None else [0.0] * self._opened
        self._arrival += [inf] * (n - len(self._arrival))
        self._prompt, self._output = work.prompt_tokens.tolist(), work.output_tokens.tolist()
        self._ids, self._most = work.id.tolist(), work.max_new_tokens.tolist()
        self._client: Sequence[str | None] = work.client or [None] * n
        self._priority: list[int] = [0] * n if work.priority is None else work.priority.tolist()
        self._asked: list[tuple[int, float, int, int, str | None, int]] = []
        """What the requests that have arrived declared: the first fields of a `RequestView`."""
        self._row = {request: row for row, request in enumerate(self._ids)}
        self._computed, self._generated, self._blocks, self._highest, self._preempted, self._slot = (
            [0] * n for _ in range(6)
        )
        self._entered: list[int | None] = [None] * n
        self._waits: deque[int] = deque()
        self._runs: list[int] = []
        self._ended: list[int] = []
        """Rows whose output has ended and that still sit in a slot."""
        self._slots = list(range(memory.slots))
        self._free = memory.blocks
        self._head = self._iteration = self._idle = 0
        self._last_admission: int | None = None
        self._now = self._end = 0.0
        """When the next iteration is planned, and when the last one ends."""
        self._flying = False
        self._decoding = False
        """Whether all running requests decode, so that each needs at most one block more."""
        self.admitted, self.first, self.finished = ([nan] * n for _ in range(3))
        self.useful = self.completed = 0
        self.reached = [0, 0, 0, 0]

    # ------------------------------------------------------------------ what a policy sees

    def _seen(self) -> View:
        memory, ended = self._memory, self._ended
        return View(
            iteration=self._iteration,
            now=self._now,
            slots=memory.slots,
            waiting=self._sequence(len(self._waits), self._front),
            running=self._sequence(len(self._runs), partial(self._seated, self._runs)),
            finished=self._sequence(len(ended), partial(self._seated, sorted(ended, key=self._slot.__getitem__))),
            free_slots=memory.slots - len(self._runs),
            free_blocks=self._free + sum(self._blocks[row] for row in ended),
            block_size=memory.block_size,
            total_blocks=memory.blocks,
            context_limit=memory.context_limit,
            clock=self._now,
            last_admission=self._last_admission,
        )

    def _front(self, begin: int, end: int) -> list[RequestView]:
        asked, generated, entered, preempted = self._asked, self._generated, self._entered, self._preempted
        return [
            _new(RequestView, (*asked[row], generated[row], 0, None, entered[row], preempted[row], 0, 0, 0))
            for row in islice(self._waits, begin, end)
        ]

    def _seated(self, rows: list[int], begin: int, end: int) -> list[RequestView]:
        asked, generated, computed, slot = self._asked, self._generated, self._computed, self._slot
        entered, preempted, blocks = self._entered, self._preempted, self._blocks
        return [
            _new(
                RequestView,
                (
                    *asked[row],
                    generated[row],
                    computed[row],
                    slot[row],
                    entered[row],
                    preempted[row],
                    blocks[row],
                    0,
                    0,
                ),
            )
            for row in rows[begin:end]
        ]

    # ------------------------------------------------------------------ iterations

    def run(self, progress: Callable[[int], None]) -> bool:
        """Serve until all have ended; False if an interrupt came first. Raises GaveUpError."""
        try:
            going = True
            while going:
                with interrupts_deferred(lambda: self._timeout.here):
                    for _ in range(BETWEEN_LOOKS):
                        going = self._step()
                        if not going:
                            break
                progress(self.completed)
        except KeyboardInterrupt:
            self.settle()
            return False
        except (PolicyError, PlanTimeout):
            raise GaveUpError from None
        return True

    def _step(self) -> bool:
        """Plan and compute one iteration, or let time pass. False when every request has ended."""
        arrival, n = self._arrival, len(self._arrival)
        while self._head < self._sent and arrival[self._head] <= self._now:
            row = self._head
            self._waits.append(row)
            declared = self._ids[row], arrival[row], self._prompt[row], self._most[row]
            self._asked.append((*declared, self._client[row], self._priority[row]))
            self._head += 1
        wait: float | None = None
        if self._waits or self._runs or self._ended:
            try:
                plan = self._timeout.limit(lambda: ask(self._policy, self._seen()))
            finally:
                self.settle()
            if self._launched(plan):
                return True
            wait = plan.wait_until
        if self._flying:  # nothing is planned before its tokens are there
            self._flying, self._now, self._sent = False, self._end, self._opened
            return True
        until = arrival[self._head] if self._head < n else inf
        if wait is not None:
            self._idle += 1
            until = min(until, wait)
        elif until == inf:
            if self._waits or self._runs:
                raise GaveUpError
            return False
        if self._idle > STUCK_AFTER:
            raise GaveUpError
        self._now = self._end = max(self._now, until)
        return True

    def _launched(self, plan: CheckedPlan) -> bool:
        """Apply a plan and compute its iteration; False if it computes nothing, and only released slots."""
        row_of, computed, blocks, size = self._row, self._computed, self._blocks, self._memory.block_size
        prompt, generated = self._prompt, self._generated
        held = self._ended if plan.hold_all else [row for row in self._ended if self._ids[row] in plan.hold]
        changes = {row_of[request]: tokens for request, tokens in plan.chunk.items()}
        for request in (*plan.preempt, *plan.pause):
            changes[row_of[request]] = 0
        if not plan.admit and not held and all(changes.get(row, 1) == 0 for row in self._runs):
            self._release(held)
            return False
        unchanged = self._decoding and not changes and not plan.admit
        if not unchanged or self._free < len(self._runs):
            self._check_growth(plan, held, changes)
        self._release(held)
        if unchanged and not held:
            self._decode_all()
            return True
        for request in plan.preempt:
            row = row_of[request]
            self._runs.remove(row)
            self._highest[row] = max(self._highest[row], computed[row])
            self._preempted[row] += 1
            self._leave(row)
            computed[row] = 0
            self._waits.appendleft(row)
        start = self._end
        for entry in plan.admit:
            row = row_of[entry.request]
            if self._waits[0] == row:
                self._waits.popleft()
            else:
                self._waits.remove(row)
            self._slot[row] = heappop(self._slots)
            positions = prompt[row] + self._most[row] if entry.reserve is None else entry.reserve
            blocks[row] = -(-positions // size)
            self._free -= blocks[row]
            if self._entered[row] is None:
                self.admitted[row] = start
            self._entered[row] = self._last_admission = self._iteration
            self._runs.append(row)
        decodes, read, prefill, attention, context, given = 0, 0, 0, 0.0, self.reached[3], []
        useful = 0
        for row in held:
            at = min(computed[row] + 1, blocks[row] * size, self._memory.context_limit)
            computed[row] = at
            decodes += 1
            read += at
            context = max(context, at)
        for row in self._runs:
            before, known = computed[row], prompt[row] + generated[row]
            count = changes.get(row, known - before) if changes else known - before
            if not count:
                continue
            useful += before >= self._highest[row]
            after = computed[row] = before + count
            if after > blocks[row] * size:
                more = -(-after // size) - blocks[row]
                blocks[row] += more
                self._free -= more
            if count == 1:
                decodes += 1
                read += after
            else:
                prefill += count
                attention += count * (before + count / 2)
            context = max(context, after)
            if after == known:
                given.append(row)
        self._pass_time(decodes, read, prefill, attention, context, useful)
        self._decoding = len(given) == len(self._runs)
        ended = []
        for row in given:
            generated[row] += 1
            if generated[row] == 1:
                self.first[row] = self._end
            if generated[row] >= self._output[row]:
                ended.append(row)
        self._finish(ended)
        self._idle = 0 if given or useful else self._idle + 1
        if self._idle > STUCK_AFTER:
            raise GaveUpError
        return True

    def _decode_all(self) -> None:
        """An iteration in which all running requests decode, as most do: nothing else has to be looked at.

        All have their first token, and recompute nothing: a row that gets a token is at a position that it never had.
        """
        computed, generated, blocks, output = self._computed, self._generated, self._blocks, self._output
        size, read, context, ended = self._memory.block_size, 0, self.reached[3], []
        for row in self._runs:
            after = computed[row] + 1
            computed[row] = after
            read += after
            if after > context:
                context = after
            if after > blocks[row] * size:
                blocks[row] += 1
                self._free -= 1
            tokens = generated[row] + 1
            generated[row] = tokens
            if tokens >= output[row]:
                ended.append(row)
        rows = len(self._runs)
        self._pass_time(rows, read, 0, 0.0, context, rows)
        self._finish(ended)
        self._idle = 0

    def _pass_time(self, decodes: int, read: int, prefill: int, attention: float, context: int, useful: int) -> None:
        """The iteration takes what it costs."""
        start = self._end
        self._end = start + self._cost.seconds(decodes, read, prefill, attention)
        self._now = start if self._lag else self._end
        self._flying = bool(self._lag)
        self._iteration += 1
        self.useful += useful
        most = self.reached
        self.reached = [max(most[0], decodes), max(most[1], read), max(most[2], prefill), context]

    def _finish(self, rows: list[int]) -> None:
        """These rows have got their last token; in a closed loop each lets another request arrive."""
        self._sent = self._opened
        for row in rows:
            self.finished[row] = self._end
            self._ended.append(row)
            self.completed += 1
            if self._opened < len(self._arrival):
                self._arrival[self._opened] = self._end
                self._opened += 1
        if not self._lag:
            self._sent = self._opened
        if rows:
            self._runs = [row for row in self._runs if self._generated[row] < self._output[row]]

    def _check_growth(self, plan: CheckedPlan, held: list[int], changes: dict[int, int]) -> None:
        """Raise GaveUpError where the running requests outgrow the pool: the engine's loop refuses that by name."""
        size, blocks = self._memory.block_size, self._blocks
        needed = 0
        for row in self._runs:
            known = self._prompt[row] + self._generated[row]
            after = self._computed[row] + changes.get(row, known - self._computed[row])
            if after > blocks[row] * size:
                needed += -(-after // size) - blocks[row]
        if not needed:
            return
        kept = set(held)
        free = self._free + sum(blocks[row] for row in self._ended if row not in kept)
        free += sum(blocks[self._row[request]] for request in plan.preempt)
        for entry in plan.admit:
            row = self._row[entry.request]
            positions = self._prompt[row] + self._most[row] if entry.reserve is None else entry.reserve
            free -= -(-positions // size)
        if needed > free:
            raise GaveUpError

    def _release(self, held: list[int]) -> None:
        """Empty the slots of the ended that are not held."""
        if not self._ended:
            return
        kept = set(held)
        for row in self._ended:
            if row not in kept:
                self._leave(row)
        self._ended = [row for row in self._ended if row in kept]

    def _leave(self, row: int) -> None:
        heappush(self._slots, self._slot[row])
        self._free += self._blocks[row]
        self._blocks[row] = 0

    # ------------------------------------------------------------------ the result

    def forecast(self) -> Forecast:
        """What was served so far."""
        work = self._work
        arrival = np.array(self._arrival)
        arrival[np.isinf(arrival)] = nan
        return Forecast(
            id=work.id,
            prompt_tokens=work.prompt_tokens,
            output_tokens=work.output_tokens,
            preemptions=np.array(self._preempted),
            arrival=arrival,
            admitted=np.array(self.admitted),
            first_token=np.array(self.first),
            finished=np.array(self.finished),
            policy=identity(self._policy)[0],
            slots=self._memory.slots,
            cost=self._cost.name,
            iterations=self._iteration,
            seconds=self._end,
            useful_slot_iterations=self.useful,
            reached=Extent(*self.reached),
            how="loop",
        )
