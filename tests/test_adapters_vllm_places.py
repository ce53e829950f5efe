"""Where the plugin's lines may go, how many may wait, and how an engine may call the methods that it wraps."""

from __future__ import annotations

import json
import os
import pty
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from cbviz.adapters.vllm import plugin, read, writer
from cbviz.adapters.vllm.known import LINES_VARIABLE
from cbviz.adapters.vllm.writer import LineWriter
from tests import fake_vllm
from tests.fake_vllm import V26, AsyncScheduler, Request, Scheduler, install, serve
from tests.test_adapters_vllm import SHAPES, WAIT, recorded, requests, until, warnings_of

# ---------------------------------------------------------------------------------------------------------- places


def served(made: Any) -> None:
    answers = serve(made, requests())
    assert [len(answer) for answer in answers.values()] == [output for _, output in SHAPES]


def test_a_folder_is_refused_once_and_nothing_is_made_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "runs"
    place.mkdir()
    served(recorded(monkeypatch, place))
    until(lambda: len(warnings_of(caplog)) == 1)
    assert warnings_of(caplog) == [
        f"cbviz: {place} is a folder, and CBVIZ_VLLM_LINES must name a new file, a pipe or a terminal; the server "
        "continues, and nothing more is recorded."
    ]
    assert list(tmp_path.rglob("*")) == [place]


def test_a_socket_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("lines")
        served(recorded(monkeypatch, Path("lines")))
        until(lambda: warnings_of(caplog))
    assert "lines is a socket, and CBVIZ_VLLM_LINES must name" in warnings_of(caplog)[0]
    assert [path.name for path in tmp_path.iterdir()] == ["lines"]


@pytest.mark.parametrize(("device", "said"), [("/dev/null", []), ("/dev/full", ["No space left on device"])])
def test_a_device_is_written_to_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, device: str, said: list[str]
) -> None:
    made = recorded(monkeypatch, Path(device))
    served(made)
    warnings = warnings_of(caplog)
    assert len(warnings) == len(said)
    for warning, part in zip(warnings, said, strict=True):
        assert f"{device} cannot be written: {part}; the server continues" in warning
    assert not Path(f"{device}.{os.getpid()}").exists()
    assert made._cbviz_reporter.writer.path == device


def test_a_terminal_shows_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    served(recorded(monkeypatch, Path(os.ttyname(theirs))))
    text = os.read(ours, 2**16)
    os.close(ours)
    os.close(theirs)
    assert json.loads(text.splitlines()[0])["kind"] == "start"


def test_standard_output_that_is_a_file_gets_no_sibling_among_the_devices(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (tmp_path / "out").open("w") as out:
        made = LineWriter(f"/dev/fd/{out.fileno()}", {"kind": "start"})
        made.close(WAIT)
    assert "leads to a file, and no file is made beside devices" in warnings_of(caplog)[0]
    assert (tmp_path / "out").read_text() == ""
    LineWriter("/dev/cbviz-nothing", {"kind": "start"}).close(WAIT)
    assert "/dev/cbviz-nothing leads to nothing, and no file is made" in warnings_of(caplog)[1]
    assert not Path("/dev/cbviz-nothing").exists()


def test_standard_output_that_is_a_pipe_gets_the_lines() -> None:
    reads, writes = os.pipe()
    made = LineWriter(f"/dev/fd/{writes}", {"kind": "start"})
    made.put({"kind": "stop", "gone": []})
    made.close(WAIT)
    os.close(writes)
    with os.fdopen(reads) as lines:
        assert [json.loads(line)["kind"] for line in lines] == ["start", "stop"]


# --------------------------------------------------------------------------------------------------------- bounds


def test_a_wide_engine_whose_pipe_nothing_reads_holds_a_bounded_number_of_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """256 rows a pass: far fewer lines than the bound of lines would hold more than the bound of bytes."""
    bound = 100_000
    monkeypatch.setattr(writer, "WAITING_BYTES", bound)
    os.mkfifo(tmp_path / "pipe")
    made = recorded(monkeypatch, tmp_path / "pipe", is_async=False, seqs=256, budget=4096, blocks=10**6)
    serve(made, [Request(f"r{n}", 3, 40) for n in range(256)])
    lines = made._cbviz_reporter.writer
    assert 0 < lines.waiting <= bound
    assert lines.dropped > 20
    assert lines._queue.qsize() + lines.dropped >= 256 + 40


def test_the_bound_is_that_of_the_bytes_that_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    made = LineWriter(str(tmp_path / "pipe"), {"kind": "start"})
    wide = {"kind": "pass", "rows": [[f"chatcmpl-{n:032x}-{n}", 1, 100_000] for n in range(256)], "out": "x" * 2**20}
    for _ in range(20_000):
        made.put(wide)
    waiting = [line for line in made._queue.queue if line is not None]
    assert writer.WAITING_BYTES == 64 * 2**20
    assert sum(map(sys.getsizeof, waiting)) < writer.WAITING_BYTES * 1.01
    assert made.waiting == sum(map(len, waiting))
    assert len(waiting) + made.dropped == 20_000
    with (tmp_path / "pipe").open() as pipe:
        kinds = [json.loads(pipe.readline())["kind"] for _ in range(2)]
        assert kinds == ["start", "dropped"]
        assert len([pipe.readline() for _ in waiting]) == len(waiting)
        until(lambda: made.waiting == 0)  # what has been written waits no more
        made.put({"kind": "stop", "gone": []})
        assert json.loads(pipe.readline())["kind"] == "stop"
    made.close(WAIT)


def test_passes_that_never_end_are_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plugin, "MOST_UNDER_WAY", 5)
    made = recorded(monkeypatch, tmp_path / "run.jsonl", is_async=False, budget=2)
    made.add_request(Request("long", 400, 1))
    for _ in range(20):
        assert made.schedule().total_num_scheduled_tokens == 2
    assert "5 passes were scheduled and none of them has ended" in warnings_of(caplog)[0]
    assert not made._cbviz_reporter._under_way


