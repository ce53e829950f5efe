"""One trace, one file: written whole or not at all, and checked in every respect when it is read.

The format is gzipped JSON with the tables as columns. Two lines in any language open it, and reading it runs no code of
the file's author, as a pickle would. A digest over the content detects accidental changes. It does not detect forgery,
because an editor can renew it, so `check` looks at the content as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from cbviz.checks import is_version, shown
from cbviz.errors import FileError, TraceError
from cbviz.limits import LARGEST_TEXT, MOST_BRACKETS, MOST_COMMAS
from cbviz.paths import path_of, read_file, short, write_whole
from cbviz.trace.check import check, check_meta, check_size
from cbviz.trace.sentences import TABLE, restore, table
from cbviz.trace.trace import IterationTable, MarkTable, RequestTable, SpanTable, Trace, TraceMeta

FORMAT = "cbviz-trace"
VERSION = 2
SUFFIX = ".cbviz"
NOT_OURS = "this is not a trace written by cbviz."

ADDED = {"client": "", "priority": 0}
"""Columns of the requests that came later, and what they hold in a file without them: a file has one only if some
request has another value, so files of runs that use neither are the same as before."""

TABLES = {"requests": RequestTable, "iterations": IterationTable, "spans": SpanTable, "marks": MarkTable}

Table = TypeVar("Table", RequestTable, IterationTable, SpanTable, MarkTable)


def save(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Write a trace to a file. The same trace gives the same bytes.

    The file appears under its name only when it is complete, and replaces an older one.

    Parameters
    ----------
    trace
        The run.
    path
        A name that ends in `.cbviz`.

    Returns
    -------
    Path
        The path of the file.

    Raises
    ------
    TraceError
        The name does not end in `.cbviz`, the trace contradicts itself, or the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import cbviz
    >>> static, _ = cbviz.recorded("smollm2-8")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = static.save(pathlib.Path(folder, "static.cbviz"))
    ...     cbviz.load(path) == static
    True
    """
    target = _path(path)
    if target.suffix != SUFFIX:
        raise TraceError(f"a trace file's name ends in {SUFFIX}; {shown(target.name)} does not.")
    return write_file(target, to_bytes(trace))


def load(path: str | os.PathLike[str]) -> Trace:
    """Read a trace file and check everything in it.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Trace
        The run.

    Raises
    ------
    TraceError
        The file does not exist, is not a trace, is truncated, was changed after it was written, has another version, or
        contradicts itself. Nothing else is raised, whatever the file holds.
    """
    source = _path(path)
    try:
        data = read_file(source, "the trace file", most=LARGEST_TEXT)
    except FileError as error:
        raise TraceError(str(error)) from None
    try:
        return from_bytes(data)
    except TraceError as error:
        raise TraceError(f"{short(source.name)}: {error}") from None


def to_bytes(trace: Trace) -> bytes:
    """The content of a trace file. Raises TraceError if the trace contradicts itself or is too large for a file."""
    content = _content(trace)
    check_size(trace.meta.slots, len(trace.iterations))
    bare = _canonical(content)
    text = b'{"digest":"%s",%s' % (hashlib.sha256(bare).hexdigest().encode(), bare[1:])  # "digest" sorts first
    if len(text) > LARGEST_TEXT:
        raise TraceError(f"this run is too long for one file: {len(text)} bytes of at most {LARGEST_TEXT}.")
    _check_counts(text, "this run is too long for one file: it has more {} than a file may hold.")
    return zlib.compress(text, level=6, wbits=31)  # 31: a gzip frame; its time stamp stays 0


def from_bytes(data: bytes) -> Trace:
    """The trace in the content of a file. Raises TraceError as `load` does."""
    content = _parse(_unpack(data))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise TraceError(NOT_OURS)
    version = content.get("version")
    if not is_version(version, VERSION):
        raise TraceError(f"this file is version {shown(version)}; cbviz reads version {VERSION}.")
    wanted = {"format", "version", "digest", "meta", *TABLES}
    if content.keys() != wanted:
        odd = min(content.keys() ^ wanted)
        raise TraceError(f"this trace file {'lacks' if odd in wanted else 'has an unknown part'} {shown(odd)}.")
    if content.pop("digest") != digest_of(content):
        raise TraceError("this trace file was changed after it was written: its digest does not match.")
    restore(content)
    meta = _read_meta(content["meta"])
    check_meta(meta)
    starts = content["iterations"].get("t_start") if isinstance(content["iterations"], dict) else None
    check_size(meta.slots, len(starts) if isinstance(starts, list) else 0)
    trace = Trace(
        meta=meta,
        requests=_read_table(RequestTable, content["requests"], "requests"),
        iterations=_read_table(IterationTable, content["iterations"], "iterations"),
        spans=_read_table(SpanTable, content["spans"], "spans"),
        marks=_read_table(MarkTable, content["marks"], "marks"),
    )
    check(trace)
    return trace


def digest(trace: Trace) -> str:
    """SHA-256 over everything in the trace, in hexadecimal.

    The same run with the same seed has the same digest only if its timings are the same as well.

    Raises
    ------
    TraceError
        The trace contradicts itself.
    """
    return digest_of(_content(trace))


def digest_of(content: dict[str, Any]) -> str:
    """SHA-256 over the JSON of a file's content, without its digest."""
    return hashlib.sha256(_canonical({key: content[key] for key in content if key != "digest"})).hexdigest()


