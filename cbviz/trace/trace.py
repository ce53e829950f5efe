"""A finished run as tables: the input of every measure, chart and view.

`Trace` holds columns, not objects: a run of 10,000 iterations on 256 slots takes about two spans per request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cbviz.checks import noun
from cbviz.events import State
from cbviz.paths import printable

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    import pandas as pd

HANDED_OVER = "kv_from"
"""In `TraceMeta.extra` of a lane whose requests another lane has begun: the name of that lane."""

SPECULATION = "speculation"
"""In `TraceMeta.extra` of a run that drafted tokens: how (see `cbviz.config.Speculation`)."""

FloatArray = npt.NDArray[np.float64]
IntColumn = npt.NDArray[np.int64]


def lane_title(policy: str, drafts: int) -> str:
    """What a lane is called that drafts so many tokens for a slot in a pass."""
    return f"{policy} k={drafts}" if drafts else policy


@dataclass(frozen=True, slots=True)
class TraceMeta:
    """The origin of a run: policy, memory, model, device, workload and versions, as plain JSON values."""

    policy: str
    policy_summary: str
    slots: int
    block_size: int
    total_blocks: int
    block_bytes: int = 0
    """Bytes copied per KV block when it is swapped; 0 if nothing can be swapped."""
    model: str = ""
    device: str = ""
    dtype: str = ""
    workload: str = ""
    seed: int = 0
    arrival_unit: str = "seconds"
    clock: str = "lane"
    """"lane": this lane's own iterations, run in turns with others on one device; "alone": a run without other lanes;
    "virtual": no device, seconds from a cost model."""
    lag: int = 0
    created: str = ""
    """UTC, ISO 8601."""
    versions: dict[str, str] = field(default_factory=dict)
    """cbviz, python, torch, transformers, …"""
    extra: dict[str, Any] = field(default_factory=dict)
    """Policy parameters and the like: JSON values only."""

    @property
    def lane(self) -> str:
        """What a lane with this run is called: its policy, and how many tokens it drafts if it does."""
        return lane_title(self.policy, self.extra[SPECULATION]["k"] if SPECULATION in self.extra else 0)


@dataclass(frozen=True, slots=True, eq=False)
class RequestTable:
    """One row per request, in order of submission.

    Columns that hold an iteration are -1 if the event never happened. `tokens[i]` are the output token ids, `pieces[i]`
    the text that each added (empty if the model has no tokenizer), and `token_iterations[i]` the iteration that
    produced each: the same for several where drafts were accepted.
    """

    id: IntColumn
    arrival: FloatArray
    prompt_tokens: IntColumn
    max_new_tokens: IntColumn
    arrived: IntColumn
    """First iteration that found it in the queue."""
    admitted: IntColumn
    """Iteration of its first admission."""
    finished: IntColumn
    """Iteration in which its output ended, or before which it was cancelled."""
    reason: IntColumn
    """A `FinishReason`; -1 if the run stopped before the request ended."""
    slot: IntColumn
    """Slot of its last admission."""
    preemptions: IntColumn
    cached_tokens: IntColumn
    """Tokens that its admissions found in the prefix cache."""
    prompt: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    pieces: tuple[tuple[str, ...], ...]
    token_iterations: tuple[tuple[int, ...], ...]
    client: tuple[str, ...]
    """Its tenant; "" if it has none."""
    priority: IntColumn
    """The lower, the sooner."""

    def __len__(self) -> int:
        return len(self.id)

    def __repr__(self) -> str:
        return f"<RequestTable of {len(self)} {noun(len(self), 'request')}>"

    def row(self, request: int) -> int:
        """Row of a request.

        Parameters
        ----------
        request
            Its id.

        Returns
        -------
        int
            The index into every column.

        Raises
        ------
        KeyError
            The trace has no such request.
        """
        rows = np.flatnonzero(self.id == request)
        if not len(rows):
            raise KeyError(f"the trace has no request {request}.")
        return int(rows[0])


@dataclass(frozen=True, slots=True, eq=False)
class IterationTable:
    """One row per iteration: times in seconds on the lane's clock, and counts."""

    t_start: FloatArray
    t_end: FloatArray
    prefill_slots: IntColumn
    decode_slots: IntColumn
    recompute_slots: IntColumn
    held_slots: IntColumn
    stalled_slots: IntColumn
    idle_slots: IntColumn
    prefill_tokens: IntColumn
    """Prompt tokens computed for the first time."""
    recompute_tokens: IntColumn
    generated: IntColumn
    """Output tokens delivered to requests."""
    waiting: IntColumn
    blocks_used: IntColumn
    blocks_reserved: IntColumn
    kv_used: IntColumn
    """Positions of allocated KV blocks that are written. This and the next two sum to all allocated positions."""
    kv_reserved: IntColumn
    """Allocated positions that their request writes later, before it leaves the slot."""
    kv_internal: IntColumn
    """Allocated positions that their request never writes: internal fragmentation."""
    prefix_queries: IntColumn
    """Tokens of admitted requests that were looked up in the prefix cache."""
    prefix_hits: IntColumn
    """Tokens of these that were found, and so not computed."""
    evictions: IntColumn
    """Blocks of the prefix cache that were reused for other content."""
    swapped_out: IntColumn
    """KV blocks copied to host memory."""
    swapped_in: IntColumn
    """KV blocks copied back."""
    padded: IntColumn

    def __len__(self) -> int:
        return len(self.t_start)

    def __repr__(self) -> str:
        return f"<IterationTable of {len(self)} {noun(len(self), 'iteration')}>"


