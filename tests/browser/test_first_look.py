"""What a first-time viewer must be able to say from the screen alone within twenty seconds of a page that opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import film_board
import pytest
from playwright.sync_api import Page

import cbviz
from cbviz.trace import Trace
from cbviz.view.player import html

pytestmark = pytest.mark.browser

DRAWN = """() => {
    window.drawn = [];
    const fillText = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (words, x, y, ...rest) {
        const { e, f } = this.getTransform();
        window.drawn.push({ words, x: x + e, y: y + f, lane: this.canvas.dataset.cells ?? "" });
        return fillText.call(this, words, x, y, ...rest);
    };
}"""
"""Writes down the words that are drawn: they are no text of the page."""


def successor(trace: Trace, request: int) -> int:
    """The request that takes a request's slot after it."""
    table = trace.requests
    row = table.row(request)
    later = [
        (int(table.admitted[i]), int(table.id[i]))
        for i in range(len(table))
        if table.slot[i] == table.slot[row] and table.admitted[i] > table.finished[row]
    ]
    return min(later)[1]


def drawn(page: Page) -> list[dict[str, Any]]:
    """The words drawn since the last call."""
    return page.evaluate("() => window.drawn.splice(0)")


def test_the_camera_is_near_at_first_and_shows_the_whole_after_twenty_seconds(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "race.html"
    path.write_text(html(cbviz.recorded("smollm2-8")), encoding="utf-8")
    film_board.opened(page, path.as_uri())
    columns, passed = {}, 0
    for second in (0, 3, 10, 22):
        # Frame by frame, as the page would run: a clock that jumps would be a tab that slept.
        page.clock.run_for(1000 * (second - passed))
        passed = second
        columns[second] = float(page.locator(".cbviz").get_attribute("data-columns"))
    assert 59 <= columns[0] <= 61
    assert 59 <= columns[3] <= 61
    assert 61 < columns[10] < 500
    assert columns[22] >= 631


def test_the_screen_answers_five_questions_within_twenty_seconds(page: Page, tmp_path: Path, errors: list[str]) -> None:
    static, continuous = cbviz.recorded("smollm2-8")
    path = tmp_path / "race.html"
    path.write_text(html((static, continuous)), encoding="utf-8")
    page.add_init_script(f"({DRAWN})()")
    film_board.opened(page, path.as_uri())
    words: list[dict[str, Any]] = []
    captions, labels, seconds = set(), set(), 0.0
    while not film_board.over(page) and seconds < 24:
        page.clock.run_for(250)
        seconds += 0.25
        words += drawn(page)
        captions.add(page.locator(".cbviz").get_attribute("data-caption"))
        labels.add(page.locator(".cb-lanes").inner_text())
    assert seconds <= 21, "from open to finish in about twenty seconds"
    said = {entry["words"] for entry in words}
    # What is a row, and what is a column? The axes say so.
    assert {"slot", "iteration (from 0) →"} <= said | set("\n".join(labels).split("\n"))
    # What is grey? The legend says so.
    assert "held: finished, still computed" in page.locator(".cb-legend").inner_text()
    # Who enters a slot that is free? A caption says so at the first, and the bars in its row for all that follow.
    assert f"slot 7 is free → request {successor(continuous, 7)} enters" in captions
    bars = [entry for entry in words if entry["lane"] == "1"]
    (row,) = {round(entry["y"]) for entry in bars if entry["words"] == "2"}
    heir = str(successor(continuous, 2))
    assert any(entry["words"] == heir and round(entry["y"]) == row for entry in bars)
    # Why is static slower? The verdict says so, with the count of the grey cells.
    held = int(static.iterations.held_slots.sum())
    verdict = page.locator(".cb-verdict").inner_text()
    assert f"{len(static.iterations)} → {len(continuous.iterations)} iterations" in verdict
    assert f"static computed {held:,} slots for answers that had ended" in verdict
    assert errors == []
