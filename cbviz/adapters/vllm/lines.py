"""Reads the lines that the plugin writes: as a `Trace` at the end, or as iterations while they come."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cbviz.adapters.ledger import BatchRow, Ledger, Pass
from cbviz.adapters.vllm.known import KNOWN_VLLM, LINE_FORMAT
from cbviz.checks import is_version, one_line, shown
from cbviz.errors import AdapterError, CbvizError, FileError
from cbviz.events import NO_REQUEST, FinishReason, Iteration
from cbviz.limits import MOST_COUNT, MOST_SLOTS, MOST_TOKENS
from cbviz.messages import Message
from cbviz.paths import existing_file, path_of, short, why
from cbviz.trace import Trace, TraceMeta
from cbviz.trace.fold import Detokenize
from cbviz.workload import Request

LONGEST_READ = 16 * 2**20
"""Bytes."""
MOST_PROMPT = 2**22
"""Tokens: more than any model reads."""
LOOK_AGAIN = 0.05
"""Seconds between two looks at a file that is followed."""
REASONS = {"end": FinishReason.END, "stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class LineReader:
    """Takes the lines of one run, one by one.

    Parameters
    ----------
    name
        Of their file, for messages.

    Attributes
    ----------
    ledger
        The passes so far.
    start
        The first line; empty before it came.
    ended
        Whether vLLM's scheduler has shut down.
    """

    def __init__(self, name: str = "the lines") -> None:
        self.ledger = Ledger()
        self.start: dict[str, Any] = {}
        self.ended = False
        self._name = name
        self._line = 0
        self._numbers: dict[str, int] = {}
        self._finished: set[str] = set()
        self._gone: list[str] = []
        self._dropped = 0

    def feed(self, text: str | bytes) -> None:
        """Take the next line.

        Parameters
        ----------
        text
            A line, with or without its end.

        Raises
        ------
        AdapterError
            It is no line of the plugin, or lines before it were dropped; the message has its number.
        """
        self._line += 1
        try:
            line = json.loads(text)
            if not isinstance(line, dict):
                raise ValueError(f"it is {shown(line)}")
            take = getattr(self, f"_take_{line.get('kind')}", None)
            if take is None:
                raise ValueError(f"its kind is {shown(line.get('kind'))}")
            if not self.start and line["kind"] != "start":
                raise ValueError("the first line must be of kind 'start'")
            take(line)
        except (ValueError, TypeError, KeyError, RecursionError, CbvizError) as error:
            said = f"it has no {error}" if isinstance(error, KeyError) else one_line(error)
            raise AdapterError(f"line {self._line} of {self._name} cannot be used: {said}.") from None

    def trace(self, slots: int | None = None, pieces: Detokenize | None = None) -> Trace:
        """The run so far.

        Parameters
        ----------
        slots
            Slots to show; None takes vLLM's `max_num_seqs`.
        pieces
            Turns output tokens into text, such as `LoadedModel.pieces`; None leaves the text out.

        Returns
        -------
        Trace
            With vLLM's own times.

        Raises
        ------
        AdapterError
            There is no line, or fewer slots are asked for than were used.
        TraceError
            The lines contradict each other.
        """
        if not self.start:
            raise AdapterError(f"{self._name} has no line yet; start vLLM with the plugin, and serve a request.")
        return self.ledger.trace(
            self.meta(self.slots(slots)), pieces, [self._numbers[name] for name in self._gone if name in self._numbers]
        )

    def slots(self, asked: int | None = None) -> int:
        """Slots to show: those asked for, or vLLM's `max_num_seqs`, and never fewer than were used at once."""
        return max(self.ledger.slots, 1, min(self.start["max_num_seqs"], MOST_SLOTS) if asked is None else asked)

    def meta(self, slots: int) -> TraceMeta:
        """The origin of the run, from its first line.

        Parameters
        ----------
        slots
            Slots to show.

        Returns
        -------
        TraceMeta
            Without KV blocks, device and number format, which the lines do not have.
        """
        start, policy = self.start, self.start["policy"]
        summary = Message("policy.vllm.summary")
        return TraceMeta(
            policy=f"{policy} in vLLM"[:100] if policy else f"vLLM {start['vllm']}"[:100],
            policy_summary=Message("policy.driven.summary", summary=policy, engine="vLLM") if policy else summary,
            slots=slots,
            block_size=start["block_size"],
            total_blocks=0,
            model=start["model"],
            clock="alone",
            lag=int(start["async"]),
            created=start["created"],
            versions={"vllm": start["vllm"]},
            extra={
                "engine": f"vLLM {start['vllm']}",
                "scheduler": start["scheduler"],
                "max_num_seqs": start["max_num_seqs"],
                "max_num_batched_tokens": start["max_num_batched_tokens"],
                "left_out": ["KV blocks", "prompts", "device", "dtype"],
            },
        )

    # -------------------------------------------------------------------------------------------- kinds of lines

    def _take_start(self, line: dict[str, Any]) -> None:
        if self.start:
            if _whole(line, "pid", 2**40) != self.start["pid"]:
                raise ValueError("another vLLM process began to write here; give each process a file of its own")
            return  # the plugin found a new reader of its pipe
        if not is_version(line["format"], LINE_FORMAT):
            raise ValueError(f"its format is {shown(line['format'])}, and this cbviz reads format {LINE_FORMAT}")
        KNOWN_VLLM.check(line["vllm"])
        for name in ("max_num_seqs", "max_num_batched_tokens", "block_size"):
            _whole(line, name, MOST_COUNT, least=1)
        _whole(line, "pid", 2**40)
        for name in ("scheduler", "model", "policy", "created"):
            if not isinstance(line[name], str):
                raise ValueError(f"{name} is {shown(line[name])} and must be text")
        self._began = _seconds(line, "t", 0.0)
        self.start = line | {"async": line["async"] is True}

    def _take_request(self, line: dict[str, Any]) -> None:
        name = _name(line["id"])
        if name in self._numbers:
            return  # a session's further input; its rows go on under the same id
        prompt, most = _whole(line, "prompt", MOST_PROMPT, least=1), _whole(line, "max", MOST_TOKENS, least=1)
        number = self._numbers[name] = len(self._numbers)
        arrival = _seconds(line, "t", self._began)
        self.ledger.arrive(Request(number, (0,) * prompt, min(most, MOST_TOKENS - prompt), arrival=arrival))

    def _take_pass(self, line: dict[str, Any]) -> None:
        n = _whole(line, "n", MOST_COUNT)
        if n != len(self.ledger):
            lost = (
                f"{self._dropped} lines were dropped, because nothing read them fast enough; " if self._dropped else ""
            )
            raise ValueError(f"{lost}it is pass {n}, and pass {len(self.ledger)} comes next")
        rows, out = [], {_name(name): (tokens, reason) for name, tokens, reason in line["out"]}
        finished: dict[int, FinishReason] = {}
        gone = [*self._gone, *map(_name, line["gone"])]
        cancelled = [name for name in dict.fromkeys(gone) if name not in self._finished]
        self._gone = []
        for name, tokens, start in line["rows"]:
            given, reason = out.get(_name(name), ([], None))
            if len(given) > 1:
                raise ValueError(
                    f"request {name[:40]} got {len(given)} tokens in one pass; speculative decoding cannot be drawn, "
                    "where a slot yields one token an iteration"
                )
            token = _number(given[0], "a token") if given else NO_REQUEST
            request = self._request(name)
            rows.append(BatchRow(request, _number(tokens, "tokens", 1), _number(start, "start"), token))
            if reason in REASONS and given:
                finished[request] = REASONS[reason]
                self._finished.add(name)
            elif reason is not None:
                self._gone.append(name)
        self.ledger.add(
            Pass(
                t_start=_seconds(line, "t0", self._began),
                t_end=_seconds(line, "t1", self._began),
                rows=tuple(rows),
                finished=finished,
                preempted=tuple(self._request(name) for name in map(_name, line["preempted"])),
                cancelled=tuple(self._numbers[name] for name in cancelled if name in self._numbers),
            )
        )

    def _take_dropped(self, line: dict[str, Any]) -> None:
        self._dropped += _whole(line, "lines", MOST_COUNT)

    def _take_failed(self, line: dict[str, Any]) -> None:
        raise ValueError(f"vLLM's scheduler was not as the plugin expects ({shown(line['error'])})")

    def _take_stop(self, line: dict[str, Any]) -> None:
        self._gone += [name for name in map(_name, line["gone"]) if name not in self._finished]
        self.ended = True

    def _request(self, name: object) -> int:
        number = self._numbers.get(_name(name))
        if number is None:
            lost = "; its line was dropped" if self._dropped else ""
            raise ValueError(f"request {shown(name)} never arrived{lost}")
        return number


