"""What long prompts do to decoding requests under several schedulers: gaps between tokens, stalls, first tokens.

    python benchmarks/stalls.py --json FILE
    python benchmarks/stalls.py --model tiny --decoding 4 --output-tokens 60 --long 4 --long-prompt 100:200 --rate 20

Some requests decode steadily; long prompts come in at random. A scheduler that stops all rows for a prefill (TGI, vLLM
V0) shows it as gaps between the tokens of those that decode; one that cuts prompts into chunks (Sarathi-Serve, vLLM V1)
pays with a later first token of the long ones (Sarathi-Serve, OSDI'24, §3.1 and figure 1).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from result_file import write

from cbviz.config import EngineConfig
from cbviz.core.executor import Executor
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.errors import CbvizError, PolicyError
from cbviz.measure.latency import Distribution, latencies
from cbviz.measure.stalls import stall_seconds, token_gaps
from cbviz.models import LoadedModel, as_loaded, load
from cbviz.models.device import device_name
from cbviz.policies import Policy, Sarathi, fresh, get, identity
from cbviz.run.capacity import choose_kv_blocks
from cbviz.run.how import choose_backend
from cbviz.run.progress import Progress, SilentProgress
from cbviz.run.timed_run import Setting
from cbviz.trace import Trace
from cbviz.view.chart import Chart
from cbviz.view.charts import latency_cdf
from cbviz.workload import Workload
from cbviz.workload.arrivals import Poisson
from cbviz.workload.checks import whole
from cbviz.workload.lengths import Fixed, Uniform
from cbviz.workload.synthetic import synthetic

_MOST_TIMES = 5
POLICIES = ("tgi", "vllm_v0", "vllm_v1", "sarathi")


@dataclass(frozen=True, slots=True)
class PolicyStalls:
    """One policy; seconds.

    Attributes
    ----------
    itl
        Gaps between the tokens of those who decode.
    itl_max
        The longest of them.
    stalls, longest_stall, stalled
        How many stalls there were, of all requests, the longest, and the share of slot-seconds that they took of the
        slots in use. A long prompt that has given its first token can be stalled by the next one, too.
    ttft
        Of the long prompts.
    tokens_per_second
        Output tokens of everybody.
    trace
        The run.
    """

    policy: str
    itl: Distribution
    itl_max: float
    stalls: int
    longest_stall: float
    stalled: float
    ttft: Distribution
    tokens_per_second: float
    trace: Trace

    def to_json(self) -> dict[str, Any]:
        """As plain numbers; seconds."""
        return {
            "policy": self.policy,
            "itl_p50": self.itl.median,
            "itl_p99": self.itl.percentiles[99],
            "itl_max": self.itl_max,
            "stalls": self.stalls,
            "longest_stall": self.longest_stall,
            "stalled_share": self.stalled,
            "ttft_p50": self.ttft.median,
            "ttft_p99": self.ttft.percentiles[99],
            "tokens_per_second": self.tokens_per_second,
            "iterations": len(self.trace.iterations),
            "seconds": self.trace.seconds,
        }


@dataclass(frozen=True, slots=True)
class Stalls:
    """What each policy did with the same arrivals. Print it; `.chart()` draws the gaps."""

    model: str
    device: str
    workload: str
    found: tuple[PolicyStalls, ...]

    def __str__(self) -> str:
        head = ("", "ITL p50", "p99", "max", "stalls", "longest", "TTFT p50", "p99", "tokens/s")
        rows = [
            (
                one.policy,
                *(f"{x * 1e3:,.4g}" for x in (one.itl.median, one.itl.percentiles[99], one.itl_max)),
                f"{one.stalls:,}",
                *(f"{x * 1e3:,.4g}" for x in (one.longest_stall, one.ttft.median, one.ttft.percentiles[99])),
                f"{one.tokens_per_second:,.0f}",
            )
            for one in self.found
        ]
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in (head, *rows)
        ]
        title = f"{self.model} on {self.device}: {self.workload}"
        said = "milliseconds; ITL of those who decode, stalls of all requests, TTFT of the long prompts"
        return "\n".join([title, said, *lines])

    __repr__ = __str__

    def chart(self) -> Chart:
        """The gaps between all tokens, as a cumulative distribution."""
        return latency_cdf(*(one.trace for one in self.found), metric="itl")


def stall_workload(
    *,
    vocabulary: int,
    decoding: int = 32,
    output_tokens: int = 1024,
    long: int = 24,
    long_prompt: tuple[int, int] = (2048, 4096),
    rate: float = 3.0,
    seed: int = 0,
) -> Workload:
    """Requests that decode from the beginning, and long prompts that come at random.

    Parameters
    ----------
    vocabulary
        Of the model.
    decoding, output_tokens
        How many decode, and how many tokens each: ids 0 … decoding - 1, prompts of 64, there at 0.
    long, long_prompt, rate
        How many long prompts there are, between which lengths, and how many arrive a second (Poisson). Each gives 16
        tokens.
    seed
        Of all draws.

    Raises
    ------
    WorkloadError
        Numbers that make no sense.
    """
    steady = synthetic(decoding, Fixed(output_tokens), prompt_tokens=64, vocabulary=vocabulary, seed=seed)
    coming = synthetic(
        long, Fixed(16), Poisson(rate), prompt_tokens=Uniform(*long_prompt), vocabulary=vocabulary, seed=seed + 1
    )
    moved = tuple(replace(request, id=request.id + decoding) for request in coming)
    low, high = long_prompt
    name = (
        f"{decoding} decode {output_tokens} tokens; {long} prompts of {low} to {high} tokens arrive, Poisson, "
        f"{rate:g} a second"
    )
    return Workload(name, (*steady, *moved), seed)


def stalls(
    model: str | LoadedModel,
    policies: Sequence[str | Policy] = POLICIES,
    *,
    workload: Workload | None = None,
    decoding: int = 32,
    slots: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    block_size: int | None = None,
    kv_blocks: int | None = None,
    compiled: bool = True,
    progress: Progress | None = None,
) -> Stalls:
    """Serve the same arrivals under several policies, undisturbed, and measure what the long prompts do to the others.

    Every policy serves the work twice, one after the other on one executor; the second time is reported. On a GPU a
    policy whose second time still met a shape of its own serves again, up to three times more: what capturing a graph
    takes is no stall of the scheduler's.

    Parameters
    ----------
    model
        A name for `cbviz.models.load`, or a model from there.
    policies
        Names, or policy objects.
    workload, decoding
        What to serve: its first `decoding` requests are those who decode, all others the long prompts. None draws
        `stall_workload`.
    slots
        None: for everybody who decodes, and half as many more.
    device, dtype, block_size, kv_blocks, compiled
        As for `cbviz.run.bench.bench`.
    progress
        Where to report how far it is.

    Raises
    ------
    CbvizError
        Anything that makes no sense, or does not fit, in one sentence.
    """
    if isinstance(policies, str) or not policies:
        raise PolicyError(f"policies must be a list of at least one, not {policies!r}.")
    chosen = [fresh(get(policy)) for policy in policies]
    whole("decoding", decoding)
    loaded = as_loaded(model, device=device, dtype=dtype)
    work = workload or stall_workload(vocabulary=loaded.vocabulary, decoding=decoding)
    if not decoding < len(work):
        raise CbvizError(f"the workload has {len(work)} requests; besides the {decoding} that decode it needs others.")
    cuda = loaded.device.type == "cuda"
    n, size = slots or decoding + max(1, decoding // 2), block_size or (32 if cuda else 16)
    blocks = choose_kv_blocks(loaded, work, slots=n, block_size=size, kv_blocks=kv_blocks)
    backend = choose_backend(loaded)
    graphs = backend == "graphs"
    config = EngineConfig(n, blocks, size, lag=int(graphs), backend=backend, compiled=graphs and compiled)
    setting = Setting(loaded, chosen[0], work, config)
    shown = progress or SilentProgress()
    try:
        executor = setting.executor(shown)
        shown.start("stalls", 2 * len(chosen))
        found = []
        for policy in chosen:
            for time in range(_MOST_TIMES):
                ready = _shapes(executor)
                lane = replace(setting, policy=policy).timed(executor, record=True).lane
                if time < 2:
                    shown.advance("stalls", note=identity(policy)[0])
                if time and _shapes(executor) == ready:
                    break
            assert lane is not None
            found.append(_measured(identity(policy)[0], lane.trace(texts=False), decoding))
    finally:
        shown.close()
    return Stalls(loaded.name, device_name(loaded.device), work.name, tuple(found))


def _shapes(executor: Executor) -> int:
    """How many shapes it has captured."""
    return executor.ready if isinstance(executor, GraphExecutor) else 0


def _measured(policy: str, trace: Trace, decoding: int) -> PolicyStalls:
    ids = trace.requests.id
    gaps = token_gaps(trace, ids[:decoding].tolist())
    stalled = stall_seconds(trace)
    it = trace.iterations
    used = float(((trace.meta.slots - it.idle_slots) * (it.t_end - it.t_start)).sum())
    return PolicyStalls(
        policy=policy,
        itl=Distribution.of(gaps),
        itl_max=float(np.max(gaps, initial=0.0)),
        stalls=len(stalled),
        longest_stall=float(np.max(stalled, initial=0.0)),
        stalled=float(stalled.sum()) / used if used else 0.0,
        ttft=Distribution.of(latencies(trace).ttft[decoding:]),
        tokens_per_second=trace.tokens_per_second,
        trace=trace,
    )


def lengths(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    if not low.isdecimal() or not high.isdecimal() or not 0 < int(low) <= int(high):
        raise argparse.ArgumentTypeError(f"must be LOW:HIGH, such as 2048:4096, not {text!r}")
    return int(low), int(high)


def policy(text: str) -> Policy:
    """A policy from its name; sarathi:512 also sets the chunk."""
    name, _, chunk = text.partition(":")
    return Sarathi(chunk_size=int(chunk)) if name == "sarathi" and chunk.isdecimal() else get(text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:llama-3.1-8b")
    parser.add_argument("--policy", action="append", help=f"several times; sarathi:512 sets the chunk ({POLICIES})")
    parser.add_argument("--decoding", type=int, default=32, help="requests that decode all the time (32)")
    parser.add_argument("--output-tokens", type=int, default=1024, help="output tokens of each (1024)")
    parser.add_argument("--long", type=int, default=24, help="long prompts that arrive (24)")
    parser.add_argument("--long-prompt", type=lengths, default=(2048, 4096), metavar="LOW:HIGH")
    parser.add_argument("--rate", type=float, default=3.0, help="of them a second (3)")
    parser.add_argument("--slots", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the gaps between tokens")
    options = parser.parse_args(argv)
    loaded = load(options.model, device=options.device, dtype=options.dtype, progress=False)
    work = stall_workload(
        vocabulary=loaded.vocabulary,
        decoding=options.decoding,
        output_tokens=options.output_tokens,
        long=options.long,
        long_prompt=options.long_prompt,
        rate=options.rate,
        seed=options.seed,
    )
    found = stalls(
        loaded,
        [policy(name) for name in options.policy or POLICIES],
        workload=work,
        decoding=options.decoding,
        slots=options.slots,
        compiled=not options.no_compile,
    )
    print(found, flush=True)
    if options.svg:
        found.chart().to_svg(options.svg)
    if options.json:
        policies = [one.to_json() for one in found.found]
        about = {"model": found.model, "device": found.device, "workload": found.workload}
        write(options.json, __file__, argv, **about, policies=policies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
