"""The model, run eagerly on any device: KV cache, attention, sampling."""

from cbviz.models import quiet_imports as quiet_imports  # before anything imports transformers
