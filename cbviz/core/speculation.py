"""Speculative decoding: a pass checks several guessed tokens of a request at once, so a slot gives 1 … k + 1 tokens.

The rule is that of Leviathan et al. (ICML 2023, §2): guess k tokens cheaply, compute all of them in one pass, keep the
longest prefix that the model would have chosen itself, and the token that it chooses after that. Here a token is a
function of what precedes it (the argmax, or a draw whose noise comes from seed and position alone), so a guess is right
or wrong, nothing is left to chance, and every answer is what it is without guesses.

    drafts  = propose(prompt + output)         # ngram: no second model
    choices = one pass over the last token and its drafts
    output += choices up to the first that differs from its draft

Policies see nothing of it: a decoding request asks for one token, as ever. Drafts come on top of the plan, where the
request's own blocks or free ones have room, and what rejected drafts took is given back before the next plan. So a
draft preempts no request and keeps none out of a slot; requests only end sooner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cbviz.checks import is_a, shown
from cbviz.config import Speculation
from cbviz.core.engine import Engine
from cbviz.core.executor import Draft, Executor, Result, Step
from cbviz.core.loop import Flight
from cbviz.core.ngram import propose
from cbviz.core.scheduler_state import SchedulerState
from cbviz.errors import EngineError
from cbviz.events import Drafted, IntArray
from cbviz.policies.base import Policy


@dataclass(slots=True)
class Guess:
    """The drafts of one slot in a pass, and what became of them."""

    draft: Draft
    row: int
    """The slot's row in the step as the loop made it."""
    capacity: int
    """Positions for which it had room before."""
    more: IntArray
    """int32 [accepted]: what the pass gave beyond the row's own token."""


class DraftingExecutor:
    """Stands between a loop and an executor: adds drafts to steps, and takes their results out of what comes back.

    The loop sees steps of one token a decoding slot. The executor sees a row more for each draft: same slot, next
    position, its own draw.

    Parameters
    ----------
    inner
        What computes. It must have `takes_drafts`.
    rule
        How tokens are guessed.
    """

    def __init__(self, inner: Executor, rule: Speculation) -> None:
        self.inner = inner
        self.rule = rule
        self.context_limit = inner.context_limit
        self.vocabulary = inner.vocabulary
        self.end_tokens = inner.end_tokens
        self.state: SchedulerState
        """The engine's; it sets this."""
        self.guesses: list[Guess] = []
        """Those of the step in flight."""
        self._prompts: dict[int, IntArray] = {}

    def provide_swap(self, blocks: int) -> int:
        """See `Executor`."""
        return self.inner.provide_swap(blocks)

    def launch(self, step: Step) -> tuple[Any, IntArray]:
        """Start the step with as many drafts as there are and fit. See `Executor`."""
        self.guesses = self._guessed(step)
        extra = np.zeros(len(step.slot), np.int32)
        for guess in self.guesses:
            extra[guess.row] = len(guess.draft.tokens)
        first = np.cumsum(1 + extra) - extra - 1
        if not self.guesses:
            return self.inner.launch(step), first
        row = np.repeat(np.arange(len(step.slot)), 1 + extra)
        nth = (np.arange(len(row)) - first[row]).astype(np.int32)  # 0 is the row itself, j its draft number j
        wide = replace(
            step,
            slot=step.slot[row],
            start=step.start[row] + nth,
            count=step.count[row],
            draw=step.draw[row] + nth,
            drafts=tuple(guess.draft for guess in self.guesses),
        )
        return self.inner.launch(wide), first

    def collect(self, ticket: tuple[Any, IntArray]) -> Result:
        """The tokens of the rows that the loop knows. See `Executor`."""
        inner, first = ticket
        result = self.inner.collect(inner)
        for guess in self.guesses:
            begin, drafts = int(first[guess.row]), guess.draft.tokens
            choices = result.tokens[begin : begin + len(drafts) + 1]
            wrong = np.flatnonzero(choices[:-1] != drafts)
            accepted = int(wrong[0]) if len(wrong) else len(drafts)
            guess.more = choices[1 : accepted + 1]
        return replace(result, tokens=result.tokens[first])

    def _guessed(self, step: Step) -> list[Guess]:
        """Drafts for the slots that decode, and blocks for them; the oldest admission first.

        The loop has advanced the slots already: `known` counts the token that the row itself will give.
        """
        slots, outputs = self.state.slots, self.state.outputs
        at = step.slot
        new = step.start >= np.maximum(slots.prompt[at], slots.seen[at])
        decodes = new & (step.draw >= 0) & (step.count == 1) & ~slots.ended[at]
        guesses = []
        for row in sorted(decodes.nonzero()[0].tolist(), key=lambda row: int(slots.order[at[row]])):
            slot, start = int(at[row]), int(step.start[row]) + 1
            capacity = int(slots.capacity[slot])
            room = capacity + slots.pool.free * slots.pool.block_size - start
            most = min(room, int(slots.limit[slot] - slots.generated[slot]))
            if most < 1:
                continue
            tokens = np.concatenate([self._prompt(int(slots.request[slot])), outputs.of(int(slots.row[slot]))])
            drafts = propose(tokens, self.rule, most)
            if len(drafts):
                slots.grow(slot, start + len(drafts))
                guesses.append(Guess(Draft(slot, start, drafts), row, capacity, drafts[:0]))
        return guesses

    def _prompt(self, request: int) -> IntArray:
        """int32: the tokens of a request's prompt; made once."""
        if request not in self._prompts:
            self._prompts[request] = np.array(self.state.requests[request].request.prompt, np.int32)
        return self._prompts[request]

    def forget(self, *requests: int) -> None:
        """These requests have ended."""
        for request in requests:
            self._prompts.pop(request, None)


