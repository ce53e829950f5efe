"""What every request has got so far, as arrays with one row a request."""

from __future__ import annotations

import numpy as np

from cbviz.trace.events import IntArray
from cbviz.workload.request import Request

FEWEST_COLUMNS = 512


class Outputs:
    """Output tokens and how each output ends; rows in order of submission.

    Attributes
    ----------
    tokens
        int32 [rows, longest output]: the output token ids. Columns come as outputs grow: a limit is only a promise.
    count
        int32 [rows]: how many of them there are.
    limit
        int32 [rows]: output tokens after which the output ends by length (forced, or max_new_tokens).
    forced
        bool [rows]: its length is forced, so END and stop tokens are ordinary tokens.
    stops
        bool [rows]: it has stop tokens of its own.
    closed
        bool [rows]: the output has ended.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.tokens: IntArray = np.zeros((0, 0), np.int32)
        self.count: IntArray = np.zeros(0, np.int32)
        self.limit: IntArray = np.zeros(0, np.int32)
        self.forced = np.zeros(0, bool)
        self.stops = np.zeros(0, bool)
        self.closed = np.zeros(0, bool)
        self._room = 0
        """Appends that certainly fit: an append makes no output longer by more than one token."""

    def add(self, request: Request) -> int:
        """Make a row for a request and return its number."""
        limit = request.output_length or request.max_new_tokens
        rows, width = self.tokens.shape
        if self.rows == rows:
            self._enlarge(max(64, 2 * rows), width)
        row = self.rows
        self.limit[row] = limit
        self.forced[row] = request.output_length is not None
        self.stops[row] = bool(request.stop_tokens)
        self.rows += 1
        return row

    def append(self, rows: IntArray, tokens: IntArray) -> None:
        """Append one token to each of these (different) rows."""
        if self._room == 0:
            longest, width = int(self.count.max(initial=0)), self.tokens.shape[1]
            if longest == width:
                self._enlarge(len(self.tokens), width := max(FEWEST_COLUMNS, 2 * width))
            self._room = width - longest
        self._room -= 1
        self.tokens[rows, self.count[rows]] = tokens
        self.count[rows] += 1

    def of(self, row: int) -> IntArray:
        """int32 [count]: the output so far."""
        return self.tokens[row, : self.count[row]]

    def _enlarge(self, rows: int, width: int) -> None:
        tokens = np.zeros((rows, width), np.int32)
        tokens[: len(self.tokens), : self.tokens.shape[1]] = self.tokens
        self.tokens = tokens
        for name in ("count", "limit", "forced", "stops", "closed"):
            old = getattr(self, name)
            new = np.zeros(rows, old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
