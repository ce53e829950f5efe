"""A number that no computer counts with, in any place of any result or trace: it is read, or answered by a sentence."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz.errors import CbvizError, WorkloadError
from cbviz.run.traffic_work import work_of
from cbviz.workload import read_results, read_traffic

HERE = Path(__file__).parent
RESULTS = ("vllm_bench.json", "vllm_bench_old.json", "aiperf.jsonl", "guidellm.json.gz", "inference_perf.json.gz")
FILES = (
    *(f"load_results/{name}" for name in (*RESULTS, "vllm_server_rtx4090.jsonl.gz")),
    "traffic/mooncake_conversation.jsonl.gz",
    "traffic/weka.jsonl",
)
BEYOND = {"huge": str(10**400), "below": str(-(10**400)), "infinite": "1e400"}


def rows_of(name: str) -> list[Any]:
    """The JSON values of a file: its first lines, or the one document."""
    raw = (HERE / name).read_bytes()
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
    return [json.loads(line) for line in text.splitlines()[:20]] if ".jsonl" in name else [json.loads(text)]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value has something that is no table and no list; of a list, its first entry."""
    if isinstance(value, dict | list) and value:
        entries = value.items() if isinstance(value, dict) else [(0, value[0])]
        for key, inner in entries:
            yield from places(inner, (*path, key))
    else:
        yield path


def changed(rows: list[Any], place: tuple[Any, ...], number: str) -> str:
    """The text of the file with a number in this place."""
    copy = json.loads(json.dumps(rows))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = "the number"
    return "\n".join(map(json.dumps, copy)).replace('"the number"', number)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("number", BEYOND)
def test_a_number_beyond_all_is_read_or_refused(name: str, number: str, tmp_path: Path) -> None:
    rows, path = rows_of(name), tmp_path / "x"
    tried = 0
    for place in places(rows):
        path.write_text(changed(rows, place, BEYOND[number]))
        tried += 1
        with contextlib.suppress(CbvizError):
            traffic = read_traffic(path)
            work_of(traffic), traffic.workload(512)
        if name.startswith("load_results"):
            with contextlib.suppress(CbvizError):
                (run,) = read_results(path)
                json.dumps(cbviz.doctor(run).to_json(), allow_nan=False)
    assert tried >= 3


@pytest.mark.parametrize(
    ("column", "number", "complaint"),
    [
        ("completed", 10**400, "completed must be a finite number, not a whole number of about 401 digits"),
        ("mean_ttft_ms", 10**400, "mean_ttft_ms must be a finite number"),
        ("burstiness", 10**400, "burstiness must be a finite number"),
        ("num_prompts", [24], "num_prompts must be a number or a text"),
    ],
    ids=["completed", "mean_ttft_ms", "burstiness", "num_prompts"],
)
def test_what_is_no_number_is_named(column: str, number: Any, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(rows_of("load_results/vllm_bench.json")[0] | {column: number}))
    with pytest.raises(WorkloadError, match=complaint):
        read_results(tmp_path / "x.json")
