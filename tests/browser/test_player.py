"""The stand-alone page, opened from a file: everything the board does with a recorded run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

import cbviz
from cbviz.trace import Trace
from cbviz.view.colours import LIGHT, colour_of, rgb
from cbviz.view.player import html, mimebundle
from cbviz.view.summary import Outcome
from tests.browser.conftest import PATIENCE
from tests.fake_runs import scheduled_trace, wild_trace

pytestmark = pytest.mark.browser

OUTPUTS = [3, 9, 2, 30, 4, 4, 12, 1, 20, 6, 7, 15]
GUTTER = 32
TOP = 12


def pair() -> tuple[Trace, Trace]:
    return scheduled_trace(OUTPUTS, 4, "static", 0.5), scheduled_trace(OUTPUTS, 4, "continuous", 0.5)


@pytest.fixture
def player(page: Page, tmp_path: Path, errors: list[str]) -> Callable[..., None]:
    """Writes the page and opens it from its file."""

    def show(*traces: Trace, autoplay: bool = False, **options: Any) -> None:
        path = tmp_path / "run.html"
        path.write_text(html(traces or pair(), autoplay=autoplay, **options), encoding="utf-8")
        page.goto(path.as_uri())
        page.wait_for_selector(".cbviz[data-iteration]")

    yield show
    assert errors == []


def pixel(page: Page, lane: int, iteration: float, slot: int) -> list[int]:
    """Colour in the middle of a cell as it is painted, None-like [0, 0, 0, 0] where nothing is."""
    return page.evaluate(
        """([lane, i, slot]) => {
            const board = document.querySelector('.cbviz');
            const canvas = board.querySelector(`canvas[data-cells="${lane}"]`);
            const ratio = canvas.width / canvas.clientWidth;
            const pitch = Number(board.dataset.pitch.split(' ')[lane]);
            const x = (i + 0.5) * Number(board.dataset.scale) * ratio;
            const y = (12 + slot * pitch + 3) * ratio;
            return [...canvas.getContext('2d').getImageData(Math.round(x), Math.round(y), 1, 1).data];
        }""",
        [lane, iteration, slot],
    )


def test_known_cells_have_their_colours_and_nothing_is_lost(player, page: Page, board) -> None:
    static, continuous = pair()
    player()
    n = [len(static.iterations), len(continuous.iterations)]
    assert board("received") == board("painted") == f"{n[0]} {n[1]}"
    assert board("dropped") == "0"
    assert pixel(page, 0, 10, 3)[:3] == list(rgb(colour_of(3)))
    held = pixel(page, 0, 20, 0)[:3]
    assert held in ([*rgb(LIGHT.held[0])], [*rgb(LIGHT.held[1])]) or held[0] == pytest.approx(held[2], abs=24)
    assert pixel(page, 1, 10, 3)[:3] == list(rgb(colour_of(3)))
    assert pixel(page, 1, n[1] - 2, 0)[:3] == list(rgb(LIGHT.spare[0]))
    assert pixel(page, 1, n[1] + 3, 0)[3] == 0, "the future is not idle"


def test_play_moves_on_and_pause_holds(player, page: Page, board) -> None:
    player()
    page.locator(".cb-speed").select_option("0.5")  # so slow that pausing comes before the end on any machine
    page.locator('[data-action="play"]').click()
    assert board("playing", "true")
    page.wait_for_function("() => Number(document.querySelector('.cbviz').dataset.iteration) >= 5")
    page.locator('[data-action="play"]').click()
    board("playing", "false")
    held = board("iteration")
    page.wait_for_timeout(300)
    assert board("iteration") == held
    assert 5 <= int(held) < 40


def test_scrub_step_and_speed(player, page: Page, board) -> None:
    player()
    scrub = page.locator(".cb-scrub")
    scrub.fill("17")
    board("iteration", "17")
    page.locator('[data-action="forward"]').click()
    board("iteration", "18")
    page.locator('[data-action="back"]').click()
    page.locator('[data-action="back"]').click()
    board("iteration", "16")
    page.locator(".cb-speed").select_option("64")
    board("speed", "64")
    page.locator('[data-action="play"]').click()
    board("iteration", str(len(pair()[0].iterations)))
    board("playing", "false")


def test_the_counters_say_what_the_trace_says(player, page: Page) -> None:
    static, continuous = pair()
    player()
    for lane, trace in enumerate((static, continuous)):
        box = page.locator(".cb-lane").nth(lane)
        expect(box.locator(".cb-c-finished strong")).to_have_text(f"{len(OUTPUTS)}/{len(OUTPUTS)}")
        expect(box.locator(".cb-c-wasted strong")).to_have_text(f"{trace.wasted_slot_iterations:,}")
        expect(box.locator(".cb-c-occupancy strong")).to_have_text(f"{trace.occupancy:.0%}")
    iterations = f"{len(static.iterations)} → {len(continuous.iterations)} iterations"
    expect(page.locator(".cb-big")).to_have_text(iterations)
    held = int(static.iterations.held_slots.sum())
    expect(page.locator(".cb-verdict-words")).to_have_text(f"static computed {held} slots for answers that had ended.")
    expect(page.locator(".cb-finish")).to_contain_text(f"All {len(OUTPUTS)} answers are the same, token by token.")
    page.locator(".cb-scrub").fill("5")
    expect(page.locator(".cb-big")).to_have_count(0)


def test_the_switch_to_seconds_keeps_the_place(player, page: Page, board) -> None:
    player()
    page.locator(".cb-scrub").fill("13")
    board("iteration", "13")
    page.locator('[data-action="seconds"]').click()
    board("mode", "seconds")
    assert board("iteration") == "13"
    expect(page.locator(".cb-place")).to_have_text("6.50 s of " + f"{pair()[0].seconds:.1f} s")
    page.locator('[data-action="iterations"]').click()
    board("mode", "iterations")
    assert board("iteration") == "13"


def test_pointing_lights_a_request_up_in_every_lane_and_a_click_keeps_it(player, page: Page, board) -> None:
    player()
    canvas = page.locator(".cb-canvas").first
    box = canvas.bounding_box()
    x = box["x"] + GUTTER + 10.5 * float(board("scale"))
    page.mouse.move(x, box["y"] + TOP + 3 * 24 + 10)
    board("lit", "3")
    expect(page.locator(".cb-tip")).to_contain_text("request 3 · decode")
    expect(page.locator(".cb-inspector h3")).to_have_text("request 3")
    expect(page.locator(".cb-prompt")).to_have_text("prompt 3")
    expect(page.locator(".cb-inspector th[scope=col]")).to_have_text(["static", "continuous"])
    other = pixel(page, 1, 3, 1)[:3]
    assert other != list(rgb(colour_of(1))), "other requests are veiled, in the other lane too"
    assert pixel(page, 1, 10, 3)[:3] == list(rgb(colour_of(3)))
    page.mouse.click(x, box["y"] + TOP + 3 * 24 + 10)
    board("pinned", "3")
    page.mouse.move(5, 5)
    assert board("lit") == "3"
    page.locator(".cb-inspector button").click()
    board("pinned", "-1")


def test_the_inspector_shows_the_text_so_far(player, page: Page) -> None:
    player()
    page.locator(".cb-scrub").fill("4")
    page.locator(".cbviz").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".cb-inspector h3")).to_have_text("request 1")
    first = page.locator(".cb-output").inner_text()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(before) => document.querySelector('.cb-output').innerText.length > before", arg=len(first))
    assert page.locator(".cb-output").inner_text().startswith(first)


def test_everything_works_with_the_keyboard_alone(player, page: Page, board) -> None:
    player()
    total = board("iteration")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "cbviz"
    for key, name, value in (
        ("Home", "iteration", "0"),
        ("ArrowRight", "iteration", "1"),
        ("Shift+ArrowRight", "iteration", "11"),
        ("ArrowLeft", "iteration", "10"),
        ("]", "speed", "2"),
        ("[", "speed", "1"),
        ("u", "mode", "seconds"),
        ("u", "mode", "iterations"),
        ("+", "fitted", "false"),
        ("0", "fitted", "true"),
        ("Space", "playing", "true"),
        ("Space", "playing", "false"),
        ("End", "iteration", total),
        ("Home", "iteration", "0"),
        ("f", "iteration", "2"),
        ("f", "iteration", "3"),
        ("Shift+F", "iteration", "2"),
        ("a", "iteration", "3"),
        ("l", "language", "zh"),
        ("l", "language", "en"),
    ):
        page.keyboard.press(key)
        board(name, value)
    page.keyboard.press("p")
    expect(page.locator(".cb-message")).to_contain_text("no further preemption")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("PageDown")
    page.keyboard.press("Enter")
    board("pinned", "0")
    page.keyboard.press("Escape")
    board("pinned", "-1")
    page.keyboard.press("t")
    expect(page.locator(".cb-table-box")).to_be_visible()
    page.keyboard.press("?")
    expect(page.locator(".cb-help-box")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".cb-help-box")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator(".cb-table-box")).to_be_hidden()


def test_the_table_says_the_same_as_the_grid(player, page: Page) -> None:
    static, _ = pair()
    player()
    page.locator('[data-action="table"]').click()
    rows = page.locator(".cb-scroll tbody tr")
    expect(rows).to_have_count(2 * len(OUTPUTS))
    cells = rows.nth(6).locator("td").all_inner_texts()
    row = static.requests.row(3)
    assert cells[0] == "static"
    assert cells[3:6] == [str(static.requests.admitted[row]), str(static.requests.finished[row]), "30"]


def test_zoom_and_pan_keep_the_run_in_sight(player, page: Page, board) -> None:
    player()
    box = page.locator(".cb-canvas").first.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 40)
    before = float(board("scale"))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    board("fitted", "false")
    assert float(board("scale")) > before * 1.5
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 40, steps=4)
    page.mouse.up()
    assert page.evaluate("document.scrollingElement.scrollTop") == 0
    assert board("pinned") == "-1", "a drag is no click"
    page.mouse.dblclick(box["x"] + 300, box["y"] + 40)
    board("fitted", "true")


def test_large_runs_keep_waste_in_sight(player, page: Page, board) -> None:
    many = [1 + (i * 7) % 60 for i in range(2500)]
    static = scheduled_trace(many, 16, "static")
    player(static)
    share = page.evaluate(
        """([held]) => {
            const canvas = document.querySelector('canvas[data-cells="0"]');
            const ratio = canvas.width / canvas.clientWidth;
            const width = Math.floor(canvas.width / 1.015);
            const height = Math.round(416 * ratio);
            const data = canvas.getContext('2d').getImageData(0, Math.round(12 * ratio), width, height).data;
            let grey = 0, all = 0;
            for (let at = 0; at < data.length; at += 4) {
                if (data[at + 3] < 255) continue;
                all++;
                if (held.some((h) => h.every((v, k) => v === data[at + k]))) grey++;
            }
            return grey / all;
        }""",
        [[list(rgb(colour)) for colour in LIGHT.held]],
    )
    everything = len(static.iterations) * 16
    assert share == pytest.approx(static.wasted_slot_iterations / everything, abs=0.03)


def test_preemptions_stalls_and_reasons_are_shown(player, page: Page, board) -> None:
    run = wild_trace(8, requests=20)
    player(run)
    kinds = set(run.marks.kind.tolist())
    assert {3, 4} <= kinds, "the fixture has preemptions and stalls"
    page.locator(".cbviz").focus()
    page.keyboard.press("Home")
    page.keyboard.press("s")
    stall = min(i for i, kind in zip(run.marks.iteration, run.marks.kind, strict=True) if kind == 4)
    board("iteration", str(stall + 1))
    page.keyboard.press("Home")
    page.keyboard.press("p")
    marks = list(zip(run.marks.iteration.tolist(), run.marks.kind.tolist(), run.marks.request.tolist(), strict=True))
    lost = [(i, who) for i, kind, who in marks if kind == 3]
    board("iteration", str(min(lost)[0] + 1))
    waits = next(i for i, who in lost if (i, 1, who) not in marks and (i, 5, who) not in marks)
    page.locator(".cb-scrub").fill(str(waits + 1))
    expect(page.locator('.cb-chip[data-again="true"]:visible').first).to_be_visible()


HOSTILE = (
    '</script><script>window.owned = 1</script><img src=x onerror="window.owned = 1"><b>bold</b> '
    "\u202eabc\u202c \u2066x <style>.cbviz{display:none}</style> " + "W" * 100_000
)


def test_hostile_text_neither_runs_nor_breaks_the_layout(player, page: Page, board) -> None:
    run = wild_trace(4)
    pieces = tuple(tuple(HOSTILE[:300] for _ in piece) for piece in run.requests.pieces)
    marks = replace(run.marks, reason=tuple(HOSTILE[:400] for _ in run.marks.reason))
    requests = replace(run.requests, prompt=tuple(HOSTILE for _ in run.requests.prompt), pieces=pieces)
    meta = replace(run.meta, policy=HOSTILE[:120], policy_summary=HOSTILE[:2000], model=HOSTILE[:500])
    player(replace(run, requests=requests, marks=marks, meta=meta), title=HOSTILE[:100])
    page.locator(".cbviz").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("t")
    expect(page.locator(".cb-prompt")).to_contain_text("<b>bold</b>")
    expect(page.locator(".cb-prompt")).to_contain_text("⟨U+202E⟩abc")
    page.locator(".cb-plot").first.hover(position={"x": GUTTER + 4, "y": TOP + 8})
    expect(page.locator(".cb-tip")).to_be_visible()
    assert page.evaluate("window.owned") is None
    assert page.locator(".cbviz b, .cbviz script, .cbviz style, .cbviz img").count() == 0
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert len(page.locator(".cb-prompt").inner_text()) < 5000


@pytest.mark.parametrize("width", [360, 768, 1280, 2560])
def test_no_width_needs_sideways_scrolling(player, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    player()
    page.locator(".cbviz").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    plot = page.locator(".cb-canvas").first.bounding_box()
    assert plot["width"] > width * 0.55


EIGHT = [3, 9, 2, 30, 4, 14, 12, 5, 20, 6, 7, 15, 40, 3, 11, 8]


def eight() -> tuple[Trace, Trace]:
    """Two lanes of eight slots."""
    return scheduled_trace(EIGHT, 8, "static", 0.5), scheduled_trace(EIGHT, 8, "continuous", 0.5)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [1000, 1440])
def test_two_lanes_of_eight_slots_fit_with_controls_and_result(player, page: Page, width: int, language: str) -> None:
    page.set_viewport_size({"width": width + 48, "height": 800})  # the page's own margins are 24 px
    player(*eight(), language=language)
    box = page.locator(".cbviz").bounding_box()
    assert box["width"] == width
    assert box["height"] <= 560
    lanes = page.locator(".cb-lanes").bounding_box()
    for part in (".cb-transport", ".cb-finish"):
        above = page.locator(part).bounding_box()
        assert above["y"] + above["height"] <= lanes["y"]
    for summary in page.locator(".cb-lane-summary").all():
        assert summary.evaluate("element => element.scrollWidth <= element.clientWidth"), summary.inner_text()


@pytest.mark.parametrize("width", [390, 1000, 1440])
def test_how_to_read_the_picture_stands_above_it_at_every_moment(player, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    player(*eight())
    how = page.locator(".cb-how")
    for moment in (None, "Home", "ArrowRight", "End"):
        if moment:
            page.locator(".cbviz").press(moment)
        expect(how).to_contain_text("A row is a slot, a column one iteration, a colour a request")
        assert how.evaluate("element => element.scrollWidth <= element.clientWidth")
        box = how.bounding_box()
        assert box["y"] + box["height"] <= page.locator(".cb-lanes").bounding_box()["y"] + 1


def test_long_notes_on_the_result_take_one_line_and_are_whole_under_the_focus(player, page: Page) -> None:
    page.set_viewport_size({"width": 1048, "height": 800})
    note = "A note of many words. " * 20
    player(*eight(), summary=replace(Outcome.of(*eight()), note=note))
    height = page.locator(".cbviz").bounding_box()["height"]
    notes = page.locator(".cb-rest .cb-notes")
    assert height <= 560
    assert notes.bounding_box()["height"] <= 20
    page.locator(".cb-rest").focus()
    page.wait_for_function("() => document.querySelector('.cb-rest .cb-notes').getBoundingClientRect().height > 40")
    expect(notes).to_contain_text(note.strip())
    assert page.locator(".cbviz").bounding_box()["height"] == height


def test_the_inspector_is_there_only_while_a_request_stands_out(player, page: Page, board) -> None:
    player()
    expect(page.locator(".cb-inspector")).to_be_hidden()
    height = page.locator(".cbviz").bounding_box()["height"]
    page.locator(".cb-canvas").first.hover(position={"x": GUTTER + 20, "y": TOP + 8})
    expect(page.locator(".cb-inspector")).to_be_visible()
    assert page.locator(".cbviz").bounding_box()["height"] == height, "and nothing moves when it comes"
    page.mouse.move(2, 2)
    expect(page.locator(".cb-inspector")).to_be_hidden()


def test_the_legend_shows_what_occurs(player, page: Page) -> None:
    player()
    shown = page.locator(".cb-legend").get_attribute("data-shown").split()
    assert shown == ["prefill", "decode", "held", "idle", "end_mark"]
    expect(page.locator(".cb-legend-entry")).to_have_count(len(shown) + 1)  # and the strip below the rows


def test_the_words_stand_beside_their_slots_and_a_held_slot_burns_on(player, page: Page) -> None:
    static, continuous = pair()
    player()
    page.locator(".cb-scrub").fill("12")
    answers = page.locator(".cb-lane").first.locator(".cb-answer")
    expect(answers).to_have_count(4)
    row = static.requests.row(3)
    expect(answers.nth(3)).to_contain_text("".join(static.requests.pieces[row][:12])[-12:])
    expect(answers.nth(3)).to_have_attribute("data-kind", "writes")
    ended = int(static.requests.finished[static.requests.row(0)])
    expect(answers.nth(0)).to_have_attribute("data-kind", "held")
    expect(answers.nth(0).locator(".cb-burned")).to_have_text(f"+{12 - ended - 1}")
    expect(page.locator(".cb-burned:visible")).to_have_count(3)
    boxes = [answers.nth(slot).bounding_box()["y"] for slot in range(4)]
    canvas = page.locator(".cb-canvas").first.bounding_box()
    assert [round(y - canvas["y"] - TOP) for y in boxes] == [0, 24, 48, 72], "on the height of their rows"
    assert continuous.requests.pieces


def test_what_the_shorter_lane_saved_is_drawn_where_it_was_saved(player, page: Page) -> None:
    static, continuous = pair()
    player()
    saved = page.locator(".cb-saved:visible")
    expect(saved).to_have_text(f"{len(static.iterations) - len(continuous.iterations)} iterations saved")
    assert saved.bounding_box()["width"] > 100
    page.locator(".cb-scrub").fill("5")
    expect(page.locator(".cb-saved:visible")).to_have_count(0)


def test_a_run_that_was_stopped_saved_nothing(player, page: Page) -> None:
    player(summary=Outcome(stopped=True))
    expect(page.locator(".cb-flag:visible")).to_have_count(2)
    expect(page.locator(".cb-saved:visible")).to_have_count(0)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_label_is_cut_on_a_phone(player, page: Page, language: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    saved = page.locator(".cb-saved:visible")
    fits = "(box) => box.scrollWidth <= box.clientWidth && box.scrollHeight <= box.clientHeight"
    for traces in (cbviz.recorded("smollm2-8"), pair()):
        player(*traces, language=language)
        spared = len(traces[0].iterations) - len(traces[1].iterations)
        expect(saved).to_contain_text(str(spared))  # in words, or the number alone where they have no room
        assert saved.evaluate(fits)
    cut = """() => [...document.querySelectorAll('.cb-counter, .cb-legend-entry, .cb-lane h3, .cb-waiting, .cb-place')]
        .filter((box) => box.offsetWidth)
        .filter((box) => box.scrollWidth > box.clientWidth + 1 || box.getBoundingClientRect().right > innerWidth)
        .map((box) => box.textContent)"""
    assert page.evaluate(cut) == []


def state_over_time(page: Page) -> list[dict[str, Any]]:
    """The board's attributes in every frame from here to the end of the run."""
    return page.evaluate(
        """() => new Promise((done) => {
            const board = document.querySelector('.cbviz');
            const seen = [];
            const look = () => {
                const { iteration, columns, caption, fitted, playing } = board.dataset;
                const plots = [...document.querySelectorAll('.cb-plot')];
                const flights = Math.max(...plots.map((plot) => Number(plot.dataset.flights ?? 0)));
                seen.push({ iteration: Number(iteration), columns: Number(columns), caption, flights });
                if (playing === 'false' && fitted === 'true') done(seen);
                else requestAnimationFrame(look);
            };
            look();
        })"""
    )


