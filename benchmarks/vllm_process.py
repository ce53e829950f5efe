"""vLLM in a process of its own: a job goes in as a file, and a result comes out beside it.

    python benchmarks/vllm_process.py JOB

A process each, because vLLM reads its plugins and their settings once, and keeps the GPU's memory until it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cbviz._version import __version__
from cbviz.adapters.vllm.known import LINES_VARIABLE, POLICY_VARIABLE
from cbviz.workload import Workload

ROOT = Path(__file__).resolve().parents[1]
BLOCK_SIZE = 16
LONGEST = 500
"""Seconds that one vLLM process may take."""


def child(job_path: str) -> None:
    """Serve one job in this process and write what came out beside it.

    Parameters
    ----------
    job_path
        A JSON file of `vllm_job`.
    """
    job = json.loads(Path(job_path).read_text("utf-8"))
    import vllm as theirs

    made = {**job["engine"], **({"scheduler_cls": job["scheduler"]} if job["scheduler"] else {})}
    engine = theirs.LLM(model=job["model"], **made)
    asked = [
        theirs.SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=n, detokenize=False) for n in job["lengths"]
    ]
    prompts = [{"prompt_token_ids": prompt} for prompt in job["prompts"]]
    seconds, outputs = [], []
    for _ in range(job["passes"]):
        began = time.perf_counter()
        outputs = engine.generate(prompts, asked, use_tqdm=False)
        seconds.append(time.perf_counter() - began)
    tokens = [list(output.outputs[0].token_ids) for output in outputs]
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    found = {"version": str(theirs.__version__), "device": device, "seconds": seconds, "tokens": tokens}
    Path(job["result"]).write_text(json.dumps(found), "utf-8")


def vllm_job(
    folder: Path, model: str, work: Workload, options: argparse.Namespace, *, scheduler: str = "", passes: int = 1
) -> Path:
    """Write a job for `child`.

    Parameters
    ----------
    folder
        Where to; emptied of earlier results.
    model, work, options
        What to serve.
    scheduler
        A scheduler class by its name; "" leaves vLLM its own.
    passes
        How often the work is served.

    Returns
    -------
    Path
        The job's file.
    """
    folder.mkdir(parents=True)
    job = {
        "model": model,
        "result": str(folder / "result.json"),
        "prompts": [list(request.prompt) for request in work],
        "lengths": [request.output_length for request in work],
        "passes": passes,
        "scheduler": scheduler,
        "engine": {
            "load_format": "dummy",
            "skip_tokenizer_init": True,
            "dtype": "bfloat16",
            "max_model_len": options.context,
            "max_num_seqs": options.slots,
            "max_num_batched_tokens": options.budget,
            "enable_prefix_caching": False,
            "block_size": BLOCK_SIZE,
            "gpu_memory_utilization": options.memory,
        },
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job), "utf-8")
    return path


def installed_beside(folder: Path) -> Path:
    """A folder in which cbviz looks installed, so that vLLM finds the plugin of this working tree.

    Parameters
    ----------
    folder
        An existing one.

    Returns
    -------
    Path
        To be put on PYTHONPATH.
    """
    info = folder / f"cbviz-{__version__}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cbviz\nVersion: {__version__}\n", "utf-8")
    entry = "[vllm.general_plugins]\ncbviz = cbviz.adapters.vllm.plugin:register\n"
    (info / "entry_points.txt").write_text(entry, "utf-8")
    return folder


def serve(job: Path, beside: Path, **variables: str) -> tuple[dict[str, Any] | None, str]:
    """Run a job in a process of its own.

    Parameters
    ----------
    job, beside
        Of `vllm_job` and `installed_beside`.
    variables
        Further environment variables.

    Returns
    -------
    tuple
        Its result, None if it failed; and the end of what it printed.
    """
    places = [str(beside), str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **{name: value for name, value in os.environ.items() if name not in (LINES_VARIABLE, POLICY_VARIABLE)},
        "PYTHONPATH": os.pathsep.join(place for place in places if place),
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        "HF_HUB_OFFLINE": "1",
        **variables,
    }
    command = [sys.executable, str(Path(__file__).resolve()), str(job)]
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST)
        said = (run.stdout + run.stderr)[-4000:]
    except subprocess.TimeoutExpired:
        return None, f"it took more than {LONGEST} seconds"
    result = job.parent / "result.json"
    return (json.loads(result.read_text("utf-8")) if result.is_file() else None), said


if __name__ == "__main__":
    child(sys.argv[1])
