"""Reads the lines that the plugin writes: as a `Trace` at the end, or as iterations while they come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cbviz.adapters.vllm.reader import LineReader
from cbviz.checks import as_float, flag, shown
from cbviz.errors import AdapterError, CbvizError, FileError, TraceError
from cbviz.events import Iteration
from cbviz.paths import existing_file, path_of, short, why
from cbviz.trace import Trace
from cbviz.trace.fold import Detokenize

LONGEST_READ = 16 * 2**20
"""Bytes."""
LOOK_AGAIN = 0.05
"""Seconds between two looks at a file that is followed."""


def read(
    path: str | os.PathLike[str], *, slots: int | None = None, pieces: Detokenize | None = None, partial: bool = False
) -> Trace:
    """Read a file of lines as a trace.

    Parameters
    ----------
    path
        What `CBVIZ_VLLM_LINES` named.
    slots
        Slots to show; None takes vLLM's `max_num_seqs`.
    pieces
        Turns output tokens into text, such as `LoadedModel.pieces`.
    partial
        Whether to return what came before the first line that cannot be used, or that contradicts those before it,
        instead of refusing the file.

    Returns
    -------
    Trace
        The run as vLLM reported it, from the arrival of its first request. KV blocks, prompts, device and dtype are
        left out.

    Raises
    ------
    AdapterError
        A line cannot be used, because of what it says or because it contradicts those before it; the message has its
        number.
    TraceError
        The lines contradict each other in another way; the message has the number of the first that does.
    FileError
        The file cannot be read.
    """
    flag("partial", partial, error=AdapterError)
    file = existing_file(path, "the file of lines")
    reader = LineReader(short(file))
    try:
        with file.open("rb") as lines:
            while text := lines.readline(LONGEST_READ):
                if not text.endswith(b"\n"):
                    if len(text) == LONGEST_READ:
                        raise AdapterError(f"{short(file)} has a line of more than {LONGEST_READ:,} bytes.")
                    break  # a line that is still being written
                reader.feed(text)
    except OSError as error:
        if isinstance(error, CbvizError):
            raise
        raise FileError(f"{short(file)} cannot be read ({why(error)}).") from None
    except AdapterError:
        if not partial or not reader.start:
            raise
    try:
        return reader.trace(slots, pieces)
    except TraceError as error:
        found, line, said = _part(reader, slots, pieces, error)
        if partial and found is not None:
            return found
        raise TraceError(f"{f'line {line} of ' if line else ''}{short(file)} cannot be used: {said}") from None


def _part(
    reader: LineReader, slots: int | None, pieces: Detokenize | None, error: TraceError
) -> tuple[Trace | None, int, TraceError]:
    """The longest beginning of a run that holds together, as bisection finds it, and what is wrong with the next line.

    None and 0 if no beginning does.
    """
    found, good, bad = None, -1, len(reader.ledger) + 1
    while bad - good > 1:
        n = (good + bad) // 2
        try:
            found, good = reader.trace(slots, pieces, n), n
        except TraceError as one:
            bad, error = n, one
    return found, [0, *reader.pass_lines, reader.line][bad], error


def follow(
    path: str | os.PathLike[str],
    *,
    slots: int | None = None,
    patience: float = 60.0,
    reader: LineReader | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Iteration]:
    """Yield iterations while vLLM writes their lines to a file or a pipe.

    Parameters
    ----------
    path
        What `CBVIZ_VLLM_LINES` names; a pipe, or a file that may not exist yet.
    slots
        Slots of the iterations; None takes vLLM's `max_num_seqs`.
    patience
        Seconds without a new line after which it ends.
    reader
        A `LineReader` of the caller's own, to make a trace afterwards.
    stop
        Asked between lines; True ends it.

    Returns
    -------
    Iterator[Iteration]
        As they come. It ends when vLLM's scheduler shuts down.

    Raises
    ------
    AdapterError
        A line cannot be used.
    FileError
        The file cannot be read.
    """
    longest = as_float(patience)
    if longest is None or not longest >= 0:  # NaN, too
        raise AdapterError(f"patience must be a number of seconds of at least 0, not {shown(patience)}.")
    file = Path(path_of(path))
    lines = LineReader(short(file)) if reader is None else reader
    if slots is not None:
        lines.slots(slots)  # refuses what is no number of slots before it waits
    shown_so_far, rest, last = len(lines.ledger), b"", time.monotonic()
    handle = -1
    try:
        while not lines.ended and not stop() and time.monotonic() - last < patience:
            if handle < 0:
                try:
                    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
                except FileNotFoundError:
                    time.sleep(LOOK_AGAIN)
                    continue
            try:
                data = os.read(handle, 2**20)
            except BlockingIOError:  # a pipe whose writer has nothing to say
                data = b""
            if not data:
                time.sleep(LOOK_AGAIN)
                continue
            last = time.monotonic()
            *whole, rest = (rest + data).split(b"\n")
            if len(rest) > LONGEST_READ:
                raise AdapterError(f"{short(file)} has a line of more than {LONGEST_READ:,} bytes.")
            for text in whole:
                lines.feed(text)
                while shown_so_far < len(lines.ledger):
                    yield lines.ledger.iteration(shown_so_far, lines.slots(slots))
                    shown_so_far += 1
    except OSError as error:
        if isinstance(error, CbvizError):
            raise
        raise FileError(f"{short(file)} cannot be read ({why(error)}).") from None
    finally:
        if handle >= 0:
            os.close(handle)
