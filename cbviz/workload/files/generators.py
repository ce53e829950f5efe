"""Results of load generators: vLLM's bench, AIPerf, GuideLLM, inference-perf, and vLLM runs in LLMServingSim's format.

Field names are those that the tools' own code writes: vLLM 0.11 and later (`vllm bench serve --save-result
--save-detailed`), AIPerf 0.13 (`profile_export.jsonl`), GuideLLM 0.5 to 0.8 (`benchmarks.json`), inference-perf 0.7
(`per_request_lifecycle_metrics.json`) and LLMServingSim 2.0 (`bench/`, `requests.jsonl`).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

from cbviz.checks import is_version
from cbviz.messages import Message
from cbviz.workload.files.rows import LATEST_STAMP, Row, Rows, as_json
from cbviz.workload.files.served_rows import ServedRows
from cbviz.workload.load_results import LoadResults, Served

NANOSECONDS = 1e-9
GUIDELLM_REPORTS = {1: "GuideLLM 0.5 and 0.6", 2: "GuideLLM 0.7 and 0.8"}
"""Versions of GuideLLM's reports that are read, and who writes them."""
INTERRUPTED_CALL = Message("load.interrupted")
"""What `cbviz load` writes as the error of a request that was still open when its run was interrupted."""
TIME_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "sec": 1.0, "s": 1.0}


def vllm_bench(rows: Rows) -> tuple[LoadResults, ...]:
    """Each JSON object is one benchmark; `--append-result` writes several.

    Older files, such as those of vLLM 0.11, hold no start times. Where the rate was infinite and nothing limited the
    concurrency, all requests were sent at once; otherwise the times are not known.
    """
    return tuple(_vllm_run(row) for row in rows)


def _vllm_run(row: Row) -> LoadResults:
    lists = {name: row.get(name) for name in ("input_lens", "output_lens", "ttfts", "itls", "errors")}
    if any(not isinstance(column, list) for column in lists.values()):
        row.fail("it holds no requests; run `vllm bench serve` with --save-result --save-detailed.")
    for name in ("start_times", "queue_times", "latencies"):
        if isinstance(row.get(name), list):
            lists[name] = row.get(name)
    count = _equally_long(row, lists)
    most = row.tokens("max_concurrency") if row.has("max_concurrency") else None
    unlimited = row.get("request_rate") in ("inf", math.inf) and not row.has("ramp_up_strategy")
    at_once = unlimited and most is None
    notes: tuple[str, ...] = ()
    if "start_times" not in lists:
        notes = (Message("doctor.note_all_at_once" if at_once else "doctor.note_no_start_times"),)
    served = ServedRows(row.source)
    for n in range(count):
        one = Row(row.source, n + 1, {name: column[n] for name, column in lists.items()})
        error = one.text("errors")
        sent = one.seconds("start_times") if "start_times" in lists else 0.0
        queued = one.seconds("queue_times") if "queue_times" in lists else 0.0
        gaps, ttft = one.numbers("itls"), one.seconds("ttfts")
        output = 0 if error else one.tokens("output_lens", 0)
        latency = one.seconds("latencies") if "latencies" in lists else 0.0
        last = sent + (latency if "latencies" in lists else ttft + sum(gaps))
        failed = bool(error) or not output  # then vLLM leaves the latency at 0, so the end is not known
        first = None if failed else sent + ttft
        served.add(
            one,
            Served(
                id=str(n),
                arrival=sent - queued,
                sent=sent,
                first=first,
                last=None if failed else last,
                end=None if failed and not latency else last,
                input_tokens=one.tokens("input_lens", 0),
                output_tokens=output,
                gaps=None if failed else gaps,
                error=error,
                given_up=error == INTERRUPTED_CALL,
            ),
        )
    return LoadResults(
        tool="vllm-bench",
        name=row.source if row.number == 1 else f"{row.source}, run {row.number}",
        served=served.in_order(),
        timed="start_times" in lists or at_once,
        duration=_duration(row, served),
        reported=_numbers(row, ("_ms", "throughput", "goodput", "completed")),
        settings={
            key: row.plain(key)
            for key in ("model_id", "backend", "request_rate", "burstiness", "max_concurrency", "num_prompts", "date")
            if row.has(key)
        },
        notes=notes,
        closed=most is not None if unlimited else False if row.has("request_rate") else None,
        concurrency=most,
    )


