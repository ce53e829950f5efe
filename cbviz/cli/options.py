"""The commands, their options, and the bounds of numbers."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from cbviz._version import __version__
from cbviz.cli.bench import run_bench
from cbviz.cli.others import list_models, replay_runs, run_lab, run_slides
from cbviz.cli.race import run_race
from cbviz.cli.targets import BAD_INPUT
from cbviz.limits import (
    MOST_BLOCK_SIZE,
    MOST_BLOCKS,
    MOST_REPEATS,
    MOST_REQUESTS,
    MOST_SEED,
    MOST_SLOTS,
    MOST_TOKENS,
)
from cbviz.messages import languages
from cbviz.paths import short


class Parser(argparse.ArgumentParser):
    """Answers a bad option with one sentence instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        """Print one sentence to standard error and exit with code 2."""
        one_line = " ".join(short(word) for word in message.rstrip(".").split())
        self.exit(BAD_INPUT, f"cbviz: {one_line}; `{self.prog} --help` lists what is allowed.\n")


def between(least: int, most: int) -> Any:
    """An argparse type: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        try:
            number = int(text) if len(text) < 100 else most + 1
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not {text!r:.80}")
        if number > most:
            raise argparse.ArgumentTypeError(f"must be a whole number of at most {most:,}, not {text!r:.80}")
        return number

    return parse


SLOTS = between(1, MOST_SLOTS)
REQUESTS = between(1, MOST_REQUESTS)
REPEATS = between(1, MOST_REPEATS)
TOKENS = between(1, MOST_TOKENS)
BLOCK_SIZE = between(1, MOST_BLOCK_SIZE)
BLOCKS = between(1, MOST_BLOCKS)
SEED = between(0, MOST_SEED)


def names(text: str) -> tuple[str, ...]:
    """An argparse type: names with commas between them."""
    listed = tuple(name.strip() for name in text.split(","))
    if not all(listed):
        raise argparse.ArgumentTypeError(
            f"must be names with commas between them, such as static,continuous, not {text!r}"
        )
    return listed


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
        "Ratios are of the first policy to the last.",
    )
    race.add_argument("--model", default="tiny", help="a name of `cbviz models`, a Hugging Face id or a folder (tiny)")
    race.add_argument("--policies", type=names, default=("static", "continuous"), help="(static,continuous)")
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
    race.add_argument("--html", metavar="PATH", help="write one page that replays the race without a network")
    race.add_argument(
        "--language", choices=languages(), default="en", help=f"of the page: {' or '.join(languages())} (en)"
    )
    race.add_argument("--save", metavar="DIR", help="write the trace of every lane into this folder")
    race.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    race.add_argument("--quiet", action="store_true", help="no progress, no drawing: only the result")
    race.set_defaults(run=run_race)

    add_bench(commands)

    replay = commands.add_parser("replay", help="look at recorded runs in a browser")
    replay.add_argument(
        "files", nargs="+", metavar="FILE", help="one to four trace files (.cbviz), or the name of a recording"
    )
    replay.add_argument("--html", metavar="PATH", help="write the page here, and open no browser")
    replay.set_defaults(run=replay_runs)

    add_course(commands)

    models = commands.add_parser("models", help="list the models that cbviz knows by name")
    models.set_defaults(run=list_models)
    return parser


def add_course(commands: Any) -> None:
    """The options of `cbviz lab` and `cbviz slides`."""
    lab = commands.add_parser(
        "lab",
        help="copy the course's notebooks into a folder and open JupyterLab on the first",
        description="Copy the course's notebooks into a folder and open JupyterLab on the first. Notebooks that are "
        "there already are left unchanged.",
    )
    lab.add_argument("folder", nargs="?", default="cbviz-course", help="(cbviz-course)")
    lab.add_argument("--language", choices=languages(), default="en", help=f"{' or '.join(languages())} (en)")
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
    slides.add_argument("--language", choices=languages(), default="en", help=f"{' or '.join(languages())} (en)")
    slides.add_argument("--dark", action="store_true", help="for dark slides")
    slides.set_defaults(run=run_slides)


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
    bench.add_argument("--model", default="tiny", help="a name of `cbviz models`, a Hugging Face id or a folder (tiny)")
    bench.add_argument("--policy", default="continuous", help="(continuous)")
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
    bench.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    bench.add_argument("--quiet", action="store_true", help="no progress")
    bench.set_defaults(run=run_bench)
