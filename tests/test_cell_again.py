"""A cell that is run again ends what it started; a cell that no front end watches keeps what it ran."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from jupyter_client.session import DELIM
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from cbviz.view import LaneInfo, LiveBoard
from cbviz.view import cell as cell_module
from cbviz.view.cell import Cells, attended, here
from tests.clocks import until


class Kernel:
    """A kernel, and a front end that names its cells."""

    def __init__(self, folder: str) -> None:
        self.manager = KernelManager()
        self.manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        self.manager.start_kernel(cwd=folder)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(300)

    def run(self, code: str, cell: str = "", seconds: float = 300) -> str:
        """What the cell printed, once it is idle."""
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True, "stop_on_error": True}
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell} if cell else {})
        self.client.shell_channel.send(message)
        text, end = "", time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self.client.get_iopub_msg(timeout=seconds)
            if answer["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            kind, said = answer["msg_type"], answer["content"]
            if kind == "stream":
                text += said["text"]
            assert kind != "error", said["evalue"]
            if kind == "status" and said["execution_state"] == "idle":
                return text
        raise TimeoutError(code)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    made = Kernel(str(tmp_path_factory.mktemp("kernel")))
    made.run(SETUP)
    yield made
    made.client.stop_channels()
    made.manager.shutdown_kernel(now=True)


SETUP = """
import gc, threading, time, weakref
import cbviz
from ipywidgets.widgets import widget
model = cbviz.models.load("tiny")
def going():
    return sum(thread.name in ("cbviz race", "cbviz playground") for thread in threading.enumerate())
def boards():
    gc.collect()
    return sorted(board._status for board in list(widget._instances.values()) if type(board).__name__ == "LiveBoard")
