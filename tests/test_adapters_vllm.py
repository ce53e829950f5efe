"""vLLM on our board: the plugin on a fake of its documented shape, and the reader of the lines that it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz.adapters.vllm import follow, plugin, read, watch
from cbviz.adapters.vllm.known import LINES_VARIABLE
from cbviz.adapters.vllm.reader import LineReader
from cbviz.adapters.vllm.writer import LineWriter
from cbviz.errors import AdapterError, FileError
from cbviz.events import FinishReason, State
from cbviz.workload import Request as OurRequest
from cbviz.workload import Workload
from tests import fake_vllm
from tests.fake_vllm import V26, V33, AsyncScheduler, Request, Scheduler, Version, install, serve

SHAPES = ((9, 5), (4, 7), (17, 3), (6, 4), (11, 6))
"""Prompt and output tokens."""
WAIT = 60.0
"""Seconds that a condition may take on a slow machine."""


def requests() -> list[Request]:
    return [Request(f"r{n}", prompt, output) for n, (prompt, output) in enumerate(SHAPES)]


def workload() -> Workload:
    shapes = enumerate(SHAPES)
    return Workload("same", tuple(OurRequest(i, (7,) * p, n, output_length=n) for i, (p, n) in shapes))


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def recorded(
    monkeypatch: pytest.MonkeyPatch, path: Path, version: Version = V26, is_async: bool = True, **settings: Any
) -> Any:
    """A scheduler as vLLM's engine core makes one, with the plugin loaded."""
    config = install(monkeypatch, version)
    monkeypatch.setenv(LINES_VARIABLE, str(path))
    plugin.register()
    plugin.register()  # vLLM loads plugins several times
    chosen = config()
    chosen.async_scheduling = is_async
    made = chosen.get_scheduler_cls()
    assert issubclass(made, AsyncScheduler if is_async else Scheduler)
    return made(version, **settings)


@pytest.mark.parametrize("version", [V26, V33], ids=lambda version: version.number)
@pytest.mark.parametrize("is_async", [True, False])
def test_a_run_becomes_a_trace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: Version, is_async: bool
) -> None:
    scheduler = recorded(monkeypatch, tmp_path / "run.jsonl", version, is_async, budget=16)
    answers = serve(scheduler, requests())
    trace = read(tmp_path / "run.jsonl")
    assert trace.requests.tokens == tuple(map(tuple, answers.values()))
    assert trace.requests.prompt_tokens.tolist() == [prompt for prompt, _ in SHAPES]
    assert set(trace.requests.reason.tolist()) == {FinishReason.LENGTH}
    assert trace.meta.policy == f"vLLM {version.number}"
    assert (trace.meta.slots, trace.meta.lag, trace.meta.clock) == (3, int(is_async), "alone")
    assert trace.meta.extra["scheduler"] == ("AsyncScheduler" if is_async else "Scheduler")
    assert "KV blocks" in trace.meta.extra["left_out"]
    assert "occupancy" in repr(cbviz.Board(trace))


def test_the_schedule_is_that_of_our_policy_of_the_same_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """vLLM's rule, as the fake reports it through the plugin's lines, is what `policies/vllm_v1.py` does."""
    serve(recorded(monkeypatch, tmp_path / "run.jsonl", is_async=False, budget=16), requests())
    theirs = read(tmp_path / "run.jsonl")
    policy = cbviz.policies.VllmV1(max_num_batched_tokens=16)
    ours = cbviz.schedule(policy, workload(), slots=3, block_size=4, kv_blocks=999)
    assert theirs.requests.admitted.tolist() == ours.requests.admitted.tolist()
    assert theirs.iterations.prefill_tokens.tolist() == ours.iterations.prefill_tokens.tolist()
    assert theirs.iterations.waiting.tolist() == ours.iterations.waiting.tolist()


def test_preemptions_and_recomputation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scheduler = recorded(monkeypatch, tmp_path / "run.jsonl", is_async=False, blocks=9)
    answers = serve(scheduler, requests())
    trace = read(tmp_path / "run.jsonl")
    assert trace.requests.preemptions.sum() > 0
    assert trace.iterations.recompute_tokens.sum() > 0
    assert trace.requests.tokens == tuple(map(tuple, answers.values()))


