"""The fast executor: whole iterations as CUDA graphs."""

from cbviz.engine.graphs.executor import GraphExecutor

__all__ = ["GraphExecutor"]
