"""A trace as Chrome trace-event JSON, which ui.perfetto.dev and chrome://tracing open.

The format is "Trace Event Format" (Google, 2016). A process is the run, a thread a slot, and a complete event ("X") a
span; counters ("C") follow the queue, the KV cache and the tokens of each iteration; an instant event ("i") marks each
preemption.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cbviz.checks import shown
from cbviz.errors import FileError, TraceError
from cbviz.events import State
from cbviz.paths import path_of
from cbviz.trace.files import write_file
from cbviz.trace.trace import MARK_KINDS, FloatArray, Trace

PROCESS = 1

Event = dict[str, Any]


def to_perfetto(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Write the trace as Chrome trace-event JSON.

    Times are rounded to whole microseconds, so that neighbouring slices of a track touch and never overlap; a shorter
    span becomes a slice of length 0.

    Parameters
    ----------
    trace
        The run.
    path
        A name that ends in `.json`.

    Returns
    -------
    Path
        The path of the file.

    Raises
    ------
    TraceError
        The name does not end in `.json`, or the file cannot be written.
    """
    try:
        target = path_of(path)
    except FileError as error:
        raise TraceError(str(error)) from None
    if target.suffix != ".json":
        raise TraceError(f"a Perfetto file's name ends in .json; {shown(target.name)} does not.")
    meta = trace.meta
    content = {
        "traceEvents": perfetto_events(trace),
        "displayTimeUnit": "ms",
        "otherData": {
            "policy": meta.policy,
            "model": meta.model,
            "device": meta.device,
            "dtype": meta.dtype,
            "workload": meta.workload,
            "clock": meta.clock,
            "created": meta.created,
            **{f"version of {name}": version for name, version in meta.versions.items()},
        },
    }
    return write_file(target, json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii"))


def perfetto_events(trace: Trace) -> list[Event]:
    """The trace events: names first, then the others by time."""
    timed = [*_slices(trace), *_counters(trace), *_preemptions(trace)]
    return [*_names(trace), *sorted(timed, key=lambda event: event["ts"])]


def _microseconds(seconds: FloatArray) -> npt.NDArray[np.int64]:
    return np.rint(seconds * 1e6).astype(np.int64)


def _names(trace: Trace) -> Iterator[Event]:
    words = (trace.meta.policy, trace.meta.model, trace.meta.device)
    about = {"name": " · ".join(word for word in words if word)}
    yield {"ph": "M", "name": "process_name", "pid": PROCESS, "tid": 0, "args": about}
    for slot in range(trace.meta.slots):
        who: Event = {"ph": "M", "pid": PROCESS, "tid": slot + 1}
        yield who | {"name": "thread_name", "args": {"name": f"slot {slot:03d}"}}
        yield who | {"name": "thread_sort_index", "args": {"sort_index": slot}}


def _slices(trace: Trace) -> Iterator[Event]:
    it, sp = trace.iterations, trace.spans
    start, end = _microseconds(it.t_start), _microseconds(it.t_end)
    reasons = _reasons(trace)
    columns = (sp.slot, sp.request, sp.state, sp.first, sp.end, sp.tokens, sp.context)
    for slot, request, number, first, stop, tokens, context in zip(*(c.tolist() for c in columns), strict=True):
        state = State(number)
        kind = "stall" if state is State.STALLED else "admit"
        ts = int(start[first])
        yield {
            "ph": "X",
            "name": f"request {request}: {state.name.lower()}",
            "cat": state.name.lower(),
            "pid": PROCESS,
            "tid": slot + 1,
            "ts": ts,
            "dur": int(end[stop - 1]) - ts,
            "args": {
                "request": request,
                "tokens": tokens,
                "context": context,
                "iterations": stop - first,
                "reason": reasons.get((kind, request, first), ""),
            },
        }


def _reasons(trace: Trace) -> dict[tuple[str, int, int], str]:
    """The policy's reasons: (kind of mark, request, iteration) → reason."""
    mk = trace.marks
    columns = (mk.kind.tolist(), mk.request.tolist(), mk.iteration.tolist(), mk.reason)
    return {(MARK_KINDS[kind], request, i): why for kind, request, i, why in zip(*columns, strict=True)}


def _counters(trace: Trace) -> Iterator[Event]:
    """A counter holds until its next event, so one is written only when a value changes; all end at 0 with the run."""
    it = trace.iterations
    if not len(it):
        return
    start, last = _microseconds(it.t_start), int(_microseconds(it.t_end[-1:])[0])
    counters = {
        "running": {"slots": trace.meta.slots - it.idle_slots},
        "waiting": {"requests": it.waiting},
        "KV blocks": {"used": it.blocks_used, "reserved": it.blocks_reserved},
        "tokens per iteration": {
            "prefill": it.prefill_tokens,
            "recompute": it.recompute_tokens,
            "output": it.generated,
        },
    }
    for name, series in counters.items():
        values = np.column_stack(list(series.values()))
        changes = np.flatnonzero(np.append(True, (np.diff(values, axis=0) != 0).any(axis=1)))
        who: Event = {"ph": "C", "name": name, "pid": PROCESS, "tid": 0}
        for i in changes:
            yield who | {"ts": int(start[i]), "args": dict(zip(series, values[i].tolist(), strict=True))}
        yield who | {"ts": last, "args": dict.fromkeys(series, 0)}


def _preemptions(trace: Trace) -> Iterator[Event]:
    mk = trace.marks
    start = _microseconds(trace.iterations.t_start)
    for mark in np.flatnonzero(mk.kind == MARK_KINDS.index("preempt")):
        request = int(mk.request[mark])
        yield {
            "ph": "i",
            "s": "t",
            "name": f"request {request}: preempted",
            "cat": "preempt",
            "pid": PROCESS,
            "tid": int(mk.slot[mark]) + 1,
            "ts": int(start[mk.iteration[mark]]),
            "args": {"request": request, "reason": mk.reason[mark]},
        }
