"""The benchmark: how fast one policy serves one workload here, what the hardware would allow, and where the rest goes.

Runs are undisturbed: one executor, made once, serves the whole workload `repeats` times. The wall clock is read before
the first request is submitted and after the last token arrives. Only tokens that requests asked for count.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import torch

from cbviz.checks import counted, flag, whole
from cbviz.config import EngineConfig, KVOptions, Preemption
from cbviz.errors import CbvizError, WorkloadError
from cbviz.limits import MOST_BLOCK_SIZE, MOST_EXACT, MOST_REPEATS, MOST_REQUESTS, MOST_SEED, MOST_SLOTS, MOST_TOKENS
from cbviz.measure.lane_times import two_digits
from cbviz.measure.roofline_bound import Floor, ModelFacts, Rates, floor
from cbviz.measure.summary import serving_table
from cbviz.models import LoadedModel, as_loaded
from cbviz.models.device import device_name
from cbviz.paths import printable
from cbviz.policies import Policy, fresh, get, identity
from cbviz.run.baselines import PeerJob, PeerResult, check_peers, run_peer
from cbviz.run.bench_work import named_workload, suitable
from cbviz.run.breakdown import Breakdown
from cbviz.run.capacity import check_swap, choose_kv_blocks
from cbviz.run.how import check_compiler, choose_backend, how_it_runs
from cbviz.run.lane_meta import versions
from cbviz.run.outlook import longest_run
from cbviz.run.progress import Progress, progress_of
from cbviz.run.rates import measured_rates, model_facts
from cbviz.run.timed_run import Setting
from cbviz.run.why import Why, why
from cbviz.trace import Trace
from cbviz.workload import Workload

REPEATS = 3
SLOTS = {"cuda": 32, "cpu": 8}
BLOCK_SIZE = {"cuda": 32, "cpu": 16}


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The result of a benchmark. Seconds are wall-clock seconds.

    Attributes
    ----------
    runs
        Seconds of every timed run; `seconds` is their median.
    output_tokens, iterations
        Of one run.
    trace
        The recorded run: the one with the median time, or an extra run if the timed ones were not recorded.
    scheduler, served
        The policy as passed in (a copy that has made no plan), and the workload.
    recorded
        Whether the timed runs were recorded.
    floor
        The floor of that trace (see `cbviz.measure.roofline_bound`), for these facts and rates.
    breakdown
        Shares of a step; None on a CPU or without `profile`.
    peers
        Results of other engines on the same work.
    notes
        Sentences on how it was computed, where a reader should know (see `cbviz.run.how`).
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
        """Output tokens a second in the median run."""
        return self.output_tokens / self.seconds

    @property
    def efficiency(self) -> float:
        """Seconds of the roofline floor / measured seconds: 1 is the best the hardware allows."""
        return self.floor.seconds / self.seconds

    def __repr__(self) -> str:
        run = f"{self.model} on {self.device}, {counted(self.requests, 'request')} on {counted(self.slots, 'slot')}"
        return printable(f"<BenchResult of {self.policy}: {run}, {two_digits(self.tokens_per_second)} tokens/s>")

    def table(self) -> str:
        """The recorded run, in the layout in which `vllm bench serve` prints its results."""
        return serving_table(self.trace)

    def why(self, request: int | None = None, iteration: int = 0) -> Why:
        """Why the recorded run admitted a request or kept it waiting.

        Parameters and errors are those of `cbviz.why`.
        """
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
    backend: str | None = None,
    graphs: bool | None = None,
    compiled: bool = True,
    ignore_generation_config: bool = False,
    record: bool = True,
    profile: bool = True,
    rates: Rates | None = None,
    peers: Sequence[str] = (),
    progress: Progress | None = None,
) -> BenchResult:
    """Serve a workload under one policy several times, undisturbed, and compare the time with the hardware's limit.

    Parameters
    ----------
    model
        A name for `cbviz.models.load`, or a model from there.
    policy
        A name, or a policy object. Every run, including the warm-up, starts from a fresh copy of it.
    workload
        "yardstick", "exponential", "truncated", "questions", "tasks", or your own; None picks one that suits the model.
    requests, prompt_tokens, max_new_tokens, seed
        For a workload chosen by name (see `cbviz.run.bench_work.named_workload`).
    slots
        Requests that can run at once; None means 32 on a GPU, 8 on a CPU.
    device, dtype
        Where to run and in which precision; None picks a usable GPU (in bfloat16, or float16 if it has no bfloat16
        arithmetic), else the CPU in float32.
    weights
        "int8" stores each of the model's weights in one byte (see `cbviz.models.int8`). Peers load them in `dtype`.
    repeats
        Timed runs, at least 1. The result reports the median and the range.
    lag
        0, or 1 to plan one iteration ahead of the tokens; None means 1 with CUDA graphs on a GPU, else 0.
    block_size, kv_blocks
        The KV pool. None means blocks of 32 positions on a GPU (16 on a CPU), and as many as the workload can use and
        free memory can hold, less a reserve (see `cbviz.run.capacity`).
    prefix_cache, preemption, swap_blocks
        Options for KV memory (see `cbviz.config.KVOptions`).
    backend
        What computes: "sdpa" (eager passes, anywhere) or "graphs" (CUDA graphs; on a CPU the same passes uncaptured).
        None takes "graphs" on a GPU that can capture the model, else "sdpa" (see `cbviz.config.EngineConfig`).
    graphs
        The same in the words of earlier versions: True for "graphs", False for "sdpa".
    compiled
        Whether to apply torch.compile to the passes that become graphs.
    ignore_generation_config
        As for `cbviz.race`; peers ignore it too.
    record
        False leaves the timed runs unrecorded, to show what recording costs; one extra run is recorded for the floor.
    profile
        Whether to profile some iterations on a GPU after the timed runs.
    rates
        Copy bandwidth and arithmetic rate for the floor; None measures them here.
    peers
        Engines to run on the same work: "transformers-static", "transformers-cb". Each runs in its own process after
        this engine has freed its memory, and loads the model by name.
    progress
        Receives progress reports; None reports nothing.

    Returns
    -------
    BenchResult
        Timings, the recorded run, and the floor; print it for a summary.

    Raises
    ------
    CbvizError
        An argument is invalid or does not fit in memory: one sentence, before anything large is allocated.

    Examples
    --------
    >>> result = bench("tiny", "continuous", requests=4, slots=2, repeats=1, dtype="float32", device="cpu")
    >>> result.iterations == len(result.trace.iterations)
    True
    >>> result.seconds > 0 and result.tokens_per_second == result.output_tokens / result.seconds
    True
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
    if graphs is not None:
        if backend is not None:
            raise CbvizError("give backend or graphs, not both.")
        backend = "graphs" if flag("graphs", graphs) else "sdpa"
    chosen = fresh(get(policy))
    check_peers(peers, model)
    loaded = as_loaded(model, device=device, dtype=dtype, weights=weights)
    where, kind = str(loaded.device), loaded.device.type
    if isinstance(workload, Workload):
        if (requests, prompt_tokens, max_new_tokens) != (None, None, None):
            raise WorkloadError("pass either your own workload or numbers for drawing one, not both.")
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
    notes = how_it_runs(loaded, backend)
    chosen_backend = choose_backend(loaded, backend)
    in_graphs = chosen_backend == "graphs"
    if in_graphs and compiled:
        check_compiler(loaded.device)
    if lag is None:
        lag = int(in_graphs and kind == "cuda")
    name, precision = loaded.name, str(loaded.dtype).removeprefix("torch.")
    # Made now, so that work the peers cannot serve is refused before anything runs.
    job = None
    if peers:
        job = PeerJob.of(name, workload, device=where, dtype=precision, slots=slots, repeats=repeats)
        job = replace(job, ignore_generation_config=ignore_generation_config)
    shown = progress_of(progress)
    check_swap(loaded, swap_blocks, block_size)
    config = EngineConfig(
        slots=slots,
        blocks=blocks,
        block_size=block_size,
        kv=KVOptions(prefix_cache, preemption, swap_blocks),
        lag=lag,
        backend=chosen_backend,
        compiled=in_graphs and compiled,
        ignore_generation_config=ignore_generation_config,
    )
    setting = Setting(loaded, chosen, workload, config)
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
    each = longest_run(setting.workload, setting.config.slots, setting.warm_up(executor))
    name, _ = identity(setting.policy)
    title = f"{name}, run alone"
    runs_of = f"{counted(repeats, 'run')} of {counted(len(setting.workload), 'request')}"
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
    found = setting.profile(executor, trace) if profile and loaded.device.type == "cuda" else None
    # Compiled code may outlive the executor; the KV cache must not.
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
        slots=setting.config.slots,
        lag=setting.config.lag,
        block_size=setting.config.block_size,
        kv_blocks=setting.config.blocks,
        graphs=setting.config.graphs,
        compiled=setting.config.compiled,
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
    """Release the model and its graphs, so that another process can use the memory."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
