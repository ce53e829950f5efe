"""The rows of a sweep: kept one by one as they come, so that a stop loses none, and written as one tidy table."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cbviz.checks import as_float, is_version, is_whole, shown
from cbviz.errors import FileError, SweepError
from cbviz.limits import MOST_SEED
from cbviz.paths import make_folder, new_folder, printable, read_file, short, why, write_whole
from cbviz.run.sweep_files import digests
from cbviz.run.sweep_plan import SweepCell, SweepPlan

SWEEP_FORMAT, SWEEP_VERSION = "cbviz sweep", 1
PLAN, ROWS, TABLE, PARQUET = "sweep.json", "cells.jsonl", "results.csv", "results.parquet"

LARGEST_PLAN, LARGEST_ROWS = 2**26, 2**31
"""Bytes: a million runs have rows of about 500 bytes each."""

SweepRow = dict[str, Any]

_HEAD = {"format": SWEEP_FORMAT, "version": SWEEP_VERSION}


def row_of(cell: SweepCell, results: dict[str, Any], error: str) -> SweepRow:
    """One row: parameters, run, seed, results, error. Numbers that are not finite become None.

    Raises SweepError for a result that no table can hold, or that has the name of a parameter and another value.
    """
    given = _given(cell)
    plain: dict[str, Any] = {}
    for name, value in results.items():
        if not isinstance(name, str):
            raise SweepError(f"the name of a result must be a text, not {shown(name)}.")
        plain[name] = _plain(value)
        if name == "error" or (name in given and not _alike(given[name], plain[name])):
            raise SweepError(f"the result {shown(name)} has the name of a parameter.")
    return {**given, **plain, **given, "error": error}


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
    """Where a sweep keeps its rows. A folder belongs to one plan, and to the files that the plan names as they were.

    Parameters
    ----------
    given
        The folder; made if necessary, unless a sweep is to be resumed.
    plan
        The sweep.
    resume
        Continue what the folder holds. Without it, a folder that holds a sweep is refused.
    dry
        Check and read only; the folder stays as it is, or is not made.

    Raises
    ------
    SweepError
        It holds another sweep, or one and `resume` is not set, or none and `resume` is set; or a file that the plan
        names has changed.
    FileError
        It cannot be read or written.
    """

    def __init__(self, given: object, plan: SweepPlan, *, resume: bool, dry: bool = False) -> None:
        self.path = new_folder(given, "the output folder")
        self.plan = plan
        self.rows: dict[int, SweepRow] = {}
        """Index of a cell → its row, of those that did not fail."""
        kept, files = self.path / PLAN, digests(plan)
        content = {**_HEAD, **plan.to_json(), "files": files}
        holds = os.path.lexists(kept)
        if resume and not holds:
            there = "holds no sweep" if self.path.exists() else "does not exist"
            raise SweepError(
                f"there is nothing to resume: the folder {short(self.path)} {there}; leave resume out to begin a sweep."
            )
        if holds:
            known = self._check(kept, resume, files)
            content["files"] = files | known  # of a file that could not be read before, and of an older plan
            holds = content["files"] == known
            self._read(mend=not dry)
        if not dry:
            make_folder(given, "the output folder")
            if not holds:
                write_whole(kept, json.dumps(content, indent=1) + "\n")

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

    def _check(self, kept: Path, resume: bool, files: dict[str, str]) -> dict[str, str]:
        """The digests of the files that rows were computed from. Raises SweepError where this is another sweep."""
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
        known = found.get("files", {})  # plans had none before
        if not isinstance(known, dict) or not all(isinstance(digest, str) for digest in known.values()):
            raise SweepError(f"{short(kept)} is damaged: its files must be names and SHA-256 digests.")
        for name, digest in files.items():
            if known.get(name, digest) != digest:
                raise SweepError(
                    f"{short(self.path)} has rows of another {printable(name)}: the file has changed since; put it "
                    "back as it was, or name another folder."
                )
        return known

    def _read(self, mend: bool) -> None:
        """The rows kept so far. What follows the last whole line was cut off while it was written, and goes."""
        place = self.path / ROWS
        try:
            content = read_file(place, "the rows of the sweep", most=LARGEST_ROWS) if os.path.lexists(place) else b""
            if len(content) > LARGEST_ROWS:
                raise FileError(f"{short(place)} is larger than {LARGEST_ROWS:,} bytes; no sweep writes as much.")
            whole = content[: content.rfind(b"\n") + 1]
            if mend and whole != content:
                write_whole(place, whole)
        except OSError as error:
            raise FileError(f"{short(place)} cannot be read: {why(error)}.") from None
        for number, line in enumerate(whole.decode("utf-8", "replace").splitlines(), 1):
            try:
                index, row = json.loads(line)
                sound = is_whole(index) and 0 <= index < len(self.plan) and _is_row(self.plan.cell(index), row)
            except (ValueError, TypeError, RecursionError):
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
    columns = {name: _of_one_kind([row.get(name) for row in rows]) for name in columns_of(rows)}
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def _of_one_kind(values: list[Any]) -> list[Any]:
    """A column as parquet takes it: of one kind, and as text where values are of several or do not fit 64 bits."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    if len(kinds) > 1 or (kinds == {int} and any(abs(value) > MOST_SEED for value in values if value is not None)):
        values = [None if value is None else str(value) for value in values]
        kinds = {str}
    if kinds == {str}:  # no UTF-8 holds half of a surrogate pair; in the CSV it is a question mark, too
        return [None if value is None else value.encode("utf-8", "replace").decode("utf-8") for value in values]
    return values


def _given(cell: SweepCell) -> dict[str, Any]:
    """The columns of a row that are known before it is computed."""
    return {**cell.parameters, "run": cell.run, "seed": cell.seed}


def _is_row(cell: SweepCell, row: Any) -> bool:
    """Whether what was read is the row of a cell: its parameters, run and seed, and values that a table holds."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("error"), str)
        and all(name in row and _alike(row[name], value) for name, value in _given(cell).items())
        and all(
            value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
            for value in row.values()
        )
    )


def _alike(theirs: Any, ours: Any) -> bool:
    """Whether two values are written alike: true is not 1."""
    return theirs == ours if type(theirs) is type(ours) else _same("", theirs, ours)


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
    plain = value
    if hasattr(value, "item"):  # a number of numpy or torch
        with contextlib.suppress(Exception):  # an array of several
            plain = value.item()
    if isinstance(plain, bool | str) or (isinstance(plain, int) and as_float(plain) is not None):
        return plain
    if isinstance(plain, float):
        return plain if math.isfinite(plain) else None
    raise SweepError(
        f"a result must be a number that a float can hold, a text, True, False or None, not {shown(value)}."
    )
