"""Names of lanes, for readers and for files."""

from __future__ import annotations

from collections.abc import Sequence


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names of the lanes: policies of the same name get numbers."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name} {n}" for n in range(1, len(names) + 1))
        found.append(name if names.count(name) == 1 else next(new for new in numbered if new not in (*found, *names)))
    return tuple(found)


def file_name(name: str) -> str:
    """A policy's name as part of a file name: ASCII letters, digits, - and _, at most 80."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)
    return plain[:80]
