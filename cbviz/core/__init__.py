"""The one loop and its bookkeeping: slots, request states, KV blocks. Pure Python, no torch.

Read in this order: `loop`, `executor` (what computes for it), `request_state`, `slots`, `scheduler_state` (what a plan
means, and how outputs end), `blocks`, `views` (what a policy sees), `interrupts`; then what is not part of every
iteration: `engine` (sets a loop up), `intake`, `block_pool`, `growth`, `prefix_cache`, `prefix_reuse`, `swap`,
`recovery`, `stuck`, `watcher`, `read_only`; and what a run may have besides: `receiving`, `speculation` with `ngram`.
"""

from cbviz.core.engine import Engine
from cbviz.core.executor import Executor, Result, Seat, Step
from cbviz.core.null_executor import NullExecutor

__all__ = ["Engine", "Executor", "NullExecutor", "Result", "Seat", "Step"]
