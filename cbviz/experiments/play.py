"""The playground: one lane that goes on until somebody stops it, with controls that act on the running engine.

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
from cbviz.board.controls import Control, ControlError, Knob
from cbviz.board.language import chosen
from cbviz.board.summary import Finish
from cbviz.engine.graphs import why_no_graphs
from cbviz.errors import CbvizError, PolicyError
from cbviz.experiments.alone import Setting
from cbviz.experiments.capacity import afforded
from cbviz.experiments.endless import Endless
from cbviz.experiments.lane import Lane, device_name, kv_blocks_for
from cbviz.experiments.live import BURST, Words, in_notebook, shown
from cbviz.experiments.notebook import prepare_host
from cbviz.experiments.progress import SilentProgress
from cbviz.experiments.steered import Steered
from cbviz.experiments.transport import Controlled
from cbviz.models import LoadedModel, load
from cbviz.policies import POLICIES, Policy, get
from cbviz.trace import NOBODY, Mark, Trace
from cbviz.workload import Request, Workload

MOST_RATE = 100
"""Arrivals in 100 iterations, at most."""
MOST_SPREAD = 2.0
MOST_PACE = 240
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
    ) -> None:
        super().__init__("playground")
        self.model = loaded
        self.language = chosen(language)
        self.policies = {policy.name: policy for policy in policies}
        self.iterations = iterations
        self.seed = seed
        self.knobs = {
            knob.name: knob
            for knob in (
                Knob("slots", "Slots", slots, 1, most_slots, label_zh="槽位数"),
                Knob("rate", "Arrivals in 100 iterations", rate, 0, MOST_RATE, label_zh="每 100 次迭代到达"),
                Knob("spread", "Spread of lengths", spread, 0, MOST_SPREAD, 0.1, label_zh="长度离散度"),
                Knob("policy", "Policy", policies[0].name, choices=tuple(self.policies), label_zh="策略"),
                Knob("pace", "Iterations a second, at most", pace, 1, MOST_PACE, label_zh="每秒最多迭代"),
            )
        }
        """What can be set, with the values at the start."""
        self.values: dict[str, float | str] = {
            name: knob.check(knob.value, whole=name == "slots") for name, knob in self.knobs.items()
        }
        """What is set now."""
        self._source = Endless(loaded, mean, seed)
        self._steered = Steered(policies[0], slots)
        self._lane = self._make_lane(most_slots)
        self._lock = threading.Lock()
        self._changes: dict[str, float | str] = dict(self.values)
        self._bursts = 0
        self._next_id = 1
        self._next_arrival = 0.0
        self._words = Words(loaded)

    def _make_lane(self, most_slots: int) -> Lane:
        """A lane with all the slots that may ever be open, each with room for the largest request."""
        first = Workload("playground", (self._source.draw(0, float(self.values["spread"])),), self.seed, "iterations")
        largest = Workload("playground", (self._source.largest,))
        one = kv_blocks_for(largest, 1, BLOCK)
        blocks = afforded(self.model, kv_blocks_for(largest, most_slots, BLOCK), BLOCK, least=one)
        graphs = self.model.device.type == "cuda" and why_no_graphs(self.model.model) is None
        setting = Setting(self.model, self._steered, largest, most_slots, BLOCK, blocks, 0, graphs, False)
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

    # ------------------------------------------------------------------ what people do

    def set(self, name: str, value: float | str) -> None:
        """Set a control: "slots", "rate", "spread", "policy" or "pace".

        Raises
        ------
        ControlError
            No such control, or a value that it cannot take.
        """
        if name not in self.knobs:
            raise ControlError(f"there is no control {name!r}; there are {', '.join(self.knobs)}.")
        checked = self.knobs[name].check(value, whole=name == "slots")
        with self._lock:
            self.values[name] = self._changes[name] = checked
        if self.board is not None:
            self.board.show_knob(name, checked)

    def burst(self) -> None:
        """A handful of requests arrives at once."""
        with self._lock:
            self._bursts += 1

    def cancel(self, request: int) -> None:
        """End a request's output where it stands. Raises WorkloadError for a stranger."""
        self._lane.engine.cancel(request)

    def obey(self, control: Control) -> None:
        """Do what somebody asked for on the board."""
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
                    self._wait_for_somebody()
                    continue
                done += 1
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
                self._steered.policy = self.policies[str(value)]
            elif name == "rate":
                # Waiting for a Poisson arrival has no memory: what is left of the gap is drawn anew.
                self._next_arrival = self._lane.arrival_clock + (self._source.gap(float(value)) if value else 0.0)
            opened = int(value) if name == "slots" else NOBODY
            written = value if isinstance(value, str) else f"{value:g}"
            self._lane.note(Mark(NOBODY, opened, f"{name} = {written}"))
        for _ in range(bursts * BURST):
            self._submit()

    def _let_arrive(self) -> None:
        rate = float(self.values["rate"])
        while rate and self._next_arrival <= self._lane.arrival_clock:
            self._submit()
            self._next_arrival += self._source.gap(rate)

    def _wait_for_somebody(self) -> None:
        """Nobody is there. The lane's clock passes over such time; who comes next comes now."""
        if self.values["rate"]:
            self._next_arrival = self._lane.arrival_clock
        else:
            self._rest(0.05)

    def _submit(self) -> None:
        request = self._source.draw(self._next_id, float(self.values["spread"]))
        self._next_id += 1
        self._lane.submit(request)
        self._show([request])

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
        return self.board

    def _close_board(self) -> None:
        if self.board is None:
            return
        if self.failure is None:
            self.board.finish(self.finish())
        else:
            self.board.fail(str(self.failure))
        self.outputs.replace(self.kept())

    @property
    def trace(self) -> Trace:
        """What has happened so far."""
        return self._lane.trace()

    def finish(self) -> Finish:
        """The end as the board shows it."""
        return Finish(clock="alone", stopped=self.stopped)

    def to_html(self, path: str | Path, *, language: str | None = None) -> Path:
        """Write one page that replays the run, without a kernel or a network; returns its path."""
        spoken = self.language if language is None else language
        page = player.html([self.trace], self.finish(), title=TITLES[chosen(spoken)], language=spoken)
        target = Path(path)
        target.write_text(page, encoding="utf-8")
        return target

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
        The policy at the start, and those to choose from: names or policy objects.
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
        After how many iterations it ends, if nobody stops it before.
    seed, device, dtype, live, language
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
        found = get(entry)
        named.setdefault(found.name, found)
    for name, value in (("slots", slots), ("most_slots", most_slots), ("iterations", iterations), ("seed", seed)):
        least = 0 if name == "seed" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise CbvizError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    if isinstance(mean, bool) or not isinstance(mean, int | float) or not 1 <= mean <= 320:
        raise CbvizError(f"mean must be a number of tokens from 1 to 320, not {mean!r}.")
    loaded = load(model, device=device, dtype=dtype) if isinstance(model, str) else model
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
    )
    if in_notebook() if live is None else live:
        made.watched()
        return made.start() if run else made
    return made.run() if run else made