def test_an_end_that_async_scheduling_sees_too_late_is_held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ending = [Request("a", 3, 9, ends_after=2), Request("b", 3, 5)]
    serve(recorded(monkeypatch, tmp_path / "run.jsonl"), ending)
    trace = read(tmp_path / "run.jsonl")
    assert trace.requests.reason.tolist() == [FinishReason.END, FinishReason.LENGTH]
    assert trace.iterations.held_slots.sum() == 1
    assert trace.spans.state.tolist().count(State.HELD) == 1


def test_an_aborted_request_is_cancelled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve(recorded(monkeypatch, tmp_path / "run.jsonl", is_async=False), requests(), abort={1: "r4", 3: "r1"})
    trace = read(tmp_path / "run.jsonl")
    assert [trace.requests.reason[n] for n in (1, 4)] == [FinishReason.CANCELLED] * 2
    assert trace.requests.admitted[4] == -1


def test_one_slot_or_many_can_be_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve(recorded(monkeypatch, tmp_path / "run.jsonl", seqs=256), requests()[:2])
    assert read(tmp_path / "run.jsonl").meta.slots == 256
    assert read(tmp_path / "run.jsonl", slots=4).meta.slots == 4
    assert read(tmp_path / "run.jsonl", slots=1).meta.slots == 2  # so many were used


# ------------------------------------------------------------------------------------- the server keeps serving


def test_without_the_variable_nothing_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    config = install(monkeypatch)
    monkeypatch.delenv(LINES_VARIABLE, raising=False)
    plugin.register()
    assert config().get_scheduler_cls() is AsyncScheduler


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "cbviz"]


@pytest.mark.parametrize(
    "found",
    [f"vllm {v} is installed; this adapter knows vllm 0.11 to 0.33" for v in ("0.10.2", "0.34.0", "1.0.0")],
)
def test_another_version_serves_unrecorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, found: str
) -> None:
    config = install(monkeypatch, Version(found.split()[1], False, False))
    monkeypatch.setenv(LINES_VARIABLE, "run.jsonl")
    plugin.register()
    assert config().get_scheduler_cls() is AsyncScheduler
    assert warnings_of(caplog) == [f"cbviz records nothing of this vLLM: {found}."]


def test_a_vllm_without_that_class_serves_unrecorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = install(monkeypatch)
    monkeypatch.setenv(LINES_VARIABLE, "run.jsonl")
    monkeypatch.delattr(fake_vllm.SchedulerConfig, "get_scheduler_cls")
    plugin.register()
    assert not hasattr(config, "get_scheduler_cls")
    assert warnings_of(caplog)[0].startswith("cbviz records nothing of this vLLM: ")


