"""`cbviz simulate` and `cbviz calibrate`: serving on a virtual clock, and fitting that clock to recorded runs."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from cbviz.checks import counted
from cbviz.cli.signals import Answered
from cbviz.cli.streams import everything_to_stderr
from cbviz.cli.targets import write_all
from cbviz.cli.words import print_json, say
from cbviz.errors import CalibrationError, WorkloadError
from cbviz.messages import Message
from cbviz.paths import new_file, short

if TYPE_CHECKING:
    from cbviz.run.asked_work import AskedWork

LONG_COMPILE = 0.1
"""Seconds of compiling that a reader would notice."""


def run_simulate(options: argparse.Namespace) -> int:
    """Run `cbviz simulate`; returns the exit code. Raises CbvizError for bad input."""
    if options.save is not None:
        options.save = new_file(options.save, "--save", suffix=".cbviz")
    with everything_to_stderr():
        from cbviz.run.forecast import forecast
        from cbviz.run.progress import progress_for
        from cbviz.run.simulate import simulate
        from cbviz.run.under_load import figures

        work = _work(options)
        serving: dict[str, Any] = {
            "cost": options.cost,
            "slots": options.slots,
            "block_size": options.block_size,
            "kv_blocks": options.kv_blocks,
            "lag": options.lag,
            "clients": options.clients,
        }
        found = forecast(work, options.policy, **serving, progress=progress_for(options.quiet))
        facts = {
            "command": options.command_line,
            "workload": work.name,
            "seed": work.seed,
            **figures(found, _targets(options), options.dollars_per_hour),
        }
        say(found.warnings, quiet=options.quiet)
    if options.json:
        print_json(facts)
    else:
        partly = [str(Message("simulate.partly", done=f"{facts['completed']:,}", all=f"{len(found):,}"))]
        print(*(partly if found.stopped else []), *simulate_sentences(facts), sep="\n", flush=True)
    if found.stopped:
        raise Answered
    if options.save is None:
        return 0
    trace = simulate(work, options.policy, **serving)
    return write_all([(lambda: trace.save(options.save), f"The trace is in {short(options.save)}")], quiet=options.json)


def run_calibrate(options: argparse.Namespace) -> int:
    """Run `cbviz calibrate`; returns the exit code. Raises CbvizError for bad input."""
    if options.output is not None:
        options.output = new_file(options.output, "--output", suffix=".json")
    from cbviz.run.calibrate import calibrate, same_runs
    from cbviz.simulator.cost_file import save_cost, to_text
    from cbviz.trace import COMPARISONS
    from cbviz.trace.recordings import runs_of

    for name in options.traces:
        if name in COMPARISONS:
            raise CalibrationError(
                f"{name} holds runs of several engines, and a cost model is of one; save one of them in Python, with "
                f'cbviz.trace.compared("{name}")[0].save("one.cbviz"), and name that file.'
            )
    named = [(name, trace) for name in options.traces for trace in runs_of(name)]
    traces = [trace for _, trace in named]
    if (same := same_runs(traces)) is not None:
        one, other = (short(named[place][0]) for place in same)
        said = f"{one} is given twice" if one == other else f"{one} and {other} hold the same run"
        raise CalibrationError(f"{said}, and a run counts once; leave one out.")
    cost = calibrate(traces, name=options.name, simulated=options.simulated)
    if options.output is None:
        print(to_text(cost), end="", flush=True)
        return 0
    for sentence in calibrate_sentences(cost):
        print(sentence, flush=True)
    return write_all([(lambda: save_cost(cost, options.output), f"The calibration is in {short(options.output)}")])


def simulate_sentences(facts: dict[str, Any]) -> list[str]:
    """What a simulation showed, in sentences.

    Parameters
    ----------
    facts
        `cbviz.run.under_load.figures`, with "workload".

    Returns
    -------
    list of str
        The setting, throughput, a line for each latency, and what was asked for beyond.
    """

    def line(key: str, **more: Any) -> str:
        return str(Message(key, **{**{k: _round(v) for k, v in facts.items() if _plain(v)}, **more}))

    from cbviz.measure.lane_times import two_digits
    from cbviz.measure.rounding import percent

    compiling = facts["compile_seconds"]
    lines = [
        line("simulate.setting"),
        line("simulate.speed", wall_seconds=two_digits(facts["wall_seconds"])),
        *([line("simulate.compiled", seconds=two_digits(compiling))] if compiling >= LONG_COMPILE else []),
        line("simulate.throughput", occupancy=percent(facts["occupancy"], 1)),
    ]
    for name in ("ttft", "tpot", "e2e", "queue"):
        if facts[name] is not None:
            times = {key: _seconds(value) for key, value in facts[name].items()}
            lines.append(line("simulate.latency", name=name.upper() if name != "queue" else name, **times))
    if facts["preemptions"]:
        lines.append(line("simulate.preemptions"))
    if "goodput" in facts:
        lines.append(line("simulate.goodput", share=percent(facts["within_targets"], 1)))
    if facts.get("dollars_per_million_tokens") is not None:
        lines.append(line("simulate.dollars"))
    return lines


def calibrate_sentences(cost: Any) -> list[str]:
    """What a cost model says, in sentences: the coefficients, the error, and notes.

    Parameters
    ----------
    cost
        A `CostModel` with an origin.

    Returns
    -------
    list of str
        At least one.
    """
    a, b, c, p, d, e = cost.coefficients
    lines = [
        Message(
            "simulate.coefficients",
            iteration=_seconds(a),
            decode=_seconds(b),
            kv_token=_seconds(c),
            prefill_token=_seconds(p),
            attention=_seconds(d),
            prefill=_seconds(e),
        )
    ]
    if (held_out := cost.origin.held_out) is not None:
        from cbviz.measure.rounding import percent

        errors = {
            name: "–" if (value := getattr(held_out, name)) is None else percent(value, 1)
            for name in ("ttft", "tpot", "e2e")
        }
        lines.append(Message("simulate.held_out", n=held_out.requests, **errors))
    return [str(line) for line in lines] + list(cost.origin.notes)


def _work(options: argparse.Namespace) -> Any:
    """The workload that the options describe: of a file, or drawn from laws."""
    from cbviz.run.asked_work import AskedWork
    from cbviz.run.sweep_work import LAW_PARAMETERS, USUAL_REQUESTS

    asked = AskedWork(
        **{name: getattr(options, name) for name in LAW_PARAMETERS}, written=_option, file=_option("workload")
    )
    if options.workload is not None:
        return _of_file(options, asked)
    requests = USUAL_REQUESTS if options.requests is None else options.requests
    return asked.drawn(requests, 0 if options.seed is None else options.seed)


def _of_file(options: argparse.Namespace, asked: AskedWork) -> Any:
    """The requests of a file, all or the first of them, at their own times or at another rate."""
    from cbviz.run.traffic_work import traffic_at, work_of

    asked.check(of_file=True)
    if options.seed is not None:  # all or the first requests are served, and none is drawn
        raise asked.only_drawn("seed")
    traffic = traffic_at(options.workload)
    if left_out := traffic.left_out:
        say([str(Message("simulate.left_out", n=f"{left_out:,}"))], quiet=options.quiet)
    if options.requests is not None:
        if options.requests > len(traffic):
            raise WorkloadError(
                f"{traffic.name} has {counted(len(traffic), 'request')}, fewer than --requests {options.requests:,}; "
                "leave that out to serve them all."
            )
        traffic = traffic.first(options.requests)
    return work_of(asked.served(traffic))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _targets(options: argparse.Namespace) -> Any:
    from cbviz.measure.goodput import Targets

    given = {"ttft": options.target_ttft, "tpot": options.target_tpot, "e2el": options.target_e2e}
    return Targets(**given) if any(value is not None for value in given.values()) else None


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | str)


def _round(value: Any) -> Any:
    """A number as a sentence shows it: three significant digits, or grouped thousands."""
    if isinstance(value, bool | str) or not isinstance(value, int | float) or not math.isfinite(value):
        return value
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.3g}"


def _seconds(value: float) -> str:
    """Seconds in the unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= 0.9995 * size:  # from there on it is rounded to 1
            return f"{_round(value / size)} {unit}"
    return f"{value / 1e-9:.3g} ns" if value else "0 s"
