"""Traces of production services: Azure, Mooncake, BurstGPT and WEKA's agentic coding, each with who published it.

Arrivals of Azure, Mooncake and BurstGPT must not run backwards, as their publishers promise; WEKA's files list
conversations, whose requests are put in order of time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from cbviz.errors import WorkloadError
from cbviz.workload.checks import MOST_REQUESTS
from cbviz.workload.files.rows import Row, Rows, as_json
from cbviz.workload.traffic import Traffic

MOONCAKE_BLOCK = 512
WEKA_BLOCK = 64


class Columns:
    """Collects requests, row by row."""

    def __init__(self) -> None:
        self.arrival: list[float] = []
        self.input_tokens: list[int] = []
        self.output_tokens: list[int] = []
        self.client: list[str | None] = []
        self.prefix: list[tuple[int, ...]] = []

    def add(
        self,
        row: Row,
        arrival: float,
        input_tokens: int,
        output_tokens: int,
        client: str | None = None,
        prefix: tuple[int, ...] = (),
        *,
        ordered: bool = True,
    ) -> None:
        """Add one request. Raises WorkloadError if its time runs backwards, or there are too many."""
        if ordered and self.arrival and arrival < self.arrival[-1]:
            row.fail(f"its time runs backwards, by {self.arrival[-1] - arrival:g} s; rows must be in order of arrival.")
        if len(self.arrival) >= MOST_REQUESTS:
            row.fail(f"at most {MOST_REQUESTS:,} requests are read; take fewer with first=.")
        self.arrival.append(arrival)
        self.input_tokens.append(input_tokens)
        self.output_tokens.append(output_tokens)
        self.client.append(client)
        self.prefix.append(prefix)

    def traffic(
        self, source: str, block: int = 0, left_out: int = 0, empty: str = "has no rows: nothing follows its header"
    ) -> Traffic:
        """All requests, in order of arrival; `empty` says what a file without one is like."""
        if not self.arrival:
            if not left_out:
                raise WorkloadError(f"{source} {empty}.")
            Row(source, left_out, {}).fail("no row of the file is a served request.")
        order = sorted(range(len(self.arrival)), key=self.arrival.__getitem__)

        def sorted_column(column: list[Any]) -> tuple[Any, ...]:
            return tuple(column[row] for row in order)

        return Traffic(
            name=source,
            arrival=sorted_column(self.arrival),
            input_tokens=sorted_column(self.input_tokens),
            output_tokens=sorted_column(self.output_tokens),
            client=sorted_column(self.client) if any(self.client) else (),
            prefix=sorted_column(self.prefix) if any(self.prefix) else (),
            prefix_tokens=block if any(self.prefix) else 0,
            left_out=left_out,
        )


def azure(rows: Rows, first: int) -> Traffic:
    """Azure LLM inference traces of 2023 and 2024 (Patel et al., Splitwise, ISCA'24; CC-BY-4.0).

    Columns TIMESTAMP, ContextTokens, GeneratedTokens. All stamps have an offset from UTC, as in 2024, or none has.
    """
    found, with_offset = Columns(), False
    for row in _first(rows, first):
        if (given := row.get("TIMESTAMP")) is None:
            row.no_value("TIMESTAMP")
        try:
            time = datetime.fromisoformat(given)
        except (TypeError, ValueError):
            row.fail(f"TIMESTAMP must be a date and time such as 2023-11-16 18:17:03.97, not {as_json(given)}.")
        offset = time.utcoffset()
        if not found.arrival:
            with_offset = offset is not None
        elif with_offset is not (offset is not None):
            this, above = ("no", "one") if with_offset else ("an", "none")
            row.fail(
                f"TIMESTAMP {as_json(given)} has {this} offset from UTC, and the rows above have {above}; all rows "
                "must have one, such as +00:00, or none."
            )
        since = time.replace(tzinfo=None) - datetime(2000, 1, 1) - (offset or timedelta())
        found.add(row, since.total_seconds(), row.tokens("ContextTokens"), row.tokens("GeneratedTokens"))
    return found.traffic(rows.source)


def mooncake(rows: Rows, first: int) -> Traffic:
    """Mooncake's traces (Qin et al., FAST'25; Apache-2.0), which vLLM's and GuideLLM's replays read, too.

    timestamp in milliseconds, input_length, output_length, hash_ids: one id a block of 512 prompt tokens.
    """
    found = Columns()
    for row in _first(rows, first):
        length, ids = row.tokens("input_length"), row.ids("hash_ids")
        blocks = math.ceil(length / MOONCAKE_BLOCK)
        if ids and len(ids) != blocks:
            row.fail(f"it has {len(ids)} hash_ids for {length} input tokens; {blocks} are needed.")
        found.add(row, row.seconds("timestamp", 1e-3), length, row.tokens("output_length"), prefix=ids)
    return found.traffic(rows.source, MOONCAKE_BLOCK)


def burstgpt(rows: Rows, first: int) -> Traffic:
    """BurstGPT (Wang et al., 2024; CC-BY-4.0): Timestamp in seconds, Model, Request tokens, Response tokens, …

    A row with 0 response tokens is a request that failed; it is left out and counted. The model is the client, and so
    is the session where the file has Session ID.
    """
    found, failed = Columns(), 0
    for row in _first(rows, first):
        output = row.tokens("Response tokens", 0)
        length = row.tokens("Request tokens", 0)
        if not output or not length:
            failed += 1
            continue
        client = row.text("Session ID") or row.text("Model") or None
        found.add(row, row.seconds("Timestamp"), length, output, client)
    return found.traffic(rows.source, left_out=failed)


def weka(rows: Rows, first: int) -> Traffic:
    """WEKA's agentic coding traces: conversations of requests with t in seconds, in, out, hash_ids (64 tokens a block).

    A conversation is a client. Requests of a subagent carry times from its start where the first of them lies before
    it, as in GuideLLM 0.8's reader. Conversations with `hash_id_scope` "local" share no blocks with others; those with
    "global", or without it, do. The `type` of a request is "n", "s" (streaming) or "subagent", as in AIPerf 0.13's.
    """
    found, scopes = Columns(), 0
    for row in rows:
        requests = row.get("requests")
        if not isinstance(requests, list):
            row.fail("requests must be a list of requests.")
        local = row.one_of("hash_id_scope", "local", "global") == "local"
        scopes += local
        apart = scopes * 2**40 if local else 0
        block = row.tokens("block_size") if row.has("block_size") else WEKA_BLOCK
        if block != WEKA_BLOCK:
            row.fail(f"its blocks have {block} tokens; blocks of {WEKA_BLOCK} are read.")
        for request, shift in _weka_requests(row, requests, 0.0):
            if len(found.arrival) >= first:
                break
            ids = tuple(number + apart for number in request.ids("hash_ids"))
            time = request.number_in("t", 0.0) + shift
            output = request.tokens("out", 0)
            if output:
                client = row.text("id") or f"conversation {row.number}"
                found.add(row, time, request.tokens("in"), output, client, ids, ordered=False)
    return found.traffic(rows.source, WEKA_BLOCK, empty="has no conversation with a request that gave a token")


def _weka_requests(row: Row, requests: list[Any], shift: float) -> Iterator[tuple[Row, float]]:
    """Requests of a conversation and of its subagents, each with what must be added to its time."""
    for entry in requests:
        if not isinstance(entry, dict):
            row.fail(f"a request must be a JSON object, not {as_json(entry)}.")
        request = Row(row.source, row.number, entry)
        if request.one_of("type", "n", "s", "subagent") != "subagent":
            yield request, shift
            continue
        inner = entry.get("requests")
        if inner is not None and not isinstance(inner, list):
            row.fail(f"requests of a subagent must be a list of requests, not {as_json(inner)}.")
        if inner:
            start = request.number_in("t", 0.0)
            earliest = Row(row.source, row.number, inner[0] if isinstance(inner[0], dict) else {}).number_in("t", 0.0)
            yield from _weka_requests(row, inner, shift + start if earliest < start else shift)


def _first(rows: Iterable[Row], most: int) -> Iterator[Row]:
    for row in rows:
        if row.number > most:
            return
        yield row
