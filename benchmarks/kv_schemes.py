"""How much of the KV memory each scheme puts to use: three ways to reserve, and paging. No GPU needed.

    python benchmarks/kv_schemes.py --json FILE --svg FILE

The PagedAttention paper (SOSP'23, figure 2) reports for OPT-13B and ShareGPT that 20.4 % of the KV memory held token
states where Orca reserves the longest context, 26.8 % where it rounds outputs up to a power of two, 38.2 % where it
knows every output's length, and 96.3 % under vLLM. Here the same schemes serve two workloads in the same memory: that
of "How continuous batching enables 23x throughput in LLM inference" (Anyscale, 2023), and one with lengths like those
on which the paper measured. The schedule decides all of it, so the numbers are the same on every machine, with a model
and without.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from result_file import write

from cbviz.config import EngineConfig
from cbviz.errors import WorkloadError
from cbviz.measure.kv_use import KVShares, kv_shares
from cbviz.models import LoadedModel
from cbviz.policies import Orca, Policy, VllmV0
from cbviz.run.progress import SilentProgress
from cbviz.run.schedule import schedule
from cbviz.run.timed_run import Setting
from cbviz.trace import Trace
from cbviz.view.bars import Bars
from cbviz.workload import Workload
from cbviz.workload.checks import whole
from cbviz.workload.lengths import ExponentialClipped, ExponentialTruncated
from cbviz.workload.synthetic import synthetic

PAPER = {"Orca, maximum": 0.204, "Orca, power of two": 0.268, "Orca, oracle": 0.382, "vLLM, paged": 0.963}
"""The share of token states that the paper reports."""

KV_TOKENS = 14_000
"""Beside the 26 GB of OPT-13B's weights an A100 of 40 GB has room for about 14,000 tokens of 800 KiB and more."""
CONTEXT = 2048
PROMPT, MEAN, CAP = 512, 128, 1536
REQUESTS = 200
SLOTS = 64
"""More than ever run at once: memory is what limits, as in the paper."""


@dataclass(frozen=True, slots=True)
class KVSchemes:
    """What each scheme did with the same memory. Print it; `.chart()` draws it.

    Attributes
    ----------
    shares
        Scheme → how its KV memory was used, while requests waited.
    requests_running
        Scheme → mean requests in slots meanwhile.
    iterations, preemptions
        Scheme → of the whole run.
    traces
        Scheme → the run.
    """

    shares: dict[str, KVShares]
    requests_running: dict[str, float]
    iterations: dict[str, int]
    preemptions: dict[str, int]
    traces: dict[str, Trace]

    def __str__(self) -> str:
        head = ("", "used", "paper", "reserved", "never used", "free", "running", "iterations", "preemptions")
        rows = [
            (
                name,
                *(f"{x:.1%}" for x in (found.used, PAPER[name], found.reserved, found.internal, found.free)),
                f"{self.requests_running[name]:.1f}",
                f"{self.iterations[name]:,}",
                f"{self.preemptions[name]:,}",
            )
            for name, found in self.shares.items()
        ]
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in (head, *rows)
        ]
        return "\n".join([*lines, "", *WHY_NOT_THE_SAME])

    __repr__ = __str__

    def chart(self) -> Bars:
        """One bar a scheme; the stroke is what the paper reports."""
        return Bars(
            "KV memory, while requests wait",
            "share of the KV pool",
            ("used", "reserved", "never used", "free"),
            {name: (s.used, s.reserved, s.internal, s.free) for name, s in self.shares.items()},
            dict(PAPER),
            "used, in the paper",
        )

    def to_json(self) -> dict[str, Any]:
        """As plain numbers."""
        return {
            name: {
                "used": s.used,
                "paper": PAPER[name],
                "reserved": s.reserved,
                "internal": s.internal,
                "free": s.free,
                "running": self.requests_running[name],
                "iterations": self.iterations[name],
                "preemptions": self.preemptions[name],
            }
            for name, s in self.shares.items()
        }


WHY_NOT_THE_SAME = (
    "The order is the paper's, and the reason, too: what is reserved and not yet written serves no request.",
    "Two things make the numbers differ. The work: long prompts and short outputs fill a reservation from its first",
    "iteration; outputs that are longer than prompts, as in ShareGPT, leave it empty for long. And contiguity: a",
    "reservation of the paper's Orca lies in one piece, and what is lost between the pieces (external fragmentation)",
    "counts against it; here blocks lie anywhere, and free is only what the next request does not fit into.",
)


