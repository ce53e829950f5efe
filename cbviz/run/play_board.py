"""The live board of a playground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cbviz.events import NO_REQUEST
from cbviz.measure.lane_names import distinct_names
from cbviz.messages import Message
from cbviz.models.device import device_name
from cbviz.policies import identity
from cbviz.run.notebook import prepare_host
from cbviz.view.controls import Control
from cbviz.view.language import dotted

if TYPE_CHECKING:
    from cbviz.run.lane import Lane
    from cbviz.run.play_run import Play
    from cbviz.view.widget import LiveBoard

TITLE = Message("board.title_playground")


def attached(play: Play, lanes: Sequence[Lane]) -> LiveBoard:
    """A board for a playground that has not started. Needs the notebook extra.

    Parameters
    ----------
    play
        The playground, which obeys the board.
    lanes
        Its lanes, in the order in which they are shown.

    Returns
    -------
    LiveBoard
        Without requests so far.
    """
    from cbviz.view.controls import TRANSPORT  # here, so that bare machines can import this module
    from cbviz.view.widget import LaneInfo, LiveBoard

    prepare_host()
    names = distinct_names([str(play.values[name]) for name in ("beside", "policy") if name in play.values])
    return LiveBoard(
        [
            LaneInfo(name, identity(lane.policy)[1], lane.slots, lane.kv_blocks)
            for name, lane in zip(names, lanes, strict=True)
        ],
        title=TITLE,
        subtitle=dotted(
            play.model.name, device_name(play.model.device), Message("board.subtitle_seed", seed=play.seed)
        ),
        language=play.language,
        on_control=play.obey,
        actions=(*TRANSPORT, "start", "restart", "burst", "cancel", "why"),
        knobs=tuple(play.knobs.values()),
        waiting=True,
    )


def obeyed(play: Play, control: Control) -> None:
    """Apply a control from the board. Raises as the playground's own methods do."""
    request = control.request if control.request is not None else NO_REQUEST
    acts: dict[str, Callable[[], object]] = {
        "start": play.start,
        "pause": play.pause,
        "resume": play.resume,
        "step": play.step_once,
        "stop": play.end,
        "restart": play.restart,
        "burst": play.burst,
        "cancel": lambda: play.cancel(request),
        "why": lambda: play.board.tell_why(request, play.why(request)),
        "set": lambda: play.set(control.name, control.value if control.value is not None else ""),
    }
    acts[control.action]()
