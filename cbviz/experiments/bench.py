"""The benchmark: how fast one policy serves one workload here, what the hardware would allow, and where the rest goes.

Runs are undisturbed: one executor, made once, serves the whole workload `repeats` times, and the clock on the wall is
read before the first request is submitted and after the last token has come. Tokens are those that requests asked for,
nothing else.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import torch

from cbviz.checks import flag
from cbviz.errors import WorkloadError
from cbviz.experiments.alone import Setting
from cbviz.experiments.bench_work import named_workload, suitable
from cbviz.experiments.breakdown import Breakdown
from cbviz.experiments.capacity import check_swap, choose_kv_blocks
from cbviz.experiments.how import check_compiler, graphs_or_not, how_it_runs
from cbviz.experiments.lane import device_name, versions
from cbviz.experiments.outlook import longest_run
from cbviz.experiments.peers import PeerJob, PeerResult, check_peers, run_peer
from cbviz.experiments.progress import Progress, SilentProgress
from cbviz.experiments.rates import measured_rates, model_facts
from cbviz.experiments.why import Why, why
from cbviz.limits import (
    MOST_BLOCK_SIZE,
    MOST_EXACT,
    MOST_REPEATS,
    MOST_REQUESTS,
    MOST_SEED,
    MOST_SLOTS,
    MOST_TOKENS,
    whole,
)
from cbviz.measure.floor import Floor, ModelFacts, Rates, floor
from cbviz.measure.summary import serving_table
from cbviz.memory import KVOptions, Preemption
from cbviz.models import LoadedModel, as_loaded
from cbviz.policies import Policy, fresh, get, identity
from cbviz.trace import Trace
from cbviz.workload import Workload

REPEATS = 3
SLOTS = {"cuda": 32, "cpu": 8}
BLOCK_SIZE = {"cuda": 32, "cpu": 16}


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What a benchmark found. Seconds are those on the wall.

    Attributes
    ----------
    runs
        Seconds of every timed run; `seconds` is their median.
    output_tokens, iterations
        Of one run.
    trace
        The recorded run: the one with the median time, or, if timed runs were not recorded, one more.
    scheduler, served
        The policy as it was handed over (a copy that was never asked), and the workload.
    recorded
        Whether the timed runs were recorded.
    floor
        The floor of that trace (see `cbviz.measure.floor`), for these facts and rates.
    breakdown
        Shares of a step; None on a CPU, or if nobody asked.
    peers
        What other engines did with the same work.
    notes
        How it was computed, in sentences, where that needs saying (see `cbviz.experiments.how`).
    """

    model: str
    device: str
    dtype: str
    weights: str
    policy: str
    workload: str
    seed: int
    requests: int
    slots: int
    lag: int
    block_size: int
    kv_blocks: int
    graphs: bool
    compiled: bool
    recorded: bool
    output_tokens: int
    iterations: int
    runs: tuple[float, ...]
    trace: Trace
    scheduler: Policy
    served: Workload
    facts: ModelFacts
    rates: Rates
    floor: Floor
    breakdown: Breakdown | None
    peers: tuple[PeerResult, ...]
    date: str
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Median seconds of a run."""
        return statistics.median(self.runs)

    @property
    def tokens_per_second(self) -> float:
        return self.output_tokens / self.seconds

    @property
    def efficiency(self) -> float:
        """The floor's seconds over the measured ones."""
        return self.floor.seconds / self.seconds

    def table(self) -> str:
        """The recorded run as `vllm bench serve` prints its results."""
        return serving_table(self.trace)

    def why(self, request: int | None = None, iteration: int = 0) -> Why:
        """Why the recorded run let a request in, or did not (see `cbviz.experiments.why`). Raises MeasureError."""
        prompts = {request.id: request.prompt for request in self.served}
        return why(self.trace, request, iteration, policy=self.scheduler, prompts=prompts)

    def to_json(self) -> dict[str, Any]:
        """The result as plain numbers and strings."""
        names = (
            "model", "device", "dtype", "weights", "policy", "workload", "seed", "requests", "slots", "lag",
            "block_size", "kv_blocks", "graphs", "compiled", "recorded", "output_tokens", "iterations",
        )  # fmt: skip
        return {
            **{name: getattr(self, name) for name in names},
            "prompt_tokens": int(self.trace.requests.prompt_tokens.sum()),
            "repeats": len(self.runs),
            "seconds": self.seconds,
            "seconds_range": [min(self.runs), max(self.runs)],
            "runs": list(self.runs),
            "lane_seconds": self.trace.seconds,
            "tokens_per_second": self.tokens_per_second,
            "floor_tokens_per_second": self.floor.tokens_per_second,
            "efficiency": self.efficiency,
            "occupancy": self.trace.occupancy,
            "floor": asdict(self.floor),
            "facts": asdict(self.facts),
            "rates": asdict(self.rates),
            "breakdown": None if self.breakdown is None else asdict(self.breakdown),
            "peers": [peer.to_json() for peer in self.peers],
            "versions": self.versions,
            "notes": list(self.notes),
            "date": self.date,
        }


