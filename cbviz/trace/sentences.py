"""Messages in a trace file: the text stays where it was, and a table beside it says which line and facts it came from.

The table is `meta.extra["messages"]`: English text → `[key, facts]`. A reader that does not know it shows the English
text; one that does shows it in any language. A text that a policy also wrote by hand is not in the table.

Files written before there was a table are read by whole sentences: where a built-in policy ran, a text that is exactly
one of the catalogue's lines without blanks, or the name of a workload of as many requests as the file has, is that
line.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from cbviz.errors import CbvizError, TraceError
from cbviz.messages import FIRST, Message, lines
from cbviz.reason import from_json
from cbviz.trace.trace import Trace

TABLE = "messages"


def table(trace: Trace) -> dict[str, Any]:
    """English text → `[key, facts]`, for every message of a trace."""
    texts = {trace.meta.policy_summary, trace.meta.workload}, set(trace.marks.reason)
    found: dict[str, Any] = {}
    if not any(isinstance(text, Message) for some in texts for text in some):
        return found
    by_hand: set[str] = set()
    for text in (trace.meta.policy_summary, trace.meta.workload, *trace.marks.reason):
        if isinstance(text, Message):
            found.setdefault(str(text), text.as_json())
        else:
            by_hand.add(text)
    return {text: message for text, message in found.items() if text not in by_hand}


def restore(content: dict[str, Any]) -> None:
    """Put the messages of a file's content back in place of their texts.

    Raises
    ------
    TraceError
        The table is damaged.
    """
    meta, marks = content["meta"], content["marks"]
    if not isinstance(meta, dict) or not isinstance(marks, dict):
        return  # the tables' own checks say so
    extra, reasons = meta.get("extra"), marks.get("reason")
    known: dict[str, str] = {}
    if isinstance(extra, dict) and TABLE in extra:
        stored = extra[TABLE]
        if not isinstance(stored, dict):
            raise TraceError("this trace file is damaged: its messages are not a table.")
        meta["extra"] = {name: value for name, value in extra.items() if name != TABLE}
        shown = {meta.get("policy_summary"), meta.get("workload")} if _are_text(meta) else set()
        shown |= {reason for reason in reasons if isinstance(reason, str)} if isinstance(reasons, list) else set()
        for text, message in stored.items():
            if text not in shown:
                continue
            try:
                read = from_json(message)
            except (CbvizError, RecursionError):  # a line that this version does not have: its text is enough
                continue
            if isinstance(read, Message) and str(read) == text:  # the table translates a text, and never changes it
                known[text] = read
    elif isinstance(summary := meta.get("policy_summary"), str) and whole(summary).startswith("policy."):
        known = _of_an_older_file(content)
    if not known:
        return
    for name in ("policy_summary", "workload"):
        meta[name] = _restored(meta.get(name), known)
    if isinstance(reasons, list):
        marks["reason"] = [_restored(reason, known) for reason in reasons]


def _are_text(meta: dict[str, Any]) -> bool:
    return all(isinstance(meta.get(name), str) for name in ("policy_summary", "workload"))


def _restored(text: Any, known: dict[str, str]) -> Any:
    return known.get(text, text) if isinstance(text, str) else text


def _of_an_older_file(content: dict[str, Any]) -> dict[str, str]:
    known: dict[str, str] = {}
    reasons, requests = content["marks"].get("reason"), content["requests"]
    texts = {content["meta"]["policy_summary"], *(r for r in reasons or () if isinstance(r, str))}
    for text in texts:
        if key := whole(text):
            known[text] = from_json([key, {}])
    ids = requests.get("id") if isinstance(requests, dict) else None
    if isinstance(ids, list):
        for key in ("workload.questions", "workload.yardstick"):
            name = Message(key, n=len(ids))
            known[str(name)] = name
    return known


def whole(text: str) -> str:
    """The key of the reason or of the policy's summary that is exactly this text and has no blanks; "" if none is."""
    return _whole_lines().get(text, "")


@cache
def _whole_lines() -> dict[str, str]:
    shown = ("reason.", "policy.")
    return {line: key for key, line in lines(FIRST).items() if key.startswith(shown) and "{" not in line}
