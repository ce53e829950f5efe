"""Another engine's passes as our iterations: which slot each request had, and what its row did there.

Engines report a batch as a list of rows. `Ledger` gives every request a slot for as long as it is in the engine's
batch, by our own convention (FACTS §2.0: the lowest free slot, refilled the iteration after it is freed), and derives
each row's state from positions alone. It never invents a value: KV blocks, which other engines count in their own
ways, are left out.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from cbviz.adapters.unpadded import SlotCell, UnpaddedIteration
from cbviz.checks import counted
from cbviz.errors import AdapterError
from cbviz.events import NO_REQUEST, Finish, FinishReason, Iteration, Mark, Reuse, State
from cbviz.limits import RECORDED_SLOTS
from cbviz.reason import Reason
from cbviz.trace import Recorder, Trace, TraceMeta
from cbviz.trace.fold import Detokenize
from cbviz.workload import Request

NOT_IN_BATCH = Reason("not_in_batch")


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One request's part in a pass.

    Attributes
    ----------
    request
        Its id.
    tokens
        Tokens that were fed for it, at least 1.
    start
        Positions that were in the KV cache before the pass.
    token
        The output token that it got, `NO_REQUEST` if none.
    """

    request: int
    tokens: int
    start: int
    token: int = NO_REQUEST


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass of another engine.

    Attributes
    ----------
    t_start, t_end
        Seconds on one clock that starts at 0.
    rows
        The batch, in the engine's order.
    finished
        Request → why its output ended with this pass.
    preempted, cancelled
        Requests that lost their place, or were cancelled, before this pass.
    """

    t_start: float
    t_end: float
    rows: tuple[BatchRow, ...]
    finished: Mapping[int, FinishReason] = field(default_factory=dict)
    preempted: tuple[int, ...] = ()
    cancelled: tuple[int, ...] = ()


class Ledger:
    """Turns the passes of one run into iterations, and into a `Trace` at the end.

    Parameters
    ----------
    called
        How an error calls a request: by the engine's own id, if it has one. Without it, by its number.

    Example
    -------
    Two requests on one slot; the second waits until the first has ended:

    >>> from cbviz.events import FinishReason
    >>> from cbviz.workload import Request
    >>> ledger = Ledger()
    >>> for id in (0, 1):
    ...     ledger.arrive(Request(id, (5, 6), max_new_tokens=4))
    >>> end = FinishReason.END
    >>> ledger.add(Pass(0.0, 0.1, (BatchRow(0, tokens=2, start=0, token=9),), finished={0: end}))
    >>> ledger.add(Pass(0.1, 0.2, (BatchRow(1, tokens=2, start=0, token=9),), finished={1: end}))
    >>> ledger.slots, [ledger.iteration(n).waiting for n in (0, 1)]
    (1, [1, 0])
    """

    def __init__(self, called: Callable[[int], str] = str) -> None:
        self._called = called
        self.requests: dict[int, Request] = {}
        """All requests, in the order in which they were made known."""
        self._coming: list[tuple[float, int]] = []
        self._waiting: dict[int, None] = {}
        self._slot_of: dict[int, int] = {}
        self._taken: list[bool] = []
        self._seen: dict[int, int] = {}
        self._context: dict[int, int] = {}
        self._given: dict[int, int] = {}
        self._missed: dict[int, float] = {}
        """When a pass ended that computed all that a request has and gave it no token."""
        self._admitted: set[int] = set()
        self._finished: set[int] = set()
        self._cancelled: set[int] = set()
        self._drafts: list[UnpaddedIteration] = []

    def __len__(self) -> int:
        return len(self._drafts)

    @property
    def slots(self) -> int:
        """The most slots that were used at once so far."""
        return len(self._taken)

    @property
    def now(self) -> float:
        """When the last pass ended."""
        return self._drafts[-1].t_end if self._drafts else 0.0

    def arrive(self, request: Request) -> None:
        """Make a request known; it enters the queue at its arrival.

        Parameters
        ----------
        request
            With an id that is new here, and its arrival on the clock of the passes.

        Raises
        ------
        AdapterError
            The id is known already.
        """
        if request.id in self.requests:
            raise AdapterError(f"request {request.id} came twice; ids must be unique in a run.")
        self.requests[request.id] = request
        insort(self._coming, (request.arrival, request.id))

    def add(self, one: Pass) -> None:
        """Count one pass.

        Parameters
        ----------
        one
            The next pass of the engine.

        Raises
        ------
        AdapterError
            It contradicts the passes before it, or feeds several tokens in a decode, as speculation does. Nothing has
            changed then.
        """
        self._check(one)
        computed = {row.request for row in one.rows}
        for request in self._finished & self._slot_of.keys() - computed:  # still held if its row was computed again
            self._free(request)
        arrived = self._arrivals(one, computed)
        cancelled = tuple(self._cancel(request) for request in one.cancelled if self._alive(request))
        preempted = tuple(self._preempt(request) for request in one.preempted if request in self._slot_of)
        admitted, reused = self._admit(one.rows)
        cells = {self._slot_of[row.request]: self._cell(row) for row in one.rows if row.request not in self._cancelled}
        stalled = tuple(
            Mark(request, slot, NOT_IN_BATCH) for request, slot in self._slot_of.items() if slot not in cells
        )
        for mark in stalled:
            cells[mark.slot] = SlotCell(mark.request, State.STALLED, 0, self._context[mark.request], NO_REQUEST)
        finished = tuple(
            Finish(request, self._slot_of[request], reason)
            for request, reason in one.finished.items()
            if request in self._slot_of and request not in self._finished
        )
        self._finished.update(end.request for end in finished)
        for row in one.rows:
            if row.token == NO_REQUEST and self._beyond(row) == 0:
                self._missed[row.request] = one.t_end
        for cell in cells.values():
            self._given[cell.request] = self._given.get(cell.request, 0) + (cell.token != NO_REQUEST)
        start = max(one.t_start, self.now)  # under async scheduling it was scheduled while the last one ran
        self._drafts.append(
            UnpaddedIteration(
                t_start=start,
                t_end=one.t_end,
                cells=cells,
                arrived=arrived,
                admitted=admitted,
                preempted=preempted,
                stalled=stalled,
                cancelled=cancelled,
                finished=finished,
                reused=reused,
                waiting=len(self._waiting),
            )
        )

    def iteration(self, n: int, slots: int | None = None) -> Iteration:
        """A pass as an iteration.

        Parameters
        ----------
        n
            Which one.
        slots
            How many slots its arrays have; None means those used at once so far.

        Returns
        -------
        Iteration
            Without KV blocks.

        Raises
        ------
        AdapterError
            More slots were used than asked for.
        """
        width, draft = self.slots if slots is None else slots, self._drafts[n]
        if max(draft.cells, default=0) >= width:
            raise AdapterError(f"pass {n} uses slot {max(draft.cells)}, and slots 0 to {width - 1} were asked for.")
        return draft.iteration(n, width)

    def trace(
        self,
        meta: TraceMeta,
        pieces: Detokenize | None = None,
        cancelled: Iterable[int] = (),
        passes: int | None = None,
    ) -> Trace:
        """The run so far as a checked trace.

        Parameters
        ----------
        meta
            Its origin; `total_blocks` is 0, because KV blocks are left out.
        pieces
            Turns output tokens into text; None leaves the text out.
        cancelled
            Requests that were cancelled after the last pass.
        passes
            How many to take, from the first; None takes all.

        Returns
        -------
        Trace
            Of these passes.

        Raises
        ------
        TraceError
            The passes contradict each other.
        """
        recorder = Recorder(meta, self.requests.values())
        for n in range(len(self) if passes is None else passes):
            recorder.add(self.iteration(n, meta.slots))
        if passes is not None:
            return recorder.trace(pieces)
        recorder.add_cancelled(
            Mark(request, self._slot_of.get(request, NO_REQUEST))
            for request in dict.fromkeys(cancelled)
            if self._alive(request)
        )
        return recorder.trace(pieces)

    def _check(self, one: Pass) -> None:
        """Raise AdapterError if a pass contradicts those before it, or itself."""
        n, end = len(self), one.t_end
        if end < max(one.t_start, self.now):
            raise AdapterError(
                f"pass {n} ends at {end:.6f} s, before "
                f"{'it began' if end < one.t_start else f'pass {n - 1} had ended'}."
            )
        computed: set[int] = set()
        for row in one.rows:
            if row.request not in self.requests:
                raise AdapterError(f"pass {n} computes request {row.request}, which never arrived.")
            if row.request in computed:
                raise AdapterError(f"pass {n} has two rows of {self._who(row)}.")
            computed.add(row.request)
            if row.request in self._finished:
                if row.request not in self._slot_of:
                    raise AdapterError(f"pass {n} computes {self._who(row)}, which had finished.")
                continue
            asked, seen = self.requests[row.request], self._seen.get(row.request, 0)
            stays = row.request in self._slot_of and row.request not in one.preempted
            known = self._context[row.request] if stays else max(len(asked.prompt), seen)
            if row.start > known:
                raise AdapterError(
                    f"pass {n} begins at position {row.start} of {self._who(row)}, of which it can have {known} at "
                    "most."
                )
            if row.tokens > 1 and row.start >= max(seen, len(asked.prompt)):
                raise AdapterError(
                    f"pass {n} feeds {row.tokens} tokens of {self._who(row)} in one decode; speculative decoding "
                    "cannot be drawn, where a slot yields one token an iteration."
                )
            if row.token != NO_REQUEST and row.start + row.tokens < len(asked.prompt):
                raise AdapterError(f"pass {n} gives {self._who(row)} a token before its prompt was computed.")
            beyond, given = self._beyond(row), self._given.get(row.request, 0)
            if row.token != NO_REQUEST and beyond < 0:
                raise AdapterError(
                    f"pass {n} gives {self._who(row)} a token before those that it has were computed again."
                )
            # A pass may have been under way when its request lost its place, and with it the token of the pass before.
            if beyond > 0 and (row.token != NO_REQUEST or one.t_start >= self._missed.get(row.request, 0.0)):
                raise AdapterError(f"pass {n} needs output token {given + 1} of {self._who(row)}, which no pass gave.")
            if row.token != NO_REQUEST and given >= asked.max_new_tokens:
                most = counted(asked.max_new_tokens, "output token")
                raise AdapterError(f"pass {n} gives {self._who(row)} a token more than its {most}.")

    def _who(self, row: BatchRow) -> str:
        return f"request {self._called(row.request)}"

    def _beyond(self, row: BatchRow) -> int:
        """How many tokens a row reads beyond those that its request has; below 0 if it leaves some out."""
        has = len(self.requests[row.request].prompt) + self._given.get(row.request, 0)
        return row.start + row.tokens - has

    def _alive(self, request: int) -> bool:
        return request in self.requests and request not in self._finished and request not in self._cancelled

    def _arrivals(self, one: Pass, computed: set[int]) -> tuple[int, ...]:
        """Requests that enter the queue now: those whose time has come, and any that the pass already knows."""
        named = computed | set(one.preempted) | set(one.cancelled)
        now = [entry for entry in self._coming if entry[0] <= one.t_start or entry[1] in named]
        gone = {request for _, request in now}
        self._coming = [entry for entry in self._coming if entry[1] not in gone]
        self._waiting.update(dict.fromkeys(request for _, request in now))
        return tuple(request for _, request in now)

    def _cancel(self, request: int) -> Mark:
        self._cancelled.add(request)
        self._waiting.pop(request, None)
        return Mark(request, self._free(request) if request in self._slot_of else NO_REQUEST)

    def _preempt(self, request: int) -> Mark:
        self._waiting = {request: None, **self._waiting}
        return Mark(request, self._free(request))

    def _admit(self, rows: Iterable[BatchRow]) -> tuple[tuple[Mark, ...], tuple[Reuse, ...]]:
        admitted, reused = [], []
        for row in rows:
            if row.request in self._slot_of or not self._alive(row.request):
                continue
            slot = next((slot for slot, taken in enumerate(self._taken) if not taken), len(self._taken))
            if slot == len(self._taken):
                if slot == RECORDED_SLOTS:
                    raise AdapterError(f"more than {RECORDED_SLOTS:,} requests ran at once; a trace holds no more.")
                self._taken.append(True)
            self._taken[slot] = True
            self._slot_of[row.request] = slot
            del self._waiting[row.request]
            admitted.append(Mark(row.request, slot))
            if row.start:
                asked = max(len(self.requests[row.request].prompt), self._seen.get(row.request, 0), row.start)
                reused.append(Reuse(row.request, asked, row.start))
            self._admitted.add(row.request)
        return tuple(admitted), tuple(reused)

    def _cell(self, row: BatchRow) -> SlotCell:
        """What the row did. A decode without a token was computed for nothing: its request had just lost its place."""
        request, prompt = row.request, len(self.requests[row.request].prompt)
        context = row.start + row.tokens
        if request in self._finished:
            return SlotCell(request, State.HELD, row.tokens, context, NO_REQUEST)
        if row.start < self._seen.get(request, 0):
            state = State.RECOMPUTE
        elif row.start < prompt:
            state = State.PREFILL
        else:
            state = State.DECODE if row.token != NO_REQUEST else State.RECOMPUTE
        self._seen[request] = max(self._seen.get(request, 0), context)
        self._context[request] = context
        return SlotCell(request, state, row.tokens, context, row.token)

    def _free(self, request: int) -> int:
        slot = self._slot_of.pop(request)
        self._taken[slot] = False
        return slot
