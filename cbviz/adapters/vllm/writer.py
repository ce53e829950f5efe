"""Writes lines from a thread of its own, so that a server never waits for a disk, a pipe or its reader."""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import select
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

CAPACITY = 20_000
"""Lines that wait to be written; what comes on top is dropped and counted."""
RETRY = 0.2
"""Seconds between two attempts to find a reader of a pipe."""

log = logging.getLogger("cbviz")


class LineWriter:
    """A bounded queue of JSON lines and the thread that empties it.

    Parameters
    ----------
    path
        A new file, or an existing pipe. An existing file is left alone: the lines go to a file of that name with the
        number of the process behind it.
    header
        The first line; written again for every new reader of a pipe.
    capacity
        Lines that may wait.

    Attributes
    ----------
    dropped
        Lines that found the queue full. Their number is written before the next line.
    failed
        Why nothing is written any more; "" while all is well.
    """

    def __init__(self, path: str, header: dict[str, Any], capacity: int = CAPACITY) -> None:
        self.path = path
        self.dropped = 0
        self.failed = ""
        self._header = header
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(maxsize=capacity)
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
        if self.failed:
            return
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += 1

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
                    self._write(line)
                elif self._closing.is_set() and self._queue.empty():
                    self._report_dropped()
                    return
        except _ClosedError:
            pass
        except Exception as error:
            self.failed = f"{self.path} cannot be written ({error})"
            log.warning("cbviz: %s; the server continues, and nothing more is recorded.", self.failed)
        finally:
            if self._fd >= 0:
                os.close(self._fd)

    def _write(self, line: dict[str, Any]) -> None:
        self._report_dropped()
        self._send(line)

    def _report_dropped(self) -> None:
        if self.dropped != self._reported:
            dropped, self._reported = self.dropped - self._reported, self.dropped
            self._send({"kind": "dropped", "lines": dropped})

    def _send(self, line: dict[str, Any]) -> None:
        left = memoryview((json.dumps(line, separators=(",", ":")) + "\n").encode())
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
                left = memoryview((json.dumps(line, separators=(",", ":")) + "\n").encode())

    def _open(self) -> None:
        is_pipe = Path(self.path).is_fifo()
        while is_pipe and self._fd < 0:
            try:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # ENXIO: nothing reads the pipe yet
                    raise
                self._check_closing()
                time.sleep(RETRY)
        if not is_pipe:
            try:
                self._fd = self._new(self.path)
            except FileExistsError:
                self.path = f"{self.path}.{os.getpid()}"
                log.warning("cbviz: the file of lines exists already; this process writes to %s.", self.path)
                self._fd = self._new(self.path)
        self._send(self._header)

    def _new(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)

    def _check_closing(self) -> None:
        if self._closing.is_set():
            raise _ClosedError


class _ClosedError(Exception):
    """The writer was closed while it waited for a reader."""
