"""Notebook 04: drag the lengths of a batch, and see what static batching makes of them."""

from __future__ import annotations

from collections.abc import Sequence

from cbviz.checks import listed, shown, whole
from cbviz.course.knobs import Knobs
from cbviz.course.lanes import SlotLane, lanes
from cbviz.course.show import Shown
from cbviz.course.sliders.sketch import said
from cbviz.course.words import say
from cbviz.errors import CbvizError
from cbviz.measure.rounding import fixed, percent
from cbviz.run.schedule import schedule
from cbviz.workload import Request, Workload

LONGEST = 40


def drag(lengths: Sequence[int]) -> Knobs:
    """A batch with a slider for the length of each answer.

    Parameters
    ----------
    lengths
        Where the sliders begin: two to eight lengths from 1 to 40.

    Returns
    -------
    Knobs
        Displayed by a notebook; a saved one shows the batch of these lengths.

    Raises
    ------
    CbvizError
        Too few lengths, too many, or one that is out of range.
    """
    given = [whole("a length", length, 1, LONGEST) for length in listed("lengths", lengths, "whole numbers")]
    if not 2 <= len(given) <= 8:
        raise CbvizError(f"drag takes two to eight lengths, not {shown(lengths)}.")

    def picture(**chosen: int) -> Shown:
        asked = [*chosen.values()]
        made = [
            Request(i, (1,) * 3, max_new_tokens=LONGEST, output_length=length, text=name)
            for i, (name, length) in enumerate(chosen.items())
        ]
        lane = SlotLane.of(schedule("static", Workload("drag", tuple(made)), slots=len(made)))
        drawn = lanes(lane, room=LONGEST)
        sentence = say(
            "drag",
            longest=max(asked),
            mean=f"{sum(asked) / len(asked):.3g}",
            value=fixed(max(asked) * len(asked) / sum(asked), 2),
            waste=percent(1 - lane.useful),
        )
        return Shown(drawn.html + said(sentence), f"{drawn.text}\n{sentence}")

    names = {f"S{i + 1}": length for i, length in enumerate(given)}
    return Knobs(picture, dict.fromkeys(names, tuple(range(1, LONGEST + 1))), names, upright=True)
