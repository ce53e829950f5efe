"""One run of 24 requests, written as each load generator writes it. See README.md for what is whose.

Run with a Python that has aiperf, guidellm and inference-perf: `python make.py FOLDER`. Those that cannot be imported
are named and left out.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path
from typing import Any

FAILURE = "Connection reset by peer"
START = 1_795_000_000.0  # wall clock of the first request


def requests() -> list[dict[str, Any]]:
    """What happened: the truth from which every file is written."""
    rng = random.Random(7)
    made = []
    sent = START
    for n in range(24):
        sent += rng.expovariate(4.0)
        tokens = 1 if n == 3 else rng.randint(4, 40)
        bundle = 3 if n == 5 else 1  # request 5 gets three tokens in its first chunk
        chunks = max(1, tokens - bundle + 1)
        first = sent + 0.08 + 0.004 * n
        gaps = [round(0.02 + 0.01 * rng.random(), 6) for _ in range(chunks - 1)]
        if n == 8:
            gaps[len(gaps) // 2] += 0.5  # a stall
        times = [first]
        for gap in gaps:
            times.append(times[-1] + gap)
        made.append(
            {
                "n": n,
                "kept_back": 0.05 if n == 10 else 0.0,
                "sent": sent,
                "times": times,
                "gaps": gaps,
                "end": times[-1] + 0.004,
                "input": rng.randint(20, 400),
                "output": tokens,
                "bundle": bundle,
                "failed": n == 7,
            }
        )
    return made


def vllm(made: list[dict[str, Any]], *, start_times: bool) -> dict[str, Any]:
    """The result of `vllm bench serve`, field by field as vllm/benchmarks/serve.py builds it."""
    import numpy as np

    good = [r for r in made if not r["failed"]]
    ttfts = [r["times"][0] - r["sent"] for r in good]
    e2els = [r["times"][-1] - r["sent"] for r in good]
    tpots = [(e - t) / (r["output"] - 1) for r, e, t in zip(good, e2els, ttfts, strict=True) if r["output"] > 1]
    itls = [gap for r in good for gap in r["gaps"]]
    duration = max(r["end"] for r in made) - min(r["sent"] - r["kept_back"] for r in made)
    result: dict[str, Any] = {
        "date": "20261128-120000",
        "backend": "openai",
        "label": None,
        "model_id": "example/model",
        "tokenizer_id": "example/model",
        "num_prompts": len(made),
        "request_rate": 4.0,
        "burstiness": 1.0,
        "max_concurrency": None,
        "duration": duration,
        "completed": len(good),
        "failed": len(made) - len(good),
        "total_input_tokens": sum(r["input"] for r in good),
        "total_output_tokens": sum(r["output"] for r in good),
        "request_throughput": len(good) / duration,
        "request_goodput": None,
        "output_throughput": sum(r["output"] for r in good) / duration,
        "input_lens": [r["input"] for r in made],
        "output_lens": [0 if r["failed"] else r["output"] for r in made],
        "ttfts": [0.0 if r["failed"] else r["times"][0] - r["sent"] for r in made],
        "itls": [[] if r["failed"] else r["gaps"] for r in made],
    }
    if start_times:
        result["latencies"] = [0.0 if r["failed"] else r["times"][-1] - r["sent"] for r in made]
        result["start_times"] = [r["sent"] - START + 1000.0 for r in made]
        result["queue_times"] = [r["kept_back"] for r in made]
    result["generated_texts"] = ["" for _ in made]
    result["errors"] = [FAILURE if r["failed"] else "" for r in made]
    for name, values in (("ttft", ttfts), ("tpot", tpots), ("itl", itls), ("e2el", e2els)):
        result[f"mean_{name}_ms"] = float(np.mean(values)) * 1000
        result[f"median_{name}_ms"] = float(np.median(values)) * 1000
        result[f"std_{name}_ms"] = float(np.std(values)) * 1000
        result[f"p99_{name}_ms"] = float(np.percentile(values, 99)) * 1000
    return result


def aiperf(made: list[dict[str, Any]]) -> list[str]:
    """Lines of profile_export.jsonl, by AIPerf's own record models."""
    import orjson
    from aiperf.common.models.error_models import ErrorDetails
    from aiperf.common.models.record_models import MetricRecordInfo, MetricRecordMetadata, MetricValue

    lines = []
    for r in sorted(made, key=lambda r: r["end"]):  # in order of completion
        metrics = {}
        if not r["failed"]:
            ttft, latency = r["times"][0] - r["sent"], r["times"][-1] - r["sent"]
            metrics = {
                "time_to_first_token": MetricValue(value=ttft * 1e3, unit="ms"),
                "request_latency": MetricValue(value=latency * 1e3, unit="ms"),
                "input_sequence_length": MetricValue(value=r["input"], unit="tokens"),
                "output_sequence_length": MetricValue(value=r["output"], unit="tokens"),
                "output_token_count": MetricValue(value=r["output"], unit="tokens"),
            }
            if r["output"] > 1:
                per_token = (latency - ttft) / (r["output"] - 1)
                metrics["inter_token_latency"] = MetricValue(value=per_token * 1e3, unit="ms")
            if r["gaps"]:
                metrics["inter_chunk_latency"] = MetricValue(value=[gap * 1e3 for gap in r["gaps"]], unit="ms")
        info = MetricRecordInfo(
            metadata=MetricRecordMetadata(
                session_num=r["n"],
                x_request_id=f"request-{r['n']}",
                conversation_id=f"session_{r['n'] % 3}",
                turn_index=0,
                credit_issued_ns=round((r["sent"] - r["kept_back"]) * 1e9),
                request_start_ns=round(r["sent"] * 1e9),
                request_end_ns=round(r["end"] * 1e9),
                worker_id="worker_0",
                record_processor_id="processor_0",
                benchmark_phase="profiling",
            ),
            metrics=metrics,
            error=ErrorDetails(code=500, type="ServerError", message=FAILURE) if r["failed"] else None,
        )
        lines.append(orjson.dumps(info.model_dump(exclude_none=True, mode="json")).decode())
    return lines


