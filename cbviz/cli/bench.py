"""`cbviz bench`: check the options, measure, print the result, and only then write the trace."""

from __future__ import annotations

import argparse

from cbviz.cli.streams import everything_to_stderr
from cbviz.cli.targets import write_all
from cbviz.cli.words import bench_sentences, print_json, say
from cbviz.paths import new_file, short


def run_bench(options: argparse.Namespace) -> int:
    """Run `cbviz bench`; returns the exit code. Raises CbvizError for bad input."""
    if options.save is not None:
        options.save = new_file(options.save, "--save", suffix=".cbviz")
    with everything_to_stderr():
        from transformers.utils import logging

        from cbviz.run.bench import bench
        from cbviz.run.progress import progress_for

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
            ignore_generation_config=options.ignore_generation_config,
            backend=options.backend,
            graphs=False if options.no_graphs else None,
            compiled=not options.no_compile,
            record=not options.no_record,
            profile=not options.no_profile,
            peers=options.peer,
            progress=progress_for(options.quiet),
        )
        say(result.notes, quiet=options.quiet)
    facts = {"command": options.command_line, **result.to_json()}
    if options.json:
        print_json(facts)
    else:
        print(result.table(), *bench_sentences(facts), sep="\n", flush=True)
    if options.save is None:
        return 0
    return write_all(
        [(lambda: result.trace.save(options.save), f"The trace is in {short(options.save)}")], quiet=options.json
    )
