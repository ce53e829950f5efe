"""The live board: an anywidget that an engine's thread feeds.

How an iteration travels. `push` puts it on a list and returns. A pump thread, at most 30 times a second, encodes what
has gathered as one block a lane and sends it as one message: Jupyter silently drops messages above 1,000 a second. The
page confirms every message; with two unconfirmed the pump waits and gathers more. Blocks say which iterations they
hold, so the page sees a loss and asks again, and one that arrives late asks for everything. At the end the whole run
goes into one synchronised trait: views that open later need nothing else.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import anywidget
import traitlets

from cbviz.board.cell import CELLS
from cbviz.board.controls import Control, ControlError, Knob, parse, short
from cbviz.board.js_source import joined
from cbviz.board.language import LANGUAGES
from cbviz.board.pack import LaneEncoder, Pieces, RequestText, merge, requests_block
from cbviz.board.player import MOST_LANES, style
from cbviz.board.summary import Finish
from cbviz.errors import CbvizError
from cbviz.trace.events import Iteration

__all__ = ["Control", "Knob", "LaneInfo", "LiveBoard"]

INTERVAL = 1 / 30
"""Seconds between two messages, at least."""
MOST_UNCONFIRMED = 2
PATIENCE = 1.0
"""Seconds after which an unconfirmed message counts as lost: the page will say what it misses."""
LINGER = 2.0
"""Seconds that the pump waits for more before its thread ends; the next push starts another."""

TRANSPORT = ("pause", "resume", "step", "stop")

LOADER = """
const boards = (globalThis.__cbviz_boards ??= new Map());
function board(model) {
  const key = model.get("_key");
  if (!boards.has(key)) {
    const address = URL.createObjectURL(new Blob([model.get("_code")], { type: "text/javascript" }));
    boards.set(key, import(address).finally(() => URL.revokeObjectURL(address)));
  }
  return boards.get(key);
}
export default {
  initialize: async (props) => (await board(props.model)).default.initialize(props),
  render: async (props) => (await board(props.model)).default.render(props),
};
"""
"""A browser keeps every module that it ever imported, and anywidget imports one a widget. This one is small, and all
widgets of a page share the board's own module, so that running a cell again and again costs the page no memory."""


@dataclass(frozen=True, slots=True)
class LaneInfo:
    """One lane of a board. `total_blocks` 0 hides the KV meter."""

    name: str
    summary: str
    slots: int
    total_blocks: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.slots, bool) or not isinstance(self.slots, int) or self.slots < 1:
            raise CbvizError(f"a lane needs a whole number of at least 1 slots, not {self.slots!r}.")


