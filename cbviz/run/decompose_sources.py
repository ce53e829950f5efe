"""What runs the steps of a decomposition: the simulator, or the engine on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from cbviz._version import __version__
from cbviz.config import EngineConfig
from cbviz.cuda.reasons import why_no_graphs
from cbviz.errors import CapacityError
from cbviz.messages import Message
from cbviz.models import LoadedModel
from cbviz.models.device import device_name
from cbviz.run.build import ModelOrGraphs
from cbviz.run.capacity import choose_kv_blocks
from cbviz.run.decompose_costs import KernelCosts, simulated
from cbviz.run.decompose_measure import StepResult, attention_of, measured
from cbviz.run.decompose_plan import KERNELS, QUADRANTS, Benchmark, DecomposeStep, Setup, benchmark_of, setup_of
from cbviz.run.how import check_compiler, choose_backend, how_it_runs
from cbviz.run.lane_meta import versions
from cbviz.run.progress import Progress
from cbviz.run.timed_run import Setting
from cbviz.simulator.cost import CostModel


@dataclass
class Simulated:
    """Steps on the virtual clock.

    Attributes
    ----------
    costs, cost
        Of each kind of kernels, and the calibration that they were made from.
    work
        The benchmark.
    """

    costs: KernelCosts
    cost: CostModel
    work: Benchmark

    def allowed(
        self, names: tuple[str, ...], *, asked: bool, quadrants: bool
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names that can be forecast, and what must be said."""
        notes: list[str] = []
        missing = [name for name in names if name in KERNELS and name not in self.costs.costs]
        if missing and (asked or quadrants):
            simulated(DecomposeStep("paged", missing[0]), benchmark_of("small"), self.costs)  # raises and says why
        if missing:
            notes.append(Message("decompose.one_kind", cost=self.cost.name))
        if self.costs.derived:
            listed = ", ".join(self.costs.derived)
            notes.append(Message("decompose.derived", kernels=listed))
        return tuple(name for name in names if name not in missing), tuple(notes)

    def quadrants(self) -> tuple[DecomposeStep, ...]:
        """Of scheduler and kernels; attention is not simulated."""
        return tuple(DecomposeStep(*pair) for pair in QUADRANTS)

    def origin(self) -> tuple[str, str, str, str]:
        """Model, device and dtype of the calibration, and its name."""
        origin = self.cost.origin
        if origin is None:
            return "", "", "", self.cost.name
        return origin.model, origin.device, origin.dtype, self.cost.name

    def versions(self) -> dict[str, str]:
        """Of what computed."""
        return {"cbviz": __version__}

    def prepare(self, steps: Sequence[DecomposeStep]) -> None:
        """Nothing is loaded."""

    def run(self, step: DecomposeStep, _: bool, bars: Progress) -> StepResult:
        """One step."""
        bars.start(step.key, 1)
        result = simulated(step, self.work, self.costs)
        bars.advance(step.key)
        return result

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Measured:
    """Steps on the device; all that share kernels share an executor, as large as the largest of them needs.

    Attributes
    ----------
    loaded
        The model.
    work
        The benchmark.
    """

    loaded: LoadedModel
    work: Benchmark
    _needed: dict[str, list[Setup]] = field(default_factory=dict)
    _executors: dict[str, ModelOrGraphs] = field(default_factory=dict)

    def allowed(
        self, names: tuple[str, ...], *, asked: bool, quadrants: bool
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names that this device can run, and what must be said."""
        notes: list[str] = [*how_it_runs(self.loaded)]
        on_cpu = self.loaded.device.type == "cpu"
        reason = why_no_graphs(self.loaded.model)
        wanted = [name for name in KERNELS if name in names and name != "eager"]
        if quadrants:
            names, wanted = (*names, *(() if "fused" in names else ("fused",))), ["fused"]
        if wanted and not asked and not quadrants and (on_cpu or reason is not None):
            names = tuple(name for name in names if name not in wanted)
            notes.append(Message("decompose.cpu_kernels") if on_cpu else Message("decompose.no_graphs", why=reason))
        schemes = [name for name in names if name not in KERNELS]
        try:
            for scheme in schemes:
                self._blocks(setup_of(scheme, self.work))
        except CapacityError:
            if asked or "paged_double" not in names or len(schemes) == 1:
                raise
            self._blocks(setup_of("paged", self.work))  # raises if not even the shared memory fits
            names = tuple(name for name in names if name != "paged_double")
            notes.append(Message("decompose.no_double"))
        return names, tuple(notes)

    def quadrants(self) -> tuple[DecomposeStep, ...]:
        """Of scheduler and kernels, and the first with naive attention."""
        return (*(DecomposeStep(*pair) for pair in QUADRANTS), DecomposeStep("batch_longest", "eager", "naive"))

    def origin(self) -> tuple[str, str, str, str]:
        """Model, device and dtype."""
        precision = str(self.loaded.dtype).removeprefix("torch.")
        return self.loaded.name, device_name(self.loaded.device), precision, ""

    def versions(self) -> dict[str, str]:
        """Of what computed."""
        return versions()

    def prepare(self, steps: Sequence[DecomposeStep]) -> None:
        """Remember what each kind of kernels must hold. Raises ModelError for kernels that cannot run here."""
        kinds = {step.kernels for step in steps}
        if kinds - {"eager"}:
            choose_backend(self.loaded, "graphs")
        if "fused" in kinds:
            check_compiler(self.loaded.device)
        for step in steps:
            self._needed.setdefault(step.kernels, []).append(setup_of(step.scheme, self.work))

    def run(self, step: DecomposeStep, both_ways: bool, bars: Progress) -> StepResult:
        """One step."""
        setup = setup_of(step.scheme, self.work)
        executor = self._executor(step.kernels, bars)
        setting = self._setting(step.kernels, setup)
        reported = 0
        bars.start(step.key, self.work.requests)

        def advance(done: int) -> None:
            nonlocal reported
            if done > reported:
                bars.advance(step.key, done - reported)
                reported = done

        with attention_of(step.attention):
            return measured(
                step.key, setting, executor, self.work, setup, both_ways=both_ways, advance=advance
            )  # fmt: skip

    def close(self) -> None:
        """Give the KV caches back: compiled code may outlive an executor, and they must not."""
        for executor in self._executors.values():
            _empty(executor)
        self._executors.clear()

    def _executor(self, kernels: str, bars: Progress) -> ModelOrGraphs:
        if kernels not in self._executors:
            self.close()  # one cache at a time
            sizes = self._needed[kernels]
            largest = max(sizes, key=lambda setup: setup.blocks)
            most = replace(largest, slots=max(setup.slots for setup in sizes))
            self._executors[kernels] = self._setting(kernels, most).executor(bars)
        return self._executors[kernels]

    def _setting(self, kernels: str, setup: Setup) -> Setting:
        graphs = kernels != "eager"
        config = EngineConfig(
            setup.slots,
            self._blocks(setup) if kernels not in self._executors else setup.blocks,
            self.work.block_size,
            lag=int(graphs and self.loaded.device.type == "cuda"),
            backend="graphs" if graphs else "sdpa",
            compiled=kernels == "fused",
            context_limit=self.work.prompt + self.work.cap,
        )
        return Setting(self.loaded, setup.policy, self.work.workload(self.loaded.vocabulary, setup.declared), config)

    def _blocks(self, setup: Setup) -> int:
        """The blocks of a setup. Raises CapacityError if they do not fit, or the model's context is too short."""
        work = self.work.workload(self.loaded.vocabulary)
        size = self.work.block_size
        return choose_kv_blocks(self.loaded, work, slots=setup.slots, block_size=size, kv_blocks=setup.blocks)


def _empty(executor: ModelOrGraphs) -> None:
    executor.cache.keys.clear()
    executor.cache.values.clear()
    executor.cache.host = None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
