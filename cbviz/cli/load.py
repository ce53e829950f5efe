"""`cbviz load`: send requests to an OpenAI-compatible endpoint, print what came back, and only then write files."""

from __future__ import annotations

import argparse
import json
import random
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from cbviz.checks import counted, shown
from cbviz.cli.signals import Answered
from cbviz.cli.targets import BAD_INPUT, Writing, write_all
from cbviz.cli.words import print_json
from cbviz.errors import AdapterError, WorkloadError
from cbviz.paths import new_file, short, write_whole

if TYPE_CHECKING:
    from cbviz.workload import GammaBursty, Workload

VOCABULARY = 1000
"""Random token ids stay below it: every model knows them."""


def run_load(options: argparse.Namespace) -> int:
    """Run `cbviz load`; returns the exit code. Raises CbvizError for bad input."""
    from cbviz.adapters.openai import load

    if options.burstiness is not None and options.request_rate is None:
        raise AdapterError("--burstiness is about arrivals at a rate; give --request-rate, too.")
    options.burstiness = options.burstiness or 1.0
    if options.save is not None:
        options.save = new_file(options.save, "--save", suffix=".json")
    if options.svg is not None:
        options.svg = new_file(options.svg, "--svg", suffix=".svg")
    result = load(
        options.url,
        _workload(options),
        model=options.model,
        concurrency=options.max_concurrency,
        patience=options.patience,
        chat=options.chat,
    )
    if options.request_rate is not None:
        result = replace(result, request_rate=options.request_rate, burstiness=options.burstiness)
    facts = result.to_json()
    if options.json:
        print_json(facts)
        if result.stopped:
            print(f"cbviz: {result.partly().in_language(options.language)}", file=sys.stderr)
    else:
        print(*(said.in_language(options.language) for said in result.sentences()), sep="\n", flush=True)
    targets: list[Writing] = []
    if options.save is not None:
        text = json.dumps(facts, allow_nan=False) + "\n"
        targets.append((lambda: write_whole(options.save, text, "--save"), f"The numbers are in {short(options.save)}"))
    if options.svg is not None:
        targets.append(
            (
                lambda: write_whole(options.svg, result.svg(options.language), "--svg"),
                f"The picture is in {short(options.svg)}",
            )
        )
    code = write_all(targets, quiet=options.json) if targets else 0
    if result.stopped:
        raise Answered
    return code or (0 if result.completed else BAD_INPUT)


def _workload(options: argparse.Namespace) -> Workload:
    """Questions, or prompts of random tokens; their arrivals at the rate that was asked for."""
    from cbviz.workload import Workload
    from cbviz.workload.arrivals import GammaBursty
    from cbviz.workload.questions import question_workload
    from cbviz.workload.synthetic import synthetic

    if options.random_prompt_tokens is not None:
        if options.chat:
            raise AdapterError("--random-prompt-tokens has no text, which --chat needs; leave one of them out.")
        drawn = synthetic(
            options.requests,
            options.max_new_tokens,
            prompt_tokens=options.random_prompt_tokens,
            vocabulary=VOCABULARY,
            seed=options.seed,
        )
    else:
        # The endpoint counts tokens; until it has, a prompt counts its bytes.
        drawn = question_workload(
            lambda text: list(text.encode()), options.requests, options.seed, options.max_new_tokens
        )
    if options.request_rate is None:
        return drawn
    arrivals = GammaBursty(options.request_rate, options.burstiness, stretch=True)
    due = zip(drawn, _due(arrivals, len(drawn), options.seed), strict=True)
    requests = tuple(replace(request, arrival=time) for request, time in due)
    return Workload(f"{drawn.name}, {arrivals.describe()}", requests, drawn.seed)


def _due(arrivals: GammaBursty, n: int, seed: int) -> list[float]:
    """When n requests are due: the last after n / rate, as in `vllm bench serve`.

    Raises
    ------
    WorkloadError
        The last would be due too late for a clock.
    AdapterError
        There is no time between them.
    """
    from cbviz.workload.checks import LATEST, rate_in_time

    rate_in_time("--request-rate", arrivals.rate, n)
    try:
        times = arrivals.times(random.Random(seed), n)
    except WorkloadError:  # they overflow
        times = [0.0]
    if times[-1] <= 0:
        raise AdapterError(
            f"--burstiness {shown(arrivals.burstiness)} leaves no time between {counted(n, 'request')}; give a larger "
            "one, or leave out --request-rate, too, to send all of them at once."
        )
    return [min(time, LATEST) for time in times]
