"""Film the board's directed camera: the animations of the README, and a strip of eight frames to judge it by.

    python tools/film_board.py gif                # docs/board-race.gif and docs/board-race-dark.gif
    python tools/film_board.py strip race.html    # what a page shows from open to finish, as build/strips/race.png
    python tools/film_board.py strip 00.ipynb     # a notebook in JupyterLab up to its first Start, and that race
    python tools/film_board.py strip race.html --output race.png

Needs Chromium and the development extra. The clock of a page is driven frame by frame, so its film is the same on a
slow machine: what the board would show after so many seconds. A notebook is filmed as it runs.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from lab_page import lab, wait_for_kernel
from lab_page import opened as lab_opened
from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

import cbviz
from cbviz.view.player import html

DOCS = Path("docs")
STRIPS = Path("build", "strips")
FILMED = "smollm2-8"
"""The recording of the animations: its answers are sentences that a reader can follow."""
WIDTH, HEIGHT = 1000, 800
RATE = 6
"""Frames for each second of the page."""
PLAYED = 1.15
"""How much faster than the page the animation plays, so that it ends within twenty seconds."""
LAST = 2.0
"""Seconds for which the finish stays."""
COLOURS = 64
MOST = 26.0
"""Seconds of the page after which a run that has not finished is an error."""
STRIP = (0.0, 2.0, 4.0, 7.0, 11.0, 15.0, 18.0, 22.0)
"""Seconds of the frames of a strip."""
MOMENTS = (6, 25, 60, 100, 150)
"""Iterations at which a notebook's race is filmed, besides the top of the notebook, the Start and the end."""
WAITS = re.compile(r"""start *= *["']button["']""")


def frames(tab: Page, every: float) -> Iterator[tuple[float, Image.Image]]:
    """Seconds since the page opened, and what its board shows; the last one is the finish."""
    now = 0.0
    while True:
        picture = tab.locator(".cbviz").screenshot()
        yield now, Image.open(io.BytesIO(picture)).convert("RGB")
        if over(tab):
            return
        if now > MOST:
            raise RuntimeError(f"the board has not shown the whole run after {MOST} seconds.")
        tab.clock.run_for(round(1000 * every))
        now += every


def over(tab: Page) -> bool:
    """Whether the run has ended and the camera has come to rest."""
    return bool(
        tab.evaluate(
            "() => { const d = document.querySelector('.cbviz').dataset;"
            " return d.playing === 'false' && d.fitted === 'true' && d.iteration === d.received.split(' ')"
            ".reduce((a, b) => String(Math.max(a, b))); }"
        )
    )


def opened(tab: Page, address: str) -> None:
    """Open a page whose clock stands still until `frames` moves it."""
    tab.clock.install(time=0)
    tab.clock.pause_at(1000)
    tab.goto(address)
    tab.clock.run_for(50)
    tab.wait_for_selector(".cbviz[data-iteration]")


