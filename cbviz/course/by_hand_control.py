"""You are the scheduler: click on the request that gets the free slot, then see how static and continuous fare.

course.by_hand(trace)    # a run whose questions and answer lengths are played with
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

from cbviz.checks import shown, whole
from cbviz.course.by_hand import ByHandGame, work_of
from cbviz.course.control import CourseControl
from cbviz.course.lanes import SlotLane, lanes
from cbviz.course.show import Shown, table
from cbviz.course.words import say, term
from cbviz.errors import CbvizError
from cbviz.events import State
from cbviz.measure.rounding import percent
from cbviz.trace import Trace
from cbviz.view.look import WASTED

MOST_SLOTS, MOST_REQUESTS = 8, 24
WIDE = 780
"""Pixels of the sentence and the queue at most."""
CHIP = "border:1px solid;border-radius:3px;padding:2px 8px;white-space:nowrap;opacity:0.8"
"""A waiting question in a saved notebook, where there are no buttons."""


class ByHand(CourseControl):
    """The game with its buttons. Made by `by_hand`; every method works without them as well.

    Attributes
    ----------
    game
        Its state.
    said
        The sentence in sight: what to decide, what was wrong, or how it ended.
    """

    def __init__(self, game: ByHandGame, answers: tuple[tuple[str, ...], ...]) -> None:
        self.game = game
        self._answers = answers
        self.said = self._question()

    def give(self, request: object) -> ByHand:
        """Give the free slot to a request, as a click on it does.

        Parameters
        ----------
        request
            Its number.

        Returns
        -------
        ByHand
            The game: a notebook shows it. A choice that cannot be is answered by a sentence in it.
        """
        return self._act(lambda: self.game.give(request))

    def wait(self) -> ByHand:
        """Leave the free slots empty until one more is freed.

        Returns
        -------
        ByHand
            The game.
        """
        return self._act(self.game.wait)

    def again(self) -> ByHand:
        """Begin again.

        Returns
        -------
        ByHand
            The game.
        """
        return self._act(self.game.restart)

    def _act(self, action: Callable[[], None]) -> ByHand:
        try:
            action()
        except CbvizError as error:
            self.said = str(error)
        else:
            self.said = self.game.verdict().sentence if self.game.over else self._question()
        if self._widget is not None:
            self._refresh()
        return self

    def _question(self) -> str:
        game = self.game
        free = game.free
        return say("by hand ask", iteration=len(game.events), n=len(free), slot=free[0], waiting=len(game.waiting))

    def _named(self, request: int) -> str:
        return f"{request} · {self.game.workload.requests[request].text}"

    def _picture(self) -> Shown:
        """The learner's lane under static batching's; once it is over, continuous batching's as well."""
        game = self.game
        rivals = [lane for name, lane in game.rivals.items() if name == "static" or game.over]
        return lanes(*rivals, game.lane())

    def _below(self) -> Shown:
        """What is in the slots; once it is over, the counts."""
        game = self.game
        if game.over:
            return self._counts([*game.rivals.values(), game.lane()])
        running = game.running
        rows = []
        for slot in range(game.slots):
            who = running.get(slot)
            words = "" if who is None else "".join(self._answers[who][: game.written(who)])
            rows.append((slot, "–" if who is None else self._named(who), words))
        return table(["slot", "request", "answer"], rows)

    def _counts(self, ran: list[SlotLane]) -> Shown:
        return table(
            ["policy", "iterations", "held", "empty while requests wait", "occupancy"],
            [
                (lane.name, lane.iterations, lane.count(State.HELD), lane.count(WASTED), percent(lane.useful))
                for lane in ran
            ],
        )

    def _still(self) -> Shown:
        picture, below = self._picture(), self._below()
        queue = "".join(f'<span style="{CHIP}">{escape(self._named(request))}</span> ' for request in self.game.waiting)
        listed = f'<div style="max-width:{WIDE}px;line-height:2.2">{queue}</div>' if queue else ""
        html = f"<div><b>{escape(self.said)}</b></div>{listed}<div>{picture.html}</div>{below.html}"
        names = ", ".join(map(self._named, self.game.waiting))
        text = f"{self.said}\n{picture.text}\n{below.text}" + (f"\n{term('waiting')}: {names}" if names else "")
        return Shown(html, text)

    def _build(self, widgets: Any) -> Any:
        self._status, self._page, self._slots = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._slots.add_class("jp-RenderedHTMLCommon")  # tables look like those of other cells
        self._choices = [
            self._button(widgets, self._named(request.id), partial(self.give, request.id))
            for request in self.game.workload
        ]
        self._waits = self._button(widgets, say("by hand wait"), self.wait)
        self._restart = self._button(widgets, say("by hand again"), self.again)
        queue = widgets.HBox(self._choices, layout={"flex_flow": "row wrap", "max_width": f"{WIDE}px"})
        self._refresh()
        return widgets.VBox([self._status, queue, widgets.HBox([self._waits, self._restart]), self._page, self._slots])

    def _button(self, widgets: Any, words: str, action: Callable[[], Any]) -> Any:
        """A button that acts; then the keyboard is where the next choice is."""

        def pressed(button: Any) -> None:
            action()
            shown = [choice for choice in self._choices if choice.layout.display != "none"]
            (shown[0] if shown else self._restart).focus()

        button = widgets.Button(description=words, layout={"width": "auto"})
        button.on_click(pressed)
        return button

    def _refresh(self) -> None:
        game = self.game
        style = f"font-size:15px;max-width:{WIDE}px;line-height:1.4"
        self._status.value = f'<div role="status" style="{style}"><b>{escape(self.said)}</b></div>'
        self._page.value, self._slots.value = self._picture().html, self._below().html
        waiting = set(game.waiting)
        for request, choice in enumerate(self._choices):
            choice.layout.display = "" if request in waiting else "none"
        self._waits.layout.display = "none" if game.over else ""


def by_hand(trace: Trace, *, requests: int = 12, slots: int = 4, longest: int = 40) -> ByHand:
    """Let the learner be the scheduler of some questions of a run.

    Parameters
    ----------
    trace
        A complete run: the questions, and how long their answers were.
    requests
        How many questions, 2 to 24.
    slots
        How many slots, 1 to 8.
    longest
        Questions whose answers have more tokens are left out.

    Returns
    -------
    ByHand
        Displayed by a notebook: buttons, a picture, a sentence. `give(3)`, `wait()` and `again()` do the same.

    Raises
    ------
    CbvizError
        It is no trace, a number is out of range, or the run has too few such answers.
    """
    if not isinstance(trace, Trace):
        raise CbvizError(f"by_hand takes a trace, such as race.traces[0], not {shown(trace)}.")
    whole("slots", slots, 1, MOST_SLOTS)
    whole("longest", longest, 1, 10_000)
    work, answers = work_of(trace, whole("requests", requests, 2, MOST_REQUESTS), longest)
    return ByHand(ByHandGame(work, slots), answers)