def bench(
    model: str | LoadedModel = "tiny",
    policy: str | Policy = "continuous",
    *,
    workload: str | Workload | None = None,
    requests: int | None = None,
    prompt_tokens: int | None = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
    slots: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    weights: str | None = None,
    repeats: int = REPEATS,
    lag: int | None = None,
    block_size: int | None = None,
    kv_blocks: int | None = None,
    prefix_cache: bool = False,
    preemption: Preemption = "recompute",
    swap_blocks: int | None = None,
    graphs: bool | None = None,
    compiled: bool = True,
    ignore_generation_config: bool = False,
    record: bool = True,
    profile: bool = True,
    rates: Rates | None = None,
    peers: Sequence[str] = (),
    progress: Progress | None = None,
) -> BenchResult:
    """Serve a workload under one policy, undisturbed, several times; measure, and say what the hardware would allow.

    Parameters
    ----------
    model
        A name for `cbviz.models.load`, or a model from there.
    policy
        A name, or a policy object. Every run, the warm-up too, starts from a fresh copy of it.
    workload
        "yardstick", "exponential", "truncated", "questions", "tasks", or your own; None takes what suits the model.
    requests, prompt_tokens, max_new_tokens, seed
        Of a workload that is drawn by name (see `cbviz.experiments.bench_work.named_workload`).
    slots
        Requests that can run at once; None takes 32 on a GPU, 8 on a CPU.
    device, dtype
        Where and in what; None takes the GPU if there is one that can be used (in bfloat16, or float16 where it has no
        bfloat16 arithmetic), else the CPU in float32.
    weights
        "int8" stores the model's weights in a byte each (see `cbviz.models.int8`). Peers load them as dtype says.
    repeats
        Timed runs, at least 1. The median is reported, and the range.
    lag
        0 or 1; None takes 1 with CUDA graphs on a GPU, else 0.
    block_size, kv_blocks
        The KV pool. None takes blocks of 32 positions on a GPU (16 on a CPU), and as many as the workload can use and
        the free memory can hold, less a reserve (see `cbviz.experiments.capacity`).
    prefix_cache, preemption, swap_blocks
        What is done about KV memory (see `cbviz.memory.KVOptions`).
    graphs
        Whether iterations run as CUDA graphs; None does where the model and the device allow it. On a CPU True runs the
        same passes without graphs.
    compiled
        Whether torch.compile works on the passes that become graphs.
    ignore_generation_config
        As for `cbviz.race`; peers do the same.
    record
        False does not record the timed runs, to show what recording costs. One more run is recorded for the floor.
    profile
        Whether to profile some iterations on a GPU, after the timed runs.
    rates
        Copy bandwidth and arithmetic rate for the floor; None measures them here.
    peers
        "transformers-static", "transformers-cb": engines to run on the same work, in processes of their own, after
        this one has given its memory back. They load the model by name.
    progress
        Where to report how far it is.

    Raises
    ------
    CbvizError
        Anything that makes no sense, or that does not fit, in one sentence, before anything large is allocated.
    """
    counts = {
        "requests": (requests, MOST_REQUESTS),
        "prompt_tokens": (prompt_tokens, MOST_TOKENS),
        "max_new_tokens": (max_new_tokens, MOST_TOKENS),
        "slots": (slots, MOST_SLOTS),
        "repeats": (repeats, MOST_REPEATS),
        "block_size": (block_size, MOST_BLOCK_SIZE),
        "kv_blocks": (kv_blocks, MOST_EXACT),
    }
    for name, (value, most) in counts.items():
        if value is not None:
            whole(name, value, 1, most)
    whole("seed", seed, 0, MOST_SEED)
    flag("ignore_generation_config", ignore_generation_config)
    chosen = fresh(get(policy))
    check_peers(peers, model)
    loaded = as_loaded(model, device=device, dtype=dtype, weights=weights)
    where, kind = str(loaded.device), loaded.device.type
    if isinstance(workload, Workload):
        if (requests, prompt_tokens, max_new_tokens) != (None, None, None):
            raise WorkloadError("give a workload of your own, or numbers for one to draw, not both.")
    else:
        workload = named_workload(
            suitable(loaded) if workload is None else workload,
            loaded,
            requests=requests,
            prompt_tokens=prompt_tokens,
            max_new_tokens=max_new_tokens,
            seed=seed,
        )
    slots, block_size = slots or SLOTS[kind], block_size or BLOCK_SIZE[kind]
    blocks = choose_kv_blocks(loaded, workload, slots=slots, block_size=block_size, kv_blocks=kv_blocks)
    notes = how_it_runs(loaded, graphs)
    graphs = graphs_or_not(loaded, graphs)
    if graphs and compiled:
        check_compiler(loaded.device)
    if lag is None:
        lag = int(graphs and kind == "cuda")
    name, precision = loaded.name, str(loaded.dtype).removeprefix("torch.")
    # Made now, so that what peers cannot serve is refused before anything runs.
    job = None
    if peers:
        job = PeerJob.of(name, workload, device=where, dtype=precision, slots=slots, repeats=repeats)
        job = replace(job, ignore_generation_config=ignore_generation_config)
    shown = progress or SilentProgress()
    check_swap(loaded, swap_blocks, block_size)
    kv = KVOptions(prefix_cache, preemption, swap_blocks)
    setting = Setting(
        loaded,
        chosen,
        workload,
        slots,
        block_size,
        blocks,
        lag,
        graphs,
        graphs and compiled,
        kv=kv,
        ignore_generation_config=ignore_generation_config,
    )
    try:
        result = replace(_measured(setting, repeats, record, profile, rates, shown), notes=notes)
        if job is not None:
            del setting, loaded
            _give_memory_back()
            result = replace(result, peers=tuple(run_peer(peer, job, shown) for peer in peers))
    finally:
        shown.close()
    return result


