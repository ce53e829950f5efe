"""Three real engines on one board: ours, transformers' continuous batching and vLLM, on the same work.

    PYTHONPATH=SITE python benchmarks/vllm_on_board.py --json FILE --out FOLDER

SITE is where vLLM is importable (none if it is installed). The model has random weights of a known shape, the output
lengths are forced, so every engine does the same work. vLLM runs in processes of its own, four times: by its own
scheduler with the plugin, by its own scheduler without it (what recording costs), with a policy that admits the
smallest request first, and with one that it cannot follow, which must be refused. Each result says what was checked:
tokens against vLLM's own outputs, and the driven schedule against cbviz's own, iteration by iteration.

Whatever one engine cannot do here becomes a sentence in the result, and the others still run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cbviz
from cbviz._version import __version__
from cbviz.adapters import vllm
from cbviz.adapters.vllm.known import LINES_VARIABLE, POLICY_VARIABLE
from cbviz.checks import one_line
from cbviz.policies import Plan, View
from cbviz.trace import Trace
from cbviz.workload import Workload

if TYPE_CHECKING:  # vLLM's processes import this module, and need no model of ours
    from cbviz.models import LoadedModel

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("cbviz", "transformers", "vllm")
BLOCK_SIZE = 16
REFUSED = "vllm_v1"
"""A policy that counts on vLLM's own optimistic memory, which it could not get from outside."""
LONGEST = 500
"""Seconds that one vLLM process may take."""


class SmallestFirst:
    """Admit the request with the least that it can ever need; never an order that depends on the answer."""

    name, summary = "smallest_first", "admit the smallest request first"

    def plan(self, view: View) -> Plan:
        """See `Policy.plan`."""
        free = view.free_blocks
        admit: list[int] = []
        for request in sorted(view.waiting, key=lambda request: (request.most, request.id)):
            free -= view.blocks_taken(request, request.most)
            if free < 0 or len(admit) == view.free_slots:
                break
            admit.append(request.id)
        return Plan(admit=admit)


# ------------------------------------------------------------------------------------------------ vLLM's process


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
    found = {"version": str(theirs.__version__), "seconds": seconds, "tokens": tokens}
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
    command = [sys.executable, str(Path(__file__).resolve()), "--child", str(job)]
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST)
        said = (run.stdout + run.stderr)[-4000:]
    except subprocess.TimeoutExpired:
        return None, f"it took more than {LONGEST} seconds"
    result = job.parent / "result.json"
    return (json.loads(result.read_text("utf-8")) if result.is_file() else None), said


# -------------------------------------------------------------------------------------------------- the engines


def on_vllm(
    model: str, work: Workload, options: argparse.Namespace, folder: Path
) -> tuple[dict[str, Any], dict[str, Trace]]:
    """All four vLLM runs.

    Parameters
    ----------
    model
        A folder with a configuration.
    work, options, folder
        What to serve, how, and where to write.

    Returns
    -------
    tuple
        What was found, and traces by name.
    """
    (folder / "site").mkdir()
    beside = installed_beside(folder / "site")
    tokens = sum(request.output_length or 0 for request in work)
    found: dict[str, Any] = {}
    traces: dict[str, Trace] = {}

    plain, said = serve(vllm_job(folder / "plain", model, work, options, passes=options.passes), beside)
    if plain is None:
        return {"failed": said}, traces
    found |= {"version": plain["version"], "seconds": plain["seconds"]}
    found["tokens_per_second"] = tokens / median(plain["seconds"])

    lines = folder / "recorded.jsonl"
    job = vllm_job(folder / "recorded", model, work, options, passes=options.passes)
    timed, said = serve(job, beside, **{LINES_VARIABLE: str(lines)})
    found["recorded_seconds"] = timed["seconds"] if timed is not None else said

    for name, scheduler, policy in (
        ("vllm", "", ""),
        ("smallest_first", "cbviz.adapters.vllm.scheduler.PolicyScheduler", "vllm_on_board:SmallestFirst"),
    ):
        lines = folder / f"{name}.jsonl"
        job = vllm_job(folder / name, model, work, options, scheduler=scheduler)
        variables = {LINES_VARIABLE: str(lines)} | ({POLICY_VARIABLE: policy} if policy else {})
        served, said = serve(job, beside, **variables)
        if served is None or not lines.is_file():
            found[name] = {"failed": said}
            continue
        trace = vllm.read(lines)
        traces[name] = trace
        trusted = tuple(map(tuple, served["tokens"]))
        found[name] = {
            "seconds": served["seconds"][0],
            "iterations": len(trace.iterations),
            "occupancy": trace.occupancy,
            "tokens_as_vllm_returned_them": trace.requests.tokens == trusted,
            "held": int(trace.iterations.held_slots.sum()),
            "preemptions": int(trace.requests.preemptions.sum()),
        }
        if policy:
            found[name]["same_schedule_as_cbviz"] = same_schedule(trace, work, options)
            found[name]["said"] = [line for line in said.splitlines() if "cbviz" in line][-5:]

    job = vllm_job(folder / "refused", model, work, options, scheduler="cbviz.adapters.vllm.scheduler.PolicyScheduler")
    served, said = serve(job, beside, **{POLICY_VARIABLE: REFUSED})
    sentence = next((line for line in said.splitlines() if "which vLLM cannot do" in line), "")
    found["refused"] = {"served": served is not None, "sentence": sentence[sentence.find("policy ") :]}
    return found, traces


