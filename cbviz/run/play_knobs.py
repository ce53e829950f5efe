"""The controls of a playground."""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.messages import Message
from cbviz.view.controls import Knob

MOST_RATE = 100
"""Highest arrival rate, in requests per 100 iterations."""
MOST_SPREAD = 2.0
MOST_PACE = 240


def play_knobs(
    policies: Sequence[str],
    slots: int,
    most_slots: int,
    rate: float,
    spread: float,
    pace: float,
    beside: str | None,
) -> dict[str, Knob]:
    """The controls by name, with their initial values.

    Parameters
    ----------
    policies
        Names to choose from; the first is the lower lane's at the start.
    slots, most_slots, rate, spread, pace, beside
        As for `cbviz.play`.

    Returns
    -------
    dict
        Name → control; "beside" only where there is an upper lane.
    """
    names = tuple(policies)
    # Two lanes have a policy each: the knobs say which is whose.
    above = [] if beside is None else [Knob("beside", Message("board.knob_beside"), beside, choices=names)]
    policy = Message("board.knob_policy" if beside is None else "board.knob_below")
    knobs = (
        Knob("slots", Message("board.knob_slots"), slots, 1, most_slots),
        Knob("rate", Message("board.knob_rate"), rate, 0, MOST_RATE),
        Knob("spread", Message("board.knob_spread"), spread, 0, MOST_SPREAD, 0.1),
        *above,
        Knob("policy", policy, names[0], choices=names),
        Knob("pace", Message("board.knob_pace"), pace, 1, MOST_PACE),
    )
    return {knob.name: knob for knob in knobs}
