"""Serving in virtual seconds: the engine's own loop, with a cost model in place of a model."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike

from cbviz.checks import shown
from cbviz.config import KVOptions, Preemption
from cbviz.errors import WorkloadError
from cbviz.messages import Message
from cbviz.policies import Policy, fresh, get
from cbviz.run.virtual import VirtualSetup, check_clients, served, virtual_engine
from cbviz.simulator.cost import CostModel, Extent
from cbviz.simulator.cost_file import load_cost
from cbviz.simulator.step_cost import StepCost
from cbviz.simulator.work import Work, check_forced
from cbviz.trace import Recorder, Trace
from cbviz.workload import Workload

BEYOND = {
    "decodes": "simulate.beyond.decodes",
    "kv_tokens": "simulate.beyond.kv_tokens",
    "prefill_tokens": "simulate.beyond.prefill_tokens",
    "context": "simulate.beyond.context",
}
"""The warning about each part of an `Extent`."""


def simulate(
    workload: Workload | Work,
    policy: str | Policy = "continuous",
    *,
    cost: CostModel | str | PathLike[str],
    slots: int = 8,
    block_size: int = 16,
    kv_blocks: int | None = None,
    context_limit: int | None = None,
    lag: int = 0,
    prefix_cache: bool = False,
    preemption: Preemption = "recompute",
    swap_blocks: int | None = None,
    clients: int | None = None,
) -> Trace:
    """Serve a workload of forced lengths on a virtual clock, iteration by iteration.

    The schedule is that of a real run with the same policy, memory, lag and lengths, event for event, as long as
    arrivals do not depend on real time. `cbviz.forecast` gives the times of every request without the events, and is
    hundreds of times faster.

    Parameters
    ----------
    workload
        What to serve. Every request must have an `output_length`, because no model generates END.
    policy
        A name, or a policy object. The simulation uses a copy.
    cost
        Seconds of an iteration: a `CostModel`, the name of a calibration that ships (`cbviz.simulator.shipped()`), or
        the path of a file that `cbviz calibrate` wrote.
    slots, block_size, kv_blocks
        As for a race; by default every slot can hold the longest request.
    context_limit
        Most positions of a request (what `Orca("maximum")` reserves); None means what the longest request needs.
    lag
        0, or 1 to plan one iteration ahead of the tokens.
    prefix_cache, preemption, swap_blocks
        Options for KV memory (see `cbviz.config.KVOptions`).
    clients
        A closed loop: so many clients, each of which sends the next request when its last one has ended. None is an
        open loop, in which requests arrive when the workload says.

    Returns
    -------
    Trace
        With clock "virtual". `meta.extra` has the name of the cost model under "cost", and "warnings": what limits the
        worth of the times, such as iterations larger than those that the cost model was fitted on. An interrupt ends
        the simulation, and what was served until then is returned, with a warning.

    Raises
    ------
    WorkloadError
        A request has no forced length.
    CalibrationError
        The cost model cannot be read.
    CbvizError
        The engine refuses a request or the plan of the policy.

    Examples
    --------
    >>> import cbviz
    >>> requests = [cbviz.Request(id=i, prompt=[1] * 50, max_new_tokens=9, output_length=9) for i in range(4)]
    >>> trace = cbviz.simulate(cbviz.Workload("four", requests), cost="h100-llama-3.1-8b", slots=2)
    >>> trace.meta.device, len(trace.iterations), trace.seconds > 0.1
    ('NVIDIA H100 80GB HBM3', 18, True)
    """
    chosen, costs = fresh(get(policy)), load_cost(cost)
    work = workload.workload() if isinstance(workload, Work) else workload
    if not isinstance(work, Workload):
        raise WorkloadError(f"workload must be a Workload or Work, not {shown(workload)}.")
    check_forced(work)
    kv, loop = KVOptions(prefix_cache, preemption, swap_blocks), check_clients(clients, work)
    setting = VirtualSetup(slots, block_size, kv_blocks, context_limit, lag, kv, loop)
    clock = StepCost(costs)
    engine, meta = virtual_engine(chosen, work, setting, clock, facts_of(costs))
    recorder, stopped = Recorder(meta), False
    try:
        for event in served(engine, work, loop, lambda request: recorder.add_requests([request])):
            recorder.add(event)
    except KeyboardInterrupt:
        stopped = True
    trace = recorder.trace()
    if warnings := warnings_of(costs, clock.reached, stopped=stopped, swaps=preemption == "swap"):
        trace = replace(trace, meta=replace(trace.meta, extra={**trace.meta.extra, "warnings": list(warnings)}))
    return trace


def facts_of(cost: CostModel) -> dict[str, str]:
    """What a trace's metadata say of a cost model."""
    facts = {"cost": cost.name}
    if cost.origin is not None:
        facts |= {"device": cost.origin.device, "model": cost.origin.model, "dtype": cost.origin.dtype}
    return facts


def warnings_of(cost: CostModel, reached: Extent, *, stopped: bool = False, swaps: bool = False) -> tuple[str, ...]:
    """What limits the worth of simulated times, a sentence each."""
    found = [
        Message(
            BEYOND[name],
            cost=cost.name,
            reached=f"{getattr(reached, name):,}",
            most=f"{getattr(cost.origin.extent, name):,}",
        )
        for name in cost.beyond(reached)
        if cost.origin is not None and cost.origin.extent is not None
    ]
    if cost.origin is not None and cost.origin.method == "derived":
        found.append(Message("simulate.derived", cost=cost.name))
    if swaps:
        found.append(Message("simulate.copies_free"))
    if stopped:
        found.append(Message("simulate.stopped"))
    return tuple(found)
