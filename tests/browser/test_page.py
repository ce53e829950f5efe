"""The page in Chromium, opened from a file: the recorded race, a live one, written schedulers, and trouble."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from cbviz.messages import say
from tests.browser.the_page import (
    BOARD,
    FRAMES,
    LONG,
    ONE_TURN,
    choose,
    english,
    lane_is_pythons,
    packed,
    race_to_the_end,
    ready,
    sent,
    stopped_with,
    write,
)
from tests.page_schedules import Case, workload
from tools.build_page import page as built

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(built(), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(page: Page, address: str, errors: list[str]) -> Callable[..., None]:
    """Opens the page; what it asks of a network, and what its policy blocks, fails the test."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)

    def open_(fragment: str = "", before: str = "") -> None:
        if before:
            page.add_init_script(before)
        page.goto(address + fragment)
        page.wait_for_selector(f"{BOARD}[data-frames]")

    yield open_
    assert errors == []
    assert complaints == []


# ------------------------------------------------------------------ what a reader sees


def test_it_opens_with_the_recorded_race_and_says_when_the_model_is_there(opened, page: Page) -> None:
    opened()
    page.wait_for_selector(f"{BOARD}[data-playing=true]")
    assert page.get_attribute("#stage", "data-shows") == "recorded"
    assert page.get_attribute(BOARD, "data-received") == "631 288"
    expect(page.locator(".blank")).to_have_count(0)
    ready(page)
    expect(page.locator("#status")).to_have_text(say("en", "page.ready"))


@pytest.mark.parametrize("case", [Case("static", 8, 8 * 24, 16, 3), Case("orca", 2, 2 * 24, 8, 1)], ids=str)
def test_a_live_race_is_pythons_iteration_for_iteration_and_token_by_token(opened, page: Page, case: Case) -> None:
    opened(before=FRAMES)
    choose(page, case.slots, case.requests, case.policy, "vllm_v1", "sarathi", seed=case.seed)
    race_to_the_end(page)
    blocks = sent(page)
    for lane, name in enumerate((case.policy, "vllm_v1", "sarathi")):
        lane_is_pythons(blocks, lane, Case(name, case.slots, case.blocks, case.requests, case.seed))
    meta = [header["meta"] for header, _ in blocks if header["kind"] == "meta"]
    finish = meta[-1]["finish"]
    for text in filter(None, (finish["headline"], finish["beside"], *finish["lines"])):
        expect(page.locator(f"{BOARD} .cb-finish")).to_contain_text(english(text))
    assert (meta[-1]["finish"]["identical"], meta[-1]["finish"]["compared"]) == (case.requests, case.requests)
    prompts = next(header["rows"] for header, _ in blocks if header["kind"] == "requests")
    assert [row[1] for row in prompts] == [request.text for request in workload(case.requests, case.seed)]


def test_a_race_stops_and_what_ran_stays(opened, page: Page, board) -> None:
    opened()
    choose(page, 4, 64, "static", "continuous")
    page.click("#start")
    page.wait_for_selector("body[data-first]:not([data-first=''])", timeout=LONG)
    page.click("#stop")
    page.wait_for_selector("body[data-race=stopped]", timeout=LONG)
    expect(page.locator("#status")).to_have_text(say("en", "page.stopped"))
    received = [int(n) for n in board("received").split()]
    assert sum(received) > 0
    result = page.locator(f"{BOARD} .cb-finish")
    expect(result).to_contain_text(say("en", "verdict.stopped"))
    for name, n in zip(("static", "continuous"), received, strict=True):
        expect(result).to_contain_text(re.compile(rf"{name}: \d+ of 64 requests in {n} iterations?\."))
    assert page.get_attribute("#stage", "data-shows") == "live"
    page.click("#again")
    page.wait_for_selector("#stage[data-shows=recorded]")
    assert board("received") == "631 288"


