"""A real continuous-batching engine that you can watch think, beside a static-batching run of the same work.

    import cbviz
    cbviz.race()

The names below are the public API. Each is imported on first use, so that `import cbviz` costs nothing and a machine
without Jupyter can use everything but the board.
"""

from __future__ import annotations

import sys

if sys.argv[:1] == ["-m"]:  # what Python puts there until it has found a module to run
    from cbviz import _early  # a page's Python has no such file

    if _early.is_command():
        _early.guard()

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cbviz import _moved
from cbviz._version import __version__

if TYPE_CHECKING:  # for type checkers and editors, which need `as` to see a name handed on; `_HOME` is what runs
    from cbviz.core import Engine as Engine
    from cbviz.errors import CbvizError as CbvizError
    from cbviz.events import Iteration as Iteration
    from cbviz.events import State as State
    from cbviz.policies import Admit as Admit
    from cbviz.policies import Continuous as Continuous
    from cbviz.policies import Plan as Plan
    from cbviz.policies import Policy as Policy
    from cbviz.policies import RequestView as RequestView
    from cbviz.policies import Static as Static
    from cbviz.policies import View as View
    from cbviz.reason import Reason as Reason
    from cbviz.run.bench import bench as bench
    from cbviz.run.calibrate import calibrate as calibrate
    from cbviz.run.doctor import doctor as doctor
    from cbviz.run.forecast import forecast as forecast
    from cbviz.run.play import Play as Play
    from cbviz.run.play import play as play
    from cbviz.run.race import Race as Race
    from cbviz.run.race import race as race
    from cbviz.run.schedule import schedule as schedule
    from cbviz.run.simulate import simulate as simulate
    from cbviz.run.sweep import sweep as sweep
    from cbviz.run.why import why as why
    from cbviz.trace import Trace as Trace
    from cbviz.trace import load as load
    from cbviz.trace.recordings import recorded as recorded
    from cbviz.view import Board as Board
    from cbviz.workload import Request as Request
    from cbviz.workload import Sampling as Sampling
    from cbviz.workload import Workload as Workload

_HOME = {
    "race": "cbviz.run.race",
    "Race": "cbviz.run.race",
    "bench": "cbviz.run.bench",
    "schedule": "cbviz.run.schedule",
    "simulate": "cbviz.run.simulate",
    "forecast": "cbviz.run.forecast",
    "calibrate": "cbviz.run.calibrate",
    "why": "cbviz.run.why",
    "doctor": "cbviz.run.doctor",
    "sweep": "cbviz.run.sweep",
    "play": "cbviz.run.play",
    "Play": "cbviz.run.play",
    "Board": "cbviz.view",
    "Engine": "cbviz.core",
    "Policy": "cbviz.policies",
    "Static": "cbviz.policies",
    "Continuous": "cbviz.policies",
    "Plan": "cbviz.policies",
    "Admit": "cbviz.policies",
    "View": "cbviz.policies",
    "RequestView": "cbviz.policies",
    "Reason": "cbviz.reason",
    "Request": "cbviz.workload",
    "Sampling": "cbviz.workload",
    "Workload": "cbviz.workload",
    "Trace": "cbviz.trace",
    "Iteration": "cbviz.events",
    "State": "cbviz.events",
    "load": "cbviz.trace",
    "recorded": "cbviz.trace.recordings",
    "CbvizError": "cbviz.errors",
}
"""The module of each public name. A test compares it with the imports above."""

_ROOMS = (
    "adapters",
    "core",
    "course",
    "cuda",
    "eager",
    "errors",
    "events",
    "measure",
    "models",
    "policies",
    "run",
    "simulator",
    "trace",
    "view",
    "workload",
)
_OLD_ROOMS = ("board", "engine", "experiments", "memory")

__all__ = [*_HOME, "__version__"]

_moved.install()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in (*_ROOMS, *_OLD_ROOMS):
        value = import_module(f"cbviz.{name}")
    else:
        raise AttributeError(f"cbviz has no {name!r}; it has {', '.join(sorted(_HOME))}.")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_ROOMS})