class LiveBoard(anywidget.AnyWidget):  # type: ignore[misc]
    """Shows a run while it happens.

    Parameters
    ----------
    lanes
        One to four, drawn one above the other.
    title, subtitle
        Shown as text.
    language
        "en" or "zh"; the page has a switch.
    on_control
        Called with every checked `Control`, from whichever thread delivers it. A `CbvizError` that it raises is shown
        as its sentence. None: the run can only be watched.
    actions
        What the run can do besides being watched: the transport, and "burst" and "cancel" where they mean something.
    knobs
        Live controls.

    Raises
    ------
    CbvizError
        No lane or too many, an unknown language or action.

    Notes
    -----
    `push`, `add_requests`, `finish` and `fail` may be called from any thread. Nothing here waits for a page: without
    one, a run is recorded all the same.
    """

    _esm = LOADER
    _css = style()
    _code = traitlets.Unicode(joined()).tag(sync=True)
    _key = traitlets.Unicode(hashlib.sha256(joined().encode()).hexdigest()[:16]).tag(sync=True)
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
        title: str = "Race",
        subtitle: str = "",
        language: str = "en",
        on_control: Callable[[Control], None] | None = None,
        actions: Sequence[str] = TRANSPORT,
        knobs: Sequence[Knob] = (),
    ) -> None:
        if not 1 <= len(lanes) <= MOST_LANES:
            raise CbvizError(f"a board has one to {MOST_LANES} lanes, not {len(lanes)}.")
        if language not in LANGUAGES:
            raise CbvizError(f"language must be 'en' or 'zh', not {language!r}.")
        for action in actions:
            if action not in (*TRANSPORT, "burst", "cancel"):
                raise CbvizError(f"a board's actions are {', '.join(TRANSPORT)}, burst and cancel, not {action!r}.")
        self.lanes = tuple(lanes)
        self._lock = threading.Lock()
        self._due = threading.Condition(self._lock)
        self._encoders = [LaneEncoder(number, lane.slots) for number, lane in enumerate(lanes)]
        self._pending: list[list[tuple[Iteration, Pieces]]] = [[] for _ in lanes]
        self._blocks: list[list[bytes]] = [[] for _ in lanes]
        self._unsent: list[bytes] = []
        self._prompts: list[bytes] = []
        self._known: set[int] = set()
        self._on_control = on_control
        self._knob_table = {knob.name: knob for knob in knobs}
        self._watched = False
        self._seq = 0
        self._unconfirmed: dict[int, float] = {}
        self._pump: threading.Thread | None = None
        self._over = self._left = self._closed = False
        self.frames_sent = 0
        """Messages with iterations so far."""
        super().__init__(
            _meta={"title": title, "subtitle": subtitle, "lanes": [asdict(lane) for lane in lanes], "finish": None},
            _language=language,
            _actions=list(actions) if on_control else [],
            _knobs=[knob.as_json() for knob in knobs] if on_control else [],
        )
        self.on_msg(self._message)
        CELLS.started(self)

    def __repr__(self) -> str:
        return f"LiveBoard({', '.join(lane.name for lane in self.lanes)})"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        # The same text on every run, so that notebooks can be compared.
        bundle = super()._repr_mimebundle_(**options)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        if data is None:
            return bundle
        return {**data, "text/plain": repr(self)}, metadata

    # ------------------------------------------------------------------ from the engine's thread

    def add_requests(self, requests: Iterable[RequestText]) -> None:
        """Prompts, the same for all lanes; at the start, and again when more are submitted."""
        rows = list(requests)
        for row in rows:
            if not isinstance(row, RequestText):
                raise CbvizError(f"add_requests takes RequestText rows, not {type(row).__name__}.")
        if not rows:
            return
        block = requests_block(None, rows)
        with self._due:
            self._known.update(row.id for row in rows)
            self._prompts.append(block)
            self._unsent.append(block)
            self._wake()

    def push(self, lane: int, iteration: Iteration, pieces: Pieces | None = None) -> None:
        """One iteration of a lane, and the text that each slot's token added. Cheap: it is sent later, with others.

        Raises CbvizError for a lane that the board does not have, or once the board has been finished.
        """
        if not 0 <= lane < len(self.lanes):
            raise CbvizError(f"this board has lanes 0 to {len(self.lanes) - 1}, not {lane!r}.")
        with self._due:
            if self._over:
                raise CbvizError("this board's run is over; make a new board for another run.")
            self._pending[lane].append((iteration, pieces or {}))
            self._wake()

    def finish(self, summary: Finish | None = None) -> None:
        """The run is over: send what is left, and keep the whole run in the widget's state."""
        finish = summary or Finish()
        with self._due:
            if self._over:
                return
            self._over = True
            self._due.notify_all()
        if self._pump is not None and self._pump is not threading.current_thread():
            self._pump.join(timeout=10)
        with self._due:
            self._encode()
            for lane, blocks in enumerate(self._blocks):
                self._blocks[lane] = [merge(blocks)] if blocks else []
            whole = b"".join(self._prompts) + b"".join(b"".join(blocks) for blocks in self._blocks)
            self._unsent.clear()
        with self.hold_sync():
            self._run = whole
            self._meta = {**self._meta, "finish": finish.as_json()}
            self._status = "stopped" if finish.stopped else "finished"
        if self._left:
            self.close()

    def show_knob(self, name: str, value: float | str) -> None:
        """A control was set, by whomever: every page shows it. Raises CbvizError for a control that there is not."""
        if name not in self._knob_table:
            raise CbvizError(
                f"this board has no control {short(name)}; it has {', '.join(self._knob_table) or 'none'}."
            )
        self._knobs = [{**knob, "value": value} if knob["name"] == name else knob for knob in self._knobs]

    def fail(self, sentence: str) -> None:
        """The run broke: show why, and keep what was run."""
        self.finish(Finish(stopped=True, note=sentence))

    # ------------------------------------------------------------------ the pump

    def _wake(self) -> None:
        """Called with the lock held: something is there to be sent."""
        if self._pump is None or not self._pump.is_alive():
            self._pump = threading.Thread(target=self._work, name="cbviz board", daemon=True)
            self._pump.start()
        else:
            self._due.notify()

    def _work(self) -> None:
        while True:
            with self._due:
                if not self._over and not self._something():
                    self._due.wait(LINGER)
                    if not self._over and not self._something():
                        self._pump = None
                        return
                self._encode()
                frame = self._next_frame()
                over = self._over and not any(self._pending)
            if frame:
                self.send(*frame)
            if over:
                return
            time.sleep(INTERVAL)

    def _something(self) -> bool:
        return any(self._pending) or (self._watched and bool(self._unsent))

    def _encode(self) -> None:
        """What has gathered becomes blocks. Lock held."""
        for lane, batch in enumerate(self._pending):
            if batch:
                self._pending[lane] = []
                block = self._encoders[lane].encode(batch)
                self._blocks[lane].append(block)
                if self._watched:
                    self._unsent.append(block)

    def _next_frame(self) -> tuple[dict[str, Any], list[bytes]] | None:
        """Message and buffers, or None while there is nothing to send or the page is behind. Lock held."""
        now = time.monotonic()
        self._unconfirmed = {seq: at for seq, at in self._unconfirmed.items() if now - at < PATIENCE}
        if not self._watched or not self._unsent or len(self._unconfirmed) >= MOST_UNCONFIRMED:
            return None
        buffers, self._unsent = self._unsent, []
        self._seq += 1
        self.frames_sent += 1
        self._unconfirmed[self._seq] = now
        return {"type": "frame", "seq": self._seq, "have": [encoder.count for encoder in self._encoders]}, buffers

    # ------------------------------------------------------------------ from the page

    def _message(self, widget: Any, content: Any, buffers: Any) -> None:
        """Never raises: a page can send anything."""
        if not isinstance(content, Mapping):
            return
        kind = content.get("type")
        if kind == "ack":
            with self._due:
                seq = content.get("seq")
                self._unconfirmed = {
                    other: at for other, at in self._unconfirmed.items() if not isinstance(seq, int) or other > seq
                }
        elif kind in ("hello", "resync"):
            self._catch_up(content.get("have"))
        elif kind == "control":
            self._obey(content)
        else:
            self._refuse(f"the board does not know messages of type {short(kind)}.")

    def _catch_up(self, have: Any) -> None:
        """Somebody is new, or missed something: send all that lies behind what they have."""
        numbers = have if isinstance(have, list) and len(have) == len(self.lanes) else []
        known = [n if isinstance(n, int) and not isinstance(n, bool) and n >= 0 else 0 for n in numbers]
        known += [0] * (len(self.lanes) - len(known))
        with self._due:
            if self._over:
                return  # the whole run is in the state
            self._encode()
            self._watched = True
            self._unconfirmed.clear()
            for lane, blocks in enumerate(self._blocks):
                if len(blocks) > 1:
                    self._blocks[lane] = [merge(blocks)]
            self._unsent = list(self._prompts)
            for n, encoder, blocks in zip(known, self._encoders, self._blocks, strict=True):
                if n < encoder.count:
                    self._unsent += blocks
            if self._unsent:
                self._wake()

    def _obey(self, content: Mapping[str, Any]) -> None:
        try:
            if self._on_control is None or self._over:
                raise ControlError("this run is over, or can only be watched.")
            control = parse(content, self._actions, self._knob_table, self._known)
            if control.action == "stop":
                # Acknowledged at once; it takes effect after the iteration in flight.
                self._status = "stopping"
            self._on_control(control)
            if control.action in ("pause", "resume") and self._status != "stopping":
                self._status = "paused" if control.action == "pause" else "running"
            if control.action == "set":
                self.show_knob(control.name, control.value if control.value is not None else "")
        except CbvizError as error:
            self._refuse(str(error))
        except Exception as error:  # whatever the run's owner did must not kill the widget
            self._refuse(f"the run could not do that ({type(error).__name__}: {short(str(error))}).")

    def _refuse(self, sentence: str) -> None:
        self.send({"type": "refused", "sentence": sentence})

    def leave(self) -> None:
        """The cell that made it is run again: close it, once its run is over. (ipywidgets would keep it, and its run,
        for as long as the kernel lives.)"""
        with self._due:
            self._left = True
            over = self._over
        if over:
            self.close()

    def close(self) -> None:
        """Take the board off every page and let its memory go."""
        if not hasattr(self, "_closed"):
            super().close()  # its arguments were refused before it was anything
            return
        with self._due:
            if self._closed:
                return
            self._over = self._closed = True
            self._pending = [[] for _ in self.lanes]
            self._blocks = [[] for _ in self.lanes]
            self._unsent, self._prompts = [], []
            self._known, self._encoders = set(), []
            # A notebook's Out keeps this object; it need not keep the run, nor whoever ran it.
            self._on_control = None
            self._due.notify_all()
        # JupyterLab keeps the state of closed widgets, and the state before that, for as long as the page lives: twice
        # something small takes the place of what was large.
        with self.hold_sync():
            self._run, self._code = b"", ""
        self._status = "closed"
        super().close()