def _measured(
    setting: Setting, repeats: int, record: bool, profile: bool, rates: Rates | None, progress: Progress
) -> BenchResult:
    loaded = setting.loaded
    rates = rates or measured_rates(loaded.device, loaded.dtype)
    executor = setting.executor(progress)
    each = longest_run(setting.workload, setting.slots, setting.warm_up(executor))
    name, _ = identity(setting.policy)
    title = f"{name}, run alone"
    runs_of = f"{repeats} run{'s' * (repeats > 1)} of {len(setting.workload):,} requests"
    progress.expect(repeats * each, repeats, runs_of)
    progress.start(title, repeats)
    runs = []
    for _ in range(repeats):
        runs.append(setting.timed(executor, record))
        progress.advance(title, note=f"{runs[-1].tokens / runs[-1].seconds:,.0f} tokens/s")
    middle = sorted(runs, key=lambda run: run.seconds)[(repeats - 1) // 2]
    lane = middle.lane or setting.timed(executor, record=True).lane
    assert lane is not None
    trace = lane.trace()
    found = setting.profile(executor) if profile and loaded.device.type == "cuda" else None
    # Compiled code may outlive the executor; the cache must not.
    executor.cache.keys.clear()
    executor.cache.values.clear()
    executor.cache.host = None
    facts = model_facts(loaded)
    return BenchResult(
        model=loaded.name,
        device=device_name(loaded.device),
        dtype=trace.meta.dtype,
        weights=loaded.weights,
        policy=name,
        workload=setting.workload.name,
        seed=setting.workload.seed,
        requests=len(setting.workload),
        slots=setting.slots,
        lag=setting.lag,
        block_size=setting.block_size,
        kv_blocks=setting.kv_blocks,
        graphs=setting.graphs,
        compiled=setting.compiled,
        recorded=record,
        output_tokens=middle.tokens,
        iterations=middle.iterations,
        runs=tuple(run.seconds for run in runs),
        trace=trace,
        scheduler=setting.policy,
        served=setting.workload,
        facts=facts,
        rates=rates,
        floor=floor(trace, facts, rates),
        breakdown=found,
        peers=(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
    )


def _give_memory_back() -> None:
    """Let go of a model and its graphs, so that another process can have the memory."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
