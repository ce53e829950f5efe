"""The files that a sweep reads, by their content: rows of two versions of a file do not belong in one table."""

from __future__ import annotations

from cbviz.errors import FileError
from cbviz.paths import existing_file, sha256
from cbviz.run.sweep_plan import SweepPlan
from cbviz.simulator.cost_file import shipped
from cbviz.trace.recordings import COMPARISONS, RECORDINGS

FILE_PARAMETERS = ("cost", "trace", "workload")
"""Parameters whose texts name a file, unless they name what comes with cbviz."""


def digests(plan: SweepPlan) -> dict[str, str]:
    """What each file of a plan contains.

    Parameters
    ----------
    plan
        The sweep.

    Returns
    -------
    dict
        Such as "trace=azure.csv" → SHA-256. A file that cannot be read has none: its runs fail by themselves.
    """
    own = {*shipped(), *RECORDINGS, *COMPARISONS}
    found: dict[str, str] = {}
    for name in FILE_PARAMETERS:
        values = plan.grid.get(name, ()) if name in plan.grid else (plan.fixed.get(name),)
        for value in values:
            if not isinstance(value, str) or value in own:
                continue
            try:
                found[f"{name}={value}"] = sha256(existing_file(value))
            except (FileError, OSError):
                continue
    return found