def _equally_long(row: Row, columns: dict[str, Any]) -> int:
    """How many requests the columns have. A column that differs from most others is named."""
    lengths = {name: len(column) for name, column in columns.items()}
    (count, most), *rest = Counter(lengths.values()).most_common()
    if not rest:
        return count
    if most > rest[0][1]:
        for name, length in lengths.items():
            if length != count:
                entries = "1 entry" if length == 1 else f"{length:,} entries"
                row.fail(f"{name} has {entries} where most columns have {count:,}.")
    row.fail(f"its columns differ in length: {', '.join(f'{name} {length:,}' for name, length in lengths.items())}.")


def aiperf(rows: Rows) -> tuple[LoadResults, ...]:
    """One request a line, wall clock in nanoseconds; requests of the warm-up are left out."""
    served = ServedRows(rows.source)
    for row in rows:
        if row.one_of("metadata.benchmark_phase", "warmup", "profiling") == "warmup":
            continue
        sent = row.seconds("metadata.request_start_ns", NANOSECONDS)
        issued = row.get("metadata.credit_issued_ns")
        arrival = row.seconds("metadata.credit_issued_ns", NANOSECONDS) if issued is not None else sent
        end = row.seconds("metadata.request_end_ns", NANOSECONDS)
        failure = row.get("error")
        error = ""
        if failure is not None or row.get("metadata.was_cancelled") is True:
            said = failure.get("message") if isinstance(failure, dict) else failure
            error = said if isinstance(said, str) and said else "cancelled" if failure is None else "failed"
        latency, ttft = _aiperf_time(row, "request_latency"), _aiperf_time(row, "time_to_first_token")
        output = _aiperf_tokens(row, "output_sequence_length") or _aiperf_tokens(row, "output_token_count")
        failed = bool(error) or latency is None or not output
        gaps = row.get("metrics.inter_chunk_latency.value")
        unit = _aiperf_unit(row, "inter_chunk_latency") if isinstance(gaps, list) else 1.0
        served.add(
            row,
            Served(
                id=row.text("metadata.x_request_id") or str(row.number),
                arrival=min(arrival, sent),
                sent=sent,
                first=None if failed or ttft is None else sent + ttft,
                last=None if failed or latency is None else sent + latency,
                end=end,
                input_tokens=_aiperf_tokens(row, "input_sequence_length"),
                output_tokens=0 if failed else output,
                gaps=row.numbers("metrics.inter_chunk_latency.value", unit) if isinstance(gaps, list) else None,
                client=row.text("metadata.conversation_id") or None,
                error=error,
                given_up=row.get("metadata.was_cancelled") is True,
            ),
        )
    return (LoadResults("aiperf", rows.source, served.in_order()),)


def _aiperf_time(row: Row, metric: str) -> float | None:
    """A metric of a record in seconds; the file names its unit."""
    if row.get(f"metrics.{metric}.value") is None:
        return None
    return row.seconds(f"metrics.{metric}.value", _aiperf_unit(row, metric))


def _aiperf_unit(row: Row, metric: str) -> float:
    """How many seconds one of a metric's unit is."""
    unit = row.get(f"metrics.{metric}.unit")
    if unit is None:
        row.no_value(f"metrics.{metric}.unit")
    if not isinstance(unit, str) or unit not in TIME_UNITS:
        row.fail(f"{metric} has the unit {as_json(unit)}; {', '.join(TIME_UNITS)} are known.")
    return TIME_UNITS[unit]