def test_the_camera_opens_near_captions_the_first_refill_and_ends_with_the_whole(player, page: Page) -> None:
    lengths = [3, 40, 25, 30] * 12
    player(scheduled_trace(lengths, 4, "static"), scheduled_trace(lengths, 4, "continuous"), autoplay=True)
    page.locator(".cb-speed").select_option("2")
    seen = state_over_time(page)
    early = [frame for frame in seen if 0 < frame["iteration"] < 12]
    assert all(59 <= frame["columns"] <= 61 for frame in early)
    assert seen[-1]["columns"] >= 480
    captions = {frame["caption"] for frame in seen} - {""}
    assert captions == {"slot 0 is free → request 4 enters"}
    first = next(frame for frame in seen if frame["caption"])
    assert first["iteration"] in (3, 4), "iteration 3 is the first after the end of request 0"
    assert seen[-1]["flights"] > 0, "successors flew in"
    assert page.locator(".cb-flier, .cb-flash").count() <= 12


def test_a_touch_takes_the_camera_and_a_button_gives_it_back(player, page: Page, board) -> None:
    lengths = [3, 40, 25, 30] * 12
    player(scheduled_trace(lengths, 4, "static"), autoplay=True)
    board("camera", "director")
    page.keyboard.press("+")
    board("camera", "viewer")
    page.locator('[data-action="camera"]').click()
    board("camera", "director")
    page.wait_for_function("() => Math.abs(Number(document.querySelector('.cbviz').dataset.columns) - 60) < 1")
    page.locator(".cb-scrub").fill("17")
    board("camera", "viewer")


