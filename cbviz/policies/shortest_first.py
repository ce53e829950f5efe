"""Shortest first: the smallest prediction goes before the others, and for less the longer they have waited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cbviz.checks import is_whole, number, one_of, shown
from cbviz.errors import PolicyError
from cbviz.messages import Message
from cbviz.policies.base import Admit, Plan, RequestView, View
from cbviz.reason import Reason

PREDICTIONS = ("declared", "estimate", "oracle")


@dataclass(frozen=True, slots=True)
class ShortestFirst:
    """Refill every free slot with the request that has the fewest output tokens left, as far as that can be predicted.

    Shortest job first minimises the mean wait of jobs whose lengths are known (Smith, *Various optimizers for
    single-stage production*, 1956). No scheduler of an LLM knows them: Fu et al. (*Efficient LLM Scheduling by Learning
    to Rank*, NeurIPS'24) predict their order, and promote requests that have starved. Here a prediction of n tokens
    counts as n · max(0, 1 - wait / slo). A request that has waited as long as the SLO allows counts as having nothing
    left; among those the oldest goes first.

    A request in a slot keeps it, and memory is reserved in full, as under `continuous`: only the order of the queue is
    different. Selection stops at the first request that does not fit.

    Parameters
    ----------
    predict
        What the order goes by. "declared": max_new_tokens, which every scheduler knows, and which may say little.
        "estimate": the lengths that a predictor gave. "oracle": the true lengths. An oracle cannot be built.
    lengths
        Request id → output tokens, for an estimate or an oracle. **Passing the true lengths is cheating**; it serves to
        measure how much a prediction could be worth. A request that an estimate does not name counts as declared.
    slo
        The longest wait that is acceptable, in the unit of arrivals (seconds, or iterations); above 0. None lets long
        requests wait for as long as shorter ones come.

    Raises
    ------
    PolicyError
        The prediction is unknown, lengths are missing, superfluous or no whole numbers of at least 1, or the SLO is not
        a finite number above 0; or, while planning, an oracle does not know a request.

    Examples
    --------
    Requests of 9, 1 and 5 tokens on one slot, without and with an SLO of 4 iterations:

    >>> import cbviz
    >>> from cbviz.policies import ShortestFirst
    >>> lengths = [9, 1, 5, 3, 3]
    >>> requests = [
    ...     cbviz.Request(id=i, prompt=[1], max_new_tokens=n, output_length=n, arrival=max(0, i - 2))
    ...     for i, n in enumerate(lengths)
    ... ]
    >>> work = cbviz.Workload("by hand", requests, arrival_unit="iterations")
    >>> [cbviz.schedule(ShortestFirst(slo=slo), work, slots=1).requests.admitted.tolist() for slo in (None, 4)]
    [[12, 0, 7, 1, 4], [4, 0, 13, 1, 18]]
    """

    predict: Literal["declared", "estimate", "oracle"] = "declared"
    lengths: Mapping[int, int] | None = None
    slo: float | None = None

    def __post_init__(self) -> None:
        one_of("shortest_first: predict", self.predict, PREDICTIONS, error=PolicyError)
        if self.slo is not None:
            number("shortest_first: slo", self.slo, error=PolicyError)
        if self.lengths is None:
            if self.predict != "declared":
                raise PolicyError(f"shortest_first: {self.predict} needs lengths; pass lengths={{request id: tokens}}.")
            return
        if self.predict == "declared":
            raise PolicyError('shortest_first: "declared" uses no lengths; pass them to "estimate" or "oracle".')
        if not isinstance(self.lengths, Mapping):
            raise PolicyError(f"shortest_first: lengths must map request ids to tokens, not be {shown(self.lengths)}.")
        for request, tokens in self.lengths.items():
            if not is_whole(tokens) or tokens < 1:
                raise PolicyError(
                    f"shortest_first: the length of request {shown(request)} must be a whole number of at least 1, not "
                    f"{shown(tokens)}."
                )

    @property
    def cheats(self) -> bool:
        """Whether it was given the true lengths, which a scheduler cannot know."""
        return self.predict == "oracle"

    @property
    def name(self) -> str:
        """See `Policy.name`."""
        return "shortest_first" if self.predict == "declared" else f"shortest_first_{self._kind}"

    @property
    def summary(self) -> str:
        """See `Policy.summary`."""
        return Message(f"policy.shortest_first.{self._kind}")

    @property
    def _kind(self) -> str:
        return f"{self.predict}{'_cheating' * self.cheats}"

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        if not view.free_slots:
            return Plan()
        admit: list[Admit] = []
        put_off: dict[int, str] = {}
        blocks = view.free_blocks
        for request in sorted(view.waiting, key=lambda r: (self._score(r, view.clock), r.arrival, r.id)):
            if len(admit) == view.free_slots:
                break
            needed = view.blocks_taken(request, request.most)
            if needed > blocks:
                put_off[request.id] = Reason("lacks_blocks", needed=needed, free=blocks)
                break
            blocks -= needed
            overdue = self.slo is not None and view.clock - request.arrival >= self.slo
            reason = Reason("overdue") if overdue else Reason("fewest_left", tokens=self._left(request))
            admit.append(Admit(request.id, reason=reason))
        return Plan(admit=admit, put_off=put_off)

    def _score(self, request: RequestView, clock: float) -> float:
        discount = 1.0 if self.slo is None else max(0.0, 1 - (clock - request.arrival) / self.slo)
        return self._left(request) * discount

    def _left(self, request: RequestView) -> int:
        """Output tokens that it is predicted to have left; at least 1."""
        lengths = self.lengths or {}
        if self.predict == "oracle" and request.id not in lengths:
            raise PolicyError(
                f"shortest_first has no length for request {request.id}; an oracle's lengths must name every request."
            )
        return max(1, lengths.get(request.id, request.max_new_tokens) - request.generated)
