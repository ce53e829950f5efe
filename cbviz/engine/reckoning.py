"""What a checked plan means for those who sit in slots: who is computed, how many tokens each takes, does it fit?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cbviz.engine.slots import Slots
from cbviz.policies.plain import CheckedPlan
from cbviz.trace.events import BoolArray, IntArray


def held(slots: Slots, plan: CheckedPlan) -> BoolArray:
    """bool [slots]: finished requests that the plan keeps in their slots."""
    if plan.hold_all or not plan.hold:
        return slots.ended & plan.hold_all
    return slots.ended & np.isin(slots.request, list(plan.hold))


def writes_at(slots: Slots, context_limit: int) -> IntArray:
    """int32 [slots]: the position that each slot computes next.

    A held row goes on to the end of its own blocks, for it never takes one that somebody could use, or to the end of
    the context, and is computed in place there.
    """
    room = np.minimum(slots.capacity, context_limit)
    return np.where(slots.ended, np.minimum(slots.computed, room - 1), slots.computed)


def counts(slots: Slots, plan: CheckedPlan, in_vain: BoolArray) -> IntArray:
    """int32 [slots]: tokens that each takes in under this plan, of those who sit there at this moment.

    `in_vain` are the finished ones that are computed.
    """
    count: IntArray = np.where(slots.ended, in_vain, slots.known - slots.computed)
    named = {**plan.chunk, **dict.fromkeys((*plan.preempt, *plan.pause), 0)}
    if named:
        slot_of = {int(request): slot for slot, request in enumerate(slots.request)}
        for request, tokens in named.items():
            if request in slot_of:
                count[slot_of[request]] = tokens
    return count


def shortage(
    slots: Slots, plan: CheckedPlan, count: IntArray, newcomers: Callable[[], list[tuple[list[int], int]]]
) -> tuple[int, int] | None:
    """(blocks needed, blocks free) if the requests outgrow the pool under this plan, else None. Held ones never grow.

    `newcomers` gives, for everybody who is admitted, the blocks that the prefix cache has for it and how many it is to
    have in all. Without a prefix cache the plan was checked for them, and they only matter where others grow as well.
    """
    pool = slots.pool
    lacking = slots.computed + count - slots.capacity
    lacking[slots.ended] = 0
    needed = int((-(-np.maximum(lacking, 0) // pool.block_size)).sum()) if (lacking > 0).any() else 0
    if not needed and (pool.prefix is None or not plan.admit):
        return None
    let_go = slots.request[slots.ended & ~held(slots, plan)].tolist()
    freed = pool.freed_by([*let_go, *plan.preempt])
    free = pool.free + len(freed)
    kept: set[int] = set()
    for found, blocks in newcomers():
        needed += blocks - len(found)
        kept |= {block for block in found if not pool.users(block) or block in freed}
    free -= len(kept)
    return (needed, free) if needed > free else None