@pytest.mark.parametrize(
    "part", ["running", "scheduled_cached_reqs", "new_token_ids", "max_num_seqs", "num_prompt_tokens"]
)
def test_an_engine_that_changed_keeps_serving(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    """Whichever contact point is gone: the answers come, one sentence is logged, and the file says what happened."""

    class Changed(Scheduler):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            if part == "max_num_seqs":
                del self.scheduler_config.max_num_seqs

        def schedule(self, *args: Any) -> Any:
            output = super().schedule(*args)
            if part == "scheduled_cached_reqs":
                del output.scheduled_cached_reqs
            return output

        def update_from_output(self, *args: Any) -> Any:
            result = super().update_from_output(*args)
            if part == "new_token_ids":
                for one in result[0].outputs:
                    one.tokens = one.__dict__.pop("new_token_ids")
            return result

    made = plugin.recording(Changed, str(tmp_path / "run.jsonl"), "0.26.0")(V26)
    if part == "running":
        monkeypatch.setattr(plugin.Reporter, "scheduling", lambda *_: made.now_elsewhere)
    if part == "num_prompt_tokens":
        monkeypatch.setattr(plugin.Reporter, "arrived", lambda _, request: request.now_elsewhere)
    answers = serve(made, requests())
    assert [len(answer) for answer in answers.values()] == [output for _, output in SHAPES]
    assert len(warnings_of(caplog)) == 1
    assert "the server continues unrecorded" in warnings_of(caplog)[0]
    if part != "max_num_seqs":
        with pytest.raises(AdapterError, match="vLLM's scheduler was not as the plugin expects"):
            read(tmp_path / "run.jsonl")


def test_a_place_that_cannot_be_written_keeps_serving(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = recorded(monkeypatch, tmp_path / "no" / "such" / "folder.jsonl")
    assert len(serve(scheduler, requests())) == len(SHAPES)
    until(lambda: warnings_of(caplog))
    assert "cannot be written" in warnings_of(caplog)[0]


def test_an_existing_file_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text("mine")
    serve(recorded(monkeypatch, tmp_path / "run.jsonl"), requests())
    assert (tmp_path / "run.jsonl").read_text() == "mine"
    assert len(read(tmp_path / f"run.jsonl.{os.getpid()}").requests) == len(SHAPES)


# ------------------------------------------------------------------------------------------------- pipes, live


def test_a_pipe_that_nothing_reads_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = LineWriter(str(tmp_path / "pipe"), {"kind": "start"}, capacity=10)
    spent = time.thread_time()
    for n in range(5_000):
        writer.put({"kind": "pass", "n": n})
    assert time.thread_time() - spent < 5  # CPU of this thread: it waited for nothing
    assert writer.dropped >= 5_000 - 12
    begun = threading.Event()
    lines: list[dict[str, Any]] = []

    def reading() -> None:
        with (tmp_path / "pipe").open() as pipe:
            begun.set()
            lines.extend(map(json.loads, pipe))

    reader = threading.Thread(target=reading)
    reader.start()
    assert begun.wait(WAIT)
    until(lambda: writer._queue.empty())
    writer.put({"kind": "pass", "n": 5_000})
    writer.close(WAIT)
    reader.join(WAIT)
    assert [line["kind"] for line in lines[:2]] == ["start", "dropped"]
    assert sum(line["lines"] for line in lines if line["kind"] == "dropped") == writer.dropped
    assert lines[-1] == {"kind": "pass", "n": 5_000}


def test_a_pipe_without_a_reader_does_not_keep_a_server_from_stopping(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = LineWriter(str(tmp_path / "pipe"), {"kind": "start"})
    writer.put({"kind": "pass"})
    writer.close(WAIT)
    assert not writer._thread.is_alive()


def test_a_new_reader_of_a_pipe_gets_the_first_line_again(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = LineWriter(str(tmp_path / "pipe"), {"kind": "start"})
    with (tmp_path / "pipe").open() as pipe:
        assert json.loads(pipe.readline())["kind"] == "start"
    writer.put({"kind": "pass", "n": 0})
    until(lambda: writer._fd < 0)  # it has noticed that its reader left
    with (tmp_path / "pipe").open() as pipe:
        assert json.loads(pipe.readline())["kind"] == "start"
        assert json.loads(pipe.readline()) == {"kind": "pass", "n": 0}
    writer.close(WAIT)


@pytest.mark.parametrize("pipe", [True, False])
def test_a_run_is_followed_while_it_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pipe: bool) -> None:
    path = tmp_path / "run.jsonl"
    if pipe:
        os.mkfifo(path)
    reader = LineReader()
    seen: list[cbviz.Iteration] = []
    following = threading.Thread(target=lambda: seen.extend(follow(path, patience=WAIT, reader=reader)))
    following.start()
    serve(recorded(monkeypatch, path), requests())
    following.join(WAIT)
    assert not following.is_alive()
    trace = reader.trace()
    assert len(seen) == len(trace.iterations)
    assert sum(iteration.generated for iteration in seen) == sum(output for _, output in SHAPES)


def test_following_ends_on_request_or_when_nothing_comes(tmp_path: Path) -> None:
    assert list(follow(tmp_path / "never", patience=0.1)) == []
    (tmp_path / "run").write_text("")
    assert list(follow(tmp_path / "run", stop=lambda: True)) == []


# --------------------------------------------------------------------------------------------------- bad lines


@pytest.fixture
def good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    serve(recorded(monkeypatch, tmp_path / "good.jsonl"), requests())
    return [json.loads(line) for line in (tmp_path / "good.jsonl").read_text().splitlines()]


def test_lines_that_cannot_be_used_are_named(good: list[dict[str, Any]], tmp_path: Path) -> None:
    start, first = good[0], next(line for line in good if line["kind"] == "pass")
    at = good.index(first)

    def changed(number: int, **values: Any) -> list[Any]:
        return [*good[:number], good[number] | values, *good[number + 1 :]]

    cases: list[tuple[list[Any], str]] = [
        ([3], "line 1 of .* cannot be used: it is 3"),
        ([{"kind": "other"}], "its kind is 'other'"),
        ([first], "the first line must be of kind 'start'"),
        ([start | {"format": 2}], "its format is 2, and this cbviz reads format 1"),
        ([start | {"format": True}], "its format is True, and this cbviz reads format 1"),
        ([start | {"vllm": "0.40.1"}], r"the run was recorded by vllm 0\.40\.1; this adapter knows vllm 0\.11 to"),
        ([start | {"max_num_seqs": 0}], "max_num_seqs must be a whole number from 1"),
        ([{k: v for k, v in start.items() if k != "pid"}], "it has no 'pid'"),
        ([start, start | {"pid": start["pid"] + 1}], "another vLLM process began to write here"),
        ([start, first], "request 'r0' never arrived"),
        (changed(1, prompt=-4), "prompt must be a whole number from 1"),
        (changed(1, t=float("nan")), "t must be a number of seconds, not nan"),
        (changed(at, n=3), "it is pass 3, and pass 0 comes next"),
        ([*good[:at], {"kind": "dropped", "lines": 7}, *good[at + 1 :]], "7 lines were dropped, because nothing read"),
        (changed(at, out=[["r0", [5, 6], None]]), "request 'r0' got 2 tokens in one pass; speculative decoding"),
        (changed(at, rows=[["r0", 0, 0]]), "tokens must be a whole number from 1"),
        (changed(at, rows=[["r0"]]), r"rows must be a list of \[request, tokens, start\], and one of them is \[.r0.\]"),
        (changed(at, rows=[[7, 1, 0]]), "a request's id must be text, not 7"),
        (changed(at, preempted=None), "preempted must be a list, not None"),
    ]
    for lines, message in cases:
        path = tmp_path / "bad.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(AdapterError, match=message):
            read(path)


def test_what_came_before_a_bad_line_can_be_read(good: list[dict[str, Any]], tmp_path: Path) -> None:
    text = "".join(json.dumps(line) + "\n" for line in good[:-3])
    (tmp_path / "cut.jsonl").write_text(text + "{nonsense\n")
    with pytest.raises(AdapterError, match=rf"^line {len(good) - 2} of .*cut\.jsonl cannot be used: "):
        read(tmp_path / "cut.jsonl")
    trace = read(tmp_path / "cut.jsonl", partial=True)
    assert 0 < len(trace.iterations) < sum(line["kind"] == "pass" for line in good)
    (tmp_path / "half.jsonl").write_text(text + '{"kind": "pass", "n')
    assert read(tmp_path / "half.jsonl") == trace  # a line that is still being written


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"there is no file .*nothing\.jsonl"):
        read(tmp_path / "nothing.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(AdapterError, match=r"empty\.jsonl has no line yet"):
        read(tmp_path / "empty.jsonl")
    with pytest.raises(AdapterError, match="has no line yet"):
        LineReader().trace()


def test_the_entry_point_is_declared() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["vllm.general_plugins"] == {"cbviz": "cbviz.adapters.vllm.plugin:register"}


def test_the_plugin_alone_loads_neither_torch_nor_jupyter() -> None:
    """vLLM loads it in every process, with or without something to record."""
    code = (
        "import sys, cbviz.adapters.vllm.plugin as p; p.register();"
        "print([m for m in ('torch', 'transformers', 'anywidget') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_live_board_of_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    running = threading.Thread(target=lambda: serve(recorded(monkeypatch, path), requests()))
    running.start()
    board = watch(path, patience=WAIT)
    until(lambda: board._status != "running")
    running.join(WAIT)
    assert board._status == "finished"
    (lane,) = board._meta["lanes"]
    assert (lane["name"], lane["slots"], lane["total_blocks"]) == ("vLLM 0.26.0", 3, 0)
    assert len(board._run) > 0


def test_a_live_board_says_what_it_cannot_use(good: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in good[:-3]) + "nonsense\n")
    board = watch(path, patience=WAIT)
    until(lambda: board._status != "running")
    assert "cannot be used" in board._meta["finish"]["note"]
    with pytest.raises(AdapterError, match=r"never brought no pass of vLLM in 0\.1 seconds\.$"):
        watch(tmp_path / "never", patience=0.1)
