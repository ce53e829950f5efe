"""Standard output and standard error that accept everything.

A stream may have another encoding than UTF-8 (Windows' cp1252, LC_ALL=C), be closed, be full, or have lost its reader
(`| head`). None of this may lose the work: a character that a stream cannot show gets a readable replacement, and a
stream that has failed is not written to again. At the end `Streams.verdict` turns that into the exit code.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

FULL = 2
READER_GONE = 141
"""128 + SIGPIPE, the shells' convention."""

STAND_INS = {
    "█": "#", "▏": "|", "│": "|", "─": "-", "━": "-", "╸": "-", "╺": "-", "┃": "|", "×": "x", "÷": "/", "·": "-",
    "–": "-", "—": "-", "−": "-", "‐": "-", "‑": "-", "…": "...", "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "≠": "!=",
    "≈": "~", "±": "+-", "‘": "'", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"', "•": "*", "µ": "u", "μ": "u",
    "§": "section ", "°": " degrees ", "∞": "inf", "√": "sqrt ", "Σ": "sum ", "∑": "sum ", "\u00a0": " ", "\u202f": " ",
    "\u2009": " ", "：": ":", "，": ", ", "。": ". ", "（": " (", "）": ") ", "！": "!", "？": "?", "；": "; ",
}  # fmt: skip
"""Replacements for characters that a stream cannot write: similar characters that it can."""

HANDLER = "cbviz.readable"


def _readable(error: UnicodeError) -> tuple[str, int]:
    """An error handler for `codecs`: a replacement, the letter without its accent, or else the code point."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(stand_in(c, error.encoding) for c in error.object[error.start : error.end]), error.end


codecs.register_error(HANDLER, _readable)


def stand_in(character: str, encoding: str) -> str:
    """A replacement that an encoding can write for a character that it lacks."""
    if character in STAND_INS:
        return STAND_INS[character]
    bare = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    with contextlib.suppress(UnicodeEncodeError, LookupError):
        if bare and bare != character:
            bare.encode(encoding)
            return bare
    return ascii(character)[1:-1]


class Stream:
    """A text stream that never fails: writes to the wrapped stream as long as that works.

    Parameters
    ----------
    inner
        The wrapped stream; None if there is none (pythonw, `>&-`).
    """

    def __init__(self, inner: TextIO | None) -> None:
        self.inner = inner
        self.failure: BaseException | None = None
        """The error that ended it, if any."""

    def write(self, text: str) -> int:
        """Write a text as the stream can show it; returns the text's length."""
        if self.inner is not None and self.failure is None:
            try:
                self.inner.write(self.shown(text))
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                self._fail(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream, if it still works."""
        if self.inner is not None and self.failure is None:
            try:
                self.inner.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def shown(self, text: str) -> str:
        """The text in characters of the stream's encoding."""
        encoding = self.encoding
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            return text.encode(encoding, errors=HANDLER).decode(encoding)
        return text

    @property
    def encoding(self) -> str:
        """The stream's encoding; UTF-8 if it has none or an unknown one."""
        name = getattr(self.inner, "encoding", None)
        try:
            return codecs.lookup(name).name if isinstance(name, str) else "utf-8"
        except LookupError:
            return "utf-8"

    @property
    def takes_unicode(self) -> bool:
        """Whether every character can be written as it is."""
        return self.encoding.startswith("utf")

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        try:
            return self.inner is not None and self.failure is None and bool(self.inner.isatty())
        except (OSError, ValueError, AttributeError):
            return False

    def fileno(self) -> int:
        """The stream's descriptor. Raises OSError if it has none."""
        if self.inner is None:
            raise OSError(errno.EBADF, "this stream is closed")
        try:
            return self.inner.fileno()
        except (ValueError, AttributeError):
            raise OSError(errno.EBADF, "this stream has no descriptor") from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def _fail(self, error: BaseException) -> None:
        """Stop writing, and discard the buffer, about which Python would otherwise complain at exit."""
        self.failure = error
        with contextlib.suppress(OSError, ValueError):
            number = self.fileno()
            if number in (1, 2):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
                assert self.inner is not None
                self.inner.flush()


class Streams:
    """Standard output and error for the duration of a command: `with Streams() as streams`."""

    def __enter__(self) -> Streams:
        if not isinstance(sys.stdout, Stream):
            _occupy_closed_descriptors()
        self._before = sys.stdout, sys.stderr
        self.out, self.err = Stream(sys.stdout), Stream(sys.stderr)
        sys.stdout, sys.stderr = self.out, self.err
        return self

    def __exit__(self, *_: object) -> None:
        self.out.flush()
        self.err.flush()
        sys.stdout, sys.stderr = self._before

    def verdict(self, code: int) -> int:
        """The exit code after everything has been printed: that of a failed stream if the command succeeded."""
        self.out.flush()
        failure = self.out.failure
        if failure is None or code:
            return code
        if isinstance(failure, BrokenPipeError):
            return READER_GONE
        reason = getattr(failure, "strerror", None) or failure
        print(f"cbviz: the result could not be written to standard output: {reason}.", file=sys.stderr)
        return FULL


def _occupy_closed_descriptors() -> None:
    """Open closed descriptors 0, 1 and 2: the next opened file would otherwise get one, and receive prints."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)


@contextlib.contextmanager
def everything_to_stderr() -> Iterator[None]:
    """Within the block, everything that libraries print (in Python or in C) goes to standard error."""
    sys.stdout.flush()
    kept: int | None = None
    with contextlib.suppress(OSError):
        kept = os.dup(1)
        os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)
