"""The command line: `cbviz race` and what belongs to it.

Results go to standard output; progress and everything that libraries say go to standard error. Exit codes: 0 the race
ended, 2 something asked for makes no sense (one sentence says what), 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
import tempfile
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cbviz import __version__
from cbviz.errors import CbvizError, TraceError

if TYPE_CHECKING:
    from cbviz.experiments.race import Race

BAD_INPUT = 2
INTERRUPTED = 130
"""128 + SIGINT, as shells count."""


class Parser(argparse.ArgumentParser):
    """Answers a bad option with one sentence instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"cbviz: {message.rstrip('.')}; `{self.prog} --help` lists what is allowed.\n")


def at_least(least: int) -> Any:
    """An argparse type: a whole number of at least `least`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not {text!r}")
        return number

    return parse


def names(text: str) -> tuple[str, ...]:
    """An argparse type: names with commas between them."""
    listed = tuple(name.strip() for name in text.split(","))
    if not all(listed):
        raise argparse.ArgumentTypeError(
            f"must be names with commas between them, such as static,continuous, not {text!r}"
        )
    return listed


def build_parser() -> Parser:
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
    race.add_argument("--slots", type=at_least(1), default=8, help="requests that can run at once (8)")
    race.add_argument("--requests", type=at_least(1), help="how many requests to serve (the workload's own number)")
    race.add_argument("--seed", type=at_least(0), default=0, help="seed of the workload (0)")
    race.add_argument("--device", help="cpu, cuda or cuda:N (the GPU if there is one)")
    race.add_argument("--dtype", help="float32, bfloat16 or float16 (float32 on a CPU, bfloat16 on a GPU)")
    race.add_argument("--weights", choices=("int8",), help="store the model's weights in a byte each (needs torchao)")
    race.add_argument("--prompts", metavar="FILE", help="race your own prompts: one a line, or .jsonl; - reads stdin")
    race.add_argument(
        "--repeats", type=at_least(1), help="timed runs; the median is reported (3, or fewer if they take minutes)"
    )
    race.add_argument("--max-new-tokens", type=at_least(1), help="the most tokens an answer may have")
    race.add_argument("--block-size", type=at_least(1), default=16, help="positions in a KV block (16)")
    race.add_argument("--kv-blocks", type=at_least(1), help="KV blocks of each lane (enough for every slot)")
    race.add_argument("--kv-tokens", type=at_least(1), help="the same in tokens: as many whole blocks as they fill")
    add_kv(race)
    race.add_argument(
        "--html", type=Path, metavar="PATH", help="write one page that replays the race without a network"
    )
    race.add_argument("--save", type=Path, metavar="DIR", help="write the trace of every lane into this folder")
    race.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    race.add_argument("--quiet", action="store_true", help="no progress, no drawing: only the result")
    race.set_defaults(run=run_race)

    add_bench(commands)

    replay = commands.add_parser("replay", help="look at recorded runs in a browser")
    replay.add_argument(
        "files", nargs="+", metavar="FILE", help="one to four trace files (.cbviz), or the name of a recording"
    )
    replay.add_argument("--html", type=Path, metavar="PATH", help="write the page here, and open no browser")
    replay.set_defaults(run=replay_runs)

    add_course(commands)

    models = commands.add_parser("models", help="list the models that cbviz knows by name")
    models.set_defaults(run=list_models)
    return parser


def add_course(commands: Any) -> None:
    """`cbviz lab` and `cbviz slides`: for those who learn, and for those who teach."""
    lab = commands.add_parser(
        "lab",
        help="copy the course's notebooks into a folder and open JupyterLab on the first",
        description="Copy the course's notebooks into a folder and open JupyterLab on the first. Notebooks that are "
        "there already stay as they are.",
    )
    lab.add_argument("folder", nargs="?", type=Path, default=Path("cbviz-course"), help="(cbviz-course)")
    lab.add_argument("--language", choices=("en", "zh"), default="en", help="en or zh (en)")
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
    slides.add_argument("folder", type=Path, help="where to, a new folder or an old one; files of the same name go")
    slides.add_argument("--language", choices=("en", "zh"), default="en", help="en or zh (en)")
    slides.add_argument("--dark", action="store_true", help="for dark slides")
    slides.set_defaults(run=run_slides)


def add_kv(command: argparse.ArgumentParser) -> None:
    """What to do about prompts that begin alike, and about memory that runs out: the same words for race and bench."""
    command.add_argument(
        "--prefix-cache", action="store_true", help="prompts that begin alike share the blocks of what they share"
    )
    command.add_argument(
        "--preemption",
        choices=("recompute", "swap"),
        default="recompute",
        help="what becomes of the cache of a preempted request: computed again, or kept on the host (recompute)",
    )
    command.add_argument("--swap-blocks", type=at_least(1), help="blocks on the host (as many as on the device)")


def add_bench(commands: Any) -> None:
    """The options of `cbviz bench`."""
    bench = commands.add_parser(
        "bench",
        help="measure how fast one policy serves a workload, against what the hardware allows",
        description="Serve a workload under one policy, undisturbed, several times. Reports the median, the floor that "
        "memory bandwidth and arithmetic set for this very run, and where the rest of the time goes.",
    )
    bench.add_argument("--model", default="tiny", help="a name of `cbviz models`, a Hugging Face id or a folder (tiny)")
    bench.add_argument("--policy", default="continuous", help="(continuous)")
    bench.add_argument(
        "--workload", help="yardstick, exponential, truncated, questions or tasks (what suits the model)"
    )
    bench.add_argument("--requests", type=at_least(1), help="how many requests to serve (the workload's own number)")
    bench.add_argument(
        "--prompt-tokens", type=at_least(1), help="length of prompts: exponential (128), truncated (512)"
    )
    bench.add_argument(
        "--max-new-tokens", type=at_least(1), help="the longest output of exponential, truncated, questions"
    )
    bench.add_argument("--seed", type=at_least(0), default=0, help="seed of the workload (0)")
    bench.add_argument("--slots", type=at_least(1), help="requests that can run at once (32 on a GPU, 8 on a CPU)")
    bench.add_argument("--repeats", type=at_least(1), default=3, help="timed runs; the median is reported (3)")
    bench.add_argument("--device", help="cpu, cuda or cuda:N (the GPU if there is one)")
    bench.add_argument("--dtype", help="float32, bfloat16 or float16 (float32 on a CPU, bfloat16 on a GPU)")
    bench.add_argument("--weights", choices=("int8",), help="store the model's weights in a byte each (needs torchao)")
    bench.add_argument(
        "--lag", type=int, choices=(0, 1), help="iterations that are planned ahead of the tokens (1 with CUDA graphs)"
    )
    bench.add_argument("--block-size", type=at_least(1), help="positions in a KV block (32 on a GPU, 16 on a CPU)")
    bench.add_argument(
        "--kv-blocks", type=at_least(1), help="KV blocks (what the workload can use and memory can hold)"
    )
    add_kv(bench)
    bench.add_argument("--no-graphs", action="store_true", help="eager passes, no CUDA graphs")
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
    bench.add_argument("--save", type=Path, metavar="FILE", help="write the trace of the run with the median time")
    bench.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    bench.add_argument("--quiet", action="store_true", help="no progress")
    bench.set_defaults(run=run_bench)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Bad options raise SystemExit(2), as argparse does."""
    options = build_parser().parse_args(argv)
    options.command_line = command_line(sys.argv[1:] if argv is None else argv)
    try:
        return int(options.run(options))
    except CbvizError as error:
        print(f"cbviz: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("cbviz: interrupted; nothing was kept.", file=sys.stderr)
        return INTERRUPTED


def command_line(argv: Sequence[str]) -> str:
    """What was typed, for a result to carry: without where it was saved, which may name a place on somebody's disk."""
    kept: list[str] = []
    drop = False
    for word in argv:
        if not drop and word not in ("--save", "--json", "--quiet") and not word.startswith("--save="):
            kept.append(word)
        drop = word == "--save"
    return shlex.join(["cbviz", *kept])


def list_models(_: argparse.Namespace) -> int:
    from cbviz.models import catalogue

    width = max(len(name) for name in catalogue())
    for name, summary in catalogue().items():
        print(f"{name:<{width}}  {summary}")
    return 0


def run_lab(options: argparse.Namespace) -> int:
    """Copy the notebooks; then JupyterLab, until it is shut down."""
    from cbviz import lab

    if not options.no_open:
        lab.check_jupyterlab()
    copied = lab.copy(options.folder, options.language)
    for line in copied.told():
        print(line, flush=True)
    if not options.no_open:
        lab.open_jupyterlab(copied.folder / lab.originals(options.language)[0].name, options.jupyter)
    return 0


def run_slides(options: argparse.Namespace) -> int:
    """Write the pictures, and name each as it is there."""
    from cbviz import slides

    for path in slides.export(options.folder, language=options.language, dark=options.dark):
        print(path, flush=True)
    return 0


def replay_runs(options: argparse.Namespace) -> int:
    """Write the player page of recorded runs, and open it unless a path for it was given."""
    from cbviz.board import player
    from cbviz.trace import RECORDINGS, load, recorded

    traces = [trace for name in options.files for trace in (recorded(name) if name in RECORDINGS else (load(name),))]
    page = player.html(traces, title="Replay")
    target = options.html or Path(tempfile.mkdtemp(prefix="cbviz-")) / "replay.html"
    try:
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise TraceError(f"cannot write {target}: {error.strerror}.") from error
    opened = options.html is None and webbrowser.open(target.absolute().as_uri())
    print(f"{'Opened' if opened else 'Open in a browser:'} {target}")
    return 0


@contextlib.contextmanager
def everything_to_stderr() -> Iterator[None]:
    """Until the block ends, whatever anybody prints (Python or C) goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 1)
        os.close(kept)


def run_race(options: argparse.Namespace) -> int:
    check_targets(options)
    with everything_to_stderr():
        race = prepare(options)
        try:
            race.start().wait()
        except KeyboardInterrupt:  # the race has stopped after its iteration in flight
            print(f"\ncbviz: interrupted; {what_was_kept(race, options.save)}", file=sys.stderr)
            return INTERRUPTED
        told = write_files(race, options)
    if options.json:
        print(json.dumps(race.to_json(), ensure_ascii=False, allow_nan=False))
    else:
        print_result(race, drawn=not options.quiet)
        for line in told:
            print(line)
    return 0


def prepare(options: argparse.Namespace) -> Race:
    """The race that was asked for, before its first iteration."""
    from transformers.utils import logging

    from cbviz.experiments.progress import SilentProgress, TerminalProgress
    from cbviz.experiments.race import race
    from cbviz.models import load
    from cbviz.policies import get
    from cbviz.workload.prompts import read_prompts

    logging.set_verbosity_error()  # a mistake gets one sentence, and it is ours
    policies = [get(name) for name in options.policies]
    prompts = None if options.prompts is None else read_prompts(options.prompts)
    return race(
        load(
            options.model,
            device=options.device,
            dtype=options.dtype,
            weights=options.weights,
            progress=not options.quiet,
        ),
        policies,
        slots=options.slots,
        requests=options.requests,
        prompts=prompts,
        seed=options.seed,
        repeats=options.repeats,
        max_new_tokens=options.max_new_tokens,
        block_size=options.block_size,
        kv_blocks=options.kv_blocks,
        kv_tokens=options.kv_tokens,
        prefix_cache=options.prefix_cache,
        preemption=options.preemption,
        swap_blocks=options.swap_blocks,
        live=False,
        run=False,
        progress=SilentProgress() if options.quiet or not sys.stderr.isatty() else TerminalProgress(),
    )


def what_was_kept(race: Race, folder: Path | None) -> str:
    """After an interrupt: write what had been run, if a folder for it was given, and say so."""
    iterations = sum(len(trace.iterations) for trace in race.traces)
    if folder is None:
        return f"the {iterations:,} iterations that had been run are gone (with --save DIR they would have been kept)."
    race.save(folder)
    return f"the traces of the {iterations:,} iterations that had been run are in {folder}."


def check_targets(options: argparse.Namespace) -> None:
    """Refuse, before anything runs, what could not be written afterwards."""
    html: Path | None = options.html
    save: Path | None = options.save
    if html is not None and html.is_dir():
        raise TraceError(f"--html {html} is a folder; it must be the path of a file, such as race.html.")
    if html is not None and not html.absolute().parent.is_dir():
        raise TraceError(f"--html {html}: there is no folder {html.absolute().parent}; make it first.")
    if save is not None and save.exists() and not save.is_dir():
        raise TraceError(f"--save {save} is a file; it must be a folder, which may be a new one.")


def write_files(race: Race, options: argparse.Namespace) -> list[str]:
    """Write what was asked for; returns one sentence for each."""
    told: list[str] = []
    try:
        if options.html is not None:
            race.to_html(options.html)
            told.append(f"Replay it in a browser: {options.html}")
        if options.save is not None:
            race.save(options.save)
            told.append(f"The traces are in {options.save}")
    except OSError as error:
        raise TraceError(f"cannot write {error.filename}: {error.strerror}.") from error
    return told


def run_bench(options: argparse.Namespace) -> int:
    if options.save is not None and not options.save.absolute().parent.is_dir():
        raise TraceError(f"--save {options.save}: there is no folder {options.save.absolute().parent}; make it first.")
    with everything_to_stderr():
        from transformers.utils import logging

        from cbviz.experiments.bench import bench
        from cbviz.experiments.progress import SilentProgress, TerminalProgress

        logging.set_verbosity_error()
        result = bench(
            options.model,
            options.policy,
            workload=options.workload,
            requests=options.requests,
            prompt_tokens=options.prompt_tokens,
            max_new_tokens=options.max_new_tokens,
            seed=options.seed,
            slots=options.slots,
            device=options.device,
            dtype=options.dtype,
            weights=options.weights,
            repeats=options.repeats,
            lag=options.lag,
            block_size=options.block_size,
            kv_blocks=options.kv_blocks,
            prefix_cache=options.prefix_cache,
            preemption=options.preemption,
            swap_blocks=options.swap_blocks,
            graphs=False if options.no_graphs else None,
            compiled=not options.no_compile,
            record=not options.no_record,
            profile=not options.no_profile,
            peers=options.peer,
            progress=SilentProgress() if options.quiet or not sys.stderr.isatty() else TerminalProgress(),
        )
        if options.save is not None:
            try:
                result.trace.save(options.save)
            except OSError as error:
                raise TraceError(f"cannot write {error.filename}: {error.strerror}.") from error
    facts = {"command": options.command_line, **result.to_json()}
    if options.json:
        print(json.dumps(facts, ensure_ascii=False, allow_nan=False))
    else:
        print(result.table(), *bench_sentences(facts), sep="\n")
    return 0


def bench_sentences(facts: dict[str, Any]) -> list[str]:
    """What a benchmark showed, in sentences."""
    low, high = facts["seconds_range"]
    spread = (
        f", the median of {facts['repeats']} runs, which took {low:.2f} to {high:.2f} s" if facts["repeats"] > 1 else ""
    )
    told = [
        "{model} in {dtype}{stored} on {device}, {slots} slots, {requests} requests: {workload}".format(
            stored=f" with {facts['weights']} weights" if facts["weights"] else "", **facts
        ),
        f"{facts['tokens_per_second']:,.0f} tokens/s{spread}.",
        f"The floor of this run is {facts['floor_tokens_per_second']:,.0f} tokens/s "
        f"({facts['rates']['bandwidth'] / 1e12:.3g} TB/s and {facts['rates']['flops'] / 1e12:.3g} TFLOP/s, measured): "
        f"this is {facts['efficiency']:.0%} of it.",
    ]
    if (parts := facts["breakdown"]) is not None:
        told.append(
            f"Of a step, attention takes {parts['attention']:.0%}, matrix products {parts['gemm']:.0%}, other kernels "
            f"{parts['other']:.0%}, and {parts['gaps']:.0%} are gaps."
        )
    for peer in facts["peers"]:
        outcome = f"failed: {peer['error']}" if "error" in peer else f"{peer['tokens_per_second']:,.0f} tokens/s."
        told.append(f"{peer['name']}: {outcome}")
    return told


def print_result(race: Race, drawn: bool) -> None:
    """The result for people: the drawn slot grids, the table, the comparison."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cbviz.measure.side_by_side import MORE_ROWS

    console = Console(highlight=False)
    facts = race.to_json()
    if drawn:
        from cbviz.board.terminal import LEAST_WIDTH, grid

        longest = max(len(lane.trace.iterations) for lane in race.lanes)
        width, colour = max(console.width, LEAST_WIDTH), console.color_system is not None
        for lane in race.lanes:
            console.print(grid(lane.trace, width, colour, extent=longest, legend=lane is race.lanes[-1]))
            console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("")
    for title in ("iterations", "seconds", "output tokens", "occupancy", "tokens/s"):
        table.add_column(title, justify="right")
    for lane in race.lanes:
        table.add_row(
            Text(lane.policy, style="bold"),
            f"{lane.iterations:,}",
            f"{lane.seconds:.2f}",
            f"{lane.output_tokens:,}",
            f"{lane.occupancy:.0%}",
            f"{lane.tokens_per_second:,.0f}",
        )
    stored = f" with {facts['weights']} weights" if facts["weights"] else ""
    setting = "{model}{stored} on {device}, {slots} slots, {requests} requests, seed {seed}".format(
        stored=stored, **facts
    )
    more = Text(race.table().text(MORE_ROWS))
    console.print(Text(setting, style="dim"), table, "", more, "", *map(Text, comparison(facts)), sep="\n")


def comparison(facts: dict[str, Any]) -> list[str]:
    """What a race showed, in sentences."""
    first, last = facts["lanes"][0]["policy"], facts["lanes"][-1]["policy"]
    sentences: list[str] = []
    if len(facts["lanes"]) > 1:
        low, high = facts["speedup_range"]
        spread = f"the median of {facts['repeats']} runs, which gave {low:.2f} to {high:.2f}"
        spread = f" ({spread})" if facts["repeats"] > 1 else ""
        sentences.append(
            f"{first} took {facts['iteration_ratio']:.2f} times the iterations of {last}, "
            f"and {facts['speedup']:.2f} times its seconds{spread}."
        )
    if facts["identical_outputs"]:
        sentences.append(f"All {facts['requests']} answers are the same, token by token.")
    else:
        gap = max(divergence["gap"] for divergence in facts["divergences"])
        differ = len({divergence["request"] for divergence in facts["divergences"]})
        sentences.append(
            f"{differ} of {facts['requests']} answers differ; where they part, the model's two best tokens were at "
            f"most {gap:.2g} apart."
        )
    return sentences