def test_keys_reach_a_fresh_page_without_a_click(player, page: Page, board) -> None:
    player()
    page.keyboard.press("Space")
    board("playing", "true")
    page.keyboard.press("Space")
    board("playing", "false")
    page.keyboard.press("?")
    expect(page.locator(".cb-help-box h3").first).to_have_text("How to read the picture")
    page.keyboard.press("Escape")
    expect(page.locator(".cb-help-box")).to_be_hidden()


def test_a_phone_shows_a_request_in_a_sheet_at_the_bottom_of_the_screen(browser: Browser, written: Path) -> None:
    tab = fresh(browser, written, viewport={"width": 390, "height": 600}, has_touch=True, reduced_motion="reduce")
    plot = tab.locator(".cb-canvas").first.bounding_box()
    tab.touchscreen.tap(plot["x"] + GUTTER + 30, plot["y"] + TOP + 3 * 24 + 8)
    tab.wait_for_selector('.cbviz[data-pinned="3"]')
    sheet = tab.locator(".cb-inspector").bounding_box()
    assert sheet["y"] + sheet["height"] <= 601, "on the screen"
    assert sheet["y"] > 240
    assert sheet["width"] > 350
    tab.context.close()


def test_chinese_with_one_switch(player, page: Page, board) -> None:
    player(language="zh")
    assert board("language") == "zh"
    expect(page.locator(".cb-lane").first).to_contain_text("槽位占用率")
    expect(page.locator(".cb-finish")).to_contain_text("个回答逐个 token 都相同")
    assert page.locator(".cbviz").get_attribute("lang") == "zh-CN"
    page.locator('[data-action="language"]').click()
    board("language", "en")
    expect(page.locator(".cb-lane").first).to_contain_text("occupancy")


