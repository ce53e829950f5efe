"""Grade learners: run the notebooks that they handed in, and collect the results of the exercises.

    python tools/grade.py handed_in > results.csv
    python tools/grade.py handed_in --seeds 70311502,918273645,40404121 --workload mine.py > results.csv

`handed_in` contains one folder for each learner, with notebooks of the course at any depth and in either language.
Every notebook runs from top to bottom in a fresh kernel, so that the answers count, not the saved outputs. A cell that
fails, or takes longer than `--patience` seconds, does not keep the following cells from being graded.

Where a notebook calls `course.grade` (the capstone, notebook 11), the policy that it names `scheduler` is graded again
on seeds that no learner has seen: drawn for this run and printed to standard error, or given with `--seeds` to repeat a
run. `--workload` takes the requests from a file of yours instead of the course's generator.

Learners' code runs with your permissions. Use a container, or a machine for this purpose.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from cbviz.checks import whole
from cbviz.course.exercise import GRADED, exercises
from cbviz.course.words import language, say
from cbviz.errors import CbvizError

HEAD = ("learner", "notebook", "exercise", "state")
ASK = "from cbviz import course\ncourse.language('en')\nprint(course.progress())"
KEEP = "from cbviz import course\nfrom cbviz.course import untouched\nuntouched.keep()"
"""Runs before the first cell of the learner's."""
GRADE = """import runpy
from builtins import print
from cbviz import course
from cbviz.course import untouched
for name in untouched.changed():
    print({changed!r}, name)
workload = runpy.run_path({workload!r})["requests"] if {workload!r} else None
print(course.grade(globals().get("scheduler", ...), seeds={seeds!r}, workload=workload).state)"""
FAILED = "could not be run"
CHANGED = "changed cbviz"
"""The state of a capstone in whose notebook a cell replaced code that grades it."""
DRAWN = 5
"""Number of hidden seeds of a run without `--seeds`."""
LEAST_SEED = 10_000_000
"""The generator is public: a scheduler could try all smaller seeds, until the requests that it sees fit one."""


def states() -> dict[str, str]:
    """The text that `course.progress()` prints for each state → its name in the table of results."""
    language("en")
    return {say(key): name for key, name in (("done", "right"), ("tried", "wrong"), ("open", "not answered"))}


def handed_in(folder: Path) -> list[tuple[str, Path]]:
    """Learner and notebook, in order. Raises CbvizError if the folder holds none."""
    if not folder.is_dir():
        raise CbvizError(f"{folder} is not a folder; name the folder that contains one folder for each learner.")
    found = [
        (path.relative_to(folder).parts[0], path)
        for path in sorted(folder.rglob("*.ipynb"))
        if ".ipynb_checkpoints" not in path.parts and len(path.relative_to(folder).parts) > 1
    ]
    if not found:
        raise CbvizError(
            f"{folder} contains no notebooks in learners' folders, such as {folder / 'ada' / '00_watch_it.ipynb'}."
        )
    return found


def judged(path: Path, patience: int, seeds: Sequence[int], workload: Path | None = None) -> Iterator[tuple[str, str]]:
    """Run a notebook; yields its exercises and the state of each.

    Parameters
    ----------
    path, patience
        The notebook, and the seconds that one of its cells may take.
    seeds, workload
        What `course.grade` gets: hidden seeds, and a file with a function `requests(seed)`.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception:  # nbformat lets errors of its JSON reader and its schema through
        yield "", FAILED
        return
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    asked = [name for name in exercises() if re.search(rf"check\(\s*[\"']{re.escape(name)}[\"']", source)]
    graded = re.search(r"\bcourse\.grade\(", source) is not None
    notebook.cells.append(nbformat.v4.new_code_cell(ASK))
    if graded:
        there = str(workload.resolve()) if workload else ""
        last = GRADE.format(workload=there, seeds=list(seeds), changed=CHANGED)
        notebook.cells.insert(0, nbformat.v4.new_code_cell(KEEP))
        notebook.cells.append(nbformat.v4.new_code_cell(last))
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
        yield from ((name, FAILED) for name in (*asked, *[GRADED] * graded))
        return
    progress, state = map(printed, notebook.cells[-2:]) if graded else (printed(notebook.cells[-1]), "")
    lines = dict(line.split(maxsplit=1) for line in progress.splitlines() if re.match(r"\d\d\.", line))
    for name in asked:
        yield name, states().get(lines.get(name, "").strip(), FAILED)
    if graded:
        changed = [line.removeprefix(CHANGED).strip() for line in state.splitlines() if line.startswith(CHANGED)]
        if changed:
            print(f"{path}: a cell replaced {', '.join(changed)}; read what was handed in.", file=sys.stderr)
            yield GRADED, CHANGED
        else:
            yield GRADED, state.strip() if state.strip() in states().values() else FAILED


def printed(cell: nbformat.NotebookNode) -> str:
    """What a cell wrote to standard output."""
    return "".join(output.get("text", "") for output in cell.outputs if output.get("name") == "stdout")


def seeds_of(given: str | None) -> list[int]:
    """The seeds of `--seeds`, or newly drawn ones. Raises CbvizError for what is no seed."""
    if given is None:
        return [secrets.randbits(60) for _ in range(DRAWN)]
    words = given.replace(",", " ").split()
    if not words:
        raise CbvizError("--seeds must name at least one seed, such as --seeds 70311502,918273645,40404121.")
    return [whole("a seed", int(word) if word.isdecimal() else word, least=0, most=2**63 - 1) for word in words]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table of results as CSV. Returns 2 if there is nothing to grade."""
    parser = argparse.ArgumentParser(description="Run the notebooks that learners handed in; results as CSV.")
    parser.add_argument("folder", type=Path, help="one folder a learner")
    parser.add_argument("--patience", type=int, default=300, help="seconds that a cell may take (300)")
    parser.add_argument("--seeds", help="hidden seeds of the capstone, such as 70311502,918273645 (five new ones)")
    parser.add_argument("--workload", type=Path, help="Python file with a function requests(seed) for the capstone")
    options = parser.parse_args(argv)
    try:
        papers = handed_in(options.folder)
        seeds = seeds_of(options.seeds)
        if options.workload and not options.workload.is_file():
            raise CbvizError(f"{options.workload} is no file; give a Python file with a function requests(seed).")
    except CbvizError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # kernels inherit it
    if min(seeds) < LEAST_SEED:
        print(f"A seed below {LEAST_SEED:,} can be found by trying all; --seeds takes larger ones.", file=sys.stderr)
    print(f"Capstone: --seeds {','.join(map(str, seeds))}", file=sys.stderr)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(HEAD)
    for learner, path in papers:
        for name, state in judged(path, options.patience, seeds, options.workload):
            table.writerow((learner, path.name, name, state))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
