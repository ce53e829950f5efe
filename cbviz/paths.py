"""Paths of files and folders: checked before the work, and written completely or not at all.

Every path that a caller gives cbviz passes through here, so that each way in which one can be wrong (no such home, a
name of 300 letters, a NUL, a folder where a file must be, a full disk) gives one sentence that says where the path
came from and what is wrong with it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from cbviz.checks import known_elsewhere, shown
from cbviz.errors import FileError

Named = str | os.PathLike[str]


def path_of(given: object, what: str = "the path") -> Path:
    """A path with its `~` expanded.

    Parameters
    ----------
    given
        Text or a path object.
    what
        Where it came from, such as "--html", for the error message.

    Raises
    ------
    FileError
        It is empty, not a path, contains a character that no name can have, or begins with an unknown home.
    """
    if not isinstance(given, str | os.PathLike):
        raise FileError(f"{what} must be a path, not {shown(given)}.")
    try:
        text = os.fspath(given)
    except Exception:  # `__fspath__` is the caller's code
        text = b""
    if not isinstance(text, str):
        raise FileError(f"{what} must be a path of text, not {shown(given)}.")
    if not text:
        raise FileError(f"{what} is empty; it must name a file or a folder.")
    if "\0" in text:
        raise FileError(f"{what} {short(text)} contains a NUL character, which no name can have.")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise FileError(f"{what} {short(text)} contains a character that no name can have here.") from None
    try:
        return Path(text).expanduser()
    except RuntimeError:
        home = Path(text).parts[0]
        raise FileError(f"{what} {short(text)}: there is no home {short(home)}; write ./{home} for a name.") from None


def short(path: object) -> str:
    """A path for a message: on one line, without control characters or lone surrogates, at most 120 characters."""
    text = printable(str(path))
    return text if len(text) <= 120 else f"{text[:60]}…{text[-59:]}"


def printable(text: str) -> str:
    """A text with control characters, including terminal escape codes, replaced by their numbers."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def why(error: BaseException) -> str:
    """The reason for a failure in a few words."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def new_file(given: object, what: str = "the path", *, suffix: str = "") -> Path:
    """Check that a file can be written, as far as that can be known beforehand, and return its path. Leaves no file.

    `suffix` is the ending that the name must have, if any.

    Raises
    ------
    FileError
        It cannot be written; the sentence says why.
    """
    path = path_of(given, what)
    said = f"{what} {short(path)}"
    if path.name in ("", "..") or str(given).endswith("/"):
        raise FileError(f"{said} is a folder; it must be the path of a file.")
    if path.name == "-" and path.parent == Path():
        raise FileError(f"{said} cannot be standard output; name a file (./- for one of this name).")
    if suffix and path.suffix != suffix:
        raise FileError(f"{said}: the name of this file must end in {suffix}.")
    mode = _mode(path, said)
    if mode is not None:
        if stat.S_ISDIR(mode):
            raise FileError(f"{said} is a folder; it must be the path of a file.")
        if not stat.S_ISREG(mode):
            raise FileError(f"{said} is a device or a pipe; it must be the path of a file.")
        if not os.access(path, os.W_OK):
            raise FileError(f"{said} cannot be written: it is write-protected.")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise FileError(f"{said} cannot be written: there is no folder {short(parent)}; make it first.")
    _probe(_real(path).parent, said)
    return path


def existing_file(given: object, what: str = "the path") -> Path:
    """Check that there is a file to read, and return its path. A folder, a pipe or a device is none: it might block.

    Raises
    ------
    FileError
        The sentence says why it cannot be read.
    """
    path = path_of(given, what)
    said = short(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileError(f"there is no file {said}{known_elsewhere(str(path))}.") from None
    except (OSError, ValueError) as error:
        raise FileError(f"{what} {said} cannot be read: {why(error)}.") from None
    if not stat.S_ISREG(mode):
        raise FileError(f"{what} {said} cannot be read: it is not a file.")
    return path


def read_file(given: object, what: str = "the path", *, most: int) -> bytes:
    """The content of a file, or its first `most` + 1 bytes, which show that it is too large. Raises FileError."""
    path = existing_file(given, what)
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except (OSError, ValueError) as error:
        raise FileError(f"{what} {short(path)} cannot be read: {why(error)}.") from None


def new_folder(given: object, what: str = "the folder") -> Path:
    """Check that a folder is writable or can be created, and return its path. Creates nothing. Raises FileError."""
    path = path_of(given, what)
    said = f"{what} {short(path)}"
    if str(path) == "-":
        raise FileError(f"{said} must be a folder (./- for one of this name).")
    mode = _mode(path, said)
    if mode is not None and not stat.S_ISDIR(mode):
        raise FileError(f"{said} is a file; it must be a folder, which may be new.")
    nearest = path.absolute()
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        _check_length(nearest, said)
        nearest = nearest.parent
    if not nearest.is_dir():
        raise FileError(f"{said} cannot be made: {short(nearest)} is not a folder.")
    _probe(nearest, said)
    return path


def make_folder(given: object, what: str = "the folder") -> Path:
    """Create the folder and its parents if necessary, and return its path. Raises FileError."""
    path = new_folder(given, what)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise FileError(f"{what} {short(path)} cannot be made: {why(error)}.") from None
    return path


def write_whole(given: Named, data: bytes | str, what: str = "") -> Path:
    """Write a file atomically: a reader sees all of it, or the previous content. Returns the path.

    The data is written to a temporary file in the same folder, which then replaces the file. A replaced file keeps its
    permissions; a link stays a link, and its target is replaced.

    Raises
    ------
    FileError
        It cannot be written; nothing has changed.
    """
    path = path_of(given, what or "the path")
    said = f"{what} {short(path)}".strip()
    # UTF-8 cannot encode a lone surrogate: it becomes a question mark.
    content = data.encode("utf-8", errors="replace") if isinstance(data, str) else data
    try:
        target = _real(path)
        try:
            mode: int | None = target.stat().st_mode
        except FileNotFoundError:
            mode = None
        if mode is not None and not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
            raise FileError(f"{said} cannot be written: it is {kind}.")
        if mode is not None and not os.access(target, os.W_OK):
            raise FileError(f"{said} cannot be written: it is write-protected.")
        draft = target.with_name(f".cbviz-{secrets.token_hex(6)}")
        try:
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                with contextlib.suppress(OSError):  # a file system without permissions
                    draft.chmod(stat.S_IMODE(mode))
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise FileError(f"{said} cannot be written: {why(error)}.") from None
    return path


def _real(path: Path) -> Path:
    """The target of a link, so that the link is kept; any other path itself. Raises OSError for a cycle of links."""
    if not path.is_symlink():
        return path
    with contextlib.suppress(FileNotFoundError):  # it may lead to a file that does not exist yet
        path.stat()
    return path.resolve()


def _mode(path: Path, said: str) -> int | None:
    """The mode of a path, following links; None if nothing is there. Raises FileError if that cannot be known."""
    _check_length(path.absolute(), said)
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileError(f"{said} is a link that leads back to itself.") from None
        raise FileError(f"{said} cannot be used: {why(error)}.") from None
    except ValueError as error:
        raise FileError(f"{said} cannot be used: {error}.") from None


def _check_length(path: Path, said: str) -> None:
    """Check the length of every name in a path: file systems allow 255 bytes nearly everywhere."""
    if any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise FileError(f"{said}: a name in it is longer than the 255 bytes that a file system allows.")


def _probe(folder: Path, said: str) -> None:
    """Try to write an unnamed file, which reveals permissions, read-only disks and quotas."""
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".cbviz-"):
            return
    except OSError as error:
        raise FileError(f"{said} cannot be written: {why(error)}.") from None


def sha256(path: Path) -> str:
    """The SHA-256 of a file as hexadecimal digits. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_file_name(name: str) -> str:
    """A policy's name as part of a file name: ASCII letters, digits, - and _, at most 80."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)
    return plain[:80]
