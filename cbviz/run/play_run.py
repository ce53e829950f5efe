"""A playground while it runs; `cbviz.play` makes one.

Requests are drawn as it runs. The number of open slots, the arrival rate, the spread of lengths and the policy may all
change between two iterations; every change is a mark in the trace, so a replay shows it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from cbviz.checks import shown as shown_value
from cbviz.events import NO_REQUEST, Iteration, Mark
from cbviz.models import LoadedModel
from cbviz.paths import new_file, write_whole
from cbviz.policies import Policy, fresh, identity
from cbviz.run.lane import Lane
from cbviz.run.live import BURST, Words, shown
from cbviz.run.play_board import TITLE, attached, obeyed
from cbviz.run.play_knobs import play_knobs
from cbviz.run.play_lanes import WORKLOAD, LaneMaker
from cbviz.run.play_why import why_it_waits
from cbviz.run.run_control import ControlledRun
from cbviz.run.switchable_policy import SwitchablePolicy
from cbviz.trace import Trace
from cbviz.view import player
from cbviz.view.cell import CELLS
from cbviz.view.controls import Control, ControlError
from cbviz.view.language import chosen
from cbviz.view.summary import Outcome
from cbviz.workload import Request, Workload

MOST_WAITING = 10_000
"""Unfinished requests beyond which a burst is refused: far more than a live run can serve in one sitting."""
UNATTENDED = 4.0
"""Seconds of the run that a notebook shows when no front end is there to show the board."""


class Play(ControlledRun):
    """A playground: not started, running, or ended. Make one with `cbviz.play`.

    `set`, `burst`, `cancel`, `restart`, `pause`, `resume`, `step_once` and `stop` may be called from any thread, and
    take effect before the next iteration.

    Parameters
    ----------
    loaded
        The model.
    policies
        The policies to choose from; the first is the one at the start.
    beside
        Name of the upper lane's policy at the start; None for one lane.
    backlog
        Requests that wait at the start.
    slots, most_slots, rate, spread, mean, pace, iterations, seed, language, backend, ignore_generation_config
        As for `cbviz.play`.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        policies: Sequence[Policy],
        *,
        beside: str | None,
        backlog: int,
        slots: int,
        most_slots: int,
        rate: float,
        spread: float,
        mean: float,
        pace: float,
        iterations: int,
        seed: int,
        language: str | None,
        backend: str | None = None,
        ignore_generation_config: bool = False,
    ) -> None:
        super().__init__("playground")
        self.model = loaded
        self.language = chosen(language)
        self.policies = {identity(policy)[0]: policy for policy in policies}
        self.iterations = iterations
        self.seed = seed
        names = tuple(self.policies)
        self.knobs = play_knobs(names, slots, most_slots, rate, spread, pace, beside)
        """The controls, with their initial values."""
        self.values: dict[str, float | str] = {
            name: knob.check(knob.value, whole=name == "slots") for name, knob in self.knobs.items()
        }
        """The current values of the controls."""
        self._maker = LaneMaker(
            loaded,
            1 if beside is None else 2,
            most_slots,
            mean=mean,
            seed=seed,
            backend=backend,
            ignore_generation_config=ignore_generation_config,
        )
        self._backlog = backlog
        self._lanes: list[Lane] = []
        """The upper lane, if there is one, and the lower, whose trace is the playground's."""
        self._lock = threading.Lock()
        self._changes: dict[str, float | str] = {}
        self._again = threading.Event()
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Lanes before their first iteration, under the current values of the controls."""
        self._source = self._maker.stream()
        drawn = [self._source.draw(i, float(self.values["spread"])) for i in range(self._backlog)]
        self._first = Workload(WORKLOAD, tuple(drawn), self.seed, "iterations")
        chosen = [self.policies[str(self.values[name])] for name in ("beside", "policy") if name in self.values]
        self._lanes = self._maker.begin(chosen, int(self.values["slots"]), self._first)
        self._changes = dict(self.values)
        self._bursts = 0
        self._next_id = self._backlog
        self._over = [0] * len(self._lanes)  # requests that have ended in each lane
        self._next_arrival = 0.0
        self._words = [Words(self.model) for _ in self._lanes]
        self._last: list[Iteration | None] = [None] * len(self._lanes)

    def set(self, name: str, value: float | str) -> None:
        """Set a control; it takes effect before the next iteration.

        Parameters
        ----------
        name
            "slots", "rate", "spread", "policy", "beside" (the upper lane's policy) or "pace".
        value
            A number in the control's range, or the name of a policy.

        Raises
        ------
        ControlError
            No such control, or a value outside its range.
        """
        if not isinstance(name, str) or name not in self.knobs:
            raise ControlError(f"there is no control {shown_value(name)}; there are {', '.join(self.knobs)}.")
        checked = self.knobs[name].check(value, whole=name == "slots")
        with self._lock:
            self.values[name] = self._changes[name] = checked
        if self.board is not None:
            self.board.show_knob(name, checked)

    def burst(self) -> None:
        """Add a handful of requests at once. Raises ControlError if `MOST_WAITING` requests are unfinished already."""
        with self._lock:
            if self._next_id - min(self._over) + (self._bursts + 1) * BURST > MOST_WAITING:
                raise ControlError(f"{MOST_WAITING:,} requests are waiting; a burst can join when some have ended.")
            self._bursts += 1

    def cancel(self, request: int) -> None:
        """End a request and keep the output that it has.

        Parameters
        ----------
        request
            Its id; WorkloadError if there is no such request.
        """
        for lane in self._lanes:
            lane.engine.cancel(request)

    def restart(self) -> None:
        """Begin again at iteration 0 with the same requests and the controls as they are now.

        The run so far is dropped. It takes effect after the iteration in flight; a paused playground continues, and one
        that has ended runs again. CbvizError if its cell has run again.
        """
        if self.running and not self.stopped:
            self._again.set()
            self.resume()
        else:
            super().restart()

    def why(self, request: int) -> list[str]:
        """Why a request still waits, in each lane: the reason of the lane's last plan; "" where it does not wait.

        Parameters
        ----------
        request
            Its id.

        Returns
        -------
        list[str]
            One reason for each lane, as `cbviz.why` gives it.
        """
        last = zip(self._lanes, self._last, strict=True)
        return [why_it_waits(_steered(lane), event, request) for lane, event in last]

    def obey(self, control: Control) -> None:
        """Apply a control from the board.

        Parameters
        ----------
        control
            As `cbviz.view.controls.parse` checked it. Raises as `set`, `burst` and `cancel` do.
        """
        obeyed(self, control)

    def run(self) -> Play:
        """Run to the end in this thread.

        Returns
        -------
        Play
            This run, ended. CbvizError if it was started before.
        """
        with self._to_the_end(lambda: self.show_end(self.finish)):
            done = 0
            while done < self.iterations and self._may_go_on():
                if self._again.is_set():
                    done = 0
                    self._start_over()
                began = perf_counter()
                self._take_changes()
                self._let_arrive()
                if not self._step():
                    continue
                done += 1
                self._rest(1 / float(self.values["pace"]) - (perf_counter() - began))
        return self

    def _start_over(self) -> None:
        self._forget()
        if self.board is not None:
            self.board.restart()
        self._fill_board()

    def _forget(self) -> None:
        self._again.clear()
        with self._lock:
            self._begin_anew()

    def _fill_board(self) -> None:
        self._show(self._first.requests)

    def _step(self) -> bool:
        """Run an iteration of every lane; whether any of them had a request to serve."""
        ran = False
        for number, lane in enumerate(self._lanes):
            event = lane.step()
            if event is None:
                if lane is self._lanes[-1]:
                    self._let_time_pass(rest=not ran)
                continue
            ran = True
            self._last[number] = event
            self._over[number] += len(event.finished) + len(event.cancelled)
            if self.board is not None:
                self.board.push(number, event, self._words[number].of(event))
        return ran

    def _take_changes(self) -> None:
        """Apply the controls set since the last iteration, and record them in the trace."""
        with self._lock:
            changes, self._changes = self._changes, {}
            bursts, self._bursts = self._bursts, 0
        for name, value in changes.items():
            if name == "slots":
                for lane in self._lanes:
                    _steered(lane).slots = int(value)
            elif name in ("policy", "beside"):
                _steered(self._lanes[-1 if name == "policy" else 0]).policy = fresh(self.policies[str(value)])
            elif name == "rate":
                # Poisson arrivals are memoryless: the rest of the gap can be drawn anew.
                self._next_arrival = self._lanes[-1].arrival_clock + (self._source.gap(float(value)) if value else 0.0)
            opened = int(value) if name == "slots" else NO_REQUEST
            written = value if isinstance(value, str) else f"{value:g}"
            for lane in self._lanes:
                main = lane is self._lanes[-1]
                # The policy of a lane is called so in its own trace, and the other lane's is not in it.
                if name not in ("policy", "beside") or (name == "policy") == main:
                    called = "policy" if name == "beside" else name
                    lane.note(Mark(NO_REQUEST, opened, f"{called} = {written}"))
        for _ in range(bursts):
            if self.stopped:
                break
            self._submit(BURST)

    def _let_arrive(self) -> None:
        rate = float(self.values["rate"])
        while rate and self._next_arrival <= self._lanes[-1].arrival_clock and not self.stopped:
            self._submit(1)
            self._next_arrival += self._source.gap(rate)

    def _let_time_pass(self, rest: bool) -> None:
        """No request is in the lower lane. Its clock skips such time, so the next request arrives now."""
        if self.values["rate"]:
            self._next_arrival = self._lanes[-1].arrival_clock
        elif rest:
            self._rest(0.05)

    def _submit(self, count: int) -> None:
        spread = float(self.values["spread"])
        drawn = [self._source.draw(self._next_id + i, spread) for i in range(count)]
        self._next_id += count
        for lane in self._lanes:
            lane.submit(*drawn)
        self._show(drawn)

    def _show(self, requests: Sequence[Request]) -> None:
        if self.board is not None:
            self.board.add_requests(map(shown, requests))

    def watched(self) -> Any:
        """Attach a live board before the playground starts. Needs the notebook extra.

        Returns
        -------
        LiveBoard
            The board, also as `board`.
        """
        self.board = attached(self, self._lanes)
        self._fill_board()
        CELLS.started(self)
        return self.board

    def _until_shown(self) -> None:
        """It may run for ever, so wait only until there is something to see."""
        self._going.set()
        self._reported.wait(UNATTENDED)

    @property
    def trace(self) -> Trace:
        """The lower lane's run so far."""
        return self._lanes[-1].trace()

    @property
    def traces(self) -> list[Trace]:
        """The runs of all lanes so far, in the order in which the board shows them."""
        return [lane.trace() for lane in self._lanes]

    def finish(self) -> Outcome:
        """The end of the run, as the board shows it.

        Returns
        -------
        Outcome
            Without a speed-up: the lanes serve the same arrivals, but may be stopped at any time.
        """
        return Outcome(
            clock="alone" if len(self._lanes) == 1 else "lane", stopped=self.stopped, note=str(self.failure or "")
        )

    def _has_run(self) -> bool:
        return True

    def to_html(self, path: str | Path, *, language: str | None = None) -> Path:
        """Write a self-contained page that replays the run without a kernel or a network.

        Parameters
        ----------
        path
            The HTML file to write.
        language
            "en" or "zh"; None means the playground's own.

        Returns
        -------
        Path
            The file written.
        """
        spoken = self.language if language is None else language
        page = player.html(self.traces, self.finish(), title=TITLE, language=chosen(spoken))
        return write_whole(new_file(path), page)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """In a notebook: the live board while it runs, then a picture that upgrades itself to the player."""
        if self.running and self.board is not None:
            return self.board._repr_mimebundle_()
        return self.kept()

    def kept(self) -> dict[str, str]:
        """The mime bundle that a saved notebook keeps.

        Returns
        -------
        dict
            MIME type → content.
        """
        knobs = [replace(knob, value=self.values[name]) for name, knob in self.knobs.items()]
        return player.mimebundle(self.traces, self.finish(), title=TITLE, language=self.language, knobs=knobs)

    def __repr__(self) -> str:
        return f"<Play of {self.model.name}: {', '.join(f'{name} {value}' for name, value in self.values.items())}>"


def _steered(lane: Lane) -> SwitchablePolicy:
    """The policy of a playground's lane."""
    assert isinstance(lane.policy, SwitchablePolicy)
    return lane.policy
