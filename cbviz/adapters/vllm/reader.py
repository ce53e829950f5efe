"""Takes the plugin's lines one by one, and makes passes of them."""

from __future__ import annotations

from typing import Any

from cbviz.adapters.ledger import BatchRow, Ledger, Pass
from cbviz.adapters.vllm.fields import (
    REASONS,
    entries,
    name_of,
    names,
    number,
    parsed,
    seconds,
    token_of,
    unwritten,
    whole,
)
from cbviz.adapters.vllm.known import KNOWN_VLLM, LINE_FORMAT
from cbviz.checks import is_version, one_line, shown
from cbviz.checks import whole as whole_number
from cbviz.errors import AdapterError, CbvizError
from cbviz.events import NO_REQUEST
from cbviz.limits import MOST_COUNT, MOST_SLOTS, MOST_TOKENS, RECORDED_SLOTS
from cbviz.messages import Message
from cbviz.trace import Trace, TraceMeta
from cbviz.trace.fold import Detokenize

MOST_PROMPT = 2**22
"""Tokens: more than any model reads."""
ROW_ENTRY = ("request", "tokens", "start")
OUT_ENTRY = ("request", "[token]", "reason")


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
    line
        The number of the last line, from 1.
    pass_lines
        The numbers of the lines that passes had.
    """

    def __init__(self, name: str = "the lines") -> None:
        self.ledger = Ledger(lambda number: shown(self._ids[number]))
        self.start: dict[str, Any] = {}
        self.ended = False
        self.pass_lines: list[int] = []
        self._name = name
        self.line = 0
        self._began: float | None = None
        """When the first request arrived, which is 0 of the run: until then a server only waits."""
        self._numbers: dict[str, int] = {}
        self._ids: list[str] = []
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
        self.line += 1
        try:
            line = parsed(text)
            take = getattr(self, f"_take_{line.get('kind')}", None)
            if take is None:
                raise ValueError(f"its kind is {shown(line.get('kind'))}")
            if not self.start and line["kind"] != "start":
                raise ValueError("the first line must be of kind 'start'")
            take(line)
        except (ValueError, TypeError, KeyError, RecursionError, CbvizError) as error:
            said = f"it has no {error}" if isinstance(error, KeyError) else one_line(error)
            raise AdapterError(f"line {self.line} of {self._name} cannot be used: {said}.") from None

    def trace(self, slots: int | None = None, pieces: Detokenize | None = None, passes: int | None = None) -> Trace:
        """The run so far.

        Parameters
        ----------
        slots
            Slots to show; None takes vLLM's `max_num_seqs`.
        pieces
            Turns output tokens into text, such as `LoadedModel.pieces`; None leaves the text out.
        passes
            How many to take, from the first; None takes all.

        Returns
        -------
        Trace
            With vLLM's own times, counted from the arrival of its first request.

        Raises
        ------
        AdapterError
            There is no line, or `slots` is no number of slots.
        TraceError
            The lines contradict each other.
        """
        if not self.start:
            raise AdapterError(f"{self._name} has no line yet; start vLLM with the plugin, and serve a request.")
        gone = [self._numbers[name] for name in self._gone if name in self._numbers]
        return self.ledger.trace(self.meta(self.slots(slots)), pieces, gone, passes)

    def slots(self, asked: int | None = None) -> int:
        """Slots to show: those asked for, or vLLM's `max_num_seqs`, and never fewer than were used at once."""
        if asked is not None:
            asked = whole_number("slots", asked, 1, RECORDED_SLOTS, error=AdapterError)
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
            if whole(line, "pid", 2**40) != self.start["pid"]:
                raise ValueError("another vLLM process began to write here; give each process a file of its own")
            return  # the plugin found a new reader of its pipe
        if not is_version(line["format"], LINE_FORMAT):
            raise ValueError(f"its format is {shown(line['format'])}, and this cbviz reads format {LINE_FORMAT}")
        KNOWN_VLLM.check(line["vllm"], of_run=True)
        for name in ("max_num_seqs", "max_num_batched_tokens", "block_size"):
            whole(line, name, MOST_COUNT, least=1)
        whole(line, "pid", 2**40)
        for name in ("scheduler", "model", "policy", "created"):
            if not isinstance(line[name], str):
                raise ValueError(f"{name} is {shown(line[name])} and must be text")
        seconds(line, "t")
        self.start = line | {"async": line["async"] is True}

    def _take_request(self, line: dict[str, Any]) -> None:
        self._must_go_on("a request")
        name = name_of(line["id"])
        if name in self._numbers:
            return  # a session's further input; its rows go on under the same id
        prompt, most = whole(line, "prompt", MOST_PROMPT, least=1), whole(line, "max", MOST_TOKENS, least=1)
        number, began = len(self._numbers), self._began
        if began is None:
            began = seconds(line, "t")
            if began < self.start["t"]:
                raise ValueError(f"t is {began:.15g}, and vLLM's scheduler was made at {self.start['t']:.15g}")
        self.ledger.arrive(unwritten(number, prompt, most, seconds(line, "t", began)))
        self._numbers[name], self._began = number, began
        self._ids.append(name)

    def _take_pass(self, line: dict[str, Any]) -> None:
        self._must_go_on("a pass")
        n = whole(line, "n", MOST_COUNT)
        if n != len(self.ledger):
            lost = (
                f"{self._dropped} lines were dropped, because nothing read them fast enough; " if self._dropped else ""
            )
            raise ValueError(f"{lost}it is pass {n}, and pass {len(self.ledger)} comes next")
        out = {name: (token_of(name, tokens), reason) for name, tokens, reason in entries(line, "out", OUT_ENTRY)}
        rows, finished, over, going = [], {}, set(), []
        for name, tokens, start in entries(line, "rows", ROW_ENTRY):
            token, reason = out.pop(name, (None, None))
            request = self._request(name)
            given = NO_REQUEST if token is None else token
            rows.append(BatchRow(request, number(tokens, "tokens", 1), number(start, "start"), given))
            if isinstance(reason, str) and reason in REASONS and token is not None:
                finished[request] = REASONS[reason]
                over.add(name)
            elif reason is not None:
                going.append(name)
        for name, (token, _) in out.items():
            if token is not None:
                raise ValueError(f"request {shown(name)} got a token in a pass that has no row of it")
        if self._began is None:
            raise ValueError("no request had arrived")
        gone = [name for name in dict.fromkeys([*self._gone, *names(line, "gone")]) if name not in self._finished]
        one = Pass(
            t_start=seconds(line, "t0", self._began),
            t_end=seconds(line, "t1", self._began),
            rows=tuple(rows),
            finished=finished,
            preempted=tuple(map(self._request, names(line, "preempted"))),
            cancelled=tuple(self._numbers[name] for name in gone if name in self._numbers),
        )
        self._must_have_arrived(one)
        self.ledger.add(one)
        self.pass_lines.append(self.line)
        self._finished |= over
        self._gone = going

    def _take_dropped(self, line: dict[str, Any]) -> None:
        self._dropped += whole(line, "lines", MOST_COUNT)

    def _take_failed(self, line: dict[str, Any]) -> None:
        raise ValueError(f"vLLM's scheduler was not as the plugin expects ({shown(line['error'])})")

    def _take_stop(self, line: dict[str, Any]) -> None:
        self._gone += [name for name in names(line, "gone") if name not in self._finished]
        self.ended = True

    def _must_go_on(self, what: str) -> None:
        if self.ended:
            raise ValueError(f"{what} comes after vLLM's scheduler had shut down")

    def _must_have_arrived(self, one: Pass) -> None:
        for request in (*(row.request for row in one.rows), *one.preempted, *one.cancelled):
            arrival = self.ledger.requests[request].arrival
            if arrival > one.t_start:
                who = f"request {shown(self._ids[request])}"
                raise ValueError(f"it begins at {one.t_start:.6f} s and has {who}, which arrives at {arrival:.6f} s")

    def _request(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            lost = "; its line was dropped" if self._dropped else ""
            raise ValueError(f"request {shown(name)} never arrived{lost}")
        return number
