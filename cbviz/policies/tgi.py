"""Text Generation Inference: prefills and decodes take turns; a ratio says when a prefill is worth a pause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cbviz.policies.base import Admit, Plan, RequestView, View, lacks_blocks
from cbviz.policies.parameters import flag, not_negative, whole, whole_or_none, within

_NEVER = 10**9
"""More than ever wait; a ratio may be so large that its product with those who run is infinite."""


@dataclass(frozen=True, slots=True)
class TGI:
    """Decode, and now and then stop everybody to prefill newcomers.

    Text Generation Inference 0.8.2 (June 2023), router `infer.rs` and `queue.rs`. Nothing running: prefill whatever
    fits (*nothing running*). Otherwise, before every decode, look at the queue: from its front, take what fits the
    budgets, and never skip ahead. Are they at least ⌊running × waiting_served_ratio⌋ (*ratio met*), or have
    max_waiting_tokens decodes passed since the last prefill (*waited too long*), then one prefill of the newcomers
    pauses every running request, and the next iteration decodes all of them together. Otherwise they all stay in the
    queue. Memory is reserved in full (prompt + max_new_tokens), so nobody is preempted. With chunked prefill (version
    3) TGI ignores both thresholds.

    It keeps no state: the decodes since the last prefill are counted from `View.last_admission`. Like TGI's counter
    they start at 1.

    Parameters
    ----------
    waiting_served_ratio
        How many must wait for each that runs. It is a threshold for admission, not a weight. 1.2; since April 2024
        TGI's default is 0.3.
    max_waiting_tokens
        Decodes after which newcomers are taken however few they are. 20.
    max_batch_total_tokens
        The most tokens that all running requests may come to hold together. None, as in later versions, is what the KV
        pool holds; 0.8.2 had 32,000. The pool is a limit in any case.
    max_batch_prefill_tokens
        The most tokens in one prefill. None, as in 0.8.2, is no limit; 0.9 brought it in, with 4,096.
    padded
        Count as TGI does for models without flash attention (OPT in 2023): rows are padded to the longest, so a batch
        holds rows × longest + all that is still to come. By default every request counts prompt + max_new_tokens.

    Raises
    ------
    PolicyError
        A parameter that makes no sense; while planning, a request at the queue's front that is larger than a budget:
        TGI refuses such a request when it arrives, for it could never be prefilled.
    """

    waiting_served_ratio: float = 1.2
    max_waiting_tokens: int = 20
    max_batch_total_tokens: int | None = None
    max_batch_prefill_tokens: int | None = None
    padded: bool = False
    name: str = "tgi"

    def __post_init__(self) -> None:
        not_negative(self.name, "waiting_served_ratio", self.waiting_served_ratio)
        flag(self.name, "padded", self.padded)
        whole(self.name, "max_waiting_tokens", self.max_waiting_tokens, least=0)
        whole_or_none(self.name, "max_batch_total_tokens", self.max_batch_total_tokens)
        whole_or_none(self.name, "max_batch_prefill_tokens", self.max_batch_prefill_tokens)

    @property
    def summary(self) -> str:
        return (
            f"pause all to prefill when waiting ≥ {self.waiting_served_ratio:g} × running "
            f"or after {self.max_waiting_tokens} decodes"
        )

    def plan(self, view: View) -> Plan:
        if not view.running:
            least, reason = 1, "nothing running"
        elif self._joins_now(view):
            return Plan(put_off=view.closed("a prefill has just paused the others; this iteration decodes all of them"))
        else:
            waiting_tokens = view.iteration - (view.last_admission or 0)
            if waiting_tokens >= self.max_waiting_tokens:
                least, reason = 1, "waited too long"
            else:
                least, reason = int(min(len(view.running) * self.waiting_served_ratio, _NEVER)), "ratio met"
        if len(view.waiting) < least:
            return Plan(put_off=view.closed(f"{len(view.waiting)} wait, and {self._asked(view, least)}"))
        if not view.free_slots:
            return Plan()
        newcomers, put_off = self._next_batch(view)
        if newcomers and len(newcomers) < least:
            fit = f"only {len(newcomers)} of the {len(view.waiting)} that wait fit in now"
            return Plan(put_off=view.closed(f"{fit}, and {self._asked(view, least)}"))
        return Plan(
            admit=[Admit(request.id, reason=reason) for request in newcomers],
            pause={request.id: reason for request in view.running} if newcomers else {},
            put_off=put_off,
        )

    def _asked(self, view: View, least: int) -> str:
        """What a prefill beside running requests is waiting for."""
        decodes = view.iteration - (view.last_admission or 0)
        return (
            f"a prefill that pauses {len(view.running)} takes ⌊{len(view.running)} × {self.waiting_served_ratio:g}⌋ = "
            f"{least}, or decodes since the last one to reach {self.max_waiting_tokens} (now {decodes})"
        )

    @staticmethod
    def _joins_now(view: View) -> bool:
        """After a prefill that paused others, the next iteration decodes all of them: the queue is not looked at."""
        just_prefilled = view.last_admission == view.iteration - 1
        return just_prefilled and any(request.admitted != view.last_admission for request in view.running)

    def _next_batch(self, view: View) -> tuple[list[RequestView], dict[int, str]]:
        """The front of the queue that fits the budgets, the slots and the pool, and why it ends at the first misfit."""
        total = self.max_batch_total_tokens or view.total_blocks * view.block_size
        prefill = self.max_batch_prefill_tokens or total
        room = total - self._tokens(view.running)
        blocks = view.free_blocks
        batch: list[RequestView] = []
        for request in view.waiting:
            if len(batch) == view.free_slots:
                break
            within(request, request.most, "prompt + max_new_tokens", "max_batch_total_tokens", total)
            within(request, request.known, "its prompt", "max_batch_prefill_tokens", prefill)
            taken = [*batch, request]
            needed = view.blocks_taken(request, request.most)
            if self._inputs(taken) > prefill:
                return batch, {request.id: f"with it a prefill would take {self._inputs(taken)} tokens of {prefill}"}
            if self._tokens(taken) > room:
                reason = (
                    f"with it newcomers may come to hold {self._tokens(taken)} tokens, and {room} are left of {total}"
                )
                return batch, {request.id: reason}
            if needed > blocks:
                return batch, {request.id: lacks_blocks(needed, blocks, "prompt + max_new_tokens")}
            batch, blocks = taken, blocks - needed
        return batch, {}

    def _inputs(self, batch: Sequence[RequestView]) -> int:
        """Tokens that the batch has now, with padding if rows are padded."""
        if self.padded:
            return len(batch) * max((request.known for request in batch), default=0)
        return sum(request.known for request in batch)

    def _tokens(self, batch: Sequence[RequestView]) -> int:
        """Tokens that the batch may come to hold."""
        return self._inputs(batch) + sum(request.max_new_tokens - request.generated for request in batch)
