"""Take pictures of results: the situations of docs/results.md that mislead most easily, on every surface.

    python tools/shoot_results.py build/results
    python tools/shoot_results.py build/results --only page,cli

Each situation is made on the live board in JupyterLab (`live-*.png`), in the page that `race.to_html` writes
(`page-*.png`) and on the command line (`cli-*.txt`), in English and in Chinese. Look at every picture: nothing may be
cut, and nothing may claim more than was counted or measured. Needs Chromium and the development extra.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from lab_page import lab, opened, written
from playwright.sync_api import Browser, Page, sync_playwright

from cbviz.cli.words import print_result

RANDOM = """
import torch
from transformers import LlamaConfig
from cbviz.models.folder import ready
from cbviz.models.shapes import random_weights
shape = LlamaConfig(vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
                    num_key_value_heads=2, max_position_embeddings=1024, bos_token_id=None, eos_token_id=None)
model = random_weights(shape, "small", torch.device("cpu"), torch.bfloat16, 0)
loaded = ready("random:small", model, None, torch.device("cpu"), torch.bfloat16)
"""
SITUATIONS = {
    "two-lanes": "cbviz.race('tiny', slots=8, requests=24, seed=5{})",
    "four-lanes": (
        "cbviz.race('tiny', ['static', 'orca', 'sarathi', 'vllm_v1'], slots=8, requests=24, seed=5, kv_tokens=800{})"
    ),
    "toy": "cbviz.race('tiny', slots=3, requests=5, seed=5, max_new_tokens=6{})",
    "one-repeat": "cbviz.race('tiny', slots=8, requests=24, seed=5, repeats=1{})",
    "nothing-to-win": "cbviz.race('tiny', slots=8, requests=4, seed=5{})",
    "same-lanes": "cbviz.race('tiny', ['static', 'static'], slots=4, requests=12, seed=5{})",
    "own-prompts": "cbviz.race('tiny', prompts=['Spell cat', 'Count to 9', 'Sort 3 1 2', 'Spell elephant'], slots=2{})",
    "random-16-bits": RANDOM + "cbviz.race(loaded, slots=4, requests=12, max_new_tokens=48{})",
}
"""Situation → the code of a cell that makes it; what a surface adds goes into the blank."""
LANGUAGES = ("en", "zh")
PATIENCE = 300_000
"""Milliseconds for a race in a notebook."""


def made(situation: str, language: str) -> Any:
    """The race, run here without a live board."""
    *before, last = SITUATIONS[situation].strip().splitlines()
    names: dict[str, Any] = {}
    exec("\n".join(["import cbviz", *before]), names)
    repeats = "" if "repeats" in last else ", repeats=2"
    return eval(last.format(f", live=False, language={language!r}{repeats}"), names)


def shoot_page(browser: Browser, race: Any, target: Path) -> None:
    """The page of a race, at its end and again on a phone."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    race.to_html(target.with_suffix(".html"))
    page.goto(target.with_suffix(".html").absolute().as_uri())
    page.wait_for_selector(".cbviz[data-iteration]")
    at_end(page)
    page.screenshot(path=target, full_page=True)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(400)
    page.screenshot(full_page=True, path=target.with_name(f"{target.stem}-phone.png"))
    page.close()
    print(target, flush=True)


def at_end(page: Page) -> None:
    """Move the cursor to the end of the run, where the result is."""
    scrub = page.locator(".cb-scrub")
    scrub.fill(scrub.get_attribute("max") or "1")
    scrub.blur()
    page.wait_for_selector('.cb-finish[data-ended="true"]')
    page.wait_for_timeout(400)


def write_command_line(race: Any, target: Path) -> None:
    """What the command line prints of a race."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        print_result(race, drawn=True)
    target.write_text(f"{race!r}\n\n{said.getvalue()}\n{race.table()}\n", encoding="utf-8")
    print(target, flush=True)


def shoot_live(browser: Browser, folder: Path, language: str, situations: list[str]) -> None:
    """Every race on the live board of a notebook, after its end."""
    tab = browser.new_page(viewport={"width": 1400, "height": 1200})
    sources = ["import cbviz"]
    for situation in situations:
        *before, last = SITUATIONS[situation].strip().splitlines()
        sources.append("\n".join([*before, last.format(f", live=True, language={language!r}")]))
    with tempfile.TemporaryDirectory() as name, lab(Path(name)) as address:
        written(Path(name) / f"results-{language}.ipynb", sources)
        opened(tab, address, f"results-{language}.ipynb")
        for number, source in enumerate(["", *situations]):
            cell = tab.locator(".jp-Notebook .jp-CodeCell").nth(number)
            cell.locator(".cm-content").click()
            tab.keyboard.press("Control+Enter")
            if source:
                board = cell.locator(".cbviz[data-iteration]")
                board.locator('.cb-finish[data-ended="true"]').wait_for(timeout=PATIENCE)
                tab.wait_for_timeout(600)
                cell.locator(".jp-Cell-outputWrapper").screenshot(path=folder / f"live-{source}-{language}.png")
                print(folder / f"live-{source}-{language}.png", flush=True)
    tab.close()


def main() -> None:
    """Make the situations and show them."""
    parser = argparse.ArgumentParser(description="Take pictures of results on every surface.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="page,cli,live", help="surfaces, with commas between them")
    parser.add_argument("--situations", default=",".join(SITUATIONS), help="situations, with commas between them")
    options = parser.parse_args()
    folder, surfaces, situations = options.folder, options.only.split(","), options.situations.split(",")
    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        for language in LANGUAGES:
            for situation in situations if {"page", "cli"} & set(surfaces) else []:
                race = made(situation, language)
                if "cli" in surfaces:
                    write_command_line(race, folder / f"cli-{situation}-{language}.txt")
                if "page" in surfaces:
                    shoot_page(browser, race, folder / f"page-{situation}-{language}.png")
            if "live" in surfaces:
                shoot_live(browser, folder, language, situations)
        browser.close()


if __name__ == "__main__":
    main()
