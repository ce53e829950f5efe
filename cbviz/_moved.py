"""The old names of modules that have moved: each still imports, with a warning, until version 0.3.

`import cbviz.engine.attention_hook` gives the very module `cbviz.eager.attention_hook`. The finder below comes last in
`sys.meta_path`, so that it is asked only for a name that nothing else finds, and costs nothing otherwise.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = {
    "board.cell": "view.cell",
    "board.controls": "view.controls",
    "board.js_source": "view.js_source",
    "board.language": "view.language",
    "board.look": "view.look",
    "board.pack": "view.pack",
    "board.picture": "view.picture",
    "board.player": "view.player",
    "board.raster": "view.raster",
    "board.recorded": "view.recorded",
    "board.summary": "view.summary",
    "board.terminal": "view.terminal",
    "board.widget": "view.widget",
    "engine.attention.base": "eager.attention",
    "engine.attention.kernels": "cuda.kernels",
    "engine.attention.ragged": "cuda.varlen",
    "engine.attention.sdpa": "eager.sdpa",
    "engine.attention.triton_decode": "cuda.triton_decode",
    "engine.attention.triton_rotary": "cuda.triton_prompt",
    "engine.attention.triton_store": "cuda.triton_prompt",
    "engine.attention_hook": "eager.attention_hook",
    "engine.device_memory": "eager.out_of_memory",
    "engine.dump": "core.stuck",
    "engine.engine": "core.engine",
    "engine.executor": "core.executor",
    "engine.generation_config": "eager.generation_config",
    "engine.graphs.attend": "cuda.attend",
    "engine.graphs.backends": "cuda.compiled",
    "engine.graphs.compiled": "cuda.compiled",
    "engine.graphs.executor": "cuda.graph_executor",
    "engine.graphs.forward": "cuda.static_forward",
    "engine.graphs.history": "cuda.history",
    "engine.graphs.layout": "cuda.layout",
    "engine.graphs.outbox": "cuda.layout",
    "engine.graphs.reasons": "cuda.reasons",
    "engine.graphs.rotary": "cuda.fused_rotary",
    "engine.graphs.sdpa": "cuda.static_sdpa",
    "engine.graphs.siblings": "cuda.fused_projections",
    "engine.graphs.triton": "cuda.static_triton",
    "engine.interrupts": "core.interrupts",
    "engine.kv_cache": "eager.kv_cache",
    "engine.live": "core.request_state",
    "engine.logit_rules": "eager.logit_rules",
    "engine.model_executor": "eager.eager_executor",
    "engine.null": "core.null_executor",
    "engine.outputs": "core.slots",
    "engine.prefix_reuse": "core.prefix_reuse",
    "engine.process_settings": "eager.forward",
    "engine.ragged_forward": "eager.forward",
    "engine.reckoning": "core.scheduler_state",
    "engine.sampling": "eager.sampling",
    "engine.seating": "core.scheduler_state",
    "engine.sight": "core.views",
    "engine.slots": "core.slots",
    "engine.swap": "core.swap",
    "engine.thinking": "core.interrupts",
    "engine.views": "core.views",
    "experiments.alone": "run.timed_run",
    "experiments.answers": "run.answers",
    "experiments.bench": "run.bench",
    "experiments.bench_work": "run.bench_work",
    "experiments.breakdown": "run.breakdown",
    "experiments.capacity": "run.capacity",
    "experiments.endless": "run.request_stream",
    "experiments.how": "run.how",
    "experiments.lane": "run.lane",
    "experiments.live": "run.live",
    "experiments.notebook": "run.notebook",
    "experiments.outlook": "run.outlook",
    "experiments.peer_process": "run.baseline_process",
    "experiments.peers": "run.baselines",
    "experiments.play": "run.play",
    "experiments.progress": "run.progress",
    "experiments.race": "run.race",
    "experiments.rates": "run.rates",
    "experiments.reference": "run.reference",
    "experiments.rerun": "run.rerun",
    "experiments.schedule": "run.schedule",
    "experiments.steered": "run.switchable_policy",
    "experiments.transport": "run.run_control",
    "experiments.why": "run.why",
    "experiments.workloads": "run.model_workload",
    "measure.bars": "view.bars",
    "measure.chart": "view.chart",
    "measure.charts": "view.charts",
    "measure.floor": "measure.roofline_bound",
    "measure.svg": "view.svg",
    "memory.options": "config",
    "memory.pool": "core.block_pool",
    "memory.prefix": "core.prefix_cache",
    "models.hush": "models.quiet_imports",
    "models.pieces": "models.detokenizer",
    "trace.allotment": "trace.fragmentation",
    "trace.events": "events",
}
"""Old module → where it is now, both without the leading `cbviz.`"""

PACKAGES = {
    "board": ("view",),
    "engine": ("core",),
    "engine.attention": ("eager.attention", "eager.sdpa"),
    "engine.graphs": ("cuda.graph_executor", "cuda.reasons"),
    "experiments": ("run",),
    "memory": ("config", "core.block_pool", "core.prefix_cache"),
}
"""Old package → the modules that now define the names it had."""

NAMES = {
    "measure.Bars": "view.bars",
    "measure.Chart": "view.chart",
    "measure.kv_over_time": "view.charts",
    "measure.latency_cdf": "view.charts",
    "measure.occupancy_over_time": "view.charts",
    "measure.roofline": "view.charts",
    "measure.throughput_by_variance": "view.charts",
}
"""Old public name in a room that still exists → the module that defines it now."""

RENAMED = {
    "eager.attention_hook._HARMLESS": "models.probe.HARMLESS",
    "eager.attention.RaggedBatch": "eager.attention.VarlenBatch",
    "events.NOBODY": "events.NO_REQUEST",
    "trace.NOBODY": "events.NO_REQUEST",
    "view.Finish": "view.summary.Outcome",
}
"""Old public name → module and name that it has now."""


def renamed(old: str, new: str, depth: int = 3) -> None:
    """Warn, at the caller's line, that a name has moved."""
    warnings.warn(f"cbviz.{old} is now cbviz.{new}; the old name goes in version 0.3.", FutureWarning, stacklevel=depth)


