"""Three real engines on one board: ours, transformers' continuous batching and vLLM, on the same work.

    PYTHONPATH=SITE python benchmarks/vllm_on_board.py --json FILE --out FOLDER
    PYTHONPATH=SITE python benchmarks/vllm_on_board.py --json FILE --out FOLDER --only vllm,cbviz

SITE is where vLLM is importable (none if it is installed). The model has random weights of a known shape, the output
lengths are forced, so every engine does the same work. The parts, most telling first:

    vllm            vLLM by its own scheduler, recorded by the plugin; tokens are compared with vLLM's own outputs
    smallest_first  vLLM by a policy of cbviz's; its schedule is compared with cbviz's own, iteration by iteration
    cbviz           our engine
    transformers    its continuous batching
    refused         a policy that vLLM cannot follow, which must be refused
    plain           vLLM timed without the plugin
    recorded        the same with it: what recording costs

vLLM runs in a process of its own for each part. FILE and FOLDER are written after every part, and the same command
again does what is missing. What an engine cannot do here becomes a sentence in the result, and the others still run.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copy
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cbviz
from cbviz.adapters import vllm
from cbviz.adapters.vllm.known import LINES_VARIABLE, POLICY_VARIABLE
from cbviz.checks import one_line
from cbviz.policies import Plan, View
from cbviz.trace import Trace
from cbviz.workload import Workload

if TYPE_CHECKING:  # vLLM's processes import this module, and need no model of ours
    from cbviz.models import LoadedModel

PARTS = ("vllm", "smallest_first", "cbviz", "transformers", "refused", "plain", "recorded")
LANES = ("cbviz", "transformers", "vllm", "smallest_first")
"""The parts that give a lane, from the board's top to its bottom."""
SCHEDULER = "cbviz.adapters.vllm.scheduler.PolicyScheduler"
REFUSED = "vllm_v1"
"""A policy that counts on vLLM's own optimistic memory, which it could not get from outside."""

Part = tuple[dict[str, Any], Trace | None]


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


# ------------------------------------------------------------------------------------------------------ vLLM's parts


def in_vllm(part: str, options: argparse.Namespace, scratch: Path) -> Part:
    """One part that vLLM serves.

    Parameters
    ----------
    part
        Which.
    options, scratch
        What to serve, and an empty folder.

    Returns
    -------
    tuple
        What was found, and the run if it was recorded.
    """
    from vllm_process import BLOCK_SIZE, installed_beside, serve, vllm_job

    model, vocabulary = model_folder(options, scratch)
    work = work_of(options, vocabulary)
    (scratch / "site").mkdir()
    beside, lines = installed_beside(scratch / "site"), scratch / "lines.jsonl"
    driven, timed = part in ("smallest_first", "refused"), part in ("plain", "recorded")
    policy = {"smallest_first": "vllm_on_board:SmallestFirst", "refused": REFUSED}.get(part)
    variables = {} if part in ("plain", "refused") else {LINES_VARIABLE: str(lines)}
    variables |= {POLICY_VARIABLE: policy} if policy else {}
    job = vllm_job(
        scratch / "job",
        model,
        work,
        options,
        scheduler=SCHEDULER if driven else "",
        passes=options.passes if timed else 1,
    )
    served, said = serve(job, beside, **variables)
    if part == "refused":
        sentence = next((line for line in said.splitlines() if "which vLLM cannot do" in line), "")
        return {"served": served is not None, "sentence": sentence[sentence.find("policy ") :]}, None
    if served is None:
        return {"failed": said}, None
    tokens = sum(request.output_length or 0 for request in work)
    seconds = median(served["seconds"])
    found: dict[str, Any] = {"version": served["version"], "seconds": served["seconds"]}
    found["tokens_per_second"] = tokens / seconds
    if timed:
        return found, None
    copy(lines, options.out / f"{part}.jsonl")
    trace = named(vllm.read(lines), options.model, served["device"], work)
    found |= {
        "iterations": len(trace.iterations),
        "occupancy": trace.occupancy,
        "tokens_as_vllm_returned_them": trace.requests.tokens == tuple(map(tuple, served["tokens"])),
        "held": int(trace.iterations.held_slots.sum()),
        "preemptions": int(trace.requests.preemptions.sum()),
    }
    if driven:
        found["same_schedule_as_cbviz"] = same_schedule(trace, work, options.slots, BLOCK_SIZE)
        found["said"] = [line for line in said.splitlines() if "cbviz" in line][-5:]
    return found, trace


