"""Nonsense for every argument of every public function: it is taken, or answered by one sentence of a CbvizError."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cbviz
from cbviz import course, measure, run
from cbviz.core import Engine, NullExecutor
from cbviz.core.block_pool import BlockPool
from cbviz.course.exercise import exercises
from cbviz.errors import CbvizError
from cbviz.measure.roofline_bound import ModelFacts, Rates, floor
from cbviz.measure.saturation import slope
from cbviz.models import LoadedModel, load
from cbviz.view import language
from cbviz.view.gantt import Gantt
from cbviz.view.load_charts import results_cdf, slo_curve
from cbviz.workload import (
    AllAtOnce,
    LoadResults,
    Request,
    Served,
    Traffic,
    Workload,
    download,
    fetch_trace,
    read_results,
    read_traffic,
)

WORK = Workload("w", [Request(i, (1,) * 5, 4 + i, output_length=2 + i) for i in range(4)])
TRACE, OTHER = (cbviz.schedule(policy, WORK, slots=2) for policy in ("static", "continuous"))


RUN = measure.results_of(TRACE)
MANY = LoadResults("cbviz", "many", tuple(Served(str(n), n, n, n + 1.0, n + 2.0, n + 2.0, 5, 5) for n in range(40)))
TRAFFIC = Traffic("t", (0.0, 0.5), (5, 6), (2, 3))


class Hostile:
    """Every question that it is asked fails."""

    def _fails(self, *_: Any) -> Any:
        raise RuntimeError("hostile")

    __repr__ = __str__ = __bool__ = __len__ = __iter__ = __float__ = __int__ = __index__ = _fails
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __fspath__ = __getitem__ = _fails
    __hash__ = None  # type: ignore[assignment]


def raising() -> Iterator[int]:
    """A generator that fails when it is asked."""
    raise RuntimeError("hostile")
    yield 1


NONSENSE: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "-1": lambda: -1,
    "0": lambda: 0,
    "1.5": lambda: 1.5,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "huge": lambda: 10**400,
    "huger": lambda: 10**5000,
    "complex": lambda: 1j,
    "True": lambda: True,
    "empty text": lambda: "",
    "text": lambda: "nonsense",
    "surrogate": lambda: "a\ud800",
    "nul": lambda: "a\0b",
    "long text": lambda: "x" * 100_000,
    "bytes": lambda: b"tiny",
    "list": lambda: [],
    "nested": lambda: [[1, "a"], None],
    "of None": lambda: [None],
    "of texts": lambda: ["nonsense"],
    "dict": lambda: {"a": object()},
    "set": lambda: {1, "a"},
    "object": object,
    "hostile": Hostile,
    "of hostile": lambda: [Hostile()],
    "generator": raising,
    "function": lambda: lambda: None,
    "type": lambda: int,
    "array": lambda: np.zeros((2, 2)),
    "tensor": lambda: torch.full((3,), float("nan")),
    "number of numpy": lambda: np.int64(2),
    "truth of numpy": lambda: np.bool_(True),
    "date of numpy": lambda: np.datetime64("2020"),
    "two numbers": lambda: np.array([1, 2]),
    "decimal NaN": lambda: Decimal("nan"),
    "bytearray": lambda: bytearray(b"x"),
    "endless range": lambda: range(10**12),
    "module": lambda: np,
}


def traces(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of `*traces`, with its first two as ordinary arguments."""
    return lambda first, second, **named: function(first, second, **named)


def board(first: Any, second: Any, summary: Any, title: Any, language: Any) -> Any:
    """A board that is shown in every way that asks for no file."""
    made = cbviz.Board(first, second, summary=summary, title=title, language=language)
    return repr(made), made._repr_mimebundle_()


def board_file(method: str) -> Callable[..., Any]:
    """A method of a board that writes a file."""
    return getattr(cbviz.Board(TRACE, OTHER), method)  # type: ignore[no-any-return]


EXERCISES = [name for name in exercises() if not name.startswith("11.")]
"""Answers to notebook 11 are policies, whose checks have tests of their own."""


def returning(name: str, answer: Any) -> Any:
    """Answer an exercise with a function that returns nonsense, whatever it is called with."""
    return course.check(name, lambda *_: answer)


@cache
def tiny() -> LoadedModel:
    """A model for what needs one that is loaded."""
    return load("tiny", device="cpu")