def moved_name(room: str, name: str) -> Any:
    """A public name that `cbviz.<room>`, a package or a module, has no longer, with a warning.

    Raises
    ------
    AttributeError
        The room never had that name.
    """
    old = f"{room}.{name}"
    if old not in NAMES and old not in RENAMED:
        raise AttributeError(f"module 'cbviz.{room}' has no attribute {name!r}")
    now = f"{NAMES[old]}.{name}" if old in NAMES else RENAMED[old]
    renamed(old, now, depth=4)
    home, _, name = now.rpartition(".")
    return getattr(import_module(f"cbviz.{home}"), name)


class _OldPackage(ModuleType):
    """A package that is no more: finds its former names in the modules that define them now."""

    def __getattr__(self, name: str) -> Any:
        for home in () if name.startswith("__") else PACKAGES[self.__name__.removeprefix("cbviz.")]:
            module = import_module(f"cbviz.{home}")
            if hasattr(module, name):
                renamed(f"{self.__name__.removeprefix('cbviz.')}.{name}", f"{home}.{name}")
                return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _Moved:
    """Finds the modules of `MODULES` and `PACKAGES` under their old names, and loads them.

    A finder and a loader by their methods: importing `importlib.abc` to say so would take longer than all of cbviz.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        room, _, old = fullname.partition(".")
        if room != "cbviz" or (old not in MODULES and old not in PACKAGES):
            return None
        return ModuleSpec(fullname, self, is_package=old in PACKAGES)  # type: ignore[arg-type]  # see the class

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _OldPackage(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__.removeprefix("cbviz.")
        if old in MODULES:
            renamed(old, MODULES[old])
            sys.modules[module.__name__] = import_module(f"cbviz.{MODULES[old]}")


def install() -> None:
    """Make the old names importable."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
