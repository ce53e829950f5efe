"""A scheduler in Python, in the page, in Chromium: from a static host, from a file, and with the wrong script."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from static_host import hosted

from cbviz.messages import say
from tests.browser.the_page import (
    BOARD,
    FRAMES,
    LONG,
    ONE_TURN,
    choose,
    lane_is_pythons,
    packed,
    race_to_the_end,
    ready,
    sent,
    stopped_with,
)
from tests.page_schedules import Case, Wild
from tests.test_page_python import MINE
from tools import build_page

pytestmark = pytest.mark.browser
page_python = build_page.page_python
TIGHT_ON_8 = 39
"""KV blocks of 8 slots with tight memory."""
STOPS = """() => new Promise((resolve) => {
  const began = performance.now();
  new MutationObserver(() => document.body.dataset.race === "stopped" && resolve(performance.now() - began))
    .observe(document.body, { attributes: true, attributeFilter: ["data-race"] });
  document.getElementById("stop").click();
})"""
"""Presses Stop; milliseconds until the race has stopped."""
UP = "body[data-spare=up]"
"""Python is up in a worker that no race has yet."""
SAYS = """() => {
  globalThis.said_ = [];
  new MutationObserver(() => globalThis.said_.push(document.getElementById("status").textContent))
    .observe(document.getElementById("status"), { childList: true });
}"""
"""Keeps every sentence of the status from now on."""
LEFT = "module 'cbviz.policies' has no attribute 'left'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page and the script beside it, as `make page` writes them."""
    try:
        script = page_python.script()
    except page_python.UnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must test Python in the page: {error}")
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text(build_page.page(python=script), encoding="utf-8")
    (folder / page_python.NAME).write_text(script, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[str]:
    with hosted(folder) as address:
        yield f"{address}/index.html"


@pytest.fixture
def opened(page: Page, host: str, errors: list[str]) -> Iterator[Callable[..., list[str]]]:
    """Opens the page; returns the addresses that it asks for from then on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.startswith("http") else None)

    def open_(fragment: str = "", before: str = "") -> list[str]:
        if before:
            page.add_init_script(before)
        page.goto(host + fragment)
        ready(page)
        asked.clear()
        return asked

    yield open_
    assert errors == []


def write(page: Page, text: str) -> None:
    page.select_option("#written-in", "python")
    page.fill("#code", text)


def mine(body: str) -> str:
    return MINE.format(body=body)


def test_a_python_scheduler_is_pythons_iteration_for_iteration_and_token_by_token(opened, page: Page) -> None:
    asked = opened(before=FRAMES)
    assert asked == []
    choose(page, 8, 12, "yours", "continuous", seed=3, memory="tight")
    write(page, inspect.getsource(Wild))
    race_to_the_end(page)
    blocks = sent(page)
    lane_is_pythons(blocks, 0, Case("wild", 8, TIGHT_ON_8, 12, 3))
    lane_is_pythons(blocks, 1, Case("continuous", 8, TIGHT_ON_8, 12, 3))
    finish = [header["meta"]["finish"] for header, _ in blocks if header["kind"] == "meta"][-1]
    assert (finish["identical"], finish["compared"]) == (12, 12)
    expect(page.locator(f"{BOARD} h3").first).to_have_text("wild")
    assert [address.rpartition("/")[2] for address in asked] == [page_python.NAME]  # once, and nothing else


def test_an_endless_plan_is_ended_and_stop_waits_for_no_plan(opened, page: Page) -> None:
    opened(before=ONE_TURN)
    choose(page, 2, 4, "yours")
    write(page, mine("while view.iteration > 3: pass\n        return Plan(admit=view.fitting())"))
    stopped_with(page, say("en", "page.endless"))
    expect(page.locator(BOARD)).to_contain_text("in 4 iterations")
    page.click("#start")
    page.wait_for_selector("body[data-first]:not([data-first=''])", timeout=LONG)
    milliseconds = page.evaluate(STOPS)
    expect(page.locator("#status")).to_have_text(say("en", "page.stopped"))
    assert milliseconds < 2_000  # 60 of our own; a busy machine may take its time


def test_python_is_up_before_a_race_and_no_scheduler_meets_what_another_one_left(opened, page: Page) -> None:
    opened()
    choose(page, 2, 4, "yours")
    page.select_option("#written-in", "python")
    page.wait_for_selector(UP, timeout=LONG)
    page.fill(
        "#code", mine("import cbviz.policies as p\n        p.left = True\n        return Plan(admit=view.fitting())")
    )
    race_to_the_end(page)
    page.wait_for_selector(UP, timeout=LONG)  # the next one, which starts unasked
    assert len(page.workers) == 1, "the race's own has ended"
    page.fill("#code", mine("import cbviz.policies as p\n        p.left"))
    page.evaluate(SAYS)
    stopped_with(page, f"policy 'mine' raised AttributeError while planning iteration 0: {LEFT}")
    assert say("en", "page.python_starting") not in page.evaluate("said_")
    page.wait_for_selector(UP, timeout=LONG)
    page.fill("#code", mine("while True: pass"))
    stopped_with(page, say("en", "page.endless"))
    page.wait_for_selector(UP, timeout=LONG)
    assert len(page.workers) == 1


def test_two_lanes_of_one_scheduler_share_nothing(opened, page: Page) -> None:
    opened()
    choose(page, 2, 4, "yours", "yours")
    counts = (
        "self.asked = getattr(self, 'asked', -1) + 1\n"
        "        assert self.asked == view.iteration, 'another lane asked, too'\n"
        "        return Plan(admit=view.fitting())"
    )
    write(page, mine(counts))
    race_to_the_end(page)
    expect(page.locator(f"{BOARD} h3").nth(1)).to_have_text("mine #2")


def test_errors_get_pythons_sentences_and_nothing_reaches_a_network(opened, page: Page) -> None:
    asked = opened(packed(slots=2, requests=4, lanes=["yours"], language="python", code=mine("return 5")))
    expect(page.locator("#status")).to_have_text(say("en", "page.shared"))
    assert page.input_value("#written-in") == "python"
    assert asked == []  # a link loads and runs nothing
    stopped_with(page, "policy 'mine', iteration 0: plan() must return a Plan, not int.")
    tries = (
        "import js\n        try: js.importScripts('http://localhost:9/x.js')\n        except Exception: pass\n"
        "        js.fetch('http://localhost:9/y').catch(lambda *_: None)\n"
        "        raise OSError('<img src=x onerror=alert(1)>')"
    )
    write(page, mine(tries))
    stopped_with(page, "policy 'mine' raised OSError while planning iteration 0: <img src=x onerror=alert(1)>")
    assert page.locator("img").count() == 0
    write(page, "class Mine(Policy):\n    def plan(self, view):\n        return Plan(")
    stopped_with(page, "the scheduler is no valid Python: '(' was never closed (scheduler.py, line 3)")
    assert [address.rpartition("/")[2] for address in asked] == [page_python.NAME]


def test_each_language_keeps_its_text_and_its_examples(opened, page: Page) -> None:
    opened()
    javascript = page.input_value("#code")
    page.fill("#code", javascript + "// mine")
    page.select_option("#written-in", "python")
    expect(page.locator("#status-yours")).to_have_text(say("en", "page.python_ready"), timeout=LONG)
    assert "class ShortestFirst(Policy)" in page.input_value("#code")
    page.select_option("#example", "optimist")
    assert "class Optimist(Policy)" in page.input_value("#code")
    page.locator("#code").evaluate("(area) => area.setSelectionRange(area.value.length, area.value.length)")
    page.locator("#code").press_sequentially("if x:\ny\nz")
    assert page.input_value("#code").endswith("if x:\n    y\n    z")
    page.select_option("#written-in", "javascript")
    assert page.input_value("#code") == javascript + "// mine"


def test_a_file_says_why_it_has_no_python(page: Page, folder: Path) -> None:
    page.goto((folder / "index.html").as_uri())
    ready(page)
    page.select_option("#written-in", "python")
    expect(page.locator("#status-yours")).to_have_text(say("en", "page.python_file"))
    page.click("#race-yours")
    expect(page.locator("#status")).to_have_text(say("en", "page.python_file"))
    page.select_option("#written-in", "javascript")
    page.fill("#requests", "2")
    page.click("#race-yours")
    page.wait_for_selector("body[data-race=finished]", timeout=LONG)


@pytest.mark.parametrize("script", [None, "globalThis.cbvizPython = {};\n"], ids=["missing", "another"])
def test_a_script_that_is_missing_or_another_is_a_sentence(
    page: Page, folder: Path, tmp_path: Path, script: str | None
) -> None:
    (tmp_path / "index.html").write_bytes((folder / "index.html").read_bytes())
    if script is not None:
        (tmp_path / page_python.NAME).write_text(script, encoding="utf-8")
    with hosted(tmp_path) as address:
        page.goto(f"{address}/index.html")
        ready(page)
        page.select_option("#written-in", "python")
        expect(page.locator("#status-yours")).to_have_text(say("en", "page.python_failed"))


def test_a_page_that_was_built_without_python_says_so(page: Page, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(build_page.page(), encoding="utf-8")
    page.goto((tmp_path / "index.html").as_uri())
    ready(page)
    page.select_option("#written-in", "python")
    expect(page.locator("#status-yours")).to_have_text(say("en", "page.python_left_out"))


def test_without_webassembly_there_is_no_python(opened, page: Page) -> None:
    opened(before="delete globalThis.WebAssembly;")
    page.select_option("#written-in", "python")
    expect(page.locator("#status-yours")).to_have_text(say("en", "page.python_no_wasm"))
