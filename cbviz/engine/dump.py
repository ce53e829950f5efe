"""Who sits where and who waits, as text: what one wants to see when nothing moves any more."""

from __future__ import annotations

from cbviz.policies.base import RequestView, View

MOST = 20
"""Requests that are listed of each kind."""


def dump(view: View) -> str:
    """What a policy sees, a line a request, the first ones of each kind."""
    taken = view.total_blocks - view.free_blocks
    lines = [
        f"iteration {view.iteration}, clock {view.clock:g}: {view.slots} slots, {view.free_slots} free; "
        f"{view.total_blocks} KV blocks of {view.block_size}, {taken} taken"
    ]
    for name, requests in (("running", view.running), ("finished", view.finished), ("waiting", view.waiting)):
        lines.append(f"{name}: {len(requests)}")
        lines += [f"  {_line(request)}" for request in requests[:MOST]]
        if len(requests) > MOST:
            lines.append(f"  and {len(requests) - MOST} more")
    return "\n".join(lines)


def _line(request: RequestView) -> str:
    where = "" if request.slot is None else f" in slot {request.slot}"
    return (
        f"request {request.id}{where}: {request.computed} of {request.known} tokens computed, "
        f"{request.generated} of at most {request.max_new_tokens} given, {request.blocks} KV blocks, "
        f"{request.preemptions} preemptions"
    )
