"""Attention backends: causal attention of ragged rows over a paged cache."""

from cbviz.engine.attention.base import AttentionBackend, RaggedBatch
from cbviz.engine.attention.sdpa import SdpaAttention

__all__ = ["AttentionBackend", "RaggedBatch", "SdpaAttention"]
