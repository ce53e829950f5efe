"""What the tests of the page share: how they fill in its form, and how they read what its workers send."""

from __future__ import annotations

import base64
import json
from typing import Any

from playwright.sync_api import Page, expect

from cbviz.messages import say
from cbviz.view.pack import LaneEncoder, read
from tests.page_schedules import Case, events
from tests.test_page_engine import pieces

BOARD = "#stage .cbviz"
LONG = 180_000
"""Milliseconds for what computes: a machine may be busy."""
FRAMES = """
  globalThis.frames_ = [];
  globalThis.Worker = class extends Worker {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", ({ data }) => {
        const text = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
        globalThis.frames_.push(...(data.blocks ?? []).map(text));
      });
    }
  };
"""
"""Keeps what workers send, as text with a character a byte."""
ONE_TURN = """
  globalThis.Blob = class extends Blob {
    constructor(parts, given) {
      super(given?.type === "text/javascript" ? ["performance.now = () => 0; ", ...parts] : parts, given);
    }
  };
"""
"""A worker whose clock stands still: however many iterations it computes, its turn is not over."""


def ready(page: Page) -> None:
    page.wait_for_selector("body[data-ready=true]", timeout=LONG)


def choose(page: Page, slots: int, requests: int, *lanes: str, seed: int = 0, memory: str = "ample") -> None:
    ready(page)
    page.select_option("#slots", str(slots))
    page.fill("#requests", str(requests))
    page.fill("#seed", str(seed))
    page.select_option("#memory", memory)
    for number in (1, 2, 3):
        page.select_option(f"#lane{number}", lanes[number - 1] if number <= len(lanes) else "")


def race_to_the_end(page: Page) -> None:
    page.click("#start")
    page.wait_for_selector("body[data-race=finished]", timeout=LONG)


def write(page: Page, code: str) -> None:
    choose(page, 2, 4, "yours")
    page.fill("#code", code)


def stopped_with(page: Page, sentence: str) -> None:
    page.click("#start")
    page.wait_for_selector("body[data-race=stopped]", timeout=LONG)
    expect(page.locator("#status")).to_have_text(sentence)


def sent(page: Page) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """All blocks that workers have sent, with `FRAMES` in the page."""
    frames = page.evaluate("() => globalThis.frames_.map((frame) => btoa(frame))")
    return [part for frame in frames for part in read(base64.b64decode(frame))]


def english(text: Any) -> str:
    """A sentence as it travels, in English: facts may be sentences, too."""
    if not isinstance(text, list):
        return text
    key, facts = text
    return say("en", key, {name: english(fact) if isinstance(fact, list) else fact for name, fact in facts.items()})


def lane_is_pythons(blocks: list[tuple[dict[str, Any], dict[str, Any]]], lane: int, case: Case) -> None:
    """What a lane sent is what Python's engine does in the case, but for the times."""
    expected, encoder, at = list(events(case)), LaneEncoder(lane, case.slots), 0
    for header, arrays in blocks:
        if header["kind"] != "iterations" or header["lane"] != lane:
            continue
        batch = expected[at : at + header["n"]]
        at += header["n"]
        [(their_header, theirs)] = read(encoder.encode([(event, pieces(event)) for event in batch]))
        assert header == their_header
        assert {k: a.tolist() for k, a in arrays.items() if k not in ("t0", "t1")} == {
            k: a.tolist() for k, a in theirs.items() if k not in ("t0", "t1")
        }
    assert at == len(expected)


def packed(**settings: Any) -> str:
    return "#race=" + base64.urlsafe_b64encode(json.dumps(settings).encode()).decode().rstrip("=")
