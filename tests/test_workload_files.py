"""Files of traffic and of results: what is in them is read, and each way in which one can be wrong is one sentence."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cbviz
from cbviz.errors import CbvizError, FileError, WorkloadError
from cbviz.measure import speedup_empirical
from cbviz.workload import FORMATS, LoadResults, Poisson, Request, Served, Traffic, read_results, read_traffic

HERE = Path(__file__).parent
TRAFFIC, RESULTS = HERE / "traffic", HERE / "load_results"
CONVERSATION = TRAFFIC / "azure_2023_conversation.csv.gz"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
SAME_RUN = ("vllm_bench.json", "aiperf.jsonl", "guidellm.json.gz", "inference_perf.json.gz")


def written(folder: Path, text: str | bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# ------------------------------------------------------------------ traffic


def test_azure() -> None:
    traffic = read_traffic(CONVERSATION)
    assert len(traffic) == 300
    assert traffic.arrival[:2] == (0.0, pytest.approx(50.995169 - 46.680590))
    assert (traffic.input_tokens[:2], traffic.output_tokens[:2]) == ((374, 396), (44, 109))
    assert len(read_traffic(TRAFFIC / "azure_2023_code.csv.gz")) == 300


def test_azure_of_2024_has_a_time_zone(tmp_path: Path) -> None:
    rows = "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01.009930+00:00,2399,6\n"
    assert read_traffic(written(tmp_path, AZURE + rows)).arrival == (0.0, 1.0)


def test_azure_counts_offsets_from_utc(tmp_path: Path) -> None:
    rows = "2024-05-10 00:00:00+00:00,1,1\n2024-05-10 02:00:01+02:00,2,2\n2024-05-09T19:30:03.5-04:30,3,3\n"
    assert read_traffic(written(tmp_path, AZURE + rows)).arrival == (0.0, 1.0, 3.5)
    ends = "0001-01-01 00:00:00+14:00,1,1\n9999-12-31 23:59:59-12:00,1,1\n"  # beyond what a date in UTC can be
    with pytest.raises(WorkloadError, match="must span at most 1,000,000,000 s"):
        read_traffic(written(tmp_path, AZURE + ends))


def test_mooncake_has_prefixes() -> None:
    traffic = read_traffic(TRAFFIC / "mooncake_conversation.jsonl.gz", first=40)
    assert (len(traffic), traffic.prefix_tokens) == (40, 512)
    assert traffic.prefix[0] == tuple(range(14))
    work = traffic.first(3).clipped(input_tokens=1200, output_tokens=8).workload(vocabulary=500, seed=1)
    first, second = work.requests[:2]
    assert first.prompt[:512] == second.prompt[:512]  # the system prompt, block 0
    assert first.prompt[512:1024] != second.prompt[512:1024]
    assert [len(request.prompt) for request in work] == [1200, 1200, 1200]
    assert {request.max_new_tokens for request in work} == {8}


def test_burstgpt_leaves_out_failures() -> None:
    traffic = read_traffic(TRAFFIC / "burstgpt.csv")
    assert (traffic.output_tokens, traffic.left_out) == ((18, 230, 276, 12), 1)
    assert traffic.client == ("a1", "b2", "a1", "ChatGPT")
    assert traffic.arrival == (0.0, 40.0, 113.0, 137.5)


def test_weka_flattens_conversations_and_subagents() -> None:
    traffic = read_traffic(TRAFFIC / "weka.jsonl")
    assert traffic.arrival == (0.0, 2.0, 4.5, 9.0)
    assert traffic.client == ("conv-a", "conv-b", "conv-a", "conv-a")
    assert traffic.input_tokens == (130, 128, 64, 200)
    assert traffic.prefix[0] == traffic.prefix[3][:2]
    assert not set(traffic.prefix[1]) & set(traffic.prefix[0])  # the ids are local to a conversation


# ------------------------------------------------------------------ what can be done with it


def small() -> Traffic:
    return read_traffic(CONVERSATION)


def test_rates_are_rescaled() -> None:
    traffic = small()
    assert traffic.at_rate(2.5).rate == pytest.approx(2.5)
    assert traffic.at_rate(2.5).output_tokens == traffic.output_tokens
    again = traffic.at_rate(2.5).at_rate(traffic.rate)
    assert again.arrival == pytest.approx(traffic.arrival)


def test_resampling_keeps_the_laws() -> None:
    traffic = small()
    drawn = traffic.resampled(20_000, seed=3)
    assert drawn == traffic.resampled(20_000, seed=3) != traffic.resampled(20_000, seed=4)
    assert set(zip(drawn.input_tokens, drawn.output_tokens, strict=True)) <= set(
        zip(traffic.input_tokens, traffic.output_tokens, strict=True)
    )
    assert drawn.rate == pytest.approx(traffic.rate, rel=0.05)
    for n in (8, 32):
        there = speedup_empirical(n, traffic.output_tokens)
        assert speedup_empirical(n, drawn.output_tokens) == pytest.approx(there, rel=0.05)


def test_a_stretch_of_time_begins_at_zero() -> None:
    traffic = small()
    part = traffic.between(10, 20)
    expected = [time for time in traffic.arrival if 10 <= time < 20]
    assert part.arrival == pytest.approx([time - expected[0] for time in expected])
    with pytest.raises(WorkloadError, match=r"has no request from 1e\+06 s"):
        traffic.between(1e6, 2e6)


def test_arrivals_by_a_law() -> None:
    traffic = small().with_arrivals(Poisson(4), seed=1)
    assert traffic.rate == pytest.approx(4, rel=0.2)
    assert traffic.input_tokens == small().input_tokens


def test_a_workload_serves_the_recorded_lengths() -> None:
    traffic = small().first(5)
    work = traffic.workload(vocabulary=1000)
    assert [len(request.prompt) for request in work] == list(traffic.input_tokens)
    assert [request.output_length for request in work] == list(traffic.output_tokens)
    assert {request.max_new_tokens for request in work} == {max(traffic.output_tokens)}
    assert all(3 <= token < 1000 for request in work for token in request.prompt)


def test_tenants_reach_the_requests() -> None:
    traffic = Traffic("t", (0.0, 1.0), (5, 5), (2, 2), client=("a", None), priority=(0, 7))
    assert [(request.client, request.priority) for request in traffic.workload(50)] == [("a", 0), (None, 7)]


def test_tenants_reach_the_trace_and_its_file(tmp_path: Path) -> None:
    traffic = Traffic("t", (0.0, 0.0), (5, 5), (2, 2), client=("a", None), priority=(0, -7))
    work = traffic.workload(50)
    trace = cbviz.schedule("continuous", work, slots=2)
    assert trace.requests.client == ("a", "")
    assert trace.requests.priority.tolist() == [0, -7]
    assert cbviz.load(trace.save(tmp_path / "t.cbviz")) == trace


def test_a_file_of_a_run_without_tenants_is_what_it_was(tmp_path: Path) -> None:
    trace = cbviz.schedule("continuous", Traffic("t", (0.0,), (5,), (2,)).workload(50), slots=1)
    content = json.loads(gzip.decompress(trace.save(tmp_path / "t.cbviz").read_bytes()))
    assert not {"client", "priority"} & content["requests"].keys()
    assert cbviz.load(tmp_path / "t.cbviz").requests.client == ("",)


@pytest.mark.parametrize("value", [b"a", 7, ["a"]])
def test_a_client_is_a_text(value: Any) -> None:
    with pytest.raises(WorkloadError, match="client must be text"):
        Request(0, (1,), 1, client=value)


@pytest.mark.parametrize("value", [1.5, "1", None, 2**31, -(2**31) - 1])
def test_a_priority_is_a_whole_number(value: Any) -> None:
    with pytest.raises(WorkloadError, match="priority must be"):
        Request(0, (1,), 1, priority=value)


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"arrival": (0.0, -1.0)}, "row 2 arrives before row 1"),
        ({"arrival": (0.0, float("nan"))}, "be finite"),
        ({"arrival": (0.0, "1")}, "must hold numbers of seconds"),
        ({"arrival": (), "input_tokens": (), "output_tokens": ()}, "at least one request"),
        ({"input_tokens": (1, 0)}, "input_tokens of row 2"),
        ({"output_tokens": (1, 2.5)}, "output_tokens of row 2"),
        ({"output_tokens": (1,)}, "output_tokens has 1 rows where arrival has 2"),
        ({"prefix": ((1,), (1,))}, "prefix_tokens must be"),
        ({"name": 5}, "the name of traffic must be text"),
    ],
)
def test_columns_must_hold_together(columns: dict[str, Any], complaint: str) -> None:
    sound: dict[str, Any] = {"name": "t", "arrival": (0.0, 1.0), "input_tokens": (1, 1), "output_tokens": (1, 1)}
    assert len(Traffic(**sound)) == 2
    with pytest.raises(WorkloadError, match=complaint):
        Traffic(**sound | columns)


def test_all_at_once_has_no_rate_to_scale() -> None:
    traffic = Traffic("t", (0.0, 0.0), (1, 1), (1, 1))
    assert traffic.rate == float("inf")
    with pytest.raises(WorkloadError, match="come at once"):
        traffic.at_rate(2)


def test_prompts_that_would_fill_the_memory_are_refused() -> None:
    with pytest.raises(WorkloadError, match=r"take fewer requests with first\(n\)"):
        Traffic("t", (0.0,), (2**30,), (1,)).workload(100)


# ------------------------------------------------------------------ results


@pytest.mark.parametrize("name", SAME_RUN)
def test_every_tools_file_tells_the_same_run(name: str) -> None:
    """The run that make.py writes in each format, from its truth."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("make", RESULTS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    truth = make.requests()
    (run,) = read_results(RESULTS / name)
    assert run.timed
    offset = run.served[0].sent - truth[0]["sent"]
    for one, real in zip(run.served, truth, strict=True):
        assert one.sent - offset == pytest.approx(real["sent"], abs=2e-6)
        assert bool(one.error) == real["failed"]
        assert one.good != real["failed"]
        if real["failed"]:
            assert (one.first, one.last, one.output_tokens) == (None, None, 0)
            continue
        assert one.first is not None
        assert one.last is not None
        assert one.first - one.sent == pytest.approx(real["times"][0] - real["sent"], abs=2e-6)
        assert one.last - one.sent == pytest.approx(real["times"][-1] - real["sent"], abs=2e-6)
        assert (one.input_tokens, one.output_tokens) == (real["input"], real["output"])
        if name == "inference_perf.json.gz":  # it writes a time for every token, and no arrival
            assert sum(one.gaps or ()) == pytest.approx(sum(real["gaps"]), abs=2e-6)
        else:
            assert one.sent - one.arrival == pytest.approx(real["kept_back"], abs=2e-6)
            if name != "guidellm.json.gz":
                assert one.gaps == (pytest.approx(real["gaps"], abs=2e-6) if real["gaps"] else one.gaps)
    assert len(run.traffic()) == len(truth) - 1


