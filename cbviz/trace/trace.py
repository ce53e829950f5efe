"""A finished run as tables: what everything that looks at a run reads.

`Trace` holds columns, not objects: a run of 10,000 iterations on 256 slots is about two spans a request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntColumn = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TraceMeta:
    """Where a run comes from. Everything here is a plain string or number, so that it survives any file."""

    policy: str
    policy_summary: str
    slots: int
    block_size: int
    total_blocks: int
    block_bytes: int = 0
    """Bytes that a KV block is copied with when it is swapped; 0 where nothing can be."""
    model: str = ""
    device: str = ""
    dtype: str = ""
    workload: str = ""
    seed: int = 0
    arrival_unit: str = "seconds"
    clock: str = "lane"
    """"lane": this lane's own iterations, run in turns with others on one device; "alone": an undisturbed run;
    "virtual": no device, seconds from a cost model."""
    lag: int = 0
    created: str = ""
    """UTC, ISO 8601."""
    versions: dict[str, str] = field(default_factory=dict)
    """cbviz, python, torch, transformers, …"""
    extra: dict[str, Any] = field(default_factory=dict)
    """Policy parameters and the like: JSON values only."""


@dataclass(frozen=True, slots=True, eq=False)
class RequestTable:
    """One row a request, in order of submission. Lists where rows have different lengths.

    `iteration` columns are -1 where it never happened. `tokens[i]` are the output token ids, `pieces[i]` the text that
    each of them added (empty list if the model has no tokenizer), `token_iterations[i]` the iteration that gave each.
    """

    id: IntColumn
    arrival: FloatArray
    prompt_tokens: IntColumn
    max_new_tokens: IntColumn
    arrived: IntColumn
    """First iteration that saw it in the queue."""
    admitted: IntColumn
    """Iteration of its first admission."""
    finished: IntColumn
    """Iteration in which its output ended (or before which it was cancelled)."""
    reason: IntColumn
    """A `FinishReason`, -1 if the run stopped before it ended."""
    slot: IntColumn
    """Slot of its last admission."""
    preemptions: IntColumn
    cached_tokens: IntColumn
    """Tokens that its admissions found in the prefix cache."""
    prompt: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    pieces: tuple[tuple[str, ...], ...]
    token_iterations: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.id)

    def row(self, request: int) -> int:
        """Row of a request id. Raises KeyError."""
        rows = np.flatnonzero(self.id == request)
        if not len(rows):
            raise KeyError(f"the trace has no request {request}.")
        return int(rows[0])


@dataclass(frozen=True, slots=True, eq=False)
class IterationTable:
    """One row an iteration; times in seconds on the lane's clock; the rest counts."""

    t_start: FloatArray
    t_end: FloatArray
    prefill_slots: IntColumn
    decode_slots: IntColumn
    recompute_slots: IntColumn
    held_slots: IntColumn
    stalled_slots: IntColumn
    idle_slots: IntColumn
    prefill_tokens: IntColumn
    """Prompt tokens taken in for the first time."""
    recompute_tokens: IntColumn
    generated: IntColumn
    """Output tokens given to requests."""
    waiting: IntColumn
    blocks_used: IntColumn
    blocks_reserved: IntColumn
    kv_used: IntColumn
    """Positions of allotted KV blocks that are written. With the next two it sums to all that is allotted."""
    kv_reserved: IntColumn
    """Positions allotted that their request writes later, before it leaves the slot."""
    kv_internal: IntColumn
    """Positions allotted that their request never writes: internal fragmentation."""
    prefix_queries: IntColumn
    """Tokens of newcomers that were looked up in the prefix cache."""
    prefix_hits: IntColumn
    """Those of them that were found and not computed."""
    evictions: IntColumn
    """Blocks of the prefix cache that were taken for something else."""
    swapped_out: IntColumn
    """KV blocks copied to host memory."""
    swapped_in: IntColumn
    """KV blocks copied back."""
    padded: IntColumn

    def __len__(self) -> int:
        return len(self.t_start)


