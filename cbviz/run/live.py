"""A live race: iterations go to the board, and controls come back from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cbviz.errors import CbvizError
from cbviz.events import Iteration
from cbviz.messages import Message
from cbviz.models import LoadedModel
from cbviz.models.detokenizer import PieceStream
from cbviz.models.device import device_name
from cbviz.policies import identity
from cbviz.run.lane import Lane
from cbviz.run.model_workload import choose_workload
from cbviz.run.notebook import prepare_host
from cbviz.view.cell import CELLS
from cbviz.view.controls import Control
from cbviz.view.language import dotted
from cbviz.view.pack import RequestText
from cbviz.workload import Request

if TYPE_CHECKING:
    from cbviz.run.race_run import Race
    from cbviz.view.widget import LiveBoard

BURST = 8
"""Requests that join when the user presses the button."""
MOST_JOINING = 10_000
"""Requests that may join a race from its board: every lane has to serve them all before it ends."""
MOST_SHOWN = 20_000
"""Characters of a prompt that are sent to the board. The trace keeps the whole prompt."""


def watched(race: Race, language: str = "en") -> LiveBoard:
    """Attach a live board to a race that has not started, and return the board. Needs the notebook extra."""
    from cbviz.view.controls import TRANSPORT  # here, so that bare machines can import this module
    from cbviz.view.widget import LaneInfo, LiveBoard

    prepare_host()
    slots = Message("board.subtitle_slots", n=race.slots, count=str(race.slots))
    requests = Message("board.subtitle_requests", n=len(race.workload), count=str(len(race.workload)))
    seed = Message("board.subtitle_seed", seed=race.workload.seed)
    board = LiveBoard(
        [
            LaneInfo(name, identity(policy)[1], race.slots, race.kv_blocks)
            for name, policy in zip(race.names, race.policies, strict=True)
        ],
        subtitle=dotted(race.model.name, device_name(race.model.device), slots, requests, seed),
        language=language,
        on_control=lambda control: _obey(race, board, control),
        actions=(*TRANSPORT, "start", "restart", "burst", "cancel"),
        waiting=True,
    )
    words: list[Words] = []

    def fill() -> None:
        words[:] = [Words(race.model) for _ in race.names]
        board.add_requests(map(shown, race.workload))

    def show(number: int, lane: Lane, event: Iteration) -> None:
        board.push(number, event, words[number].of(event))

    race.watch, race.filled, race.board = show, fill, board
    race.ended = lambda ended: ended.show_end(ended.finish)
    fill()
    CELLS.started(race)
    return board


class Words:
    """The text that each output token of one lane adds, as it becomes certain."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._streams: defaultdict[int, PieceStream] = defaultdict(model.stream)

    def of(self, event: Iteration) -> dict[int, str]:
        """Slot → text for the slots that gave a token in this iteration; a request that ends releases all its text."""
        if self._model.tokenizer is None:
            return {}
        given = {
            slot: "".join(map(self._streams[int(event.request[slot])].add, tokens))
            for slot, tokens in event.given.items()
        }
        for end in event.finished:
            stream = self._streams.pop(end.request, None)
            if stream is not None and end.slot in given:
                given[end.slot] += stream.end()
        for mark in event.cancelled:
            self._streams.pop(mark.request, None)
        return given


def _obey(race: Race, board: LiveBoard, control: Control) -> None:
    """Apply a control from the board."""
    acts: dict[str, Callable[[], object]] = {
        "start": race.start,
        "pause": race.pause,
        "resume": race.resume,
        "step": race.step_once,
        "stop": race.end,
        "restart": race.restart,
        "burst": lambda: _burst(race, board),
        "cancel": lambda: race.cancel(control.request or 0),
    }
    if control.action not in acts:
        raise CbvizError(f"a race cannot {control.action}; it can {', '.join(acts)}.")
    acts[control.action]()


def _burst(race: Race, board: LiveBoard) -> None:
    """Add a handful of new requests of the same kind to every lane."""
    if race.stopped:
        raise CbvizError("the race is stopping; no more requests can join it.")
    if len(race.joined) + BURST > MOST_JOINING:
        raise CbvizError(f"{len(race.joined):,} requests have joined this race, and no more than that can.")
    first = race.highest_id + 1
    limit = race.workload.longest
    drawn = choose_workload(race.model, requests=BURST, seed=race.workload.seed + first)
    joining = [
        replace(request, id=first + i, max_new_tokens=min(request.max_new_tokens, limit - len(request.prompt)))
        for i, request in enumerate(drawn)
        if len(request.prompt) < limit
    ]
    board.add_requests(map(shown, joining))
    race.submit(*joining)


def shown(request: Request) -> RequestText:
    """What the board shows of a request before it runs."""
    text = request.text if len(request.text) <= MOST_SHOWN else request.text[: MOST_SHOWN - 1] + "…"
    return RequestText(request.id, text, len(request.prompt), request.max_new_tokens)


def in_notebook() -> bool:
    """Whether we run in a notebook kernel with the board's widget installed."""
    try:
        import anywidget  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None
