"""A text file of rows, read one after the other: CSV with a header, JSON values one a line, or one JSON document.

Whatever is wrong is answered by one sentence that names the file and the row. Rows are counted from 1, a header is
none. Files may be compressed with gzip.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

from cbviz.checks import counted, shown
from cbviz.errors import FileError, WorkloadError
from cbviz.paths import existing_file, short, why
from cbviz.workload.checks import BEYOND_INT32

LARGEST_FILE = 2 * 2**30
"""Bytes of a file of rows after unpacking: the week-long traces of clouds are below it."""
LATEST_STAMP = 1e11
"""Seconds: wall clocks count them from 1970."""
LONGEST_LINE = 256 * 2**20
"""Bytes of one line: GuideLLM writes all requests of a benchmark into one."""


def as_json(value: object) -> str:
    """A value as a message shows it, in JSON's words where JSON has its own."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else shown(value)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: named values, and where they come from."""

    source: str
    number: int
    values: dict[str, Any]
    written: bool = False
    """Whether its numbers are text, as everything in a CSV file is."""

    def fail(self, complaint: str) -> NoReturn:
        """Raise WorkloadError with the name of the file and the number of the row."""
        raise WorkloadError(f"{self.source}, row {self.number}: {complaint}")

    def get(self, column: str) -> Any:
        """The value in a column; a column may lie deeper, as "metadata.request_start_ns"."""
        value: Any = self.values
        for part in column.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def has(self, column: str) -> bool:
        """Whether there is a value in this column."""
        return self.get(column) not in (None, "")

    def one_of(self, column: str, *allowed: str) -> str:
        """One of some words; "" where there is none. Any other word may mean anything, so it is refused."""
        value = self.get(column)
        if value is None:
            return ""
        if not isinstance(value, str) or value not in allowed:
            *others, last = map(shown, allowed)
            self.fail(f"{column} must be {', '.join(others)} or {last}, or be left out, not {as_json(value)}.")
        return value

    def no_value(self, column: str) -> NoReturn:
        """Say why there is no value in a column: it is not there, it is null or empty, or what should hold it is."""
        inner: Any = self.values
        parts = column.split(".")
        for depth, part in enumerate(parts, 1):
            path = ".".join(parts[:depth])
            if not isinstance(inner, dict) or part not in inner:
                self.fail(f"{column} is missing.")
            inner = inner[part]
            if inner is None:
                within = "" if path == column else f", so it has no {column}"
                self.fail(f"{path} is null{within}; it must have a value.")
        self.fail(f"{column} is empty; it must have a value.")

    def number_in(self, column: str, least: float = -math.inf, most: float = math.inf) -> float:
        """A finite number within bounds."""
        value = self.get(column)
        if value is None or (value == "" and self.written):
            self.no_value(column)
        try:
            number = not isinstance(value, bool) and (self.written or not isinstance(value, str))
            found = float(value) if number else math.nan
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not math.isfinite(found):
            self.fail(f"{column} must be a finite number, not {as_json(value)}.")
        if found < least:
            self.fail(f"{column} must be at least {least:g}, not {shown(value)}.")
        if found > most:
            self.fail(f"{column} must be at most {most:g}, not {shown(value)}.")
        return found

    def tokens(self, column: str, least: int = 1) -> int:
        """A number of tokens; 12.0 is one, too, for tools that keep every number as a float."""
        value = self.get(column)
        if type(value) is int:
            found = float(value) if abs(value) < BEYOND_INT32 else math.inf
        else:
            found = self.number_in(column)
        if not found.is_integer() or not least <= found < BEYOND_INT32:
            self.fail(f"{column} must be a whole number of at least {least} and below 2**31, not {as_json(value)}.")
        return int(found)

    def seconds(self, column: str, unit: float = 1.0) -> float:
        """A time at or after 0, in seconds; `unit` is how long one of the column's own is."""
        return self.number_in(column, 0.0, LATEST_STAMP / unit) * unit

    def lasting(self, column: str) -> float | None:
        """Seconds that a run with a served request took, above 0; None where the file does not say."""
        if not self.has(column):
            return None
        seconds = self.seconds(column)
        if not seconds:
            self.fail(f"{column} must be above 0, for a run takes time.")
        return seconds

    def plain(self, column: str) -> str | bool | float:
        """A fact of the run as the file says it: a text, true or false, or a finite number."""
        value = self.get(column)
        if isinstance(value, str | bool):
            return value
        if not isinstance(value, int | float):
            self.fail(f"{column} must be a number or a text, not {as_json(value)}.")
        self.number_in(column)
        return value

    def text(self, column: str) -> str:
        """A text; "" where there is none."""
        value = self.get(column)
        return value if isinstance(value, str) else ""

    def numbers(self, column: str, unit: float = 1.0) -> tuple[float, ...]:
        """A list of finite numbers of seconds, in a unit of so many."""
        value = self.get(column)
        if value is None:
            self.no_value(column)
        if not isinstance(value, list):
            self.fail(f"{column} must be a list of numbers, not {as_json(value)}.")
        most = LATEST_STAMP / unit
        if not set(map(type, value)) <= {int, float} or not all(-most <= number <= most for number in value):
            self.fail(f"{column} must hold finite numbers only, of at most {most:g}.")
        return tuple(number * unit for number in value)

    def ids(self, column: str) -> tuple[int, ...]:
        """A list of whole numbers; empty where there is none."""
        value = self.get(column)
        if value is None:
            return ()
        if not isinstance(value, list) or not set(map(type, value)) <= {int}:
            self.fail(f"{column} must be a list of whole numbers, not {as_json(value)}.")
        return tuple(value)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a file, to go through once, and what its first one looks like.

    Attributes
    ----------
    source
        The name of the file, for messages.
    kind
        "csv", "jsonl" (JSON values one a line; a document on one line is one) or "json" (a document of many lines).
    head
        The columns of a CSV file; the first JSON value.
    """

    source: str
    kind: str
    head: Any
    _rows: Iterator[Any]

    def __iter__(self) -> Iterator[Row]:
        """The rows as tables of named values. Raises WorkloadError for one that is none."""
        for number, value in enumerate(self._rows, 1):
            if not isinstance(value, dict):
                raise WorkloadError(f"{self.source}, row {number}: a row must be a JSON object, not {as_json(value)}.")
            yield Row(self.source, number, value, written=self.kind == "csv")


def open_rows(path: object, what: str = "the file") -> Rows:
    """Open a file and find out of which kind it is.

    Raises
    ------
    FileError
        It cannot be read.
    WorkloadError
        It is empty, no text, or neither CSV nor JSON.
    """
    place = existing_file(path, what)
    source = short(place.name)
    lines = _lines(place, source)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise WorkloadError(f"{source} is empty; it must hold at least one row.")
    if first.lstrip()[0] not in "{[":
        return _csv(source, first, lines)
    try:
        head = json.loads(first, parse_constant=_no_number(f"{source}, row 1: "))
    except WorkloadError:
        raise
    except (ValueError, RecursionError):
        return _document(source, _json("".join(chain([first], lines)), f"{source}: "))
    if isinstance(head, list):
        return _document(source, head)
    return Rows(source, "jsonl", head, chain([head], _json_lines(source, lines)))


def _document(source: str, document: Any) -> Rows:
    """One JSON value: a list is a list of rows."""
    if not isinstance(document, list):
        return Rows(source, "json", document, iter([document]))
    if not document:
        raise WorkloadError(f"{source} is an empty list; it must hold at least one row.")
    return Rows(source, "json", document[0], iter(document))


def _csv(source: str, first: str, lines: Iterator[str]) -> Rows:
    try:
        columns = [name.strip() for name in next(csv.reader([first]))]
    except csv.Error:
        columns = []
    if len(set(columns)) != len(columns) or len(columns) < 2:
        raise WorkloadError(f"{source} is neither CSV with a header of distinct columns nor JSON.")

    def rows() -> Iterator[dict[str, str]]:
        reader = csv.reader(lines)
        number = 0
        while True:
            number += 1
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise WorkloadError(f"{source}, row {number}: this is not CSV ({error}).") from None
            if fields is None:
                return
            if not fields:  # an empty line, often the last one
                number -= 1
                continue
            if len(fields) != len(columns):
                cut = "the file may be cut short" if len(fields) < len(columns) else "a value may hold a comma"
                raise WorkloadError(
                    f"{source}, row {number}: it has {counted(len(fields), 'value')} for "
                    f"{counted(len(columns), 'column')}; {cut}."
                )
            yield dict(zip(columns, fields, strict=True))

    return Rows(source, "csv", columns, rows())


def _json_lines(source: str, lines: Iterator[str]) -> Iterator[Any]:
    number = 1
    for line in lines:
        if line.strip():
            number += 1
            yield _json(line, f"{source}, row {number}: ")


def _json(text: str, said: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number(said))
    except RecursionError:
        raise WorkloadError(f"{said.strip()} is nested too deeply.") from None
    except ValueError as error:
        if isinstance(error, WorkloadError):
            raise
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "it holds a number of thousands of digits"
        cut = isinstance(error, json.JSONDecodeError) and error.pos >= len(text.rstrip()) - 1
        hint = "it is cut short" if cut or "Unterminated" in reason else f"this is not JSON ({reason})"
        raise WorkloadError(f"{said}{hint}.") from None


def _no_number(said: str) -> Callable[[str], Any]:
    def refuse(word: str) -> NoReturn:
        raise WorkloadError(f"{said}it holds {word}, which is not a number.")

    return refuse


def _lines(place: Any, source: str) -> Iterator[str]:
    """The lines of a text file, unpacked if need be. Only "\\n" ends one."""
    try:
        with place.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            buffered = io.BufferedReader(stream) if packed else stream
            seen = number = 0
            while line := buffered.readline(LONGEST_LINE + 1):
                seen += len(line)
                number += 1
                if len(line) > LONGEST_LINE or seen > LARGEST_FILE:
                    raise WorkloadError(
                        f"{source} is too large: at most {LARGEST_FILE // 2**20:,} MiB, and "
                        f"{LONGEST_LINE // 2**20} MiB in one line, are read."
                    )
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise WorkloadError(f"{source}, line {number}: not UTF-8 text.") from None
    except EOFError:
        raise WorkloadError(f"{source} is cut short: its compressed data end before their time.") from None
    except (gzip.BadGzipFile, zlib.error):
        raise WorkloadError(f"{source} is damaged: it cannot be unpacked.") from None
    except OSError as error:
        raise FileError(f"{short(place)} cannot be read: {why(error)}.") from None
