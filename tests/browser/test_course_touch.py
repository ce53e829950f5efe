"""What a learner touches in the course: the game by hand and the sliders, with the keyboard alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Lab

pytestmark = pytest.mark.browser

START = "import cbviz\nfrom cbviz import course\n"


def test_the_game_by_hand_is_played_with_the_keyboard(lab: Lab, page: Page, errors: list[str]) -> None:
    lab.write("hand.ipynb", f"{START}course.by_hand(cbviz.recorded('smollm2-8')[0], requests=3, slots=2, longest=60)")
    lab.open(page, "hand.ipynb")
    lab.run_cell(page)
    said = page.locator(".widget-html [role=status]")
    expect(said).to_contain_text("2 slots are free, and 3 requests wait")
    page.locator("button.jupyter-button:visible").first.focus()
    for following in (1, 2):
        page.keyboard.press("Enter")
        page.wait_for_function(f"document.activeElement.innerText.startsWith('{following} ·')")
    page.keyboard.press("Enter")
    expect(said).to_contain_text("You needed")
    page.wait_for_function("document.activeElement.innerText === 'Begin again'")
    page.keyboard.press("Enter")
    expect(said).to_contain_text("Iteration 0")
    assert errors == []


def test_a_slider_redraws_under_the_arrow_keys_and_keeps_the_focus(lab: Lab, page: Page, errors: list[str]) -> None:
    lab.write("sliders.ipynb", f"{START}course.capacity()")
    lab.open(page, "sliders.ipynb")
    lab.run_cell(page)
    shown = page.locator(".widget-html").last
    expect(shown).to_contain_text("8 sequences of 2,048")
    slider = page.get_by_role("slider", name="bits a weight")
    expect(slider).to_have_attribute("aria-valuetext", "16")
    slider.focus()
    page.keyboard.press("ArrowLeft")  # 16 bits become 8
    expect(shown).to_contain_text("27 GB are left")
    expect(slider).to_be_focused()
    expect(slider).to_have_attribute("aria-valuetext", "8")
    assert errors == []


def test_a_guess_is_made_with_a_slider_that_has_a_name(lab: Lab, page: Page, errors: list[str]) -> None:
    lab.write("guess.ipynb", f"{START}guess = course.predict(range(1, 41))\nguess", "guess.beside(11)")
    lab.open(page, "guess.ipynb")
    lab.run_cell(page)
    slider = page.get_by_role("slider", name="Your guess:")
    expect(slider).to_have_attribute("aria-valuetext", "?")
    slider.focus()
    page.keyboard.press("End")
    expect(page.locator(".jp-OutputArea output")).to_have_text("40")
    lab.run_cell(page, 1)
    expect(page.locator(".jp-OutputArea").last).to_contain_text("you guessed 40, the run says 11")
    assert errors == []