class SpeculativeEngine(Engine):
    """An engine that drafts tokens and checks them in the pass that computes the next token anyway.

    Parameters
    ----------
    executor
        What computes: `SpeculativeExecutor`, or another one that has `takes_drafts`.
    policy
        Decides which requests run. It plans one token for each decoding request; its token budget, if it has one, does
        not count drafts.
    speculation
        How tokens are guessed.
    options
        As for `Engine`; `lag` must be 0, because a guess begins with the last token, which the host must have seen.

    Raises
    ------
    EngineError
        The executor computes one token a slot, or the lag is not 0; else as for `Engine`.

    Examples
    --------
    >>> from cbviz.config import Speculation
    >>> from cbviz.core import NullExecutor
    >>> from cbviz.core.block_pool import BlockPool
    >>> from cbviz.policies import Continuous
    >>> from cbviz.workload import Request
    >>> work = [Request(0, prompt=(1, 2), max_new_tokens=5, output_length=5)]
    >>> engine = SpeculativeEngine(
    ...     NullExecutor(seconds=1.0), Continuous(), speculation=Speculation(k=2), slots=1, pool=BlockPool(8, 4)
    ... )
    >>> [event.generated for event in engine.run(work)]
    [1, 1, 1, 1, 1]
    """

    def __init__(self, executor: Executor, policy: Policy, *, speculation: Speculation, **options: Any) -> None:
        if not is_a(speculation, Speculation):
            raise EngineError(f"speculation must be a Speculation, not {shown(speculation)}.")
        if not getattr(executor, "takes_drafts", False):
            raise EngineError(
                f"{type(executor).__name__} computes one token a slot in a pass, so it cannot check drafts; use an "
                "executor that can, such as SpeculativeExecutor (backend='sdpa')."
            )
        if options.get("lag", 0):
            raise EngineError(
                "speculation needs lag 0: the host must have seen the last token to guess what follows it."
            )
        self._drafting = DraftingExecutor(executor, speculation)
        super().__init__(self._drafting, policy, **options)
        self._drafting.state = self.state

    def _commit(self, flight: Flight, began: float) -> None:
        """Commit the pass as if it had no drafts, then give what they add, and return blocks that they took."""
        super()._commit(flight, began)
        guesses, event = self._drafting.guesses, self._committed[-1]
        self._drafting.forget(*(mark.request for mark in event.cancelled))
        if not guesses:
            self._drafting.forget(*(finish.request for finish in event.finished))
            return
        slots, fed = self.slots, event.tokens.copy()
        finished, drafted = list(event.finished), []
        for guess in guesses:
            slot, request = guess.draft.slot, int(event.request[guess.draft.slot])
            kept = 0
            for token in guess.more:
                if self.outputs.closed[flight.row[guess.row]]:
                    break  # an END among the accepted: what follows it was computed for nothing
                slots.computed[slot] += 1
                slots.known[slot] += 1
                slots.generated[slot] += 1
                one = np.array([[flight.row[guess.row], slot, request, token]], np.int32).T
                finished += self.state.give(one[0], one[1], one[2], one[3], self._ends)
                kept += 1
            self._give_back(guess)
            fed[slot] += len(guess.draft.tokens)
            drafted.append(Drafted(request, slot, len(guess.draft.tokens), tuple(guess.more[:kept].tolist())))
        self._drafting.forget(*(finish.request for finish in finished))
        used, reserved, written = slots.memory()
        self._committed[-1] = replace(
            event,
            tokens=fed,
            context=slots.computed.copy(),
            allotted=slots.capacity.copy(),
            finished=tuple(finished),
            blocks_used=used,
            blocks_reserved=reserved,
            written=written,
            drafted=tuple(drafted),
        )

    def _give_back(self, guess: Guess) -> None:
        """Return the blocks that were taken for drafts and hold nothing of the output."""
        slots, slot, size = self.slots, guess.draft.slot, self.pool.block_size
        blocks = self.pool.blocks_for(max(guess.capacity, int(slots.computed[slot])))
        self.pool.shrink(int(slots.request[slot]), blocks)
        slots.tables[slot, blocks:] = -1
        slots.capacity[slot] = blocks * size