def patient(browser: Browser, **context: Any) -> Page:
    """A page in a context of its own, which waits as long as the tests' own page."""
    tab = browser.new_context(**context).new_page()
    tab.set_default_timeout(PATIENCE)
    return tab


def fresh(browser: Browser, path: Path, **context: Any) -> Page:
    tab = patient(browser, **context)
    tab.goto(path.as_uri())
    tab.wait_for_selector(".cbviz[data-iteration]")
    return tab


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "run.html"
    path.write_text(html(pair()), encoding="utf-8")
    return path


def test_it_plays_by_itself_unless_motion_is_to_be_reduced(browser: Browser, written: Path) -> None:
    moving = fresh(browser, written)
    moving.wait_for_function("() => Number(document.querySelector('.cbviz').dataset.iteration) > 2")
    assert moving.locator(".cbviz").get_attribute("data-playing") == "true"
    moving.context.close()
    still = fresh(browser, written, reduced_motion="reduce")
    still.wait_for_timeout(400)
    assert still.locator(".cbviz").get_attribute("data-playing") == "false"
    assert still.locator(".cbviz").get_attribute("data-iteration") == str(len(pair()[0].iterations))
    still.context.close()


def test_dark_and_forced_colours_come_from_the_host(browser: Browser, written: Path) -> None:
    dark = fresh(browser, written, color_scheme="dark", reduced_motion="reduce")
    assert dark.locator(".cbviz").get_attribute("data-theme") == "dark"
    dark.emulate_media(color_scheme="light")
    dark.wait_for_selector('.cbviz[data-theme="light"]')
    dark.context.close()
    forced = fresh(browser, written, forced_colors="active", reduced_motion="reduce")
    expect(forced.locator(".cb-big")).to_be_visible()
    looks = "button => { const look = getComputedStyle(button); return [look.color, look.backgroundColor]; }"
    for action in ("iterations", "play"):
        ink, ground = forced.locator(f'[data-action="{action}"]').evaluate(looks)
        assert ink != ground, action
    ends = forced.locator(".cb-flag").first.evaluate("flag => getComputedStyle(flag).backgroundImage")
    assert "conic-gradient" in ends, "the flag keeps its chequers"
    forced.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, written: Path, scheme: str) -> None:
    tab = patient(browser, bypass_csp=True, color_scheme=scheme, reduced_motion="reduce")
    tab.goto(written.as_uri())
    tab.wait_for_selector(".cbviz[data-iteration]")
    tab.locator(".cbviz").focus()
    for key in ("ArrowDown", "Enter", "t"):
        tab.keyboard.press(key)
    for key in ("", "?"):
        if key:
            tab.keyboard.press(key)
        found = Axe().run(tab).response["violations"]
        bad = [(v["id"], v["impact"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found]
        assert [v for v in bad if v[1] in ("serious", "critical")] == []
    tab.context.close()


def test_screen_readers_hear_a_summary_at_most_every_two_seconds(player, page: Page) -> None:
    player()
    page.evaluate(
        """() => {
            window.heard = [];
            new MutationObserver(() => window.heard.push(performance.now()))
                .observe(document.querySelector('[data-summary]'), { childList: true, subtree: true });
        }"""
    )
    page.locator('[data-action="play"]').click()
    page.wait_for_function("() => window.heard.length >= 2")
    heard = page.evaluate("window.heard")
    assert all(b - a > 1900 for a, b in pairwise(heard))
    label = page.locator(".cb-canvas").first.get_attribute("aria-label")
    assert "static: 4 slots" in label
    assert "occupancy" in label


def test_the_page_asks_the_network_for_nothing(page: Page, written: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(written.as_uri())
    page.wait_for_selector(".cbviz[data-iteration]")
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_nothing_is_drawn_off_screen(player, page: Page, board) -> None:
    player()
    page.evaluate("document.querySelector('#board').style.marginTop = '5000px'")
    board("visible", "false")
    before = board("frames")
    page.evaluate("document.querySelector('.cbviz').dispatchEvent(new KeyboardEvent('keydown', {key: ' '}))")
    page.wait_for_timeout(300)
    assert board("frames") == before


def test_a_saved_output_becomes_the_player_where_scripts_run_and_a_picture_where_not(
    browser: Browser, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.html"
    output = mimebundle(pair())["text/html"]
    saved.write_text(f"<!doctype html><meta charset=utf-8><body>{output}{output}", encoding="utf-8")
    tab = patient(browser)
    tab.goto(saved.as_uri())
    tab.wait_for_function("() => document.querySelectorAll('.cbviz[data-iteration]').length === 2")
    assert tab.locator(".cbviz").first.get_attribute("data-lanes") == "2"
    tab.context.close()
    plain = patient(browser, java_script_enabled=False)
    plain.goto(saved.as_uri())
    picture = plain.locator("img").first
    expect(picture).to_be_visible()
    assert picture.bounding_box()["height"] > 100
    plain.context.close()


def test_damaged_data_is_said_and_the_picture_stays(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    text = html(pair())
    start = text.index('id="run">') + len('id="run">')
    path.write_text(text[: start + 400] + text[start + 600 :], encoding="utf-8")
    page.goto(path.as_uri())
    page.wait_for_function("() => document.querySelector('#board').textContent.includes('rror')")
    expect(page.locator("#board img")).to_be_visible()


def test_lanes_that_find_no_time_in_a_frame_are_stretched_into_place_and_painted_soon(
    page: Page, written: Path
) -> None:
    """With a clock on which every lane takes far too long: one lane a frame is painted, the others move over."""
    page.goto(written.as_uri())
    page.wait_for_selector(".cbviz[data-iteration]")
    page.locator(".cbviz").focus()
    page.keyboard.press("End")
    page.wait_for_timeout(300)
    seen = page.evaluate(
        """async () => {
            const bases = [...document.querySelectorAll('.cb-base')];
            const stretched = () => bases.filter((base) => base.style.transform).length;
            const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            const picture = () => bases.map((base) => base.toDataURL());
            const real = performance.now.bind(performance);
            const board = document.querySelector('.cbviz');
            const press = (key) => board.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
            let late = 0;
            performance.now = () => real() + (late += 50);
            press('+');
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
            const during = stretched();
            const soon = async (condition) => {
                for (let k = 0; k < 300 && !condition(); k++) await new Promise((done) => setTimeout(done, 100));
            };
            for (let k = 0; k < 20; k++) await frame();
            performance.now = real;
            await soon(() => stretched() === 0);
            await new Promise((done) => setTimeout(done, 500));
            const after = stretched();
            const hurried = picture();
            for (const base of bases) base.getContext('2d').clearRect(0, 0, base.width, base.height);
            document.documentElement.style.background = 'rgb(255, 255, 254)';
            press('l'); press('l'); // a new language paints everything anew, at leisure
            const same = () => {
                const again = [...document.querySelectorAll('.cb-base')].map((base) => base.toDataURL());
                return hurried.every((one, k) => one === again[k]);
            };
            await soon(same);
            return { lanes: bases.length, during, after, same: same() };
        }"""
    )
    assert seen["lanes"] == 2
    assert seen["during"] == 1, "one lane had its turn, the other was moved"
    assert seen["after"] == 0
    assert seen["same"], "and what is painted late is what is painted at leisure"


def test_two_fingers_zoom_and_one_pans(browser: Browser, written: Path) -> None:
    tab = fresh(browser, written, has_touch=True, reduced_motion="reduce")
    plot = tab.locator(".cb-canvas").first.bounding_box()
    touch = tab.context.new_cdp_session(tab)
    middle, y = plot["x"] + plot["width"] / 2, plot["y"] + 20

    def fingers(kind: str, *places: float) -> None:
        points = [{"x": x, "y": y, "id": number} for number, x in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def scale() -> float:
        return float(tab.locator(".cbviz").get_attribute("data-scale"))

    before = scale()
    fingers("touchStart", middle - 40, middle + 40)
    for apart in (60, 90, 120, 160):
        fingers("touchMove", middle - apart, middle + apart)
    fingers("touchEnd")
    tab.wait_for_function("(before) => Number(document.querySelector('.cbviz').dataset.scale) > 2 * before", arg=before)
    assert tab.locator(".cbviz").get_attribute("data-fitted") == "false"
    zoomed = scale()
    fingers("touchStart", middle)
    for moved in (10, 40, 90):
        fingers("touchMove", middle - moved)
    fingers("touchEnd")
    tab.wait_for_timeout(300)
    assert scale() == zoomed
    tab.context.close()
