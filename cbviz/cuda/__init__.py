"""The fast executor: whole iterations as CUDA graphs. README.md says in which order to read it."""

from cbviz.models import quiet_imports as quiet_imports  # before anything imports transformers
