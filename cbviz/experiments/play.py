"""The playground: one lane that goes on until it is stopped, with controls that act on the running engine.

Requests are drawn while the run goes on. How many slots are open, how often requests arrive, how far their lengths
differ and which policy decides may all change between two iterations; every change is a mark in the trace, so a replay
tells what happened.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from cbviz.board import player
from cbviz.board.cell import CELLS
from cbviz.board.controls import Control, ControlError, Knob
from cbviz.board.language import chosen
from cbviz.board.summary import Finish
from cbviz.checks import flag
from cbviz.checks import shown as shown_value
from cbviz.errors import CbvizError, PolicyError
from cbviz.experiments.alone import Setting
from cbviz.experiments.capacity import afforded
from cbviz.experiments.endless import Endless
from cbviz.experiments.how import graphs_or_not
from cbviz.experiments.lane import Lane, device_name, kv_blocks_for
from cbviz.experiments.live import BURST, Words, in_notebook, shown
from cbviz.experiments.notebook import prepare_host
from cbviz.experiments.progress import SilentProgress
from cbviz.experiments.steered import Steered
from cbviz.experiments.transport import Controlled
from cbviz.models import LoadedModel, as_loaded
from cbviz.paths import new_file, write_whole
from cbviz.policies import POLICIES, Policy, fresh, get, identity
from cbviz.trace import NOBODY, Mark, Trace
from cbviz.workload import Request, Workload

MOST_RATE = 100
"""Arrivals in 100 iterations, at most."""
MOST_SPREAD = 2.0
MOST_PACE = 240
MOST_WAITING = 10_000
"""Unfinished requests at which no burst may join any more: far more than can be served while one watches."""
BLOCK = 16


class Play(Controlled):
    """A playground that runs, ran, or waits to be started. Make one with `cbviz.play`.

    `set`, `burst`, `cancel`, `pause`, `resume`, `step_once` and `stop` may be called from any thread and take effect
    before the next iteration.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        policies: Sequence[Policy],
        *,
        slots: int,
        most_slots: int,
        rate: float,
        spread: float,
        mean: float,
        pace: float,
        iterations: int,
        seed: int,
        language: str | None,
        ignore_generation_config: bool = False,
    ) -> None:
        super().__init__("playground")
        self.model = loaded
        self.language = chosen(language)
        self.policies = {identity(policy)[0]: policy for policy in policies}
        self.iterations = iterations
        self.seed = seed
        self.knobs = {
            knob.name: knob
            for knob in (
                Knob("slots", "Slots", slots, 1, most_slots, label_zh="槽位数"),
                Knob("rate", "Arrivals in 100 iterations", rate, 0, MOST_RATE, label_zh="每 100 次迭代到达"),
                Knob("spread", "Spread of lengths", spread, 0, MOST_SPREAD, 0.1, label_zh="长度离散度"),
                Knob("policy", "Policy", next(iter(self.policies)), choices=tuple(self.policies), label_zh="策略"),
                Knob("pace", "Iterations a second, at most", pace, 1, MOST_PACE, label_zh="每秒最多迭代"),
            )
        }
        """What can be set, with the values at the start."""
        self.values: dict[str, float | str] = {
            name: knob.check(knob.value, whole=name == "slots") for name, knob in self.knobs.items()
        }
        """What is set now."""
        self._source = Endless(loaded, mean, seed)
        self._steered = Steered(fresh(policies[0]), slots)
        self._lane = self._make_lane(most_slots, ignore_generation_config)
        self._lock = threading.Lock()
        self._changes: dict[str, float | str] = dict(self.values)
        self._bursts = 0
        self._next_id = 1
        self._over = 0  # requests that have ended
        self._next_arrival = 0.0
        self._words = Words(loaded)

    def _make_lane(self, most_slots: int, ignore_generation_config: bool) -> Lane:
        """A lane with all the slots that may ever be open, each with room for the largest request."""
        first = Workload("playground", (self._source.draw(0, float(self.values["spread"])),), self.seed, "iterations")
        largest = Workload("playground", (self._source.largest,))
        one = kv_blocks_for(largest, 1, BLOCK)
        blocks = afforded(self.model, kv_blocks_for(largest, most_slots, BLOCK), BLOCK, least=one)
        setting = Setting(
            self.model,
            self._steered,
            largest,
            most_slots,
            BLOCK,
            blocks,
            lag=0,
            graphs=graphs_or_not(self.model),
            compiled=False,
            ignore_generation_config=ignore_generation_config,
        )
        self._first = tuple(first)
        return Lane(
            self.model,
            setting.executor(SilentProgress()),
            self._steered,
            first,
            slots=most_slots,
            block_size=BLOCK,
            kv_blocks=blocks,
            clock="alone",
        )

    # ------------------------------------------------------------------ what is asked of it

    def set(self, name: str, value: float | str) -> None:
        """Set a control: "slots", "rate", "spread", "policy" or "pace".

        Raises
        ------
        ControlError
            No such control, or a value that it cannot take.
        """
        if not isinstance(name, str) or name not in self.knobs:
            raise ControlError(f"there is no control {shown_value(name)}; there are {', '.join(self.knobs)}.")
        checked = self.knobs[name].check(value, whole=name == "slots")
        with self._lock:
            self.values[name] = self._changes[name] = checked
        if self.board is not None:
            self.board.show_knob(name, checked)

    def burst(self) -> None:
        """A handful of requests arrives at once. Raises ControlError while `MOST_WAITING` requests are unfinished."""
        with self._lock:
            if self._next_id - self._over + (self._bursts + 1) * BURST > MOST_WAITING:
                raise ControlError(f"{MOST_WAITING:,} requests wait already; a burst can join when some have ended.")
            self._bursts += 1

    def cancel(self, request: int) -> None:
        """End a request's output where it stands. Raises WorkloadError for an unknown id."""
        self._lane.engine.cancel(request)

    def obey(self, control: Control) -> None:
        """Do what was asked for on the board."""
        if control.action == "set":
            self.set(control.name, control.value if control.value is not None else "")
        elif control.action == "cancel":
            self.cancel(control.request if control.request is not None else NOBODY)
        else:
            acts = {"pause": self.pause, "resume": self.resume, "step": self.step_once, "stop": self.stop}
            acts.get(control.action, self.burst)()

    # ------------------------------------------------------------------ running

    def run(self) -> Play:
        """Run to the end in this thread."""
        with self._to_the_end(self._close_board):
            done = 0
            while done < self.iterations and self._may_go_on():
                began = perf_counter()
                self._take_changes()
                self._let_arrive()
                event = self._lane.step()
                if event is None:
                    self._let_time_pass()
                    continue
                done += 1
                self._over += len(event.finished) + len(event.cancelled)
                if self.board is not None:
                    self.board.push(0, event, self._words.of(event))
                self._rest(1 / float(self.values["pace"]) - (perf_counter() - began))
        return self

    def _take_changes(self) -> None:
        """What was set since the last iteration takes effect, and is noted in the trace."""
        with self._lock:
            changes, self._changes = self._changes, {}
            bursts, self._bursts = self._bursts, 0
        for name, value in changes.items():
            if name == "slots":
                self._steered.slots = int(value)
            elif name == "policy":
                self._steered.policy = fresh(self.policies[str(value)])
            elif name == "rate":
                # Waiting for a Poisson arrival has no memory: what is left of the gap is drawn anew.
                self._next_arrival = self._lane.arrival_clock + (self._source.gap(float(value)) if value else 0.0)
            opened = int(value) if name == "slots" else NOBODY
            written = value if isinstance(value, str) else f"{value:g}"
            self._lane.note(Mark(NOBODY, opened, f"{name} = {written}"))
        for _ in range(bursts):
            if self.stopped:
                break
            self._submit(BURST)

    def _let_arrive(self) -> None:
        rate = float(self.values["rate"])
        while rate and self._next_arrival <= self._lane.arrival_clock and not self.stopped:
            self._submit(1)
            self._next_arrival += self._source.gap(rate)

    def _let_time_pass(self) -> None:
        """No request is there. The lane's clock passes over such time; the next one comes now."""
        if self.values["rate"]:
            self._next_arrival = self._lane.arrival_clock
        else:
            self._rest(0.05)

    def _submit(self, count: int) -> None:
        spread = float(self.values["spread"])
        drawn = [self._source.draw(self._next_id + i, spread) for i in range(count)]
        self._next_id += count
        self._lane.submit(*drawn)
        self._show(drawn)

    def _show(self, requests: Sequence[Request]) -> None:
        if self.board is not None:
            self.board.add_requests(map(shown, requests))

    # ------------------------------------------------------------------ what is seen

    def watched(self) -> Any:
        """Give the playground a live board, before it starts, and return the board. Needs the notebook extra."""
        from cbviz.board.widget import TRANSPORT, LaneInfo, LiveBoard  # here, so that bare machines can import this

        prepare_host()
        lane = self._lane
        self.board = LiveBoard(
            [LaneInfo(self._steered.name, self._steered.summary, lane.slots, lane.kv_blocks)],
            title=TITLES[self.language],
            subtitle=" · ".join([self.model.name, device_name(self.model.device), f"seed {self.seed}"]),
            language=self.language,
            on_control=self.obey,
            actions=(*TRANSPORT, "burst", "cancel"),
            knobs=tuple(self.knobs.values()),
        )
        self._show(self._first)
        CELLS.started(self)
        return self.board

    def _close_board(self) -> None:
        if self.board is None:
            return
        if self.failure is None:
            self.board.finish(self.finish())
        else:
            self.board.fail(str(self.failure))
        self.outputs.replace(self.kept())

    def _until_shown(self) -> None:
        """It may go on for ever: wait until there is something to see."""
        self._going.set()
        self._told.wait(UNATTENDED)

    @property
    def trace(self) -> Trace:
        """What has happened so far."""
        return self._lane.trace()

    def finish(self) -> Finish:
        """The end as the board shows it."""
        return Finish(clock="alone", stopped=self.stopped, note=str(self.failure or ""))

    def _has_run(self) -> bool:
        return True

    def to_html(self, path: str | Path, *, language: str | None = None) -> Path:
        """Write one page that replays the run, without a kernel or a network; returns its path."""
        spoken = self.language if language is None else language
        page = player.html([self.trace], self.finish(), title=TITLES[chosen(spoken)], language=spoken)
        return write_whole(new_file(path), page)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """In a notebook: the live board while it runs, afterwards a picture that upgrades itself to the player."""
        if self.running and self.board is not None:
            return self.board._repr_mimebundle_()
        return self.kept()

    def kept(self) -> dict[str, str]:
        """What a notebook keeps of it: a mime bundle."""
        return player.mimebundle([self.trace], self.finish(), title=TITLES[self.language], language=self.language)

    def __repr__(self) -> str:
        return f"<Play of {self.model.name}: {', '.join(f'{name} {value}' for name, value in self.values.items())}>"


