"""Text Generation Inference: prefills and decodes take turns; a ratio says when a prefill is worth a pause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cbviz.messages import Message
from cbviz.policies.base import Admit, Plan, RequestView, View
from cbviz.policies.parameters import flag, not_negative, whole, whole_or_none, within
from cbviz.reason import Reason

NOTHING_RUNNING, RATIO_MET, TOO_LONG = Reason("nothing_running"), Reason("ratio_met"), Reason("waited_too_long")
JUST_PREFILLED = Reason("just_prefilled")

_NEVER = 10**9
"""More requests than ever wait. It caps running × ratio, which is infinite for a huge ratio."""


@dataclass(frozen=True, slots=True)
class TGI:
    """Decode, and now and then pause all running requests to prefill new ones.

    Text Generation Inference 0.8.2 (June 2023), router `infer.rs` and `queue.rs`. If nothing runs, prefill whatever
    fits (*nothing running*). Otherwise look at the queue before every decode: take from its front what fits the
    budgets, without skipping ahead. If these are at least ⌊running × waiting_served_ratio⌋ requests (*ratio met*), or
    if max_waiting_tokens decodes have passed since the last prefill (*waited too long*), one prefill of the new
    requests pauses every running one, and the next iteration decodes all of them together. Otherwise they stay in the
    queue. Memory is reserved in full (prompt + max_new_tokens), so no request is ever preempted. With chunked prefill
    (version 3) TGI ignores both thresholds.

    The policy keeps no state: it counts the decodes since the last prefill from `View.last_admission`. Like TGI's
    counter, the count starts at 1.

    Parameters
    ----------
    waiting_served_ratio
        Waiting requests needed per running request: a threshold for admission, not a weight. 1.2; TGI's default has
        been 0.3 since April 2024.
    max_waiting_tokens
        Decodes after which new requests are admitted however few they are. 20.
    max_batch_total_tokens
        The most tokens that all running requests may come to hold together. None, as in later versions, is what the KV
        pool holds; 0.8.2 had 32,000. The pool is a limit in any case.
    max_batch_prefill_tokens
        The most tokens in one prefill. None, as in 0.8.2, is no limit; 0.9 introduced it, with 4,096.
    padded
        Count as TGI does for models without flash attention (OPT in 2023): rows are padded to the longest, so a batch
        holds rows × longest + all tokens still to come. By default every request counts prompt + max_new_tokens.

    Raises
    ------
    PolicyError
        A parameter is out of range; or, while planning, the request at the front of the queue exceeds a budget. TGI
        refuses such a request on arrival, because it could never be prefilled.
    """

    waiting_served_ratio: float = 1.2
    max_waiting_tokens: int = 20
    max_batch_total_tokens: int | None = None
    max_batch_prefill_tokens: int | None = None
    padded: bool = False
    name: str = "tgi"

    def __post_init__(self) -> None:
        not_negative(self, "waiting_served_ratio")
        flag(self, "padded")
        whole(self, "max_waiting_tokens", least=0)
        whole_or_none(self, "max_batch_total_tokens")
        whole_or_none(self, "max_batch_prefill_tokens")

    @property
    def summary(self) -> str:
        """See `Policy.summary`."""
        return Message("policy.tgi.summary", ratio=self.waiting_served_ratio, decodes=self.max_waiting_tokens)

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        if not view.running:
            least, reason = 1, NOTHING_RUNNING
        elif self._joins_now(view):
            return Plan(put_off=view.closed(JUST_PREFILLED))
        else:
            waiting_tokens = view.iteration - (view.last_admission or 0)
            if waiting_tokens >= self.max_waiting_tokens:
                least, reason = 1, TOO_LONG
            else:
                least, reason = int(min(len(view.running) * self.waiting_served_ratio, _NEVER)), RATIO_MET
        if len(view.waiting) < least:
            return Plan(put_off=view.closed(Reason("too_few_wait", **self._asked(view, least))))
        if not view.free_slots:
            return Plan()
        if view.free_slots < least:
            return Plan(put_off=view.closed(Reason("too_few_slots", free=view.free_slots, **self._asked(view, least))))
        newcomers, put_off = self._next_batch(view)
        if newcomers and len(newcomers) < least:
            return Plan(put_off=view.closed(Reason("too_few_fit", fit=len(newcomers), **self._asked(view, least))))
        return Plan(
            admit=[Admit(request.id, reason=reason) for request in newcomers],
            pause={request.id: reason for request in view.running} if newcomers else {},
            put_off=put_off,
        )

    def _asked(self, view: View, least: int) -> dict[str, float]:
        """What a prefill next to running requests waits for: facts of a reason."""
        return {
            "waiting": len(view.waiting),
            "running": len(view.running),
            "ratio": self.waiting_served_ratio,
            "least": least,
            "limit": self.max_waiting_tokens,
            "decodes": view.iteration - (view.last_admission or 0),
        }

    @staticmethod
    def _joins_now(view: View) -> bool:
        """Whether the last iteration was a prefill that paused others: now all of them decode, and the queue waits."""
        just_prefilled = view.last_admission == view.iteration - 1
        return just_prefilled and any(request.admitted != view.last_admission for request in view.running)

    def _next_batch(self, view: View) -> tuple[list[RequestView], dict[int, str]]:
        """The front of the queue that fits the budgets, the slots and the pool, and why the first misfit does not."""
        total = self.max_batch_total_tokens or view.total_blocks * view.block_size
        prefill = self.max_batch_prefill_tokens or total
        room = total - self._held(view.running[:])
        blocks, free_slots, padded = view.free_blocks, view.free_slots, self.padded
        batch: list[RequestView] = []
        inputs = longest = known = most = 0
        for request in view.waiting:
            if len(batch) == free_slots:
                break
            may_need, tokens = request.most, request.known
            within(request, may_need, "prompt + max_new_tokens", "max_batch_total_tokens", total)
            within(request, tokens, "its prompt", "max_batch_prefill_tokens", prefill)
            known, most, longest = known + tokens, most + may_need, max(longest, tokens)
            inputs = (len(batch) + 1) * longest if padded else known
            if inputs > prefill:
                return batch, {request.id: Reason("prefill_budget", tokens=inputs, budget=prefill)}
            if inputs + most - known > room:
                tokens = inputs + most - known
                return batch, {request.id: Reason("total_budget", tokens=tokens, left=room, total=total)}
            needed = view.blocks_taken(request, may_need)
            if needed > blocks:
                return batch, {request.id: Reason("lacks_blocks", needed=needed, free=max(0, blocks))}
            batch.append(request)
            blocks -= needed
        return batch, {}

    def _held(self, running: Sequence[RequestView]) -> int:
        """Tokens that the running requests may come to hold, with padding to the longest row if rows are padded."""
        most = sum([request.prompt_tokens + request.max_new_tokens for request in running])
        if not self.padded:
            return most
        known = [request.prompt_tokens + request.generated for request in running]
        return len(known) * max(known, default=0) + most - sum(known)
