"""A submitted request as the engine keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cbviz.events import FinishReason
from cbviz.workload.request import Request


@dataclass(slots=True, eq=False)
class RequestState:
    """What the engine remembers of a request wherever it is: still to arrive, in the queue, in a slot, or ended."""

    request: Request
    row: int
    """Its row in `Outputs`."""
    seen: int = 0
    """Positions that were in the cache once, before a preemption discarded them."""
    preemptions: int = 0
    admitted: int | None = None
    """Iteration of its last admission."""
    swapped: int = 0
    """Positions whose keys and values wait for it in host memory."""
    chain: list[bytes] = field(default_factory=list)
    """Hashes of its first blocks, as far as they were needed."""
    cancelled: bool = False
    """It was cancelled while its last token was on its way from the device."""
    reason: FinishReason | None = None
    positions: int = field(init=False)
    """The most positions that it can need: prompt + max_new_tokens."""
    declared: tuple[int, float, int, int, str | None, int] = field(init=False)
    """What a policy may know of the request: id, arrival, prompt tokens, max_new_tokens, client, priority."""

    def __post_init__(self) -> None:
        asked = self.request
        self.positions = asked.positions
        self.declared = (
            asked.id, asked.arrival, len(asked.prompt), asked.max_new_tokens, asked.client, asked.priority
        )  # fmt: skip