def test_back_to_the_recorded_race_leads_to_where_it_plays(opened, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    opened()
    page.locator("#again").evaluate("button => button.scrollIntoView({ block: 'start' })")
    expect(page.locator(BOARD)).not_to_be_in_viewport()
    page.click("#again")
    expect(page.locator(BOARD)).to_be_in_viewport()


def test_a_race_pauses_steps_and_continues(opened, page: Page, board) -> None:
    opened()
    choose(page, 1, 64, "continuous")
    page.click("#start")
    page.wait_for_selector(f"{BOARD}[data-live=true]", timeout=LONG)
    page.locator(BOARD).focus()
    page.keyboard.press("Space")
    page.wait_for_selector("body[data-race=paused]", timeout=LONG)
    page.wait_for_selector(f"{BOARD}[data-playing=false]")
    before = int(board("received"))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    board("received", str(before + 2))
    page.keyboard.press("Space")
    page.wait_for_selector("body[data-race=running]")
    page.click("#stop")
    page.wait_for_selector("body[data-race=stopped]", timeout=LONG)
    assert int(board("received")) > before + 1


def test_the_three_steps_wait_for_a_guess_and_follow_the_reader(opened, page: Page) -> None:
    opened()
    ready(page)
    expect(page.locator("#steps")).to_be_hidden()
    page.fill("#guess", "30")
    page.click("#guess-form .main")
    expect(page.locator("#steps")).to_be_visible()
    for number in range(3):
        page.locator(".step").nth(number).evaluate(
            "(step) => step.scrollIntoView({ block: 'center', behavior: 'instant' })"
        )
        page.wait_for_selector(f"#story-board[data-step='{number}']")
    expect(page.locator("#guess-said")).to_contain_text("30")
    text = page.locator(".step").nth(2).inner_text()
    received = page.get_attribute("#story-board .cbviz", "data-received").split()
    assert all(n in text for n in received)
    expect(page.locator("#story-board")).to_contain_text(f"end: {received[1]} iterations", timeout=20_000)
    expect(page.locator("#story-board")).not_to_contain_text(f"{received[1]} iterations,")  # seconds of a clock


def test_a_request_in_a_step_and_its_bar_light_each_other_up(opened, page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")  # each step is at its end at once
    opened()
    ready(page)
    page.click("#guess-skip")

    def step(number: int) -> Locator:
        shown = page.locator(".step").nth(number)
        shown.evaluate("(step) => step.scrollIntoView({ block: 'center', behavior: 'instant' })")
        page.wait_for_selector(f"#story-board[data-step='{number}']")
        return shown

    def lit(request: str) -> None:
        page.wait_for_selector(f"#story-board .cbviz[data-lit='{request}']")

    first = step(0).locator(".cbviz-ref")
    request = first.inner_text()
    first.hover()
    lit(request)
    page.mouse.move(2, 2)
    lit("-1")
    first.focus()
    lit(request)
    first.evaluate("(mark) => mark.blur()")
    lit("-1")
    # And back: the pointer on its bar, which is in the row of its words.
    lane = page.locator("#story-board .cb-lane").first
    words = lane.locator(f".cb-answer[data-request='{request}']").bounding_box()
    cells = lane.locator(".cb-base").bounding_box()
    page.mouse.move(cells["x"] + 3, words["y"] + words["height"] / 2)
    lit(request)
    expect(first).to_have_attribute("data-lit", "true")
    page.mouse.move(2, 2)
    lit("-1")
    expect(first).not_to_have_attribute("data-lit", "true")
    # The second step holds its request, and a click on a mark of the third holds that one.
    held = step(1).locator(".cbviz-ref")
    lit(held.inner_text())
    expect(held).to_have_attribute("data-lit", "true")
    successor = step(2).locator(".cbviz-ref").first
    successor.click()
    page.mouse.move(2, 2)
    lit(successor.inner_text())


def test_nothing_is_drawn_off_screen_while_a_race_computes(opened, page: Page, board) -> None:
    opened()
    page.click("#guess-skip")
    choose(page, 2, 16, "static")
    page.click("#start")
    page.wait_for_selector("body[data-first]:not([data-first=''])", timeout=LONG)
    page.locator("#course").evaluate("(section) => section.scrollIntoView({ behavior: 'instant' })")
    for name in ("#stage", "#story-board"):
        page.wait_for_selector(f"{name} .cbviz[data-visible=false]", state="attached")
    drawn = board("frames")
    page.wait_for_selector("body[data-race=finished]", timeout=LONG)
    expect(page.locator("#status")).to_have_text(say("en", "page.finished"))
    assert board("frames") == drawn
    page.locator("#stage").evaluate("(stage) => stage.scrollIntoView({ behavior: 'instant' })")
    page.wait_for_function("(n) => document.querySelector('#stage .cbviz').dataset.frames > n", arg=int(drawn))


def test_it_speaks_chinese_and_back(opened, page: Page) -> None:
    opened()
    ready(page)
    page.click("#language")
    expect(page.locator("h1")).to_have_text(say("zh", "page.hero_title"))
    expect(page.locator("#status")).to_have_text(say("zh", "page.ready"))
    assert page.get_attribute("html", "lang").startswith("zh")
    page.wait_for_selector(f"{BOARD}[data-language=zh]")
    page.wait_for_selector("#story-board .cbviz[lang^=zh]", state="attached")
    page.locator(f"{BOARD} [data-action=language]").click()
    expect(page.locator("h1")).to_have_text(say("en", "page.hero_title"))


@pytest.mark.parametrize("width", [1440, 768, 390, 320])
def test_nothing_is_wider_than_the_window_and_everything_has_a_name(opened, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    opened()
    ready(page)
    page.click("#guess-skip")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    if width in (1440, 390):
        found = Axe().run(page)
        assert [violation["id"] for violation in found.response["violations"]] == []


def test_less_motion_is_respected(browser: Browser, address: str) -> None:
    page = browser.new_page(reduced_motion="reduce")
    page.goto(address)
    page.wait_for_selector(f"{BOARD}[data-playing=false]")
    ready(page)
    page.close()


# ------------------------------------------------------------------ schedulers of a reader's own


def test_a_written_scheduler_races_beside_the_built_in_ones(opened, page: Page, board) -> None:
    opened()
    choose(page, 2, 6, "static", "continuous")
    page.click("#race-yours")
    page.wait_for_selector("body[data-race=finished]", timeout=LONG)
    assert page.locator("#lane2").input_value() == "yours"
    expect(page.locator(f"{BOARD} h3").nth(1)).to_have_text("shortest_first")


def test_an_illegal_plan_gets_pythons_sentence(opened, page: Page) -> None:
    opened()
    write(page, "const plan = (view) => ({ admit: [0, 0] });")
    stopped_with(page, "policy 'yours', iteration 0: request 0 is admitted twice in one plan.")


def test_an_error_in_a_plan_and_in_the_text_get_sentences(opened, page: Page) -> None:
    opened()
    write(page, 'const plan = () => { throw new RangeError("too far"); };')
    stopped_with(page, "policy 'yours' raised RangeError while planning iteration 0: too far")
    write(page, "const plan = () => ({});")
    stopped_with(
        page,
        "policy 'yours' is stuck at iteration 0: 4 requests wait and none is computed; "
        "it must admit or resume a request.",
    )


def test_a_text_that_is_no_javascript_gets_its_line(page: Page, address: str) -> None:
    page.goto(address)
    write(page, "const a = 1;\nfunction plan(view) { return {;\n}")
    page.click("#start")
    page.wait_for_selector("body[data-race=stopped]", timeout=LONG)
    facts = {"error": "SyntaxError: Unexpected token ';'", "line": 2, "column": 31}
    expect(page.locator("#status")).to_have_text(say("en", "page.no_javascript", facts))
    write(page, "function plan(view) {")  # what is wrong shows only in what follows it
    facts = {"error": "SyntaxError: Unexpected end of input"}
    stopped_with(page, say("en", "page.no_javascript_end", facts))
    page.click("#language")
    expect(page.locator("#status")).to_have_text(say("zh", "page.no_javascript_end", facts))


def test_an_endless_plan_is_ended_with_a_sentence_and_stop_need_not_wait_for_it(opened, page: Page) -> None:
    opened()
    write(page, "const plan = (view) => { while (view.iteration > 3); return { admit: view.fitting() }; };")
    stopped_with(page, say("en", "page.endless"))
    page.click("#start")
    page.wait_for_selector("body[data-first]:not([data-first=''])", timeout=LONG)
    page.click("#stop")
    page.wait_for_selector("body[data-race=stopped]", timeout=LONG)
    expect(page.locator("#status")).to_have_text(say("en", "page.stopped"))


def test_what_was_computed_before_an_endless_plan_is_on_the_board(opened, page: Page) -> None:
    """On a fast machine, too, where several iterations take less than the time between two looks at messages."""
    opened(before=ONE_TURN)
    write(page, "const plan = (view) => { while (view.iteration > 2); return { admit: view.fitting() }; };")
    stopped_with(page, say("en", "page.endless"))
    expect(page.locator(BOARD)).to_contain_text("in 3 iterations")


def test_a_loop_between_two_plans_is_ended_too(opened, page: Page) -> None:
    opened()
    loop = "const on = () => Promise.resolve().then(on);\non();\n"
    write(page, loop + "const plan = (view) => ({ admit: view.fitting() });")
    stopped_with(page, say("en", "page.endless"))


@pytest.mark.parametrize(("lanes", "turns"), [(("static", "yours"), ""), (("yours", "static"), ONE_TURN)])
def test_a_slow_machine_is_no_endless_scheduler(lanes: tuple[str, ...], turns: str, opened, page: Page) -> None:
    """What the engine takes does not count: here a first pass takes longer than a plan may, in either lane."""
    hasty = "const wait = setInterval; window.setInterval = (act, time) => wait(act, time / 4);"
    opened(before=f"delete globalThis.WebAssembly; {hasty} {turns}")
    choose(page, 16, 16, *lanes)
    race_to_the_end(page)


def test_a_scheduler_speaks_through_its_plans_alone(opened, page: Page) -> None:
    opened()
    write(page, "const plan = () => { postMessage({ type: 'ended', note: 'I won' }); };")
    sentence = "policy 'yours' raised ReferenceError while planning iteration 0: postMessage is not defined"
    stopped_with(page, sentence)
    # One that breaks out of its function can speak before the engine does; it ends itself alone.
    write(page, "}; while (true) postMessage({ type: 'frame' }); function more() {")
    stopped_with(page, say("en", "page.no_race"))
    write(page, "}; postMessage(null); postMessage({ blocks: [5] }); function more() {")
    stopped_with(page, say("en", "page.no_race"))


def test_a_scheduler_reaches_no_network(page: Page, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.startswith("http") else None)
    page.goto(address)
    write(
        page,
        "let tried = '';\n"
        "for (const go of [() => importScripts('http://localhost:9/x.js'), () => eval('1'), () => new Function('1')])"
        " try { go(); tried += 'done '; } catch { tried += 'refused '; }\n"
        "fetch('http://localhost:9/y').then(() => (tried += 'fetched'), () => 0);\n"
        "const plan = () => { throw new Error(tried); };",
    )
    page.click("#start")
    page.wait_for_selector("body[data-race=stopped]", timeout=LONG)
    expect(page.locator("#status")).to_contain_text("refused refused refused")
    assert asked == []


def test_markup_in_names_reasons_and_errors_is_text(opened, page: Page) -> None:
    opened()
    mark = "<img src=x onerror=alert(1)>"
    write(
        page,
        f"const name = {json.dumps(mark)};\n"
        f"const reason = {json.dumps(mark)};\n"
        "const plan = (view) => ({ admit: view.fitting().map((request) => ({ request, reason })) });",
    )
    race_to_the_end(page)
    expect(page.locator(f"{BOARD} h3").first).to_have_text(mark)
    write(page, f"const plan = () => {{ throw new Error({json.dumps(mark)}); }};")
    stopped_with(page, f"policy 'yours' raised Error while planning iteration 0: {mark}")
    assert page.locator("img").count() == 0


# ------------------------------------------------------------------ links


def test_an_example_takes_the_place_of_what_was_written_and_gives_it_back(opened, page: Page) -> None:
    opened()
    texts = page.locator("#example option:not([data-say])")
    expect(texts).to_have_count(0)
    written = page.input_value("#code") + "// mine"
    page.fill("#code", written)
    expect(page.locator("#example option:checked")).to_have_text(say("en", "page.example_own"))
    page.select_option("#example", "optimist")
    assert 'const name = "optimist"' in page.input_value("#code")
    page.fill("#code", changed := page.input_value("#code") + "// changed")
    page.select_option("#example", "shortest")
    page.evaluate("(hash) => (location.hash = hash)", packed(slots=2, requests=4, lanes=["yours"], code="// a link's"))
    expect(page.locator("#code")).to_have_value("// a link's")
    expect(texts).to_have_count(3)
    for place, text in enumerate((written, changed, "// a link's")):
        page.select_option("#example", str(place))
        assert page.input_value("#code") == text


def test_a_race_that_computes_stays_in_sight(opened, page: Page) -> None:
    opened()
    choose(page, 4, 128, "static", "continuous")
    page.click("#start")
    page.wait_for_selector("body[data-race=running]")
    expect(page.locator("#again")).to_be_disabled()
    page.click("#stop")
    expect(page.locator("#again")).to_be_enabled()


def test_a_text_that_is_too_long_is_refused_and_not_cut(opened, page: Page) -> None:
    opened()
    page.select_option("#lane2", "yours")
    page.focus("#code")
    page.evaluate("document.getElementById('code').select()")
    page.keyboard.insert_text("// " + "x" * 25_000 + "\nconst plan = (view) => ({ admit: view.fitting() });")
    page.click("#start")
    expect(page.locator("#status")).to_have_text(say("en", "page.bad_code", {"most": 20_000}))


def test_a_link_shows_its_code_and_runs_nothing(opened, page: Page) -> None:
    code = "const plan = (view) => ({ admit: view.fitting() }); // </textarea><script>alert(1)</script>"
    opened(packed(slots=2, requests=4, seed=9, tight=True, lanes=["yours"], code=code), before=FRAMES)
    ready(page)
    assert page.locator("#code").input_value() == code
    assert [
        page.locator(f"#{name}").input_value() for name in ("slots", "requests", "seed", "memory", "lane1", "lane2")
    ] == [
        *("2", "4", "9", "tight", "yours", ""),
    ]
    expect(page.locator("#status")).to_have_text(say("en", "page.shared"))
    assert page.evaluate("() => globalThis.frames_.length") == 0
    assert page.get_attribute("#stage", "data-shows") == "recorded"
    race_to_the_end(page)


def test_what_is_shared_comes_back(opened, page: Page) -> None:
    opened()
    choose(page, 4, 12, "orca", "yours", seed=7)
    page.fill("#code", "const plan = (view) => ({ admit: view.fitting() }); // é字😀")
    page.click("#share")
    expect(page.locator("#status")).to_have_text(say("en", "page.link_made"))
    shared = page.evaluate("() => location.hash")
    page.goto("about:blank")
    opened(shared)
    ready(page)
    assert page.locator("#code").input_value().endswith("// é字😀")
    assert page.locator("#slots").input_value() == "4"
    assert page.locator("#lane1").input_value() == "orca"


@pytest.mark.parametrize(
    ("fragment", "key", "facts"),
    [
        ("#race=%00%FF", "bad_link", {}),
        ("#race=" + "A" * 150_000, "bad_link", {}),
        (packed(slots=8, evil=1), "bad_link", {}),
        (packed(requests=10**9), "bad_requests", {"most": 128}),
        (packed(lanes=["<b>"]), "bad_lanes", {"most": 3}),
    ],
    ids=["foreign", "long", "field", "requests", "lane"],
)
def test_a_link_that_was_tampered_with_gets_a_sentence(opened, page: Page, fragment: str, key: str, facts: Any) -> None:
    opened(fragment)
    ready(page)
    expect(page.locator("#status")).to_have_text(say("en", f"page.{key}", facts))
    page.wait_for_selector(f"{BOARD}[data-playing=true]")
    assert page.locator("#slots").input_value() == "8"


def test_a_form_that_is_filled_in_wrongly_gets_a_sentence(opened, page: Page) -> None:
    opened()
    choose(page, 8, 0, "static")
    page.click("#start")
    expect(page.locator("#status")).to_have_text(say("en", "page.bad_requests", {"most": 128}))


# ------------------------------------------------------------------ browsers that lack something


def test_without_workers_the_recorded_race_plays(opened, page: Page) -> None:
    opened(before="delete globalThis.Worker;")
    expect(page.locator("#status")).to_have_text(say("en", "page.no_worker"))
    page.wait_for_selector(f"{BOARD}[data-playing=true]")
    expect(page.locator("#start")).to_be_disabled()


def test_where_no_worker_can_be_made_a_sentence_says_so(opened, page: Page) -> None:
    opened(before="globalThis.Worker = class { constructor() { throw new DOMException('no', 'SecurityError'); } };")
    ready(page)
    page.click("#start")
    expect(page.locator("#status")).to_have_text(say("en", "page.worker_failed"))
    page.wait_for_selector(f"{BOARD}[data-playing=true]")


def test_without_decompression_a_sentence_says_what_would_do(page: Page, address: str, errors: list[str]) -> None:
    page.add_init_script("delete globalThis.DecompressionStream;")
    page.goto(address)
    expect(page.locator("#status")).to_have_text(say("en", "page.old_browser"))
    page.click("#language")
    expect(page.locator("#status")).to_have_text(say("zh", "page.old_browser"))
    page.click("#again")
    assert errors == []


def test_a_block_that_is_damaged_takes_nothing_else_along(page: Page, tmp_path: Path, errors: list[str]) -> None:
    for part in ("recorded", "story"):
        text = built()
        at = text.index(f'id="{part}">') + len(f'id="{part}">')
        damaged = tmp_path / f"{part}.html"
        damaged.write_text(text[:at] + "AAAA" + text[at + 4 :], encoding="utf-8")
        page.goto(damaged.as_uri())
        ready(page)
        expect(page.locator("#status")).to_contain_text(say("en", "page.failed", {"error": ""}).strip())
        choose(page, 2, 2, "continuous")
        race_to_the_end(page)
        assert errors == []


@pytest.mark.parametrize("forbids", ["script-src 'none'", "script-src 'unsafe-inline' blob:"], ids=["script", "wasm"])
def test_what_a_host_forbids_is_said(page: Page, tmp_path: Path, forbids: str) -> None:
    """A host may add a policy of its own, as this element does."""
    path = tmp_path / "index.html"
    added = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{forbids}">'
    path.write_text(built().replace('<meta charset="utf-8">', added, 1), encoding="utf-8")
    page.goto(path.as_uri())
    if "none" in forbids:
        expect(page.locator("#stage")).to_have_text(say("en", "page.blank"))
        expect(page.locator(".blank")).to_be_visible()
        return
    ready(page)
    expect(page.locator("#status")).to_have_text(say("en", "page.ready_slow"))
    choose(page, 2, 2, "continuous")
    race_to_the_end(page)


def test_where_a_worker_is_refused_a_sentence_says_so(opened, page: Page) -> None:
    refuse = """globalThis.Worker = class extends EventTarget {
        constructor() { super(); setTimeout(() => this.onerror(new ErrorEvent("error"))); }
        postMessage() {} terminate() {}
    };"""
    opened(before=refuse)
    choose(page, 2, 4, "static")
    stopped_with(page, say("en", "page.worker_failed"))


def test_without_webassembly_the_model_runs_in_plain_javascript(opened, page: Page) -> None:
    opened(before="delete globalThis.WebAssembly;")
    ready(page)
    expect(page.locator("#status")).to_have_text(say("en", "page.ready_slow"))
    choose(page, 2, 2, "continuous")
    race_to_the_end(page)


def test_a_tab_that_sleeps_continues_where_it_was(opened, page: Page) -> None:
    opened()
    choose(page, 4, 24, "static")
    page.click("#start")
    page.wait_for_selector("body[data-first]:not([data-first=''])", timeout=LONG)
    session = page.context.new_cdp_session(page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    session.send("Page.setWebLifecycleState", {"state": "active"})
    page.wait_for_selector("body[data-race=finished]", timeout=LONG)
    assert page.get_attribute(BOARD, "data-dropped") == "0"


def test_a_file_that_ends_early_is_a_sentence(page: Page, address: str, tmp_path: Path) -> None:
    text = built()
    cut = tmp_path / "cut.html"
    cut.write_text(text[: text.index('id="weights"') + 5_000], encoding="utf-8")
    page.goto(cut.as_uri())
    page.wait_for_selector(f"{BOARD}[data-playing=true]")
    expect(page.locator("#status")).to_contain_text(say("en", "page.failed", {"error": ""}).strip())
    expect(page.locator("#start")).to_be_disabled()
