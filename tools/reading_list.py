"""The files that one must read to follow one iteration, and how long they are.

    python tools/reading_list.py             # an iteration of a race on a CPU
    python tools/reading_list.py --graphs    # the same in the executor of CUDA graphs, capturing included

What is counted: every file of `cbviz` in which at least one line is executed in one iteration of a race of *static* and
*continuous* batching, the first after the warm-up that admits a request, with its whole length: docstrings, and code
that this iteration does not need. The iteration is what the race's own loop runs for a lane, `Lane.step`: plan, launch,
commit, record. A property that only returns a constant counts its file; methods that `dataclass` writes are no lines of
a file, so a file of declarations alone does not count.

With `--graphs` the passes that become graphs run uncaptured on a CPU, so that what is captured is on the list; the
files of compiled layers and of the Triton kernels are added by their imports.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import cbviz
from cbviz.cuda.graph_executor import GraphExecutor
from cbviz.run.lane import Lane

PACKAGE = Path(cbviz.__file__).resolve().parent
WARM_UP = 40
"""Iterations before those that are looked at."""
ON_CPU_ONLY = ("cuda/static_sdpa.py", "eager/sdpa.py")
"""Attention of the graphs' passes on a CPU, which a GPU does not use."""
KERNELS = "cuda/static_triton.py"
COMPILED = "cuda/compiled.py"


class Watch:
    """Notes the files of cbviz in which a line is executed while it is on."""

    def __init__(self) -> None:
        self.files: set[str] = set()

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.files.add(frame.f_code.co_filename)
        return self._line

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(str(PACKAGE)) else None

    def on(self) -> None:
        """Watch this thread from here on, the functions that are running included."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename.startswith(str(PACKAGE)):
                frame.f_trace = self._line
            frame = frame.f_back
        sys.settrace(self._call)

    def off(self) -> set[str]:
        """The files since `on`, relative to the package."""
        sys.settrace(None)
        found = {str(Path(name).relative_to(PACKAGE)) for name in self.files}
        self.files = set()
        return found


def read_in_one_iteration(*, graphs: bool) -> dict[str, set[str]]:
    """Run a race; return, for each lane, the files of its first iteration after the warm-up that admits a request."""
    race = cbviz.race(
        "tiny",
        ["static", "continuous"],
        slots=4,
        requests=48,
        repeats=0,
        live=False,
        run=False,
        device="cpu",
        backend="graphs" if graphs else "sdpa",
    )
    watch, found = Watch(), dict[str, set[str]]()
    step = Lane.step

    def watched(lane: Lane) -> Any:
        if graphs:
            for executor in race.executors.values():
                if isinstance(executor, GraphExecutor):
                    executor._shapes.clear()
        watch.on()
        event = step(lane)
        files = watch.off()
        if event is not None and event.index > WARM_UP and event.admitted:
            found.setdefault(lane.policy.name, files)
        return event

    with patch.object(Lane, "step", watched):
        race.run()
    if missing := set(race.names) - set(found):
        raise SystemExit(f"no admission after iteration {WARM_UP} under {', '.join(sorted(missing))}")
    return found


def imports_of(name: str) -> set[str]:
    """The files of `cuda/` that a file there imports, itself included."""
    found, todo = set[str](), [name]
    while todo:
        found.add(path := todo.pop())
        for node in ast.walk(ast.parse((PACKAGE / path).read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cbviz.cuda"):
                module = f"{(node.module or '').removeprefix('cbviz.').replace('.', '/')}"
                names = [f"{module}.py", *(f"{module}/{alias.name}.py" for alias in node.names)]
                todo += [each for each in names if (PACKAGE / each).is_file() and each not in found]
    return found


def reading_list(*, graphs: bool) -> dict[str, dict[str, int]]:
    """Policy → file, relative to the package → its lines."""
    found = {}
    for policy, files in read_in_one_iteration(graphs=graphs).items():
        if graphs:
            files = (files - set(ON_CPU_ONLY)) | imports_of(KERNELS) | imports_of(COMPILED)
        found[policy] = {name: len((PACKAGE / name).read_text("utf-8").splitlines()) for name in files}
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", action="store_true", help="the executor of CUDA graphs")
    parser.add_argument("--json", action="store_true", help="print policy, file and lines as JSON")
    options = parser.parse_args(argv)
    if options.json:
        print(json.dumps(reading_list(graphs=options.graphs)))
        return 0
    for policy, lines in reading_list(graphs=options.graphs).items():
        print(f"one iteration of {policy}:")
        for name in sorted(lines, key=lambda each: -lines[each]):
            print(f"{lines[name]:6,}  cbviz/{name}")
        print(f"{sum(lines.values()):6,}  lines in {len(lines)} files\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