def same_schedule(trace: Trace, work: Workload, options: argparse.Namespace) -> dict[str, Any]:
    """How far the driven schedule is cbviz's own under the same policy.

    Parameters
    ----------
    trace
        Of vLLM.
    work, options
        What was served.

    Returns
    -------
    dict[str, Any]
        Whether admissions agree in order, how many agree in their iteration, and both numbers of iterations. Under
        async scheduling vLLM keeps a row until its last token has come back, so it refills one pass later than ours.
    """
    # vLLM stops at max_tokens, so that is where its policy reads the length; the schedule beside it reads the same.
    declared = tuple(replace(request, max_new_tokens=request.output_length or 1) for request in work)
    work = Workload(work.name, declared, work.seed)
    ours = cbviz.schedule(SmallestFirst(), work, slots=options.slots, block_size=BLOCK_SIZE, lag=trace.meta.lag)
    theirs, mine = trace.requests.admitted, ours.requests.admitted
    return {
        "iterations": [len(trace.iterations), len(ours.iterations)],
        "admitted_in_the_same_order": theirs.argsort(kind="stable").tolist() == mine.argsort(kind="stable").tolist(),
        "admitted_in_the_same_iteration": int((theirs == mine).sum()),
    }


def on_transformers(loaded: LoadedModel, work: Workload, options: argparse.Namespace) -> Trace:
    """One run of transformers' continuous batching; a run before it warms up on a GPU."""
    from cbviz.adapters import transformers_cb

    settings: dict[str, Any] = {"slots": options.slots, "page_size": BLOCK_SIZE}
    if loaded.device.type == "cuda":
        transformers_cb.run(work, loaded, **settings)
    return transformers_cb.run(work, loaded, **settings)


def on_cbviz(loaded: LoadedModel, work: Workload, options: argparse.Namespace) -> Trace:
    """Our engine, timed as `cbviz bench` does."""
    settings: dict[str, Any] = {"slots": options.slots, "repeats": options.passes, "profile": False}
    return cbviz.bench(loaded, "continuous", workload=work, **settings).trace


def attempt(what: Callable[[], Any]) -> tuple[Any, str]:
    """The result, or what went wrong in one line: one engine's failure must not cost the others' results."""
    try:
        return what(), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {one_line(error, 500)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the engines and write the results; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:llama-3.1-8b", help="random:SHAPE (random:llama-3.1-8b)")
    parser.add_argument("--engines", default=",".join(ENGINES), help="which, with commas between them (all)")
    parser.add_argument("--workload", default="exponential", help="exponential or yardstick (exponential)")
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--budget", type=int, default=8192, help="vLLM's max_num_batched_tokens (8192)")
    parser.add_argument("--context", type=int, default=1024, help="vLLM's max_model_len (1024)")
    parser.add_argument("--memory", type=float, default=0.6, help="vLLM's share of the GPU's memory (0.6)")
    parser.add_argument("--passes", type=int, default=3, help="timed passes (3)")
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path, help="the result file")
    parser.add_argument("--out", type=Path, help="a folder for traces, lines and the page with the board")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        child(options.child)
        return 0
    if options.json is None:
        parser.error("--json is needed")
    from result_file import write

    from cbviz.models import load
    from cbviz.models.shapes import SHAPES

    out = Path(tempfile.mkdtemp(prefix="cbviz-")) if options.out is None else options.out
    out.mkdir(parents=True, exist_ok=True)
    engines = options.engines.split(",")
    found: dict[str, Any] = {}
    traces: dict[str, Trace] = {}

    # vLLM first: its processes need the memory that a model of this process would hold.
    if "vllm" in engines:
        shape = SHAPES[options.model.removeprefix("random:")]()
        folder = Path(tempfile.mkdtemp(prefix="cbviz-vllm-"))
        shape.save_pretrained(folder / "model")
        config = json.loads((folder / "model" / "config.json").read_text("utf-8"))
        config["architectures"] = config.get("architectures") or ["LlamaForCausalLM"]
        (folder / "model" / "config.json").write_text(json.dumps(config), "utf-8")
        work = work_of(options, int(config["vocab_size"]))
        result, failed = attempt(partial(on_vllm, str(folder / "model"), work, options, folder))
        found["vllm"] = result[0] if result is not None else {"failed": failed}
        traces |= result[1] if result is not None else {}
    loaded, failed = None, ""
    if set(engines) - {"vllm"}:
        loaded, failed = attempt(lambda: load(options.model, device=options.device, progress=False))
    if loaded is not None:
        work = work_of(options, loaded.vocabulary)
        for name, run in (("transformers", on_transformers), ("cbviz", on_cbviz)):
            if name not in engines:
                continue
            trace, failed = attempt(partial(run, loaded, work, options))
            if trace is None:
                found[name] = {"failed": failed}
                continue
            traces[name] = trace
            seconds, iterations = trace.seconds, len(trace.iterations)
            found[name] = {"seconds": seconds, "iterations": iterations, "occupancy": trace.occupancy}
            found[name]["tokens_per_second"] = trace.tokens_per_second
    elif failed:
        found["model"] = {"failed": failed}

    for name, trace in traces.items():
        trace.save(out / f"{name}.cbviz")
    lanes = [traces[name] for name in ("cbviz", "transformers", "vllm", "smallest_first") if name in traces]
    if lanes:
        _, failed = attempt(lambda: cbviz.Board(*lanes).to_html(out / "board.html"))
        found["board"] = failed or "board.html"
    write(options.json, __file__, argv, found=found, lanes=[trace.meta.policy for trace in lanes])
    print(json.dumps(found, indent=1))
    return 0 if lanes else 1


def work_of(options: argparse.Namespace, vocabulary: int) -> Workload:
    """The work, which depends on the model only through its vocabulary."""
    from cbviz.run.bench_work import named_workload

    stand_in: Any = SimpleNamespace(name=options.model, vocabulary=vocabulary, tokenizer=None)
    return named_workload(options.workload, stand_in, requests=options.requests)


if __name__ == "__main__":
    raise SystemExit(main())
