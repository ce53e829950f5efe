"""The commands, their options, and the bounds of numbers."""

from __future__ import annotations

import argparse
from typing import Any

from cbviz._version import __version__
from cbviz.cli.bench import run_bench
from cbviz.cli.decompose import add_decompose
from cbviz.cli.doctor import run_doctor
from cbviz.cli.load import run_load
from cbviz.cli.option_types import above_zero, between, compared, drafts, names, price
from cbviz.cli.others import list_models, replay_runs, run_lab, run_slides
from cbviz.cli.parser import POLICY_NAMES, Parser
from cbviz.cli.race import run_race
from cbviz.cli.reading import print_reading
from cbviz.cli.simulate import run_calibrate, run_simulate
from cbviz.cli.sweep import run_sweep
from cbviz.limits import (
    MOST_BLOCK_SIZE,
    MOST_BLOCKS,
    MOST_REPEATS,
    MOST_REQUESTS,
    MOST_SEED,
    MOST_SIMULATED,
    MOST_SLOTS,
    MOST_TOKENS,
)
from cbviz.messages import languages

SLOTS = between(1, MOST_SLOTS)
REQUESTS = between(1, MOST_REQUESTS)
REPEATS = between(1, MOST_REPEATS)
TOKENS = between(1, MOST_TOKENS)
BLOCK_SIZE = between(1, MOST_BLOCK_SIZE)
BLOCKS = between(1, MOST_BLOCKS)
SEED = between(0, MOST_SEED)
MANY_REQUESTS = between(1, MOST_SIMULATED)


WHICH_MODEL = "a name of `cbviz models`, a Hugging Face id or a folder (tiny)"


def build_parser() -> Parser:
    """Build the parser of the command line, with all commands and options.

    Returns
    -------
    Parser
        Each command sets `run`, the function that executes it.
    """
    parser = Parser(prog="cbviz", description="A real continuous-batching engine that you can watch think.")
    parser.add_argument("--version", action="version", version=f"cbviz {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    race = commands.add_parser(
        "race",
        help="serve the same requests under several policies and compare",
        description="Serve the same requests once under each policy, on one real model, and compare. "
        "The lanes are ranked by what --compare names. For example, `cbviz race --policies static,tgi,orca,vllm_v1 "
        "--kv-tokens 1536` shows who wins when memory is short, and `cbviz race --policies vllm_v0,sarathi --compare "
        "longest_gap` who keeps a reader waiting.",
    )
    race.add_argument("--model", default="tiny", help=WHICH_MODEL)
    race.add_argument(
        "--policies",
        type=names,
        default=("static", "continuous"),
        help=f"one to four, with commas between them, of {POLICY_NAMES} (static,continuous)",
    )
    race.add_argument("--slots", type=SLOTS, default=8, help="requests that can run at once (8)")
    race.add_argument("--requests", type=REQUESTS, help="how many requests to serve (the workload's own)")
    race.add_argument("--seed", type=SEED, default=0, help="seed of the workload (0)")
    race.add_argument("--device", help="cpu, cuda or cuda:N (the GPU if there is one)")
    race.add_argument("--dtype", help="float32, bfloat16 or float16 (float32 on a CPU; on a GPU what it does best)")
    race.add_argument("--weights", choices=("int8",), help="store the model's weights in a byte each (needs torchao)")
    race.add_argument("--prompts", metavar="FILE", help="race your own prompts: one a line, or .jsonl; - reads stdin")
    race.add_argument(
        "--repeats",
        type=REPEATS,
        help="timed runs; the median is reported (3, or fewer if they take minutes)",
    )
    race.add_argument("--max-new-tokens", type=TOKENS, help="the most tokens an answer may have")
    race.add_argument("--block-size", type=BLOCK_SIZE, default=16, help="positions in a KV block (16)")
    race.add_argument("--kv-blocks", type=BLOCKS, help="KV blocks of each lane (enough for every slot)")
    race.add_argument("--kv-tokens", type=TOKENS, help="the same in tokens: as many whole blocks as they fill")
    add_kv(race)
    add_ignore(race)
    add_backend(race)
    race.add_argument(
        "--speculate",
        type=drafts,
        default=(0,),
        metavar="K",
        help="draft up to K tokens of a request in a pass and check them there; one number, or one for each lane with "
        "commas between them, as in --policies continuous,continuous --speculate 0,4 (0)",
    )
    race.add_argument(
        "--compare",
        type=compared,
        default="iterations",
        metavar="WHAT",
        help="what ranks the lanes: iterations, seconds, longest_gap (between two tokens of an answer) or ttft "
        "(iterations)",
    )
    race.add_argument("--html", metavar="PATH", help="write one page that replays the race without a network")
    race.add_argument(
        "--language", choices=languages(), default="en", help=f"of result and page: {' or '.join(languages())} (en)"
    )
    race.add_argument("--save", metavar="DIR", help="write the trace of every lane into this folder")
    add_json(race)
    race.add_argument("--quiet", action="store_true", help="no progress, no drawing: only the result")
    race.set_defaults(run=run_race)

    add_bench(commands)
    add_simulate(commands)
    add_doctor(commands)
    add_sweep(commands)
    add_load(commands)
    add_decompose(commands)

    replay = commands.add_parser("replay", help="look at recorded runs in a browser")
    replay.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="one to four trace files (.cbviz), or the name of a recording, such as engines-tiny",
    )
    replay.add_argument("--html", metavar="PATH", help="write the page here, and open no browser")
    replay.set_defaults(run=replay_runs)

    add_course(commands)

    reading = commands.add_parser("results", help="how to read a result, and why answers may differ between lanes")
    add_language(reading)
    reading.set_defaults(run=print_reading)

    models = commands.add_parser("models", help="list the models that cbviz knows by name")
    models.set_defaults(run=list_models)
    return parser