kept = []
"""
RACE = "race = cbviz.race(model, slots=2, requests=200, repeats=0); kept.append(race); race"


def test_a_cell_that_is_run_again_stops_its_race_and_closes_its_board(kernel: Kernel) -> None:
    for _ in range(3):
        kernel.run(RACE, "one")
    assert kernel.run("print(going(), boards())").strip() == "1 ['running']"
    # What the earlier races had run stays readable.
    printed = kernel.run("print([(r.stopped, r.board is None, len(r.table().to_json()) > 0) for r in kept[:2]])")
    assert printed.strip() == "[(True, True, True), (True, True, True)]"
    # Another cell stops none of it, and neither does a front end that names no cell.
    kernel.run("other = cbviz.play(model, slots=2); other", "two")
    kernel.run("third = cbviz.play(model, slots=2)")
    assert kernel.run("print(going(), race.stopped, other.stopped)").strip() == "3 False False"
    # Two runs of one execution live side by side; the next execution ends both.
    kernel.run("a, b = cbviz.play(model, slots=2), cbviz.play(model, slots=2)", "two")
    assert kernel.run("print(going(), other.stopped, a.stopped, b.stopped)").strip() == "4 True False False"
    kernel.run("b = cbviz.play(model, slots=2)", "two")
    assert kernel.run("print(going(), a.stopped, race.stopped, third.stopped)").strip() == "3 True False False"
    kernel.run("[run.stop() for run in (race, b, third)]; [run.wait(300) for run in (race, b, third)]")
    kernel.run("quick = cbviz.play(model, slots=2, iterations=3, pace=240); quick.wait(300)", "one")
    kernel.run("third.leave(); b.leave()")
    assert kernel.run("print(going(), boards())").strip() == "0 ['finished']"


SLOW = """
thread = get_ipython().kernel.iopub_thread
quick = thread._really_send
thread._really_send = lambda *frames, **options: (time.sleep(0.2), quick(*frames, **options))
"""
"""A thread that sends what a kernel shows, on a busy machine."""


@pytest.mark.parametrize("busy", ["", SLOW])
def test_a_kernel_that_goes_sends_the_picture_of_its_run_whole(tmp_path: Path, busy: str) -> None:
    """A message that breaks off has another one for its rest: then a page reads a run that is cut, or no picture."""
    kernel = Kernel(str(tmp_path))
    kernel.run(SETUP)
    # A busy machine may take longer over the picture than a kernel should wait for it.
    kernel.run("from cbviz.run import run_control; run_control.LEAVING = 300.0")
    kernel.run("play = cbviz.play(model, slots=2, pace=240); play")
    kernel.run("time.sleep(0.5)" + busy)
    channel, kinds, bundles = kernel.client.iopub_channel, [], []
    kernel.client.shutdown(restart=True)
    until(lambda: not kernel.manager.is_alive())
    while channel.socket.poll(1000):
        frames = channel.socket.recv_multipart()
        assert frames.count(DELIM) == 1, [frame[:60] for frame in frames]
        message = kernel.client.session.deserialize(kernel.client.session.feed_identities(frames)[1])
        kinds.append(message["msg_type"])
        if kinds[-1] == "update_display_data":
            bundles.append(message["content"]["data"])
    kernel.client.stop_channels()
    kernel.manager.cleanup_resources()
    assert "shutdown_reply" in kinds
    assert ["data-cbviz" in bundle["text/html"] for bundle in bundles] == [True]


def test_a_board_of_its_own_is_closed_once_its_run_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"header": {"msg_id": "1"}, "metadata": {"cellId": "c"}, "content": {"allow_stdin": True}}
    monkeypatch.setattr(cell_module, "request", lambda: asked)
    assert here() == ("c", "1")
    first, beside = (LiveBoard([LaneInfo("a", "", 1)]) for _ in range(2))
    asked["header"] = {"msg_id": "2"}
    second = LiveBoard([LaneInfo("a", "", 1)])
    assert first.comm is not None, "its run goes on"
    first.finish()
    assert first.comm is None
    assert beside.comm is not None
    beside.finish()
    beside.close()
    second.finish()
    assert second.comm is not None
    second.leave()
    second.close()
    assert second.comm is None


def test_without_a_cell_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Started:
        left = 0

        def leave(self) -> None:
            self.left += 1

    cells, one = Cells(), Started()
    for asked in ({}, {"metadata": {"cellId": None}}, {"metadata": {}, "header": {"msg_id": "4"}}):
        monkeypatch.setattr(cell_module, "request", lambda asked=asked: asked)
        cells.started(one)
        cells.begin()
    assert one.left == 0


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({}, True),
        ({"content": {"allow_stdin": True}}, True),
        ({"content": {"allow_stdin": False}, "metadata": {"cellId": "c"}}, True),
        ({"content": {"allow_stdin": False}}, False),
    ],
)
def test_who_can_show_a_board(monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], answer: bool) -> None:
    monkeypatch.setattr(cell_module, "request", lambda: asked)
    assert attended() is answer


def test_a_notebook_that_is_executed_keeps_its_runs_as_players() -> None:
    sources = [
        "import cbviz\nmodel = cbviz.models.load('tiny')",
        "race = cbviz.race(model, slots=2, requests=6)\nrace",
        "print(race.running, race.iteration_ratio >= 1)",
        "p = cbviz.play(model, slots=2, mean=5, pace=240)\np",
        "print(p.running, len(p.trace.iterations) > 10); p.stop(); p.wait()\nlate = cbviz.race(model, run=False)",
        "cbviz.race(model, slots=2, requests=8)",
    ]
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    NotebookClient(notebook, timeout=600, startup_timeout=300).execute()
    shown = [[sorted(output.get("data", {})) for output in cell.outputs] for cell in notebook.cells]
    player = [["text/html", "text/plain"]]
    assert shown == [[], player, [[]], player, [[]], player]
    assert notebook.cells[2].outputs[0].text.strip() == "False True"
    assert notebook.cells[4].outputs[0].text.strip() == "True True"
    assert "8/8 requests" in notebook.cells[5].outputs[0].data["text/plain"]
