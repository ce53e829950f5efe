"""Why a request still waits in a playground: the reason of the plan that has just been made."""

from __future__ import annotations

from cbviz.events import Iteration
from cbviz.run.rerun import Decision
from cbviz.run.switchable_policy import SwitchablePolicy
from cbviz.run.why import of_the_queue


def why_it_waits(steered: SwitchablePolicy, event: Iteration | None, request: int) -> str:
    """The reason for which the last plan of a lane did not admit a request, as `cbviz.why` gives it.

    Parameters
    ----------
    steered
        The lane's policy.
    event
        The lane's last iteration; None before the first.
    request
        Its id.

    Returns
    -------
    str
        A message, or text as a policy wrote it; "" if the request does not wait in this lane.
    """
    made = steered.made
    if made is None or event is None or made[0].iteration != event.index:
        return ""
    view, checked = made
    decision = Decision(view, checked.plan(), checked, steered.policy, event)
    for place, seen in enumerate(view.waiting, 1):
        if seen.id == request:
            admitted = any(entry.request == request for entry in checked.admit)
            return "" if admitted else of_the_queue(decision, seen, place).reason
    return ""