def named(trace: Trace, model: str, device: str, work: Workload) -> Trace:
    """The run with what its lines cannot say: model, device, dtype and workload.

    Parameters
    ----------
    trace
        Of vLLM.
    model, device, work
        What was served, and where; `vllm_job` asks for bfloat16.
    """
    left_out = [name for name in trace.meta.extra["left_out"] if name not in ("device", "dtype")]
    extra = {**trace.meta.extra, "left_out": left_out, "weights": "random ones of vLLM's own"}
    meta = replace(trace.meta, model=model, device=device, dtype="bfloat16", workload=work.name, extra=extra)
    return replace(trace, meta=meta)


def model_folder(options: argparse.Namespace, scratch: Path) -> tuple[str, int]:
    """A folder with the shape's configuration, which vLLM fills with weights of its own; and the vocabulary."""
    from cbviz.models.shapes import SHAPES

    SHAPES[options.model.removeprefix("random:")]().save_pretrained(scratch / "model")
    path = scratch / "model" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["architectures"] = config.get("architectures") or ["LlamaForCausalLM"]
    path.write_text(json.dumps(config), "utf-8")
    return str(path.parent), int(config["vocab_size"])


def same_schedule(trace: Trace, work: Workload, slots: int, block_size: int) -> dict[str, Any]:
    """How far the driven schedule is cbviz's own under the same policy, if requests arrive at the same iterations.

    Parameters
    ----------
    trace
        Of vLLM.
    work, slots, block_size
        What was served, and in what.

    Returns
    -------
    dict[str, Any]
        Whether admissions agree in order, how many agree in their iteration, and both numbers of iterations. Under
        async scheduling vLLM keeps a row until its last token has come back, so it refills one pass later than ours.
    """
    # vLLM begins when it has read the first requests, and finds the others at its second iteration.
    found_at = trace.iterations.t_start.searchsorted(trace.requests.arrival)
    # vLLM stops at max_tokens, so that is where its policy reads the length; the schedule beside it reads the same.
    declared = tuple(
        replace(request, max_new_tokens=request.output_length or 1, arrival=float(at))
        for request, at in zip(work, found_at, strict=True)
    )
    work = Workload(work.name, declared, work.seed, arrival_unit="iterations")
    ours = cbviz.schedule(SmallestFirst(), work, slots=slots, block_size=block_size, lag=trace.meta.lag)
    theirs, mine = trace.requests.admitted, ours.requests.admitted
    return {
        "iterations": [len(trace.iterations), len(ours.iterations)],
        "admitted_in_the_same_order": theirs.argsort(kind="stable").tolist() == mine.argsort(kind="stable").tolist(),
        "admitted_in_the_same_iteration": int((theirs == mine).sum()),
    }


# -------------------------------------------------------------------------------------------- parts of this process


def on_transformers(loaded: LoadedModel, work: Workload, options: argparse.Namespace) -> Trace:
    """One run of transformers' continuous batching; a run before it warms up on a GPU."""
    from vllm_process import BLOCK_SIZE

    from cbviz.adapters import transformers_cb

    settings: dict[str, Any] = {"slots": options.slots, "page_size": BLOCK_SIZE}
    if loaded.device.type == "cuda":
        transformers_cb.run(work, loaded, **settings)
    return transformers_cb.run(work, loaded, **settings)


