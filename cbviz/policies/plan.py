"""What a policy asks for: a *difference*. Every running request that a plan does not mention continues: it takes in the
rest of its prompt, or decodes one token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cbviz.policies.policy_view import RequestView


@dataclass(frozen=True, slots=True)
class Admit:
    """Admit a waiting request to the lowest free slot.

    Attributes
    ----------
    request
        Its id.
    reserve
        Positions that get KV blocks at once. None takes all that it can ever need (prompt + max_new_tokens), so that it
        never runs out. A smaller reserve grows block by block; it must cover what is found in a cache and what is taken
        in this iteration.
    reason
        Text or a `Reason`, for the trace.
    """

    request: int
    reserve: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one iteration does differently from "every running request continues".

    Ids and token counts are whole numbers, including numpy's and 0-dimensional arrays; a list may be any iterable,
    including an array. A reason is text, shown as written, or a `cbviz.Reason`, shown in the viewer's language; it is
    cut after 2,000 characters, and half a surrogate pair becomes U+FFFD. The engine converts all of it to plain Python
    first. It refuses anything else with a PolicyError that names the policy, the iteration, the field, what was given
    and what is allowed, before anything has changed.

    Attributes
    ----------
    admit
        Waiting requests to admit, in this order: ids or views, or `Admit` to set a reserve and a reason.
    hold
        Ids of finished requests that keep their slot and stay in the batch although their output has ended (static
        batching), or "all" for every one.
    preempt
        Running request → reason. It loses its slot and blocks, goes to the head of the queue, and keeps its tokens. Its
        keys and values are discarded, or swapped out to host memory if the engine swaps.
    pause
        Running request → reason. It keeps its slot and blocks and gets no token in this iteration.
    chunk
        Request → how many of the tokens that it lacks to take in now. The default is all of them.
    wait_until
        When no request computes under this plan: the time to wait for, in the unit of `View.clock` and later than it.
        The engine waits until then or until the next arrival, whichever is earlier, and asks the policy again. Without
        it, a plan that computes nothing while requests wait and none is still to arrive is refused as stuck.
    put_off
        Waiting request → why it is not admitted now, for `cbviz.why`; it has no effect on the schedule. A waiting
        request that is neither admitted nor named waits behind those that are named. If no slot is free, none need be
        named.

    Examples
    --------
    >>> from cbviz import Admit, Plan
    >>> plan = Plan(admit=[Admit(4, reserve=32)], pause={2: "prefill goes first"}, chunk={4: 16})
    >>> plan.admit[0].request, plan.hold, plan.preempt
    (4, (), {})
    """

    admit: Iterable[int | RequestView | Admit] = ()
    hold: Iterable[int] | Literal["all"] = ()
    preempt: Mapping[int, str] = field(default_factory=dict)
    pause: Mapping[int, str] = field(default_factory=dict)
    chunk: Mapping[int, int] = field(default_factory=dict)
    wait_until: float | None = None
    put_off: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan with every field in one form, of plain Python values only.

    Attributes
    ----------
    admit
        `Admit` entries in order.
    hold
        Ids of finished requests that are held; empty where `hold_all`.
    hold_all
        Whether all finished requests are held.
    preempt, pause
        Request id → reason.
    chunk
        Request id → tokens.
    wait_until
        In the unit of `View.clock`; None does not wait.
    put_off
        Request id → reason; empty in the plans given to the engine, which does not use it.
    """

    admit: tuple[Admit, ...]
    hold: frozenset[int]
    hold_all: bool
    preempt: dict[int, str]
    pause: dict[int, str]
    chunk: dict[int, int]
    wait_until: float | None = None
    put_off: dict[int, str] | None = None

    def plan(self) -> Plan:
        """The same content as a `Plan`."""
        return Plan(
            admit=self.admit,
            hold="all" if self.hold_all else tuple(self.hold),
            preempt=self.preempt,
            pause=self.pause,
            chunk=self.chunk,
            wait_until=self.wait_until,
            put_off=self.put_off or {},
        )
