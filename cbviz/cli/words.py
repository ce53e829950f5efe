"""What a race or a benchmark showed, for people and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cbviz.errors import CbvizError
from cbviz.paths import printable

if TYPE_CHECKING:
    from cbviz.run.race import Race


def print_json(facts: dict[str, Any]) -> None:
    """One JSON object on one line. Where standard output cannot take every character, the others are escaped."""
    takes_unicode = getattr(sys.stdout, "takes_unicode", True)
    print(json.dumps(facts, ensure_ascii=not takes_unicode, allow_nan=False))


def print_result(race: Race, drawn: bool) -> None:
    """The result for people: the drawn slot grids, the table, the comparison."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cbviz.measure.side_by_side import MORE_ROWS

    console = Console(highlight=False)
    facts = race.to_json()
    if drawn:
        from cbviz.view.terminal import LEAST_WIDTH, grid

        longest = max(len(lane.trace.iterations) for lane in race.lanes)
        width, colour = max(console.width, LEAST_WIDTH), console.color_system is not None
        for lane in race.lanes:
            try:
                drawing = grid(lane.trace, width, colour, extent=longest, legend=lane is race.lanes[-1])
            except CbvizError as error:  # too large to draw; the numbers are not
                drawing = Text(f"{lane.policy}: {error}")
            console.print(drawing)
            console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("")
    for title in ("iterations", "seconds", "output tokens", "occupancy", "tokens/s"):
        table.add_column(title, justify="right")
    for lane in race.lanes:
        table.add_row(
            Text(printable(lane.policy), style="bold"),
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
    console.print(Text(printable(setting), style="dim"), table, "", more, "", *map(Text, comparison(facts)), sep="\n")


def comparison(facts: dict[str, Any]) -> list[str]:
    """What a race showed, in sentences.

    Parameters
    ----------
    facts
        `Race.to_json()`.

    Returns
    -------
    list of str
        The ratios where there are two lanes or more, how the answers were checked, and whether the lanes agree.
    """
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
    reference = facts.get("reference")
    if reference is not None:
        sentences.append(reference["sentence"])
    if rules := facts.get("logit_rules"):
        listed = ", ".join(f"{name} {value}" for name, value in rules.items())
        sentences.append(f"Logits follow the model's generation config: {listed}.")
    if facts["identical_outputs"] and reference is not None and reference["note"]:
        sentences.append(f"The lanes agree on all {facts['requests']} answers, which may all be wrong alike.")
    elif facts["identical_outputs"]:
        sentences.append(f"All {facts['requests']} answers are the same, token by token.")
    else:
        gap = max(divergence["gap"] for divergence in facts["divergences"])
        differ = len({divergence["request"] for divergence in facts["divergences"]})
        sentences.append(
            f"{differ} of {facts['requests']} answers differ; where they part, the model's two best tokens were at "
            f"most {gap:.2g} apart."
        )
    return sentences


def say(notes: Sequence[str], *, quiet: bool) -> None:
    """How a run is computed, where that needs saying, on standard error; `--json` holds it in any case."""
    for note in () if quiet else notes:
        print(f"cbviz: {note}", file=sys.stderr, flush=True)


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
    low, high = facts["seconds_range"]
    spread = (
        f", the median of {facts['repeats']} runs, which took {low:.2f} to {high:.2f} s" if facts["repeats"] > 1 else ""
    )
    sentences = [
        "{model} in {dtype}{stored} on {device}, {slots} slots, {requests} requests: {workload}".format(
            stored=f" with {facts['weights']} weights" if facts["weights"] else "", **facts
        ),
        f"{facts['tokens_per_second']:,.0f} tokens/s{spread}.",
        f"The floor of this run is {facts['floor_tokens_per_second']:,.0f} tokens/s "
        f"({facts['rates']['bandwidth'] / 1e12:.3g} TB/s and {facts['rates']['flops'] / 1e12:.3g} TFLOP/s, measured): "
        f"this is {facts['efficiency']:.0%} of it.",
    ]
    if (parts := facts["breakdown"]) is not None:
        sentences.append(
            f"Of a step, attention takes {parts['attention']:.0%}, matrix products {parts['gemm']:.0%}, other kernels "
            f"{parts['other']:.0%}, and {parts['gaps']:.0%} are gaps."
        )
    for peer in facts["peers"]:
        outcome = f"failed: {peer['error']}" if "error" in peer else f"{peer['tokens_per_second']:,.0f} tokens/s."
        sentences.append(f"{peer['name']}: {outcome}")
    return sentences