def read(
    path: str | os.PathLike[str], *, slots: int | None = None, pieces: Detokenize | None = None, partial: bool = False
) -> Trace:
    """Read a file of lines as a trace.

    Parameters
    ----------
    path
        What `CBVIZ_VLLM_LINES` named.
    slots
        Slots to show; None takes vLLM's `max_num_seqs`.
    pieces
        Turns output tokens into text, such as `LoadedModel.pieces`.
    partial
        Whether to return what came before the first line that cannot be used, instead of refusing the file.

    Returns
    -------
    Trace
        The run as vLLM reported it. KV blocks, prompts, device and dtype are left out.

    Raises
    ------
    AdapterError
        A line cannot be used; the message has its number.
    FileError
        The file cannot be read.
    """
    file = existing_file(path, "the file of lines")
    reader = LineReader(short(file))
    try:
        with file.open("rb") as lines:
            while text := lines.readline(LONGEST_READ):
                if not text.endswith(b"\n"):
                    if len(text) == LONGEST_READ:
                        raise AdapterError(f"{short(file)} has a line of more than {LONGEST_READ:,} bytes.")
                    break  # a line that is still being written
                reader.feed(text)
    except OSError as error:
        if isinstance(error, CbvizError):
            raise
        raise FileError(f"{short(file)} cannot be read ({why(error)}).") from None
    except AdapterError:
        if not partial or not reader.start:
            raise
    return reader.trace(slots, pieces)


