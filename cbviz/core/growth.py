"""Whether the pool has the blocks that a plan makes requests grow by."""

from __future__ import annotations

import numpy as np

from cbviz.core.scheduler_state import SchedulerState
from cbviz.errors import PolicyError
from cbviz.events import IntArray
from cbviz.policies.base import Policy
from cbviz.policies.identity import name_of
from cbviz.policies.plan import CheckedPlan


def check_growth(state: SchedulerState, plan: CheckedPlan, count: IntArray, policy: Policy, iteration: int) -> None:
    """Check that the pool has the blocks for `count` tokens a slot (int32 [slots]), and for those that are admitted.

    Held requests never grow. Without a prefix cache the plan was checked for the requests that it admits, and they only
    matter where others grow as well.

    Raises
    ------
    PolicyError
        The requests outgrow the pool under this plan.
    """
    slots, pool, reuse = state.slots, state.slots.pool, state.reuse
    lacking = slots.computed + count - slots.capacity
    lacking[slots.ended] = 0
    needed = int((-(-np.maximum(lacking, 0) // pool.block_size)).sum())
    let_go = slots.request[slots.ended & ~state.held(plan)].tolist()
    freed = pool.freed_by([*let_go, *plan.preempt])
    kept: set[int] = set()
    for entry in plan.admit:
        live = state.requests[entry.request]
        found = reuse.found(live) if reuse is not None else []
        needed += pool.blocks_for(live.positions if entry.reserve is None else entry.reserve) - len(found)
        kept |= {block for block in found if not pool.users(block) or block in freed}
    free = pool.free + len(freed) - len(kept)
    if needed > free:
        raise PolicyError(
            f"policy {name_of(policy)!r}, iteration {iteration}: the running requests need {needed} more KV blocks and "
            f"{free} are free; preempt or pause until {needed - free} more are."
        )
