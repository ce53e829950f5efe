"""What the writing and the reading side of the vLLM adapter share: versions, environment variables, the format."""

from __future__ import annotations

from cbviz.adapters.versions import KnownRange

KNOWN_VLLM = KnownRange("vllm", (0, 11), (0, 33))
"""The V1 engine; read in the packages of 0.26 and 0.33, whose scheduler has the same contact points since 0.11."""
LINES_VARIABLE = "CBVIZ_VLLM_LINES"
"""Environment variable: the file or pipe to write to. Without it the plugin does nothing."""
POLICY_VARIABLE = "CBVIZ_VLLM_POLICY"
"""Environment variable: the policy that `PolicyScheduler` asks, a name of cbviz's own or `module:Class`."""
LINE_FORMAT = 1
"""Of the lines."""