def guidellm(made: list[dict[str, Any]]) -> dict[str, Any]:
    """A report whose requests are written by GuideLLM's own model; its other parts are left out."""
    from guidellm.schemas.base.info import RequestInfo, RequestTimings
    from guidellm.schemas.base.request import UsageMetrics
    from guidellm.schemas.base.request_stats import GenerativeRequestStats

    found: dict[str, list[Any]] = {"successful": [], "incomplete": [], "errored": []}
    for r in made:
        failed = r["failed"]
        timings = RequestTimings(
            targeted_start=r["sent"] - r["kept_back"],
            resolve_start=r["sent"],
            request_start=r["sent"],
            first_token_iteration=None if failed else r["times"][0],
            last_token_iteration=None if failed else r["times"][-1],
            token_iterations=0 if failed else len(r["times"]),
            request_end=r["end"],
            resolve_end=r["end"],
        )
        status = "errored" if failed else "completed"
        stats = GenerativeRequestStats(
            request_id=f"request-{r['n']}",
            info=RequestInfo(
                request_id=f"request-{r['n']}",
                status=status,
                error=FAILURE if failed else None,
                timings=timings,
            ),
            input_metrics=UsageMetrics(text_tokens=r["input"]),
            output_metrics=UsageMetrics(text_tokens=None if failed else r["output"]),
        )
        kept = stats.model_dump(mode="json")
        for name in ("request_args", "output", "reasoning_output", "tool_calls", "response_metrics", "response_id"):
            kept.pop(name, None)
        kept = {key: value for key, value in kept.items() if value is not None}
        found["errored" if failed else "successful"].append(kept)
    duration = max(r["end"] for r in made) - min(r["sent"] for r in made)
    benchmark = {"type_": "generative_benchmark", "requests": found, "duration": duration}
    return {"metadata": {"version": 2, "guidellm_version": "0.8.1"}, "benchmarks": [benchmark]}


def inference_perf(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of per_request_lifecycle_metrics.json, by inference-perf's own report function."""
    from inference_perf.apis.base import (
        ErrorResponseInfo,
        InferenceInfo,
        RequestLifecycleMetric,
        StreamedResponseMetrics,
    )
    from inference_perf.config import PerRequestFieldsConfig
    from inference_perf.payloads import RequestMetrics, Text
    from inference_perf.reportgen.base import build_per_request_lifecycle_entry

    fields = PerRequestFieldsConfig(request=False, response=False, response_chunks=False, computed_metrics=True)
    entries = []
    for r in made:
        times = [r["times"][0]] * (r["bundle"] - 1) + r["times"]
        metric = RequestLifecycleMetric(
            stage_id=0,
            scheduled_time=r["sent"] - r["kept_back"],
            start_time=r["sent"],
            end_time=r["end"],
            request_data="",
            info=InferenceInfo(
                request_metrics=RequestMetrics(text=Text(input_tokens=r["input"])),
                response_metrics=None
                if r["failed"]
                else StreamedResponseMetrics(output_tokens=r["output"], output_token_times=times, chunk_times=times),
            ),
            error=ErrorResponseInfo(error_type="ClientOSError", error_msg=FAILURE) if r["failed"] else None,
        )
        entries.append(build_per_request_lifecycle_entry(metric, fields))
    return entries


def main(folder: Path) -> None:
    """Write every file that can be written here."""
    made = requests()
    writers = {
        "vllm_bench.json": lambda: json.dumps(vllm(made, start_times=True)),
        "vllm_bench_old.json": lambda: json.dumps(vllm(made[:6], start_times=False)),
        "aiperf.jsonl": lambda: "\n".join(aiperf(made)) + "\n",
        "guidellm.json.gz": lambda: json.dumps(guidellm(made)),
        "inference_perf.json.gz": lambda: json.dumps(inference_perf(made), indent=1),
    }
    for name, write in writers.items():
        try:
            text = write()
        except ImportError as error:
            print(f"{name} is left out: {error}")
            continue
        data = text.encode("utf-8")
        (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        print(name, len(text))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
