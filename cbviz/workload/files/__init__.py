"""Files that people already have: traces of production services, and results of load generators.

The format is recognised by what is in the file, not by its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from cbviz.checks import one_of
from cbviz.errors import WorkloadError
from cbviz.workload.checks import MOST_REQUESTS, amount
from cbviz.workload.files import generators, production
from cbviz.workload.files.rows import Rows, open_rows
from cbviz.workload.load_results import LoadResults
from cbviz.workload.traffic import Traffic

__all__ = ["FORMATS", "read_results", "read_traffic"]


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How one format is recognised, and who reads it.

    Attributes
    ----------
    title
        What a message calls it.
    columns
        Columns of a CSV file, or keys of the first JSON object, that it must have.
    traffic, results
        Its reader: one of the two.
    """

    title: str
    columns: tuple[str, ...]
    traffic: Callable[[Rows, int], Traffic] | None = None
    results: Callable[[Rows], tuple[LoadResults, ...]] | None = None


FORMATS: dict[str, FileFormat] = {
    "azure": FileFormat(
        "Azure LLM inference trace", ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), production.azure
    ),
    "burstgpt": FileFormat("BurstGPT", ("Timestamp", "Request tokens", "Response tokens"), production.burstgpt),
    "mooncake": FileFormat("Mooncake", ("timestamp", "input_length", "output_length"), production.mooncake),
    "weka": FileFormat("WEKA", ("id", "requests"), production.weka),
    "vllm-bench": FileFormat("vLLM bench", ("ttfts", "itls", "input_lens"), results=generators.vllm_bench),
    "aiperf": FileFormat("AIPerf records", ("metadata", "metrics"), results=generators.aiperf),
    "guidellm": FileFormat("GuideLLM report", ("metadata", "benchmarks"), results=generators.guidellm),
    "inference-perf": FileFormat(
        "inference-perf requests", ("start_time", "end_time", "info"), results=generators.inference_perf
    ),
    "llmservingsim": FileFormat(
        "vLLM run in LLMServingSim's format",
        ("input_toks", "output_toks", "queued_ts", "first_token_ts"),
        results=generators.llmservingsim,
    ),
}
"""Name → format, in the order in which they are tried."""


def read_traffic(path: str | os.PathLike[str], format: str | None = None, first: int | None = None) -> Traffic:
    """Read when requests came and how long they were: from a trace of a service, or from a load generator's results.

    Parameters
    ----------
    path
        The file; it may be compressed with gzip.
    format
        A name of `FORMATS`; None recognises it.
    first
        Read only so many rows of a trace; None reads all.

    Returns
    -------
    Traffic
        In order of arrival.

    Raises
    ------
    FileError
        The file cannot be read.
    WorkloadError
        It is in no known format, is cut short, or a row is malformed: the sentence has the number of the row.

    Examples
    --------
    >>> from pathlib import Path
    >>> from cbviz.workload import read_traffic
    >>> rows = "2023-11-16 18:17:03.98,4808,10\\n2023-11-16 18:17:04.03,3180,8\\n"
    >>> _ = Path("code.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\\n" + rows)
    >>> read_traffic("code.csv").output_tokens
    (10, 8)
    """
    most = MOST_REQUESTS if first is None else amount("first", first)
    rows = open_rows(path, "the file of traffic")
    kind = _recognised(rows, format)
    if kind.traffic is not None:
        return kind.traffic(rows, most)
    assert kind.results is not None
    runs = kind.results(rows)
    if len(runs) > 1:
        raise WorkloadError(f"{rows.source} holds {len(runs)} runs; read_results(path)[0].traffic() takes the first.")
    return runs[0].traffic() if first is None else runs[0].traffic().first(most)


def read_results(path: str | os.PathLike[str], format: str | None = None) -> tuple[LoadResults, ...]:
    """Read what a load generator measured.

    Parameters
    ----------
    path
        The file; it may be compressed with gzip.
    format
        A name of `FORMATS`; None recognises it.

    Returns
    -------
    tuple of LoadResults
        One for each run in the file.

    Raises
    ------
    FileError
        The file cannot be read.
    WorkloadError
        It is in no known format, holds no results, is cut short, or a row is malformed.
    """
    rows = open_rows(path, "the file of results")
    kind = _recognised(rows, format)
    if kind.results is None:
        raise WorkloadError(
            f"{rows.source} is traffic ({kind.title}), not the result of a run: it does not say when tokens came."
        )
    return kind.results(rows)


def _recognised(rows: Rows, name: str | None) -> FileFormat:
    """The format with this name, or the first one whose columns the file has. Raises WorkloadError."""
    head = rows.head if rows.kind == "csv" else list(rows.head) if isinstance(rows.head, dict) else []
    if name is not None:
        kind = FORMATS[one_of("format", name, FORMATS, error=WorkloadError)]
        if missing := [column for column in kind.columns if column not in head]:
            raise WorkloadError(f"{rows.source} lacks the column {missing[0]!r} of the format {kind.title}.")
        return kind
    for kind in FORMATS.values():
        if all(column in head for column in kind.columns):
            return kind
    likeness = {title: sum(column in head for column in kind.columns) for title, kind in FORMATS.items()}
    nearest = max(likeness, key=likeness.__getitem__)
    if likeness[nearest]:
        missing = [column for column in FORMATS[nearest].columns if column not in head]
        raise WorkloadError(f"{rows.source} looks like {FORMATS[nearest].title}, but lacks {missing[0]!r}.")
    known = ", ".join(kind.title for kind in FORMATS.values())
    raise WorkloadError(f"{rows.source} is in no format that is known here; those are {known}.")
