"""Writes lines from a thread of its own, so that a server never waits for a disk, a pipe or its reader."""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import select
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from cbviz.adapters.vllm.known import LINES_VARIABLE
from cbviz.errors import AdapterError
from cbviz.paths import short, why

CAPACITY = 20_000
"""Lines that wait to be written; what comes on top is dropped and counted."""
WAITING_BYTES = 64 * 2**20
"""Bytes of the lines that wait: about 2,300 passes of 256 rows."""
RETRY = 0.2
"""Seconds between two attempts to find a reader of a pipe."""

log = logging.getLogger("cbviz")


class LineWriter:
    """A bounded queue of JSON lines and the thread that empties it.

    Parameters
    ----------
    path
        A new file, or an existing pipe or terminal. An existing file is left alone: the lines go to a file of that name
        with the number of the process behind it. A folder and a disk are refused, and nothing is made in /dev or /proc.
    header
        The first line; written again for every new reader of a pipe.
    capacity, most_bytes
        Lines that may wait, and their bytes.

    Attributes
    ----------
    dropped
        Lines that found the queue full. Their number is written before the next line.
    waiting
        Bytes of the lines that wait.
    failed
        Why nothing is written any more; "" while all is well.
    """

    def __init__(
        self, path: str, header: dict[str, Any], capacity: int = CAPACITY, most_bytes: int | None = None
    ) -> None:
        self.path = path
        self.dropped = 0
        self.waiting = 0
        self.failed = ""
        self._header = _encoded(header)
        self._queue: queue.Queue[bytes | None] = queue.Queue(maxsize=capacity)
        self._most_bytes = WAITING_BYTES if most_bytes is None else most_bytes
        self._lacked = 0
        """Bytes of a line that found no room: none is tried before there is room for as many."""
        self._counting = threading.Lock()
        self._reported = 0
        self._fd = -1
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cbviz-lines", daemon=True)
        self._thread.start()

    def put(self, line: dict[str, Any]) -> None:
        """Hand over a line. Returns at once.

        Parameters
        ----------
        line
            What `json.dumps` takes.
        """
        if self.failed or self._closing.is_set():
            return
        if self._queue.full() or self.waiting + self._lacked > self._most_bytes:
            self.dropped += 1  # without the work of encoding it
            return
        data = _encoded(line)
        with self._counting:
            room = self.waiting + len(data) <= self._most_bytes
            self._lacked = 0 if room else len(data)
            if room:
                self.waiting += len(data)
        try:
            if not room:
                raise queue.Full
            self._queue.put_nowait(data)
        except queue.Full:
            self.dropped += 1
            if room:
                self._written(data)

    def close(self, seconds: float = 2.0) -> None:
        """Write what waits, for at most so long.

        Parameters
        ----------
        seconds
            How long to wait for the thread.
        """
        self._closing.set()
        with suppress(queue.Full):  # the thread sees `_closing` when it has emptied the queue
            self._queue.put_nowait(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._open()
            while True:
                try:
                    line = self._queue.get(timeout=RETRY)
                except queue.Empty:
                    line = None
                if line is not None:
                    self._report_dropped()
                    self._send(line)
                    self._written(line)
                elif self._closing.is_set() and self._queue.empty():
                    self._report_dropped()
                    return
        except _ClosedError:
            pass
        except Exception as error:
            said = (
                str(error) if isinstance(error, AdapterError) else f"{short(self.path)} cannot be written: {why(error)}"
            )
            self.failed = said.rstrip(".")
            log.warning("cbviz: %s; the server continues, and nothing more is recorded.", self.failed)
            self._forget()
        finally:
            if self._fd >= 0:
                os.close(self._fd)

    def _written(self, line: bytes) -> None:
        with self._counting:
            self.waiting -= len(line)

    def _forget(self) -> None:
        """Let go of what waits: nothing more is written."""
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()

    def _report_dropped(self) -> None:
        if self.dropped != self._reported:
            dropped, self._reported = self.dropped - self._reported, self.dropped
            self._send(_encoded({"kind": "dropped", "lines": dropped}))

    def _send(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:  # the pipe is full
                select.select([], [self._fd], [], RETRY)
                self._check_closing()
            except BrokenPipeError:  # its reader has left; the next one gets the whole line
                os.close(self._fd)
                self._fd = -1
                self._open()
                left = memoryview(line)

    def _open(self) -> None:
        kind = _kind(self.path)
        if kind in ("", "file"):
            self._make_file(exists=kind == "file")
        while self._fd < 0:
            try:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            except OSError as error:
                if error.errno != errno.ENXIO or kind != "pipe":  # ENXIO: nothing reads the pipe yet
                    raise
                self._check_closing()
                time.sleep(RETRY)
        self._send(self._header)

    def _make_file(self, exists: bool) -> None:
        """A new file, under the name given or beside a file that has it."""
        place = Path(self.path).parent.resolve()
        if place == Path("/dev") or place.parts[:2] == ("/", "proc"):
            raise AdapterError(
                f"{short(self.path)} leads to {'a file' if exists else 'nothing'}, and no file is made beside devices; "
                f"{LINES_VARIABLE} must name a new file elsewhere, a pipe or a terminal"
            )
        try:
            self._fd = self._new(self.path)
        except FileExistsError:
            self.path = f"{self.path}.{os.getpid()}"
            log.warning("cbviz: the file of lines exists already; this process writes to %s.", self.path)
            self._fd = self._new(self.path)

    def _new(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)

    def _check_closing(self) -> None:
        if self._closing.is_set():
            raise _ClosedError


def _encoded(line: dict[str, Any]) -> bytes:
    return (json.dumps(line, separators=(",", ":")) + "\n").encode()


def _kind(path: str) -> str:
    """What a path leads to: "pipe", "terminal" (or another device that takes characters), "file", or "" for nothing."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        mode = 0
    named = {stat.S_IFIFO: "pipe", stat.S_IFCHR: "terminal", stat.S_IFREG: "file", 0: ""}
    if (found := named.get(stat.S_IFMT(mode))) is None or path.endswith("/"):
        what = {stat.S_IFBLK: "a disk", stat.S_IFSOCK: "a socket"}.get(stat.S_IFMT(mode), "a folder")
        raise AdapterError(f"{short(path)} is {what}, and {LINES_VARIABLE} must name a new file, a pipe or a terminal")
    return found


class _ClosedError(Exception):
    """The writer was closed while it waited for a reader."""
