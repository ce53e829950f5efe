"""A race while it runs: the lanes take turns on one device, or each runs undisturbed; `cbviz.race` makes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cbviz.checks import counted, whole
from cbviz.config import NO_OPTIONS, Backend, EngineConfig, KVOptions, Speculation
from cbviz.errors import CapacityError, CbvizError
from cbviz.events import Iteration
from cbviz.limits import MOST_SLOTS
from cbviz.measure.standings import Compare
from cbviz.models import LoadedModel
from cbviz.policies import Policy, fresh
from cbviz.run.answers import divergences
from cbviz.run.build import ModelOrGraphs, build_executor, logit_rules, reports_captures
from cbviz.run.capacity import afforded, check_swap, kv_blocks_for
from cbviz.run.how import choose_backend
from cbviz.run.lane import Lane
from cbviz.run.outlook import longest_run, runs_within
from cbviz.run.progress import Progress, StoppableProgress
from cbviz.run.race_result import RaceResult
from cbviz.run.reference import compared, is_tested
from cbviz.workload import Request, Workload


class Race(RaceResult):
    """A race: not started, running, ended or stopped. Make one with `cbviz.race`.

    Results (`lanes`, `speedup`, …) wait for the end. `stop()` ends the race after the iteration in flight and keeps
    valid traces of everything that ran.

    Parameters
    ----------
    loaded
        The model.
    policies
        One for each lane.
    workload
        What every lane serves.
    slots, block_size, kv_blocks, repeats, progress, language, backend, ignore_generation_config, compare
        As for `cbviz.race`, checked; `kv_blocks` None takes as many as the run needs and the device affords.
    watched
        Whether a live board shows it: the lanes then take turns, each with a cache of its own.
    enough
        Seconds of timed runs after which no more start; None runs all `repeats`.
    kv
        Prefix cache, preemption and swap blocks.
    speculations
        How each lane drafts tokens; empty if none does.

    Raises
    ------
    CbvizError
        Slots, KV blocks, a backend or a language that make no sense, or do not fit on the device.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        policies: Sequence[Policy],
        workload: Workload,
        *,
        slots: int,
        block_size: int,
        kv_blocks: int | None,
        repeats: int,
        progress: Progress,
        watched: bool = False,
        enough: float | None = None,
        language: str | None = None,
        kv: KVOptions = NO_OPTIONS,
        backend: str | None = None,
        ignore_generation_config: bool = False,
        compare: Compare = "iterations",
        speculations: Sequence[Speculation | None] = (),
    ) -> None:
        super().__init__(
            loaded,
            policies,
            workload,
            slots=slots,
            repeats=repeats,
            language=language,
            backend=backend,
            ignore_generation_config=ignore_generation_config,
            compare=compare,
            speculations=speculations,
        )
        self.block_size = block_size
        self.kv = kv
        self._enough = enough
        self._asked_repeats = repeats
        self._progress = progress
        self._watched = watched
        whole("slots", slots, 1, MOST_SLOTS, error=CapacityError)
        caches = len(policies) if self._in_turns else 1
        self.kv_blocks = afforded(
            loaded,
            kv_blocks_for(workload, slots if watched else min(slots, len(workload)), block_size),
            block_size,
            asked=kv_blocks,
            least=kv_blocks_for(workload, 1, block_size),
            caches=caches,
        )
        check_swap(loaded, kv.swap_blocks, block_size)
        drafting = next((rule for rule in self.speculations if rule is not None), None)
        self.backend: Backend = choose_backend(loaded, "sdpa" if drafting is not None and backend is None else backend)
        """What computes, in every lane (see `cbviz.config.EngineConfig`)."""
        self.config = EngineConfig(
            slots=slots,
            blocks=self.kv_blocks,
            block_size=block_size,
            kv=kv,
            backend=self.backend,  # never compiled: a race is over before that would have paid off
            ignore_generation_config=ignore_generation_config,
            speculation=drafting,
        )
        """How every lane is set up, but for its own speculation."""
        self.rules = logit_rules(loaded, self.config)
        self.highest_id = max(workload.by_id)
        self._turns: tuple[Lane, ...] = ()
        """The lanes while they take turns."""
        self.executors: dict[int, ModelOrGraphs] = {}
        self.watch: Callable[[int, Lane, Any], None] = _unwatched
        """Called with lane number, lane and `Iteration` after every iteration of a watched race."""
        self.ended: Callable[[Race], None] = _nothing
        """Called when the race has ended or was stopped."""
        self.filled: Callable[[], None] = lambda: None
        """Called before a restart, to put the requests on the empty board."""

    @property
    def _in_turns(self) -> bool:
        """Whether the lanes take turns on the device, one iteration each, before or instead of running alone."""
        return self._watched or not self.repeats

    def run(self) -> Race:
        """Run to the end in this thread.

        Returns
        -------
        Race
            This race, ended. CbvizError if it was started before.
        """
        with self._to_the_end(lambda: self.ended(self)):
            try:
                if self._in_turns:
                    self._race_in_turns()
                if not self.stopped:
                    self._time_alone()
                if not self.stopped:
                    self._compare_answers()
            finally:
                self._progress.close()
        return self

    def _forget(self) -> None:
        """As before the first iteration; what was learned about the model stays."""
        self.repeats = self._asked_repeats
        self._runs = [[] for _ in self.policies]
        self._raced, self._divergences, self._seen = [], [], ()
        self.joined.clear()
        self.highest_id = max(self.workload.by_id)

    def _fill_board(self) -> None:
        self.filled()

    def prepare(self) -> None:
        """Check what needs no computing, make the first lane's executor, and compare one short answer with `generate`.

        Raises
        ------
        CbvizError
            A request can never fit, the KV cache does not fit on the device, or the model's answers differ from those
            of `generate`.
        """
        self._lane(0, "alone")
        if not is_tested(self.model, self.rules):
            self.reference = compared(self.model, self._executor(0), config=self.config)

    def cancel(self, request: int) -> None:
        """End a request in every running lane and keep its output so far.

        Parameters
        ----------
        request
            Its id; WorkloadError if there is no such request.
        """
        for lane in self._turns:
            lane.engine.cancel(request)

    def submit(self, *requests: Request) -> None:
        """Submit more requests to every lane of a race that takes turns.

        Parameters
        ----------
        requests
            With ids that the race does not have yet.

        Raises
        ------
        CbvizError
            No lane is running, or a request is refused.
        """
        if not self._turns:
            raise CbvizError("no lane is running; requests can join only while the lanes run.")
        if not requests:
            return
        for lane in self._turns:
            lane.submit(*requests)
        self.joined += requests
        self.highest_id = max(self.highest_id, *(request.id for request in requests))

    def _lane(self, number: int, clock: str) -> Lane:
        self._served[number] = fresh(self.policies[number])
        executor = self._executor(number)
        config = replace(self.config, speculation=self.speculations[number])
        return Lane(self.model, executor, self._served[number], self.workload, config=config, clock=clock)

    def _executor(self, number: int) -> ModelOrGraphs:
        """Lanes that take turns need a cache each; lanes that run one after another share one executor."""
        mine = number if self._in_turns else 0
        if mine not in self.executors:
            progress = StoppableProgress(self._keep_going, self._progress)
            try:
                captured = reports_captures(progress)
                self.executors[mine] = build_executor(self.model, self.config, self.workload, captured)
            except BaseException:
                self._progress.close()  # before the race runs, nothing else does
                raise
        return self.executors[mine]

    def _race_in_turns(self) -> None:
        """Run all lanes in turn on one device: the lane whose clock is behind runs next."""
        lanes = [self._lane(number, "lane") for number in range(len(self.policies))]
        self._turns = self._seen = tuple(lanes)
        for name in self.names:
            self._progress.start(name, len(self.workload))
        going = list(range(len(lanes)))
        try:
            while going and self._may_go_on():
                number = min(going, key=lambda n: lanes[n].now)
                event = lanes[number].step()
                if event is None:
                    going.remove(number)
                    continue
                self.watch(number, lanes[number], event)
                self._progress.advance(self.names[number], len(event.finished))
        finally:
            self._turns = ()
            self._raced, self._seen = [lane.trace() for lane in lanes], ()

    def _time_alone(self) -> None:
        """Run every lane undisturbed, `repeats` times; the order rotates so that no lane is always first."""
        if self.repeats:
            self._say_how_long(self._warm_up())
        for repeat in range(self.repeats):
            if self._enough is not None and sum(run.seconds for runs in self._runs for run in runs) > self._enough:
                self.repeats = repeat
                return
            order = range(len(self.policies)) if repeat % 2 == 0 else reversed(range(len(self.policies)))
            for number in order:
                self._keep_going()
                name = self.names[number]
                self._progress.start(name, len(self.workload))
                lane = self._lane(number, "alone")
                note = f"run {repeat + 1} of {self.repeats}" if self.repeats > 1 else ""
                for event in lane.run():
                    self._progress.advance(name, len(event.finished), note)
                    if not self._may_go_on():
                        break
                if self.stopped:
                    if not self._raced:
                        self._runs[number].append(lane.trace())
                    return
                self._runs[number].append(lane.trace())

    def _warm_up(self) -> list[Iteration]:
        """Run a few iterations before the timed ones: first calls load libraries and fill caches."""
        lane = self._lane(0, "alone")
        events: list[Iteration] = []
        for _ in range(4):
            self._keep_going()
            if (event := lane.step()) is not None:
                events.append(event)
        return events

    def _say_how_long(self, first: Sequence[Iteration]) -> None:
        """Report an upper bound on the length of the timed runs, extrapolated from the first iterations."""
        lanes, requests = len(self.policies), len(self.workload)
        each = lanes * longest_run(self.workload, self.slots, first)
        runs = runs_within(self.repeats, each, self._enough)
        of = f"{counted(runs, 'run')} × {counted(lanes, 'lane')} of {counted(requests, 'request')} each"
        self._progress.expect(runs * each, runs * lanes * requests, of)

    def _compare_answers(self) -> None:
        for trace in self.traces[1:]:
            self._keep_going()
            self._divergences += divergences(self.model.model, self.requests, self.traces[0], trace, self.rules)


def _unwatched(number: int, lane: Lane, event: Any) -> None:
    """The default `watch`: no board is attached."""


def _nothing(race: Race) -> None:
    """The default `ended`: nothing to do at the end."""
