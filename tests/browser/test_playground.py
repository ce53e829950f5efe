"""The playground's board: it fits on one screen in every state, and its knobs obey the keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

import cbviz
from tests.browser import stand_in

pytestmark = pytest.mark.browser

STATES = ("waiting", "running", "stopped")


@pytest.fixture(scope="module")
def states() -> dict[str, tuple[dict[str, Any], bytes]]:
    """The state of a playground's widget before its Start, while it runs, and after Stop."""
    made = cbviz.play("tiny", live=False, run=False, slots=6, iterations=70, pace=240)
    board = made.watched()
    names = ("_meta", "_knobs", "_actions")
    waiting = {name: getattr(board, name) for name in names}
    push = board.push

    def push_and_turn(lane: int, event: Any, pieces: Any) -> None:
        push(lane, event, pieces)
        if (lane, event.index) in ((1, 9), (1, 20)):
            made.set(*(("slots", 8) if event.index == 9 else ("rate", 30)))

    board.push = push_and_turn  # type: ignore[method-assign]
    made.run()
    ended = {name: getattr(board, name) for name in names}
    running = {**ended, "_meta": {**ended["_meta"], "finish": None, "kept": ""}}
    stopped = {**ended, "_meta": {**ended["_meta"], "finish": {**ended["_meta"]["finish"], "stopped": True}}}
    return {"waiting": (waiting, b""), "running": (running, board._run), "stopped": (stopped, board._run)}


@pytest.fixture
def playground(page: Page, tmp_path: Path, errors: list[str], states: Any) -> Callable[..., None]:
    def show(status: str, language: str = "en", width: int = 1440) -> None:
        page.set_viewport_size({"width": width, "height": 800})
        state, run = states[status]
        path = tmp_path / "play.html"
        path.write_text(stand_in.page({**state, "_status": status, "_language": language}, run), encoding="utf-8")
        page.goto(path.as_uri())
        page.wait_for_selector(".cbviz[data-iteration]")

    yield show
    assert errors == []


@pytest.mark.parametrize("width", [960, 1440])
def test_two_lanes_of_eight_fit_with_their_knobs(playground, page: Page, width: int) -> None:
    for language in ("en", "zh"):
        for status in STATES:
            playground(status, language, width)
            expect(page.locator(".cb-canvas")).to_have_count(2)
            box = page.locator(".cbviz").bounding_box()
            assert (box["width"], box["height"] <= 560) == (width, True), (language, status, box)
            tops = {round(knob.bounding_box()["y"]) for knob in page.locator(".cb-knob").all()}
            assert len(tops) == 1, "the knobs are on one line"
            lanes = page.locator(".cb-lanes").bounding_box()
            for part in (".cb-controls", ".cb-outcome"):
                above = page.locator(part).bounding_box()
                assert above["y"] + above["height"] <= lanes["y"]


WHOLE = """() => [...document.querySelectorAll('.cb-knob > span, .cb-over, .cb-history li, .cb-changes span')]
  .filter((part) => part.checkVisibility())
  .map((part) => {
    const words = document.createRange();
    words.selectNodeContents(part);
    return [words, part.closest('.cb-knob, .cb-changed, .cb-plot')].map((each) => each.getBoundingClientRect());
  })
  .filter(([part, around]) => part.top < around.bottom - 2)
  .filter(([part, around]) => part.left < around.left - 1 || part.right > around.right + 1)
  .length"""
"""How many names of knobs and words on changes do not lie within their place."""


BEGINNINGS = ("h3", ".cb-c-iterations strong", ".cb-c-occupancy strong")


@pytest.mark.parametrize("width", [280, 390, 600, 800, 960, 1008, 1440])
def test_its_words_are_whole_at_every_width(playground, page: Page, width: int) -> None:
    for language in ("en", "zh"):
        for status in STATES:
            playground(status, language, width)
            expect(page.locator(".cb-canvas")).to_have_count(2)
            assert page.evaluate(WHOLE) == 0, (language, status)
            for words in page.locator(".cb-lane-summary, .cb-lane-head h3").all():
                assert words.evaluate("element => element.scrollWidth <= element.clientWidth"), words.inner_text()
            assert page.locator(".cb-how").is_visible()
            if width < 560:
                begins = [page.locator(f".cb-lane-head {part}").first.bounding_box()["x"] for part in BEGINNINGS]
                assert len({round(x) for x in begins}) == 1, "what begins a line begins at its edge"


NAMES = {"en": ["Policy above", "Policy below"], "zh": ["上方泳道的策略", "下方泳道的策略"]}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_lane_has_its_policy(playground, page: Page, language: str) -> None:
    playground("running", language)
    expect(page.locator(".cb-knob:has(select) > span")).to_have_text(NAMES[language])


def test_stop_is_a_word_and_has_a_name(playground, page: Page) -> None:
    for width, shown in ((1440, True), (390, False)):
        playground("running", width=width)
        stop = page.get_by_role("button", name="Stop the run")
        assert stop.locator(".cb-word").is_visible() is shown
        assert stop.get_attribute("title") == "Stop the run"


def test_before_its_start_it_says_nothing_of_the_queue(playground, page: Page, board) -> None:
    playground("waiting")
    assert board("status") == "waiting"
    expect(page.locator(".cb-waiting")).to_have_text(["", ""])
    expect(page.locator(".cb-chip:visible")).to_have_count(0)
    playground("running")
    expect(page.locator(".cb-waiting").first).to_contain_text("waiting")


def test_its_knobs_obey_the_keyboard_and_its_buttons_act(playground, page: Page, board) -> None:
    playground("running")
    page.evaluate("sent.length = 0")
    page.locator('[data-knob="slots"]').focus()
    page.keyboard.press("ArrowLeft")
    page.locator('[data-knob="rate"]').focus()
    page.keyboard.press("Home")
    page.locator('[data-knob="policy"]').focus()
    page.keyboard.press("ArrowDown")
    page.locator('.cb-acts [data-action="restart"]').press("Enter")
    wishes = page.evaluate("sent.filter((message) => message.type === 'control')")
    names = [(wish["action"], wish.get("name"), wish.get("value")) for wish in wishes]
    assert names[:2] == [("set", "slots", 7), ("set", "rate", 0)]
    assert names[2][:2] == ("set", "policy")
    assert names[3] == ("restart", None, None)


def test_after_stop_it_offers_a_restart(playground, page: Page, board) -> None:
    playground("stopped")
    expect(page.locator("[data-knob]").first).to_be_disabled()
    expect(page.locator(".cb-over")).to_contain_text("Restart runs it again")
    page.locator(".cbviz").focus()
    page.keyboard.press("r")
    expect(page.locator(".cb-status")).to_have_text("starting: waits for the kernel")
    assert page.evaluate("sent.at(-1)") == {"type": "control", "action": "restart"}
    page.evaluate("change('_status', 'running')")
    expect(page.locator("[data-knob]").first).to_be_enabled()


@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing_serious(playground, page: Page, width: int) -> None:
    for status in STATES:
        playground(status, width=width)
        found = Axe().run(page).response["violations"]
        bad = [(v["id"], v["impact"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found]
        assert [v for v in bad if v[1] in ("serious", "critical")] == []
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
