"""The race: the same requests, the same model, under different policies, side by side.

Two kinds of clock, and the result says which it shows. *Lane* clocks: the lanes take turns on one device, the one whose
clock is behind goes next, and each clock advances by the measured duration of its own iterations only; that is what
people watch live. *Alone*: every lane runs undisturbed, several times; that is where reported speed-ups come from.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbviz.board import player
from cbviz.board.cell import CELLS
from cbviz.board.language import chosen
from cbviz.board.summary import Finish
from cbviz.checks import flag, shown
from cbviz.engine import Executor
from cbviz.engine.graphs import GraphExecutor
from cbviz.engine.logit_rules import NO_RULES, LogitRules
from cbviz.engine.model_executor import ModelExecutor
from cbviz.errors import CapacityError, CbvizError, MeasureError, PolicyError, WorkloadError
from cbviz.experiments.alone import Setting
from cbviz.experiments.answers import Divergence, divergences
from cbviz.experiments.capacity import afforded, check_swap
from cbviz.experiments.how import graphs_or_not, how_it_runs
from cbviz.experiments.lane import NO_OPTIONS, Lane, device_name, kv_blocks_for
from cbviz.experiments.outlook import longest_run, runs_within
from cbviz.experiments.progress import Progress, SilentProgress, StoppableProgress
from cbviz.experiments.reference import Reference, compared, is_tested
from cbviz.experiments.transport import Controlled
from cbviz.experiments.why import Why, lane_why
from cbviz.experiments.workloads import choose_workload
from cbviz.limits import MOST_BLOCK_SIZE, MOST_EXACT, MOST_REPEATS, MOST_SLOTS, whole
from cbviz.measure.compare import same_answers
from cbviz.measure.side_by_side import SideBySide, side_by_side
from cbviz.memory import KVOptions, Preemption
from cbviz.models import LoadedModel, as_loaded
from cbviz.paths import make_folder, new_file, write_whole
from cbviz.policies import Policy, fresh, get, identity
from cbviz.trace import Iteration, Trace
from cbviz.workload import Request, Workload
from cbviz.workload.prompts import Prompt

MOST_LANES = 4
REPEATS = 3
"""Timed runs of every lane of a race that nobody watches."""
ENOUGH = 120.0
"""Seconds of timed runs after which a race that was not told how many to make begins no further one."""


@dataclass(frozen=True, slots=True)
class LaneResult:
    """What one policy did with the workload. `seconds` is the median of the repeats, `trace` the run that took it.

    `policy_object` is the copy of the policy that ran, in the last repeat: what it remembers, it remembers of that run.
    """

    policy: str
    iterations: int
    seconds: float
    output_tokens: int
    occupancy: float
    tokens_per_second: float
    trace: Trace
    policy_object: Policy


class Race(Controlled):
    """A race that runs, ran, or was stopped. Make one with `cbviz.race`.

    Results (`lanes`, `speedup`, …) wait for the end; `stop()` ends it after the iteration in flight and keeps valid
    traces of what had been run.
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
        ignore_generation_config: bool = False,
    ) -> None:
        super().__init__("race")
        self.language = chosen(language)
        self.model = loaded
        self.policies = tuple(policies)
        self.workload = workload
        self.slots = slots
        self.block_size = block_size
        self.kv = kv
        self.ignore_generation_config = ignore_generation_config
        self.rules = NO_RULES if ignore_generation_config else LogitRules.of(loaded.model)
        """What the model's generation config does to logits, in every lane."""
        self.reference: Reference | None = None
        """One short answer compared with transformers' own, by `check`; None for models that the tests compare."""
        self.repeats = repeats
        """Timed runs of every lane: as many as asked for, or as many as were begun within `enough` seconds."""
        self._enough = enough
        self.names = _distinct([identity(policy)[0] for policy in policies])
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
        self._runs: list[list[Trace]] = [[] for _ in policies]
        self._raced: list[Trace] = []
        self._served: dict[int, Policy] = {}
        """The copy of each lane's policy that served last."""
        self._divergences: list[Divergence] = []
        self.joined: list[Request] = []
        """Requests that came while it ran."""
        self.highest_id = max(workload.by_id)
        self._turns: tuple[Lane, ...] = ()
        """The lanes while they take turns."""
        self._seen: tuple[Lane, ...] = ()
        """The same, for looks, until their traces are kept."""
        self._executors: dict[int, Executor] = {}
        self.watch: Callable[[int, Lane, Any], None] = _nobody
        """Called with lane number, lane and `Iteration` after every iteration of a watched race."""
        self.ended: Callable[[Race], None] = _nothing
        """Called once, when everything is done or the race was stopped."""

    # ------------------------------------------------------------------ running

    @property
    def _in_turns(self) -> bool:
        """Whether the lanes share the device, an iteration each, before or instead of running alone."""
        return self._watched or not self.repeats

    def run(self) -> Race:
        """Run to the end in this thread."""
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

    def check(self) -> None:
        """Raise CbvizError now for what no lane could serve or would serve wrongly.

        That is requests that never fit, a cache that has no room, a model whose answers are not those of `generate`.
        """
        executor = self._lane(0, "alone").engine.executor
        if not is_tested(self.model, self.rules) and isinstance(executor, ModelExecutor | GraphExecutor):
            self.reference = compared(
                self.model, executor, slots=self.slots, blocks=self.kv_blocks, block_size=self.block_size
            )

    def cancel(self, request: int) -> None:
        """End a request's output where it stands, in every lane that runs. Raises WorkloadError for a stranger."""
        for lane in self._turns:
            lane.engine.cancel(request)

    def submit(self, *requests: Request) -> None:
        """More requests, for every lane of a race that takes turns. Raises CbvizError while none runs."""
        if not self._turns:
            raise CbvizError("no lane runs; requests can only join while they run.")
        if not requests:
            return
        for lane in self._turns:
            lane.submit(*requests)
        self.joined += requests
        self.highest_id = max(self.highest_id, *(request.id for request in requests))

    def _lane(self, number: int, clock: str) -> Lane:
        # Lanes that take turns need a cache each; those that run one after the other can have the same.
        mine = number if self._in_turns else 0
        if mine not in self._executors:
            self._executors[mine] = self._executor(self.policies[number])
        self._served[number] = fresh(self.policies[number])
        return Lane(
            self.model,
            self._executors[mine],
            self._served[number],
            self.workload,
            slots=self.slots,
            block_size=self.block_size,
            kv_blocks=self.kv_blocks,
            clock=clock,
            kv=self.kv,
        )

    def _executor(self, policy: Policy) -> Executor:
        """CUDA graphs where the model and the device allow them, else eager passes."""
        setting = Setting(
            loaded=self.model,
            policy=policy,
            workload=self.workload,
            slots=self.slots,
            block_size=self.block_size,
            kv_blocks=self.kv_blocks,
            lag=0,
            graphs=graphs_or_not(self.model),
            compiled=False,  # a race is over before compiling would have paid off
            ignore_generation_config=self.ignore_generation_config,
        )
        return setting.executor(StoppableProgress(self._keep_going))

    def _race_in_turns(self) -> None:
        """All lanes at once on one device: the lane whose clock is behind goes next."""
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
        """Every lane undisturbed, `repeats` times; the order turns round so that no lane is always first."""
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
        """A few iterations before the timed ones: first calls load libraries and fill caches."""
        lane = self._lane(0, "alone")
        events: list[Iteration] = []
        for _ in range(4):
            self._keep_going()
            if (event := lane.step()) is not None:
                events.append(event)
        return events

    def _say_how_long(self, first: Sequence[Iteration]) -> None:
        """Have the progress say how long the timed runs take at most, as the first iterations went."""
        lanes, requests = len(self.policies), len(self.workload)
        each = lanes * longest_run(self.workload, self.slots, first)
        runs = runs_within(self.repeats, each, self._enough)
        of = f"{runs} run{'s' * (runs > 1)} × {lanes} lane{'s' * (lanes > 1)} of {requests:,} requests each"
        self._progress.expect(runs * each, runs * lanes * requests, of)

    @property
    def requests(self) -> tuple[Request, ...]:
        """All of them: the workload, and those that joined while it ran."""
        return (*self.workload, *self.joined)

    def _compare_answers(self) -> None:
        for trace in self.traces[1:]:
            self._keep_going()
            self._divergences += divergences(self.model.model, self.requests, self.traces[0], trace, self.rules)

    # ------------------------------------------------------------------ results

    @property
    def notes(self) -> tuple[str, ...]:
        """How the lanes are computed, in sentences, where that needs saying (see `cbviz.experiments.how`)."""
        return how_it_runs(self.model)

    @property
    def clock(self) -> str:
        """ "alone" if the times come from undisturbed runs, "lane" if they come from taking turns."""
        return "alone" if all(self._runs) else "lane"

    @property
    def traces(self) -> tuple[Trace, ...]:
        """One trace a lane: of its undisturbed run with the median duration, or of the race in turns.

        While the lanes take turns: what has happened so far.
        """
        if seen := self._seen:
            return tuple(lane.trace() for lane in seen)
        if self.clock == "lane":
            return tuple(self._raced) or tuple(trace for runs in self._runs for trace in runs[:1])
        return tuple(sorted(runs, key=lambda t: t.seconds)[(len(runs) - 1) // 2] for runs in self._runs)

    @property
    def lanes(self) -> tuple[LaneResult, ...]:
        """One result a policy, in the order in which they were given."""
        self.wait()
        return tuple(self._result(number) for number in range(len(self.traces)))

    def _result(self, number: int) -> LaneResult:
        trace, runs = self.traces[number], self._runs[number]
        seconds = statistics.median(run.seconds for run in runs) if self.clock == "alone" else trace.seconds
        return LaneResult(
            policy=self.names[number],
            iterations=len(trace.iterations),
            seconds=seconds,
            output_tokens=trace.output_tokens,
            occupancy=trace.occupancy,
            tokens_per_second=trace.output_tokens / seconds if seconds else 0.0,
            trace=trace,
            policy_object=self._served[number],
        )

    @property
    def iteration_ratio(self) -> float:
        """Iterations of the first lane / iterations of the last."""
        return self.lanes[0].iterations / self.lanes[-1].iterations

    @property
    def speedup(self) -> float:
        """Time of the first lane / time of the last: the median over the repeats."""
        self.wait()
        return statistics.median(self._speedups())

    @property
    def speedup_range(self) -> tuple[float, float]:
        """The smallest and the largest speed-up among the repeats."""
        self.wait()
        return min(self._speedups()), max(self._speedups())

    def _speedups(self) -> list[float]:
        if self.clock == "alone":
            return [a.seconds / b.seconds for a, b in zip(self._runs[0], self._runs[-1], strict=True)]
        return [self.traces[0].seconds / self.traces[-1].seconds]

    @property
    def identical_outputs(self) -> bool:
        """Whether every request got the same tokens in every lane."""
        self.wait()
        return not self.stopped and not self._divergences

    @property
    def divergences(self) -> tuple[Divergence, ...]:
        """Where outputs of other lanes part from the first lane's."""
        self.wait()
        return tuple(self._divergences)

    def to_json(self) -> dict[str, Any]:
        """The result as plain numbers and strings."""
        low, high = self.speedup_range
        return {
            "model": self.model.name,
            "weights": self.model.weights,
            "device": device_name(self.model.device),
            "notes": list(self.notes),
            "logit_rules": self.rules.chosen(),
            "ignore_generation_config": self.ignore_generation_config,
            "reference": None if self.reference is None else self.reference.to_json(),
            "slots": self.slots,
            "requests": len(self.requests),
            "seed": self.workload.seed,
            "clock": self.clock,
            "lag": self.traces[0].meta.lag,
            "repeats": self.repeats,
            "lanes": [
                {
                    "policy": lane.policy,
                    "iterations": lane.iterations,
                    "seconds": lane.seconds,
                    "output_tokens": lane.output_tokens,
                    "occupancy": lane.occupancy,
                    "tokens_per_second": lane.tokens_per_second,
                }
                for lane in self.lanes
            ],
            "table": self.table().to_json(),
            "iteration_ratio": self.iteration_ratio,
            "speedup": self.speedup,
            "speedup_range": [low, high],
            "identical_outputs": self.identical_outputs,
            "divergences": [{"request": d.request, "position": d.position, "gap": d.gap} for d in self.divergences],
        }

    def table(self) -> SideBySide:
        """Every lane in numbers: iterations, time, occupancy, KV memory, stalls, preemptions, TTFT and ITL.

        Of the trace of each lane: the run with the median time, where there were several.
        """
        self.settle()
        return side_by_side(*self.traces, names=self.names[: len(self.traces)], language=self.language)

    def why(self, request: int | None = None, iteration: int = 0, lane: str | None = None) -> Why:
        """Why a request was let in, kept waiting, stalled or thrown out in an iteration: in every lane, or in one.

        `request` None asks about everybody who waited then. A lane that had ended by then is left out. The race must
        have ended. Raises MeasureError for an unknown request, iteration or lane (see `cbviz.experiments.why`).
        """
        self.settle()
        if lane is not None and lane not in self.names:
            raise MeasureError(f"there is no lane {lane!r}; choose one of {', '.join(self.names)}.")
        asked = [n for n, name in enumerate(self.names[: len(self.traces)]) if lane in (None, name)]
        longest = max(asked, key=lambda n: len(self.traces[n].iterations))
        prompts = {r.id: r.prompt for r in self.requests}
        return Why(
            tuple(
                lane_why(self.traces[n], self.policies[n], request, iteration, prompts, self.names[n])
                for n in asked
                if n == longest or iteration < len(self.traces[n].iterations)
            ),
            self.language,
        )

    def finish(self) -> Finish:
        """The result as the board shows it: the speed-up, its two parts, and the same-answers check."""
        if self.stopped or len(self.lanes) < 2:
            return Finish(clock=self.clock, stopped=self.stopped)
        identical, compared = same_answers(*self.traces)
        return Finish(
            speedup=self.speedup,
            iteration_ratio=self.iteration_ratio,
            cost_ratio=self.speedup / self.iteration_ratio,
            speedup_range=self.speedup_range if self.repeats > 1 else None,
            repeats=max(1, self.repeats),
            identical=identical,
            compared=compared,
            clock=self.clock,
        )

    def to_html(self, path: str | Path, *, language: str | None = None) -> Path:
        """Write one page that replays the race, without a kernel or a network; returns its path."""
        self.settle()
        spoken = self.language if language is None else language
        target = new_file(path)
        return write_whole(target, player.html(self.traces, self._finish(), language=spoken))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """In a notebook: the live board while it runs, afterwards a picture that upgrades itself to the player."""
        if self.running and self.board is not None:
            return self.board._repr_mimebundle_()
        self.settle()
        return self.kept()

    def kept(self) -> dict[str, str]:
        """What a notebook keeps of a race, however it ended: a mime bundle."""
        if not self._has_run():
            return {"text/plain": str(self.failure or self)}
        return player.mimebundle(self.traces, self._finish(), language=self.language)

    def _finish(self) -> Finish:
        """How it ended, or that it has not ended; it may have broken."""
        if self.running:
            return Finish(clock=self.clock)
        return self.finish() if self.failure is None else Finish(stopped=True, note=str(self.failure))

    def _has_run(self) -> bool:
        return bool(self.traces)

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped" if self.stopped else "ended"
        return f"<Race of {', '.join(self.names)}: {len(self.workload)} requests on {self.slots} slots, {state}>"

    def save(self, folder: str | Path) -> list[Path]:
        """Write the trace of every lane that ran into a folder (made if need be); returns the paths.

        Raises CbvizError if one cannot be written; the others are.
        """
        self.settle()
        target = make_folder(folder)
        paths: list[Path] = []
        failures: list[CbvizError] = []
        for number, (name, trace) in enumerate(zip(self.names, self.traces, strict=False)):
            try:
                paths.append(trace.save(target / f"{number}-{_file_name(name)}.cbviz"))
            except CbvizError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return paths


def race(
    model: str | LoadedModel = "tiny",
    policies: Sequence[str | Policy] = ("static", "continuous"),
    *,
    slots: int = 8,
    requests: int | None = None,
    workload: Workload | None = None,
    prompts: Sequence[str | Prompt] | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    weights: str | None = None,
    repeats: int | None = None,
    block_size: int = 16,
    kv_blocks: int | None = None,
    kv_tokens: int | None = None,
    prefix_cache: bool = False,
    preemption: Preemption = "recompute",
    swap_blocks: int | None = None,
    max_new_tokens: int | None = None,
    ignore_generation_config: bool = False,
    live: bool | None = None,
    language: str | None = None,
    progress: Progress | None = None,
    run: bool = True,
) -> Race:
    """Serve the same requests under several policies, and compare.

    Parameters
    ----------
    model
        "tiny", "smollm2-135m", "random:llama-3.1-8b", a Hugging Face id or folder, or a model from `cbviz.models.load`.
    policies
        One to four names or policy objects. Ratios are of the first to the last. Every run of a lane, the warm-up too,
        starts from a fresh copy of its policy (see `cbviz.policies.Policy`).
    slots
        Requests that can run at the same time in each lane.
    requests
        How many requests to draw; None takes the workload's usual number.
    workload, prompts
        Your own requests, or your own prompts. By default tiny gets tasks, chat models get questions, and random
        weights get random prompts with forced lengths.
    seed
        Seed of the workload.
    device, dtype
        Where and in what to run; by default the GPU if there is one that can be used (in bfloat16, or float16 where it
        has no bfloat16 arithmetic), else the CPU in float32.
    weights
        "int8" stores the model's weights in a byte each (see `cbviz.models.int8`).
    repeats
        Undisturbed timed runs of every lane; 0 takes turns once and reports lane clocks. None means 0 for a live race,
        else 3, or fewer if they would take minutes.
    block_size, kv_blocks
        Each lane's KV pool; by default every slot can hold the longest request.
    kv_tokens
        The KV pool in tokens instead of blocks, so that schedulers compete in equal memory: as many whole blocks as it
        holds.
    prefix_cache, preemption, swap_blocks
        What each lane does about its KV memory (see `cbviz.memory.KVOptions`).
    max_new_tokens
        The most tokens an answer may have; None takes the workload's.
    ignore_generation_config
        Serve the model without what its generation config does to logits (a repetition penalty, suppressed tokens).
        By default that is honoured, as `generate` does, or refused by name.
    live
        True returns at once and runs in a thread, with a live board to watch and control it. False runs to the end
        before it returns. None is live in a notebook.
    language
        Of the board: "en" or "zh"; None is the one that `cbviz.board.language.speak` set, at first English.
    progress
        Where to report how far it is.
    run
        False returns the race before its first iteration, for whoever wants to hold it while it runs: call `run()`, or
        `start()` and `wait()`.

    Raises
    ------
    CbvizError
        Anything that makes no sense, in one sentence, before the first iteration.
    """
    if isinstance(policies, str) or not isinstance(policies, Sequence) or not 1 <= len(policies) <= MOST_LANES:
        raise PolicyError(f"a race has one to {MOST_LANES} policies in a list, not {shown(policies)}.")
    chosen = [fresh(get(policy)) for policy in policies]
    if repeats is not None:
        whole("repeats", repeats, 0, MOST_REPEATS, error=CbvizError)
    from cbviz.experiments.live import in_notebook, watched

    live = in_notebook() if live is None else flag("live", live)
    flag("ignore_generation_config", ignore_generation_config)
    if live:
        CELLS.begin()
    if workload is not None and not isinstance(workload, Workload):
        raise WorkloadError(f"workload must be a Workload, not {shown(workload)}.")
    if workload is not None and prompts is not None:
        raise WorkloadError("give a workload or prompts, not both.")
    loaded = as_loaded(model, device=device, dtype=dtype, weights=weights)
    if workload is None:
        workload = choose_workload(loaded, requests=requests, prompts=prompts, seed=seed, max_new_tokens=max_new_tokens)
    made = Race(
        loaded,
        chosen,
        workload,
        slots=slots,
        block_size=block_size,
        kv_blocks=_quota(kv_blocks, kv_tokens, block_size),
        repeats=(0 if live else REPEATS) if repeats is None else repeats,
        enough=ENOUGH if repeats is None else None,
        progress=progress or SilentProgress(),
        watched=live,
        language=language,
        kv=KVOptions(prefix_cache, preemption, swap_blocks),
        ignore_generation_config=ignore_generation_config,
    )
    made.check()
    if live:
        watched(made, made.language)
    if not run:
        return made
    return made.start() if live else made.run()


def _quota(kv_blocks: int | None, kv_tokens: int | None, block_size: int) -> int | None:
    """KV blocks, of which somebody may have named the tokens."""
    if kv_tokens is None:
        return kv_blocks
    if kv_blocks is not None:
        raise CapacityError("give the KV pool in kv_blocks or in kv_tokens, not in both.")
    size = whole("block_size", block_size, 1, MOST_BLOCK_SIZE, error=CapacityError)
    if isinstance(kv_tokens, bool) or not isinstance(kv_tokens, int) or not size <= kv_tokens <= MOST_EXACT:
        raise CapacityError(f"kv_tokens must be a whole number of at least one block, not {kv_tokens!r:.80}.")
    return kv_tokens // block_size


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names of lanes: a policy that races against itself gets a number."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name} {n}" for n in range(1, len(names) + 1))
        found.append(name if names.count(name) == 1 else next(new for new in numbered if new not in (*found, *names)))
    return tuple(found)


def _file_name(name: str) -> str:
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)
    return plain[:80]


def _nobody(number: int, lane: Lane, event: Any) -> None:
    """Nobody watches."""


def _nothing(race: Race) -> None:
    """Nobody waits for the end."""
