"""The KV block pool. Pure Python."""

from cbviz.memory.pool import BlockPool

__all__ = ["BlockPool"]