UNATTENDED = 4.0
"""Seconds of a playground that a notebook shows which is run where no front end can show the board."""

TITLES = {"en": "Playground", "zh": "试验场"}


def play(
    model: str | LoadedModel = "tiny",
    policy: str | Policy = "continuous",
    *,
    slots: int = 8,
    most_slots: int = 16,
    rate: float = 20,
    spread: float = 1.0,
    mean: float = 40.0,
    pace: float = 30,
    policies: Sequence[str | Policy] = tuple(POLICIES),
    iterations: int = 20_000,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    ignore_generation_config: bool = False,
    live: bool | None = None,
    language: str | None = None,
    run: bool = True,
) -> Play:
    """A live lane to play with: change slots, arrivals, lengths and policy while the engine runs.

    Parameters
    ----------
    model
        As for `cbviz.race`.
    policy, policies
        The policy at the start, and those to choose from: names or policy objects. Whenever one takes over, it does so
        as a fresh copy of what was handed over.
    slots, most_slots
        Slots that are open at the start, and the most that can be opened. The engine has `most_slots`; those that are
        closed count neither as room nor as waste.
    rate
        Requests that arrive in 100 iterations, on average; 0 to 100. Arrivals are Poisson.
    spread
        Standard deviation / mean of output lengths, 0 to 2; 0 makes them equal, 1 is the exponential law.
    mean
        Mean output length in tokens, 1 to 320. With as many slots as `rate` · `mean` / 100 all of them are busy.
    pace
        Iterations a second, at most: waiting between two iterations counts on no clock.
    iterations
        After how many iterations it ends, if it is not stopped before.
    seed, device, dtype, ignore_generation_config, live, language
        As for `cbviz.race`. The same seed and the same changes before the same iterations give the same schedule.
    run
        False returns the playground before its first iteration: call `run()`, or `start()` and `wait()`.

    Raises
    ------
    CbvizError
        Anything that makes no sense, in one sentence, before the first iteration.
    """
    if isinstance(policies, str) or not isinstance(policies, Sequence):
        raise PolicyError(f"policies must be a list of policies, not {policies!r}.")
    named: dict[str, Policy] = {}
    for entry in (policy, *policies):
        found = fresh(get(entry))
        named.setdefault(identity(found)[0], found)
    for name, value in (("slots", slots), ("most_slots", most_slots), ("iterations", iterations), ("seed", seed)):
        least = 0 if name == "seed" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise CbvizError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    if isinstance(mean, bool) or not isinstance(mean, int | float) or not 1 <= mean <= 320:
        raise CbvizError(f"mean must be a number of tokens from 1 to 320, not {mean!r}.")
    live = in_notebook() if live is None else flag("live", live)
    flag("ignore_generation_config", ignore_generation_config)
    if live:
        CELLS.begin()
    loaded = as_loaded(model, device=device, dtype=dtype)
    made = Play(
        loaded,
        list(named.values()),
        slots=slots,
        most_slots=max(most_slots, slots),
        rate=rate,
        spread=spread,
        mean=mean,
        pace=pace,
        iterations=iterations,
        seed=seed,
        language=language,
        ignore_generation_config=ignore_generation_config,
    )
    if live:
        made.watched()
        return made.start() if run else made
    return made.run() if run else made
