"""The one loop, and what computes for it."""

from cbviz.engine.engine import Engine
from cbviz.engine.executor import Executor, Result, Seat, Step
from cbviz.engine.null import NullExecutor
from cbviz.models import hush as hush  # before anything imports transformers

__all__ = ["Engine", "Executor", "NullExecutor", "Result", "Seat", "Step"]
