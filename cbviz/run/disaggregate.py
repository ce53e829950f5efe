"""`disaggregate`: a workload on a prefill engine and a decode engine, with a model or on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cbviz.checks import number, shown, whole
from cbviz.config import EngineConfig, KVOptions
from cbviz.core import Engine, Executor, NullExecutor
from cbviz.core.executor import Copies, Result, Step
from cbviz.core.receiving import ReceivingEngine
from cbviz.eager.eager_executor import ModelExecutor
from cbviz.errors import CapacityError, CbvizError, WorkloadError
from cbviz.limits import MOST_BLOCKS, MOST_EXACT
from cbviz.models import LoadedModel, as_loaded
from cbviz.policies import Policy, fresh, get
from cbviz.run.build import build_executor, build_pool
from cbviz.run.capacity import kv_blocks_for
from cbviz.run.disaggregated import Disaggregated, DisaggregatedResult
from cbviz.run.lane_meta import lane_meta
from cbviz.run.virtual import VirtualSetup, clock_of, virtual_meta
from cbviz.simulator.work import check_forced
from cbviz.trace import TraceMeta
from cbviz.trace.trace import HANDED_OVER
from cbviz.workload import Workload


def disaggregate(
    model: str | LoadedModel | None,
    workload: Workload,
    *,
    prefill: str | Policy = "continuous",
    decode: str | Policy = "continuous",
    prefill_slots: int = 1,
    slots: int = 8,
    block_size: int = 16,
    kv_blocks: int | None = None,
    host_blocks: int | None = None,
    bandwidth: float | None = None,
    seconds: float | Callable[[Step], float] | None = None,
    block_bytes: int | None = None,
) -> DisaggregatedResult:
    """Serve a workload with one engine that reads prompts and one that decodes; KV blocks go from one to the other.

    Parameters
    ----------
    model
        A name, as for a race, or a model from `cbviz.models.load`; both engines share its weights. None computes
        nothing: the workload's lengths must be forced, and time is virtual.
    workload
        What to serve. Arrivals count seconds.
    prefill, decode
        The policy of each engine; each uses a copy.
    prefill_slots, slots
        Requests that the prefill engine reads at the same time, and that the decode engine has in its batch.
    block_size, kv_blocks
        The decode engine's KV pool, by default room for the longest requests in every slot. The prefill engine has room
        for the longest prompt in each of its slots.
    host_blocks
        KV blocks of host memory, through which blocks are handed over; None has room for every prompt. Where it is
        full, the decode engine reads the prompt itself.
    bandwidth
        Bytes a second from one engine to the other, one request after another; None takes no time.
    seconds
        How long an iteration takes: a number, or a function of the step. None is the measured time, or 1 without a
        model. On one device the engines take turns, and each clock counts its own iterations, as if it were alone.
    block_bytes
        Bytes of a KV block, for a virtual run; with a model they are known.

    Returns
    -------
    DisaggregatedResult
        Both lanes, the handovers, and the answers.

    Raises
    ------
    CbvizError
        An argument makes no sense, arrivals count iterations, or an engine refuses a request or a plan.

    Examples
    --------
    Two requests, without a model. Blocks of 100 bytes come over a link of 100 bytes a second; while request 1 is read,
    request 0 is on its way:

    >>> import cbviz
    >>> requests = [cbviz.Request(id=i, prompt=[1] * 4, max_new_tokens=3, output_length=3) for i in range(2)]
    >>> work = cbviz.Workload("two", requests)
    >>> run = disaggregate(None, work, block_size=4, bandwidth=100, block_bytes=100)
    >>> [(h.request, h.bytes, h.left, h.arrived) for h in run.handovers]
    [(0, 100, 1.0, 2.0), (1, 100, 2.0, 3.0)]
    >>> run.token_times(0)
    [1.0, 3.0, 4.0]
    """
    policies = fresh(get(prefill)), fresh(get(decode))
    if not isinstance(workload, Workload):
        raise WorkloadError(f"workload must be a Workload, not {shown(workload)}.")
    if workload.arrival_unit != "seconds":
        raise WorkloadError(
            "prefill and decode apart have two clocks, in seconds; this workload's arrivals count iterations."
        )
    if bandwidth is not None:
        bandwidth = number("bandwidth", bandwidth)
    if block_bytes is not None:
        whole("block_bytes", block_bytes, 1, MOST_EXACT, error=CapacityError)
        if model is not None:
            raise CbvizError("block_bytes is for a run without a model; with one they are known.")
    whole("prefill_slots", prefill_slots, 1, error=CapacityError)
    whole("slots", slots, 1, error=CapacityError)
    whole("block_size", block_size, 1, error=CapacityError)
    if kv_blocks is not None:
        kv_blocks = whole("kv_blocks", kv_blocks, 1, MOST_BLOCKS, error=CapacityError)
    prompts = [-(-len(request.prompt) // block_size) for request in workload]
    host = sum(prompts) if host_blocks is None else whole("host_blocks", host_blocks, 1, error=CapacityError)
    # A request of one output token needs one position more than its prompt.
    reading = max(-(-(len(request.prompt) + 1) // block_size) for request in workload)
    configs = (
        EngineConfig(prefill_slots, prefill_slots * reading, block_size),
        EngineConfig(
            slots,
            kv_blocks_for(workload, slots, block_size) if kv_blocks is None else kv_blocks,
            block_size,
            KVOptions(preemption="swap", swap_blocks=host),
        ),
    )
    loaded = None if model is None else as_loaded(model)
    if loaded is None:
        check_forced(workload)
    computing = [None if loaded is None else build_executor(loaded, config, workload) for config in configs]
    clock = (1.0 if loaded is None else None) if seconds is None else clock_of(seconds)
    executors = [_on_clock(executor, workload.longest, clock) for executor in computing]
    reader = Engine(executors[0], policies[0], slots=prefill_slots, pool=build_pool(configs[0]))
    writer = ReceivingEngine(
        executors[1], policies[1], slots=slots, pool=build_pool(configs[1]), preemption="swap", swap_blocks=host
    )
    apart = Disaggregated(reader, writer, _mover(*computing), bandwidth=bandwidth, block_bytes=block_bytes)
    first, second = (
        _meta(loaded, engine, config, workload, clock) for engine, config in zip((reader, writer), configs, strict=True)
    )
    names = (f"prefill: {first.policy}", f"decode: {second.policy}")
    return apart.run(
        workload,
        (
            replace(first, policy=names[0]),
            replace(second, policy=names[1], extra=second.extra | {HANDED_OVER: names[0]}),
        ),
    )


class OnClock:
    """An executor whose iterations take as long as `seconds` says, whatever they really took."""

    def __init__(self, executor: Executor, seconds: float | Callable[[Step], float]) -> None:
        self.context_limit = executor.context_limit
        self.vocabulary = executor.vocabulary
        self.end_tokens = executor.end_tokens
        self._executor = executor
        self._seconds = seconds

    def provide_swap(self, blocks: int) -> int:
        """See `Executor`."""
        return self._executor.provide_swap(blocks)

    def launch(self, step: Step) -> tuple[Any, float]:
        """See `Executor`."""
        seconds = self._seconds(step) if callable(self._seconds) else self._seconds
        return self._executor.launch(step), seconds

    def collect(self, ticket: tuple[Any, float]) -> Result:
        """See `Executor`."""
        return replace(self._executor.collect(ticket[0]), seconds=ticket[1])


def _on_clock(executor: Executor | None, longest: int, seconds: float | Callable[[Step], float] | None) -> Executor:
    if executor is None:
        return NullExecutor(context_limit=longest, seconds=seconds)
    return executor if seconds is None else OnClock(executor, seconds)


def _mover(reader: object, writer: object) -> Callable[[Copies], None] | None:
    """Copies blocks of the reader's KV cache into the host memory from which the writer takes them."""
    if not (isinstance(reader, ModelExecutor) and isinstance(writer, ModelExecutor)):
        return None
    source, target = reader.cache, writer.cache

    def move(pairs: Copies) -> None:
        source.host = target.host
        source.swap(pairs, ())

    return move


def _meta(
    loaded: LoadedModel | None,
    engine: Engine,
    config: EngineConfig,
    workload: Workload,
    seconds: float | Callable[[Step], float] | None,
) -> TraceMeta:
    if loaded is not None:
        return lane_meta(loaded, engine, config, workload, "lane" if seconds is None else "virtual")
    setting = VirtualSetup(config.slots, config.block_size, config.blocks, None, config.lag, config.kv)
    return virtual_meta(engine, workload, setting)