def on_cbviz(loaded: LoadedModel, work: Workload, options: argparse.Namespace) -> Trace:
    """Our engine, timed as `cbviz bench` does."""
    settings: dict[str, Any] = {"slots": options.slots, "repeats": options.passes, "profile": False}
    return cbviz.bench(loaded, "continuous", workload=work, **settings).trace


def in_this_process(part: str, options: argparse.Namespace) -> Part:
    """One part that needs the model here. It goes with the function, for vLLM's processes may need its memory."""
    from cbviz.models import load

    loaded = load(options.model, device=options.device, progress=False)
    run = {"cbviz": on_cbviz, "transformers": on_transformers}[part]
    trace = run(loaded, work_of(options, loaded.vocabulary), options)
    found: dict[str, Any] = {"seconds": trace.seconds, "iterations": len(trace.iterations)}
    return found | {"occupancy": trace.occupancy, "tokens_per_second": trace.tokens_per_second}, trace


def done(part: str, options: argparse.Namespace) -> Part:
    """A part, or what went wrong in one line: one engine's failure must not cost the others' results."""
    with tempfile.TemporaryDirectory(prefix="cbviz-") as scratch:
        ours = part in ("cbviz", "transformers")
        run: Callable[[], Part] = (
            partial(in_this_process, part, options) if ours else partial(in_vllm, part, options, Path(scratch))
        )
        try:
            return run()
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {one_line(error, 500)}"}, None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts and write the results; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:llama-3.1-8b", help="random:SHAPE (random:llama-3.1-8b)")
    parser.add_argument("--only", default=",".join(PARTS), help="which parts, with commas between them (all)")
    parser.add_argument("--workload", default="exponential", help="exponential or yardstick (exponential)")
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--prompt-tokens", type=int, help="the length of every prompt (the workload's own)")
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--budget", type=int, default=8192, help="vLLM's max_num_batched_tokens (8192)")
    parser.add_argument("--context", type=int, default=1024, help="vLLM's max_model_len (1024)")
    parser.add_argument("--memory", type=float, default=0.6, help="vLLM's share of the GPU's memory (0.6)")
    parser.add_argument("--passes", type=int, default=3, help="timed passes (3)")
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path, required=True, help="the result file")
    parser.add_argument(
        "--out", type=Path, required=True, help="a folder for the traces, vLLM's own lines, and the page with the board"
    )
    options = parser.parse_args(argv)
    chosen = options.only.split(",")
    if unknown := sorted(set(chosen) - set(PARTS)):
        parser.error(f"--only: {unknown[0]!r} is no part; they are {', '.join(PARTS)}")
    from result_file import write

    options.out.mkdir(parents=True, exist_ok=True)
    found = json.loads(options.json.read_text("utf-8"))["found"] if options.json.exists() else {}
    for part in (part for part in PARTS if part in chosen):
        if part in found and "failed" not in found[part]:
            continue
        found[part], trace = done(part, options)
        gc.collect()
        if trace is not None:
            trace.save(options.out / f"{part}.cbviz")
        kept = [options.out / f"{lane}.cbviz" for lane in LANES if (options.out / f"{lane}.cbviz").exists()]
        lanes = [cbviz.load(path) for path in kept]
        if lanes:
            cbviz.Board(*lanes).to_html(options.out / "board.html")
        write(options.json, __file__, argv, found=found, lanes=[lane.meta.policy for lane in lanes])
        print(json.dumps({part: found[part]}), flush=True)
    return int(any("failed" in each for each in found.values()))


def work_of(options: argparse.Namespace, vocabulary: int) -> Workload:
    """The work, which depends on the model only through its vocabulary."""
    from cbviz.run.bench_work import named_workload

    stand_in: Any = SimpleNamespace(name=options.model, vocabulary=vocabulary, tokenizer=None)
    return named_workload(options.workload, stand_in, requests=options.requests, prompt_tokens=options.prompt_tokens)


if __name__ == "__main__":
    raise SystemExit(main())