@pytest.mark.parametrize("metadata", [{"version": 1}, {"version": 2}, {}])
def test_known_reports_of_guidellm_are_read(metadata: dict[str, Any], tmp_path: Path) -> None:
    """GuideLLM 0.5 and 0.6 wrote the same fields of a request in reports of version 1."""
    (run,) = read_results(written(tmp_path, changed("guidellm.json.gz", metadata=metadata)))
    assert len(run.served) == 24


@pytest.mark.parametrize(("scope", "apart"), [("local", True), ("global", False), (None, False)])
def test_blocks_are_shared_where_the_scope_says_so(scope: str | None, apart: bool, tmp_path: Path) -> None:
    requests = [{"t": 0, "type": kind, "in": 64, "out": 5, "hash_ids": [1]} for kind in ("n", "s", None)]
    rows = [{"id": name, "hash_id_scope": scope, "requests": requests} for name in "ab"]
    traffic = read_traffic(written(tmp_path, "\n".join(map(json.dumps, rows))))
    assert len(set(traffic.prefix)) == (2 if apart else 1)


def test_an_old_file_of_vllm_has_no_start_times() -> None:
    (run,) = read_results(RESULTS / "vllm_bench_old.json")
    assert not run.timed
    assert "no start times" in run.notes[0]
    with pytest.raises(WorkloadError, match="does not say when requests were sent"):
        run.traffic()


