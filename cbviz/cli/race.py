"""`cbviz race`: check the options, run the race, print the result, and only then write files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cbviz.checks import counted
from cbviz.cli.signals import Answered
from cbviz.cli.streams import everything_to_stderr
from cbviz.cli.targets import Writing, check_race_targets, write_all
from cbviz.cli.words import print_json, print_result, say
from cbviz.errors import CbvizError
from cbviz.paths import short

if TYPE_CHECKING:
    from cbviz.run.race import Race


def run_race(options: argparse.Namespace) -> int:
    """Run `cbviz race`; returns the exit code. Raises CbvizError for bad input."""
    check_race_targets(options)
    with everything_to_stderr():
        race = prepare(options)
        say(race.notes, quiet=options.quiet)
        try:
            race.start().wait()
        except KeyboardInterrupt:  # the race has stopped after its iteration in flight
            print(f"\ncbviz: interrupted; {what_was_kept(race, options.save)}", file=sys.stderr)
            raise Answered from None
    if options.json:
        print_json(race.to_json())
    else:
        print_result(race, drawn=not options.quiet)
    sys.stdout.flush()
    return write_all(files_of(race, options), quiet=options.json)


def files_of(race: Race, options: argparse.Namespace) -> list[Writing]:
    """The files to write, and the sentence for each."""
    files: list[Writing] = []
    if options.html is not None:
        files.append((lambda: race.to_html(options.html), f"Replay it in a browser: {short(options.html)}"))
    if options.save is not None:
        files.append((lambda: race.save(options.save), f"The traces are in {short(options.save)}"))
    return files


def prepare(options: argparse.Namespace) -> Race:
    """The requested race, before its first iteration."""
    from transformers.utils import logging

    from cbviz.models import load
    from cbviz.policies import get
    from cbviz.run.progress import progress_for
    from cbviz.run.race import race
    from cbviz.workload.prompts import read_prompts

    logging.set_verbosity_error()  # an error gets one sentence, ours
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
        backend=options.backend,
        ignore_generation_config=options.ignore_generation_config,
        speculate=options.speculate[0] if len(options.speculate) == 1 else options.speculate,
        live=False,
        language=options.language,
        compare=options.compare,
        run=False,
        progress=progress_for(options.quiet),
    )


def what_was_kept(race: Race, folder: Path | None) -> str:
    """After an interrupt: write the traces so far if there is a folder for them, and say what was kept."""
    number = sum(len(trace.iterations) for trace in race.traces)
    ran = counted(number, "iteration")
    if folder is None:
        gone = "is gone (with --save DIR it" if number == 1 else "are gone (with --save DIR they"
        return f"the {ran} that had been run {gone} would have been kept)."
    try:
        race.save(folder)
    except CbvizError as error:
        return f"the {ran} that had been run could not be kept: {error}"
    return f"the traces of the {ran} that had been run are in {short(folder)}."
