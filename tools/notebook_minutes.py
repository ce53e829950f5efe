"""How long a notebook takes a reader, from its words, its visible code, its pictures and its exercises.

    python tools/notebook_minutes.py                            # a line for every notebook, in English and in Chinese
    python tools/notebook_minutes.py notebooks/en/00*.ipynb     # these

The rates were set so that the sums match the times that a first reader took for notebooks 00 to 08: see the constants.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from normalise_notebooks import NOTEBOOKS

WORDS, SIGNS = 180, 320
"""English words, and Chinese characters, that a reader of a technical text takes in a minute."""
LINES = 15
"""Lines of code a minute; folded cells are not read."""
BOARD, OUTPUT, EXERCISE = 1.0, 0.25, 2.0
"""Minutes to watch a board, to run a cell and look at what it shows, and to solve an exercise."""
STEP = 5
"""Minutes are given in steps of so many."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What there is to read in a notebook, and to do."""

    words: int
    signs: int
    lines: int
    boards: int
    outputs: int
    exercises: int

    @property
    def minutes(self) -> float:
        """The reader's time."""
        read = self.words / WORDS + self.signs / SIGNS + self.lines / LINES
        return read + self.boards * BOARD + self.outputs * OUTPUT + self.exercises * EXERCISE

    @property
    def said(self) -> int:
        """What a notebook may promise: rounded up to the next step."""
        return STEP * math.ceil(self.minutes / STEP - 0.2)


def reading(notebook: NotebookNode) -> Reading:
    """Count."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    prose = re.sub(r"\]\([^)]*\)|</?\w[^>]*>", " ", prose)  # addresses and marks are not read
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    seen = [cell for cell in code if not cell.metadata.get("jupyter", {}).get("source_hidden")]
    exercises = sum("course.check(" in cell.source or "course.grade(" in cell.source for cell in code)
    boards = sum('data-cbviz="player"' in str(cell.outputs) for cell in code)
    return Reading(
        words=len(re.findall(r"[A-Za-zÀ-ÿ0-9][\w'’-]*", prose)),
        signs=len(re.findall(r"[\u4e00-\u9fff]", prose)),
        lines=sum(len([line for line in cell.source.splitlines() if line.strip()]) for cell in seen),
        boards=boards,
        outputs=sum(bool(cell.outputs) for cell in code) - boards,
        exercises=exercises,
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How long each notebook takes a reader.")
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks (all under notebooks/)")
    paths = parser.parse_args(argv).paths or sorted(
        path for path in NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
    )
    print(f"{'notebook':34}  words  signs  lines  boards  outputs  exercises  minutes  say")
    for path in paths:
        found = reading(nbformat.read(path, as_version=4))
        name = f"{path.parent.name}/{path.stem}"
        print(
            f"{name:34}  {found.words:5}  {found.signs:5}  {found.lines:5}  {found.boards:6}  {found.outputs:7}  "
            f"{found.exercises:9}  {found.minutes:7.1f}  {found.said:3}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
