"""Take the README's pictures of the board: docs/board-*. Run it from the repository's root, and check each picture.

    python tools/shoot_board.py

Needs Chromium and the development extra; `tools/film_board.py` makes the animations. The pictures of two lanes show a
recording; the others are races of the built-in model on this machine, so their numbers are measured during the run.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, ClassVar, Literal

from playwright.sync_api import Page, sync_playwright

import cbviz
from cbviz.view import Outcome
from cbviz.view.player import html

DOCS = Path("docs")


class ShortPromptsFirst:
    """A policy as a learner might write it: continuous batching, but the shortest waiting prompt goes first."""

    name = "short prompts first"
    summary = "refill a slot with the shortest prompt that waits"

    def plan(self, view: cbviz.View) -> cbviz.Plan:
        waiting = sorted(view.waiting, key=lambda request: request.prompt_tokens)
        return cbviz.Plan(admit=[cbviz.Admit(r.id, reason="shortest prompt") for r in waiting[: view.free_slots]])


class Hand:
    """Takes the place of a board, and changes a playground as a curious user might."""

    CHANGES: ClassVar[dict[int, tuple[str, float | str]]] = {
        59: ("slots", 4),
        119: ("rate", 50),
        169: ("policy", "request_level"),
        259: ("slots", 8),
    }

    def __init__(self, play: cbviz.Play) -> None:
        self.play = play

    def push(self, lane: int, event: cbviz.Iteration, pieces: object) -> None:
        if event.index in self.CHANGES:
            self.play.set(*self.CHANGES[event.index])

    def begin(self) -> None: ...
    def add_requests(self, rows: object) -> None: ...
    def show_knob(self, name: str, value: object) -> None: ...
    def finish(self, summary: object) -> None: ...
    def fail(self, sentence: str) -> None: ...


def show(tab: Page, traces: list[cbviz.Trace], folder: Path, title: str = "Race") -> None:
    """Open the player of some runs."""
    path = folder / "board.html"
    path.write_text(html(traces, Outcome.of(*traces), title=title, autoplay=False), encoding="utf-8")
    tab.goto(path.as_uri())
    tab.wait_for_selector(".cbviz[data-iteration]")


def at(tab: Page, share: float) -> None:
    """Move the cursor to a share of the run."""
    most = int(tab.locator(".cb-scrub").get_attribute("max") or 1)
    tab.locator(".cb-scrub").fill(str(round(most * share)))
    tab.locator(".cb-scrub").blur()


def shoot(tab: Page, name: str) -> None:
    """Write one picture."""
    tab.wait_for_timeout(400)
    tab.locator(".cbviz").screenshot(path=DOCS / f"board-{name}.png")
    print(DOCS / f"board-{name}.png")


def shoot_live(tab: Page, folder: Path) -> None:
    """A race in the middle of its run, in a separate JupyterLab on the loopback interface."""
    cell: dict[str, Any] = {
        "id": "race",
        "cell_type": "code",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": "import cbviz\nrace = cbviz.race('tiny', slots=8, requests=60, seed=5)\nrace",
    }
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": [cell]}
    (folder / "live.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
            *("--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={folder}"),
        ],
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "spaces")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
                break
            except OSError:
                time.sleep(0.3)
        tab.goto(f"{address}/lab/tree/live.ipynb?reset")
        tab.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
        while True:
            with urllib.request.urlopen(f"{address}/api/kernels", timeout=5) as answer:
                if any(k["execution_state"] == "idle" and k["connections"] for k in json.load(answer)):
                    break
            time.sleep(0.2)
        tab.locator(".jp-CodeCell .cm-content").click()
        tab.keyboard.press("Control+Enter")
        tab.wait_for_function(
            "() => Number(document.querySelector('.cbviz')?.dataset.iteration ?? 0) >= 110", timeout=120_000
        )
        tab.locator('.cbviz[data-live="true"] [data-action="play"]').click()
        shoot(tab, "live")
    finally:
        server.terminate()
        server.wait(20)


def main() -> None:
    """Race, open, shoot."""
    pair = list(cbviz.recorded("smollm2-8"))
    lanes: list[str | cbviz.Policy] = [
        cbviz.Static(run_to=256, name="static, padded"),
        "static",
        "continuous",
        ShortPromptsFirst(),
    ]
    four = list(cbviz.race("tiny", lanes, slots=8, requests=40, seed=5, repeats=0).traces)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])

        def tab(width: int, scheme: Literal["dark", "light"] = "light") -> Page:
            return browser.new_page(
                viewport={"width": width, "height": 900}, color_scheme=scheme, device_scale_factor=1.5
            )

        wide = tab(1400)
        show(wide, pair, folder)
        at(wide, 0.5)
        shoot(wide, "race")
        wide.locator(".cbviz").focus()
        for key in ("ArrowDown",) * 3:
            wide.keyboard.press(key)
        shoot(wide, "inspector")
        dark = tab(1400, "dark")
        show(dark, pair, folder)
        shoot(dark, "dark")
        chinese = tab(1400)
        show(chinese, pair, folder)
        chinese.locator('[data-action="language"]').click()
        shoot(chinese, "zh")
        narrow = tab(360)
        show(narrow, pair, folder)
        at(narrow, 0.6)
        shoot(narrow, "360px")
        compared = tab(1400)
        show(compared, four, folder, title="Four policies, the same requests")
        shoot(compared, "four-lanes")
        played = cbviz.play(
            "tiny", slots=6, most_slots=8, rate=25, mean=24, pace=240, iterations=340, live=False, run=False
        )
        played.board = Hand(played)
        played.run()
        tried = tab(1400)
        show(tried, list(played.traces), folder, title="Playground")
        shoot(tried, "play")
        live = browser.new_page(viewport={"width": 1700, "height": 1250}, device_scale_factor=1.5)
        shoot_live(live, folder)
        browser.close()


if __name__ == "__main__":
    main()
