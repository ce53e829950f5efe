"""A schedule without a model: which request holds which slot and KV blocks when all output lengths are known.

Counts (iterations, occupancy, KV blocks, preemptions, order of completion) equal those of a real run with the same
lengths. Times are virtual: an iteration takes as long as the caller says.
"""

from __future__ import annotations

from collections.abc import Callable

from cbviz.checks import shown
from cbviz.config import KVOptions, Preemption
from cbviz.core.executor import Step
from cbviz.errors import WorkloadError
from cbviz.policies import Policy, fresh, get
from cbviz.run.virtual import VirtualSetup, clock_of, virtual_engine
from cbviz.simulator.work import check_forced
from cbviz.trace import Recorder, Trace
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
        A name, or a policy object. The schedule uses a copy.
    workload
        What to serve. Every request must have an `output_length`, because no model generates END.
    slots, block_size, kv_blocks
        As for a race; by default every slot can hold the longest request.
    context_limit
        Most positions of a request (what `Orca("maximum")` reserves); None means what the longest request needs.
    seconds
        How long an iteration takes on the virtual clock: a number of seconds, or a function of the step.
    lag
        0, or 1 to plan one iteration ahead of the tokens.
    prefix_cache, preemption, swap_blocks
        Options for KV memory (see `cbviz.core.KVOptions`).

    Returns
    -------
    Trace
        The complete schedule, with clock "virtual".

    Raises
    ------
    WorkloadError
        A request has no forced length.
    CbvizError
        The engine refuses a request or the plan of the policy.

    Examples
    --------
    Four requests of 2, 5, 1 and 3 tokens on two slots. Static batching waits for the longest of each pair;
    continuous batching refills a slot as soon as it is free:

    >>> from cbviz.workload import Request
    >>> lengths = (2, 5, 1, 3)
    >>> requests = tuple(Request(i, (7, 7), n, output_length=n) for i, n in enumerate(lengths))
    >>> work = Workload("four requests", requests)
    >>> len(schedule("static", work, slots=2).iterations)
    8
    >>> len(schedule("continuous", work, slots=2).iterations)
    6
    """
    chosen = fresh(get(policy))
    if not isinstance(workload, Workload):
        raise WorkloadError(f"workload must be a Workload, not {shown(workload)}.")
    check_forced(workload)
    setting = VirtualSetup(
        slots, block_size, kv_blocks, context_limit, lag, KVOptions(prefix_cache, preemption, swap_blocks)
    )
    engine, meta = virtual_engine(chosen, workload, setting, clock_of(seconds))
    recorder = Recorder(meta, workload)
    for event in engine.run(workload):
        recorder.add(event)
    return recorder.trace()
