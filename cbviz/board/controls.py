"""What people ask of a live run through the board, checked before the engine hears of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cbviz.errors import CbvizError

ACTIONS = ("pause", "resume", "step", "stop", "burst", "cancel", "set")


class ControlError(CbvizError, ValueError):
    """A message from the page that asks for something unknown or out of bounds."""


@dataclass(frozen=True, slots=True)
class Control:
    """One wish.

    Attributes
    ----------
    action
        "pause", "resume", "step" (one iteration while paused), "stop" (after the iteration in flight), "burst" (submit
        a handful of requests), "cancel" (with `request`), or "set" (a knob: with `name` and `value`).
    request
        Id of the request to cancel.
    name, value
        A knob and its new value: a number, or one of its choices.
    """

    action: str
    request: int | None = None
    name: str = ""
    value: float | str | None = None


@dataclass(frozen=True, slots=True)
class Knob:
    """A live control: a slider from `low` to `high`, or a list of `choices`.

    `label` is shown as text, `label_zh` in Chinese ("" means the same).
    """

    name: str
    label: str
    value: float | str
    low: float = 0
    high: float = 1
    step: float = 1
    choices: tuple[str, ...] = ()
    label_zh: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values for the page."""
        common = {"name": self.name, "label": self.label, "label_zh": self.label_zh, "value": self.value}
        if self.choices:
            return common | {"choices": list(self.choices)}
        return common | {"low": self.low, "high": self.high, "step": self.step}

    def check(self, value: Any, whole: bool = False) -> float | str:
        """The value, if this knob can take it; `whole` takes whole numbers only. Raises `ControlError`."""
        if self.choices:
            if value not in self.choices:
                raise ControlError(f"{self.name} must be one of {', '.join(self.choices)}, not {short(value)}.")
            return str(value)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not self.low <= value <= self.high:
            raise ControlError(f"{self.name} must be a number from {self.low:g} to {self.high:g}, not {short(value)}.")
        if whole and value != int(value):
            raise ControlError(f"{self.name} must be a whole number, not {short(value)}.")
        return float(value)


def short(value: Any) -> str:
    """A stranger's value as a few printable characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"


def parse(message: Mapping[str, Any], actions: Sequence[str], knobs: Mapping[str, Knob], known: set[int]) -> Control:
    """A message of the page as a `Control`.

    Parameters
    ----------
    message
        Whatever came: nothing about it is trusted.
    actions
        What this run can do.
    knobs
        By name.
    known
        Request ids that exist.

    Raises
    ------
    ControlError
        One sentence: what was asked, and what is allowed.
    """
    action = message.get("action")
    if not isinstance(action, str) or action not in ACTIONS or action not in (*actions, *(["set"] if knobs else [])):
        raise ControlError(f"this run cannot {short(action)}; it can {', '.join(actions) or 'only be watched'}.")
    if action == "cancel":
        request = message.get("request")
        if isinstance(request, bool) or not isinstance(request, int) or request not in known:
            raise ControlError(f"there is no request {short(request)} to cancel.")
        return Control("cancel", request=request)
    if action == "set":
        name = message.get("name")
        if not isinstance(name, str) or name not in knobs:
            raise ControlError(f"there is no control {short(name)}; there are {', '.join(knobs)}.")
        return Control("set", name=name, value=knobs[name].check(message.get("value")))
    return Control(action)
