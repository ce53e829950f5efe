"""A run in a few numbers, and as the table that `vllm bench serve` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cbviz.events import FinishReason
from cbviz.measure.checks import a_trace, percentiles_of
from cbviz.measure.latency import Delivery, Distribution, latencies
from cbviz.measure.slot_use import SlotUse, slot_use
from cbviz.trace import Trace

WIDTH = 50


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in a few numbers: seconds, tokens and requests. Latencies are those of completed requests only.

    Attributes
    ----------
    policy, slots, iterations
        Name of the policy, slots, and forward passes.
    seconds
        From 0 on the lane's clock to the end of the last iteration: vLLM's benchmark duration.
    requests, completed, cancelled
        Requests submitted, completed and cancelled. The others were cut off with the run.
    prompt_tokens
        Of the completed requests, as in vLLM.
    output_tokens
        Delivered to requests, including those that did not complete. Tokens of held rows do not count.
    request_throughput, output_throughput, total_throughput
        Completed requests, output tokens, prompt + output tokens, each / seconds; 0 for a run without duration.
    ttft, tpot, itl, e2el
        Seconds; see `cbviz.measure.latency`.
    slot_iterations, slot_seconds
        How the slots were used; see `cbviz.measure.slot_use`.
    preemptions
        How often a running request lost its slot.
    kv_used, kv_reserved, kv_internal
        Shares of the pool's positions: written; allocated and written later; allocated and never written (internal
        fragmentation). Means over the iterations, so that runs of one schedule agree whatever their clocks said; the
        rest is free.
    kv_peak
        The largest share of the pool's blocks allocated in any iteration.
    prefix_queries, prefix_hits, evictions
        Tokens of admitted requests looked up in the prefix cache, tokens of these that were found and so not computed,
        and cached blocks reused for other content.
    swapped_out_bytes, swapped_in_bytes
        Keys and values copied to host memory by preemptions, and back.
    """

    policy: str
    slots: int
    iterations: int
    seconds: float
    requests: int
    completed: int
    cancelled: int
    prompt_tokens: int
    output_tokens: int
    request_throughput: float
    output_throughput: float
    total_throughput: float
    ttft: Distribution
    tpot: Distribution
    itl: Distribution
    e2el: Distribution
    slot_iterations: SlotUse
    slot_seconds: SlotUse
    preemptions: int
    kv_used: float
    kv_reserved: float
    kv_internal: float
    kv_peak: float
    prefix_queries: int
    prefix_hits: int
    evictions: int
    swapped_out_bytes: int
    swapped_in_bytes: int


def summary(trace: Trace, percentiles: Sequence[float] = (99,), delivery: Delivery = "stream") -> Summary:
    """Summarise a run.

    Definitions are those of `vllm bench serve` (vLLM 0.33), except that the throughput of a stopped run counts all its
    output tokens, while vLLM counts those of completed requests.

    Parameters
    ----------
    trace
        The run, whole or stopped.
    percentiles
        Percentiles of the distributions, 0 … 100.
    delivery
        When the client receives its tokens (see `cbviz.measure.latency.Delivery`).

    Returns
    -------
    Summary
        The numbers.

    Raises
    ------
    MeasureError
        A percentile is outside 0 … 100, the delivery is unknown, or `trace` is not a trace.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import summary
    >>> found = summary(cbviz.recorded("smollm2-8")[1])
    >>> found.completed, round(found.output_throughput), f"{found.ttft.percentiles[99]:.2f} s"
    (48, 1333, '0.56 s')
    """
    percentiles = percentiles_of(percentiles)
    rq, it = a_trace(trace).requests, trace.iterations
    found = latencies(trace, delivery)
    seconds = trace.seconds
    done = int(found.completed.sum())
    prompts = int(rq.prompt_tokens[found.completed].sum())
    output = trace.output_tokens
    pool = trace.meta.total_blocks or 1
    positions = pool * trace.meta.block_size
    counted = positions * (len(it) or 1)
    return Summary(
        policy=trace.meta.policy,
        slots=trace.meta.slots,
        iterations=len(it),
        seconds=seconds,
        requests=len(rq),
        completed=done,
        cancelled=int((rq.reason == FinishReason.CANCELLED).sum()),
        prompt_tokens=prompts,
        output_tokens=output,
        request_throughput=_rate(done, seconds),
        output_throughput=_rate(output, seconds),
        total_throughput=_rate(prompts + output, seconds),
        ttft=Distribution.of(found.ttft, percentiles),
        tpot=Distribution.of(found.tpot, percentiles),
        itl=Distribution.of(found.itl, percentiles),
        e2el=Distribution.of(found.e2el, percentiles),
        slot_iterations=slot_use(trace),
        slot_seconds=slot_use(trace, "seconds"),
        preemptions=int(rq.preemptions.sum()),
        kv_used=int(it.kv_used.sum()) / counted,
        kv_reserved=int(it.kv_reserved.sum()) / counted,
        kv_internal=int(it.kv_internal.sum()) / counted,
        kv_peak=float(np.max(it.blocks_used + it.blocks_reserved, initial=0)) / pool,
        prefix_queries=int(it.prefix_queries.sum()),
        prefix_hits=int(it.prefix_hits.sum()),
        evictions=int(it.evictions.sum()),
        swapped_out_bytes=int(it.swapped_out.sum()) * trace.meta.block_bytes,
        swapped_in_bytes=int(it.swapped_in.sum()) * trace.meta.block_bytes,
    )


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0


