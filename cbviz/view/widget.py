"""The live board: an anywidget that an engine's thread feeds.

How an iteration reaches the page: `push` appends it to a list and returns. A pump thread, at most 30 times a second,
encodes the list as one block per lane and sends it as one message (Jupyter silently drops messages above 1,000 a
second). The page confirms every message; with two unconfirmed, the pump waits and collects more. Blocks say which
iterations they hold, so a page notices a loss and asks again, and a page that opens late asks for everything. At the
end the whole run goes into one synchronised trait: views that open later need nothing else.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import anywidget
import traitlets

from cbviz.checks import shown
from cbviz.errors import CbvizError
from cbviz.events import Iteration
from cbviz.messages import as_json, check_language
from cbviz.view.cell import CELLS
from cbviz.view.controls import TRANSPORT, Control, ControlError, Knob, check_actions, parse
from cbviz.view.js_source import LOADER, joined
from cbviz.view.lane_info import LaneInfo as LaneInfo
from cbviz.view.language import RACE
from cbviz.view.outbox import Outbox
from cbviz.view.pack import Pieces, RequestText, requests_block
from cbviz.view.player import MOST_LANES, never_started, style
from cbviz.view.summary import Outcome

__all__ = ["Control", "Knob", "LaneInfo", "LiveBoard"]

INTERVAL = 1 / 30
"""Least number of seconds between two messages."""
LINGER = 2.0
"""Seconds that the pump waits for new data before its thread ends; the next push starts another."""


class LiveBoard(anywidget.AnyWidget):  # type: ignore[misc]
    """Shows a run live. Any thread may call its methods, and none of them waits for a page.

    Parameters
    ----------
    lanes
        One to four, stacked.
    title, subtitle
        Shown as text.
    language
        One of `cbviz.messages.languages()`; the page has a switch.
    on_control
        Called with every checked `Control`, in the thread that delivers it. If it raises a `CbvizError`, the board
        shows the sentence. None: the run can only be watched.
    actions
        Actions that the run supports: those of `controls.TRANSPORT` and of `controls.FURTHER`.
    knobs
        Live controls.
    waiting
        Whether the run waits behind a Start button until `begin` is called.

    Raises
    ------
    CbvizError
        No lane or too many, an unknown language or action.
    """

    _esm = LOADER
    _css = style()
    _code = traitlets.Unicode(joined()).tag(sync=True)
    _key = traitlets.Unicode(hashlib.sha256(joined().encode()).hexdigest()[:16]).tag(sync=True)
    _id = traitlets.Unicode().tag(sync=True)
    _meta = traitlets.Dict().tag(sync=True)
    _status = traitlets.Unicode("running").tag(sync=True)
    _language = traitlets.Unicode("en").tag(sync=True)
    _actions = traitlets.List().tag(sync=True)
    _knobs = traitlets.List().tag(sync=True)
    _run = traitlets.Bytes(b"").tag(sync=True)

    def __init__(
        self,
        lanes: Sequence[LaneInfo],
        *,
        title: str = RACE,
        subtitle: str = "",
        language: str = "en",
        on_control: Callable[[Control], None] | None = None,
        actions: Sequence[str] = TRANSPORT,
        knobs: Sequence[Knob] = (),
        waiting: bool = False,
    ) -> None:
        if not 1 <= len(lanes) <= MOST_LANES:
            raise CbvizError(f"a board has 1 to {MOST_LANES} lanes, not {len(lanes)}.")
        check_language(language)
        check_actions(actions)
        self.lanes = tuple(lanes)
        self._titles = title, subtitle
        self._lock = threading.Lock()
        self._due = threading.Condition(self._lock)
        self._outbox = Outbox([lane.slots for lane in lanes])
        self._known: set[int] = set()
        self._on_control = on_control
        self._knob_table = {knob.name: knob for knob in knobs}
        self._pump: threading.Thread | None = None
        self._over = self._left = self._closed = False
        super().__init__(
            _id=uuid.uuid4().hex,
            _meta={
                "title": as_json(title),
                "subtitle": as_json(subtitle),
                "lanes": [{**asdict(lane), "summary": as_json(lane.summary)} for lane in lanes],
                "finish": None,
                "epoch": 0,
            },
            _status="waiting" if waiting else "running",
            _language=language,
            _actions=list(actions) if on_control else [],
            _knobs=[knob.as_json() for knob in knobs] if on_control else [],
        )
        self.on_msg(self._message)
        CELLS.started(self)

    @property
    def frames_sent(self) -> int:
        """Messages with iterations so far."""
        return self._outbox.seq

    def __repr__(self) -> str:
        return f"LiveBoard({', '.join(lane.name for lane in self.lanes)})"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        # The same text on every run, so that notebooks can be compared.
        bundle = super()._repr_mimebundle_(**options)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        if data is None:
            return bundle
        kept = {**data, "text/plain": repr(self)}
        if self._status == "waiting":
            kept["text/html"] = never_started(*self._titles, self.lanes, str(self._language))
        return kept, metadata

    # ------------------------------------------------------------------ from the engine's thread

    def add_requests(self, requests: Iterable[RequestText]) -> None:
        """Add prompts, the same for all lanes: at the start, and again when more are submitted.

        Parameters
        ----------
        requests
            What the board shows of each request.

        Raises
        ------
        CbvizError
            An entry is no `RequestText`.
        """
        rows = list(requests)
        for row in rows:
            if not isinstance(row, RequestText):
                raise CbvizError(f"add_requests takes RequestText rows, not {type(row).__name__}.")
        if not rows:
            return
        block = requests_block(None, rows)
        with self._due:
            self._known.update(row.id for row in rows)
            self._outbox.add_prompts(block)
            self._wake()

    def push(self, lane: int, iteration: Iteration, pieces: Pieces | None = None) -> None:
        """Add one iteration of a lane. Cheap: it is sent later, together with others.

        Parameters
        ----------
        lane
            Index of the lane.
        iteration
            The iteration.
        pieces
            Slot → the text that its token added.

        Raises
        ------
        CbvizError
            The board has no such lane, or has been finished.
        """
        if not 0 <= lane < len(self.lanes):
            raise CbvizError(f"this board has lanes 0 to {len(self.lanes) - 1}, not {shown(lane)}.")
        with self._due:
            if self._over:
                raise CbvizError("this board's run is over; make a new board for another run.")
            self._outbox.add(lane, iteration, pieces or {})
            self._wake()

    def finish(self, summary: Outcome | None = None) -> None:
        """End the run: send the remaining data, and keep the whole run in the widget's state.

        Parameters
        ----------
        summary
            The result to show; None shows none. A second call changes nothing.
        """
        finish = summary or Outcome()
        with self._due:
            if self._over:
                return
            self._over = True
            self._due.notify_all()
        if self._pump is not None and self._pump is not threading.current_thread():
            self._pump.join(timeout=10)
        with self._due:
            whole = self._outbox.whole()
        with self.hold_sync():
            self._run = whole
            self._meta = {**self._meta, "finish": finish.as_json()}
            self._status = "stopped" if finish.stopped else "finished"
        if self._left:
            self.close()

    def begin(self) -> None:
        """Show that a run that waited has begun. Changes nothing for a run that did not wait."""
        if self._status == "waiting":
            self._status = "running"

    def restart(self) -> None:
        """Drop the run, which may be over: the next iteration of every lane is 0 again.

        Raises
        ------
        CbvizError
            The board has been closed.
        """
        with self._due:
            if self._closed:
                raise CbvizError("this board has been closed; make a new board for another run.")
            over, self._over = self._over, False
            self._outbox.begin_anew()
            self._known = set()
        with self.hold_sync():
            self._run = b""
            self._meta = {**self._meta, "finish": None, "kept": "", "epoch": self._outbox.epoch}
            if over:
                self._status = "running"

    def kept_as(self, element: str) -> None:
        """Tell every page which picture takes this board's place: its Restart button finds the board by it.

        Parameters
        ----------
        element
            The id of the picture's element; "" if there is none.
        """
        self._meta = {**self._meta, "kept": element}

    def tell_why(self, request: int, reasons: Sequence[str]) -> None:
        """Tell every page why a request waits.

        Parameters
        ----------
        request
            Its id.
        reasons
            One for each lane, a message or text; "" where it does not wait.
        """
        self.send({"type": "why", "request": request, "reasons": [as_json(reason) for reason in reasons]})

    def show_knob(self, name: str, value: float | str) -> None:
        """Show a control's new value on every page.

        Parameters
        ----------
        name, value
            The control and its value, which is not checked again.

        Raises
        ------
        CbvizError
            The board has no such control.
        """
        if name not in self._knob_table:
            raise CbvizError(
                f"this board has no control {shown(name)}; it has {', '.join(self._knob_table) or 'none'}."
            )
        self._knobs = [{**knob, "value": value} if knob["name"] == name else knob for knob in self._knobs]

    def fail(self, sentence: str) -> None:
        """End a run that failed: show a sentence that says why, and keep the run so far. See `finish`."""
        self.finish(Outcome(stopped=True, note=sentence))

    # ------------------------------------------------------------------ the pump

    def _wake(self) -> None:
        """Wake the pump: there is data to send. Lock held."""
        if self._pump is None or not self._pump.is_alive():
            self._pump = threading.Thread(target=self._work, name="cbviz board", daemon=True)
            self._pump.start()
        else:
            self._due.notify()

    def _work(self) -> None:
        while True:
            with self._due:
                if not self._over and not self._outbox.something:
                    self._due.wait(LINGER)
                    if not self._over and not self._outbox.something:
                        self._pump = None
                        return
                self._outbox.encode()
                frame = self._outbox.next_frame()
                over = self._over and not self._outbox.pending
            if frame:
                self.send(*frame)
            if over:
                return
            time.sleep(INTERVAL)

    # ------------------------------------------------------------------ from the page

    def _message(self, widget: Any, content: Any, buffers: Any) -> None:
        """Handle a message from a page. Never raises, because a page can send anything."""
        if not isinstance(content, Mapping):
            return
        kind = content.get("type")
        if kind == "ack":
            with self._due:
                self._outbox.confirm(content.get("seq"))
        elif kind in ("hello", "resync"):
            with self._due:
                if not self._over:  # else the whole run is in the state
                    self._outbox.catch_up(content.get("have"), content.get("epoch"))
                    if self._outbox.something:
                        self._wake()
        elif kind == "control":
            self._obey(content)
        else:
            self._refuse(f"the board does not know messages of type {shown(kind)}.")

    def _obey(self, content: Mapping[str, Any]) -> None:
        try:
            if self._over and content.get("action") == "why":
                return  # asked while it ended
            again = content.get("action") == "restart" and not self._closed
            if self._on_control is None or (self._over and not again):
                raise ControlError("this run has ended, or can only be watched.")
            waits = self._status == "waiting"
            control = parse(content, self._actions, self._knob_table, self._known, waits=waits)
            if control.action == "stop":
                self._status = "stopping"  # shown at once; it takes effect after the iteration in flight
            self._on_control(control)
            if control.action in ("pause", "resume", "restart") and self._status in ("running", "paused"):
                self._status = "paused" if control.action == "pause" else "running"
            if control.action == "set":
                self.show_knob(control.name, control.value if control.value is not None else "")
        except CbvizError as error:
            self._refuse(str(error))
        except Exception as error:  # an error in the run's callback must not kill the widget
            self._refuse(f"the run could not do that ({type(error).__name__}: {shown(str(error))}).")

    def _refuse(self, sentence: str) -> None:
        self.send({"type": "refused", "sentence": sentence})

    def leave(self) -> None:
        """Close the board once its run has ended, because its cell runs again. (ipywidgets would keep it, and its run,
        for as long as the kernel lives.)"""
        with self._due:
            self._left = True
            over = self._over
        if over:
            self.close()

    def close(self) -> None:
        """Remove the board from every page and free its memory."""
        if not hasattr(self, "_closed"):
            super().close()  # the constructor refused its arguments
            return
        with self._due:
            if self._closed:
                return
            self._over = self._closed = True
            self._outbox.clear()
            self._known = set()
            # A notebook's Out keeps this object, but must not keep the run or its owner.
            self._on_control = None
            self._due.notify_all()
        # While the page lives, JupyterLab keeps the last two states of a closed widget, so two small ones replace them.
        with self.hold_sync():
            self._run, self._code = b"", ""
        self._status = "closed"
        super().close()
