"""A JupyterLab of the tests' own, on the loopback only, and a page that writes down its errors."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.clocks import HANGS, until

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60_000
"""Milliseconds in which a page shows what it will show, on any machine; a condition that holds costs none of them."""


@dataclass
class Lab:
    """A running server: where it is, and where its notebooks lie."""

    address: str
    folder: Path

    def api(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"{self.address}/api/{path}", method=method)
        with urllib.request.urlopen(request, timeout=HANGS) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def write(self, name: str, *cells: str, outputs: Sequence[dict[str, str]] = ()) -> None:
        """A notebook with these cells; `outputs` are mime bundles that the first ones show."""
        notebook = {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "cells": [
                {
                    "id": f"cell{i}",
                    "cell_type": "code",
                    "metadata": {},
                    "execution_count": i + 1 if i < len(outputs) else None,
                    "outputs": [_displayed(bundle) for bundle in outputs[i : i + 1]],
                    "source": source,
                }
                for i, source in enumerate(cells)
            ],
        }
        (self.folder / name).write_text(json.dumps(notebook), encoding="utf-8")

    def open(self, page: Page, name: str) -> None:
        """Open a notebook and wait until its kernel listens: keys pressed earlier would be lost."""
        page.goto(f"{self.address}/lab/tree/{name}?reset")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        until(lambda: any(k["execution_state"] == "idle" and k["connections"] >= 1 for k in self.kernels()))

    def kernels(self) -> list[dict[str, Any]]:
        """What runs now; the server may stumble over one that is just going away."""
        try:
            return self.api("kernels")
        except urllib.error.HTTPError:
            return []

    def save(self, page: Page, name: str) -> Path:
        """Save the notebook that the page shows, and return its file once it is written."""
        path = self.folder / name
        before = path.stat().st_mtime_ns

        def written() -> bool:
            stamp = path.stat().st_mtime_ns
            try:
                json.loads(path.read_text("utf-8"))
            except ValueError:  # only a part of it, so far
                return False
            return before < stamp == path.stat().st_mtime_ns  # else it is being written again

        page.keyboard.press("Control+s")
        until(written)
        return path

    def run_cell(self, page: Page, number: int = 0) -> None:
        page.locator(".jp-Notebook .jp-CodeCell").nth(number).locator(".cm-content").click()
        page.keyboard.press("Control+Enter")


def _displayed(bundle: dict[str, str]) -> dict[str, Any]:
    return {"output_type": "execute_result", "execution_count": 1, "data": bundle, "metadata": {}}


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("notebooks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = tmp_path_factory.mktemp("jupyter")
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "IPYTHONDIR")
    environment = os.environ | {name: str(own / name.lower()) for name in places}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "JUPYTERLAB_WORKSPACES_DIR": str(own / "spaces")}
    log = (own / "log.txt").open("w")
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"),
            *("--ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"),
            f"--ServerApp.root_dir={folder}",
        ],
        env=environment,
        stdout=log,
        stderr=log,
    )
    lab = Lab(f"http://127.0.0.1:{port}", folder)
    try:
        end = time.monotonic() + HANGS
        while True:
            try:
                lab.api("status")
                break
            except OSError:
                assert time.monotonic() < end, (own / "log.txt").read_text()[-2000:]
                time.sleep(0.2)
        yield lab
    finally:
        server.terminate()
        server.wait(HANGS)
        log.close()


@pytest.fixture
def lab(lab_server: Lab) -> Iterator[Lab]:
    """The server, without kernels left over from other tests."""
    yield lab_server
    for session in lab_server.api("sessions"):
        lab_server.api(f"sessions/{session['id']}", "DELETE")
    until(lambda: not lab_server.kernels())


@pytest.fixture(autouse=True, scope="session")
def patience() -> None:
    """What a page is expected to show may take as long as what it is waited for."""
    expect.set_options(timeout=PATIENCE)


@pytest.fixture
def context(context: BrowserContext) -> BrowserContext:
    """The pages of a test wait as long as a busy machine needs."""
    context.set_default_timeout(PATIENCE)
    return context


@pytest.fixture
def errors(page: Page) -> list[str]:
    """Uncaught errors of the page."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


@pytest.fixture
def board(page: Page) -> Callable[..., Any]:
    """`board("iteration")` is that data attribute of the first board; `board("iteration", "40")` waits for a value."""

    def read(name: str, wanted: str | None = None, which: int = 0) -> str:
        if wanted is not None:
            page.wait_for_function(
                "([which, name, wanted]) => document.querySelectorAll('.cbviz')[which]?.dataset[name] === wanted",
                arg=[which, name, wanted],
            )
        return page.evaluate(
            "([which, name]) => document.querySelectorAll('.cbviz')[which]?.dataset[name]", [which, name]
        )

    return read