def test_without_limits_all_were_sent_at_once(tmp_path: Path) -> None:
    content = json.loads((RESULTS / "vllm_bench_old.json").read_text()) | {"request_rate": "inf"}
    (run,) = read_results(written(tmp_path, json.dumps(content)))
    assert run.timed
    assert {one.sent for one in run.served} == {0.0}


def test_appended_and_indented_files_are_read(tmp_path: Path) -> None:
    text = (RESULTS / "vllm_bench.json").read_text()
    assert len(read_results(written(tmp_path, f"{text}\n{text}\n"))) == 2
    assert len(read_results(written(tmp_path, json.dumps(json.loads(text), indent=2)))) == 1


def test_a_vllm_server_run() -> None:
    """TTFT and the rest as LLMServingSim's own summary of this run gives them (its bench/examples)."""
    (run,) = read_results(RESULTS / "vllm_server_rtx4090.jsonl.gz")
    assert len(run.served) == 300
    ttft = sum(one.first - one.sent for one in run.served if one.first is not None) / 300
    latency = sum(one.last - one.sent for one in run.served if one.last is not None) / 300
    assert (round(ttft * 1e3, 1), round(latency * 1e3, 1)) == (65456.6, 86578.3)
    assert run.traffic().rate == pytest.approx(10, rel=0.05)


