"""An engine on a virtual clock: the loop of the real one over an executor that computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from cbviz._version import __version__
from cbviz.checks import finite, number, shown, whole
from cbviz.config import EngineConfig, KVOptions
from cbviz.core import Engine, NullExecutor
from cbviz.core.executor import Step
from cbviz.errors import CapacityError, CbvizError, WorkloadError
from cbviz.events import Iteration
from cbviz.limits import LONGEST_SECONDS, MOST_BLOCKS, MOST_SIMULATED, MOST_TOKENS
from cbviz.policies import Policy, identity
from cbviz.run.build import build_engine
from cbviz.run.capacity import kv_blocks_for
from cbviz.run.lane_meta import policy_parameters
from cbviz.simulator.work import Work
from cbviz.trace import TraceMeta
from cbviz.workload import Request, Workload


@dataclass(frozen=True, slots=True)
class VirtualSetup:
    """How a workload is served on a virtual clock; `cbviz.schedule` says what each means."""

    slots: int
    block_size: int
    kv_blocks: int | None
    context_limit: int | None
    lag: int
    kv: KVOptions
    clients: int | None = None
    """Requests in flight in a closed loop; None lets requests arrive when the workload says."""

    def __post_init__(self) -> None:
        if self.kv_blocks is not None:
            object.__setattr__(
                self, "kv_blocks", whole("kv_blocks", self.kv_blocks, 1, MOST_BLOCKS, error=CapacityError)
            )
        if self.context_limit is not None:
            limit = whole("context_limit", self.context_limit, 1, MOST_TOKENS, error=CapacityError)
            object.__setattr__(self, "context_limit", limit)


def blocks_of(work: Workload | Work, setting: VirtualSetup) -> int:
    """KV blocks: as many as were asked for, or enough for every slot to hold the longest request."""
    if setting.kv_blocks is not None:
        return setting.kv_blocks
    return kv_blocks_for(work, setting.slots, setting.block_size)


def limit_of(work: Workload | Work, setting: VirtualSetup) -> int:
    """Most positions of a request: as many as were asked for, or what the longest request needs."""
    return work.longest if setting.context_limit is None else setting.context_limit


def virtual_engine(
    policy: Policy,
    workload: Workload,
    setting: VirtualSetup,
    seconds: float | Callable[[Step], float],
    facts: dict[str, Any] | None = None,
) -> tuple[Engine, TraceMeta]:
    """An engine whose iterations take as long as `seconds` says, and the metadata of its trace.

    Parameters
    ----------
    policy
        A fresh copy: the engine asks it.
    workload
        What will be served; its lengths are forced.
    setting
        Slots, memory and lag.
    seconds
        As for `NullExecutor`.
    facts
        Further metadata for `TraceMeta.extra`, and "device", "model" and "dtype".

    Raises
    ------
    CbvizError
        The setting makes no sense.
    """
    size, blocks = setting.block_size, blocks_of(workload, setting)
    executor = NullExecutor(context_limit=limit_of(workload, setting), seconds=seconds)
    config = EngineConfig(setting.slots, blocks, size, kv=setting.kv, lag=setting.lag)
    engine = build_engine(executor, policy, config, workload.arrival_unit)
    return engine, virtual_meta(engine, workload, setting, facts)


def clock_of(seconds: object) -> float | Callable[[Step], float]:
    """How long a caller says that an iteration takes: a number, or a function of the step whose results are checked.

    Raises
    ------
    CbvizError
        It is neither, or is below 0 or too long; the function does so when it is called.
    """
    if callable(seconds) and not isinstance(seconds, type):
        return lambda step: number("what seconds returns", seconds(step), most=LONGEST_SECONDS, or_equal=True)
    if finite(seconds) is None:
        raise CbvizError(f"seconds must be a number or a function of the step, not {shown(seconds)}.")
    return number("seconds", seconds, most=LONGEST_SECONDS, or_equal=True)


def virtual_meta(
    engine: Engine, workload: Workload, setting: VirtualSetup, facts: dict[str, Any] | None = None
) -> TraceMeta:
    """The metadata of the trace of an engine on a virtual clock; see `virtual_engine`."""
    name, summary = identity(engine.policy)
    more = dict(facts or {})
    return TraceMeta(
        policy=name,
        policy_summary=summary,
        slots=setting.slots,
        block_size=setting.block_size,
        total_blocks=engine.pool.blocks,
        block_bytes=engine.block_bytes,
        model=more.pop("model", ""),
        device=more.pop("device", ""),
        dtype=more.pop("dtype", ""),
        workload=workload.name,
        seed=workload.seed,
        arrival_unit=workload.arrival_unit,
        clock="virtual",
        lag=setting.lag,
        versions={"cbviz": __version__},
        extra=policy_parameters(engine.policy)
        | {"context_limit": engine.executor.context_limit}
        | setting.kv.chosen()
        | ({} if setting.clients is None else {"closed_loop_clients": setting.clients})
        | more,
    )


def served(
    engine: Engine, workload: Workload, clients: int | None, submitted: Callable[[Request], None]
) -> Iterator[Iteration]:
    """The iterations of a workload.

    Parameters
    ----------
    engine
        What serves it.
    workload
        The requests.
    clients
        None submits all requests at once. In a closed loop each of so many clients sends its next request when its
        last one has ended.
    submitted
        Called with each request as it is submitted, its arrival set.
    """
    waiting = iter(workload)
    for request in islice(waiting, clients):
        submitted(request)
        engine.submit(request)
    while (event := engine.step()) is not None:
        yield event
        for following in islice(waiting, 0 if clients is None else len(event.finished)):
            request = replace(following, arrival=event.t_end)
            submitted(request)
            engine.submit(request)


def check_clients(clients: int | None, work: Workload | Work) -> int | None:
    """Clients of a closed loop, None for an open one. Raises WorkloadError unless all arrivals are 0."""
    if clients is None:
        return None
    last = work.requests[-1].arrival if isinstance(work, Workload) else float(work.arrival[-1])
    if last > 0 or work.arrival_unit != "seconds":
        raise WorkloadError(
            "in a closed loop a request arrives when another ends, so a workload with clients has no arrivals of its "
            "own: all must be 0 seconds."
        )
    return whole("clients", clients, 1, MOST_SIMULATED, error=WorkloadError)
