"""Your own prompts: read from a file, turned into a workload.

There are two formats, both UTF-8. A text file holds one prompt per line; empty lines are skipped. A file named *.jsonl
or *.ndjson holds one JSON object per line:

    {"prompt": "Why is the sky blue?", "max_new_tokens": 120, "arrival": 0.5}

where `max_new_tokens` (tokens) and `arrival` (seconds) are optional.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbviz.checks import is_a, shown
from cbviz.errors import FileError, WorkloadError
from cbviz.messages import Message
from cbviz.paths import read_file, short, why
from cbviz.workload.checks import elements, encoder, not_negative, text, token_ids, whole
from cbviz.workload.request import Request, Workload

LARGEST = 16 * 2**20
"""The most bytes that a prompts file may have; a larger file is hardly one."""

KEYS = ("prompt", "max_new_tokens", "arrival")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt as its author wrote it.

    Parameters
    ----------
    text
        The prompt; not blank.
    max_new_tokens
        The most output tokens it may get; None leaves that to the workload.
    arrival
        Arrival time in seconds.

    Raises
    ------
    WorkloadError
        The text is blank, or a number is out of range.
    """

    text: str
    max_new_tokens: int | None = None
    arrival: float = 0.0

    def __post_init__(self) -> None:
        plain = text("a prompt", self.text) if is_a(self.text, str) else ""
        if not plain.strip():
            raise WorkloadError(f"a prompt must be a text that is not blank, not {shown(self.text)}.")
        object.__setattr__(self, "text", plain)
        if self.max_new_tokens is not None:
            object.__setattr__(self, "max_new_tokens", whole("max_new_tokens", self.max_new_tokens))
        object.__setattr__(self, "arrival", not_negative("arrival", self.arrival))


def read_prompts(path: str | Path) -> tuple[Prompt, ...]:
    """Read a file of prompts.

    Parameters
    ----------
    path
        A text file, or a *.jsonl or *.ndjson file; "-" reads text from standard input.

    Returns
    -------
    tuple[Prompt, ...]
        The prompts in the order of the file, at least one.

    Raises
    ------
    WorkloadError
        The file is missing, a folder, too large, not UTF-8, or holds no prompt; or a line is not a prompt, in which
        case the message names the line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "prompts.jsonl")
    ...     _ = file.write_text('{"prompt": "Why is the sky blue?", "arrival": 0.5}')
    ...     read_prompts(file)
    (Prompt(text='Why is the sky blue?', max_new_tokens=None, arrival=0.5),)
    """
    name = short(path)
    try:
        raw = _read(path)
    except (OSError, ValueError) as error:  # of a file, or of standard input
        reason = why(error).removesuffix(".")
        said = reason if isinstance(error, FileError) else f"cannot read the prompts: {reason}"
        raise WorkloadError(f"{said}.") from None
    if len(raw) > LARGEST:
        raise WorkloadError(f"{name} is too large for a file of prompts: at most {LARGEST // 2**20} MiB are read.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        cut = raw.count(b"\n", 0, error.start) + 1
        raise WorkloadError(f"{name}, line {cut}: not UTF-8 text; save the file as UTF-8.") from error
    parse = _from_json if name.lower().endswith((".jsonl", ".ndjson")) else Prompt
    prompts = []
    # Only "\n" ends a line: other characters that Unicode calls line ends may occur inside a prompt.
    for number, line in enumerate(text.split("\n"), 1):
        if stripped := line.strip():
            try:
                prompts.append(parse(stripped))
            except WorkloadError as error:
                raise WorkloadError(f"{name}, line {number}: {error}") from error
    if not prompts:
        raise WorkloadError(f"{name} holds no prompt; it needs at least one line of text.")
    return tuple(prompts)


def _read(path: str | Path) -> bytes:
    """The content of a file, or of standard input for "-"; one byte more than `LARGEST` shows that it is too large."""
    if str(path) == "-":
        if sys.stdin is None:
            raise FileError("there is no standard input to read prompts from; name a file.")
        stream = getattr(sys.stdin, "buffer", None)
        return bytes(stream.read(LARGEST + 1)) if stream else sys.stdin.read(LARGEST + 1).encode("utf-8", "replace")
    return read_file(path, "the file of prompts", most=LARGEST)


def prompt_workload(
    encode: Callable[[str], Sequence[int]],
    prompts: Sequence[Prompt | str],
    seed: int = 0,
    max_new_tokens: int = 160,
    *,
    context_limit: int | None = None,
    name: str | None = None,
) -> Workload:
    """Turn prompts into a workload, sorted by arrival.

    Parameters
    ----------
    encode
        Turns a text into prompt tokens, such as `LoadedModel.encode`.
    prompts
        At least one, as `Prompt` or plain text.
    seed
        Kept with the workload; nothing is drawn.
    max_new_tokens
        The most output tokens of a prompt that sets no limit itself.
    context_limit
        The model's context in positions. It caps an answer at what the prompt leaves of it; None caps nothing.
    name
        Name of the workload; None calls it "your prompts", in every language.

    Returns
    -------
    Workload
        One request per prompt, numbered from 0 in order of arrival.

    Raises
    ------
    WorkloadError
        There is no prompt, one is blank or leaves no room for an answer, or a number is out of range.

    Examples
    --------
    >>> from cbviz.workload import prompt_workload
    >>> workload = prompt_workload(lambda text: [ord(c) for c in text], ["Hi!", "Why?"], max_new_tokens=20)
    >>> [(request.text, request.prompt) for request in workload]
    [('Hi!', (72, 105, 33)), ('Why?', (87, 104, 121, 63))]
    """
    encoder(encode)
    given = elements(prompts)
    if not given:
        raise WorkloadError("prompts must be a list of at least one text.")
    max_new_tokens = whole("max_new_tokens", max_new_tokens)
    seed = whole("a seed", seed, 0, below=2**63)
    if context_limit is not None:
        context_limit = whole("context_limit", context_limit)
    asked = [_as_prompt(prompt) for prompt in given]
    requests = []
    for i, prompt in enumerate(sorted(asked, key=lambda prompt: prompt.arrival)):
        ids = token_ids("what encode returns", encode(prompt.text))
        most = prompt.max_new_tokens or max_new_tokens
        if context_limit is not None:
            if len(ids) >= context_limit:
                raise WorkloadError(
                    f"a prompt of {len(ids)} tokens leaves no room for an answer in a context of {context_limit}: "
                    f"{_shortened(prompt.text)!r}."
                )
            most = min(most, context_limit - len(ids))
        requests.append(Request(id=i, prompt=ids, max_new_tokens=most, arrival=prompt.arrival, text=prompt.text))
    called = Message("workload.prompts") if name is None else name
    return Workload(name=called, requests=tuple(requests), seed=seed)


def _as_prompt(given: Any) -> Prompt:
    """The given prompt; plain text becomes one. Raises WorkloadError for anything else."""
    return given if is_a(given, Prompt) else Prompt(given)


def _from_json(line: str) -> Prompt:
    try:
        given: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise WorkloadError(f"this is not JSON ({said}).") from error
    if not isinstance(given, dict) or "prompt" not in given:
        raise WorkloadError('each line must be an object such as {"prompt": "Why is the sky blue?"}.')
    if strange := sorted(set(given) - set(KEYS)):
        raise WorkloadError(f"unknown key {strange[0]!r}; allowed are {', '.join(KEYS)}.")
    return Prompt(given["prompt"], given.get("max_new_tokens"), given.get("arrival", 0.0))


def _shortened(text: str, most: int = 40) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
