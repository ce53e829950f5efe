"""Draw the README's picture, light and dark, from a race that runs now.

    python tools/draw_readme.py [--requests 32] [--folder docs]

The picture shows the race of the first notebook: the built-in model, eight slots, seed 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cbviz
from cbviz.board.picture import svg

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw the README's picture from a race that runs now.")
    parser.add_argument("--requests", type=int, default=32, help="how many requests to race (%(default)s)")
    parser.add_argument("--folder", type=Path, default=DOCS, help="where the pictures go (docs)")
    options = parser.parse_args(argv)
    race = cbviz.race("tiny", slots=8, requests=options.requests, seed=0, device="cpu", live=False)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, dark in (("race.svg", False), ("race-dark.svg", True)):
        path = options.folder / name
        path.write_text(svg(race.traces, dark=dark), encoding="utf-8")
        print(f"{path}: {path.stat().st_size / 1000:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
