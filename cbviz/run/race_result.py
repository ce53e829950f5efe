"""What a race has measured, so far or in the end: numbers, a table, answers to `why`, and what a reader sees and keeps.

`cbviz.run.race_run.Race` fills in the runs; nothing here runs anything.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cbviz.checks import counted, is_a, one_of, shown
from cbviz.config import Speculation
from cbviz.eager.logit_rules import LogitRules
from cbviz.errors import CbvizError, MeasureError
from cbviz.measure.compare import iteration_ratio, speedup
from cbviz.measure.lane_names import distinct_names
from cbviz.measure.side_by_side import side_by_side
from cbviz.measure.standings import COMPARED, Compare
from cbviz.measure.verdict import RaceVerdict, failed, verdict
from cbviz.models import LoadedModel
from cbviz.paths import as_file_name, make_folder, new_file, write_whole
from cbviz.policies import Policy, identity
from cbviz.run.answers import TokenDivergence
from cbviz.run.how import how_it_runs
from cbviz.run.lane import Lane
from cbviz.run.lane_result import LaneResult as LaneResult
from cbviz.run.race_json import race_json
from cbviz.run.reference import Reference
from cbviz.run.run_control import ControlledRun
from cbviz.run.why import Why, lane_why
from cbviz.trace import Trace
from cbviz.trace.trace import lane_title
from cbviz.view import player
from cbviz.view.answers import AnswerTable
from cbviz.view.language import chosen
from cbviz.view.run_table import RunTable
from cbviz.view.summary import Outcome
from cbviz.workload import Request, Workload


class RaceResult(ControlledRun):
    """The result of a race. What needs the whole race (`lanes`, `speedup`, …) waits for its end.

    Parameters
    ----------
    loaded, policies, workload
        What runs: one lane for each policy.
    slots
        Requests that can run at the same time in each lane.
    repeats
        Timed runs of every lane.
    language
        Language of boards, tables and pages, "en" or "zh"; None means the one set by `cbviz.view.language.speak`.
    backend
        The backend that the caller asked for; None means no preference.
    ignore_generation_config
        Whether the model's generation config is ignored.
    compare
        What the result compares: "iterations", "seconds", "longest_gap" or "ttft".
    speculations
        How each lane drafts tokens; empty if none does.
    """

    rules: LogitRules
    """What the model's generation config does to logits, in every lane."""

    def __init__(
        self,
        loaded: LoadedModel,
        policies: Sequence[Policy],
        workload: Workload,
        *,
        slots: int,
        repeats: int,
        language: str | None,
        backend: str | None,
        ignore_generation_config: bool,
        compare: Compare = "iterations",
        speculations: Sequence[Speculation | None] = (),
    ) -> None:
        super().__init__("race")
        one_of("compare", compare, COMPARED, error=CbvizError)
        self.compare: Compare = compare
        """What the result compares (see `cbviz.measure.verdict`)."""
        self.shows_answers = False
        """Whether the result also shows every answer: so it does for prompts of the caller's own."""
        self.language = chosen(language)
        self.model = loaded
        self.policies = tuple(policies)
        self.workload = workload
        self.slots = slots
        self.asked_backend = backend
        self.ignore_generation_config = ignore_generation_config
        self.reference: Reference | None = None
        """One short answer that `prepare` compares with transformers' own; None for models that the tests compare."""
        self.repeats = repeats
        """Timed runs of every lane: as many as requested, or as many as started within `enough` seconds."""
        self.speculations = tuple(speculations) or (None,) * len(policies)
        """How each lane drafts tokens, None if it does not."""
        served = zip(policies, self.speculations, strict=True)
        self.names = distinct_names([lane_title(identity(policy)[0], rule.k if rule else 0) for policy, rule in served])
        self.joined: list[Request] = []
        """Requests that joined while it ran."""
        self._runs: list[list[Trace]] = [[] for _ in policies]
        """The undisturbed runs of each lane."""
        self._raced: list[Trace] = []
        """One trace for each lane of the race in turns."""
        self._seen: tuple[Lane, ...] = ()
        """The lanes that take turns, until their traces are kept."""
        self._served: dict[int, Policy] = {}
        """The copy of each lane's policy that ran last."""
        self._divergences: list[TokenDivergence] = []

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests: the workload, and those that joined while the race ran."""
        return (*self.workload, *self.joined)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how the lanes are computed, where a reader should know (see `cbviz.run.how`)."""
        return how_it_runs(self.model, self.asked_backend)

    @property
    def clock(self) -> str:
        """ "alone" if the times come from undisturbed runs, "lane" if they come from taking turns."""
        return "alone" if all(self._runs) else "lane"

    @property
    def traces(self) -> tuple[Trace, ...]:
        """One trace for each lane: its undisturbed run with the median duration, or its part of the race in turns.

        While the lanes take turns, the traces hold the run so far.
        """
        if seen := self._seen:
            return tuple(lane.trace() for lane in seen)
        if self.clock == "lane":
            return tuple(self._raced) or tuple(trace for runs in self._runs for trace in runs[:1])
        return tuple(sorted(runs, key=lambda t: t.seconds)[(len(runs) - 1) // 2] for runs in self._runs)

    @property
    def lanes(self) -> tuple[LaneResult, ...]:
        """One result for each policy, in the order in which they were passed."""
        self.wait()
        return tuple(self._result(number) for number in range(len(self.traces)))

    def _result(self, number: int) -> LaneResult:
        trace, seconds = self.traces[number], self._seconds(number)
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

    def _seconds(self, number: int) -> float:
        """The median of a lane's undisturbed runs, or its part of the race in turns."""
        if self.clock == "lane":
            return self.traces[number].seconds
        return statistics.median(run.seconds for run in self._runs[number])

    @property
    def iteration_ratio(self) -> float:
        """Iterations of the first lane / iterations of the last."""
        self.wait()
        return iteration_ratio(self.traces[0], self.traces[-1])

    @property
    def speedup(self) -> float:
        """Time of the first lane / time of the last, the median over the repeats: as measured, whatever it is worth.

        `verdict.speedup` is None where the runs were too short or too few to compare.
        """
        self.wait()
        return statistics.median(self._speedups())

    @property
    def speedup_range(self) -> tuple[float, float]:
        """The smallest and the largest speed-up among the repeats."""
        self.wait()
        return min(self._speedups()), max(self._speedups())

    def _speedups(self) -> list[float]:
        if self.clock == "alone":
            return list(map(speedup, self._runs[0], self._runs[-1]))
        return [speedup(self.traces[0], self.traces[-1])]

    @property
    def identical_outputs(self) -> bool:
        """Whether every request got the same tokens in every lane."""
        self.wait()
        return not self.stopped and not self._divergences

    @property
    def divergences(self) -> tuple[TokenDivergence, ...]:
        """Where the outputs of other lanes diverge from the first lane's."""
        self.wait()
        return tuple(self._divergences)

    def to_json(self) -> dict[str, Any]:
        """The result as plain numbers and strings.

        Returns
        -------
        dict
            Ready for `json.dumps`; what `cbviz race --json` writes.
        """
        return race_json(self)

    def table(self) -> RunTable:
        """Every lane in numbers: iterations, time, occupancy, KV memory, stalls, preemptions, TTFT and ITL.

        Seconds and tokens per second are medians of the repeats; the rest is from the run with the median time.

        Returns
        -------
        RunTable
            A row for each number and a column for each lane, in the language of the race.
        """
        self.settle()
        numbers = side_by_side(*self.traces, names=self.names[: len(self.traces)], language=self.language)
        for number, column in enumerate(numbers.numbers.values()):  # of an even number of runs none has the median
            seconds = self._seconds(number)
            tokens = self.traces[number].output_tokens
            column |= {"seconds": seconds, "output tokens/s": tokens / seconds if seconds else 0.0}
        return RunTable.of(numbers, None if self.running else self.verdict)

    @property
    def verdict(self) -> RaceVerdict:
        """What the race showed, as data and in sentences: counts first, then seconds as far as the repeats go."""
        self.settle()
        traces = self.traces
        runs = self._runs if self.clock == "alone" else [[trace] for trace in traces]
        names = self.names[: len(traces)]
        if self.failure is not None:
            return failed(str(self.failure), traces, names, self.compare)
        gaps = [divergence.gap for divergence in self._divergences]
        checked = self.reference is None or not self.reference.note
        return verdict(
            *runs[: len(traces)],
            names=names,
            compare=self.compare,
            gap=max(gaps, default=None),
            checked=checked,
            raced=True,
        )

    @property
    def answers(self) -> AnswerTable:
        """Every prompt and its answer, as far as it goes."""
        self.settle()
        return AnswerTable.of(self.traces, self.names[: len(self.traces)], self.language)

    def why(self, request: int | None = None, iteration: int = 0, lane: str | None = None) -> Why:
        """Why a request was admitted, kept waiting, stalled or preempted in an iteration, in one lane or in all.

        Parameters
        ----------
        request
            Its id; None asks about every request that was waiting.
        iteration
            Iteration of the run, from 0. A lane that had ended by then is left out.
        lane
            The name of one lane; None asks all.

        Returns
        -------
        Why
            One part for each lane (see `cbviz.why`).

        Raises
        ------
        MeasureError
            There is no such request, iteration or lane.
        """
        self.settle()
        if lane is not None and not (is_a(lane, str) and lane in self.names):
            raise MeasureError(f"there is no lane {shown(lane)}; choose one of {', '.join(self.names)}.")
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

    def finish(self) -> Outcome:
        """The result as the board shows it.

        Returns
        -------
        Outcome
            The verdict, and its numbers.
        """
        return Outcome.said(self.verdict, clock=self.clock, stopped=self.stopped)

    def to_html(self, path: str | Path, *, language: str | None = None) -> Path:
        """Write a self-contained page that replays the race without a kernel or a network.

        Parameters
        ----------
        path
            The HTML file to write.
        language
            "en" or "zh"; None means the race's own.

        Returns
        -------
        Path
            The file written.
        """
        self.settle()
        spoken = self.language if language is None else language
        target = new_file(path)
        below = self.answers.html() if self.shows_answers and self._has_run() else ""
        return write_whole(target, player.html(self.traces, self._finish(), language=spoken, below=below))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """In a notebook: the live board while it runs, then a picture that upgrades itself to the player."""
        if self.running and self.board is not None:
            return self.board._repr_mimebundle_()
        if not self.started:
            return {"text/plain": repr(self)}
        self.settle()
        return self.kept()

    def kept(self) -> dict[str, str]:
        """The mime bundle that a saved notebook keeps of a race, however it ended.

        Returns
        -------
        dict
            MIME type → content.
        """
        if not self._has_run():
            return {"text/plain": str(self.failure or self)}
        bundle = player.mimebundle(self.traces, self._finish(), language=self.language)
        if not self.shows_answers:
            return bundle
        words = self.answers
        return {"text/html": bundle["text/html"] + words.html(), "text/plain": f"{bundle['text/plain']}\n{words}"}

    def _finish(self) -> Outcome:
        """The result so far: running, ended, stopped, or failed."""
        if self.running:
            return Outcome(clock=self.clock)
        return self.finish() if self.failure is None else Outcome(stopped=True, note=str(self.failure))

    def _has_run(self) -> bool:
        return bool(self.traces)

    def __repr__(self) -> str:
        running = "running" if self.started else "not started"
        over = "failed" if self.failure is not None else "stopped" if self.stopped else "ended"
        state = running if self.running else over
        work = f"{counted(len(self.workload), 'request')} on {counted(self.slots, 'slot')}"
        line = f"<Race of {', '.join(self.names)}: {work}, {state}>"
        ended = not self.running and (self.failure is not None or self._has_run())
        return f"{line}\n{self.verdict.in_language(self.language)}" if ended else line

    def save(self, folder: str | Path) -> list[Path]:
        """Write the trace of every lane that ran into a folder, which is created if necessary.

        Parameters
        ----------
        folder
            Where the files go.

        Returns
        -------
        list[Path]
            The files written, one for each lane.

        Raises
        ------
        CbvizError
            A file cannot be written; the others are still written.
        """
        self.settle()
        target = make_folder(folder)
        paths: list[Path] = []
        failures: list[CbvizError] = []
        for number, (name, trace) in enumerate(zip(self.names, self.traces, strict=False)):
            try:
                paths.append(trace.save(target / f"{number}-{as_file_name(name)}.cbviz"))
            except CbvizError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return paths
