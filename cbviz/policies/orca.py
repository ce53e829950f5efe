"""Orca: iteration-level scheduling that reserves the memory of a request before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cbviz.checks import is_whole, one_of, shown
from cbviz.errors import PolicyError
from cbviz.messages import Message
from cbviz.policies.base import Admit, Plan, RequestView, View
from cbviz.reason import Reason

SCHEMES = ("declared", "power_of_two", "maximum", "oracle")


@dataclass(frozen=True, slots=True)
class Orca:
    """Select requests in order of arrival before every iteration, up to the maximum batch (the slots).

    Orca, OSDI'22, §3.1 and algorithm 1: a request that runs for the first time reserves KV memory for all that it may
    ever need; selection stops at the first that does not fit; memory is released when the request ends. No request is
    ever preempted, because the reservation rules out a deadlock. Prefills and decodes share an iteration. An earlier
    arrival has always run at least as many iterations as a later one.

    Parameters
    ----------
    reserve
        How much a request reserves. "declared": prompt + max_new_tokens, as in Orca's paper. The others follow the
        three Orcas of the PagedAttention paper (SOSP'23, §6.1): "maximum" reserves the whole context whatever the
        request declares; "power_of_two" rounds the output up to the next power of two, as a buddy allocator would;
        "oracle" reserves prompt + the true output length. An oracle cannot be built: no scheduler knows that length.
    lengths
        Request id → its true output tokens. **Passing it is cheating**; it serves to measure the cost of not knowing.
        "oracle" needs it. With it, "power_of_two" rounds up the true length (the paper's Orca (Pow2) reserves at most
        twice the true output); without it, it rounds up max_new_tokens and does not cheat.

    Raises
    ------
    PolicyError
        The scheme is unknown, an oracle has no lengths, or a length is not a whole number of at least 1; or, while
        planning, a request has no length, or outgrows it.
    """

    reserve: Literal["declared", "power_of_two", "maximum", "oracle"] = "declared"
    lengths: Mapping[int, int] | None = None

    def __post_init__(self) -> None:
        one_of("orca: reserve", self.reserve, SCHEMES, error=PolicyError)
        if self.lengths is None:
            if self.reserve == "oracle":
                raise PolicyError("orca: an oracle needs the true lengths; pass lengths={request id: tokens}.")
            return
        if self.reserve in ("declared", "maximum"):
            raise PolicyError(f"orca: reserve={self.reserve!r} uses no lengths; pass them to oracle or power_of_two.")
        if not isinstance(self.lengths, Mapping):
            raise PolicyError(f"orca: lengths must map request ids to tokens, not be {type(self.lengths).__name__}.")
        for request, tokens in self.lengths.items():
            if not is_whole(tokens) or tokens < 1:
                whose = f"the length of request {shown(request)}"
                raise PolicyError(f"orca: {whose} must be a whole number of at least 1, not {shown(tokens)}.")

    @property
    def cheats(self) -> bool:
        """Whether it was given lengths, which a scheduler cannot know."""
        return self.lengths is not None

    @property
    def name(self) -> str:
        """See `Policy.name`."""
        return "orca" if self.reserve == "declared" else f"orca_{self.reserve}{'_cheating' * self.cheats}"

    @property
    def summary(self) -> str:
        """See `Policy.summary`."""
        return Message(f"policy.orca.{self.reserve}{'_cheating' * self.cheats}")

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        if self.lengths is not None:
            self._check_lengths(view)
        admit: list[Admit] = []
        put_off: dict[int, str] = {}
        blocks = view.free_blocks
        if not view.free_slots:
            return Plan()
        for request in view.waiting:
            positions = min(self._reservation(request, view), view.context_limit)
            needed = view.blocks_taken(request, positions)
            if len(admit) == view.free_slots:
                break
            if needed > blocks:
                put_off[request.id] = Reason("lacks_blocks_reserved", needed=needed, free=blocks)
                break
            blocks -= needed
            admit.append(Admit(request.id, reserve=positions))
        return Plan(admit=admit, put_off=put_off)

    def _reservation(self, request: RequestView, view: View) -> int:
        if self.reserve == "maximum":
            return view.context_limit
        output = request.max_new_tokens if self.lengths is None else self._length(request)
        if self.reserve == "power_of_two":
            output = 1 << (output - 1).bit_length()
        return request.prompt_tokens + output

    def _length(self, request: RequestView) -> int:
        if self.lengths is None or request.id not in self.lengths:
            raise PolicyError(f"orca has no length for request {request.id}; lengths must name every request.")
        return self.lengths[request.id]

    def _check_lengths(self, view: View) -> None:
        """Raise PolicyError for a request that outgrows its reservation: it could run out of memory midway."""
        for request in view.running:
            if request.generated > self._length(request):
                raise PolicyError(
                    f"request {request.id} has {request.generated} output tokens, and its given length is "
                    f"{self._length(request)}; lengths must be the true ones."
                )