# ------------------------------------------------------------------------------------------------ how it is called


class ByKeyword(Scheduler):
    """Parameters under other names, and an engine core that gives them by keyword."""

    def add_request(self, *, req: Request) -> None:  # type: ignore[override]
        super().add_request(req)

    def update_from_output(self, *, sampled: dict[str, int], output: Any) -> Any:  # type: ignore[override]
        return super().update_from_output(output, sampled)

    def shutdown(self, *, reason: str) -> None:  # type: ignore[override]
        super().shutdown()


def test_an_engine_that_calls_by_keyword_is_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = plugin.recording(ByKeyword, str(tmp_path / "run.jsonl"), "0.26.0")(V26)
    for request in requests():
        made.add_request(req=request)
    step = 0
    while made.requests:
        output = made.schedule(throttle_prefills=False)
        ready = {n: 9 for n in output.num_scheduled_tokens if fake_vllm._complete(made.requests[n])}
        made.update_from_output(sampled=ready, output=output)
        step += 1
    made.shutdown(reason="done")
    assert warnings_of(caplog) == []
    trace = read(tmp_path / "run.jsonl")
    assert len(trace.iterations) == step
    assert [len(tokens) for tokens in trace.requests.tokens] == [output for _, output in SHAPES]


def test_an_engine_that_uses_its_scheduler_while_it_makes_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Warming(Scheduler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.schedule()

    made = plugin.recording(Warming, str(tmp_path / "run.jsonl"), "0.26.0")(V26)
    served(made)
    assert warnings_of(caplog) == []
    assert len(read(tmp_path / "run.jsonl").requests) == len(SHAPES)


@pytest.mark.parametrize("kind", ["property", "staticmethod", "text"])
def test_a_config_that_gives_its_class_in_another_way_serves_unrecorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    config: Any = install(monkeypatch)
    monkeypatch.setenv(LINES_VARIABLE, "run.jsonl")
    if kind == "property":
        config.get_scheduler_cls = property(lambda self: AsyncScheduler)
    elif kind == "staticmethod":
        config.get_scheduler_cls = staticmethod(lambda: AsyncScheduler)
    else:
        config.get_scheduler_cls = lambda self: "vllm.AsyncScheduler"
    plugin.register()
    given = config().get_scheduler_cls
    assert (given if kind == "property" else given()) == ("vllm.AsyncScheduler" if kind == "text" else AsyncScheduler)
    (warning,) = warnings_of(caplog)
    assert warning.startswith("cbviz records nothing of this vLLM: ")
