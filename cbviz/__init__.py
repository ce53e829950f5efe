"""A real continuous-batching engine that you can watch think, beside a static-batching run of the same work.

    import cbviz
    cbviz.race()

The names below are the public face. Each is loaded when it is first used, so that `import cbviz` costs nothing and a
machine without Jupyter can use everything but the board.
"""

# ruff: noqa: F401 (the first imports are for type checkers and editors; `_HOME` is what runs)
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbviz.board import Board
    from cbviz.engine import Engine
    from cbviz.errors import CbvizError
    from cbviz.experiments.bench import bench
    from cbviz.experiments.play import Play, play
    from cbviz.experiments.race import Race, race
    from cbviz.experiments.schedule import schedule
    from cbviz.experiments.why import why
    from cbviz.policies import Admit, Continuous, Plan, Policy, RequestView, Static, View
    from cbviz.trace import Iteration, State, Trace, load, recorded
    from cbviz.workload import Request, Sampling, Workload

__version__ = "0.1.0"

_HOME = {
    "race": "cbviz.experiments.race",
    "Race": "cbviz.experiments.race",
    "bench": "cbviz.experiments.bench",
    "schedule": "cbviz.experiments.schedule",
    "why": "cbviz.experiments.why",
    "play": "cbviz.experiments.play",
    "Play": "cbviz.experiments.play",
    "Board": "cbviz.board",
    "Engine": "cbviz.engine",
    "Policy": "cbviz.policies",
    "Static": "cbviz.policies",
    "Continuous": "cbviz.policies",
    "Plan": "cbviz.policies",
    "Admit": "cbviz.policies",
    "View": "cbviz.policies",
    "RequestView": "cbviz.policies",
    "Request": "cbviz.workload",
    "Sampling": "cbviz.workload",
    "Workload": "cbviz.workload",
    "Trace": "cbviz.trace",
    "Iteration": "cbviz.trace",
    "State": "cbviz.trace",
    "load": "cbviz.trace",
    "recorded": "cbviz.trace",
    "CbvizError": "cbviz.errors",
}
"""Where each public name lives. A test holds it against the imports above."""

_ROOMS = (
    "board",
    "course",
    "engine",
    "errors",
    "experiments",
    "measure",
    "memory",
    "models",
    "policies",
    "trace",
    "workload",
)

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _ROOMS:
        value = import_module(f"cbviz.{name}")
    else:
        raise AttributeError(f"cbviz has no {name!r}; it has {', '.join(sorted(_HOME))}.")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_ROOMS])
