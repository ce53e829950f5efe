"""Server-sent events as endpoints stream them, from whatever pieces a connection delivers them in.

The format is WHATWG's (HTML, "Server-sent events"): a line ends with CR, LF or both, an event with a blank line, and
the `data:` lines of an event are one text. Some endpoints leave the blank lines out; a `data:` line that is whole by
itself is an event for them, too.
"""

from __future__ import annotations

import json

LONGEST_EVENT = 2**20
"""Bytes of a line, and of an event."""
DONE = b"[DONE]"
"""What ends a stream of completions."""
BOM = b"\xef\xbb\xbf"
OTHERS = (b"event", b"id", b"retry")
"""Fields that say nothing of a completion."""


class NoEventsError(Exception):
    """What came is no stream of events; its argument is where that shows."""

    def __init__(self, found: bytes) -> None:
        super().__init__(found)
        self.found = found


class Events:
    """Takes pieces of a stream and gives events."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._rest_bytes = self._data_bytes = 0
        self._data: list[bytes] = []
        self._after_cr = False
        self._begun = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next bytes.

        Parameters
        ----------
        piece
            Any number of them.

        Returns
        -------
        list[bytes]
            The data of each event that they complete.

        Raises
        ------
        NoEventsError
            They are no events, or one is too long.
        """
        if not piece:
            return []
        if self._after_cr:  # a line that CR and LF end, and they came apart
            piece = piece.removeprefix(b"\n")
        self._after_cr = piece.endswith(b"\r")
        found: list[bytes] = []
        for line in piece.splitlines(keepends=True):
            bare = line.rstrip(b"\r\n")
            self._rest.append(bare)
            self._rest_bytes += len(bare)
            if self._rest_bytes > LONGEST_EVENT:
                raise NoEventsError(b"".join(self._rest))
            if len(bare) < len(line):
                self._end_line(found)
        self._take_whole(found)
        return found

    def end(self) -> list[bytes]:
        """The stream is over: what its last line completes, as `feed` gives it."""
        found: list[bytes] = []
        if self._rest:
            self._end_line(found)
        self._take_whole(found)
        return found

    def _end_line(self, found: list[bytes]) -> None:
        line = b"".join(self._rest)
        self._rest, self._rest_bytes = [], 0
        if not self._begun:
            self._begun, line = True, line.removeprefix(BOM)
        if not line.strip():
            data = b"\n".join(self._data).strip()
            self._data, self._data_bytes = [], 0
            if data:
                found.append(data)
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._take_whole(found)
            self._data.append(value.strip())
            self._data_bytes += len(value)
            if self._data_bytes > LONGEST_EVENT:
                raise NoEventsError(b"\n".join(self._data))
        elif name and name not in OTHERS:  # without a name it is a comment
            raise NoEventsError(line)

    def _take_whole(self, found: list[bytes]) -> None:
        """Where the event so far is one line, and that is whole, it needs no blank line to be taken."""
        if len(self._data) != 1:
            return
        data = self._data[0]
        try:
            if data != DONE:
                json.loads(data)
        except (ValueError, RecursionError):
            return
        found.append(data)
        self._data, self._data_bytes = [], 0
