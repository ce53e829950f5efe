"""Serve a workload with transformers' own continuous batching, and return what it did as a `Trace`."""

from __future__ import annotations

import copy
import logging
import threading
from contextlib import ExitStack
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import transformers
from transformers import ContinuousBatchingConfig
from transformers.generation.continuous_batching import scheduler as theirs

from cbviz.adapters.driving import Driver
from cbviz.adapters.transformers_cb.known import ENGINE, KNOWN_TRANSFORMERS, check_async, check_logits, check_version
from cbviz.adapters.transformers_cb.recording import Recording
from cbviz.adapters.transformers_cb.schedulers import driven, registered, reporting
from cbviz.checks import flag, is_a, one_line, shown, whole
from cbviz.errors import AdapterError, CbvizError, EngineError
from cbviz.limits import MOST_BLOCK_SIZE, MOST_SLOTS, MOST_TOKENS
from cbviz.messages import Message
from cbviz.models import LoadedModel, load
from cbviz.models.device import device_name
from cbviz.policies import Policy, identity
from cbviz.run.lane_meta import policy_parameters, versions
from cbviz.trace import Trace, TraceMeta
from cbviz.workload import Request, Workload

SUMMARIES = {
    "fifo": Message("policy.transformers_fifo.summary"),
    "prefill_first": Message("policy.transformers_prefill_first.summary"),
}
"""transformers' own schedulers, and what each does."""
LEAST_PAGE = 4
"""Positions; transformers' own minimum."""
LOGGER = "ContinuousBatchingLogger"
LOOK = 0.2
"""Seconds between two looks at a generation thread that gives no result."""


