"""Fairness between clients: a virtual token counter for each, and the client that was served least goes first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from cbviz.messages import Message
from cbviz.policies.base import Plan, RequestView, View
from cbviz.policies.parameters import not_negative
from cbviz.policies.plan import Admit
from cbviz.reason import Reason


def client_of(request: RequestView) -> str:
    """The client; requests without one are together one client, the empty text."""
    return request.client or ""


@dataclass(slots=True)
class Counters:
    """The counters of all clients, kept up to date by what views show. Seeing a view twice changes nothing."""

    served: dict[str, float] = field(default_factory=dict)
    """Client → weighted tokens that it was served, or was lifted by."""
    charged: dict[int, float] = field(default_factory=dict)
    """Request → what its client was charged for it so far."""
    waited: frozenset[int] = frozenset()
    """The requests that waited in the last view."""
    last: str = ""
    """The client whose request left the queue last."""

    def see(self, view: View, input_weight: float, output_weight: float) -> None:
        """Charge what was served since the last view, then lift the clients that join the queue."""
        if view.iteration == 0:  # a run begins, perhaps after another one
            self.served, self.charged, self.waited, self.last = {}, {}, frozenset(), ""
        charged: dict[int, float] = {}
        for request in _admitted(view):
            cost = input_weight * request.prompt_tokens + output_weight * request.generated
            more = cost - self.charged.get(request.id, 0)
            client = client_of(request)
            self.served[client] = self.served.get(client, 0) + more
            charged[request.id] = cost
        self.charged = charged
        queued = {client_of(request) for request in view.waiting if request.id in self.waited}
        for request in view.waiting:
            if (client := client_of(request)) not in queued:
                self._lift(client, queued)
                queued.add(client)
        self.waited = frozenset(request.id for request in view.waiting)

    def _lift(self, client: str, queued: set[str]) -> None:
        least = min(map(self.served.__getitem__, queued)) if queued else self.served.get(self.last, 0)
        self.served[client] = max(self.served.get(client, 0), least)


def _admitted(view: View) -> Iterator[RequestView]:
    """Every request that was admitted once: in a slot, or back in the queue."""
    yield from view.running
    yield from view.finished
    yield from (request for request in view.waiting if request.admitted is not None)


@dataclass(frozen=True, slots=True)
class VTC:
    """Refill every free slot with a request of the client that has been served the fewest tokens so far.

    Virtual token counter (Sheng et al., *Fairness in Serving Large Language Models*, OSDI'24, algorithm 2). Each client
    has a counter: `input_weight` for every prompt token, charged when the request is admitted, and `output_weight` for
    every token that it generates. Of the clients with a request in the queue the one with the smallest counter goes
    next, with the earliest of its requests; selection stops at the first that does not fit. So a client that floods the
    queue delays itself: while two clients have requests in the queue, what they were served differs by at most a
    constant, however many requests each has sent. A slot is never left empty to be fair.

    A client that joins the queue is *lifted*: to the smallest counter of those in the queue, or, if the queue was
    empty, to the counter of the client that left it last. Otherwise idle time could be saved up, and a client that
    returns would keep the others out until it had caught up. The repository of the paper lifts only in the first case.

    Which client a request belongs to is `Request.client`; those without one together are one client. If there is just
    one client, this is `continuous`: requests reserve memory in full, and none is ever preempted.

    The counters are the state of one run, and a run begins with iteration 0.

    Parameters
    ----------
    input_weight, output_weight
        What a prompt token and a generated token count: 1 and 2 as in the paper's evaluation, because a generated
        token costs more.

    Raises
    ------
    PolicyError
        A weight is not a finite number of at least 0.

    Examples
    --------
    Client a sends four requests and then b sends one; with one slot, b waits for one of them and not for four:

    >>> import cbviz
    >>> from cbviz.policies import VTC
    >>> requests = [
    ...     cbviz.Request(id=i, prompt=[1], max_new_tokens=2, output_length=2, client=client)
    ...     for i, client in enumerate("aaaab")
    ... ]
    >>> cbviz.schedule(VTC(), cbviz.Workload("two clients", requests), slots=1).requests.admitted.tolist()
    [0, 4, 6, 8, 2]
    """

    input_weight: float = 1
    output_weight: float = 2
    name: str = "vtc"
    summary: str = Message("policy.vtc.summary")
    counters: Counters = field(default_factory=Counters, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        not_negative(self, "input_weight")
        not_negative(self, "output_weight")

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        self.counters.see(view, self.input_weight, self.output_weight)
        if not view.free_slots:
            return Plan()
        served = dict(self.counters.served)  # a plan charges nothing: the next view shows what came of it
        queues: dict[str, deque[RequestView]] = {}
        for request in view.waiting:
            queues.setdefault(client_of(request), deque()).append(request)
        admit: list[Admit] = []
        put_off: dict[int, str] = {}
        blocks = view.free_blocks
        while queues and len(admit) < view.free_slots:
            client = min(queues, key=lambda one: (served[one], queues[one][0].arrival, queues[one][0].id))
            request = queues[client][0]
            needed = view.blocks_taken(request, request.most)
            if needed > blocks:
                put_off[request.id] = Reason("lacks_blocks", needed=needed, free=blocks)
                break
            blocks -= needed
            choice = client and len(queues) > 1
            reason = Reason("least_served", client=client, tokens=round(served[client])) if choice else ""
            admit.append(Admit(request.id, reason=reason))
            self.counters.last = client
            if request.admitted is None:
                served[client] += self.input_weight * request.prompt_tokens
            queues[client].popleft()
            if not queues[client]:
                del queues[client]
        return Plan(admit=admit, put_off=put_off)
