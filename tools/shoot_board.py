"""Take the README's pictures of the board: docs/board-*. Run it from the repository's root, and check each picture.

    python tools/shoot_board.py            # all of them
    python tools/shoot_board.py live       # that of the race in JupyterLab alone

Needs Chromium and the development extra; `tools/film_board.py` makes the animations. The pictures of two lanes show a
recording; the others are races of the built-in model on this machine, so their numbers are measured during the run.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from lab_page import lab, opened, written
from playwright.sync_api import Browser, Page, sync_playwright

import cbviz
from cbviz.view import Outcome
from cbviz.view.player import html, pack, page

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
    def kept_as(self, element: str) -> None: ...


def show(tab: Page, traces: list[cbviz.Trace], folder: Path, title: str = "Race") -> None:
    """Open the player of some runs."""
    opened_page(tab, html(traces, Outcome.of(*traces), title=title, autoplay=False), folder)


def opened_page(tab: Page, text: str, folder: Path) -> None:
    """Open a page from its file."""
    path = folder / "board.html"
    path.write_text(text, encoding="utf-8")
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
    source = "import cbviz\nrace = cbviz.race('tiny', slots=8, requests=60, seed=5, start='button')\nrace"
    with lab(folder) as address:
        written(folder / "live.ipynb", [source])
        opened(tab, address, "live.ipynb")
        tab.locator(".jp-CodeCell .cm-content").click()
        tab.keyboard.press("Control+Enter")
        tab.locator('[data-action="start"]').click(timeout=120_000)
        tab.wait_for_function(
            "() => Number(document.querySelector('.cbviz')?.dataset.iteration ?? 0) >= 110", timeout=120_000
        )
        tab.locator('.cbviz[data-live="true"] [data-action="play"]').click()
        shoot(tab, "live")


def main(argv: Sequence[str]) -> None:
    """Race, open, shoot."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as name:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        if list(argv) != ["live"]:
            shoot_pages(browser, Path(name))
        shoot_live(browser.new_page(viewport={"width": 1700, "height": 1250}, device_scale_factor=1.5), Path(name))
        browser.close()


def shoot_pages(browser: Browser, folder: Path) -> None:
    """Everything that a page shows without a kernel."""
    pair = list(cbviz.recorded("smollm2-8"))
    lanes: list[str | cbviz.Policy] = [
        cbviz.Static(run_to=256, name="static, padded"),
        "static",
        "continuous",
        ShortPromptsFirst(),
    ]
    four = list(cbviz.race("tiny", lanes, slots=8, requests=40, seed=5, repeats=0).traces)

    def tab(width: int, scheme: Literal["dark", "light"] = "light") -> Page:
        return browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, device_scale_factor=1.5)

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
    knobs = [replace(knob, value=played.values[name]) for name, knob in played.knobs.items()]
    run = pack(played.traces, played.finish(), "Playground", knobs=knobs)
    opened_page(tried, page(run, "Playground", autoplay=False), folder)
    shoot(tried, "play")


if __name__ == "__main__":
    main(sys.argv[1:])
