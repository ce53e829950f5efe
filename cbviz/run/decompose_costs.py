"""Forecasts of a decomposition: the simulator's seconds for every step, with what kernels add to an iteration.

A calibration is of one engine, so it knows one kind of kernels. What the others add to an iteration is taken from
measurements on an H100 and an H200 (`benchmarks/results/ladder_*.json`): it is launching and small kernels, so it grows
with the layers and hardly with the rows. Such costs are derived, not fitted, and every forecast made from them says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cbviz.errors import CalibrationError
from cbviz.run.decompose_measure import StepResult
from cbviz.run.decompose_plan import KERNELS, Benchmark, DecomposeStep, setup_of
from cbviz.run.forecast import forecast, uninterrupted
from cbviz.simulator.cost import CostModel

LADDER_ROWS, LADDER_LAYERS = 32, 32
"""Rows and layers of the step that was measured: Llama-3.1-8B's shape."""
LADDER_SECONDS = {
    "H100": {"eager": 31.105e-3, "graphs": 9.718e-3, "fused": 6.770e-3},
    "H200": {"eager": 31.226e-3, "graphs": 8.178e-3, "fused": 5.126e-3},
}
"""Of one decode step at a context of 400: launched kernel by kernel, as one CUDA graph, and compiled and fused."""
REACHED = 0.869
"""Share of the roofline that the fused engine reached with OPT-13B's shape (`opt13b_16_h100.json`)."""
A100 = "a100-40gb-opt-13b"
A100_ROOFLINE = 0.018331
"""Seconds in which an A100-40GB reads OPT-13B's weights, at the bandwidth that its calibration assumes."""
LAYERS = {"opt-13b": 40, "llama-3.1-8b": 32, "smollm2-135m": 30}


@dataclass(frozen=True, slots=True)
class KernelCosts:
    """A cost model for each kind of kernels.

    Attributes
    ----------
    costs
        By name of `KERNELS`; a kind that cannot be forecast is missing.
    derived
        Those that were computed from others instead of fitted.
    """

    costs: dict[str, CostModel]
    derived: tuple[str, ...]


def kernel_costs(cost: CostModel) -> KernelCosts:
    """What an iteration costs with each kind of kernels, from one calibration.

    Parameters
    ----------
    cost
        A calibration. Those that ship with CUDA graphs are of fused kernels; the A100's is of eager ones, of 2023. Of
        any other, nothing is known but itself, and it counts as eager.

    Returns
    -------
    KernelCosts
        At least one kind.

    Examples
    --------
    >>> from cbviz.simulator import load_cost
    >>> found = kernel_costs(load_cost("a100-40gb-opt-13b"))
    >>> [f"{name} {cost.iteration * 1e3:.1f} ms" for name, cost in found.costs.items()]
    ['eager 28.0 ms', 'graphs 24.8 ms', 'fused 21.1 ms']
    """
    origin = cost.origin
    whole_derived = origin is not None and origin.method == "derived"
    if cost.name == A100:
        layers, fused = LAYERS["opt-13b"], A100_ROOFLINE / REACHED
        added = {"eager": cost.iteration, "graphs": fused + _added("graphs", layers, "H100"), "fused": fused}
        return _made(cost, added, tuple(KERNELS))
    model = "" if origin is None else origin.model.removeprefix("random:")
    if origin is None or model not in LAYERS or "NVIDIA" not in origin.device:
        return KernelCosts({"eager": cost}, ("eager",) if whole_derived else ())
    card = next((card for card in LADDER_SECONDS if card in origin.device), "H100")
    added = {name: cost.iteration + _added(name, LAYERS[model], card) for name in KERNELS}
    return _made(cost, added, tuple(KERNELS) if whole_derived else ("eager", "graphs"))


def _added(kernels: str, layers: int, card: str) -> float:
    """Seconds that kernels add to an iteration of fused ones, on a card whose ladder was measured."""
    measured = LADDER_SECONDS[card]
    return (measured[kernels] - measured["fused"]) * layers / LADDER_LAYERS


def _made(cost: CostModel, iteration: dict[str, float], derived: tuple[str, ...]) -> KernelCosts:
    return KernelCosts({name: replace(cost, iteration=seconds) for name, seconds in iteration.items()}, derived)


def simulated(step: DecomposeStep, benchmark: Benchmark, costs: KernelCosts) -> StepResult:
    """The simulator's seconds for one step.

    Parameters
    ----------
    step
        Which.
    benchmark
        The work.
    costs
        Of each kind of kernels.

    Returns
    -------
    StepResult
        With method "simulated", without spread.

    Raises
    ------
    CalibrationError
        There is no cost for its kernels or its attention.
    """
    if step.kernels not in costs.costs or step.attention != "fused":
        known = ", ".join(costs.costs)
        raise CalibrationError(
            f"the step {step.key} cannot be forecast: the calibration knows the kernels {known}, with fused attention."
        )
    setup = setup_of(step.scheme, benchmark)
    found = uninterrupted(
        forecast(
            benchmark.columns(setup.declared),
            setup.policy,
            cost=costs.costs[step.kernels],
            slots=setup.slots,
            block_size=benchmark.block_size,
            kv_blocks=setup.blocks,
            context_limit=benchmark.prompt + benchmark.cap,
        )
    )
    return StepResult(step.key, found.seconds, found.seconds, found.seconds, found.iterations, "simulated")
