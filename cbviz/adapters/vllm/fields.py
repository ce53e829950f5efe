"""Values in the plugin's lines: each is what it must be, or one sentence says what it is and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from cbviz.checks import shown
from cbviz.events import FinishReason
from cbviz.limits import LONGEST_SECONDS, MOST_TOKENS
from cbviz.workload import Request

REASONS = {"end": FinishReason.END, "stop": FinishReason.STOP, "length": FinishReason.LENGTH}
LATEST_SECOND = 1e12


@dataclass(frozen=True, slots=True)
class UnwrittenPrompt(Sequence[int]):
    """A prompt of which only the length is known: zeros that take no memory."""

    length: int

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[int]: ...
    def __getitem__(self, at: int | slice) -> int | Sequence[int]:
        places = range(self.length)[at]
        return 0 if isinstance(places, int) else UnwrittenPrompt(len(places))


def unwritten(id: int, prompt: int, most: int, arrival: float) -> Request:
    """A request whose prompt is not written, with as many tokens of output as a trace can hold."""
    request = Request(id, (0,), min(most, MOST_TOKENS - prompt), arrival=arrival)
    object.__setattr__(request, "prompt", UnwrittenPrompt(prompt))  # a tuple of that many would be real memory
    return request


def parsed(text: str | bytes) -> dict[str, Any]:
    """A line as a table. Raises ValueError."""
    try:
        line = json.loads(text if isinstance(text, str) else bytes(text).decode())
    except RecursionError:
        raise ValueError("it is nested deeper than any line of the plugin") from None
    except (ValueError, TypeError):  # in another encoding, no JSON, or a number of thousands of digits
        raise ValueError("it is no JSON in UTF-8, which the plugin writes") from None
    if not isinstance(line, dict):
        raise ValueError(f"it is {shown(line)}")
    return line


def number(value: object, what: str, least: int = 0, most: int = MOST_TOKENS) -> int:
    """A whole number within bounds. Raises ValueError."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, not {shown(value)}")
    return value


def whole(line: dict[str, Any], name: str, most: int, least: int = 0) -> int:
    """A whole number under a name. Raises ValueError."""
    return number(line[name], name, least, most)


def name_of(value: object) -> str:
    """A request's id. Raises ValueError."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"a request's id must be text, not {shown(value)}")
    return value


def seconds(line: dict[str, Any], name: str, began: float | None = None) -> float:
    """A time, counted from the first request of the run if that is given. Raises ValueError."""
    value = line[name]
    if type(value) not in (int, float) or not 0 <= value < LATEST_SECOND:  # NaN and infinities, too
        raise ValueError(f"{name} must be a number of seconds, not {shown(value)}")
    if began is None:
        return float(value)
    if value < began:
        raise ValueError(f"{name} is {value:.15g}, and the run began with its first request at {began:.15g}")
    if value - began > LONGEST_SECONDS:
        raise ValueError(
            f"{name} is {value - began:g} seconds after the run began, and {LONGEST_SECONDS:g} are allowed"
        )
    return float(value) - began


def names(line: dict[str, Any], name: str) -> list[str]:
    """A list of requests' ids. Raises ValueError."""
    return [name_of(one) for one in _list(line, name)]


def entries(line: dict[str, Any], name: str, of: tuple[str, str, str]) -> list[list[Any]]:
    """A list of lists of three, the first of which is a request's id; none comes twice. Raises ValueError."""
    found = _list(line, name)
    seen: set[str] = set()
    for entry in found:
        if not isinstance(entry, list) or len(entry) != len(of):
            raise ValueError(f"{name} must be a list of [{', '.join(of)}], and one of them is {shown(entry)}")
        if name_of(entry[0]) in seen:
            raise ValueError(f"request {shown(entry[0])} is twice in {name}")
        seen.add(entry[0])
    return found


def _list(line: dict[str, Any], name: str) -> list[Any]:
    if not isinstance(line[name], list):
        raise ValueError(f"{name} must be a list, not {shown(line[name])}")
    return line[name]  # type: ignore[no-any-return]


def token_of(name: str, given: object) -> int | None:
    """The one token that a request got in a pass; None if none. Raises ValueError."""
    if not isinstance(given, list):
        raise ValueError(f"the tokens of request {shown(name)} must be a list, not {shown(given)}")
    if len(given) > 1:
        raise ValueError(
            f"request {shown(name)} got {len(given)} tokens in one pass; speculative decoding cannot be drawn, where a "
            "slot yields one token an iteration"
        )
    return number(given[0], "a token") if given else None
