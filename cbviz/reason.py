"""Why something happened, as data: a code and facts.

Policies and the engine give a `Reason` where a trace, the board or `why` is to say why a request waits, is admitted,
stalls or is preempted. Its text is the English line of the catalogue (`cbviz.messages`), and every view shows the line
of its own language. A policy may give plain text instead, which is shown as it was written.
"""

from __future__ import annotations

from typing import Any

from cbviz.checks import shown
from cbviz.errors import CbvizError
from cbviz.messages import DEEPEST, LONGEST_FACT, OWN, Message, depth

PREFIX = "reason."


class Reason(Message):
    """Why a policy or the engine did something: a code and facts.

    Parameters
    ----------
    code
        The line's key without `reason.`.
    facts
        As for a `Message`; a text has at most `LONGEST_FACT` characters.

    Raises
    ------
    CbvizError
        As for a `Message`, and for a longer text.

    Example
    -------
    >>> late = Reason("waited_too_long")
    >>> late.code, str(late), late.in_language("zh")
    ('waited_too_long', 'waited too long', '等待太久')
    """

    __slots__ = ()

    def __new__(cls, code: str, /, **facts: Any) -> Reason:
        if type(code) is not str:
            raise CbvizError(f"the code of a reason is text, such as 'waited_too_long', not {shown(code)}.")
        return cls._made(PREFIX + code, facts, LONGEST_FACT)

    @property
    def code(self) -> str:
        """What happened, without the facts: the key without `reason.`."""
        return self.key.removeprefix(PREFIX)


OWN.add(Reason)


def joined(reason: str, fact: Reason | None) -> str:
    """A policy's reason, and what the engine adds to it, if anything."""
    if fact is None:
        return reason
    if not reason:
        return fact
    if isinstance(reason, Message) and depth(reason) >= DEEPEST - 1:  # no message may be within so many others
        reason = str(reason)[:LONGEST_FACT]
    return Reason("then", first=reason, second=fact)


def from_json(value: Any) -> Any:
    """The message that `as_json` wrote, from `[key, facts]`; anything else as it is.

    Raises
    ------
    CbvizError
        A list that is no message, one that this version of cbviz does not know, or one with a text of more than
        `LONGEST_FACT` characters.
    """
    if not isinstance(value, list):
        return value
    if len(value) != 2 or not isinstance(value[0], str) or not isinstance(value[1], dict):
        raise CbvizError(f"{shown(value)} is no message; a message is [key, facts].")
    key, facts = value[0], {str(name): from_json(fact) for name, fact in value[1].items()}
    return (Reason if key.startswith(PREFIX) else Message).of(key, facts, LONGEST_FACT)
