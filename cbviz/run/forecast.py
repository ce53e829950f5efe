"""Times of every request of a workload under a policy, as fast as they can be computed."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from time import perf_counter

from cbviz.config import NO_OPTIONS, EngineConfig, KVOptions, Preemption
from cbviz.policies import Policy, fresh, get, identity
from cbviz.run.progress import Progress, progress_of
from cbviz.run.simulate import facts_of, warnings_of
from cbviz.run.tally import Tally
from cbviz.run.under_load import little_of
from cbviz.run.virtual import VirtualSetup, blocks_of, check_clients, limit_of, served, virtual_engine
from cbviz.simulator.asking import AskingLoop, GaveUpError
from cbviz.simulator.cost import CostModel
from cbviz.simulator.cost_file import load_cost
from cbviz.simulator.fast import Memory, can_skip, plain_work, skipping_forecast
from cbviz.simulator.forecast import Forecast
from cbviz.simulator.step_cost import StepCost
from cbviz.simulator.work import Work
from cbviz.workload import Workload


def forecast(
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
    progress: Progress | None = None,
) -> Forecast:
    """Times of every request, without the iterations between them.

    Between two admissions or ends nothing changes but contexts, so the built-in policies static, continuous, orca,
    vllm_v1 and sarathi are served from event to event, with the same times to a billionth. Any other policy is asked
    before every iteration, in a loop without arrays where no KV memory is shared or swapped; `Forecast.how` says which.

    Parameters
    ----------
    workload, policy, cost, slots, block_size, kv_blocks, context_limit
        As for `cbviz.simulate`. A `Work` needs no prompts: a million requests of it take 40 MB.
    lag, prefix_cache, preemption, swap_blocks, clients
        As for `cbviz.simulate`.
    progress
        Where to report requests as they complete.

    Returns
    -------
    Forecast
        Times, totals, and warnings. An interrupt ends the simulation, and what was known until then is returned.

    Raises
    ------
    MeasureError
        The times break Little's law, which every run is checked against.
    CbvizError
        As `cbviz.simulate`.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.simulator import Work
    >>> from cbviz.workload import ExponentialClipped, Poisson
    >>> work = Work.draw(1_000, ExponentialClipped(mean=100, cap=400), Poisson(20), prompt_tokens=200)
    >>> found = cbviz.forecast(work, "continuous", cost="h100-llama-3.1-8b", slots=32)
    >>> len(found), found.how != "loop", bool(found.ttft.max() < 10)
    (1000, True, True)
    """
    chosen, costs, work = fresh(get(policy)), load_cost(cost), Work.of(workload)
    bars = progress_of(progress)
    kv, loop = KVOptions(prefix_cache, preemption, swap_blocks), check_clients(clients, work)
    setting = VirtualSetup(slots, block_size, kv_blocks, context_limit, lag, kv, loop)
    began = perf_counter()
    try:
        found = _without_events(work, chosen, costs, setting, bars)
        if found is None:
            found = _looped(workload, work, chosen, costs, setting, bars)
    finally:
        bars.close()
    little_of(found)
    return replace(found, wall_seconds=perf_counter() - began - found.compile_seconds)


def uninterrupted(found: Forecast) -> Forecast:
    """The forecast itself. Raises KeyboardInterrupt if an interrupt cut it short: a part stands for no whole."""
    if found.stopped:
        raise KeyboardInterrupt
    return found


def _without_events(
    work: Work, policy: Policy, cost: CostModel, setup: VirtualSetup, bars: Progress
) -> Forecast | None:
    """From event to event, or in the plain loop; None where the engine's loop is needed."""
    if setup.kv != NO_OPTIONS:
        return None
    blocks = blocks_of(work, setup)
    limit = limit_of(work, setup)
    config = EngineConfig(setup.slots, blocks, setup.block_size, lag=setup.lag, context_limit=limit)
    positions = min(limit, config.blocks * config.block_size)
    memory = Memory(config.slots, config.blocks, config.block_size, positions)
    title, reported = identity(policy)[0], 0
    bars.start(title, len(work))

    def completed(done: int) -> None:
        nonlocal reported
        bars.advance(title, done - reported)
        reported = done

    if can_skip(policy, work, memory):
        served = skipping_forecast(policy, work, cost, memory, config.lag, clients=setup.clients, completed=completed)
        if served is None:
            return None
        found, stopped = served
    elif plain_work(work, memory):
        loop = AskingLoop(fresh(policy), work, cost, memory, config.lag, setup.clients)
        try:
            stopped = not loop.run(completed)
        except GaveUpError:
            return None
        found = loop.forecast()
    else:
        return None
    return replace(found, warnings=warnings_of(cost, found.reached, stopped=stopped), stopped=stopped)


def _looped(
    given: Workload | Work, work: Work, policy: Policy, cost: CostModel, setting: VirtualSetup, bars: Progress
) -> Forecast:
    """Ask the policy before every iteration."""
    workload = given if isinstance(given, Workload) else work.workload()
    clock, tally, title = StepCost(cost), Tally(work), identity(policy)[0]
    engine, _ = virtual_engine(policy, workload, setting, clock, facts_of(cost))
    bars.start(title, len(work))
    stopped = False
    try:
        for event in served(engine, workload, setting.clients, tally.arrives):
            tally.add(event)
            if event.finished:
                bars.advance(title, len(event.finished))
    except KeyboardInterrupt:
        stopped = True
    found = tally.forecast(title, setting.slots, cost.name, clock.reached)
    warnings = warnings_of(cost, clock.reached, stopped=stopped, swaps=setting.kv.preemption == "swap")
    return replace(found, warnings=warnings, stopped=stopped)