def run(
    workload: Workload,
    model: str | LoadedModel = "tiny",
    *,
    slots: int = 8,
    policy: str | Policy | None = None,
    scheduler: str = "fifo",
    max_batch_tokens: int | None = None,
    page_size: int = 16,
    pages: int | None = None,
    prefix_cache: bool = False,
    async_batching: bool | None = None,
    device: str | None = None,
) -> Trace:
    """Serve a workload with transformers' continuous batching.

    Slots are rows of its batch as they were used. A request keeps its row from its first pass until it has finished,
    been preempted or cancelled; a row that transformers left out of a pass is stalled, and one that it computed after
    the end is held.

    Parameters
    ----------
    workload
        What to serve. Requests are greedy; arrivals, unless they are all 0, are seconds of real time.
    model
        A name for `cbviz.models.load`, or a loaded model. It is left as it was.
    slots
        The most requests in a batch (`max_requests_per_batch`).
    policy
        A cbviz policy that orders admissions and cuts chunks inside transformers' scheduler; None leaves the decision
        to `scheduler`.
    scheduler
        "fifo" or "prefill_first", without a policy.
    max_batch_tokens
        The most tokens in a pass; None takes as many as all slots' longest prompts.
    page_size, pages
        Positions in a page (a KV block) and their number; None takes enough for every slot's longest request.
    prefix_cache
        Whether requests may share blocks of common prefixes.
    async_batching
        Whether the next batch is prepared while one runs; None lets transformers decide (only on a GPU).
    device
        As for `cbviz.models.load`, if `model` is a name.

    Returns
    -------
    Trace
        Of the real run, with clock "alone" and real times. KV blocks are left out; `meta.extra` says so.

    Raises
    ------
    AdapterError
        A version of transformers that is not known; a policy that asks for what its scheduler cannot do; requests that
        sample; arrivals in iterations; settings that change logits; `async_batching` on a CPU.
    EngineError
        transformers failed in the middle of the run.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.adapters import transformers_cb
    >>> lengths = [2, 4, 3]
    >>> requests = [cbviz.Request(i, [5, 6], max_new_tokens=9, output_length=n) for i, n in enumerate(lengths)]
    >>> trace = transformers_cb.run(cbviz.Workload("three", requests), slots=2, device="cpu")
    >>> len(trace.iterations), trace.requests.admitted.tolist()
    (5, [0, 0, 2])
    """
    check_version()
    _check_work(workload)
    whole("slots", slots, 1, MOST_SLOTS, error=AdapterError)
    whole("page_size", page_size, LEAST_PAGE, MOST_BLOCK_SIZE, error=AdapterError)
    if not is_a(scheduler, str) or scheduler not in SUMMARIES:
        raise AdapterError(f"scheduler must be 'fifo' or 'prefill_first', not {shown(scheduler)}.")
    flag("prefix_cache", prefix_cache, error=AdapterError)
    if async_batching is not None:
        flag("async_batching", async_batching, error=AdapterError)
    if not is_a(model, (str, LoadedModel)):
        raise AdapterError(f"model must be a name for cbviz.models.load, or a LoadedModel, not {shown(model)}.")
    driver = None if policy is None else Driver(policy, ENGINE)
    if driver is not None:
        driver.rehearse(workload, slots)
    loaded = load(model, device=device, progress=False) if isinstance(model, str) else model
    check_logits(loaded.model, loaded.name)
    check_async(async_batching, loaded.device.type)
    # One page a slot beyond the need: 5.17 takes one in advance.
    pages = slots * (-(-workload.longest // page_size) + 1) if pages is None else pages
    prompts = max(len(request.prompt) for request in workload)
    budget = slots * (prompts + 1) if max_batch_tokens is None else max_batch_tokens
    whole("pages", pages, 1, MOST_TOKENS, error=AdapterError)
    if pages * page_size < workload.longest:
        raise AdapterError(
            f"{pages} pages of {page_size} positions cannot hold the longest request, which may need "
            f"{workload.longest}; take at least {-(-workload.longest // page_size)} pages."
        )
    whole("max_batch_tokens", budget, 1, MOST_TOKENS, error=AdapterError)

    names = {str(request.id): request for request in workload}
    numbers = {name: request.id for name, request in names.items()}
    with ExitStack() as stack:
        made = (
            driven(driver, page_size, pages, slots, numbers)
            if driver is not None
            else reporting(theirs.SCHEDULER_MAPPING[scheduler])
        )
        kind = stack.enter_context(registered("driven" if driver is not None else scheduler, made))
        config = _config(
            page_size=page_size,
            num_blocks=pages,
            max_batch_tokens=budget,
            max_requests_per_batch=slots,
            allow_block_sharing=prefix_cache and driver is None,
            use_async_batching=async_batching,
            auto_switch_to_flash=False,  # or the attention may change under a comparison
            scheduler_type=kind,
            safety_margin=0.0 if driver is not None else None,
            cpu_offload_space=0.0,
        )
        general = copy.deepcopy(loaded.model.generation_config)
        general.do_sample, general.num_return_sequences = False, 1
        general.eos_token_id = list(loaded.end_tokens) or -1
        manager = loaded.model.init_continuous_batching(generation_config=general, continuous_batching_config=config)
        recording = Recording(manager, names)
        attention = str(loaded.model.config._attn_implementation)  # a flash kernel may have taken its place
        _serve(manager, recording, workload, loaded)
        is_async = bool(manager.continuous_batching_config.use_async_batching)
        asked: dict[str, Any] = {
            "scheduler": scheduler if driver is None else "driven",
            "max_batch_tokens": budget,
            "pages": pages,
        }
        asked["attention"] = attention
        meta = _meta(
            loaded, workload, driver, scheduler, page_size, max(slots, recording.ledger.slots), is_async, asked
        )
        return recording.ledger.trace(meta, loaded.pieces if loaded.tokenizer is not None else None)


def _check_work(workload: Workload) -> None:
    if not isinstance(workload, Workload):
        raise AdapterError(f"workload must be a Workload, not {shown(workload)}.")
    if workload.arrival_unit == "iterations" and any(request.arrival for request in workload):
        raise AdapterError(
            f"{ENGINE} cannot keep arrivals that count iterations; count seconds, or let all requests arrive at 0."
        )
    drawn = [request.id for request in workload if not request.sampling.greedy]
    if drawn:
        raise AdapterError(f"request {drawn[0]} samples its tokens; {ENGINE} is recorded with greedy requests only.")


def _config(**wanted: Any) -> ContinuousBatchingConfig:
    """The configuration, under the names of the installed version."""
    known = {field.name for field in fields(ContinuousBatchingConfig)}
    if "page_size" not in known:  # 5.17
        wanted["block_size"] = wanted.pop("page_size")
    if "auto_switch_to_flash" not in known:  # nor does it switch
        del wanted["auto_switch_to_flash"]
    missing = wanted.keys() - known
    if missing:
        raise AdapterError(
            f"transformers {transformers.__version__} has no {', '.join(sorted(missing))} in ContinuousBatchingConfig."
        )
    return ContinuousBatchingConfig(**wanted)


def _serve(manager: Any, recording: Recording, workload: Workload, loaded: LoadedModel) -> None:
    """Run the manager until every request has its answer. Raises what went wrong in its thread."""
    if loaded.device.type == "cuda":
        manager.warmup()
    ready = [request for request in workload if not request.arrival]
    stopped = threading.Event()
    feeder = threading.Thread(target=_feed, args=(manager, recording, workload.requests[len(ready) :], loaded, stopped))
    for request in ready:
        _submit(manager, request, loaded)
    recording.started()
    log = logging.getLogger(LOGGER)
    log.addFilter(_nothing)  # what goes wrong is raised here, and not printed as well
    manager.start()
    try:
        feeder.start()
        open_requests = len(workload)
        while open_requests:
            result = manager.get_result(timeout=LOOK)
            if result is None:
                fatal = manager.background_thread_status.fatal_error
                if fatal is not None or not manager.is_running():
                    raise _failed(fatal)
            elif result.error is not None:
                raise _failed(manager.background_thread_status.fatal_error or EngineError(str(result.error)))
            elif result.is_finished():
                open_requests -= 1
    finally:
        stopped.set()
        manager.stop(block=True, hard_stop=True)
        manager.destroy()
        if feeder.ident is not None:
            feeder.join()
        log.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


def _submit(manager: Any, request: Request, loaded: LoadedModel) -> None:
    forced = request.output_length is not None
    ends = [-1] if forced else [*loaded.end_tokens, *request.stop_tokens]
    manager.add_request(
        list(request.prompt),
        request_id=str(request.id),
        max_new_tokens=request.output_length if forced else request.max_new_tokens,
        eos_token_id=ends or [-1],
    )


def _feed(
    manager: Any, recording: Recording, later: tuple[Request, ...], loaded: LoadedModel, stopped: threading.Event
) -> None:
    """Submit each request at its arrival."""
    for request in later:
        while (wait := request.arrival - recording.now()) > 0:
            if stopped.wait(wait):
                return
        _submit(manager, request, loaded)


def _failed(error: BaseException | None) -> CbvizError:
    """What happened in the generation thread, as the caller sees it."""
    if isinstance(error, CbvizError):
        return error
    said = "its generation thread ended" if error is None else one_line(error)
    made = EngineError(f"{ENGINE} failed in the middle of the run: {said}.")
    made.__cause__ = error
    return made


def _meta(
    loaded: LoadedModel,
    workload: Workload,
    driver: Driver | None,
    scheduler: str,
    page_size: int,
    slots: int,
    is_async: bool,
    asked: dict[str, Any],
) -> TraceMeta:
    if driver is None:
        name, summary = f"transformers {scheduler}", SUMMARIES[scheduler]
        parameters: dict[str, Any] = {}
    else:
        own, said = identity(driver.policy)
        name = f"{own} in transformers"[:100]
        summary = Message("policy.driven.summary", summary=said, engine="transformers")
        parameters = policy_parameters(driver.policy)
    return TraceMeta(
        policy=name,
        policy_summary=summary,
        slots=slots,
        block_size=page_size,
        total_blocks=0,
        model=loaded.name,
        device=device_name(loaded.device),
        dtype=str(loaded.dtype).removeprefix("torch."),
        workload=workload.name,
        seed=workload.seed,
        arrival_unit=workload.arrival_unit,
        clock="alone",
        lag=int(is_async),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        extra=parameters
        | asked
        | {
            "engine": f"transformers {transformers.__version__}",
            "left_out": ["KV blocks"],
        },
    )


__all__ = ["KNOWN_TRANSFORMERS", "run"]
