"""The rows of a sweep: kept one by one as they come, so that a stop loses none, and written as one tidy table."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cbviz.checks import is_version, is_whole, shown
from cbviz.errors import FileError, SweepError
from cbviz.paths import make_folder, new_folder, read_file, short, why, write_whole
from cbviz.run.sweep_plan import SweepCell, SweepPlan

SWEEP_FORMAT, SWEEP_VERSION = "cbviz sweep", 1
PLAN, ROWS, TABLE, PARQUET = "sweep.json", "cells.jsonl", "results.csv", "results.parquet"

LARGEST_PLAN, LARGEST_ROWS = 2**26, 2**31
"""Bytes: a million runs have rows of about 500 bytes each."""

SweepRow = dict[str, Any]

_HEAD = {"format": SWEEP_FORMAT, "version": SWEEP_VERSION}


def row_of(cell: SweepCell, results: dict[str, Any], error: str) -> SweepRow:
    """One row: parameters, run, seed, results, error. Numbers that are not finite become None."""
    plain = {name: _plain(value) for name, value in results.items()}
    return {**cell.parameters, "run": cell.run, "seed": cell.seed, **plain, "error": error}


def columns_of(rows: Iterable[SweepRow]) -> list[str]:
    """All columns in order of first appearance, with the error last."""
    found = dict.fromkeys(name for row in rows for name in row)
    return [*(name for name in found if name != "error"), "error"]


def to_csv(rows: list[SweepRow]) -> str:
    """The table as CSV; an empty field where a row has no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = columns_of(rows)
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row.get(name) is None else row[name] for name in columns])
    return text.getvalue()


class SweepFolder:
    """Where a sweep keeps its rows. A folder belongs to one plan.

    Parameters
    ----------
    given
        The folder; made if necessary, unless a sweep is to be resumed.
    plan
        The sweep.
    resume
        Continue what the folder holds. Without it, a folder that holds a sweep is refused.

    Raises
    ------
    SweepError
        It holds another sweep, or one and `resume` is not set, or none and `resume` is set.
    FileError
        It cannot be read or written.
    """

    def __init__(self, given: object, plan: SweepPlan, *, resume: bool) -> None:
        self.path = new_folder(given, "the output folder")
        if resume and not os.path.lexists(self.path / PLAN):
            there = "holds no sweep" if self.path.exists() else "does not exist"
            raise SweepError(
                f"there is nothing to resume: the folder {short(self.path)} {there}; leave resume out to begin a sweep."
            )
        make_folder(given, "the output folder")
        self.plan = plan
        self.rows: dict[int, SweepRow] = {}
        """Index of a cell → its row, of those that did not fail."""
        kept = self.path / PLAN
        if os.path.lexists(kept):
            self._check(kept, resume)
            self._read()
        else:
            write_whole(kept, json.dumps({**_HEAD, **plan.to_json()}, indent=1) + "\n")

    def add(self, index: int, row: SweepRow) -> None:
        """Keep a row at once. Raises FileError, which says how to continue, if it cannot be written."""
        line = json.dumps([index, row], allow_nan=False) + "\n"
        try:
            with (self.path / ROWS).open("ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FileError(
                f"{short(self.path / ROWS)} cannot be written: {why(error)}. The rows before are kept; make room, and "
                "continue with resume."
            ) from None
        if not row["error"]:
            self.rows[index] = row

    def write_table(self, rows: list[SweepRow]) -> list[Path]:
        """Write the table as CSV, and as parquet where pyarrow is installed. Raises FileError."""
        written = [write_whole(self.path / TABLE, to_csv(rows))]
        if (packed := to_parquet(rows)) is not None:
            written.append(write_whole(self.path / PARQUET, packed))
        return written

    def _check(self, kept: Path, resume: bool) -> None:
        try:
            found = json.loads(read_file(kept, "the plan of the sweep", most=LARGEST_PLAN).decode("utf-8"))
        except (ValueError, RecursionError):
            raise SweepError(
                f"{short(kept)} was cut short or damaged, so what the folder holds is not known; remove that file to "
                "start again, or name another folder."
            ) from None
        if not isinstance(found, dict) or found.get("format") != SWEEP_FORMAT:
            raise SweepError(f"{short(kept)} is not the plan of a sweep.")
        if not is_version(version := found.get("version"), SWEEP_VERSION):
            raise SweepError(
                f"{short(kept)} is the plan of a sweep of version {shown(version)}; version {SWEEP_VERSION} is read."
            )
        if not resume:
            raise SweepError(f"{short(self.path)} holds a sweep already; resume it, or name another folder.")
        for name, value in json.loads(json.dumps(self.plan.to_json())).items():
            if not _same(name, found.get(name), value):
                raise SweepError(
                    f"{short(self.path)} holds another sweep: its {name} is {shown(found.get(name))}, and this one's "
                    f"{shown(value)}."
                )

    def _read(self) -> None:
        """The rows kept so far. What follows the last whole line was cut off while it was written, and goes."""
        place = self.path / ROWS
        try:
            content = read_file(place, "the rows of the sweep", most=LARGEST_ROWS) if os.path.lexists(place) else b""
            if len(content) > LARGEST_ROWS:
                raise FileError(f"{short(place)} is larger than {LARGEST_ROWS:,} bytes; no sweep writes as much.")
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:
                write_whole(place, whole)
        except OSError as error:
            raise FileError(f"{short(place)} cannot be read: {why(error)}.") from None
        for number, line in enumerate(whole.decode("utf-8", "replace").splitlines(), 1):
            try:
                index, row = json.loads(line)
                sound = is_whole(index) and 0 <= index < len(self.plan) and isinstance(row["error"], str)
            except (ValueError, TypeError, KeyError):
                sound = False
            if not sound:
                raise SweepError(f"{short(place)}, row {number}: this is no row of a sweep; remove it and resume.")
            if row["error"]:
                self.rows.pop(index, None)
            else:
                self.rows[index] = row


def to_parquet(rows: list[SweepRow]) -> bytes | None:
    """The table as parquet; None where pyarrow is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return None
    columns = {name: [row.get(name) for row in rows] for name in columns_of(rows)}
    mixed = {
        name for name, values in columns.items() if len({type(v) for v in values if v is not None} - {int, float}) > 1
    }
    table = pyarrow.table(
        {
            name: [None if v is None else str(v) for v in values] if name in mixed else values
            for name, values in columns.items()
        }
    )
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


def _same(name: str, theirs: Any, ours: Any) -> bool:
    """Whether a part of two plans is written alike: true is not 1, and the order of a grid's names numbers the runs."""
    try:
        return json.dumps(theirs, sort_keys=name != "grid") == json.dumps(ours, sort_keys=name != "grid")
    except RecursionError:
        return False


def _plain(value: Any) -> Any:
    """A result as a table holds it: plain Python, and None for what is not finite."""
    if value is None or isinstance(value, bool | str):
        return value
    if hasattr(value, "item"):  # a number of numpy or torch
        value = value.item()
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    raise SweepError(f"a result must be a number, a text, True, False or None, not {shown(value)}.")