def add_load(commands: Any) -> None:
    """The options of `cbviz load`; they have the names of `vllm bench serve` where it has them."""
    load = commands.add_parser(
        "load",
        help="send requests to an OpenAI-compatible endpoint and time the answers",
        description="Send requests to an OpenAI-compatible endpoint, streaming: all at once, at a rate, or in a closed "
        "loop (--max-concurrency). A bearer token is read from OPENAI_API_KEY.",
    )
    load.add_argument("url", help="such as http://localhost:8000")
    load.add_argument("--model", help="the model's name (the first that the endpoint names)")
    load.add_argument("--requests", type=REQUESTS, default=48, help="how many (48)")
    load.add_argument("--request-rate", type=above_zero, help="arrivals a second (all at once)")
    load.add_argument("--burstiness", type=above_zero, help="1 is Poisson, less comes in bursts (1)")
    load.add_argument("--max-concurrency", type=SLOTS, help="the most requests that are open at once")
    load.add_argument("--max-new-tokens", type=TOKENS, default=128, help="the most tokens of an answer (128)")
    load.add_argument(
        "--random-prompt-tokens",
        type=TOKENS,
        help="prompts of so many random token ids, each answered to its full length (questions)",
    )
    load.add_argument("--chat", action="store_true", help="use the chat endpoint")
    load.add_argument("--seed", type=SEED, default=0, help="seed of prompts and arrivals (0)")
    load.add_argument("--patience", type=above_zero, default=60.0, help="seconds to the first and each next token (60)")
    add_language(load)
    load.add_argument("--save", metavar="FILE", help="write the result as `vllm bench serve` writes it")
    load.add_argument("--svg", metavar="FILE", help="write a picture with one row a request")
    add_json(load)
    load.set_defaults(run=run_load)


