"""What the events of one answer say, and when it has come to its end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from cbviz.adapters.openai.http import CallError, quote
from cbviz.adapters.openai.key import Key
from cbviz.adapters.openai.result import Call
from cbviz.adapters.openai.sse import DONE
from cbviz.messages import Message

MOST_TOKENS = 2**31
"""No count of tokens reaches it: the readers of saved results know none."""
SPARE = 64


def most_pieces(asked: int) -> int:
    """The pieces after which an answer is cut: endpoints may send a token in two, and say more than its tokens.

    Parameters
    ----------
    asked
        The `max_tokens` of the request.

    Returns
    -------
    int
        Twice as many, and 64.
    """
    return 2 * asked + SPARE


class StreamedAnswer:
    """Fills in a call from the events of its answer.

    Parameters
    ----------
    call
        To fill in.
    asked
        The most tokens that were asked for.
    now
        The clock of the run.
    key
        To be kept out of sentences.

    Attributes
    ----------
    end
        When the endpoint said that the answer is complete, or the last piece came; None before. Its count of tokens may
        still follow.
    closed
        Whether nothing more can follow.
    """

    def __init__(self, call: Call, asked: int, now: Callable[[], float], key: Key) -> None:
        self.call, self.asked, self.now, self.key = call, asked, now, key
        self.end: float | None = None
        self.closed = False
        self._events = 0
        self._closing = False
        """Whether the last piece had no text and ended the answer: the token END, or no token at all."""

    @property
    def ended(self) -> bool:
        """Whether the endpoint has said that the answer is complete."""
        return self.end is not None

    @property
    def settled(self) -> bool:
        """Whether finish and count have both come, so that nothing follows that matters."""
        return self.ended and self.call.counted is not None

    def take(self, data: bytes) -> bool:
        """Take an event in.

        Parameters
        ----------
        data
            Of the event.

        Returns
        -------
        bool
            Whether it brought the answer forward: it holds a token, even one without a text, or ends it.

        Raises
        ------
        CallError
            It reports an error, is none of an answer, or exceeds what was asked for.
        """
        if data == DONE:
            self.end, self.closed = self.now() if self.end is None else self.end, True
            return True
        try:
            event = json.loads(data)
            if error := _error(event):
                said = error.get("message", error) if isinstance(error, dict) else error
                raise CallError(Message("load.reported", said=quote(str(said).encode("utf-8", "replace"), self.key)))
            self._count(event.get("usage"))
            choices = event.get("choices") or []
            return bool(choices) and self._piece(choices[0])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise CallError(Message("load.nonsense", found=quote(data, self.key))) from None

    def finish(self) -> Message | None:
        """Nothing more is waited for: what the answer lacks, or None if it is whole.

        Returns
        -------
        Message or None
            That it broke off, or has no token.
        """
        if not self.ended:
            return Message("load.cut", pieces=len(self.call.times))
        if self._closing and (self.call.counted is None or self.call.counted < len(self.call.times)):
            self.call.times.pop()  # no token, by the endpoint's count; without one, END is not counted
            self._closing = False
        return None if self.call.times else Message("load.empty")

    def _piece(self, choice: dict[str, Any]) -> bool:
        self._events += 1
        delta = choice.get("delta") or {}
        # What a model thinks before it answers is part of its tokens; servers name it in one of two ways.
        said = (choice.get("text"), *(delta.get(name) for name in ("content", "reasoning_content", "reasoning")))
        piece = next((text for text in said if text), "")
        if not isinstance(piece, str):
            raise TypeError
        if self._events > most_pieces(self.asked):
            self._too_much()
        ends = bool(choice.get("finish_reason"))
        now = self.now()
        # A special token has no text, and part of a character none yet; a chat begins with an event that is no token.
        if piece or ends or "role" not in delta:
            self.call.times.append(now)
            self.call.text += piece
            self._closing = ends and not piece
        if ends or self.ended:
            self.end = now
        return True

    def _count(self, usage: Any) -> None:
        """Take the endpoint's own counts; one that it leaves out, or that is 0 for an answer, is none."""
        if usage is None:
            return
        counted, prompt = (_tokens(usage.get(name)) for name in ("completion_tokens", "prompt_tokens"))
        if counted is not None and counted > most_pieces(self.asked):
            self._too_much()
        self.call.counted = counted or self.call.counted
        self.call.prompt_tokens = self.call.prompt_tokens if prompt is None else prompt

    def _too_much(self) -> None:
        raise CallError(Message("load.overlong", most=most_pieces(self.asked), asked=self.asked))


def _error(event: dict[str, Any]) -> Any:
    """What an event reports instead of an answer: `error` as OpenAI has it, or a message by itself; None if nothing."""
    alone = "choices" not in event and event.get("message")
    return event.get("error") or (event if alone or event.get("object") == "error" else None)


def _tokens(value: Any) -> int | None:
    """A count of tokens; None where there is none. Raises ValueError for what is no count that a file can hold."""
    if value is None:
        return None
    if type(value) is float and math.isfinite(value) and value.is_integer():  # JSON has one kind of number
        value = int(value)
    if type(value) is not int or not 0 <= value < MOST_TOKENS:
        raise ValueError
    return value