def serving_table(trace: Trace, percentiles: Sequence[float] = (99,), delivery: Delivery = "stream") -> str:
    """The summary as the table that `vllm bench serve` prints, plus a section on slots and KV cache.

    Rows and units are vLLM's (requests and tokens per second, milliseconds), so that two systems compare line by line.

    Parameters
    ----------
    trace, percentiles, delivery
        As in `summary`.

    Returns
    -------
    str
        The table, 50 characters wide.

    Raises
    ------
    MeasureError
        As in `summary`.

    Examples
    --------
    >>> import cbviz
    >>> from cbviz.measure import serving_table
    >>> for line in serving_table(cbviz.recorded("smollm2-8")[1]).splitlines()[:3]:
    ...     print(line)
    ============ Serving Benchmark Result ============
    Successful requests:                     48
    Benchmark duration (s):                  1.14
    """
    s = summary(trace, percentiles, delivery)
    lines = [
        f"{' Serving Benchmark Result ':=^{WIDTH}}",
        _row("Successful requests:", s.completed),
        _row("Benchmark duration (s):", s.seconds),
        _row("Total input tokens:", s.prompt_tokens),
        _row("Total generated tokens:", s.output_tokens),
        _row("Request throughput (req/s):", s.request_throughput),
        _row("Output token throughput (tok/s):", s.output_throughput),
        _row("Total token throughput (tok/s):", s.total_throughput),
    ]
    for title, name, values in (
        ("Time to First Token", "TTFT", s.ttft),
        ("Time per Output Token (excl. 1st token)", "TPOT", s.tpot),
        ("Inter-token Latency", "ITL", s.itl),
        ("End-to-end Latency", "E2EL", s.e2el),
    ):
        lines.append(f"{title:-^{WIDTH}}")
        lines.append(_row(f"Mean {name} (ms):", values.mean * 1e3))
        lines.append(_row(f"Median {name} (ms):", values.median * 1e3))
        lines += [_row(f"P{p:g} {name} (ms):", value * 1e3) for p, value in values.percentiles.items()]
    lines += [
        f"{'Slots and KV cache':-^{WIDTH}}",
        _row("Policy:", s.policy),
        _row("Slots:", s.slots),
        _row("Iterations:", s.iterations),
        _row("Slot occupancy, by iterations (%):", s.slot_iterations.occupancy * 100),
        _row("Slot occupancy, by seconds (%):", s.slot_seconds.occupancy * 100),
        _row("Preemptions:", s.preemptions),
        *(_row(label, f"{share:.2f}") for label, share in _kv_shares(s)),
    ]
    if s.prefix_queries:
        lines.append(_row("Prefix cache hits (% of tokens):", s.prefix_hits / s.prefix_queries * 100))
        lines.append(_row("Prefix cache evictions (blocks):", s.evictions))
    if s.swapped_out_bytes:
        lines.append(_row("Swapped out (MiB):", s.swapped_out_bytes / 2**20))
        lines.append(_row("Swapped in (MiB):", s.swapped_in_bytes / 2**20))
    lines.append("=" * WIDTH)
    return "\n".join(lines)


def _kv_shares(s: Summary) -> list[tuple[str, float]]:
    """Labels and percentages of the KV memory by iterations; as shown they sum to 100: the last is what is left."""
    named = {"written": s.kv_used, "reserved for later": s.kv_reserved, "never written": s.kv_internal}
    shares = [(f"Of KV memory, {name} (%):", round(share * 100, 2)) for name, share in named.items()]
    return [*shares, ("Of KV memory, free (%):", max(0.0, 100 - sum(share for _, share in shares)))]


def _row(label: str, value: str | int | float) -> str:
    if isinstance(value, float):
        value = "n/a" if math.isnan(value) else f"{value:.2f}"
    return f"{label:<40} {value:<10}".rstrip()
