"""A schedule without a model: who sits where, and how the KV blocks are used, when every output's length is known.

Counts (iterations, occupancy, KV blocks, preemptions, order of completion) are those of a real run with the same
lengths. Times are not: an iteration takes what it is said to take, and the clock is called virtual.
"""

from __future__ import annotations

from collections.abc import Callable

import cbviz
from cbviz.checks import shown
from cbviz.engine import Engine, NullExecutor
from cbviz.engine.executor import Step
from cbviz.errors import WorkloadError
from cbviz.experiments.lane import kv_blocks_for, policy_parameters
from cbviz.memory import BlockPool, KVOptions, Preemption
from cbviz.policies import Policy, fresh, get, identity
from cbviz.trace import Recorder, Trace, TraceMeta
from cbviz.workload import Workload


def schedule(
    policy: str | Policy,
    workload: Workload,
    *,
    slots: int = 8,
    block_size: int = 16,
    kv_blocks: int | None = None,
    context_limit: int | None = None,
    seconds: float | Callable[[Step], float] = 1.0,
    lag: int = 0,
    prefix_cache: bool = False,
    preemption: Preemption = "recompute",
    swap_blocks: int | None = None,
) -> Trace:
    """Serve a workload of forced lengths on an executor that computes nothing.

    Parameters
    ----------
    policy
        A name, or a policy object. It is copied; the object itself is never asked.
    workload
        What to serve. Every request must have an `output_length`: nobody is there to say END.
    slots, block_size, kv_blocks
        As for a race; by default every slot can hold the longest request.
    context_limit
        The most positions of a request (what `Orca("maximum")` reserves); None takes what the longest request needs.
    seconds
        How long an iteration takes on the virtual clock: a number, or a function of the step.
    lag
        0, or 1 to plan one iteration ahead of the tokens.
    prefix_cache, preemption, swap_blocks
        What is done about KV memory (see `cbviz.memory.KVOptions`).

    Raises
    ------
    WorkloadError
        A request without a forced length.
    CbvizError
        Whatever the engine refuses.
    """
    chosen = fresh(get(policy))
    name, summary = identity(chosen)
    if not isinstance(workload, Workload):
        raise WorkloadError(f"workload must be a Workload, not {shown(workload)}.")
    open_ended = [request.id for request in workload if request.output_length is None]
    if open_ended:
        raise WorkloadError(
            f"request {open_ended[0]} has no output_length; a schedule without a model needs all of them."
        )
    blocks = kv_blocks_for(workload, slots, block_size) if kv_blocks is None else kv_blocks
    longest = max(len(request.prompt) + request.max_new_tokens for request in workload)
    limit = longest if context_limit is None else context_limit
    executor = NullExecutor(context_limit=limit, seconds=seconds)
    kv, unit = KVOptions(prefix_cache, preemption, swap_blocks), workload.arrival_unit
    engine = Engine(
        executor,
        chosen,
        slots=slots,
        pool=BlockPool(blocks, block_size, prefix_cache=kv.prefix_cache),
        lag=lag,
        arrival_unit=unit,
        preemption=kv.preemption,
        swap_blocks=kv.swap_blocks,
    )
    meta = TraceMeta(
        policy=name,
        policy_summary=summary,
        slots=slots,
        block_size=block_size,
        total_blocks=blocks,
        block_bytes=engine.block_bytes,
        workload=workload.name,
        seed=workload.seed,
        arrival_unit=unit,
        clock="virtual",
        lag=lag,
        versions={"cbviz": cbviz.__version__},
        extra=policy_parameters(chosen) | {"context_limit": limit} | kv.chosen(),
    )
    recorder = Recorder(meta, workload)
    for event in engine.run(workload):
        recorder.add(event)
    return recorder.trace()