def test_the_traffic_of_a_run_can_be_read_at_once() -> None:
    assert read_traffic(RESULTS / "vllm_bench.json", first=3) == read_results(RESULTS / "vllm_bench.json")[
        0
    ].traffic().first(3)


def test_a_run_without_requests_is_none() -> None:
    with pytest.raises(WorkloadError, match="holds no request"):
        LoadResults("aiperf", "x", ())
    failed = Served("0", 0.0, 0.0, None, None, None, 5, 0, error="refused")
    with pytest.raises(WorkloadError, match="no request of x was served"):
        LoadResults("aiperf", "x", (failed,)).traffic()


# ------------------------------------------------------------------ wrong files

ROW = "2023-11-16 18:17:03.98,4808,10\n"
WRONG_TRAFFIC = {
    "empty": ("", "is empty"),
    "blank": ("\n\n", "is empty"),
    "a stamp without an offset": (
        AZURE + "2024-05-10 00:00:00+00:00,1,1\n2024-05-10 00:00:01Z,1,1\n2024-05-10 00:00:02,1,1\n",
        "row 3: TIMESTAMP '2024-05-10 00:00:02' has no offset from UTC, and the rows above have one; all rows must",
    ),
    "a stamp with an offset": (
        AZURE + "2024-05-10 00:00:00,1,1\n2024-05-10 00:00:01+00:00,1,1\n",
        r"row 2: TIMESTAMP '2024-05-10 00:00:01\+00:00' has an offset from UTC, and the rows above have none; all",
    ),
    "a header only": (AZURE, "has no rows: nothing follows its header"),
    "conversations without requests": (
        '{"id": "a", "requests": []}\n{"id": "b", "requests": []}\n',
        "has no conversation with a request that gave a token",
    ),
    "conversations without output": (
        '{"id": "a", "requests": [{"t": 0, "in": 5, "out": 0, "hash_ids": []}]}\n',
        "has no conversation with a request that gave a token",
    ),
    "no header": (ROW + ROW, "in no format that is known here"),
    "one column": ("tokens\n5\n", "neither CSV with a header"),
    "a missing column": ("TIMESTAMP,ContextTokens\n2023-11-16 18:17:03.98,4808\n", "lacks 'GeneratedTokens'"),
    "a column twice": ("TIMESTAMP,ContextTokens,ContextTokens\n", "distinct columns"),
    "negative": (AZURE + ROW + "2023-11-16 18:17:04,-5,10\n", r"row 2: ContextTokens must be a whole number .* '-5'"),
    "half a token": (AZURE + "2023-11-16 18:17:04,5,1.5\n", "row 1: GeneratedTokens must be a whole number"),
    "no number": (AZURE + "2023-11-16 18:17:04,five,1\n", "row 1: ContextTokens must be a finite number, not 'five'"),
    "no date": (AZURE + "yesterday,5,1\n", "row 1: TIMESTAMP must be a date and time"),
    "an empty field": (AZURE + ROW + "2023-11-16 18:17:04,,1\n", "row 2: ContextTokens is empty; it must have"),
    "backwards": (AZURE + ROW + "2023-11-16 18:17:01.98,5,1\n", "row 2: its time runs backwards, by 2 s"),
    "cut short": (AZURE + ROW + "2023-11-16 18:1", "row 2: it has 1 value for 3 columns; the file may be cut short"),
    "too many values": (AZURE + "2023-11-16 18:17:04,1,234,1\n", "row 1: it has 4 values for 3 columns"),
    "JSON that is cut short": (
        '{"timestamp": 0, "input_length": 5, "output_length": 5}\n{"timestamp": 1, "inp',
        "row 2: it is cut short",
    ),
    "JSON that is none": (
        '{"timestamp": 0, "input_length": 5, "output_length": 5}\n{"timestamp": 1, input: 5}\n',
        "row 2: this is not JSON",
    ),
    "a row that is no object": (
        '{"timestamp": 0, "input_length": 5, "output_length": 5}\n[1]\n',
        "row 2: a row must be a JSON object",
    ),
    "a time below zero": ('{"timestamp": -4, "input_length": 5, "output_length": 5}\n', "timestamp must be at least 0"),
    "not a number": ('{"timestamp": NaN, "input_length": 5, "output_length": 5}\n', "row 1: it holds NaN"),
    "truth": ('{"timestamp": true, "input_length": 5, "output_length": 5}\n', "timestamp must be a finite number"),
    "hashes of another length": (
        '{"timestamp": 0, "input_length": 5000, "output_length": 5, "hash_ids": [1]}\n',
        "row 1: it has 1 hash_ids for 5000 input tokens; 10 are needed",
    ),
    "hashes that are none": (
        '{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": ["a"]}\n',
        "hash_ids must be a list of whole numbers",
    ),
    "a time that is null": (
        '{"timestamp": null, "input_length": 5, "output_length": 5}\n',
        "row 1: timestamp is null; it must have a value",
    ),
    "a length that is null": (
        '{"timestamp": 0, "input_length": null, "output_length": 5}\n',
        "row 1: input_length is null; it must have a value",
    ),
    "a length that is not there": (
        '{"timestamp": 0, "input_length": 5, "output_length": 5}\n{"timestamp": 0, "input_length": 5}\n',
        "row 2: output_length is missing",
    ),
    "a length that is a text": (
        '{"timestamp": 0, "input_length": "", "output_length": 5}\n',
        "row 1: input_length must be a finite number, not ''",
    ),
    "truth, in JSON's words": (
        '{"timestamp": 0, "input_length": true, "output_length": 5}\n',
        "row 1: input_length must be a finite number, not true",
    ),
    "a date that is null": (
        '{"TIMESTAMP": null, "ContextTokens": 5, "GeneratedTokens": 5}\n',
        "row 1: TIMESTAMP is null; it must have a value",
    ),
    "a date that is a number": (
        '{"TIMESTAMP": 5, "ContextTokens": 5, "GeneratedTokens": 5}\n',
        "row 1: TIMESTAMP must be a date and time such as .*, not 5",
    ),
    "a row that is null": (
        '{"timestamp": 0, "input_length": 5, "output_length": 5}\nnull\n',
        "row 2: a row must be a JSON object, not null",
    ),
    "a scope that is unknown": (
        '{"id": "a", "hash_id_scope": "galaxy", "requests": [{"t": 0, "in": 5, "out": 5}]}',
        "row 1: hash_id_scope must be 'local' or 'global', or be left out, not 'galaxy'",
    ),
    "a scope that is no text": (
        '{"id": "a", "hash_id_scope": true, "requests": [{"t": 0, "in": 5, "out": 5}]}',
        "row 1: hash_id_scope must be 'local' or 'global', or be left out, not true",
    ),
    "a type that is unknown": (
        '{"id": "a", "requests": [{"t": 0, "type": "agent", "in": 5, "out": 5}]}',
        "row 1: type must be 'n', 's' or 'subagent', or be left out, not 'agent'",
    ),
    "a type that is unknown, of a subagent's request": (
        '{"id": "a", "requests": [{"t": 0, "type": "subagent", "requests": [{"t": 0, "type": 1, "in": 5, "out": 5}]}]}',
        "row 1: type must be 'n', 's' or 'subagent', or be left out, not 1",
    ),
    "a subagent's requests that are none": (
        '{"id": "a", "requests": [{"t": 0, "type": "subagent", "requests": 5}]}',
        "row 1: requests of a subagent must be a list of requests, not 5",
    ),
    "a request that is null": (
        '{"id": "a", "requests": [null]}',
        "row 1: a request must be a JSON object, not null",
    ),
    "deep": ("[" * 100_000 + "\n", "nested too deeply|is cut short"),
    "an empty list": ("[]", "is an empty list"),
    "only failures": (
        "Timestamp,Model,Request tokens,Response tokens\n1,m,5,0\n",
        "no row of the file is a served request",
    ),
    "blocks of another size": ('{"id": "a", "block_size": 16, "requests": [{"t": 0, "in": 5, "out": 5}]}', "have 16"),
    "requests that are none": ('{"id": "a", "requests": 5}', "requests must be a list"),
    "not UTF-8": (AZURE.encode() + b"2023-11-16 18:17:04,\xff,1\n", "line 2: not UTF-8"),
    "packed and cut short": (gzip.compress((AZURE + ROW * 500).encode())[:-30], "is cut short"),
    "packed and damaged": (b"\x1f\x8b" + b"x" * 50, "is damaged"),
}