def _aiperf_tokens(row: Row, metric: str) -> int:
    column = f"metrics.{metric}.value"
    return row.tokens(column, 0) if row.get(column) is not None else 0


def guidellm(rows: Rows) -> tuple[LoadResults, ...]:
    """One run for each benchmark of the report: a sweep has one for each rate.

    A benchmark that ended before its first request is left out, and the others say so.
    """
    row = next(iter(rows))
    _check_guidellm_version(row)
    benchmarks = row.get("benchmarks")
    if not isinstance(benchmarks, list) or not benchmarks:
        row.fail("it holds no benchmarks.")
    found, empty = [], []
    for n, benchmark in enumerate(benchmarks, 1):
        run = Row(row.source, n, benchmark if isinstance(benchmark, dict) else {})
        served = ServedRows(row.source)
        for status in ("successful", "incomplete", "errored"):
            requests = run.get(f"requests.{status}")
            if requests is not None and not isinstance(requests, list):
                run.fail(f"requests.{status} must be a list of requests, not {as_json(requests)}.")
            for one in requests or ():
                if not isinstance(one, dict):
                    run.fail("a request must be a JSON object.")
                number = Row(row.source, len(served) + 1, one)
                served.add(number, _guidellm_request(number, status))
        if not len(served):
            empty.append(run)
            continue
        kind, closed, clients = _guidellm_strategy(run)
        name = row.source if len(benchmarks) == 1 else f"{row.source}, {n}" + (f" ({kind})" if kind else "")
        lasted = _duration(run, served)
        found.append(
            LoadResults("guidellm", name, served.in_order(), duration=lasted, closed=closed, concurrency=clients)
        )
    if not found:
        empty[0].fail("it holds no requests; GuideLLM keeps them unless its report was reduced.")
    notes = tuple(Message("doctor.note_no_requests", number=run.number) for run in empty)
    return tuple(replace(run, notes=notes) for run in found)


def _guidellm_strategy(run: Row) -> tuple[str, bool | None, int | None]:
    """The name of a benchmark's strategy, whether it is a closed loop, and of how many clients.

    A throughput benchmark sends as many requests at once as it may, so it is a loop of that many clients.
    """
    strategy = "config.strategy"
    kind = run.text(f"{strategy}.type_") or run.text(f"{strategy}.kind")
    if kind in ("constant", "poisson"):  # their max_concurrency is the most that GuideLLM's processes could hold
        return kind, False, None
    column = {"concurrent": f"{strategy}.streams", "throughput": f"{strategy}.max_concurrency"}.get(kind)
    clients = 1 if kind == "synchronous" else run.tokens(column) if column is not None and run.has(column) else None
    return kind, None if clients is None else True, clients


def _duration(row: Row, served: ServedRows) -> float | None:
    """Seconds that the run took, as its file says. One whose requests all failed may have taken no time."""
    return row.lasting("duration") if any(one.good for one in served.in_order()) else None


def _check_guidellm_version(row: Row) -> None:
    """Raise WorkloadError for a report of an unknown version. GuideLLM reads one without a version, too."""
    metadata = row.get("metadata")
    if not isinstance(metadata, dict) or "version" not in metadata:
        return
    if not is_version(version := metadata["version"], *GUIDELLM_REPORTS):
        known = " and ".join(f"{number} ({who})" for number, who in GUIDELLM_REPORTS.items())
        row.fail(f"metadata.version is {as_json(version)}; reports of version {known} are read.")


