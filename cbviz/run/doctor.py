"""`cbviz.doctor`: read a result of any load generator, and say what it shows and what it does not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from cbviz.checks import is_a, listed, shown
from cbviz.checks import whole as checked_whole
from cbviz.errors import MeasureError
from cbviz.measure.definitions import by_definition, goodput_by_definition, results_of
from cbviz.measure.goodput import MLPERF, Targets
from cbviz.measure.saturation import saturation
from cbviz.paths import path_of
from cbviz.run.diagnosis import Diagnosis
from cbviz.run.what_if import Option, what_if
from cbviz.simulator.cost import CostModel
from cbviz.trace import Trace
from cbviz.trace.files import SUFFIX, load
from cbviz.trace.recordings import named_runs
from cbviz.view.language import chosen
from cbviz.workload import LoadResults, read_results


def doctor(
    source: str | os.PathLike[str] | Trace | LoadResults,
    *,
    run: int = 1,
    targets: Targets | str | None = None,
    cost: CostModel | str | os.PathLike[str] | None = None,
    ran: Option | Mapping[str, Any] | None = None,
    options: Sequence[Option | Mapping[str, Any]] = (),
    language: str | None = None,
) -> Diagnosis:
    """Examine the result of a benchmark that a load generator, or cbviz itself, has measured.

    Parameters
    ----------
    source
        A file of vLLM's bench (with --save-detailed), AIPerf (profile_export.jsonl), GuideLLM (benchmarks.json),
        inference-perf (per_request_lifecycle_metrics.json), LLMServingSim's vLLM runs, or a trace of cbviz; the name of
        a recorded run, whose lanes are its runs; or a `Trace` or a `LoadResults`.
    run
        Which run, counted from 1, where the file or the recording holds several.
    targets
        Latency targets for goodput, or the name of a preset of `cbviz.measure.MLPERF`.
    cost
        A calibration of the same model and device; with it the run is simulated, as it was and with `options`.
    ran
        The policy, slots and memory that ran, for the simulation. None takes vLLM's defaults, or those of the trace; a
        dict names what differs from them.
    options
        Other settings to simulate; a dict names what differs from what ran.
    language
        "en" or "zh"; None means the one set by `cbviz.view.language.speak`.

    Returns
    -------
    Diagnosis
        A notebook displays it; `.gantt`, `.in_flight`, `.ttft_over_time` and `.cdf()` are its pictures.

    Raises
    ------
    FileError
        The file cannot be read.
    WorkloadError
        It is in no known format, or malformed; the sentence names the row.
    MeasureError
        No request was served, there is no such run, or an argument is out of range.

    Examples
    --------
    >>> import cbviz
    >>> static, continuous = cbviz.recorded("smollm2-8")
    >>> found = cbviz.doctor(continuous)
    >>> found.saturation.verdict, found.by("ttft", "cbviz").count
    ('unknown', 48)
    """
    spoken = chosen(language)
    runs = _read(source)
    number = checked_whole("run", run, 1, error=MeasureError)
    if number > len(runs):
        raise MeasureError(
            f"there {'is 1 run' if len(runs) == 1 else f'are {len(runs)} runs'}, and no run {shown(run)}."
        )
    results, wanted = runs[number - 1], _targets(targets)
    others = listed("options", options, "Option", error=MeasureError)
    if not all(is_a(option, (Option, dict)) for option in others) or not is_a(ran, (Option, dict, type(None))):
        raise MeasureError("ran and options must be Option(policy=…, slots=…, kv_blocks=…), or a dict of what differs.")
    if others and cost is None:
        raise MeasureError(
            "options can be simulated only with a calibration: pass cost=, such as a file of `cbviz calibrate`."
        )
    if ran is not None and cost is None:
        raise MeasureError(
            "ran is where a simulation starts from, and only a calibration can simulate: pass cost=, too."
        )
    before = ran if isinstance(ran, Option) else None
    if cost is not None:
        if before is None:
            given: dict[str, Any] = dict(ran or {})  # type: ignore[arg-type]
            before = Option.of(results, given.pop("policy", None)).changed(**given)
        others = [option if isinstance(option, Option) else before.changed(**option) for option in others]
    return Diagnosis(
        results,
        table=by_definition(results),
        saturation=saturation(results),
        goodput={} if wanted is None else goodput_by_definition(results, wanted),
        targets=wanted,
        options=None if cost is None else what_if(results, *others, cost=cost, ran=before),
        runs=len(runs),
        run=number,
        language=spoken,
    )


def runs_in(source: str | os.PathLike[str]) -> int:
    """How many runs a file or a recording holds. Raises as `doctor` does."""
    return len(_read(source))


def _read(source: str | os.PathLike[str] | Trace | LoadResults) -> tuple[LoadResults, ...]:
    if isinstance(source, LoadResults):
        return (source,)
    if isinstance(source, Trace):
        return (results_of(source),)
    if lanes := named_runs(source):
        return tuple(map(results_of, lanes))
    path = path_of(source, "the file of results")
    return (results_of(load(path)),) if path.suffix == SUFFIX else read_results(path)


def _targets(given: Targets | str | None) -> Targets | None:
    if isinstance(given, str):
        if given not in MLPERF:
            raise MeasureError(f"there is no preset {shown(given)}; choose one of {', '.join(MLPERF)}.")
        return MLPERF[given]
    if given is not None and not is_a(given, Targets):
        raise MeasureError(f"targets must be Targets(...) or the name of a preset, not {shown(given)}.")
    return given
