"""Collect how learners did: run the notebooks that they handed in, and ask each how its exercises went.

    python tools/grade.py handed_in > results.csv

`handed_in` holds one folder a learner, with notebooks of the course in it, at any depth and in either language. Every
notebook runs from top to bottom in a fresh kernel, so that what counts is what the answers say today, not what an
output said once. A cell that fails, or that takes longer than `--patience` seconds, does not keep those behind it from
being judged.

Learners' code runs with your rights. Do this where nothing can be broken: a container, or a machine for the purpose.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from cbviz.course.exercise import exercises
from cbviz.course.words import language, say
from cbviz.errors import CbvizError

HEAD = ("learner", "notebook", "exercise", "state")
ASK = "from cbviz import course\ncourse.language('en')\nprint(course.progress())"
FAILED = "could not be run"


def states() -> dict[str, str]:
    """What `course.progress()` prints for each state → what the table of results calls it."""
    language("en")
    return {say(key): name for key, name in (("done", "right"), ("tried", "wrong"), ("open", "not answered"))}


def handed_in(folder: Path) -> list[tuple[str, Path]]:
    """Learner and notebook, in order. Raises CbvizError if the folder holds none."""
    if not folder.is_dir():
        raise CbvizError(f"{folder} is no folder; give the folder that holds one folder for each learner.")
    found = [
        (path.relative_to(folder).parts[0], path)
        for path in sorted(folder.rglob("*.ipynb"))
        if ".ipynb_checkpoints" not in path.parts and len(path.relative_to(folder).parts) > 1
    ]
    if not found:
        raise CbvizError(
            f"{folder} holds no notebooks in folders of learners, such as {folder / 'ada' / '00_watch_it.ipynb'}."
        )
    return found


def judged(path: Path, patience: int) -> Iterator[tuple[str, str]]:
    """Run a notebook; yields the exercises of the course that it asks, and the state of each."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception:  # nbformat raises whatever its JSON reader and its schema do
        yield "", FAILED
        return
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    asked = [name for name in exercises() if re.search(rf"check\(\s*[\"']{re.escape(name)}[\"']", source)]
    notebook.cells.append(nbformat.v4.new_code_cell(ASK))
    client = NotebookClient(
        notebook,
        timeout=patience,
        interrupt_on_timeout=True,
        allow_errors=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except (CellTimeoutError, DeadKernelError):
        yield from ((name, FAILED) for name in asked)
        return
    told = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    lines = dict(line.split(maxsplit=1) for line in told.splitlines() if re.match(r"\d\d\.", line))
    for name in asked:
        yield name, states().get(lines.get(name, "").strip(), FAILED)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table of results as CSV. Returns 2 if there is nothing to judge."""
    parser = argparse.ArgumentParser(description="Run the notebooks that learners handed in; results as CSV.")
    parser.add_argument("folder", type=Path, help="one folder a learner")
    parser.add_argument("--patience", type=int, default=300, help="seconds that a cell may take (300)")
    options = parser.parse_args(argv)
    try:
        papers = handed_in(options.folder)
    except CbvizError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # kernels inherit it
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(HEAD)
    for learner, path in papers:
        for name, state in judged(path, options.patience):
            table.writerow((learner, path.name, name, state))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
