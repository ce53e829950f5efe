"""What runs engines to find something out: race, playground, bench, schedule, why.

Several functions have a module of the same name. `from cbviz.run import race` gives the function, whatever was imported
before; the module is `cbviz.run.race` to an import statement: `from cbviz.run.race import race, Race`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cbviz.models import quiet_imports as quiet_imports  # before anything imports transformers

if TYPE_CHECKING:  # for type checkers and editors; `_HOME` is what runs
    from cbviz.run.bench import bench as bench
    from cbviz.run.calibrate import calibrate as calibrate
    from cbviz.run.calibrate_times import calibrate_times as calibrate_times
    from cbviz.run.decompose import decompose as decompose
    from cbviz.run.decompose_file import recorded_decomposition as recorded_decomposition
    from cbviz.run.disaggregate import disaggregate as disaggregate
    from cbviz.run.doctor import doctor as doctor
    from cbviz.run.forecast import forecast as forecast
    from cbviz.run.play import play as play
    from cbviz.run.race import race as race
    from cbviz.run.replicas import replicate as replicate
    from cbviz.run.schedule import schedule as schedule
    from cbviz.run.simulate import simulate as simulate
    from cbviz.run.sweep import sweep as sweep
    from cbviz.run.sweep_work import simulated as simulated
    from cbviz.run.under_load import figures as figures
    from cbviz.run.why import why as why

_HOME = {
    "bench": "bench",
    "calibrate": "calibrate",
    "calibrate_times": "calibrate_times",
    "decompose": "decompose",
    "disaggregate": "disaggregate",
    "doctor": "doctor",
    "figures": "under_load",
    "forecast": "forecast",
    "play": "play",
    "race": "race",
    "recorded_decomposition": "decompose_file",
    "replicate": "replicas",
    "schedule": "schedule",
    "simulate": "simulate",
    "simulated": "sweep_work",
    "sweep": "sweep",
    "why": "why",
}
"""The module of each public function of this room: those of docs/api.md, which a test compares."""

__all__ = [*_HOME, "quiet_imports"]


class _Room(ModuleType):
    """This package. Its functions are imported on first use, and go before modules of the same name."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"cbviz.run has no {name!r}; it has {', '.join(_HOME)}.")
        return getattr(import_module(f"cbviz.run.{_HOME[name]}"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Python stores a module under its name in the package when it is imported; the function takes that place."""
        named_alike = isinstance(value, ModuleType) and _HOME.get(name) == name
        super().__setattr__(name, getattr(value, name) if named_alike else value)


sys.modules[__name__].__class__ = _Room