def add_course(commands: Any) -> None:
    """The options of `cbviz lab` and `cbviz slides`."""
    lab = commands.add_parser(
        "lab",
        help="copy the course's notebooks into a folder and open JupyterLab on the first",
        description="Copy the course's notebooks into a folder and open JupyterLab on the first. Notebooks that are "
        "there already are left unchanged.",
    )
    lab.add_argument("folder", nargs="?", default="cbviz-course", help="(cbviz-course)")
    add_language(lab)
    lab.add_argument("--no-open", action="store_true", help="only copy")
    lab.add_argument(
        "--jupyter",
        action="append",
        default=[],
        metavar="OPTION",
        help="an option for JupyterLab, such as --jupyter=--no-browser; may be given several times",
    )
    lab.set_defaults(run=run_lab)

    slides = commands.add_parser("slides", help="write the recorded races as pictures, for slides")
    slides.add_argument("folder", help="the folder, new or existing; files of the same name are replaced")
    add_language(slides)
    slides.add_argument("--dark", action="store_true", help="for dark slides")
    slides.set_defaults(run=run_slides)


def add_json(command: argparse.ArgumentParser) -> None:
    """The option to print for programs, the same wherever there is a result."""
    command.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def add_language(command: argparse.ArgumentParser) -> None:
    """The language of what is written, the same words wherever only that is chosen."""
    command.add_argument("--language", choices=languages(), default="en", help=f"{' or '.join(languages())} (en)")


def add_kv(command: argparse.ArgumentParser) -> None:
    """Options for shared prompt prefixes and for memory that runs out, the same for race and bench."""
    command.add_argument("--prefix-cache", action="store_true", help="prompts with a common prefix share its KV blocks")
    command.add_argument(
        "--preemption",
        choices=("recompute", "swap"),
        default="recompute",
        help="what happens to the KV cache of a preempted request: recomputed, or swapped to the host (recompute)",
    )
    command.add_argument("--swap-blocks", type=BLOCKS, help="blocks on the host (as many as on the device)")


def add_ignore(command: argparse.ArgumentParser) -> None:
    """The option to ignore the generation config, the same for race and bench."""
    command.add_argument(
        "--ignore-generation-config",
        action="store_true",
        help="ignore the logit settings of the model's generation config (END still counts)",
    )


def add_backend(command: argparse.ArgumentParser) -> None:
    """What computes: the same words for race and bench."""
    command.add_argument(
        "--backend",
        help="sdpa (eager passes, anywhere) or graphs (CUDA graphs; on a CPU the same passes uncaptured); by default "
        "graphs on a GPU that can capture the model, else sdpa",
    )


def add_bench(commands: Any) -> None:
    """The options of `cbviz bench`."""
    bench = commands.add_parser(
        "bench",
        help="measure how fast one policy serves a workload, against what the hardware allows",
        description="Serve a workload under one policy, undisturbed, several times. Reports the median, the floor that "
        "memory bandwidth and arithmetic set for this run, and where the rest of the time goes.",
    )
    bench.add_argument("--model", default="tiny", help=WHICH_MODEL)
    bench.add_argument("--policy", default="continuous", help=f"one of {POLICY_NAMES} (continuous)")
    bench.add_argument(
        "--workload", help="yardstick, exponential, truncated, questions or tasks (what suits the model)"
    )
    bench.add_argument("--requests", type=REQUESTS, help="how many requests to serve (the workload's own)")
    bench.add_argument("--prompt-tokens", type=TOKENS, help="length of prompts: exponential (128), truncated (512)")
    bench.add_argument("--max-new-tokens", type=TOKENS, help="the longest output of exponential, truncated, questions")
    bench.add_argument("--seed", type=SEED, default=0, help="seed of the workload (0)")
    bench.add_argument("--slots", type=SLOTS, help="requests that can run at once (32 on a GPU, 8 on a CPU)")
    bench.add_argument("--repeats", type=REPEATS, default=3, help="timed runs; the median is reported (3)")
    bench.add_argument("--device", help="cpu, cuda or cuda:N (the GPU if there is one)")
    bench.add_argument("--dtype", help="float32, bfloat16 or float16 (float32 on a CPU; on a GPU what it does best)")
    bench.add_argument("--weights", choices=("int8",), help="store the model's weights in a byte each (needs torchao)")
    bench.add_argument(
        "--lag", type=int, choices=(0, 1), help="iterations that are planned ahead of the tokens (1 with CUDA graphs)"
    )
    bench.add_argument("--block-size", type=BLOCK_SIZE, help="positions in a KV block (32 on a GPU, 16 on a CPU)")
    bench.add_argument("--kv-blocks", type=BLOCKS, help="KV blocks (what the workload can use and memory can hold)")
    add_kv(bench)
    add_ignore(bench)
    add_backend(bench)
    bench.add_argument("--no-graphs", action="store_true", help="the same as --backend sdpa")
    bench.add_argument("--no-compile", action="store_true", help="CUDA graphs without torch.compile")
    bench.add_argument(
        "--no-record", action="store_true", help="do not record the timed runs, to see what recording costs"
    )
    bench.add_argument("--no-profile", action="store_true", help="do not profile where the time goes")
    bench.add_argument(
        "--peer",
        action="append",
        default=[],
        help="run transformers-static or transformers-cb on the same work; may be given twice",
    )
    bench.add_argument("--save", metavar="FILE", help="write the trace of the run with the median time")
    add_json(bench)
    bench.add_argument("--quiet", action="store_true", help="no progress")
    bench.set_defaults(run=run_bench)