def engine(slots: Any, lag: Any, prefix_cache: Any, preemption: Any, swap_blocks: Any) -> Engine:
    """An engine that computes nothing."""
    pool = BlockPool(8, 16, prefix_cache=prefix_cache)
    given = {"slots": slots, "lag": lag, "preemption": preemption, "swap_blocks": swap_blocks}
    return Engine(NullExecutor(), cbviz.Continuous(), pool=pool, **given)


def idle() -> Engine:
    """The same, with two requests."""
    made = engine(2, 0, False, "recompute", None)
    made.submit(*WORK)
    return made


SERVED: dict[str, Any] = {"slots": 2, "block_size": 16, "kv_blocks": None}
SHARED: dict[str, Any] = {
    "context_limit": None,
    "prefix_cache": False,
    "preemption": "recompute",
    "swap_blocks": None,
}
SIMULATED: dict[str, Any] = {
    "workload": WORK,
    "policy": "continuous",
    "cost": "cpu-2-cores-tiny",
    **SERVED,
    "lag": 0,
    **SHARED,
    "clients": None,
}
LENGTHS: dict[str, Any] = {"slots": 2, "lengths": [1, 2, 3]}
ENTRIES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    # what happened
    "recorded": (cbviz.recorded, {"name": "smollm2-8"}),
    "why": (cbviz.why, {"run": TRACE, "request": 1, "iteration": 1, "prompts": None}),
    "schedule": (
        cbviz.schedule,
        {"policy": "static", "workload": WORK, "seconds": 1.0, **SERVED, "lag": 0, **SHARED},
    ),
    "simulate": (cbviz.simulate, SIMULATED),
    "forecast": (cbviz.forecast, {**SIMULATED, "progress": None}),
    "disaggregate": (
        run.disaggregate,
        {
            "model": None,
            "workload": WORK,
            "prefill": "continuous",
            "decode": "continuous",
            "prefill_slots": 1,
            **SERVED,
            "host_blocks": None,
            "bandwidth": 1e9,
            "seconds": 1.0,
            "block_bytes": 100,
        },
    ),
    "calibrate": (cbviz.calibrate, {"traces": TRACE, "name": None, "simulated": False}),
    "load of traces": (cbviz.load, {"path": "none"}),
    "Engine": (engine, {"slots": 2, "lag": 0, "prefix_cache": False, "preemption": "recompute", "swap_blocks": None}),
    "Engine.cancel": (lambda request: idle().cancel(request), {"request": 0}),
    # boards
    "Board": (board, {"first": TRACE, "second": OTHER, "summary": None, "title": "t", "language": "en"}),
    "speak": (language.speak, {"language": "en"}),
    # measures of traces
    "verdict": (
        lambda first, **named: measure.verdict(first, OTHER, **named),
        {"first": TRACE, "names": None, "compare": "iterations", "gap": None, "checked": True, "raced": False},
    ),
    "compare": (measure.compare, {"first": TRACE, "second": OTHER}),
    "explain": (measure.explain, {"first": TRACE, "second": OTHER}),
    "same_answers": (traces(measure.same_answers), {"first": TRACE, "second": OTHER}),
    "throughput_by_variance": (traces(measure.throughput_by_variance), {"first": TRACE, "second": OTHER}),
    "latency_cdf": (traces(measure.latency_cdf), {"first": TRACE, "second": OTHER, "metric": "ttft"}),
    "occupancy_over_time": (traces(measure.occupancy_over_time), {"first": TRACE, "second": OTHER}),
    "kv_over_time": (traces(measure.kv_over_time), {"first": TRACE, "second": OTHER}),
    "side_by_side": (
        traces(measure.side_by_side),
        {"first": TRACE, "second": OTHER, "names": ["a", "b"], "language": "en"},
    ),
    "SideBySide.text": (measure.side_by_side(TRACE).text, {"rows": ["iterations"]}),
    "roofline": (
        lambda trace, **named: measure.roofline(trace, **named),
        {
            "trace": TRACE,
            "parameters": 1e6,
            "weight_bytes": 1e6,
            "kv_bytes_per_token": 1e3,
            "bandwidth": 1e9,
            "flops": 1e9,
        },
    ),
    "goodput": (measure.goodput, {"trace": TRACE, "targets": measure.Targets(ttft=1.0), "delivery": "stream"}),
    "meets": (measure.meets, {"trace": TRACE, "targets": measure.Targets(ttft=1.0), "delivery": "stream"}),
    "Targets": (measure.Targets, {"ttft": 1.0, "tpot": 1.0, "e2el": 1.0}),
    "kv_shares": (measure.kv_shares, {"trace": TRACE, "contended": False}),
    "latencies": (measure.latencies, {"trace": TRACE, "delivery": "stream"}),
    "arrival_seconds": (measure.arrival_seconds, {"trace": TRACE}),
    "Distribution.of": (measure.Distribution.of, {"values": [1.0, 2.0], "percentiles": [99]}),
    "slot_use": (measure.slot_use, {"trace": TRACE, "unit": "iterations"}),
    "stall_seconds": (measure.stall_seconds, {"trace": TRACE}),
    "token_gaps": (measure.token_gaps, {"trace": TRACE, "requests": [1]}),
    "summary": (measure.summary, {"trace": TRACE, "percentiles": [99], "delivery": "stream"}),
    "serving_table": (measure.serving_table, {"trace": TRACE, "percentiles": [99], "delivery": "stream"}),
    "floor": (floor, {"trace": TRACE, "model": ModelFacts(1e6, 1e6, 1e3), "rates": Rates(1e9, 1e9)}),
    "ModelFacts": (ModelFacts, {"weight_bytes": 1, "parameters": 1, "kv_bytes_per_token": 1}),
    "Rates": (Rates, {"bandwidth": 1, "flops": 1}),
    # drawn
    "Bars": (
        lambda **named: measure.Bars(**named).svg(),
        {"title": "t", "label": "x", "parts": ("a",), "rows": {"n": (0.5,)}, "marks": {"n": 0.2}, "mark_label": "m"},
    ),
    # results of other tools, traffic, sweeps
    "by_definition": (measure.by_definition, {"results": RUN}),
    "goodput_by_definition": (measure.goodput_by_definition, {"results": RUN, "targets": measure.Targets(ttft=1.0)}),
    "results_of": (measure.results_of, {"trace": TRACE}),
    "saturation": (measure.saturation, {"results": MANY, "confidence": 0.9}),
    "slope": (slope, {"times": [1, 2, 3], "values": [1, 2, 4], "confidence": 0.9}),
    "capacity": (measure.capacity, {"rates": [1, 2], "latencies": [1, 2], "target": 1.5}),
    "knee": (measure.knee, {"rates": [1, 2, 3], "latencies": [1, 2, 9]}),
    "doctor": (
        cbviz.doctor,
        {"source": RUN, "run": 1, "targets": None, "ran": None, "options": (), "language": "en"},
    ),
    "Gantt": (lambda results, language: Gantt(results, language).svg(), {"results": RUN, "language": "en"}),
    "results_cdf": (results_cdf, {"metric": "ttft", "tool": "aiperf"}),
    "slo_curve": (
        lambda curves, target: slo_curve(curves, target=target),
        {"curves": {"a": ([1, 2], [1, 2])}, "target": 1.0},
    ),
    "read_traffic": (read_traffic, {"path": "none", "format": None, "first": None}),
    "read_results": (read_results, {"path": "none", "format": None}),
    "fetch_trace": (fetch_trace, {"name": "none"}),
    "download": (download, {"url": "none", "path": "none", "sha256": "none", "most": 1}),
    "Traffic": (
        Traffic,
        {
            "name": "t",
            "arrival": (0.0,),
            "input_tokens": (1,),
            "output_tokens": (1,),
            "client": (),
            "priority": (),
            "prefix": (),
            "prefix_tokens": 0,
            "left_out": 0,
        },
    ),
    "Traffic.first": (TRAFFIC.first, {"n": 1}),
    "Traffic.between": (TRAFFIC.between, {"start": 0.0, "end": 1.0}),
    "Traffic.at_rate": (TRAFFIC.at_rate, {"rate": 1.0}),
    "Traffic.clipped": (TRAFFIC.clipped, {"input_tokens": 1, "output_tokens": 1}),
    "Traffic.resampled": (TRAFFIC.resampled, {"n": 1, "seed": 0}),
    "Traffic.with_arrivals": (TRAFFIC.with_arrivals, {"process": AllAtOnce(), "seed": 0}),
    "Traffic.workload": (TRAFFIC.workload, {"vocabulary": 9, "seed": 0, "max_new_tokens": 9}),
    "sweep": (
        lambda **named: cbviz.sweep(**named, work=lambda x, seed: {"y": 1}),
        {
            "grid": {"x": [1]},
            "address": None,
            "workers": 1,
            "num_runs": 1,
            "seed": 0,
            "output_dir": None,
            "resume": False,
            "continue_on_error": True,
            "progress": None,
        },
    ),
    "decompose": (
        run.decompose,
        {
            "simulate": "h200-opt-13b",
            "benchmark": "article",
            "cap": 32,
            "requests": 64,
            "seed": 0,
            "steps": None,
            "orders": ("schedule_first",),
            "two_by_two": False,
            "both_ways": None,
            "only": None,
            "goes_on": None,
            "limit": None,
            "save": None,
            "resume": False,
            "progress": None,
        },
    ),
    # formulas
    "kv_tokens_per_busy_slot": (measure.kv_tokens_per_busy_slot, {"prompts": [1, 2], "outputs": [1, 2]}),
    "kv_bytes_per_token": (
        measure.kv_bytes_per_token,
        {"layers": 1, "kv_heads": 1, "head_size": 8, "bytes_per_value": 2.0},
    ),
    "decode_floor": (
        measure.decode_floor,
        {"batch": 1, "weight_bytes": 1.0, "kv_bytes": 1.0, "parameters": 1.0, "bandwidth": 1.0, "flops": 1.0},
    ),
    "in_system": (measure.in_system, {"rate": 1.0, "time_in_system": 1.0}),
    "pollaczek_khinchine": (measure.pollaczek_khinchine, {"rate": 0.1, "mean_service": 1.0, "second_moment": 2.0}),
    "erlang_c": (measure.erlang_c, {"slots": 2, "offered": 1.0}),
    "queue_wait": (measure.queue_wait, {"rate": 0.1, "mean_service": 1.0, "slots": 2, "iteration": 0.0}),
    "harmonic": (measure.harmonic, {"n": 3}),
    "speedup_fixed": (measure.speedup_fixed, {"slots": 3}),
    "speedup_exponential": (measure.speedup_exponential, {"slots": 3}),
    "speedup_uniform": (measure.speedup_uniform, {"slots": 3, "low": 0.0, "high": 1.0}),
    "speedup_clipped_exponential": (measure.speedup_clipped_exponential, {"slots": 3, "mean": 2.0, "cap": 3.0}),
    "speedup_truncated_exponential": (measure.speedup_truncated_exponential, {"slots": 3, "mean": 2.0, "cap": 3.0}),
    "speedup_empirical": (measure.speedup_empirical, LENGTHS),
    "speedup_discrete": (measure.speedup_discrete, {"slots": 3, "probabilities": [0.5, 0.5]}),
    "speedup_bound": (measure.speedup_bound, {"slots": 3, "cv": 1.0}),
    "static_iterations": (measure.static_iterations, {**LENGTHS, "run_to": 3}),
    "continuous_iterations": (measure.continuous_iterations, LENGTHS),
    "makespan_bounds": (measure.makespan_bounds, LENGTHS),
    "speedup_shrinking": (measure.speedup_shrinking, {"speedup": 2.0, "slots": 3, "a": 1.0, "b": 1.0}),
    "speedup_with_prefill": (
        measure.speedup_with_prefill,
        {"speedup": 2.0, "slots": 3, "mean_length": 9.0, "step": 1.0, "prefill": 1.0},
    ),
    # the course
    "check": (course.check, {"name": "01.spell", "answer": 1}),
    **{f"check {name}": (partial(course.check, name), {"answer": 1}) for name in EXERCISES},
    **{f"{name} returns": (partial(returning, name), {"answer": 1}) for name in EXERCISES},
    "solution": (course.solution, {"name": "01.spell"}),
    "progress": (course.progress, {"notebook": "01"}),
    "predict": (course.predict, {"values": [1, 2, 3], "unit": "s"}),
    "predict.beside": (lambda result: course.predict([1, 2, 3]).beside(result), {"result": 2}),
    "knobs": (
        lambda show, values: repr(course.knobs(show, x=values)),
        {"show": lambda x=1: course.table(["a"], [[x]]), "values": [1, 2]},
    ),
    "course.table": (course.table, {"head": ["a", "b"], "rows": [[1, 2]]}),
    "course.tokens": (lambda marks: course.tokens(["a"], marks=marks), {"marks": ("prompt", "answer")}),
    "course.tokens(group)": (lambda group: course.tokens(group), {"group": ["a"]}),
    "course.memory": (course.memory, {"rows": [("a", [("b", 1, 1)])], "total": 4}),
    "course.timeline": (course.timeline, {"rows": [("a", [1.0, 2.0])], "arrivals": [0.0]}),
    "course.language": (course.language, {"name": "en"}),
    # models and experiments; each valid value is one that is refused at once, so that nothing runs
    "load": (load, {"name": "nonsense", "device": "cpu", "dtype": "float32", "weights": None, "progress": False}),
    "race": (
        cbviz.race,
        {
            "model": "random:none",
            "slots": 2,
            "requests": 2,
            "workload": None,
            "prompts": None,
            "seed": 0,
            "device": "cpu",
            "dtype": None,
            "weights": None,
            "repeats": 1,
            "block_size": 16,
            "kv_blocks": None,
            "kv_tokens": None,
            "prefix_cache": False,
            "preemption": "recompute",
            "swap_blocks": None,
            "max_new_tokens": None,
            "live": False,
            "language": "en",
        },
    ),
    "race of a loaded model": (
        lambda **named: cbviz.race(tiny(), live=False, **named),
        {
            "prompts": None,
            "requests": 2,
            "repeats": 0,
            "device": None,
            "dtype": None,
            "prefix_cache": False,
            "preemption": "recompute",
            "progress": None,
            "run": False,
        },
    ),
    "play": (
        lambda **named: cbviz.play(tiny(), live=False, **named),
        {
            "policies": ("static",),
            "slots": 2,
            "most_slots": 2,
            "rate": 14,
            "backlog": 2,
            "spread": 1.0,
            "mean": 40.0,
            "pace": 30,
            "iterations": 2,
            "seed": 0,
            "device": None,
            "dtype": None,
            "run": False,
        },
    ),
    "bench": (
        lambda **named: cbviz.bench(tiny(), requests=2, max_new_tokens=2, slots=2, repeats=1, **named),
        {"workload": "none", "peers": (), "progress": None},
    ),
}


