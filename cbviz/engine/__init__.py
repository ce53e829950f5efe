"""The one loop, and what computes for it."""

from cbviz.engine.engine import Engine
from cbviz.engine.executor import Executor, Result, Seat, Step
from cbviz.engine.null import NullExecutor

__all__ = ["Engine", "Executor", "NullExecutor", "Result", "Seat", "Step"]
