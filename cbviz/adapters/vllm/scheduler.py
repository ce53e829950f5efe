"""A cbviz policy inside vLLM's scheduler: `--scheduler-cls cbviz.adapters.vllm.scheduler.PolicyScheduler`.

`CBVIZ_VLLM_POLICY` names the policy: one of cbviz's own, or `module:Class`. It is rehearsed before the server serves
anything, and one that asks for more than admissions and chunks is refused by name.

vLLM has no notion of a chunk for one request, so chunks are mapped onto what it has, for one pass at a time: the token
budget and the long-prefill threshold. A plan whose chunks no pair of these yields cannot be mapped. Beyond the plugin's
contact points, this needs of the scheduler `waiting` (first come, first served), `max_num_running_reqs`,
`max_num_scheduled_tokens`, `max_model_len`, `block_size`, `scheduler_config.long_prefill_token_threshold`,
`cache_config.{num_gpu_blocks, enable_prefix_caching}`, and of a request `arrival_time`, `num_tokens`,
`num_computed_tokens` and `num_output_placeholders`.

If the policy fails while the server runs, or vLLM is not as expected, that is logged, and vLLM schedules by its own
rule from then on, with every request still in its queue.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from cbviz.adapters.driving import Driver, stuck, view_of
from cbviz.adapters.vllm.arrangement import Arrangement
from cbviz.adapters.vllm.known import KNOWN_VLLM, POLICY_VARIABLE
from cbviz.checks import one_line, shown
from cbviz.errors import AdapterError, CbvizError
from cbviz.policies import POLICIES, Policy, RequestView, View
from cbviz.policies.plan import CheckedPlan

log = logging.getLogger("cbviz")
VLLM = "vLLM"
ADAPTIVE = "adaptive_long_prefill_threshold"
"""Since 0.33 it would raise the threshold of a plan."""
Done = TypeVar("Done")


def cut(lacks: Sequence[int], wanted: Sequence[int], budget: int) -> tuple[int, int] | None:
    """A token budget and a long-prefill threshold under which vLLM's rule takes in what a plan wants.

    vLLM goes through the requests in order; each takes what it lacks, at most the threshold (0 sets none), and at most
    what is left of the budget.

    Parameters
    ----------
    lacks, wanted
        Tokens that each request lacks, and is to take in.
    budget
        The most tokens in a pass.

    Returns
    -------
    tuple[int, int] or None
        Budget and threshold; None if there is no such pair.

    Example
    -------
    A decode and two prompts, cut to 8 each; then the second cut to what is left:

    >>> cut([1, 30, 20], [1, 8, 8], budget=64), cut([1, 30, 20], [1, 30, 9], budget=64)
    ((17, 8), (40, 0))
    >>> cut([30, 20, 20], [5, 9, 20], budget=64) is None
    True
    """
    total = sum(wanted)
    if total > budget:
        return None
    for threshold in (0, *sorted(set(wanted))):
        left, taken = total, []
        for most in lacks:
            n = min(most, threshold or most, left)
            taken.append(n)
            left -= n
        if taken == list(wanted):
            return total, threshold
    return None


def policy_named(name: str) -> Policy:
    """The policy that `CBVIZ_VLLM_POLICY` names.

    Parameters
    ----------
    name
        One of cbviz's own, or `module:Class`, which is called without arguments.

    Returns
    -------
    Policy
        A new object.

    Raises
    ------
    AdapterError
        It cannot be found or made.
    """
    if name in POLICIES:
        return POLICIES[name]()
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise AdapterError(
            f"{POLICY_VARIABLE} must be {', '.join(POLICIES)}, or module:Class for a policy of your own, not "
            f"{shown(name)}."
        )
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        raise AdapterError(
            f"{POLICY_VARIABLE} names {shown(name)}, which cannot be made: {one_line(error)}."
        ) from error
    return made  # type: ignore[no-any-return]


class PolicyDriven:
    """Mixed into a scheduler of vLLM's: asks the policy before each pass, and lets vLLM carry out its plan."""

    cbviz_policy = ""
    """Of the policy that drives it; "" if none does."""
    cbviz_off = ""
    """Why vLLM schedules by its own rule again; "" while the policy drives it."""
    cbviz_deviations = 0
    """Passes in which vLLM took in something else than planned."""
    _cbviz_adaptive: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        driver = Driver(policy_named(os.environ.get(POLICY_VARIABLE, "continuous")), VLLM, _mappable)
        driver.rehearse()
        super().__init__(*args, **kwargs)
        self._cbviz_driver = driver
        self._cbviz_numbers: dict[str, int] = {}
        self._cbviz_known = 0
        self._cbviz_admitted: dict[str, int] = {}
        self._cbviz_last_admission: int | None = None
        self._cbviz_passes = 0
        self._cbviz_began = time.time()
        try:
            self._cbviz_settle()
            self.cbviz_policy = driver.policy.name
        except AdapterError:
            raise
        except Exception as error:  # this vLLM is not as expected
            self._cbviz_give_up(error)

    def _cbviz_settle(self) -> None:
        """Refuse settings of the server that would interfere."""
        them: Any = self
        kind = str(getattr(them.scheduler_config, "policy", "fcfs"))
        if kind != "fcfs":
            raise AdapterError(f"scheduling policy {shown(kind)} orders the queue itself; a cbviz policy needs 'fcfs'.")
        if getattr(them, "num_spec_tokens", 0):
            raise AdapterError("speculative decoding takes in several tokens a decode, which no cbviz policy plans.")
        if getattr(them.cache_config, "enable_prefix_caching", False):
            raise AdapterError(
                "prefix caching shortens prompts by what a policy cannot see; start vLLM with "
                "--no-enable-prefix-caching."
            )
        if (adaptive := getattr(them, ADAPTIVE, None)) is not None:
            setattr(them, ADAPTIVE, False)
            self._cbviz_adaptive = adaptive

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """One pass: by the policy's plan, or by vLLM's own rule once that has failed."""
        planned = self._cbviz_tried(self._cbviz_ask)
        if planned is None:
            return super().schedule(*args, **kwargs)  # type: ignore[misc]
        admitted, wanted, budget, threshold = planned
        arranged = Arrangement(self)
        if not self._cbviz_tried(lambda: arranged.make(admitted, budget, threshold)):
            self._cbviz_tried(arranged.undo, always=True)
            return super().schedule(*args, **kwargs)  # type: ignore[misc]
        try:
            output = super().schedule(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._cbviz_tried(arranged.put_back, always=True)
        self._cbviz_tried(lambda: self._cbviz_note(output, admitted, wanted))
        return output

    def _cbviz_note(self, output: Any, admitted: list[Any], wanted: dict[str, int]) -> None:
        """Look at what vLLM made of the plan."""
        got = dict(output.num_scheduled_tokens)
        if got != wanted:
            self.cbviz_deviations += 1
            if self.cbviz_deviations == 1:
                log.warning("cbviz: vLLM takes in %s tokens by request where the plan has %s.", got, wanted)
        for request in admitted:
            if request.request_id in got:
                self._cbviz_admitted[request.request_id] = self._cbviz_last_admission = self._cbviz_passes
        self._cbviz_passes += bool(got)

    def _cbviz_tried(self, step: Callable[[], Done], *, always: bool = False) -> Done | None:
        """What a step gives; None once anything has failed, this step included, unless it is taken `always`."""
        if self.cbviz_off and not always:
            return None
        try:
            return step()
        except Exception as error:
            self._cbviz_give_up(error)
            return None

    def _cbviz_give_up(self, error: Exception) -> None:
        """From here on vLLM schedules by its own rule; said once."""
        if self.cbviz_off:
            return
        said = one_line(error)
        self.cbviz_off = said if isinstance(error, CbvizError) else f"{type(error).__name__}: {said}"
        log.warning("cbviz: %s; from here on vLLM schedules by its own rule.", self.cbviz_off)
        if self._cbviz_adaptive is not None:
            with suppress(Exception):
                setattr(self, ADAPTIVE, self._cbviz_adaptive)

    def _cbviz_ask(self) -> tuple[list[Any], dict[str, int], int, int]:
        them: Any = self
        going = [request for request in them.running if not _ends_in_flight(request)]
        waiting = list(them.waiting)
        self._cbviz_forget({*(request.request_id for request in (*them.running, *waiting)), *_all_of(them)})
        requests = {self._cbviz_number(request): request for request in (*going, *waiting)}
        blocks, size = (
            int(them.cache_config.num_gpu_blocks) - 1,
            int(them.block_size),
        )  # one block is vLLM's placeholder
        view = view_of(
            iteration=self._cbviz_passes,
            now=max(0.0, time.time() - self._cbviz_began),
            slots=min(them.max_num_running_reqs, getattr(them, "max_num_active_reqs", them.max_num_running_reqs)),
            waiting=[self._cbviz_seen(request, waits=True) for request in waiting],
            running=[self._cbviz_seen(request, waits=False) for request in going],
            total_blocks=blocks,
            block_size=size,
            context_limit=min(int(them.max_model_len), blocks * size),
            last_admission=self._cbviz_last_admission,
            taken=len(them.running) - len(going),
        )
        plan = self._cbviz_driver.plan(view)
        if waiting and not plan.admit and not them.running:
            raise stuck(VLLM, self._cbviz_driver.policy, len(waiting))
        chosen, lacks, wanted = _rows(view, plan)
        pair = cut(lacks, wanted, int(them.max_num_scheduled_tokens))
        if pair is None:
            raise _unmapped_chunks(self._cbviz_driver.policy)
        tokens = {requests[request].request_id: n for request, n in zip(chosen, wanted, strict=True)}
        return [requests[entry.request] for entry in plan.admit], tokens, *pair

    def _cbviz_number(self, request: Any) -> int:
        if request.request_id not in self._cbviz_numbers:
            self._cbviz_numbers[request.request_id] = self._cbviz_known
            self._cbviz_known += 1
        return self._cbviz_numbers[request.request_id]

    def _cbviz_forget(self, here: set[str]) -> None:
        """Let go of requests that have left vLLM: a server runs for months."""
        for table in (self._cbviz_numbers, self._cbviz_admitted):
            for name in [name for name in table if name not in here]:
                del table[name]

    def _cbviz_seen(self, request: Any, waits: bool) -> RequestView:
        in_flight = 0 if waits else request.num_output_placeholders
        return RequestView(
            id=self._cbviz_number(request),
            arrival=max(0.0, request.arrival_time - self._cbviz_began),
            prompt_tokens=request.num_prompt_tokens,
            max_new_tokens=request.max_tokens,
            generated=request.num_tokens - request.num_prompt_tokens + in_flight,
            computed=request.num_computed_tokens,
            slot=None if waits else 0,
            admitted=self._cbviz_admitted.get(request.request_id),
        )


def _all_of(scheduler: Any) -> list[str]:
    """All that a scheduler has, those included that wait elsewhere; nothing where it has no such table."""
    return list(getattr(scheduler, "requests", None) or ())


def _ends_in_flight(request: Any) -> bool:
    """Whether a pass under way brings its last token: async scheduling computes no more of it."""
    placeholders = request.num_output_placeholders
    last = request.num_prompt_tokens + request.max_tokens
    return bool(placeholders > 0 and request.num_computed_tokens + 2 - placeholders >= last)


def _rows(view: View, plan: CheckedPlan) -> tuple[list[int], list[int], list[int]]:
    """Requests in vLLM's order, the tokens that each lacks, and those that it is to take in."""
    waiting = {request.id: request for request in view.waiting} if plan.admit else {}
    rows = [*view.running, *(waiting[entry.request] for entry in plan.admit)]
    lacks = [request.lacks for request in rows]
    return [request.id for request in rows], lacks, [plan.chunk.get(request.id, request.lacks) for request in rows]


def _mappable(view: View, plan: CheckedPlan) -> None:
    """Refuse chunks that no budget and threshold yield. The size of the budget is the server's, not the rehearsal's."""
    _, lacks, wanted = _rows(view, plan)
    if plan.chunk and cut(lacks, wanted, sum(wanted)) is None:
        raise AdapterError(
            f"the chunks of iteration {view.iteration} are {wanted} of {lacks} tokens, for which vLLM has no setting; "
            "it knows one budget and one longest chunk for all requests of a pass."
        )


def _unmapped_chunks(policy: Policy) -> AdapterError:
    return AdapterError(
        f"policy {policy.name!r} plans more tokens than vLLM's max_num_batched_tokens, or chunks that no budget and "
        "longest chunk yield"
    )


@cache
def driven(base: type) -> type:
    """A subclass of one of vLLM's schedulers that follows a policy.

    Parameters
    ----------
    base
        `AsyncScheduler`, or one with its interface.

    Returns
    -------
    type
        The subclass.
    """
    return type("PolicyScheduler", (PolicyDriven, base), {"__module__": __name__})


def __getattr__(name: str) -> Any:
    """`PolicyScheduler`, made on first use, because vLLM need not be installed."""
    if name != "PolicyScheduler":
        raise AttributeError(f"{__name__} has no {name!r}; it has PolicyScheduler.")
    try:
        vllm = importlib.import_module("vllm")
        KNOWN_VLLM.check(vllm.__version__)
        base = importlib.import_module("vllm.v1.core.sched.async_scheduler").AsyncScheduler
    except ImportError as error:
        raise AdapterError(f"PolicyScheduler needs vLLM, which cannot be imported: {one_line(error)}.") from error
    return driven(base)
