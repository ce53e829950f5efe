"""What a race or a benchmark showed, for people and for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbviz.messages import Message
from cbviz.messages import say as sentence
from cbviz.paths import printable

if TYPE_CHECKING:
    from cbviz.errors import CbvizError
    from cbviz.run.race import Race


def print_json(facts: dict[str, Any]) -> None:
    """One JSON object on one line. Where standard output cannot take every character, the others are escaped."""
    takes_unicode = getattr(sys.stdout, "takes_unicode", True)
    print(json.dumps(facts, ensure_ascii=not takes_unicode, allow_nan=False))


def print_result(race: Race, drawn: bool) -> None:
    """The result for people: the drawn slot grids, the tables, the verdict, and answers to prompts of their own."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cbviz.measure.lane_times import two_digits
    from cbviz.measure.rounding import percent
    from cbviz.measure.side_by_side import MORE_ROWS
    from cbviz.view.terminal import LEAST_WIDTH, grids

    console = Console(highlight=False)
    language = race.language
    facts = race.to_json()
    if drawn:
        width, colour = max(console.width, LEAST_WIDTH), console.color_system is not None
        console.print(grids(race.traces, [lane.policy for lane in race.lanes], width, colour, language=language))
    timed = facts["verdict"]["timed"]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("")
    headings = ("table.iterations", "cli.output_tokens", "table.occupancy")
    for key in (*headings, *(("table.seconds", "table.output tokens/s") if timed else ())):
        table.add_column(sentence(language, key), justify="right")
    for lane in race.lanes:
        times = (two_digits(lane.seconds), two_digits(lane.tokens_per_second)) if timed else ()
        table.add_row(
            Text(printable(lane.policy), style="bold"),
            f"{lane.iterations:,}",
            f"{lane.output_tokens:,}",
            percent(lane.occupancy),
            *times,
        )
    numbers = race.table()
    more = Text(numbers.text(numbers.rows(MORE_ROWS)))
    said = map(Text, comparison(facts, language))
    console.print(Text(printable(setting(race, facts)), style="dim"), table, "", more, "", *said, sep="\n")
    if race.shows_answers:
        answers = race.answers
        title = sentence(language, "cli.answers" if len(answers.names) == 1 else "cli.answers_of")
        console.print("", Text(title, style="bold"), Text(str(answers)), sep="\n")


def setting(race: Race, facts: dict[str, Any]) -> str:
    """What was raced, in one line."""
    model = facts["model"]
    if facts["weights"]:
        model = Message("cli.setting_weights", model=model, weights=facts["weights"])
    numbers = {name: f"{facts[name]:,}" for name in ("slots", "requests")}
    tokens = f"{race.kv_blocks * race.block_size:,}"
    words = {**numbers, "model": model, "device": facts["device"], "seed": str(facts["seed"]), "tokens": tokens}
    return sentence(race.language, "cli.setting", words)


def comparison(facts: dict[str, Any], language: str = "en") -> list[str]:
    """What a race showed, in sentences.

    Parameters
    ----------
    facts
        `Race.to_json()`.
    language
        Of the sentences.

    Returns
    -------
    list of str
        The verdict, how the answers were checked, and what the model's generation config did.
    """
    sentences = [sentence(language, key, known(line)) for key, line in facts["verdict"]["sentences"]]
    reference = facts.get("reference")
    if reference is not None:
        sentences.append(reference["sentence"])
    if rules := facts.get("logit_rules"):
        listed = ", ".join(f"{name} {value}" for name, value in rules.items())
        sentences.append(sentence(language, "cli.rules", {"rules": listed}))
    return [printable(words) for words in sentences]