def parameters() -> list[tuple[str, str]]:
    return [(entry, argument) for entry, (_, arguments) in ENTRIES.items() for argument in arguments]


@pytest.mark.parametrize(("entry", "argument"), parameters())
def test_nonsense_is_taken_or_refused(
    entry: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function, valid = ENTRIES[entry]
    failed = []
    for kind, make in NONSENSE.items():
        given = {
            name: value.replace("FOLDER", str(tmp_path)) if isinstance(value, str) else value
            for name, value in valid.items()
        } | {argument: make()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                function(**given)
        except CbvizError as error:
            text = str(error)
            text.encode("utf-8")
            if len(text) > 1000 or "\n" in text:
                failed.append(f"{kind}: a sentence of {len(text)} characters: {text[:100]!r}")
        except Exception as error:
            failed.append(f"{kind}: {type(error).__name__}: {str(error)[:100]}")
    assert not failed, "\n".join(failed)


OURS = re.compile(
    r"name_of\(|meta\.policy|model_type|\bkind\b|printable\(|self\.title|self\.reserve|_shortened\(|\bhas\b|\btwice\b|"
    r"device\.type|(strange|missing|unknown)\[0\]|\bhole\b|\bline\b|\bstep\b|\brate\b|burstiness|blocks_total|"
    r"_total_blocks|_now|t_start|t_end|\.index|\bname\b|__name__|\bkey\b|\bplace\b"
)
"""Values in sentences that are plain texts and numbers of ours, or were checked before."""


def test_a_refused_value_is_shown_by_checks_shown() -> None:
    """`{value!r}` of a caller's value raises where its repr does, and a sentence with it may be a megabyte long."""
    found = []
    for path in sorted(Path(cbviz.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Raise) and "cli" not in path.parts:
                found += [
                    f"{path.name}:{part.lineno}: {ast.unparse(part.value)}"
                    for part in ast.walk(node)
                    if isinstance(part, ast.FormattedValue)
                    and part.conversion == ord("r")
                    and not OURS.search(ast.unparse(part.value))
                ]
    assert not found, "\n".join(found)
