"""Which versions of other engines an adapter has been read against; all others are refused by name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cbviz.checks import shown
from cbviz.errors import AdapterError


@dataclass(frozen=True, slots=True)
class KnownRange:
    """Versions of one engine whose contact points are known.

    Attributes
    ----------
    engine
        Its name, as its package is called.
    first, last
        The first and the last (major, minor) that are known.

    Example
    -------
    >>> KnownRange("vllm", (0, 11), (0, 33)).check("0.26.0")
    (0, 26)
    >>> KnownRange("vllm", (0, 11), (0, 33)).check("0.9.2")
    Traceback (most recent call last):
    cbviz.errors.AdapterError: vllm 0.9.2 is installed; this adapter knows vllm 0.11 to 0.33.
    """

    engine: str
    first: tuple[int, int]
    last: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.engine} {_dotted(self.first)} to {_dotted(self.last)}"

    def check(self, found: object, *, of_run: bool = False) -> tuple[int, int]:
        """Read a version and require that it is known.

        Parameters
        ----------
        found
            What the engine says of itself, such as "5.23.0".
        of_run
            Whether it recorded a run that is read, and need not be installed.

        Returns
        -------
        tuple[int, int]
            Major and minor.

        Raises
        ------
        AdapterError
            It is outside the range, or no version at all; the message names what was found.
        """
        match = re.match(r"(\d{1,6})\.(\d{1,6})[\w.+!-]{0,30}", found) if isinstance(found, str) else None
        if match is None:
            said = f"the run was recorded by {self.engine}, which gave" if of_run else f"{self.engine} gives"
            raise AdapterError(f"{said} {shown(found)} as its version; this adapter knows {self}.")
        version = int(match[1]), int(match[2])
        if not self.first <= version <= self.last:
            said = (
                f"the run was recorded by {self.engine} {match[0]}"
                if of_run
                else f"{self.engine} {match[0]} is installed"
            )
            raise AdapterError(f"{said}; this adapter knows {self}.")
        return version


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
