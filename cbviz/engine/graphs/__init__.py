"""The fast executor: whole iterations as CUDA graphs."""

from cbviz.engine.graphs.executor import GraphExecutor
from cbviz.engine.graphs.reasons import why_no_graphs

__all__ = ["GraphExecutor", "why_no_graphs"]
