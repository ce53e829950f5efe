"""`cbviz sweep`: a grid of simulated runs, with the flags of `vllm bench sweep`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cbviz.cli.signals import Answered
from cbviz.cli.streams import everything_to_stderr
from cbviz.cli.targets import BAD_INPUT
from cbviz.cli.words import of_commands, print_json
from cbviz.errors import SweepError
from cbviz.messages import Message
from cbviz.paths import new_folder, printable, short
from cbviz.worker import attempt

if TYPE_CHECKING:
    from cbviz.run.progress import Progress
    from cbviz.run.sweep_plan import SweepCell

OPTIONS = ("seed", "num_runs", "workers", "address", "output_dir", "resume", "continue_on_error", "dry_run")
"""What is said by an option of its own."""
PYTHON_ONLY = ("grid", "work", "progress")
"""What `cbviz.sweep` has besides."""
MOST_NAMED = 5
"""Failed runs that are named; the table has all."""


def run_sweep(options: argparse.Namespace) -> int:
    """Run `cbviz sweep`; returns the exit code. Raises CbvizError for bad input."""
    grid, fixed = _grid(options.parameters)
    if options.resume and options.output_dir is None:
        raise SweepError("--resume needs --output-dir, the folder that holds the sweep.")
    if options.output_dir is not None:
        options.output_dir = new_folder(options.output_dir, "--output-dir")
    with everything_to_stderr():
        from cbviz.run.progress import progress_for
        from cbviz.run.ray_cluster import check_address
        from cbviz.run.sweep import planned, sweep
        from cbviz.run.sweep_table import SweepFolder
        from cbviz.run.sweep_work import rehearse

        if options.dry_run:
            plan = planned(grid, fixed, options.num_runs, options.seed)
            if options.address is not None:
                check_address(options.address)
            kept = {}
            if options.output_dir is not None:
                kept = SweepFolder(options.output_dir, plan, resume=options.resume, dry=True).rows
            cells = [cell for cell in plan.cells() if cell.index not in kept]
            refused = _refused(cells, plan.fixed, rehearse, progress_for(options.quiet))
        else:
            found = sweep(
                grid,
                options.address,
                workers=options.workers if options.workers else None,
                num_runs=options.num_runs,
                seed=options.seed,
                output_dir=options.output_dir,
                resume=options.resume,
                continue_on_error=options.continue_on_error,
                progress=progress_for(options.quiet),
                **fixed,
            )
    if options.dry_run:
        if options.json:
            print_json(
                {
                    "command": options.command_line,
                    "runs": [cell.label for cell in cells],
                    "refused": [{"run": label, "why": why} for label, why in refused],
                }
            )
        else:
            print(*(printable(cell.label) for cell in cells), Message("sweep.would_run", n=len(cells)), sep="\n")
        return _named(refused, "sweep.would_fail", "sweep.more_would_fail")
    facts = {"command": options.command_line, "runs": len(found.plan), "done": len(found), "seconds": found.seconds}
    if options.json:
        print_json({**facts, "rows": list(found.rows)})
    elif not found.files:
        if len(found):
            print(found.to_csv(), end="")
    else:
        print(Message("sweep.done", done=len(found), n=len(found.plan), seconds=f"{found.seconds:.1f}"))
        print(*(Message("sweep.file", path=short(path)) for path in found.files), sep="\n")
    failed = [
        (", ".join(f"{name}={row[name]}" for name in (*found.plan.grid, "seed")), row["error"]) for row in found.failed
    ]
    code = _named(failed, "sweep.failed", "sweep.more_failed")
    if found.stopped and (options.continue_on_error or not found.failed):  # else a failure ended it, and is named
        key = "sweep.stopped" if options.output_dir is None else "sweep.stopped_kept"
        print(f"cbviz: {Message(key, done=len(found), n=len(found.plan))}", file=sys.stderr)
        raise Answered
    return code


def _refused(
    cells: list[SweepCell], fixed: dict[str, Any], rehearse: Callable[..., Any], progress: Progress
) -> list[tuple[str, str]]:
    """The runs that could not be computed, and why. Seeds under which the same is refused are tried once."""
    from cbviz.run.sweep_work import seed_decides

    known: dict[str, str] = {}
    refused = []
    progress.start("sweep", len(cells))
    try:
        for cell in cells:
            arguments = {**fixed, **cell.parameters}
            seed = cell.seed if seed_decides(arguments) else cells[0].seed
            key = repr((sorted(arguments.items()), seed))
            if key not in known:
                known[key] = attempt(rehearse, {**arguments, "seed": seed})[1]
            if known[key]:
                refused.append((cell.label, known[key]))
            progress.advance("sweep")
    finally:
        progress.close()
    return refused


def _named(runs: list[tuple[str, str]], one: str, more: str) -> int:
    """Name the first runs that failed or would, on standard error; returns the exit code."""
    for label, why in runs[:MOST_NAMED]:
        print(f"cbviz: {printable(Message(one, cell=label, why=of_commands(why).rstrip('.')))}", file=sys.stderr)
    if len(runs) > MOST_NAMED:
        print(f"cbviz: {Message(more, n=len(runs) - MOST_NAMED)}", file=sys.stderr)
    return BAD_INPUT if runs else 0


def _grid(words: list[str]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """The words NAME=VALUE[,VALUE…]: those with several values are the grid, the others are the same for all."""
    grid: dict[str, list[Any]] = {}
    fixed: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        values = [_value(part) for part in text.split(",")]
        if not equals or not name or not all(text.split(",")):
            raise SweepError(f"a parameter is written NAME=VALUE,VALUE,…, not {printable(word)!r:.80}.")
        if name in OPTIONS:
            raise SweepError(f"{name} is no parameter of a run; it is written --{name.replace('_', '-')} {text:.80}.")
        if name in PYTHON_ONLY:
            raise SweepError(f"a run has no parameter {name}; `cbviz sweep --help` says what it has.")
        if name in grid or name in fixed:
            raise SweepError(f"{printable(name)} is given twice.")
        if len(values) > 1:
            grid[name] = values
        else:
            fixed[name] = values[0]
    if not grid and fixed:  # a single point is a grid, too
        name = next(iter(fixed))
        grid[name] = [fixed.pop(name)]
    return grid, fixed


def _value(text: str) -> Any:
    """A whole number, a number, none, or text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None if text == "none" else text
