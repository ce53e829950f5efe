"""vLLM on our board: a plugin that writes one line an iteration, and the reader that makes a `Trace` of the lines.

Set `CBVIZ_VLLM_LINES=run.jsonl`, start vLLM with cbviz installed beside it, and `read("run.jsonl")`. The name of a pipe
works as well, and `follow` yields iterations
while they come, `watch` draws them. `CBVIZ_VLLM_POLICY=module:Class` and
`--scheduler-cls cbviz.adapters.vllm.scheduler.PolicyScheduler` let a cbviz policy order its admissions.
"""

from cbviz.adapters.vllm.known import KNOWN_VLLM
from cbviz.adapters.vllm.lines import follow, read
from cbviz.adapters.vllm.live import watch

__all__ = ["KNOWN_VLLM", "follow", "read", "watch"]