def follow(
    path: str | os.PathLike[str],
    *,
    slots: int | None = None,
    patience: float = 60.0,
    reader: LineReader | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Iteration]:
    """Yield iterations while vLLM writes their lines to a file or a pipe.

    Parameters
    ----------
    path
        What `CBVIZ_VLLM_LINES` names; a pipe, or a file that may not exist yet.
    slots
        Slots of the iterations; None takes vLLM's `max_num_seqs`.
    patience
        Seconds without a new line after which it ends.
    reader
        A `LineReader` of the caller's own, to make a trace afterwards.
    stop
        Asked between lines; True ends it.

    Returns
    -------
    Iterator[Iteration]
        As they come. It ends when vLLM's scheduler shuts down.

    Raises
    ------
    AdapterError
        A line cannot be used.
    FileError
        The file cannot be read.
    """
    file = Path(path_of(path))
    lines = LineReader(short(file)) if reader is None else reader
    shown_so_far, rest, last = len(lines.ledger), b"", time.monotonic()
    handle = -1
    try:
        while not lines.ended and not stop() and time.monotonic() - last < patience:
            if handle < 0:
                try:
                    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
                except FileNotFoundError:
                    time.sleep(LOOK_AGAIN)
                    continue
            try:
                data = os.read(handle, 2**20)
            except BlockingIOError:  # a pipe whose writer has nothing to say
                data = b""
            if not data:
                time.sleep(LOOK_AGAIN)
                continue
            last = time.monotonic()
            *whole, rest = (rest + data).split(b"\n")
            if len(rest) > LONGEST_READ:
                raise AdapterError(f"{short(file)} has a line of more than {LONGEST_READ:,} bytes.")
            for text in whole:
                lines.feed(text)
                while shown_so_far < len(lines.ledger):
                    yield lines.ledger.iteration(shown_so_far, lines.slots(slots))
                    shown_so_far += 1
    except OSError as error:
        if isinstance(error, CbvizError):
            raise
        raise FileError(f"{short(file)} cannot be read ({why(error)}).") from None
    finally:
        if handle >= 0:
            os.close(handle)


def _number(value: object, what: str, least: int = 0, most: int = MOST_TOKENS) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, not {shown(value)}")
    return value


def _whole(line: dict[str, Any], name: str, most: int, least: int = 0) -> int:
    return _number(line[name], name, least, most)


def _name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"a request's id must be text, not {shown(value)}")
    return value


def _seconds(line: dict[str, Any], name: str, began: float) -> float:
    value = line[name]
    if type(value) not in (int, float) or not 0 <= value < 1e12:  # NaN and infinities, too
        raise ValueError(f"{name} must be a number of seconds, not {shown(value)}")
    return max(0.0, float(value) - began)
