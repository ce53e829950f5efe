"""The KV block pool and its prefix cache. Pure Python."""

from cbviz.memory.pool import BlockPool
from cbviz.memory.prefix import ROOT, PrefixIndex, chained

__all__ = ["ROOT", "BlockPool", "PrefixIndex", "chained"]
