"""`cbviz.sweep`: every combination of a grid, on this machine or on a Ray cluster, in one tidy table."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from cbviz.checks import counted, flag, shown
from cbviz.checks import whole as checked_whole
from cbviz.errors import FileError, SweepError
from cbviz.measure.knee import capacity, knee
from cbviz.measure.lane_times import two_digits
from cbviz.paths import write_whole
from cbviz.run.progress import Progress, progress_of
from cbviz.run.ray_cluster import check_address
from cbviz.run.sweep_curves import Curve, curves_of
from cbviz.run.sweep_plan import SweepCell, SweepPlan, check_parameters, plan_of
from cbviz.run.sweep_runners import Done, in_process, on_cores, on_ray
from cbviz.run.sweep_table import SweepFolder, SweepRow, columns_of, row_of, to_csv
from cbviz.run.sweep_work import in_words, simulated
from cbviz.view.chart import Chart
from cbviz.view.load_charts import slo_curve


@dataclass(frozen=True, slots=True)
class Sweep:
    """The table of a sweep.

    Attributes
    ----------
    plan
        What was to be computed.
    rows
        One dict per run in the order of the plan; "error" is "" for those that succeeded. Runs that a stop left out are
        missing.
    seconds
        What the sweep took here and now.
    stopped
        Whether an interrupt or a failure ended it.
    files
        Where the table was written.
    """

    plan: SweepPlan
    rows: tuple[SweepRow, ...]
    seconds: float
    stopped: bool = False
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        failed = len(self.failed)
        runs = counted(len(self.plan), "run")
        return f"<Sweep of {runs}: {len(self.rows):,} done, {failed:,} failed, {two_digits(self.seconds)} s>"

    @property
    def failed(self) -> tuple[SweepRow, ...]:
        """The rows of runs that failed."""
        return tuple(row for row in self.rows if row["error"])

    @property
    def columns(self) -> list[str]:
        """The columns of the table."""
        return columns_of(self.rows)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """The table as CSV; the same bytes whatever computed it.

        Parameters
        ----------
        path
            Where to write it, too; None writes nothing. Raises FileError if it cannot be written.

        Returns
        -------
        str
            The text.
        """
        text = to_csv(list(self.rows))
        if path is not None:
            write_whole(path, text)
        return text

    def to_pandas(self) -> Any:
        """The table as a pandas data frame.

        Returns
        -------
        pandas.DataFrame
            One row a run. Raises ImportError without pandas.
        """
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=self.columns)

    def curves(self, y: str, x: str = "rate", by: str | None = None) -> dict[str, Curve]:
        """One number against another: a curve for each combination of the other parameters of the grid.

        Runs, which differ in their seed, are averaged, and nothing else is.

        Parameters
        ----------
        y, x
            Columns of numbers. Where x is a result, a curve runs along the rates or clients of the grid, or along its
            only other parameter.
        by
            Column whose value begins the name of a curve; None and "policy" where one policy ran name none. The other
            parameters that vary follow: "continuous, slots=2". A single curve without any is called y.

        Returns
        -------
        dict
            Name → x in ascending order, and the mean of y there.

        Raises
        ------
        SweepError
            There is no such column, or several parameters might lead along x.

        Examples
        --------
        >>> import cbviz
        >>> found = cbviz.sweep({"policy": ["static"], "rate": [1, 2], "slots": [2, 64]}, requests=50)
        >>> list(found.curves("ttft_p99", by="policy"))
        ['static, slots=2', 'static, slots=64']
        """
        return curves_of(self.plan, self.rows, self.columns, y, x, by)

    def chart(
        self, y: str = "ttft_p99", x: str = "rate", by: str | None = "policy", target: float | None = None
    ) -> Chart:
        """Curves to look at; `.zoom()` to explore them.

        Parameters
        ----------
        y, x, by
            As in `curves`.
        target
            Drawn as a level line.

        Returns
        -------
        Chart
            With a logarithmic y axis. Raises as `curves`.
        """
        curves = self.curves(y, x, by)
        up, along = in_words(y), in_words(x)
        title = f"{up[0].upper()}{up[1:]} against {along}"
        return slo_curve(curves, target=target, x_label=along, y_label=up, title=title)

    def capacities(self, target: float, y: str = "ttft_p99", x: str = "rate", by: str = "policy") -> dict[str, float]:
        """The highest rate within a target, for each curve: for each configuration of the grid.

        Parameters
        ----------
        target
            The most that y may be.
        y, x, by
            As in `curves`.

        Returns
        -------
        dict
            Name of a curve → rate, interpolated (see `cbviz.measure.knee.capacity`): on a straight line between two
            rates. The chart's line, straight on a logarithmic axis, crosses the target a little later; what is between
            two rates was not measured, and the lower one is the safer promise.
        """
        return {name: capacity(*curve, target) for name, curve in self.curves(y, x, by).items()}

    def knees(self, y: str = "ttft_p99", x: str = "rate", by: str = "policy") -> dict[str, float | None]:
        """Where each curve bends upward most.

        Parameters
        ----------
        y, x, by
            As in `curves`.

        Returns
        -------
        dict
            Name of a curve → rate, or None (see `cbviz.measure.knee.knee`).
        """
        return {name: knee(*curve) for name, curve in self.curves(y, x, by).items()}


def sweep(
    grid: Mapping[str, Sequence[Any]],
    address: str | None = None,
    *,
    workers: int | None = 1,
    num_runs: int = 1,
    seed: int = 0,
    work: Callable[..., Mapping[str, Any]] = simulated,
    output_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    continue_on_error: bool = True,
    progress: Progress | None = None,
    **fixed: Any,
) -> Sweep:
    """Run every combination of a grid's values, with `num_runs` seeds each.

    The table is the same whatever computes it: run n of every combination has seed `seed` + n.

    Parameters
    ----------
    grid
        Parameter → its values.
    address
        None computes on this machine. "ray://HOST:PORT", "HOST:PORT" or "auto" use a Ray cluster that runs already,
        and leave it running; "local" starts one here and shuts it down.
    workers
        Processes on this machine: 1 computes in this process, None on all cores.
    num_runs
        Runs of each combination, with different seeds.
    seed
        Of the first run.
    work
        What to compute: a function that takes the parameters and `seed` by name and returns names and numbers. The
        default serves requests on the virtual clock (see `cbviz.run.sweep_work.simulated` for its parameters). In
        other processes it must be importable.
    output_dir
        Folder that keeps every row as it comes, and the table at the end; None keeps nothing.
    resume
        Continue what the folder holds; runs that failed are repeated. Refused where the folder holds no sweep.
    continue_on_error
        Whether the others still run when one fails. The table says why it failed.
    progress
        Where to report; None is silent.
    fixed
        Parameters with one value for all.

    Returns
    -------
    Sweep
        The table. An interrupt ends the sweep; what was computed until then is returned and kept.

    Raises
    ------
    SweepError
        The grid is empty, has values that no table can hold or a parameter that `work` does not take, the folder holds
        another sweep or none to resume, Ray is missing or does not answer, or `work` cannot be sent to other processes.
    FileError
        The folder cannot be written. What was computed before is kept there.

    Examples
    --------
    >>> import cbviz
    >>> found = cbviz.sweep({"policy": ["static", "continuous"], "slots": [8, 16]}, requests=200, rate=4.0)
    >>> len(found), found.columns[:4]
    (4, ['policy', 'slots', 'run', 'seed'])
    """
    plan = planned(grid, fixed, num_runs, seed, work)
    flag("resume", resume, error=SweepError)
    flag("continue_on_error", continue_on_error, error=SweepError)
    if workers is not None:
        workers = checked_whole("workers", workers, 1, 1024, error=SweepError)
    if resume and output_dir is None:
        raise SweepError("resume needs output_dir, the folder that holds the sweep.")
    if address is not None:
        check_address(address)
    elif workers != 1:
        _check_portable(work)
    folder = None if output_dir is None else SweepFolder(output_dir, plan, resume=resume)
    rows: dict[int, SweepRow] = {} if folder is None else dict(folder.rows)
    todo = [cell for cell in plan.cells() if cell.index not in rows]
    runner = _runner(work, todo, plan, address, workers)
    began, stopped = perf_counter(), False
    bars = progress_of(progress)
    bars.start("sweep", len(todo))
    try:
        with contextlib.closing(runner):
            for cell, results, error in runner:
                row = _row(cell, results, error)
                rows[cell.index] = row
                if folder is not None:
                    folder.add(cell.index, row)
                bars.advance("sweep", note=f"failed: {cell.label}" if row["error"] else "")
                if row["error"] and not continue_on_error:
                    stopped = True
                    break
    except KeyboardInterrupt:
        stopped = True
    except FileError:
        if folder is not None:  # a full disk: a smaller file may still find room
            with contextlib.suppress(FileError):
                folder.write_table([rows[index] for index in sorted(rows)])
        raise
    finally:
        bars.close()
    ordered = [rows[index] for index in sorted(rows)]
    files = tuple(folder.write_table(ordered)) if folder is not None and ordered else ()
    return Sweep(plan, tuple(ordered), perf_counter() - began, stopped, files)


def planned(
    grid: object, fixed: Mapping[str, Any], num_runs: object, seed: object, work: Callable[..., Any] = simulated
) -> SweepPlan:
    """What a sweep would compute. Raises SweepError where no run of it could succeed."""
    if not callable(work):
        raise SweepError(f"work must be a function, not {shown(work)}.")
    name = f"{getattr(work, '__module__', '?')}.{getattr(work, '__qualname__', type(work).__name__)}"
    plan = plan_of(grid, fixed, num_runs, seed, name)
    check_parameters(work, plan)
    return plan


def _runner(
    work: Callable[..., Any], todo: list[SweepCell], plan: SweepPlan, address: str | None, workers: int | None
) -> Generator[Done, None, None]:
    fixed = dict(plan.fixed)
    if address is not None:
        return on_ray(work, todo, fixed, address, workers)
    if workers == 1:
        return in_process(work, todo, fixed)
    return on_cores(work, todo, fixed, workers or os.cpu_count() or 1)


def _check_portable(work: Callable[..., Any]) -> None:
    """Raise SweepError for a function that a new process cannot import."""
    try:
        pickle.dumps(work)
        importable = work.__module__ != "__main__" or hasattr(sys.modules["__main__"], "__file__")
    except Exception:  # pickle asks the object itself
        importable = False
    if not importable:
        raise SweepError(
            "work cannot be sent to other processes; define it at the top level of a module that can be imported."
        )


def _row(cell: SweepCell, results: dict[str, Any], error: str) -> SweepRow:
    """The row of a cell; results that no table can hold are a failure of the cell."""
    try:
        return row_of(cell, results, error)
    except SweepError as wrong:
        return row_of(cell, {}, str(wrong))
