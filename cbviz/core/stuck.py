"""The error for a policy that gets nowhere, with the slots and the queue as text: what one needs to see then."""

from __future__ import annotations

from cbviz.errors import PolicyError
from cbviz.policies.base import Policy, RequestView, View
from cbviz.policies.identity import name_of

MOST_LISTED = 20
"""Requests of each kind that are listed."""


def stuck(policy: Policy, how: str, view: View) -> PolicyError:
    """The error; what the policy sees is noted on it."""
    error = PolicyError(f"policy {name_of(policy)!r} is stuck{how}.")
    error.add_note(dump(view))
    return error


def dump(view: View) -> str:
    """What a policy sees, a line a request, the first ones of each kind."""
    taken = view.total_blocks - view.free_blocks
    lines = [
        f"iteration {view.iteration}, clock {view.clock:g}: {view.slots} slots, {view.free_slots} free; "
        f"{view.total_blocks} KV blocks of {view.block_size}, {taken} taken"
    ]
    for name, requests in (("running", view.running), ("finished", view.finished), ("waiting", view.waiting)):
        lines.append(f"{name}: {len(requests)}")
        lines += [f"  {_line(request)}" for request in requests[:MOST_LISTED]]
        if len(requests) > MOST_LISTED:
            lines.append(f"  and {len(requests) - MOST_LISTED} more")
    return "\n".join(lines)


def _line(request: RequestView) -> str:
    place = "" if request.slot is None else f" in slot {request.slot}"
    return (
        f"request {request.id}{place}: {request.computed} of {request.known} tokens computed, "
        f"{request.generated} of at most {request.max_new_tokens} given, {request.blocks} KV blocks, "
        f"{request.preemptions} preemptions"
    )