@dataclass(frozen=True, slots=True, eq=False)
class SpanTable:
    """Runs of iterations in which one slot did the same thing for the same request. Idle is not stored.

    Sorted by slot, then by `first`. `end` is the iteration after the last one. `tokens` counts tokens fed through the
    model for it, `context` the cached positions after the last iteration of the span.
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


MARK_KINDS = ("arrive", "admit", "finish", "preempt", "stall", "cancel", "set")


@dataclass(frozen=True, slots=True, eq=False)
class MarkTable:
    """What happened at iteration boundaries, in order, with the policy's reasons.

    `kind` indexes `MARK_KINDS`. "finish" belongs to the end of its iteration, all others to its beginning. A stall is
    marked once, at the first iteration of a run of stalled iterations with the same reason. `slot` is -1 where there is
    none. A "set" is about no request (-1): somebody changed the run, and its reason says what, such as "slots = 4"; its
    `slot` is then the number of slots that are open from that iteration on, -1 where the change is not about slots.
    """

    kind: IntColumn
    iteration: IntColumn
    request: IntColumn
    slot: IntColumn
    reason: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A whole run: where it comes from, and four tables.

    Two traces are equal when every value in them is.
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
        """Tokens that requests asked for and got. Prompt tokens are never counted."""
        return int(self.iterations.generated.sum())

    @property
    def tokens_per_second(self) -> float:
        return self.output_tokens / self.seconds if self.seconds else 0.0

    @property
    def useful_slot_iterations(self) -> int:
        return int((self.iterations.prefill_slots + self.iterations.decode_slots).sum())

    @property
    def open_slots(self) -> IntColumn:
        """How many slots requests could be in, in each iteration. int64 [iterations].

        All of them, unless somebody changed their number while it ran ("set" marks). Whoever runs when their number
        falls goes on, so more may be busy for a while.
        """
        marks = self.marks
        opened = np.full(len(self.iterations), self.meta.slots, dtype=np.int64)
        about_slots = (marks.kind == MARK_KINDS.index("set")) & (marks.slot >= 0)
        for iteration, count in zip(marks.iteration[about_slots], marks.slot[about_slots], strict=True):
            opened[iteration:] = count
        return opened

    @property
    def closed_slots(self) -> IntColumn:
        """Empty slots that nobody could take in an iteration, because fewer are open. int64 [iterations].

        Of the empty slots they are the highest: the engine fills the lowest first.
        """
        return np.minimum(self.iterations.idle_slots, self.meta.slots - self.open_slots)

    @property
    def occupancy(self) -> float:
        """Useful slot-iterations / all slot-iterations, those of closed slots left out."""
        everything = len(self.iterations) * self.meta.slots - int(self.closed_slots.sum())
        return self.useful_slot_iterations / everything if everything else 0.0

    @property
    def wasted_slot_iterations(self) -> int:
        """Recomputed, held or stalled slots, and open idle ones while somebody waited."""
        it = self.iterations
        idle = np.where(it.waiting > 0, it.idle_slots - self.closed_slots, 0)
        return int((it.recompute_slots + it.held_slots + it.stalled_slots + idle).sum())

    @property
    def digest(self) -> str:
        """SHA-256 over everything in the trace, in hexadecimal; the same run of the same seed gives the same digest
        only if its timings are the same, too. Raises TraceError if the trace contradicts itself."""
        from cbviz.trace.files import digest

        return digest(self)

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Trace) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the trace to one `.cbviz` file (see `cbviz.trace.files.save`)."""
        from cbviz.trace.files import save

        return save(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Trace:
        """Read and check a `.cbviz` file (see `cbviz.trace.files.load`)."""
        from cbviz.trace.files import load

        return load(path)

    def to_pandas(self) -> dict[str, pd.DataFrame]:
        """The four tables as data frames (see `cbviz.trace.frames.to_pandas`)."""
        from cbviz.trace.frames import to_pandas

        return to_pandas(self)

    def to_perfetto(self, path: str | PathLike[str]) -> Path:
        """Write a file that ui.perfetto.dev opens, one track a slot (see `cbviz.trace.perfetto.to_perfetto`)."""
        from cbviz.trace.perfetto import to_perfetto

        return to_perfetto(self, path)
