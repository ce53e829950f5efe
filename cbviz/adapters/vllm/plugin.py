"""The plugin that vLLM loads in every process (entry point `vllm.general_plugins`).

Its only contact points with vLLM, the same from 0.11 to 0.33:

- `vllm.__version__`, and `SchedulerConfig.get_scheduler_cls`, whose class is subclassed;
- of the scheduler: `add_request(request)`, `schedule(…)`, `update_from_output(scheduler_output, …)`, `shutdown()`,
  `running`, and `scheduler_config.{max_num_seqs, max_num_batched_tokens}`;
- of a request: `request_id`, `num_prompt_tokens`, `max_tokens`;
- of a `SchedulerOutput`: `scheduled_new_reqs[].{req_id, num_computed_tokens}`, `scheduled_cached_reqs.{req_ids,
  num_computed_tokens}`, `num_scheduled_tokens`, `total_num_scheduled_tokens`, `finished_req_ids`;
- of an `EngineCoreOutput`: `request_id`, `new_token_ids`, `finish_reason`, `stop_reason`.

Whatever fails here is logged once and switches the recording off: the server keeps serving.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cbviz.adapters.vllm.known import KNOWN_VLLM, LINE_FORMAT, LINES_VARIABLE
from cbviz.adapters.vllm.writer import LineWriter
from cbviz.checks import one_line
from cbviz.errors import AdapterError

log = logging.getLogger("cbviz")
MARK = "_cbviz_records"
GIVES_CLASS = "get_scheduler_cls"
MOST_UNDER_WAY = 1_000
"""Passes; a pipeline of many GPUs has some dozens."""


def register() -> None:
    """Let every scheduler that this process makes write its iterations, if `CBVIZ_VLLM_LINES` names a place for them.

    vLLM may call it several times.
    """
    path = os.environ.get(LINES_VARIABLE)
    if not path:
        return
    try:
        vllm = importlib.import_module("vllm")
        KNOWN_VLLM.check(vllm.__version__)
        config = importlib.import_module("vllm.config").SchedulerConfig
        original = inspect.getattr_static(config, GIVES_CLASS)
        if getattr(original, MARK, False):
            return
        if not inspect.isfunction(original):
            raise AdapterError(f"SchedulerConfig.{GIVES_CLASS} is no plain method any more")
        version = str(vllm.__version__)

        def get_scheduler_cls(*args: Any, **kwargs: Any) -> Any:
            made = original(*args, **kwargs)
            try:
                return recording(made, path, version)
            except Exception as error:
                log.warning("cbviz records nothing of this vLLM: %s.", one_line(error))
                return made

        setattr(get_scheduler_cls, MARK, True)
        setattr(config, GIVES_CLASS, get_scheduler_cls)
    except Exception as error:
        log.warning("cbviz records nothing of this vLLM: %s.", one_line(error))


def recording(base: type, path: str, version: str) -> type:
    """A subclass of one of vLLM's schedulers that writes lines.

    Parameters
    ----------
    base
        `Scheduler`, `AsyncScheduler`, or any other with their interface.
    path
        Where the lines go.
    version
        vLLM's.

    Returns
    -------
    type
        The subclass. It decides nothing.
    """
    if issubclass(base, _Recording):
        return base
    return type(f"Recording{base.__name__}", (_Recording, base), {"_cbviz": (path, version, base.__name__)})


class _Recording:
    """Mixed into a scheduler: each call goes through unchanged, and is reported."""

    _cbviz: tuple[str, str, str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._cbviz_reporter = Reporter()  # first, for a scheduler that calls its own methods while it is made
        super().__init__(*args, **kwargs)
        self._cbviz_reporter.do("start", self, *self._cbviz)

    def add_request(self, *args: Any, **kwargs: Any) -> Any:
        """vLLM's own."""
        result = super().add_request(*args, **kwargs)  # type: ignore[misc]
        self._cbviz_reporter.do("arrived", *args, *kwargs.values())
        return result

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """vLLM's own."""
        reporter = self._cbviz_reporter
        reporter.do("scheduling", self)
        output = super().schedule(*args, **kwargs)  # type: ignore[misc]
        reporter.do("scheduled", self, output)
        return output

    def update_from_output(self, *args: Any, **kwargs: Any) -> Any:
        """vLLM's own."""
        result = super().update_from_output(*args, **kwargs)  # type: ignore[misc]
        self._cbviz_reporter.do("updated", result, *args, *kwargs.values())
        return result

    def shutdown(self, *args: Any, **kwargs: Any) -> Any:
        """vLLM's own."""
        try:
            return super().shutdown(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._cbviz_reporter.do("stop")
            self._cbviz_reporter.close()


@dataclass(slots=True)
class _Pass:
    output: Any
    """Kept, so that no other output gets its identity."""
    began: float
    rows: list[list[Any]]
    lost: list[str]
    gone: list[str]


@dataclass(slots=True)
class Reporter:
    """Turns a scheduler's calls into lines. Under async scheduling several passes are under way."""

    writer: LineWriter | None = None
    off: str = ""
    """Why it no longer reports; "" while it does."""
    _under_way: dict[int, _Pass] = field(default_factory=dict)
    _before: set[str] = field(default_factory=set)
    _lost: list[str] = field(default_factory=list)
    _gone: list[str] = field(default_factory=list)
    _began: float = 0.0
    _passes: int = 0
    _clock: Callable[[], float] = time.monotonic

    def do(self, name: str, *args: Any) -> None:
        """Call one of the methods below. An error switches the reporter off, and never leaves it.

        Parameters
        ----------
        name, args
            Of the method.
        """
        if self.off:
            return
        try:
            getattr(self, name)(*args)
        except Exception as error:
            self.off = f"{type(error).__name__} in {name!r}: {one_line(error)}"
            log.warning("cbviz: vLLM's scheduler is not as expected (%s); the server continues unrecorded.", self.off)
            self._under_way.clear()
            if self.writer is not None:
                self.writer.put({"kind": "failed", "error": self.off})

    def start(self, scheduler: Any, path: str, version: str, made: str) -> None:
        """A scheduler was made."""
        settings = scheduler.scheduler_config
        header = {
            "kind": "start",
            "format": LINE_FORMAT,
            "vllm": version,
            "scheduler": made,
            "async": bool(getattr(settings, "async_scheduling", False)),
            "max_num_seqs": int(settings.max_num_seqs),
            "max_num_batched_tokens": int(settings.max_num_batched_tokens),
            "block_size": int(getattr(scheduler, "block_size", 1)),
            "model": str(getattr(getattr(getattr(scheduler, "vllm_config", None), "model_config", None), "model", "")),
            "policy": str(getattr(scheduler, "cbviz_policy", "")),
            "pid": os.getpid(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "t": self._clock(),
        }
        self.writer = LineWriter(path, header)

    def arrived(self, *given: Any) -> None:
        """A request entered the queue; it is one of the arguments, in whatever order vLLM gives them."""
        request = _with("request_id", given)
        line = {
            "kind": "request",
            "t": self._clock(),
            "id": str(request.request_id),
            "prompt": int(request.num_prompt_tokens),
            "max": int(request.max_tokens),
        }
        self._put(line)

    def scheduling(self, scheduler: Any) -> None:
        """A pass is about to be scheduled."""
        self._began = self._clock()
        self._before = {str(request.request_id) for request in scheduler.running}

    def scheduled(self, scheduler: Any, output: Any) -> None:
        """A pass was scheduled. Only a preemption takes a request out of `running` meanwhile."""
        after = {str(request.request_id) for request in scheduler.running}
        self._lost += sorted(self._before - after)
        self._gone += sorted(map(str, output.finished_req_ids))
        if not output.total_num_scheduled_tokens:
            return
        cached = output.scheduled_cached_reqs
        starts = {request.req_id: request.num_computed_tokens for request in output.scheduled_new_reqs}
        starts.update(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        rows = [[str(name), int(n), int(starts[name])] for name, n in output.num_scheduled_tokens.items()]
        if len(self._under_way) == MOST_UNDER_WAY:
            raise AdapterError(f"{MOST_UNDER_WAY:,} passes were scheduled and none of them has ended")
        self._under_way[id(output)] = _Pass(output, self._began, rows, self._lost, self._gone)
        self._lost, self._gone = [], []

    def updated(self, result: Any, *given: Any) -> None:
        """A pass has ended. It is paired with its schedule by the identity of its output, one of the arguments."""
        output = _with("total_num_scheduled_tokens", given)
        if not output.total_num_scheduled_tokens:
            return
        under_way = self._under_way.pop(id(output), None)
        if under_way is None:
            raise AdapterError("a pass has ended that was not scheduled here")
        tokens = [
            [str(one.request_id), [int(token) for token in one.new_token_ids], _reason(one)]
            for outputs in (result or {}).values()
            for one in outputs.outputs
        ]
        line = {
            "kind": "pass",
            "n": self._passes,
            "t0": under_way.began,
            "t1": self._clock(),
            "rows": under_way.rows,
            "out": tokens,
            "preempted": under_way.lost,
            "gone": under_way.gone,
        }
        self._passes += 1
        self._put(line)

    def stop(self) -> None:
        """The scheduler shuts down."""
        if self.writer is not None:
            self.writer.put({"kind": "stop", "gone": self._gone})

    def close(self) -> None:
        """Write what waits; for two seconds at most."""
        if self.writer is not None:
            self.writer.close()

    def _put(self, line: dict[str, Any]) -> None:
        if self.writer is not None:
            self.writer.put(line)


def _with(name: str, given: tuple[Any, ...]) -> Any:
    """The argument that has an attribute of this name."""
    for value in given:
        if hasattr(value, name):
            return value
    raise AdapterError(f"no argument has a {name}")


def _reason(output: Any) -> str | None:
    """Why the output ended: "end" (the model's own END), "stop" (a stop token or string), "length", or vLLM's word."""
    if output.finish_reason is None:
        return None
    word = str(output.finish_reason)
    return ("end" if output.stop_reason is None else "stop") if word == "stop" else word