@pytest.mark.parametrize("case", WRONG_TRAFFIC)
def test_wrong_traffic_is_one_sentence(case: str, tmp_path: Path) -> None:
    content, complaint = WRONG_TRAFFIC[case]
    with pytest.raises(WorkloadError, match=complaint) as caught:
        read_traffic(written(tmp_path, content, "mine.csv"))
    assert "mine.csv" in str(caught.value)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def changed(name: str, **values: Any) -> str:
    """A file of results whose first object has other values."""
    raw = (RESULTS / name).read_bytes()
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
    first, _, rest = text.partition("\n") if name.endswith(".jsonl") else (text, "", "")
    content = json.loads(first)
    target = content[0] if isinstance(content, list) else content
    for path, value in values.items():
        *parents, last = path.split("__")
        inner = target
        for part in parents:
            inner = inner[int(part) if part.isdecimal() else part]
        inner[last] = value
    return json.dumps(content) + "\n" + rest


WRONG_RESULTS = {
    "no details": ("vllm_bench.json", {"itls": None}, "row 1: it holds no requests; .*--save-detailed"),
    "lists of other lengths": ("vllm_bench.json", {"ttfts": [0.1]}, "ttfts has 1 entry where most columns have 24"),
    "one short list": (
        "vllm_bench.json",
        {"start_times": [0.1] * 3},
        "start_times has 3 entries where most .* have 24",
    ),
    "a run of no time": ("vllm_bench.json", {"duration": 0}, "duration must be above 0, for a run takes time"),
    "a negative wait": ("vllm_bench.json", {"ttfts": [-0.1] * 24}, "ttfts must be at least 0"),
    "gaps that are none": ("vllm_bench.json", {"itls": [["a"]] * 24}, "itls must hold finite numbers"),
    "no stamp": ("aiperf.jsonl", {"metadata__request_start_ns": None}, "row 1: metadata.request_start_ns is null; it"),
    "no metadata": (
        "aiperf.jsonl",
        {"metadata": None},
        "row 1: metadata is null, so it has no metadata.request_start_ns; it must have a value",
    ),
    "metadata without a stamp": ("aiperf.jsonl", {"metadata": {}}, "row 1: metadata.request_start_ns is missing"),
    "a wait that is null": ("vllm_bench.json", {"ttfts": [None] * 24}, "row 1: ttfts is null; it must have a value"),
    "gaps that are null": ("vllm_bench.json", {"itls": [None] * 24}, "row 1: itls is null; it must have a value"),
    "a unit that is null": (
        "aiperf.jsonl",
        {"metrics__request_latency__unit": None},
        "row 1: metrics.request_latency.unit is null; it must have a value",
    ),
    "another unit of the gaps": (
        "aiperf.jsonl",
        {"metrics__inter_chunk_latency": {"value": [1.0], "unit": "fortnights"}},
        "row 1: inter_chunk_latency has the unit 'fortnights'; ns, us, ms, sec, s are known",
    ),
    "another phase": (
        "aiperf.jsonl",
        {"metadata__benchmark_phase": "cooldown"},
        "row 1: metadata.benchmark_phase must be 'warmup' or 'profiling', or be left out, not 'cooldown'",
    ),
    "a report of another version": (
        "guidellm.json.gz",
        {"metadata__version": 99},
        r"row 1: metadata.version is 99; reports of version 1 \(GuideLLM 0.5 and 0.6\) and 2 \(GuideLLM 0.7 and 0.8\)",
    ),
    "a report of version true": ("guidellm.json.gz", {"metadata__version": True}, "metadata.version is true; reports"),
    "a report of version null": ("guidellm.json.gz", {"metadata__version": None}, "metadata.version is null; reports"),
    "requests that are none": (
        "guidellm.json.gz",
        {"benchmarks__0__requests__errored": 5},
        "row 1: requests.errored must be a list of requests, not 5",
    ),
    "another unit": (
        "aiperf.jsonl",
        {"metrics__request_latency__unit": "fortnights"},
        "row 1: request_latency has the unit 'fortnights'",
    ),
    "no benchmarks": ("guidellm.json.gz", {"benchmarks": []}, "holds no benchmarks"),
    "no requests": ("guidellm.json.gz", {"benchmarks": [{"requests": {}}]}, "holds no requests"),
    "no start": ("inference_perf.json.gz", {"start_time": "soon"}, "row 1: start_time must be a finite number"),
    "tokens that run backwards": (
        "inference_perf.json.gz",
        {"info__response_metrics__output_token_times": [2.0, 1.0]},
        "row 1: output_token_times run backwards",
    ),
    "times that run backwards": (
        "vllm_server_rtx4090.jsonl.gz",
        {"first_token_ts": 1.0},
        "row 1: its times run backwards",
    ),
    "a wait from another universe": ("vllm_bench.json", {"ttfts": [1e300] * 24}, "row 1: ttfts must be at most 1e.11"),
    "a gap from another universe": ("vllm_bench.json", {"itls": [[1e300]] * 24}, "itls must hold finite .* at most 1e"),
    "a stamp from another universe": (
        "vllm_server_rtx4090.jsonl.gz",
        {"last_token_ts": 1e300},
        "row 1: last_token_ts must be at most 1e.11",
    ),
    "an end before the start": (
        "inference_perf.json.gz",
        {"end_time": 1.0, "info__response_metrics__output_token_times": []},
        "row 1: its times run backwards: the last token comes .* s before the sending",
    ),
    "a token before the start": (
        "inference_perf.json.gz",
        {"info__response_metrics__output_token_times": [1.0, 2.0]},
        "row 1: its times run backwards: the first token comes .* s before the sending",
    ),
    "an end before the start, by the wall clock": (
        "aiperf.jsonl",
        {"metadata__request_end_ns": 10**9},
        "row 1: its times run backwards: the end comes .* s before the sending",
    ),
    "a first token after the last": (
        "aiperf.jsonl",
        {"metrics__time_to_first_token__value": 1e6},
        "row 1: its times run backwards: the last token comes .* s before the first token",
    ),
    "an end before the start, as a moment": (
        "guidellm.json.gz",
        {"benchmarks__0__requests__successful__0__info__timings__last_token_iteration": 1.0},
        "row 1: its times run backwards: the last token comes .* s before the first token",
    ),
    "a latency shorter than the first wait": (
        "vllm_bench.json",
        {"latencies": [0.0] * 24},
        "row 1: its times run backwards: the last token comes .* s before the first token",
    ),
    "gaps below zero": ("vllm_bench.json", {"itls": [[5.0, -4.0]] * 24}, "row 1: a gap between its tokens is -4 s"),
    "milliseconds among seconds": (
        "vllm_bench.json",
        {"start_times": [*(1000.0 + n for n in range(23)), 1e9]},
        "row 24: it lies .* s after the first request; a run may take at most 31,622,400 s",
    ),
    "no time at all": (
        "vllm_bench.json",
        {"ttfts": [0.0] * 24, "itls": [[]] * 24, "latencies": [0.0] * 24},
        "every request ends at the moment at which it was sent",
    ),
}


