"""The KV block pool and its prefix cache. Pure Python."""

from cbviz.memory.options import KVOptions, Preemption
from cbviz.memory.pool import BlockPool
from cbviz.memory.prefix import ROOT, PrefixIndex, chained

__all__ = ["ROOT", "BlockPool", "KVOptions", "Preemption", "PrefixIndex", "chained"]
