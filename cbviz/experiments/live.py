"""A race that is watched while it runs: iterations to the board, controls from the board."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cbviz.board.cell import CELLS
from cbviz.board.controls import Control
from cbviz.board.pack import RequestText
from cbviz.errors import CbvizError
from cbviz.experiments.lane import Lane, device_name
from cbviz.experiments.notebook import prepare_host
from cbviz.experiments.race import Race
from cbviz.experiments.workloads import choose_workload
from cbviz.models import LoadedModel
from cbviz.models.pieces import PieceStream
from cbviz.policies import identity
from cbviz.trace import NOBODY, Iteration
from cbviz.workload import Request

if TYPE_CHECKING:
    from cbviz.board.widget import LiveBoard

BURST = 8
"""Requests that join at the press of a button."""
MOST_JOINING = 10_000
"""Requests that may join a race from its board: every lane has to serve them all before it ends."""
MOST_SHOWN = 20_000
"""Characters of a prompt that go to the board. The trace keeps all of it."""


def watched(race: Race, language: str = "en") -> LiveBoard:
    """Give a race that has not started a live board, and return the board. Needs the notebook extra."""
    from cbviz.board.widget import TRANSPORT, LaneInfo, LiveBoard  # here, so that bare machines can import this module

    prepare_host()
    meta = [race.model.name, device_name(race.model.device), f"{race.slots} slots", f"{len(race.workload)} requests"]
    board = LiveBoard(
        [
            LaneInfo(name, identity(policy)[1], race.slots, race.kv_blocks)
            for name, policy in zip(race.names, race.policies, strict=True)
        ],
        subtitle=" · ".join([*meta, f"seed {race.workload.seed}"]),
        language=language,
        on_control=lambda control: _obey(race, board, control),
        actions=(*TRANSPORT, "burst", "cancel"),
    )
    board.add_requests(map(shown, race.workload))
    words = [Words(race.model) for _ in race.names]

    def show(number: int, lane: Lane, event: Iteration) -> None:
        board.push(number, event, words[number].of(event))

    def end(ended: Race) -> None:
        if ended.failure is None:
            board.finish(ended.finish())
        else:
            board.fail(str(ended.failure))
        ended.outputs.replace(ended.kept())

    race.watch, race.ended, race.board = show, end, board
    CELLS.started(race)
    return board


class Words:
    """The text that each output token of one lane adds, as it becomes certain."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._streams: defaultdict[int, PieceStream] = defaultdict(model.stream)

    def of(self, event: Iteration) -> dict[int, str]:
        """Slot → text, for the slots that gave a token in this iteration; a request that ends holds nothing back."""
        if self._model.tokenizer is None:
            return {}
        given = {
            slot: self._streams[int(event.request[slot])].add(int(token))
            for slot, token in enumerate(event.token.tolist())
            if token != NOBODY
        }
        for end in event.finished:
            stream = self._streams.pop(end.request, None)
            if stream is not None and end.slot in given:
                given[end.slot] += stream.end()
        for mark in event.cancelled:
            self._streams.pop(mark.request, None)
        return given


def _obey(race: Race, board: LiveBoard, control: Control) -> None:
    """Do what was asked for on the board."""
    acts: dict[str, Callable[[], None]] = {
        "pause": race.pause,
        "resume": race.resume,
        "step": race.step_once,
        "stop": race.stop,
        "burst": lambda: _burst(race, board),
        "cancel": lambda: race.cancel(control.request or 0),
    }
    if control.action not in acts:
        raise CbvizError(f"a race cannot {control.action}; it can {', '.join(acts)}.")
    acts[control.action]()


def _burst(race: Race, board: LiveBoard) -> None:
    """A handful of new requests of the same kind joins every lane."""
    if race.stopped:
        raise CbvizError("the race is being stopped; no request can join it any more.")
    if len(race.joined) + BURST > MOST_JOINING:
        raise CbvizError(f"{len(race.joined):,} requests have joined this race; no more can.")
    first = race.highest_id + 1
    limit = max(len(request.prompt) + request.max_new_tokens for request in race.workload)
    drawn = choose_workload(race.model, requests=BURST, seed=race.workload.seed + first)
    joining = [
        replace(request, id=first + i, max_new_tokens=min(request.max_new_tokens, limit - len(request.prompt)))
        for i, request in enumerate(drawn)
        if len(request.prompt) < limit
    ]
    board.add_requests(map(shown, joining))
    race.submit(*joining)


def shown(request: Request) -> RequestText:
    """What the board tells of a request before it runs."""
    text = request.text if len(request.text) <= MOST_SHOWN else request.text[: MOST_SHOWN - 1] + "…"
    return RequestText(request.id, text, len(request.prompt), request.max_new_tokens)


def in_notebook() -> bool:
    """Whether a notebook shows what we return, and the board's widget is installed."""
    try:
        import anywidget  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None