def add_simulate(commands: Any) -> None:
    """The options of `cbviz simulate` and `cbviz calibrate`."""
    simulate = commands.add_parser(
        "simulate",
        help="serve a workload on a virtual clock, without a model or a GPU",
        description="Serve random lengths under one policy on a virtual clock whose iterations cost what a calibration "
        "says. Reports latencies, throughput and occupancy.",
    )
    simulate.add_argument("--policy", default="continuous", help=f"one of {POLICY_NAMES} (continuous)")
    simulate.add_argument(
        "--cost",
        default="h100-llama-3.1-8b",
        help="a calibration by name, or a file that `cbviz calibrate` wrote (h100-llama-3.1-8b)",
    )
    simulate.add_argument(
        "--workload",
        metavar="FILE",
        help="serve the requests of a trace, of a recording by name, of a service's traffic (Azure, Mooncake, BurstGPT "
        "or WEKA), or of a load generator's results",
    )
    simulate.add_argument("--slots", type=SLOTS, default=32, help="requests that can run at once (32)")
    simulate.add_argument("--requests", type=MANY_REQUESTS, help="how many requests to serve (1,000; all of a file)")
    simulate.add_argument("--prompt-tokens", type=TOKENS, help="tokens of every prompt (128)")
    simulate.add_argument("--output-tokens", type=TOKENS, help="mean tokens of an output (128)")
    simulate.add_argument("--lengths", choices=("exponential", "uniform", "fixed"), help="law of outputs (exponential)")
    simulate.add_argument("--max-new-tokens", type=TOKENS, help="longest output; cuts a file's (4 or 2 times the mean)")
    simulate.add_argument("--rate", type=above_zero, help="requests a second (all arrive at once; as in the file)")
    simulate.add_argument("--burstiness", type=above_zero, help="1 is Poisson; less is burstier (1)")
    simulate.add_argument("--clients", type=SLOTS, help="a closed loop: each client sends its next request at an end")
    simulate.add_argument("--seed", type=SEED, help="seed of the workload (0)")
    simulate.add_argument("--block-size", type=BLOCK_SIZE, default=16, help="positions in a KV block (16)")
    simulate.add_argument("--kv-blocks", type=BLOCKS, help="KV blocks (enough for every slot)")
    simulate.add_argument("--lag", type=int, choices=(0, 1), default=0, help="1 plans one iteration ahead (0)")
    add_targets(simulate)
    simulate.add_argument("--dollars-per-hour", type=price, help="price of the machine: dollars a million tokens")
    simulate.add_argument("--save", metavar="FILE", help="write the trace, iteration by iteration")
    add_json(simulate)
    simulate.add_argument("--quiet", action="store_true", help="no progress, no warnings")
    simulate.set_defaults(run=run_simulate)

    calibrate = commands.add_parser(
        "calibrate",
        help="fit a cost model to recorded runs, for `cbviz simulate --cost`",
        description="Fit what an iteration costs to recorded runs of one engine with one model on one device.",
    )
    calibrate.add_argument("traces", nargs="+", metavar="TRACE", help="trace files (.cbviz), or names of recordings")
    calibrate.add_argument("--output", metavar="FILE", help="write the calibration here (standard output)")
    calibrate.add_argument(
        "--simulated", action="store_true", help="fit to simulated traces, too, though no device took their times"
    )
    calibrate.add_argument("--name", help="what results call it (model and device)")
    calibrate.set_defaults(run=run_calibrate)