@pytest.mark.parametrize("name", ["aiperf.jsonl", "guidellm.json.gz", "vllm_server_rtx4090.jsonl.gz"])
def test_a_request_that_is_there_twice_is_named(name: str, tmp_path: Path) -> None:
    """Two files pasted together count every request twice, and a mean does not show it."""
    raw = (RESULTS / name).read_bytes()
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
    if name == "guidellm.json.gz":
        content = json.loads(text)
        content["benchmarks"][0]["requests"]["successful"] *= 2
        text = json.dumps(content)
    else:
        text *= 2
    with pytest.raises(WorkloadError, match=r"row \d+: its id '.*' is that of row 1, too; each request may be in"):
        read_results(written(tmp_path, text))


@pytest.mark.parametrize("case", WRONG_RESULTS)
def test_wrong_results_are_one_sentence(case: str, tmp_path: Path) -> None:
    name, values, complaint = WRONG_RESULTS[case]
    if name == "vllm_server_rtx4090.jsonl.gz":
        line = gzip.decompress((RESULTS / name).read_bytes()).decode().partition("\n")[0]
        text = json.dumps(json.loads(line) | values)
    else:
        text = changed(name, **values)
    with pytest.raises(WorkloadError, match=complaint):
        read_results(written(tmp_path, text))


