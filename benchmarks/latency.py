"""Latency under load: Poisson arrivals, simulated for five schedulers at ten rates, and run for three at four.

    python benchmarks/latency.py                          # simulated; needs no GPU
    python benchmarks/latency.py --run --out FOLDER       # on the GPU: 12 runs, each kept as it ends, continued if cut
    python benchmarks/latency.py --run --out FOLDER --model tiny --cost FILE --device cpu --slots 4 --prompt 8 --cap 16
    python benchmarks/latency.py --draw FOLDER            # the charts of the shipped result

The work is that of the article (June 2023) at its middle cap: prompts of 512 tokens, outputs exponential with mean 128,
redrawn above 512. Rates are shares of what the simulator says that paged continuous batching serves of a burst, in
requests a second. All schedulers have the same KV memory.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from result_file import write

import cbviz
from cbviz.measure.latency import Latencies, latencies
from cbviz.run.under_load import latencies_of
from cbviz.simulator import Work, load_cost
from cbviz.view.load_charts import quantile_cdf, slo_curve
from cbviz.workload import ExponentialTruncated, Poisson

RESULT = Path(__file__).parent / "results" / "latency_h200.json"
POLICIES = ("static", "tgi", "orca", "vllm_v1", "sarathi")
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1)
RUN_POLICIES, RUN_SHARES = ("vllm_v1", "tgi", "static"), (0.8, 0.5, 0.95, 0.3)
"""What runs on a GPU, the most telling first."""
SECONDS = 300.0
"""Of arrivals in a simulation; there are 100 to 5,000 requests."""
RUN_SECONDS = 25.0
"""Of arrivals in a run; there are 100 to 300 requests."""
QUANTILES = np.linspace(0, 100, 41)
METRICS = ("ttft", "tpot", "e2el")


def work_of(options: argparse.Namespace, requests: int, rate: float | None) -> Work:
    """The work at a rate; None lets all requests come at once."""
    law = ExponentialTruncated(options.mean, options.cap)
    arrivals = None if rate is None else Poisson(rate)
    return Work.draw(requests, law, arrivals, prompt_tokens=options.prompt, seed=options.seed)


def capacity(options: argparse.Namespace) -> float:
    """Requests a second that vllm_v1 serves of a burst."""
    found = cbviz.forecast(work_of(options, 1_000, None), "vllm_v1", **served_by(options))
    return len(found) / found.seconds


def served_by(options: argparse.Namespace) -> dict[str, Any]:
    """What all schedulers share."""
    blocks = options.kv_tokens // options.block_size
    return {"cost": options.cost, "slots": options.slots, "block_size": options.block_size, "kv_blocks": blocks}


def row(policy: str, rate: float, share: float, found: Latencies, seconds: float, **more: Any) -> dict[str, Any]:
    """One run in numbers: quantiles of every latency, so that its distribution can be drawn.

    A run counts as saturated if the last fifth of its requests waited more than twice as long for their first token as
    the first fifth did, and more than a second longer: its queue grew as long as requests came.
    """
    order = np.argsort(found.arrival)
    ttft = found.ttft[order]
    fifth = max(1, len(ttft) // 5)
    early, late = float(np.nanmedian(ttft[:fifth])), float(np.nanmedian(ttft[-fifth:]))
    quantiles = {}
    for name in METRICS:
        values = getattr(found, name)
        values = values[~np.isnan(values)]
        quantiles[name] = [float(f"{value:.4g}") for value in np.percentile(values, QUANTILES)]
    return {
        "policy": policy,
        "rate": rate,
        "share": share,
        "requests": len(found.id),
        "seconds": seconds,
        "tokens_per_second": float(found.output_tokens.sum()) / seconds,
        "saturated": late > 2 * early and late - early > 1.0,
        "quantiles": quantiles,
        **{f"{at}_{name}": float(np.nanpercentile(getattr(found, name), float(at[1:]))) for name in METRICS
           for at in ("p50", "p99")},
        **more,
    }  # fmt: skip


def simulated(options: argparse.Namespace, most: float) -> Iterator[dict[str, Any]]:
    """Every scheduler at every rate, on the virtual clock."""
    for policy in POLICIES:
        for share in SHARES:
            rate = share * most
            work = work_of(options, int(np.clip(rate * SECONDS, 100, 5_000)), rate)
            found = cbviz.forecast(work, policy, **served_by(options))
            yield row(policy, rate, share, latencies_of(found), found.seconds)


def measured(options: argparse.Namespace, most: float) -> Iterator[Path]:
    """The chosen runs on the device, each written as it ends; those that are there already are kept."""
    from cbviz.config import EngineConfig
    from cbviz.models import load
    from cbviz.policies import get
    from cbviz.run.capacity import choose_kv_blocks
    from cbviz.run.progress import SilentProgress
    from cbviz.run.timed_run import Setting
    from cbviz.workload import synthetic

    began = monotonic()
    loaded = load(options.model, device=options.device, dtype=options.dtype, progress=False)
    cuda = loaded.device.type == "cuda"
    executor = None
    for share in RUN_SHARES:
        for policy in RUN_POLICIES:
            target = options.out / f"latency-{policy}-{share:g}.json"
            if target.exists():
                continue
            left = options.seconds - (monotonic() - began)
            print(f"{left:6.0f} s left: {policy} at {share:.0%} of {most:.3g} requests/s", flush=True)
            if left <= 0:
                return
            rate = share * most
            count = options.requests or int(np.clip(rate * RUN_SECONDS, 100, 300))
            law = ExponentialTruncated(options.mean, options.cap)
            work = synthetic(
                count, law, Poisson(rate), prompt_tokens=options.prompt, vocabulary=loaded.vocabulary, seed=options.seed
            )
            blocks = options.kv_tokens // options.block_size
            choose_kv_blocks(
                loaded, work, slots=options.slots, block_size=options.block_size,
                kv_blocks=blocks if executor is None else None,
            )  # fmt: skip
            config = EngineConfig(
                options.slots, blocks, options.block_size, lag=int(cuda), backend="graphs" if cuda else "sdpa",
                compiled=cuda, context_limit=options.prompt + options.cap,
            )  # fmt: skip
            setting = Setting(loaded, get(policy), work, config)
            executor = executor or setting.executor(SilentProgress())
            setting.warm_up(executor)
            lane = setting.timed(executor, record=True).lane
            assert lane is not None
            trace = lane.trace(texts=False)
            found = row(
                policy, rate, share, latencies(trace), trace.seconds, device=trace.meta.device, model=trace.meta.model,
                dtype=trace.meta.dtype, cost=options.cost, iterations=len(trace.iterations),
            )  # fmt: skip
            write(target, __file__, options.argv, run=found)
            yield target


def draw(path: Path, folder: Path) -> None:
    """Write the charts of a result: p50 and p99 of every latency against the rate, and distributions at one rate."""
    rows = json.loads(path.read_text("utf-8"))["rows"]
    folder.mkdir(parents=True, exist_ok=True)
    for metric in METRICS:
        for at in ("p50", "p99"):
            curves = {
                policy: (
                    [one["rate"] for one in rows if one["policy"] == policy],
                    [one[f"{at}_{metric}"] for one in rows if one["policy"] == policy],
                )
                for policy in POLICIES
            }
            label = f"{at} {metric.upper()} in seconds"
            slo_curve(curves, y_label=label, title=label).to_svg(folder / f"{at}-{metric}.svg")
        chosen = {one["policy"]: one["quantiles"][metric] for one in rows if one["share"] == 0.5}
        quantile_cdf(chosen, metric=metric).to_svg(folder / f"cdf-{metric}.svg")


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, run or draw; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULT, help="the result of the simulations")
    parser.add_argument("--run", action="store_true", help="run on the device instead")
    parser.add_argument("--out", type=Path, help="a folder: one JSON a run")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="write the charts of --json here, and do no more")
    parser.add_argument("--model", default="random:opt-13b")
    parser.add_argument("--cost", default="h200-opt-13b", help="the calibration of the forecast")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--kv-tokens", type=int, default=40_000)
    parser.add_argument("--block-size", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--mean", type=int, default=128)
    parser.add_argument("--cap", type=int, default=512)
    parser.add_argument("--requests", type=int, help="of every run (100 to 300, by the rate)")
    parser.add_argument("--rate", type=float, help="what shares are shares of, in requests a second (simulated)")
    parser.add_argument("--seconds", type=float, default=1_000.0, help="no run begins after so many (1,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    options = parser.parse_args(argv)
    options.argv = argv
    if options.draw:
        draw(options.json, options.draw)
        return 0
    most = options.rate or capacity(options)
    if options.run:
        if options.out is None:
            parser.error("--run needs --out")
        options.out.mkdir(parents=True, exist_ok=True)
        for path in measured(options, most):
            print(path.name, flush=True)
        return 0
    rows = list(simulated(options, most))
    origin = load_cost(options.cost).origin
    about = {"cost": options.cost, "derived": origin is not None and origin.method == "derived", "capacity": most}
    write(options.json, __file__, argv, **about, quantiles=QUANTILES.tolist(), rows=rows)
    for one in rows:
        print(
            "{policy:8} {rate:6.2f}/s  p99 TTFT {p99_ttft:8.3f} s  p99 TPOT {p99_tpot:.4f} s  {saturated}".format(**one)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
