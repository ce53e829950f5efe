"""Prompts and answers as text and as HTML: what a reader who raced prompts of their own wants to see first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from cbviz.messages import say
from cbviz.paths import printable
from cbviz.trace.trace import Trace

MOST_ANSWERS = 20
"""Requests that are shown."""
MOST_TEXT = 300
"""Characters of a prompt or an answer that are shown."""


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """Each request's prompt and answers.

    Attributes
    ----------
    names
        The lanes; the first alone where all lanes gave the same answers.
    rows
        For each request: its id, its prompt, and one answer for each name. Text, never markup; None where a request
        has not ended and has no token yet.
    language
        Of headings and of what is said of an answer without text.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[int, str, tuple[str | None, ...]], ...]
    language: str = "en"

    @classmethod
    def of(cls, traces: Sequence[Trace], names: Sequence[str], language: str = "en") -> AnswerTable:
        """The answers of some runs of the same requests.

        Parameters
        ----------
        traces, names
            The lanes and their names.
        language
            Of the headings.

        Returns
        -------
        AnswerTable
            One column of answers if all lanes agree, else one for each lane.
        """
        answers = [_answers(trace) for trace in traces]
        agree = all(other == answers[0] for other in answers[1:])
        kept = answers[:1] if agree else answers
        table = traces[0].requests
        rows = tuple(
            (request, table.prompt[row], tuple(lane.get(request) for lane in kept))
            for row, request in enumerate(table.id.tolist())
        )
        return cls(tuple(names[: len(kept)]), rows, language)

    def _headings(self) -> list[str]:
        answer = say(self.language, "answers.answer")
        named = [answer] if len(self.names) == 1 else [f"{answer} ({name})" for name in self.names]
        return [say(self.language, "answers.prompt"), *named]

    def _said(self, answer: str | None) -> str:
        """An answer on one line, or that there is none to read."""
        if answer is None:
            return say(self.language, "answers.none")
        return _cut(answer) or say(self.language, "answers.empty")

    def _more(self) -> str:
        """How many rows are left out, as a sentence; empty if none is."""
        left = len(self.rows) - MOST_ANSWERS
        return say(self.language, "answers.more", {"n": left, "count": f"{left:,}"}) if left > 0 else ""

    def __str__(self) -> str:
        lines = []
        for request, prompt, answers in self.rows[:MOST_ANSWERS]:
            lines.append(f"{request}  {_cut(prompt)}")
            for name, answer in zip(self.names, answers, strict=True):
                said = self._said(answer)
                lines.append(f"   → {said}" if len(self.names) == 1 else f"   {name} → {said}")
        return "\n".join([*lines, *filter(None, [self._more()])])

    __repr__ = __str__

    def html(self) -> str:
        """A `<table>`, in which prompts and answers are text, never markup.

        Returns
        -------
        str
            HTML.
        """
        head = "".join(f"<th>{escape(name)}</th>" for name in ("", *self._headings()))
        cell = '<td dir="auto" style="text-align:start">'
        body = "".join(
            f"<tr><th>{request}</th>{''.join(f'{cell}{escape(text)}</td>' for text in texts)}</tr>"
            for request, texts in (
                (request, (_cut(prompt), *map(self._said, answers)))
                for request, prompt, answers in self.rows[:MOST_ANSWERS]
            )
        )
        more = self._more()
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" + (more and f"<p>{more}</p>")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html()}

    def to_json(self) -> list[dict[str, Any]]:
        """Request, prompt and answers, whole and of all requests; None for an answer that has not begun."""
        return [
            {"request": request, "prompt": prompt, "answers": list(answers)} for request, prompt, answers in self.rows
        ]


def _answers(trace: Trace) -> dict[int, str | None]:
    """Request → its answer; token ids where the model has no tokenizer, None where there is nothing yet."""
    table = trace.requests
    texts = [
        "".join(pieces) if pieces else " ".join(map(str, tokens))
        for pieces, tokens in zip(table.pieces, table.tokens, strict=True)
    ]
    ended = (table.reason >= 0).tolist()
    given = [text if text or done else None for text, done in zip(texts, ended, strict=True)]
    return dict(zip(table.id.tolist(), given, strict=True))


def _cut(text: str) -> str:
    """A text on one line, shortened if it is long."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= MOST_TEXT else line[: MOST_TEXT - 1] + "…"
