"""Names of lanes, for readers."""

from __future__ import annotations

from collections.abc import Sequence


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names of the lanes: policies of the same name get numbers, as in "static #2"."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name} #{n}" for n in range(1, len(names) + 1))
        found.append(name if names.count(name) == 1 else next(new for new in numbered if new not in (*found, *names)))
    return tuple(found)