def write_file(target: Path, data: bytes) -> Path:
    """Put a file under its name in one step (see `cbviz.paths.write_whole`). Raises TraceError."""
    try:
        return write_whole(target, data)
    except FileError as error:
        raise TraceError(str(error)) from None


def _path(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TraceError(f"a trace file is named by a path, not by {shown(path)}.")
    try:
        return path_of(path, "the trace file")
    except FileError as error:
        raise TraceError(f"{error.args[0].removesuffix('.')}; it cannot be read or written.") from None


def _canonical(value: Any) -> bytes:
    """JSON with one spelling for one value: sorted keys, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _content(trace: Trace) -> dict[str, Any]:
    if not isinstance(trace, Trace):
        raise TraceError(f"only a Trace can be written, not {shown(trace)}.")
    check(trace)
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    content["meta"] = {field.name: getattr(trace.meta, field.name) for field in fields(TraceMeta)}
    for name, kind in TABLES.items():
        rows = getattr(trace, name)
        columns = {field.name: getattr(rows, field.name) for field in fields(kind)}
        content[name] = {key: c.tolist() if isinstance(c, np.ndarray) else c for key, c in columns.items()}
    for column, usual in ADDED.items():
        if all(value == usual for value in content["requests"][column]):
            del content["requests"][column]
    if known := table(trace):
        content["meta"]["extra"] = {**trace.meta.extra, TABLE: known}
    return content


def _unpack(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b":
        raise TraceError(NOT_OURS)
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(data, 1)
        if text == b'"':  # one long string, not an object
            raise TraceError(NOT_OURS)
        text += unpacker.decompress(unpacker.unconsumed_tail, LARGEST_TEXT)
    except zlib.error:
        raise TraceError("this trace file is damaged: it cannot be unpacked.") from None
    if len(text) > LARGEST_TEXT:
        raise TraceError(f"this file unpacks to more than {LARGEST_TEXT} bytes; no trace of cbviz is that large.")
    if not unpacker.eof:
        raise TraceError("this trace file is truncated.")
    if unpacker.unused_data:
        raise TraceError("this trace file is damaged: something follows after its end.")
    return text


def _parse(text: bytes) -> Any:
    _check_counts(text, "this file holds more {} than any trace of cbviz.")
    try:
        return json.loads(text.decode("ascii"), object_pairs_hook=_once, parse_constant=_refuse_constant)
    except RecursionError:
        raise TraceError("this file is nested deeper than any trace of cbviz.") from None
    except TraceError:
        raise
    except ValueError:
        raise TraceError("this trace file is damaged: it is not JSON inside.") from None


def _check_counts(text: bytes, complaint: str) -> None:
    """Raise TraceError for more lists or values than a trace has: parsed, they take far more memory than as text."""
    for what, count, most in (
        ("lists", text.count(b"[") + text.count(b"{"), MOST_BRACKETS),
        ("values", text.count(b","), MOST_COMMAS),
    ):
        if count > most:
            raise TraceError(complaint.format(what))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise TraceError("this trace file is damaged: a key occurs twice.")
    return made


def _refuse_constant(word: str) -> NoReturn:
    raise TraceError(f"this trace file holds {word}, which is not a number.")


def _columns(given: Any, kind: type[Any], name: str) -> dict[str, Any]:
    """The entries of a JSON object, if they are exactly the fields of the dataclass `kind`."""
    if not isinstance(given, dict):
        raise TraceError(f"this trace file is damaged: {name} is not a table.")
    value: dict[str, Any] = given
    wanted = {field.name for field in fields(kind)}
    if kind is RequestTable:
        ids = value.get("id")
        rows = len(ids) if isinstance(ids, list) else 0
        value = {**{column: [usual] * rows for column, usual in ADDED.items()}, **value}
    if value.keys() != wanted:
        odd = min(value.keys() ^ wanted)
        problem = "lacks" if odd in wanted else "has an unknown column"
        raise TraceError(f"this trace file is damaged: {name} {problem} {shown(odd)}.")
    return value


def _read_meta(value: Any) -> TraceMeta:
    return TraceMeta(**_columns(value, TraceMeta, "meta"))


def _read_table(kind: type[Table], value: Any, name: str) -> Table:
    columns = _columns(value, kind, name)
    types = {field.name: str(field.type) for field in fields(kind)}
    return kind(**{key: _read_column(column, types[key], f"{name}.{key}") for key, column in columns.items()})


def _read_column(column: Any, kind: str, name: str) -> Any:
    """A JSON list as the column type that the dataclass declares. Refuses 1.5 in a column of counts."""
    if not isinstance(column, list):
        raise TraceError(f"this trace file is damaged: {name} is not a list.")
    if kind not in ("FloatArray", "IntColumn"):
        return tuple(tuple(entry) if isinstance(entry, list) else entry for entry in column)
    allowed: set[type] = {int} if kind == "IntColumn" else {int, float}
    if not set(map(type, column)) <= allowed:
        raise TraceError(f"this trace file is damaged: {name} holds an entry that is not a number of its kind.")
    try:
        array = np.array(column, dtype=np.int64 if kind == "IntColumn" else np.float64)
    except OverflowError:
        raise TraceError(f"this trace file is damaged: {name} holds a number that is too large.") from None
    array.flags.writeable = False
    return array