@dataclass(frozen=True, slots=True, eq=False)
class SpanTable:
    """Stretches of iterations in which one slot was in one state for one request. Idle slots are not stored.

    Sorted by slot, then by `first`. `end` is the iteration after the last one. `tokens` counts the tokens that the
    model computed for the request in the span, `context` its cached positions after the last iteration.

    An iteration in which a slot checked drafts is a decode span of its own: `tokens` is 1 + the drafts.
    """

    slot: IntColumn
    request: IntColumn
    state: IntColumn
    first: IntColumn
    end: IntColumn
    tokens: IntColumn
    context: IntColumn

    def __len__(self) -> int:
        return len(self.slot)

    def __repr__(self) -> str:
        return f"<SpanTable of {len(self)} {noun(len(self), 'span')}>"


MARK_KINDS = ("arrive", "admit", "finish", "preempt", "stall", "cancel", "set")


@dataclass(frozen=True, slots=True, eq=False)
class MarkTable:
    """What happened at iteration boundaries, in order, with the policy's reasons.

    `kind` indexes `MARK_KINDS`. "finish" belongs to the end of its iteration, all others to its beginning. A stall is
    marked once, at the first of consecutive stalled iterations with the same reason. `slot` is -1 if there is none. A
    "set" mark records a change that the user made during the run: it names no request (-1), its reason is the change,
    such as "slots = 4", and its `slot` is the number of open slots from that iteration on, or -1 if the change is not
    about slots.
    """

    kind: IntColumn
    iteration: IntColumn
    request: IntColumn
    slot: IntColumn
    reason: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kind)

    def __repr__(self) -> str:
        return f"<MarkTable of {len(self)} {noun(len(self), 'mark')}>"


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A whole run: its origin, and four tables.

    Two traces are equal if every value in them is.

    Attributes
    ----------
    meta
        Policy, memory, model, device, workload and versions.
    requests
        One row per request: limits, iterations of its life, and its tokens.
    iterations
        One row per iteration: times, slots by state, tokens and KV memory.
    spans
        One row per stretch in which a slot was in one state for one request.
    marks
        One row per arrival, admission, finish, preemption, stall, cancellation and change of the run.

    Examples
    --------
    >>> import cbviz
    >>> static, continuous = cbviz.recorded("smollm2-8")
    >>> len(static.iterations), len(continuous.iterations)
    (631, 288)
    >>> f"{static.occupancy:.1%} {continuous.occupancy:.1%}"
    '31.1% 65.9%'
    >>> continuous.output_tokens, round(continuous.tokens_per_second)
    (1518, 1333)
    >>> static
    <Trace of static: smollm2-135m, 48 requests on 8 slots, 631 iterations>
    """

    meta: TraceMeta
    requests: RequestTable
    iterations: IterationTable
    spans: SpanTable
    marks: MarkTable

    @property
    def seconds(self) -> float:
        """Lane seconds from 0 to the end of the last iteration."""
        return float(self.iterations.t_end[-1]) if len(self.iterations) else 0.0

    @property
    def output_tokens(self) -> int:
        """Output tokens that requests received; prompt tokens do not count."""
        return int(self.iterations.generated.sum())

    @property
    def tokens_per_second(self) -> float:
        """Output tokens per lane second; 0 for a run without duration."""
        return self.output_tokens / self.seconds if self.seconds else 0.0

    @property
    def drafts(self) -> IntColumn:
        """Drafts checked in each iteration, int64 [iterations] (speculative decoding)."""
        spans = self.spans
        checked = (spans.state == State.DECODE) & (spans.tokens > spans.end - spans.first)
        return np.bincount(spans.first[checked], spans.tokens[checked] - 1, len(self.iterations)).astype(np.int64)

    @property
    def accepted(self) -> IntColumn:
        """Drafts that became output tokens in each iteration, int64 [iterations]. The others were rejected."""
        again = [at for given in self.requests.token_iterations for last, at in pairwise(given) if last == at]
        return np.bincount(np.array(again, np.int64), minlength=len(self.iterations))

    @property
    def useful_slot_iterations(self) -> int:
        """Slot-iterations in prefill or decode."""
        return int((self.iterations.prefill_slots + self.iterations.decode_slots).sum())

    @property
    def open_slots(self) -> IntColumn:
        """Slots open to requests in each iteration, int64 [iterations].

        All of them, unless the user changed their number during the run ("set" marks). Requests that run when the
        number falls keep their slots, so more may be busy for a while.
        """
        marks = self.marks
        opened = np.full(len(self.iterations), self.meta.slots, dtype=np.int64)
        about_slots = (marks.kind == MARK_KINDS.index("set")) & (marks.slot >= 0)
        for iteration, count in zip(marks.iteration[about_slots], marks.slot[about_slots], strict=True):
            opened[iteration:] = count
        return opened

    @property
    def closed_slots(self) -> IntColumn:
        """Empty slots that are closed to requests in each iteration, int64 [iterations].

        They are the highest of the empty slots: the engine fills the lowest first.
        """
        return np.minimum(self.iterations.idle_slots, self.meta.slots - self.open_slots)

    @property
    def occupancy(self) -> float:
        """Useful slot-iterations / all slot-iterations, closed slots excluded."""
        everything = len(self.iterations) * self.meta.slots - int(self.closed_slots.sum())
        return self.useful_slot_iterations / everything if everything else 0.0

    @property
    def wasted_slot_iterations(self) -> int:
        """Slot-iterations spent recomputing, held or stalled, or idle and open while a request waited."""
        it = self.iterations
        idle = np.where(it.waiting > 0, it.idle_slots - self.closed_slots, 0)
        return int((it.recompute_slots + it.held_slots + it.stalled_slots + idle).sum())

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Trace) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        model = f"{self.meta.model}, " if self.meta.model else ""
        sizes = ((len(self.requests), "request"), (self.meta.slots, "slot"), (len(self.iterations), "iteration"))
        requests, slots, iterations = (f"{number} {noun(number, what)}" for number, what in sizes)
        return printable(f"<Trace of {self.meta.policy}: {model}{requests} on {slots}, {iterations}>")

    if TYPE_CHECKING:
        # `cbviz.trace` attaches these: files and exports import the tables, so the tables cannot import them.

        @property
        def digest(self) -> str:
            """SHA-256 of the content (see `cbviz.trace.files.digest`)."""

        def save(self, path: str | PathLike[str]) -> Path:
            """Write the trace to a `.cbviz` file (see `cbviz.trace.files.save`)."""

        @staticmethod
        def load(path: str | PathLike[str]) -> Trace:
            """Read and check a `.cbviz` file (see `cbviz.trace.files.load`)."""

        def to_pandas(self) -> dict[str, pd.DataFrame]:
            """The four tables as data frames (see `cbviz.trace.frames.to_pandas`)."""

        def to_perfetto(self, path: str | PathLike[str]) -> Path:
            """Write a file for ui.perfetto.dev, one track per slot (see `cbviz.trace.perfetto.to_perfetto`)."""