def gif(tab: Page, path: Path) -> Path:
    """Write what the open page plays as a looping animation."""
    film = [picture for _, picture in frames(tab, 1 / RATE)]
    # One palette for all frames, from the opening, the middle and the finish: what does not change stays the same.
    sample = Image.new("RGB", (film[0].width, 3 * film[0].height))
    for place, picture in enumerate((film[len(film) // 8], film[len(film) // 2], film[-1])):
        sample.paste(picture, (0, place * film[0].height))
    palette = sample.quantize(COLOURS, dither=Image.Dither.NONE)
    flat = [picture.crop((0, 0, *film[0].size)).quantize(palette=palette, dither=Image.Dither.NONE) for picture in film]
    each = round(1000 / RATE / PLAYED / 10) * 10
    times = [each] * (len(flat) - 1) + [round(1000 * LAST)]
    flat[0].save(path, save_all=True, append_images=flat[1:], duration=times, loop=0, optimize=True)
    print(f"{path}: {len(flat)} frames, {sum(times) / 1000:.1f} seconds, {path.stat().st_size:,} bytes")
    return path


def strip(tab: Page, path: Path) -> Path:
    """Write eight frames of what the open page plays, two by two, as one picture."""
    found: list[Image.Image] = []
    for now, picture in frames(tab, 0.25):
        if len(found) < len(STRIP) and now >= STRIP[len(found)]:
            found.append(picture)
        last = picture
    return sheet([*found[: len(STRIP) - 1], last], path)


def sheet(found: Sequence[Image.Image], path: Path) -> Path:
    """Write frames two by two as one picture."""
    wide, high = max(p.width for p in found), max(p.height for p in found)
    page = Image.new("RGB", (2 * wide + 12, ((len(found) + 1) // 2) * (high + 12)), "#808080")
    for place, picture in enumerate(found):
        page.paste(picture, ((place % 2) * (wide + 12), (place // 2) * (high + 12)))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)
    print(path)
    return path


def notebook_strip(tab: Page, path: Path, folder: Path, output: Path) -> Path:
    """Write eight frames of a notebook whose race waits behind Start: as a reader runs it, cell by cell."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    race = next((number for number, cell in enumerate(cells) if WAITS.search("".join(cell["source"]))), None)
    if race is None:
        raise RuntimeError(f"{path.name} has no race that waits behind Start.")
    shutil.copy(path, folder / path.name)
    found: list[Image.Image] = []

    def take() -> None:
        found.append(Image.open(io.BytesIO(tab.screenshot())).convert("RGB"))

    with lab(folder) as address:
        lab_opened(tab, address, path.name)
        tab.keyboard.press("Escape")
        tab.locator(".jp-Notebook .jp-Cell").first.click()
        tab.keyboard.press("Escape")
        take()
        for _ in range(race + 1):
            tab.keyboard.press("Shift+Enter")
            tab.wait_for_timeout(300)
            wait_for_kernel(address)
        start = tab.locator('[data-action="start"]')
        start.wait_for(timeout=120_000)
        tab.wait_for_timeout(3000)
        take()
        start.click()
        board = ".cbviz[data-iteration]"
        for iterations in MOMENTS:
            wanted = f"() => Number(document.querySelector('{board}')?.dataset.iteration ?? 0) >= {iterations}"
            tab.wait_for_function(wanted, timeout=120_000)
            take()
        tab.wait_for_selector('[data-cbviz="player"] .cbviz', timeout=300_000)
        tab.wait_for_timeout(2000)
        take()
    return sheet(found, output)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Film the board's directed camera.")
    parser.add_argument("what", choices=("gif", "strip"))
    parser.add_argument("page", nargs="?", type=Path, help="a page that cbviz wrote, or a notebook, for the strip")
    parser.add_argument("--output", type=Path, help=f"file of the strip; without it, in {STRIPS} by the page's name")
    parser.add_argument("--width", type=int, default=WIDTH, help="of the window, in pixels")
    options = parser.parse_args(argv)
    if options.what == "strip" and options.page is None:
        parser.error("strip needs the page that it shall film.")
    if options.what == "gif" and options.output is not None:
        parser.error(f"--output is for a strip: the animations have their names, in {DOCS}.")
    if options.output is not None and options.output.suffix != ".png":
        parser.error(f"a strip is a .png file, not {options.output.name}.")
    if options.what == "strip" and options.output is None:
        options.output = STRIPS / f"{options.page.stem}.png"
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as name:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        size = ViewportSize(width=options.width, height=HEIGHT)
        if options.what == "strip" and options.page.suffix == ".ipynb":
            notebook_strip(browser.new_page(viewport=size), options.page, Path(name), options.output)
        elif options.what == "strip":
            tab = browser.new_page(viewport=size)
            opened(tab, options.page.resolve().as_uri())
            strip(tab, options.output)
        else:
            page = Path(name) / "race.html"
            page.write_text(html(cbviz.recorded(FILMED)), encoding="utf-8")
            schemes: dict[str, Literal["light", "dark"]] = {"board-race.gif": "light", "board-race-dark.gif": "dark"}
            for file, scheme in schemes.items():
                tab = browser.new_page(viewport=size, color_scheme=scheme)
                opened(tab, page.as_uri())
                gif(tab, DOCS / file)
                tab.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
