"""Pages that commands write beside the board: what `cbviz doctor --html` writes fits a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from cbviz.cli import main

pytestmark = pytest.mark.browser
RESULTS = Path(__file__).resolve().parents[1] / "load_results"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["vllm_bench.json", "vllm_server_rtx4090.jsonl.gz"])
def test_a_diagnosis_scrolls_inside_itself_on_a_phone(
    page: Page, errors: list[str], tmp_path: Path, name: str, scheme: str
) -> None:
    written = tmp_path / "report.html"
    assert main(["doctor", str(RESULTS / name), "--html", str(written)]) == 0
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(written.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    rules = page.locator("td:last-child")
    assert rules.count() > 20
    assert min(box.bounding_box()["width"] for box in rules.all()) > 150  # type: ignore[index]
    assert page.locator("img").count() == page.locator(".wide > img").count() >= 2
    assert errors == []
