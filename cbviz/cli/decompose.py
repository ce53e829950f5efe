"""`cbviz decompose`: a benchmark's headline, taken apart by measurement or by simulation."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cbviz.cli.option_types import above_zero, between, names
from cbviz.cli.signals import Answered
from cbviz.cli.streams import everything_to_stderr
from cbviz.cli.targets import Writing, write_all
from cbviz.cli.words import print_json, say
from cbviz.errors import MeasureError
from cbviz.limits import MOST_REQUESTS, MOST_SEED, MOST_TOKENS
from cbviz.messages import languages
from cbviz.paths import new_file, printable, short

if TYPE_CHECKING:
    from cbviz.messages import Message
    from cbviz.run.decompose_result import Decomposition

COST = "a100-40gb-opt-13b"
"""The calibration of the article's own device."""
NOT_RECORDED = (
    "model", "benchmark", "cap", "requests", "seed", "simulate", "cost", "steps", "two_by_two", "both_ways",
    "only", "limit", "device", "dtype", "forecast", "save", "resume",
)  # fmt: skip
"""Options that shape a run."""


def run_decompose(options: argparse.Namespace) -> int:
    """Run `cbviz decompose`; returns the exit code. Raises CbvizError for bad input."""
    if options.svg is not None:
        options.svg = new_file(options.svg, "--svg", suffix=".svg")
    if options.svg is not None and options.two_by_two:
        raise MeasureError("scheduler × kernels is a table and no waterfall; leave --svg out, or --two-by-two.")
    if options.save is not None:
        options.save = new_file(options.save, "--save", suffix=".json")
    with everything_to_stderr():
        found = _recorded(options) if options.recorded else _made(options)
    say([note.in_language(options.language) if hasattr(note, "in_language") else note for note in found.notes],
        quiet=options.quiet)  # fmt: skip
    if options.json:
        print_json({"command": options.command_line, **found.to_json()})
    else:
        with_results = [order for order, steps in found.chains.items() if any(s.key in found.results for s in steps)]
        for order in [order for order in with_results if found.factors(order)] or with_results[:1]:
            print(found.table(order, options.language), "", sep="\n")
        lines = [*found.sentences(), *(_attention() if options.recorded else ())]
        print(*(printable(line.in_language(options.language)) for line in lines), sep="\n", flush=True)
    targets: list[Writing] = []
    if options.save is not None and found.results:
        targets.append((lambda: None, f"The numbers are in {short(options.save)}"))
    if options.svg is not None and found.chains and len(found.results) > 1:
        picture = found.waterfall(found.steadiest, language=options.language)
        targets.append((lambda: picture.to_svg(options.svg), f"The picture is in {short(options.svg)}"))
    code = write_all(targets, quiet=options.json) if targets else 0
    if found.stopped:
        raise Answered
    return code


def _recorded(options: argparse.Namespace) -> Decomposition:
    from cbviz.run.decompose import checked_orders
    from cbviz.run.decompose_file import recorded_decomposition

    for name, default in options.defaults.items():
        if getattr(options, name) != default:
            option = name.replace("_", "-")
            raise MeasureError(f"--recorded shows a run that was made before; leave --{option} out, or --recorded.")
    found = recorded_decomposition()
    if options.orders is None:
        return found
    orders = checked_orders(options.orders)
    return replace(found, chains={order: steps for order, steps in found.chains.items() if order in orders})


def _attention() -> list[Message]:
    """What the recorded run of naive attention says, which is of another hour than the waterfall."""
    from cbviz.run.decompose_file import recorded_decomposition

    said = recorded_decomposition("opt-13b-attention-h200").sentences()
    return [line for line in said if line.key == "decompose.attention"]


def _made(options: argparse.Namespace) -> Decomposition:
    from cbviz.run.decompose import decompose
    from cbviz.run.decompose_plan import ORDERS
    from cbviz.run.progress import progress_for

    simulated = options.simulate or options.cost is not None
    if simulated and options.model is not None:
        raise MeasureError("a simulation has the model of its calibration; leave --model out, or give another --cost.")
    if not simulated:
        from transformers.utils import logging

        logging.set_verbosity_error()
    return decompose(
        options.model or "tiny",
        benchmark=options.benchmark,
        cap=options.cap,
        requests=options.requests,
        seed=options.seed,
        simulate=(options.cost or COST) if simulated else None,
        steps=options.steps,
        orders=ORDERS if options.orders is None else options.orders,
        two_by_two=options.two_by_two,
        both_ways=options.both_ways,
        only=options.only,
        limit=options.limit,
        device=options.device,
        dtype=options.dtype,
        forecast=options.forecast,
        save=options.save,
        resume=options.resume,
        progress=progress_for(options.quiet),
    )


def add_decompose(commands: Any) -> None:
    """The options of `cbviz decompose`."""
    decompose = commands.add_parser(
        "decompose",
        help="take the 23× of continuous batching apart, one factor at a time",
        description='Run the benchmark behind "23x throughput" step by step, each step changing one thing: padding, '
        "refilling, memory, kernels. For example, `cbviz decompose` on this machine, or `cbviz decompose --simulate` "
        "for the article's own GPU.",
    )
    decompose.add_argument("--model", help="a name of `cbviz models`, or random:opt-13b (tiny)")
    decompose.add_argument(
        "--benchmark", help="article (1,000 requests of 512 tokens) or small (what fits the model and the device)"
    )
    decompose.add_argument("--cap", type=between(1, MOST_TOKENS), help="the longest output (the benchmark's highest)")
    decompose.add_argument("--requests", type=between(1, MOST_REQUESTS), help="how many (the benchmark's own)")
    decompose.add_argument("--seed", type=between(0, MOST_SEED), default=0, help="seed of lengths and prompts (0)")
    decompose.add_argument("--simulate", action="store_true", help="run nothing: the simulator's seconds")
    decompose.add_argument("--recorded", action="store_true", help="run nothing: what was measured on an H200")
    decompose.add_argument("--cost", help=f"simulate with this calibration, by name or file ({COST})")
    decompose.add_argument("--steps", type=names, help="schemes and kernels, with commas between them (all)")
    decompose.add_argument("--orders", type=names, help="schedule_first, kernels_first (both)")
    decompose.add_argument(
        "--two-by-two", action="store_true", help="scheduler × kernels, and attention naive against fused"
    )
    decompose.add_argument("--both-ways", metavar="STEP", help="time this step, such as paged/fused, whole as well")
    decompose.add_argument("--only", type=names, help="run only these steps, such as paged/fused, in this order")
    decompose.add_argument("--limit", type=above_zero, metavar="S", help="seconds after which a run is counted instead")
    decompose.add_argument("--device", help="cpu, cuda or cuda:N (the GPU if there is one)")
    decompose.add_argument("--dtype", help="float32, bfloat16 or float16 (float16 for OPT-13B)")
    decompose.add_argument("--forecast", metavar="FILE", help="a simulated decomposition, to be shown beside")
    decompose.add_argument("--save", metavar="FILE", help="keep every step here as it ends")
    decompose.add_argument("--resume", action="store_true", help="continue what --save holds")
    decompose.add_argument("--svg", metavar="FILE", help="write the waterfall as a picture")
    decompose.add_argument("--language", choices=languages(), default="en", help=f"{' or '.join(languages())} (en)")
    decompose.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    decompose.add_argument("--quiet", action="store_true", help="no progress")
    defaults = {name: decompose.get_default(name) for name in NOT_RECORDED}
    decompose.set_defaults(run=run_decompose, defaults=defaults)
