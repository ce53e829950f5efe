"""A decomposition in words: its sentences, and its table."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from cbviz.checks import three_digits as _few
from cbviz.measure.headline import HEADLINE
from cbviz.measure.rounding import percent
from cbviz.messages import FIRST, Message, say
from cbviz.run.decompose_plan import KERNELS, QUADRANTS, DecomposeStep

if TYPE_CHECKING:
    from cbviz.run.decompose_result import Decomposition, Factor

_ALIKE = 1.005
"""Factors that are no further apart count as the same."""


def sentences(of: Decomposition) -> list[Message]:
    """What was found, a sentence each."""
    made = of.benchmark
    facts: dict[str, Any] = {
        "model": of.model, "device": of.device, "dtype": of.dtype, "requests": f"{made.requests:,}",
        "prompt": made.prompt, "mean": made.mean, "cap": f"{made.cap:,}", "pool": f"{made.pool:,}",
    }  # fmt: skip
    said = [Message("decompose.setting", **facts)]
    if of.cost:
        said.append(Message("decompose.simulated", cost=of.cost))
    for order in of.chains:
        ratio = of.total(order)
        if ratio is not None:
            first, last = (of.rates(step.key) for step in (of.chains[order][0], of.chains[order][-1]))
            rates = {
                "a": _few(first[0]),
                "b": _few(last[0]),
                "c": _few(first[1]),
                "d": _few(last[1]),
            }
            said.append(Message("decompose.total", ratio=_few(ratio), **rates))
            break
    said += _orders(of)
    said += _claim(of)
    said += _beside(of)
    said += _quadrants(of)
    counted = [result for result in of.results.values() if result.method == "counted"]
    if counted:
        said.append(Message("decompose.counted", n=len(counted)))
    for result in counted:
        if result.apart is not None:
            share = percent(abs(result.apart), 1)
            said.append(Message("decompose.both_ways", step=result.step, share=share))
    if of.stopped:
        said.append(Message("decompose.stopped", done=len(of.results)))
    return said


def _orders(of: Decomposition) -> list[Message]:
    """The factor whose worth differs most between the orders, by more than its spreads explain, if there is one."""
    found: dict[str, list[Factor]] = {}
    for order in of.chains:
        for factor in of.factors(order):
            found.setdefault(factor.name, []).append(factor)
    apart = []
    for name, each in found.items():
        low, high = min(each, key=lambda factor: factor.ratio), max(each, key=lambda factor: factor.ratio)
        apart.append((high.low / low.high, high.ratio / low.ratio, name, low.ratio, high.ratio))
    beyond, ratio, name, least, most = max(apart, default=(0.0, 0.0, "", 0.0, 0.0))
    if beyond <= 1 or ratio <= _ALIKE:
        return []
    return [Message("decompose.order", factor=Message(f"decompose.step.{name}"), low=_few(least), high=_few(most))]


def _claim(of: Decomposition) -> list[Message]:
    """What may be said about the headline: groups of factors in the steadiest order, if all were run."""
    order = of.steadiest
    ratios = {factor.name: factor.ratio for factor in of.factors(order)}
    groups = {
        "padding": ("batch_longest",),
        "refilling": ("iteration_level",),
        "memory": ("lengths_declared", "tgi", "paged", "paged_double"),
        "kernels": KERNELS[1:],
    }
    worth = {name: [ratios[each] for each in members if each in ratios] for name, members in groups.items()}
    ratio = of.total(order)
    if ratio is None or not all(worth.values()):
        return []
    facts: dict[str, Any] = {name: _few(math.prod(values)) for name, values in worth.items()}
    if len(of.chains) > 1:
        facts["order"] = Message(f"decompose.order.{order}")
    return [Message("decompose.claim_in_order" if "order" in facts else "decompose.claim",
                    total=_few(ratio), headline=int(HEADLINE), **facts)]  # fmt: skip


def _quadrants(of: Decomposition) -> list[Message]:
    corners = of.quadrants[:4] or [DecomposeStep(*pair) for pair in QUADRANTS]
    taken = [of.results.get(step.key) for step in corners]
    found = []
    if len(taken) == 4 and all(taken):
        a, b, c, d = (result.seconds for result in taken if result is not None)
        found.append(
            Message(
                "decompose.quadrants",
                kernels_static=_few(a / b), kernels_paged=_few(c / d), scheduler_eager=_few(a / c),
                scheduler_fused=_few(b / d), both=_few(a / d),
            )
        )  # fmt: skip
    for key, naive in of.results.items():
        step = DecomposeStep.of(key)
        fused = of.results.get(DecomposeStep(step.scheme, step.kernels).key)
        if step.attention == "naive" and fused is not None:
            found.append(Message("decompose.attention", ratio=_few(naive.seconds / fused.seconds)))
    return found


def _beside(of: Decomposition) -> list[Message]:
    """A sentence for every result that no table shows."""
    shown = {step.key for steps in of.chains.values() for step in steps}
    found = []
    for key, result in of.results.items():
        if key not in shown:
            output, whole = of.rates(key)
            times = {"seconds": _few(result.seconds), "low": _few(result.low), "high": _few(result.high)}
            found.append(Message("decompose.alone", step=key, **times, output=_few(output), whole=_few(whole)))
    return found


def table(of: Decomposition, order: str | None = None, language: str = FIRST) -> str:
    """One row a step, as `Decomposition.table` says."""
    from rich.console import Console
    from rich.table import Table

    chosen = next(iter(of.chains), "") if order is None else order
    factors = {factor.after: factor for factor in of.factors(chosen)}
    ranges = of.ranges()
    columns = ["step", "output", "all", "worth", "spread"]
    columns += ["orders"] * (len(of.chains) > 1) + ["article", "theory"] + ["forecast"] * bool(of.forecasts)
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        heading = say(language, f"decompose.column.{name}")
        rows.add_column(heading, justify="left" if name == "step" else "right", no_wrap=True)
    for step in of.chains.get(chosen, ()):
        if step.key not in of.results:
            continue
        factor, (output, everything) = factors.get(step.key), of.rates(step.key)
        name = step.scheme if factor is None else factor.name
        cells = {
            "step": say(language, f"decompose.step.{name}"),
            "output": _few(output),
            "all": _few(everything),
        }
        if factor is not None:
            both = ranges.get(factor.name)
            cells |= {
                "worth": f"×{factor.ratio:.2f}",
                "spread": "" if factor.low == factor.high else f"{factor.low:.2f}–{factor.high:.2f}",
                "orders": "" if both is None else f"{both[0]:.2f}–{both[1]:.2f}",
                "article": _times(factor.article),
                "theory": _times(factor.theory),
                "forecast": _times(factor.forecast),
            }
        rows.add_row(*(cells.get(name, "") for name in columns))
    out = io.StringIO()
    Console(file=out, width=200, highlight=False, markup=False, emoji=False).print(rows)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def _times(value: float | None) -> str:
    return "" if value is None else f"×{value:.2f}"
