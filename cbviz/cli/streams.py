"""Standard output and standard error that take whatever is printed.

A stream may speak another encoding than UTF-8 (Windows' cp1252, LC_ALL=C), be closed, be full, or belong to a reader
that has seen enough (`| head`). None of this may cost the work: what a stream cannot show gets a readable stand-in, and
a stream that has failed is remembered and written to no more. At the end `Streams.verdict` says what that means for
the exit code.
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
"""128 + SIGPIPE, as shells count."""

STAND_INS = {
    "█": "#", "▏": "|", "│": "|", "─": "-", "━": "-", "╸": "-", "╺": "-", "┃": "|", "×": "x", "÷": "/", "·": "-",
    "–": "-", "—": "-", "−": "-", "‐": "-", "‑": "-", "…": "...", "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "≠": "!=",
    "≈": "~", "±": "+-", "‘": "'", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"', "•": "*", "µ": "u", "μ": "u",
    "§": "section ", "°": " degrees ", "∞": "inf", "√": "sqrt ", "Σ": "sum ", "∑": "sum ", "\u00a0": " ", "\u202f": " ",
    "\u2009": " ", "：": ":", "，": ", ", "。": ". ", "（": " (", "）": ") ", "！": "!", "？": "?", "；": "; ",
}  # fmt: skip
"""What stands in for a character that a stream cannot write: one that reads the same."""

HANDLER = "cbviz.readable"


def _readable(error: UnicodeError) -> tuple[str, int]:
    """An error handler of `codecs`: a stand-in, the letter without its accent, or else the character's number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(stand_in(c, error.encoding) for c in error.object[error.start : error.end]), error.end


codecs.register_error(HANDLER, _readable)


def stand_in(character: str, encoding: str) -> str:
    """What an encoding can write in place of a character that it lacks."""
    if character in STAND_INS:
        return STAND_INS[character]
    bare = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    with contextlib.suppress(UnicodeEncodeError, LookupError):
        if bare and bare != character:
            bare.encode(encoding)
            return bare
    return ascii(character)[1:-1]


class Stream:
    """A text stream that never fails: prints to what it stands for as long as that works.

    Parameters
    ----------
    inner
        The stream itself; None where there is none (pythonw, `>&-`).
    """

    def __init__(self, inner: TextIO | None) -> None:
        self.inner = inner
        self.failure: BaseException | None = None
        """What ended it, if something did."""

    def write(self, text: str) -> int:
        """Write what the stream can show of a text; returns the text's length."""
        if self.inner is not None and self.failure is None:
            try:
                self.inner.write(self.shown(text))
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                self._fail(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
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
        """The stream's encoding; UTF-8 for one that has none or names an unknown one, as a text buffer does."""
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
        """Write no more. What is left in the buffer goes nowhere, or Python would complain of it when it ends."""
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
    """Standard output and error for the length of a command: `with Streams() as streams`."""

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
        """The exit code, now that everything has been printed: of a failed output if the command itself went well."""
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
    """A closed descriptor 0, 1 or 2 would be given to the next file that is opened, and prints would end up in it."""
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
    """Until the block ends, all that libraries print (in Python or in C) goes to standard error."""
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