def known(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of a line as JSON holds them, with messages in them made again, for a reader of the command line."""
    return {
        name: Message(fact[0], **known(fact[1])) if isinstance(fact, list) else _option(name, fact)
        for name, fact in facts.items()
    }


def _option(name: str, fact: Any) -> Any:
    """The option of the command line, where a line names an argument of Python."""
    from cbviz.measure.ties import ARGUMENTS  # numpy, which `--help` does not need

    return f"--{fact.replace('_', '-')}" if name in ARGUMENTS and fact == ARGUMENTS[name] else fact


def of_recordings(line: Message) -> str:
    """A line of the verdict without what to try: a recorded run cannot be changed."""
    return str(Message(line.key, **{**line.facts, "advice": ""}) if "advice" in line.facts else line)


def say(notes: Sequence[str], *, quiet: bool) -> None:
    """How a run is computed, where that needs saying, on standard error; `--json` holds it in any case."""
    for note in () if quiet else notes:
        print(f"cbviz: {note}", file=sys.stderr, flush=True)


KNOWN_TO_COMMANDS = {
    "cbviz.recorded": "a recording (`cbviz replay`)",
    "cbviz.trace.compared": "a recording (`cbviz replay`)",
    "cbviz.policies.get": "a policy (--policy, --policies)",
    "cbviz.workload.fetch_trace": "a public trace, which cbviz.workload.fetch_trace downloads in Python",
    "cbviz.simulator.load_cost": "a calibration (--cost)",
    "cbviz.models.load": "a model (--model)",
    "cbviz.bench": "a workload (`cbviz bench --workload`)",
    "cbviz.run.recorded_decomposition": "a recorded decomposition (`cbviz decompose --recorded`)",
}
"""A function of `cbviz.checks.KNOWN_BY` → what a name that it knows is, to a reader of the command line."""
_KNOWN_IN_PYTHON = re.compile(r"; (cbviz\.[\w.]+(?: and cbviz\.[\w.]+)*) knows? it(?=\.|$)")


def refusal(error: CbvizError) -> str:
    """What the command says of bad input: one line that any stream can print."""
    return f"cbviz: {printable(of_commands(' '.join(str(error).split())))}"


def of_commands(sentence: str) -> str:
    """A refusal of a name whose end says what the name is on the command line, instead of which function knows it."""

    def said(found: re.Match[str]) -> str:
        whats = dict.fromkeys(KNOWN_TO_COMMANDS.get(name, name) for name in found[1].split(" and "))
        return f"; this is the name of {' and '.join(whats)}"

    return _KNOWN_IN_PYTHON.sub(said, sentence)


def bench_sentences(facts: dict[str, Any]) -> list[str]:
    """What a benchmark showed, in sentences.

    Parameters
    ----------
    facts
        The result of a benchmark as plain values, as `cbviz bench --json` writes it.

    Returns
    -------
    list of str
        The setting, tokens per second, the floor, and, where they were measured, the parts of a step and the peers.
    """
    from cbviz.checks import counted
    from cbviz.measure.lane_times import Spread, two_digits
    from cbviz.measure.rounding import percent

    low, high = facts["seconds_range"]
    many = facts["repeats"] > 1
    rate = two_digits(facts["tokens_per_second"])
    spread = ""
    if many:  # the run with the median time gives the rate, so its range follows from those of the seconds
        tokens = facts["output_tokens"]
        rate = Spread(facts["tokens_per_second"], tokens / high, tokens / low, facts["repeats"]).texts()[0]
        _, least, most = Spread(facts["seconds"], low, high, facts["repeats"]).texts()
        spread = f", the median of {facts['repeats']} runs, which took {least} to {most} s"
    sentences = [
        "{model} in {dtype}{stored} on {device}, {on}, {served}: {workload}".format(
            stored=f" with {facts['weights']} weights" if facts["weights"] else "",
            on=counted(facts["slots"], "slot"),
            served=counted(facts["requests"], "request"),
            **facts,
        ),
        f"{rate} tokens/s{spread}.",
        f"The table is of one run by the clock of its iterations, {two_digits(facts['lane_seconds'])} s; the rates "
        "here are by the wall clock, with what lies between them.",
        f"The floor of this run is {facts['floor_tokens_per_second']:,.0f} tokens/s "
        f"({facts['rates']['bandwidth'] / 1e12:.3g} TB/s and {facts['rates']['flops'] / 1e12:.3g} TFLOP/s, measured): "
        f"this is {percent(facts['efficiency'])} of it.",
    ]
    if (parts := facts["breakdown"]) is not None:
        attention, gemm, other, gaps = (percent(parts[name]) for name in ("attention", "gemm", "other", "gaps"))
        sentences.append(
            f"Of a step, attention takes {attention}, matrix products {gemm}, other kernels {other}, "
            f"and {gaps} are gaps."
        )
    for peer in facts["peers"]:
        outcome = (
            f"failed: {peer['error']}" if "error" in peer else f"{two_digits(peer['tokens_per_second'])} tokens/s."
        )
        sentences.append(f"{peer['name']}: {outcome}")
    return sentences
