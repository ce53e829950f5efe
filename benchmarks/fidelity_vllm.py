"""How well the simulator forecasts a real vLLM run: fitted to the first half of its requests, tested on the second.

    python benchmarks/fidelity_vllm.py FOLDER [--json FILE]

FOLDER holds a run in LLMServingSim's format (bench/examples of github.com/casys-kaist/LLMServingSim, MIT): lengths,
arrivals and times of every request, and the engine's settings. vLLM V1's scheduler is simulated with the KV blocks, the
token budget and the slots that the run had.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from result_file import write

import cbviz
from cbviz.measure.definitions import Moments
from cbviz.policies import VllmV1
from cbviz.run.calibrate_times import calibrate_times
from cbviz.simulator import CostModel, Origin, Work
from cbviz.trace import Trace
from cbviz.workload import LoadResults, read_results

FloatArray = npt.NDArray[np.float64]


def read(folder: Path) -> tuple[dict[str, Any], LoadResults]:
    """The settings of the run in a folder, and its requests in the order in which the engine took them in."""
    [meta], [rows] = sorted(folder.glob("*.meta.json*")), sorted(folder.glob("*.requests.jsonl*"))
    content = meta.read_bytes()
    [run] = read_results(rows)
    return json.loads(gzip.decompress(content) if meta.suffix == ".gz" else content), run


def errors(found: FloatArray, measured: FloatArray) -> dict[str, float]:
    """Mean absolute relative error, bias of the mean, and of the 99th percentile."""
    return {
        "mape": float(np.mean(np.abs(found - measured) / measured)),
        "mean": float(found.mean() / measured.mean() - 1),
        "p99": float(np.percentile(found, 99) / np.percentile(measured, 99) - 1),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, forecast, and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    meta, run = read(options.folder)
    kwargs, kv = meta["engine_kwargs"], meta["kv_cache"]
    moments = Moments.of(run)
    arrival, first, last = (times - moments.sent[0] for times in (moments.sent, moments.first, moments.last))
    lengths = [np.array([getattr(one, name) for one in run.served]) for name in ("input_tokens", "output_tokens")]
    work = Work(arrival, lengths[0], lengths[1], name=meta["dataset_path"])
    workload = work.workload()
    policy = VllmV1(kwargs["max_num_batched_tokens"])
    serving: dict[str, Any] = {
        "slots": kwargs["max_num_seqs"],
        "block_size": kv["block_size"],
        "kv_blocks": kv["num_gpu_blocks"],
    }

    def simulated(cost: CostModel) -> Trace:
        return cbviz.simulate(workload, policy, cost=cost, lag=1, **serving)

    half = len(run.served) // 2
    hidden = np.arange(len(run.served)) >= half
    cost = calibrate_times(
        simulated,
        np.where(hidden, np.nan, first),
        np.where(hidden, np.nan, last),
        CostModel(iteration=0.02, kv_token=1e-7, prefill_token=1e-4),
        name="vLLM run, first half",
        origin=Origin("fitted", meta["hardware"]["device_name"], meta["model"], kwargs["dtype"]),
        rounds=options.rounds,
    )
    found = cbviz.forecast(work, policy, cost=cost, lag=1, **serving)
    out = lengths[1]
    many = hidden & (out > 1)
    result: dict[str, Any] = {
        "run": f"{meta['model']} on {meta['hardware']['device_name']}, vLLM {meta['vllm_version']}",
        "fitted_on": half,
        "tested_on": int(hidden.sum()),
        "coefficients": dict(zip(("a", "b", "c", "p", "d", "e"), cost.coefficients, strict=True)),
        "preemptions": int(found.preemptions.sum()),
        "ttft": errors(found.ttft[hidden], (first - arrival)[hidden]),
        "tpot": errors(found.tpot[many], ((last - first) / np.maximum(out - 1, 1))[many]),
        "e2e": errors(found.e2e[hidden], (last - arrival)[hidden]),
    }
    print(f"{result['run']}: fitted to {half} requests, tested on {result['tested_on']}")
    print("coefficients", *(f"{value:.3g}" for value in cost.coefficients), f"; {result['preemptions']} preemptions")
    for name in ("ttft", "tpot", "e2e"):
        row = result[name]
        print(f"{name:5} MAPE {row['mape']:6.1%}  mean {row['mean']:+6.1%}  p99 {row['p99']:+6.1%}")
    if options.json is not None:
        write(options.json, __file__, ["FOLDER"], **result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
