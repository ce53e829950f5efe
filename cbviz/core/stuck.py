"""The errors for a policy that gets nowhere, with the slots and the queue as text: what one needs to see then."""

from __future__ import annotations

from cbviz.checks import counted
from cbviz.errors import PolicyError
from cbviz.policies.base import Policy, RequestView, View
from cbviz.policies.identity import name_of

MOST_LISTED = 20
"""Requests of each kind that are listed."""


COMPUTES_NOTHING = (
    " at iteration {iteration}: {waiting} {requests} and none is computed; it must admit or resume a request"
)
ONLY_WAITS = (
    ": {times} times in a row no request advanced and it waited, while {waiting} {requests}; it must admit or "
    "resume a request"
)
NEVER_ADVANCES = ": for {times} iterations up to {last} no request advanced, while {waiting} {requests}"


def stuck(policy: Policy, view: View, how: str, **facts: int) -> PolicyError:
    """The error; `how` is one of the above with its facts. What the policy sees is noted on it."""
    requests = "request waits" if facts["waiting"] == 1 else "requests wait"
    error = PolicyError(f"policy {name_of(policy)!r} is stuck{how.format(requests=requests, **facts)}.")
    error.add_note(dump(view))
    return error


def broken_off(policy: Policy, iteration: int, seconds: float) -> PolicyError:
    """The error for a plan that took too long."""
    return PolicyError(
        f"policy {name_of(policy)!r} was still planning iteration {iteration} after {seconds:.0f} s and was broken "
        "off; a plan takes milliseconds: look for a loop that never ends."
    )


def dump(view: View) -> str:
    """What a policy sees, a line a request, the first ones of each kind."""
    taken = view.total_blocks - view.free_blocks
    lines = [
        f"iteration {view.iteration}, clock {view.clock:g}: {counted(view.slots, 'slot')}, {view.free_slots} free; "
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
