"""The one loop and its bookkeeping: slots, request states, KV blocks. Pure Python, no torch.

Read in this order: `loop`, `executor` (what computes for it), `request_state`, `slots`, `scheduler_state` (applies a
plan), `flight` (from the plan to a step, from its tokens to an `Iteration`), `views` (what a policy sees),
`block_pool`, `interrupts`; then what is not part of every iteration: `engine` (sets a loop up), `intake`,
`prefix_cache`, `prefix_reuse`, `swap`, `recovery`, `stuck`.
"""

from cbviz.core.engine import Engine
from cbviz.core.executor import Executor, Result, Seat, Step
from cbviz.core.null_executor import NullExecutor

__all__ = ["Engine", "Executor", "NullExecutor", "Result", "Seat", "Step"]
