"""Controls that a user sends to a live run through the board, checked before they reach the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cbviz.checks import is_number, is_whole, one_of, shown
from cbviz.errors import CbvizError
from cbviz.messages import as_json

TRANSPORT = ("pause", "resume", "step", "stop")
"""Actions of every run that can be controlled."""
FURTHER = ("start", "restart", "burst", "why", "cancel")
"""Actions that some runs support besides."""
BEFORE_THE_START = ("start", "stop", "set")
"""Actions for a run that waits for its Start."""
ACTIONS = (*TRANSPORT, *FURTHER, "set")


class ControlError(CbvizError, ValueError):
    """A message from the page asks for something unknown or out of bounds."""


@dataclass(frozen=True, slots=True)
class Control:
    """One checked control message.

    Attributes
    ----------
    action
        "start" (a run that waits for it), "pause", "resume", "step" (one iteration while paused), "stop" (after the
        iteration in flight), "restart" (from iteration 0), "burst" (submit a handful of requests), "cancel" and "why"
        (does it wait; both with `request`), or "set" (a knob: with `name` and `value`).
    request
        Id of the request to cancel or to ask about.
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

    `label` is shown as text; a `cbviz.messages.Message` in the language of the board.
    """

    name: str
    label: str
    value: float | str
    low: float = 0
    high: float = 1
    step: float = 1
    choices: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The knob as plain values for the page.

        Returns
        -------
        dict
            Its name, label and value, and either `choices` or `low`, `high` and `step`.
        """
        common = {"name": self.name, "label": as_json(self.label), "value": self.value}
        if self.choices:
            return common | {"choices": list(self.choices)}
        return common | {"low": self.low, "high": self.high, "step": self.step}

    def check(self, value: Any, whole: bool = False) -> float | str:
        """Check a value for this knob.

        Parameters
        ----------
        value
            A number, or one of the choices.
        whole
            Whether only whole numbers are allowed.

        Returns
        -------
        float | str
            The value.

        Raises
        ------
        ControlError
            The value is out of range, of the wrong type, or not one of the choices.
        """
        if self.choices:
            return one_of(self.name, value, self.choices, error=ControlError)
        number = is_number(value)
        if not number or not self.low <= value <= self.high:
            raise ControlError(f"{self.name} must be a number from {self.low:g} to {self.high:g}, not {shown(value)}.")
        if whole and value != int(value):
            raise ControlError(f"{self.name} must be a whole number, not {shown(value)}.")
        return float(value)


def check_actions(actions: Sequence[str]) -> None:
    """Refuse actions that no board has.

    Parameters
    ----------
    actions
        Those that a run shall support.

    Raises
    ------
    CbvizError
        One is unknown; the sentence names those there are.
    """
    for action in actions:
        if action not in (*TRANSPORT, *FURTHER):
            names = ", ".join((*TRANSPORT, *FURTHER[:-1]))
            raise CbvizError(f"a board's actions are {names} and {FURTHER[-1]}, not {shown(action)}.")


def parse(
    message: Mapping[str, Any],
    actions: Sequence[str],
    knobs: Mapping[str, Knob],
    known: set[int],
    *,
    waits: bool = False,
) -> Control:
    """Turn a message from the page into a `Control`.

    Parameters
    ----------
    message
        The message, untrusted.
    actions
        Actions that this run supports.
    knobs
        The run's knobs, by name.
    known
        Ids of existing requests.
    waits
        Whether the run waits for its Start: then it can only be started, stopped and set.

    Returns
    -------
    Control
        With every value checked.

    Raises
    ------
    ControlError
        The message asks for something that is not allowed; the sentence says what is.
    """
    action = message.get("action")
    if not isinstance(action, str) or action not in ACTIONS or action not in (*actions, *(["set"] if knobs else [])):
        raise ControlError(f"this run cannot {shown(action)}; it can {', '.join(actions) or 'only be watched'}.")
    control = _checked(action, message, knobs, known)
    if waits and action not in BEFORE_THE_START:
        raise ControlError(f"this run cannot {action} before it has begun; press Start first.")
    return control


def _checked(action: str, message: Mapping[str, Any], knobs: Mapping[str, Knob], known: set[int]) -> Control:
    """The control, once its action is allowed."""
    if action in ("cancel", "why"):
        request = message.get("request")
        if not is_whole(request) or request not in known:
            raise ControlError(
                f"there is no request {shown(request)} to {'cancel' if action == 'cancel' else 'ask about'}."
            )
        return Control(action, request=request)
    if action == "set":
        name = message.get("name")
        if not isinstance(name, str) or name not in knobs:
            raise ControlError(f"there is no control {shown(name)}; there are {', '.join(knobs)}.")
        return Control("set", name=name, value=knobs[name].check(message.get("value")))
    return Control(action)
