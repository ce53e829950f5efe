"""The clock of notebook 02: times of this machine where it is quiet, and of a recorded run where it is not.

All times and rates of one `Timed` belong to one card, and it says to which.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cbviz.checks import listed, one_of, whole
from cbviz.course.words import say
from cbviz.errors import CbvizError
from cbviz.measure.roofline_bound import Rates
from cbviz.models import LoadedModel
from cbviz.run.rates import measured_rates
from cbviz.run.timings import Timings, card_name, timings

RECORDED = Path(__file__).parent / "recorded_times.json"
"""Written by tools/record_times.py on a machine with nothing else to do."""
WHAT = ("decode", "prefill", "attention")


@dataclass(frozen=True, slots=True)
class Timed:
    """Times of one card.

    Attributes
    ----------
    milliseconds
        Size → milliseconds of a call.
    rates
        The card's bandwidth and operations a second; None unless they were asked for.
    card
        Its name.
    recorded
        Whether these are the recorded times, because this machine was too busy.
    note
        One sentence in the present language: whose times these are, and why.
    """

    milliseconds: dict[int, float]
    rates: Rates | None
    card: str
    recorded: bool
    note: str


def timed(
    what: str,
    make: Callable[[int], Callable[[], object]],
    sizes: Sequence[int],
    model: LoadedModel,
    *,
    rates: bool = False,
) -> Timed:
    """Time a call on this machine; on one that is too busy, give the recorded times of the same work instead.

    A machine is too busy if repeats of the same call differ by much, if other processes keep its cores, or if more work
    takes less time and either of these is seen a little (see `cbviz.run.timings`). Sizes that were not recorded are
    measured all the same, and the note warns.

    Parameters
    ----------
    what
        "decode", "prefill" or "attention": which recorded times are of the same work.
    make
        Size → a function without parameters that does the work once.
    sizes
        From small to large; for "attention" 1 is the fused way and 2 the naive one.
    model
        Where to time it: on this model's device.
    rates
        Whether to measure the card's bandwidth and operations a second as well.

    Raises
    ------
    CbvizError
        Another kind of work, or sizes that are no whole numbers, or none.
    """
    one_of("what is timed", what, WHAT)
    wanted = sorted({whole("a size", size) for size in listed("sizes", sizes, "whole numbers")})
    if not wanted:
        raise CbvizError("sizes must name at least one size.")
    here = timings(make, wanted, model.device, rising=what != "attention")  # its sizes are two ways
    reached = measured_rates(model.device, model.dtype) if rates else None
    card = card_name(model.device)
    if not here.busy:
        return Timed(here.milliseconds, reached, card, False, say("02.timed here", card=card, spread=_percent(here)))
    kept = recording()
    known = {int(size): ms for size, ms in kept["milliseconds"][what].items()}
    values = {"load": f"{here.load:.1f}", "spread": _percent(here), "card": kept["card"], "date": kept["date"]}
    if not known.keys() >= set(wanted):
        return Timed(here.milliseconds, reached, card, False, say("02.timed badly", **{**values, "card": card}))
    there = Rates(kept["bandwidth"], kept["flops"]) if rates else None
    return Timed({size: known[size] for size in wanted}, there, kept["card"], True, say("02.timed there", **values))


@cache
def recording() -> dict[str, Any]:
    """The recorded times: card, date, rates, and milliseconds of each kind of work by size."""
    found: dict[str, Any] = json.loads(RECORDED.read_text("utf-8"))
    return found


def _percent(times: Timings) -> str:
    """By how much the median repeat is slower than the fastest."""
    return f"{100 * (times.spread - 1):.0f} %"