def _guidellm_request(row: Row, status: str) -> Served:
    failed = status != "successful"
    times = "info.timings"
    sent = row.seconds(f"{times}.request_start" if row.has(f"{times}.request_start") else "request_start_time")
    targeted = row.seconds(f"{times}.targeted_start") if row.has(f"{times}.targeted_start") else sent

    def moment(column: str) -> float | None:
        return row.seconds(column) if row.has(column) else None

    first, last = moment(f"{times}.first_token_iteration"), moment(f"{times}.last_token_iteration")
    end = moment(f"{times}.request_end") or moment("request_end_time")
    output = row.tokens("output_tokens", 0) if row.has("output_tokens") else 0
    return Served(
        id=row.text("request_id") or str(row.number),
        arrival=min(targeted, sent),
        sent=sent,
        first=None if failed else first,
        last=None if failed else last or end,
        end=end,
        input_tokens=row.tokens("prompt_tokens", 0) if row.has("prompt_tokens") else 0,
        output_tokens=0 if failed else output,
        error=(row.text("info.error") or status) if failed else "",
        given_up=status == "incomplete",
    )


def inference_perf(rows: Rows) -> tuple[LoadResults, ...]:
    """Entries of `per_request_lifecycle_metrics.json`: start and end, and the time of every output token."""
    served = ServedRows(rows.source)
    for row in rows:
        sent, end = row.seconds("start_time"), row.seconds("end_time")
        failure = row.get("error")
        times = row.get("info.response_metrics.output_token_times")
        tokens = row.numbers("info.response_metrics.output_token_times") if isinstance(times, list) else ()
        if any(later < earlier for earlier, later in pairwise(tokens)):
            row.fail("output_token_times run backwards.")
        output = "info.response_metrics.output_tokens"
        inputs = "info.request_metrics.text.input_tokens"
        failed = failure is not None
        said = failure.get("error_msg") if isinstance(failure, dict) else failure
        served.add(
            row,
            Served(
                id=str(row.number),
                arrival=sent,
                sent=sent,
                first=tokens[0] if tokens and not failed else None,
                last=None if failed else tokens[-1] if tokens else end,
                end=end,
                input_tokens=row.tokens(inputs, 0) if row.has(inputs) else 0,
                output_tokens=0 if failed else row.tokens(output, 0) if row.has(output) else len(tokens),
                gaps=tuple(b - a for a, b in pairwise(tokens)) if tokens else None,
                error=(said if isinstance(said, str) and said else "failed") if failed else "",
            ),
        )
    return (LoadResults("inference-perf", rows.source, served.in_order()),)


def llmservingsim(rows: Rows) -> tuple[LoadResults, ...]:
    """A vLLM run recorded inside the server: arrival on the wall clock, all else on the engine's own clock.

    The offset between the clocks is not recorded. Arrivals are shifted so that the quickest intake takes no time.
    """
    found = []
    for row in rows:
        stamps = ("queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")
        moments = [row.number_in(name, -LATEST_STAMP, LATEST_STAMP) for name in stamps]
        if moments != sorted(moments):
            row.fail("its times run backwards: queued, scheduled, first token and last token must follow in order.")
        found.append((row, row.seconds("arrival_time"), moments))
    offset = min((moments[0] - arrival for _, arrival, moments in found), default=0.0)
    served = ServedRows(rows.source)
    for row, arrival, moments in found:
        one = Served(
            id=row.text("request_id") or str(row.number),
            arrival=arrival + offset,
            sent=moments[0],
            scheduled=moments[1],
            first=moments[2],
            last=moments[3],
            end=moments[3],
            input_tokens=row.tokens("input_toks"),
            output_tokens=row.tokens("output_toks"),
        )
        served.add(row, one)
    notes = (Message("doctor.note_no_chunk_times"),)
    return (LoadResults("vllm-server", rows.source, served.in_order(), notes=notes, closed=False),)


def _numbers(row: Row, endings: tuple[str, ...]) -> dict[str, float]:
    """The numbers of a row whose names end in one of these ways. Raises WorkloadError for one that is not finite."""
    names = [name for name, value in row.values.items() if name.endswith(endings) and type(value) in (int, float)]
    return {name: row.number_in(name) for name in names}