def add_targets(command: argparse.ArgumentParser) -> None:
    """Latency targets, the same for simulate and doctor."""
    command.add_argument("--target-ttft", type=above_zero, metavar="S", help="a latency target in seconds: goodput")
    command.add_argument("--target-tpot", type=above_zero, metavar="S", help="the same for the time per output token")
    command.add_argument("--target-e2e", type=above_zero, metavar="S", help="the same for the whole answer")


def add_doctor(commands: Any) -> None:
    """The options of `cbviz doctor`."""
    doctor = commands.add_parser(
        "doctor",
        help="explain a result of vLLM bench, AIPerf, GuideLLM, inference-perf, or a trace",
        description="Read what a load generator measured: every latency by every tool's own definition and why they "
        "differ, whether the server kept up, and the requests over time.",
    )
    doctor.add_argument("files", nargs="+", metavar="FILE", help="results, packed or not, or the name of a recording")
    add_targets(doctor)
    doctor.add_argument("--cost", help="a calibration by name or file: simulate the run as it was and as it might be")
    doctor.add_argument("--ran", metavar="SETTING", help="what ran (policy=vllm_v1,slots=256)")
    doctor.add_argument(
        "--what-if",
        action="append",
        default=[],
        metavar="SETTING",
        help="another setting to simulate, such as slots=64 or policy=sarathi,kv_blocks=4000; may be given twice",
    )
    doctor.add_argument("--html", metavar="PATH", help="write one page with the pictures")
    add_language(doctor)
    add_json(doctor)
    doctor.set_defaults(run=run_doctor)


def add_sweep(commands: Any) -> None:
    """The options of `cbviz sweep`."""
    sweep = commands.add_parser(
        "sweep",
        help="simulate every combination of a grid, on all cores or on Ray",
        description="Simulate every combination of values, such as: cbviz sweep policy=static,continuous rate=1,2,4 "
        "requests=10000. Parameters are those of cbviz.run.sweep_work.simulated.",
    )
    sweep.add_argument("parameters", nargs="+", metavar="NAME=VALUE[,VALUE…]", help="several values make a grid")
    sweep.add_argument("--num-runs", type=REPEATS, default=1, help="runs of each combination, with other seeds (1)")
    sweep.add_argument("--seed", type=SEED, default=0, help="seed of the first run (0)")
    sweep.add_argument("--workers", type=between(0, 1024), default=1, help="processes; 0 takes all cores (1)")
    sweep.add_argument("--address", help="a Ray cluster: ray://HOST:PORT, auto, or local for one of our own")
    sweep.add_argument("--output-dir", metavar="DIR", help="keep every row here as it comes, and the table at the end")
    sweep.add_argument("--resume", action="store_true", help="continue the sweep that --output-dir holds")
    sweep.add_argument(
        "--continue-on-error",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether the others run when one fails (yes)",
    )
    sweep.add_argument("--dry-run", action="store_true", help="list the runs, and say which would be refused")
    add_json(sweep)
    sweep.add_argument("--quiet", action="store_true", help="no progress")
    sweep.set_defaults(run=run_sweep)