def test_traffic_is_no_result() -> None:
    with pytest.raises(WorkloadError, match="does not say when tokens came"):
        read_results(CONVERSATION)


def test_a_format_can_be_named(tmp_path: Path) -> None:
    assert len(read_traffic(CONVERSATION, "azure")) == 300
    with pytest.raises(WorkloadError, match="lacks the column 'timestamp' of the format Mooncake"):
        read_traffic(CONVERSATION, "mooncake")
    with pytest.raises(WorkloadError, match=f"format must be one of {', '.join(FORMATS)}"):
        read_traffic(CONVERSATION, "excel")


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    for path, complaint in ((tmp_path / "no", "there is no file"), (tmp_path, "it is not a file"), ("", "is empty")):
        with pytest.raises(FileError, match=complaint):
            read_traffic(path)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "x"
    path.write_bytes(content)
    for read in (read_traffic, read_results):
        with pytest.raises(CbvizError):
            read(path)


def test_damaged_results_are_read_or_refused(tmp_path: Path) -> None:
    """Bytes of every sound file, changed at random, raise nothing but a CbvizError."""
    rng = random.Random(0)
    for name in (*SAME_RUN, "vllm_bench_old.json"):
        raw = (RESULTS / name).read_bytes()
        text = gzip.decompress(raw) if name.endswith(".gz") else raw
        for _ in range(25):
            harmed = bytearray(text)
            for _ in range(3):
                harmed[rng.randrange(len(harmed))] = rng.choice(b'0-"[]{},:x9 n')
            with contextlib.suppress(CbvizError):
                read_results(written(tmp_path, bytes(harmed)))
