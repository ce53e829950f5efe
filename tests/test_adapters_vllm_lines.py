"""The plugin's lines that contradict each other, are no text, or are many: one sentence, a number, little memory."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from cbviz.adapters.vllm import follow, plugin, read
from cbviz.adapters.vllm.fields import UnwrittenPrompt, unwritten
from cbviz.errors import AdapterError, TraceError
from cbviz.events import FinishReason
from cbviz.workload import Request as OurRequest
from tests.fake_vllm import V26, Scheduler, serve
from tests.test_adapters_vllm import SHAPES, requests

START: dict[str, Any] = {
    "kind": "start", "format": 1, "vllm": "0.26.0", "scheduler": "Scheduler", "async": False, "max_num_seqs": 4,
    "max_num_batched_tokens": 64, "block_size": 4, "model": "m", "policy": "", "pid": 7, "created": "now", "t": 100.0,
}  # fmt: skip


def request(name: str, prompt: int = 3, most: int = 3, t: float = 100.0) -> dict[str, Any]:
    return {"kind": "request", "t": t, "id": name, "prompt": prompt, "max": most}


def one_pass(n: int, rows: list[Any], out: list[Any], **more: Any) -> dict[str, Any]:
    times = {"t0": 101.0 + n, "t1": 101.5 + n}
    return {"kind": "pass", "n": n, **times, "rows": rows, "out": out, "preempted": [], "gone": []} | more


FIRST = one_pass(0, [["a", 3, 0]], [["a", [5], None]])
GOOD = [START, request("a"), request("b"), FIRST]


def written(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (one_pass(1, [["a", 1, 9]], [["a", [5], None]]), "begins at position 9 of request 'a', of which it can have 3"),
        (one_pass(1, [["b", 1, 9]], []), "begins at position 9 of request 'b', of which it can have 3"),
        (one_pass(1, [["a", 1, 3], ["a", 1, 4]], []), "request 'a' is twice in rows"),
        (one_pass(1, [["a", 1, 3]], [["a", [5], None], ["a", [6], None]]), "request 'a' is twice in out"),
        (one_pass(1, [["a", 1, 3]], [["b", [5], None]]), "request 'b' got a token in a pass that has no row of it"),
        (one_pass(1, [["b", 2, 0]], [["b", [5], None]]), "gives request 'b' a token before its prompt was computed"),
        (one_pass(1, [["a", 1, 3]], [], t1=101.9), r"pass 1 ends at 1\.900000 s, before it began"),
        (one_pass(1, [["a", 1, 3]], [], t0=101.0, t1=101.2), "before pass 0 had ended"),
        (one_pass(1, [["a", 1, 3]], [], t0=99.0), "t0 is 99, and the run began with its first request at 100"),
        (one_pass(1, [["a", 1, 3]], [], t1=1e11), r"t1 is 1e\+11 seconds after the run began, and 1e\+09 are allowed"),
        (one_pass(1, [["a", 1, 3]], [["a", 5, None]]), "the tokens of request 'a' must be a list, not 5"),
        (one_pass(1, [["a", 1, 3]], [["a", [5]]]), r"out must be a list of \[request, \[token\], reason\], and one"),
        (one_pass(1, {"a": 3}, []), "rows must be a list, not {'a': 3}"),  # type: ignore[arg-type]
        (one_pass(1, [["a", 1, 3]], [], gone=[3]), "a request's id must be text, not 3"),
    ],
)
def test_a_line_that_contradicts_another_is_named(tmp_path: Path, line: dict[str, Any], said: str) -> None:
    path = written(tmp_path / "run.jsonl", *GOOD, line)
    with pytest.raises(AdapterError, match=rf"^line 5 of .*run\.jsonl cannot be used: .*{said}.*\.$"):
        read(path)
    assert read(path, partial=True) == read(written(tmp_path / "good.jsonl", *GOOD))


@pytest.mark.parametrize(
    "line",
    [
        one_pass(1, [["late", 3, 0]], [["late", [5], None]]),
        one_pass(1, [["a", 1, 3]], [], gone=["late"]),
        one_pass(1, [["a", 1, 3]], [], preempted=["late"]),
    ],
)
def test_a_request_that_a_pass_has_before_it_arrives(tmp_path: Path, line: dict[str, Any]) -> None:
    good = [*GOOD, request("late", t=102.5)]
    path = written(tmp_path / "run.jsonl", *good, line)
    said = r"it begins at 2\.000000 s and has request 'late', which arrives at 2\.500000 s"
    with pytest.raises(AdapterError, match=rf"^line 6 of .*run\.jsonl cannot be used: {said}\.$"):
        read(path)
    assert read(path, partial=True) == read(written(tmp_path / "good.jsonl", *good))
    with pytest.raises(AdapterError, match=r"^line 6 of .*: it begins"):
        list(follow(path, patience=0.1))
    assert len(read(written(path, *good, line | {"t0": 102.5, "t1": 102.5})).iterations) == 2


def test_times_of_a_clock_that_has_run_for_long_are_whole(tmp_path: Path) -> None:
    line = one_pass(0, [["a", 3, 0]], [], t0=4123456.125)
    path = written(tmp_path / "run.jsonl", START, request("a", t=4123456.5), line)
    with pytest.raises(AdapterError, match=r"t0 is 4123456\.125, and the run began .* at 4123456\.5\."):
        read(path)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("0.34.0", "the run was recorded by vllm 0.34.0; this adapter knows vllm 0.11 to 0.33."),
        ("0.9.2\x1b[1m", "the run was recorded by vllm 0.9.2; this adapter knows vllm 0.11 to 0.33."),
        (7, "the run was recorded by vllm, which gave 7 as its version; this adapter knows vllm 0.11 to 0.33."),
    ],
)
def test_the_version_that_recorded_the_run_need_not_be_installed(tmp_path: Path, found: object, said: str) -> None:
    path = written(tmp_path / "run.jsonl", START | {"vllm": found})
    with pytest.raises(AdapterError) as refused:
        read(path)
    assert str(refused.value) == f"line 1 of {path} cannot be used: {said}"


def test_more_tokens_than_a_request_may_get(tmp_path: Path) -> None:
    passes = [one_pass(n, [["a", 1, 2 + n]], [["a", [5], None]]) for n in (1, 2, 3)]
    path = written(tmp_path / "run.jsonl", *GOOD, *passes)
    with pytest.raises(
        AdapterError, match=r"^line 7 of .*: pass 3 gives request 'a' a token more than its 3 output tokens"
    ):
        read(path)
    trace = read(path, partial=True)
    assert trace.requests.tokens == ((5, 5, 5), ())


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_token_that_was_lost(tmp_path: Path, lost: int) -> None:
    """The next pass reads it, so its line is the first that cannot be."""
    rows = [["a", 3 if n == 0 else 1, n + 2 if n else 0] for n in range(4)]
    ends = [None, None, None, "length"]
    passes = [one_pass(n, [rows[n]], [] if n == lost else [["a", [5], ends[n]]]) for n in range(4)]
    path = written(tmp_path / "run.jsonl", START, request("a", most=4), *passes)
    said = f"pass {lost + 1} needs output token {lost + 1} of request 'a', which no pass gave"
    with pytest.raises(AdapterError, match=rf"^line {lost + 4} of .*run\.jsonl cannot be used: {said}\.$"):
        read(path)
    kept = read(path, partial=True)
    assert (len(kept.iterations), kept.output_tokens) == (lost + 1, lost)
    cut = written(tmp_path / "cut.jsonl", START, request("a", most=4), *passes[: lost + 1])
    assert read(cut) == kept, "its request may have been aborted meanwhile"


def test_an_abort_while_passes_are_under_way_loses_no_token(tmp_path: Path) -> None:
    """As async scheduling reports it: the next pass was scheduled before the abort, and `gone` comes behind it."""
    under_way = [
        one_pass(1, [["a", 1, 3], ["b", 3, 0]], [["b", [6], None]]),
        one_pass(2, [["a", 1, 4], ["b", 1, 3]], [["b", [6], None]], t0=102.2),
        one_pass(3, [["b", 1, 4]], [["b", [6], "length"]], gone=["a"]),
    ]
    trace = read(written(tmp_path / "run.jsonl", START | {"async": True}, *GOOD[1:], *under_way))
    assert trace.requests.tokens == ((5,), (6, 6, 6))
    assert trace.requests.reason.tolist() == [FinishReason.CANCELLED, FinishReason.LENGTH]


def test_a_row_of_a_request_that_had_finished(tmp_path: Path) -> None:
    ended = [*GOOD[:3], FIRST | {"out": [["a", [5], "end"]]}, one_pass(1, [["b", 3, 0]], [])]
    path = written(tmp_path / "run.jsonl", *ended, one_pass(2, [["a", 1, 3]], []))
    with pytest.raises(AdapterError, match=r"line 6 of .*: pass 2 computes request 'a', which had finished\.$"):
        read(path)
    assert len(read(path, partial=True).iterations) == 2


@pytest.mark.parametrize("late", [one_pass(1, [["a", 1, 3]], []), request("c")])
def test_nothing_comes_after_the_end(tmp_path: Path, late: dict[str, Any]) -> None:
    stop = {"kind": "stop", "gone": ["a", "b"]}
    path = written(tmp_path / "run.jsonl", *GOOD, stop, {"kind": "dropped", "lines": 1}, late)
    with pytest.raises(
        AdapterError, match=rf"^line 7 of .*: a {late['kind']} comes after vLLM's scheduler had shut down"
    ):
        read(path)
    assert len(read(path, partial=True).iterations) == 1


def test_what_only_the_whole_shows_is_a_trace_error_and_leaves_the_part_before_it(tmp_path: Path) -> None:
    passes = [one_pass(1, [["a", 1, 3]], []), one_pass(2, [["b", 1, 2]], [])]
    path = written(tmp_path / "run.jsonl", *GOOD, *passes)
    with pytest.raises(TraceError, match=r"^line 6 of .*run\.jsonl cannot be used: the trace .*: a part of a block"):
        read(path)
    assert len(read(path, partial=True).iterations) == 2
    longer = [*passes, *(one_pass(n, [["a", 3, 0]], [], preempted=["a"]) for n in range(3, 9))]
    with pytest.raises(TraceError, match=r"^line 6 of "):
        read(written(path, *GOOD, *longer))
    assert len(read(path, partial=True).iterations) == 2


def test_a_refused_line_leaves_the_reader_as_it_was(tmp_path: Path) -> None:
    """The slots and ends that it would have brought, too."""
    bad = one_pass(1, [["b", 3, 0], ["a", 1, 9]], [["b", [5], "end"]], gone=["a"])
    trace = read(written(tmp_path / "run.jsonl", *GOOD, bad), partial=True)
    assert trace.requests.admitted.tolist() == [0, -1]
    assert trace.requests.finished.tolist() == [-1, -1]


# ------------------------------------------------------------------------------------------------------ the clock


@pytest.mark.parametrize("idle", [0.0, 600.0, 1e6])
def test_the_run_begins_with_its_first_request(tmp_path: Path, idle: float) -> None:
    """A server that waits for work makes no run longer."""
    began = START["t"] + idle
    asked = [request("a", t=began), request("b", t=began + 0.5)]
    passes = [
        one_pass(n, [["a", 1 if n else 3, n + 2 if n else 0]], [["a", [5], None if n < 2 else "length"]])
        | {"t0": began + n, "t1": began + n + 1}
        for n in range(3)
    ]
    path = written(tmp_path / "run.jsonl", START, *asked, *passes, {"kind": "stop", "gone": []})
    trace = read(path)
    assert (trace.seconds, trace.output_tokens, trace.tokens_per_second) == (3.0, 3, 1.0)
    assert trace.requests.arrival.tolist() == [0.0, 0.5]
    assert [(each.t_start, each.t_end) for each in follow(path)] == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (request("a", t=99.0), "t is 99, and vLLM's scheduler was made at 100"),
        (one_pass(0, [], []), "no request had arrived"),
    ],
)
def test_nothing_comes_before_the_first_request(tmp_path: Path, line: dict[str, Any], said: str) -> None:
    with pytest.raises(AdapterError, match=rf"^line 2 of .* cannot be used: {said}\.$"):
        read(written(tmp_path / "run.jsonl", START, line))


# --------------------------------------------------------------------------------- engines that say such things


def recorded_run(engine: type, path: Path) -> Path:
    made = plugin.recording(engine, str(path), "0.26.0")(V26)
    answers = serve(made, requests())
    assert [len(answer) for answer in answers.values()] == [output for _, output in SHAPES]
    return path


def test_an_engine_that_skips_positions(tmp_path: Path) -> None:
    class Skipping(Scheduler):
        def schedule(self, throttle_prefills: bool = False) -> Any:
            output = super().schedule(throttle_prefills)
            cached = output.scheduled_cached_reqs
            cached.num_computed_tokens = [start + 6 for start in cached.num_computed_tokens]
            return output

    with pytest.raises(
        AdapterError, match=r"pass 1 begins at position 15 of request 'r0', of which it can have 9 at most"
    ):
        read(recorded_run(Skipping, tmp_path / "run.jsonl"))


def test_an_engine_that_answers_for_a_request_outside_the_batch(tmp_path: Path) -> None:
    class Straying(Scheduler):
        def update_from_output(self, scheduler_output: Any, sampled: dict[str, int]) -> Any:
            result = super().update_from_output(scheduler_output, sampled)
            for one in result[0].outputs:
                one.request_id = "r4" if one.request_id == "r0" else one.request_id
            return result

    with pytest.raises(AdapterError, match="request 'r4' got a token in a pass that has no row of it"):
        read(recorded_run(Straying, tmp_path / "run.jsonl"))


# ------------------------------------------------------------------------------------------- text, memory, arguments


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(START).encode("utf-16") + b"\n",
        json.dumps(START).encode("utf-16-le") + "\n".encode("utf-16-le"),
        json.dumps(START).encode("utf-32") + b"\n",
        json.dumps(START).encode("utf-8-sig") + b"\n",
        json.dumps(START | {"model": "é"}, ensure_ascii=False).encode("latin-1") + b"\n",
        bytes(range(256)),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"{nonsense\n",
        b"[" + b"9" * 5000 + b"]\n",
    ],
)
def test_what_is_no_text_of_the_plugins(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.jsonl").write_bytes(content)
    with pytest.raises(AdapterError) as refused:
        read(tmp_path / "run.jsonl", partial=True)
    said = f"line 1 of {tmp_path / 'run.jsonl'} cannot be used: it is no JSON in UTF-8, which the plugin writes."
    assert str(refused.value) == said
    with pytest.raises(AdapterError, match="it is no JSON in UTF-8"):
        list(follow(tmp_path / "run.jsonl", patience=0.1))


def test_a_line_of_many_brackets(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text("[" * 100_000 + "\n")
    with pytest.raises(AdapterError, match="it is nested deeper than any line of the plugin"):
        read(tmp_path / "run.jsonl")


def test_long_prompts_take_no_memory(tmp_path: Path) -> None:
    """1,000 prompts of about 100,000 tokens, each of another length: as tuples they took 802 MiB."""
    asked = [request(f"r{n}", 100_000 + n) for n in range(1000)]
    rows = one_pass(0, [["r7", 100_007, 0]], [["r7", [5], "end"]])
    path = written(tmp_path / "run.jsonl", START, *asked, rows)
    tracemalloc.start()
    trace = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2**20
    assert trace.requests.prompt_tokens.tolist() == [100_000 + n for n in range(1000)]
    assert trace.iterations.prefill_tokens.tolist() == [100_007]


def test_a_prompt_that_is_not_written_is_a_sequence() -> None:
    made = unwritten(3, 5, 9, 0.5)
    prompt: Any = made.prompt
    assert (list(prompt), len(prompt), prompt[-1], 0 in prompt, made.positions) == ([0] * 5, 5, 0, True, 14)
    assert prompt[1:3] == UnwrittenPrompt(2)
    with pytest.raises(IndexError):
        prompt[5]
    assert OurRequest(3, prompt, 9).prompt == (0,) * 5


@pytest.mark.parametrize("slots", [0, -1, "4", 1.5, True, 10**9])
def test_slots_that_are_no_number_of_slots(tmp_path: Path, slots: Any) -> None:
    path = written(tmp_path / "run.jsonl", *GOOD)
    with pytest.raises(AdapterError, match=r"^slots must be a whole number"):
        read(path, slots=slots)
    with pytest.raises(AdapterError, match=r"^slots must be a whole number"):
        list(follow(path, slots=slots, patience=0.1))


def test_other_arguments(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl", *GOOD)
    with pytest.raises(AdapterError, match=r"^partial must be True or False, not 'yes'\.$"):
        read(path, partial="yes")  # type: ignore[arg-type]
    for patience in (-1, "long", None, math.nan):
        with pytest.raises(AdapterError, match=r"^patience must be a number of seconds of at least 0, not "):
            list(follow(path, patience=patience))  # type: ignore[arg-type]
    assert len(list(follow(path, patience=math.inf, stop=iter([False, True]).__next__))) == 1