def article_workload(requests: int = REQUESTS, *, vocabulary: int = 50_272, seed: int = 0) -> Workload:
    """The article's throughput workload: 512 prompt tokens, outputs exponential with mean 128, redrawn above 1,536.

    All wait at 0. Raises WorkloadError for a number of requests, a vocabulary or a seed that makes no sense.
    """
    law = ExponentialTruncated(MEAN, CAP)
    return synthetic(requests, law, prompt_tokens=PROMPT, vocabulary=vocabulary, seed=seed)


def paper_workload(requests: int = REQUESTS, *, vocabulary: int = 50_272, seed: int = 0) -> Workload:
    """Lengths like ShareGPT's, on which the paper measured: prompts of 161 and outputs of 338 tokens on average (§6.2).

    Only the means are the paper's; both laws are exponential. All wait at 0. Raises WorkloadError for a number of
    requests, a vocabulary or a seed that makes no sense.
    """
    prompts, outputs = ExponentialClipped(161, CONTEXT // 2), ExponentialTruncated(338, CONTEXT // 2)
    return synthetic(requests, outputs, prompt_tokens=prompts, vocabulary=vocabulary, seed=seed)


def schemes(workload: Workload) -> dict[str, Policy]:
    """The four schemes of the paper. Power of two and oracle know the true lengths, as in the paper: they cheat."""
    lengths = {request.id: request.output_length or request.max_new_tokens for request in workload}
    return {
        "Orca, maximum": Orca("maximum"),
        "Orca, power of two": Orca("power_of_two", lengths),
        "Orca, oracle": Orca("oracle", lengths),
        "vLLM, paged": VllmV0(),
    }


def kv_schemes(
    workload: Workload | None = None,
    *,
    model: LoadedModel | None = None,
    kv_tokens: int = KV_TOKENS,
    block_size: int = 16,
    context: int = CONTEXT,
    slots: int = SLOTS,
) -> KVSchemes:
    """Serve the same requests under three reserving schemes and under paging, in the same KV memory.

    Parameters
    ----------
    workload
        Requests with forced lengths; None draws `article_workload()`.
    model
        A model to run it on; None runs the schedule alone, which gives the same shares.
    kv_tokens, block_size
        The KV pool, and how it is cut.
    context
        The longest context, in tokens: what "maximum" reserves.
    slots
        Requests that can run at once; many, so that memory is the limit.

    Raises
    ------
    WorkloadError
        A request without a forced length, or that is longer than the context; numbers that make no sense.
    CbvizError
        Whatever the engine or the model refuses.
    """
    for name, value in (("kv_tokens", kv_tokens), ("block_size", block_size), ("context", context), ("slots", slots)):
        whole(name, value)
    work = article_workload() if workload is None else workload
    traces = {}
    for name, policy in schemes(work).items():
        if model is None:
            traces[name] = schedule(
                policy,
                work,
                slots=slots,
                block_size=block_size,
                kv_blocks=kv_tokens // block_size,
                context_limit=context,
            )
        else:
            traces[name] = _on_a_model(model, policy, work, slots, block_size, kv_tokens // block_size, context)
    shares = {name: kv_shares(trace) for name, trace in traces.items()}
    return KVSchemes(
        shares=shares,
        requests_running={name: _running(trace) for name, trace in traces.items()},
        iterations={name: len(trace.iterations) for name, trace in traces.items()},
        preemptions={name: int(trace.requests.preemptions.sum()) for name, trace in traces.items()},
        traces=traces,
    )


def _on_a_model(
    model: LoadedModel, policy: Policy, work: Workload, slots: int, block_size: int, kv_blocks: int, context: int
) -> Trace:
    if any(request.output_length is None for request in work):
        raise WorkloadError("every request needs an output_length, so that all schemes serve the same work.")
    setting = Setting(model, policy, work, EngineConfig(slots, kv_blocks, block_size, context_limit=context))
    lane = setting.lane(setting.executor(SilentProgress()))
    for _ in lane.run():
        pass
    return lane.trace(texts=False)


def _running(trace: Trace) -> float:
    """Mean requests in slots, while requests waited."""
    it = trace.iterations
    busy = trace.meta.slots - it.idle_slots
    return float(busy[it.waiting > 0].mean())


WORKLOADS = {"the article's": article_workload, "lengths like ShareGPT's": paper_workload}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--kv-tokens", type=int, default=KV_TOKENS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the first workload")
    options = parser.parse_args(argv)
    found: dict[str, Any] = {}
    for name, drawn in WORKLOADS.items():
        work = drawn(options.requests, seed=options.seed)
        result = kv_schemes(work, kv_tokens=options.kv_tokens)
        print(f"{name}: {work.name}\n{result}\n", flush=True)
        if options.svg and not found:
            result.chart().to_svg(options.svg)
        found[name] = {"workload": work.name, "requests": len(work), "schemes": result.to_json()}
    if options.json:
        write(options.json, __file__, argv, kv_tokens=options.kv_tokens, workloads=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
