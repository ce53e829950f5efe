"""Memory that this machine can still allocate: what the kernel reports, and what a container's limit leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_MEMORY_INFO = Path("/proc/meminfo")
_OWN_GROUPS = Path("/proc/self/cgroup")


def available_bytes() -> int | None:
    """Bytes that can still be allocated on the host; None if the system does not say.

    On Linux it is the least of what the kernel counts as available and what the limits of control groups leave (version
    1 and 2; containers, such as Binder's, and batch systems set them). Elsewhere it is all physical memory, an upper
    bound; Python's library has no such call on Windows.
    """
    answers = [answer for answer in (_meminfo(), *_headrooms()) if answer is not None]
    return min(answers) if answers else _physical()


def _meminfo() -> int | None:
    try:
        for line in _MEMORY_INFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None


def _headrooms() -> Iterator[int | None]:
    """What the limit of each control group leaves: the process's own group and its ancestors."""
    own_v2 = own_v1 = ""
    try:
        for line in _OWN_GROUPS.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:
                own_v2 = group
            elif "memory" in controllers.split(","):
                own_v1 = group
    except (OSError, ValueError):
        pass
    for place in _upwards(_GROUPS, own_v2):
        yield _headroom(place / "memory.max", place / "memory.current", place / "memory.stat", "inactive_file")
    for place in _upwards(_GROUPS / "memory", own_v1):
        limit, used = place / "memory.limit_in_bytes", place / "memory.usage_in_bytes"
        yield _headroom(limit, used, place / "memory.stat", "total_inactive_file")


def _upwards(root: Path, own: str) -> list[Path]:
    """The group's folder and its ancestors up to the root, which in a container often is the group itself."""
    parts = [part for part in own.split("/") if part not in ("", "..")]
    return [root.joinpath(*parts[:n]) for n in range(len(parts), -1, -1)]


def _headroom(limit: Path, used: Path, statistics: Path, droppable: str) -> int | None:
    """Limit minus use. The kernel counts cached files as used, but can drop them at once, so they count as free."""
    try:
        most = limit.read_text().strip()
        if most == "max":
            return None
        counts = dict(line.split() for line in statistics.read_text().splitlines())
        return max(0, int(most) - int(used.read_text()) + int(counts.get(droppable, 0)))
    except (OSError, ValueError):
        return None


def _physical() -> int | None:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return pages * size if pages > 0 and size > 0 else None  # -1: the system does not say
