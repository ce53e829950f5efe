"""What an endpoint may do to the load generator: nothing waits for ever, and what fails is one row."""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import cbviz
from cbviz.adapters.openai import load
from cbviz.adapters.openai.answer import most_pieces
from cbviz.adapters.openai.sse import LONGEST_EVENT, Events, NoEventsError
from cbviz.errors import AdapterError
from cbviz.workload.files import read_results
from tests.loopback import Answer, Loopback
from tests.test_adapters_openai import good, work

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


def usage(text: str) -> Any:
    """A behaviour: four tokens, and then these counts."""

    async def behave(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        for n in range(4):
            await answer.piece(f" {n}", "stop" if n == 3 else None)
        await answer.send(f'data: {{"choices": [], "usage": {text}}}\n\n'.encode())
        await answer.end()

    return behave


# --------------------------------------------------------------------------------------------- counts of tokens


@pytest.mark.parametrize(
    "count", ["Infinity", "1e999", "-Infinity", "NaN", "-3", "1" + "0" * 30, "2147483648", "true", '"3"', "[4]", "2.5"]
)
@pytest.mark.parametrize("name", ["completion_tokens", "prompt_tokens"])
def test_a_count_that_is_none_costs_its_own_row_only(name: str, count: str, tmp_path: Path) -> None:
    async def one_fails(body: dict[str, Any], answer: Answer) -> None:
        counts = {"completion_tokens": "4", "prompt_tokens": "9"} | {name: count}
        behave = usage("{" + ", ".join(f'"{key}": {value}' for key, value in counts.items()) + "}")
        await (good if body["prompt"] == "Say 1." else behave)(body, answer)

    with Loopback(one_fails) as server:
        result = load(server.url, work(2), concurrency=1)
    failed, fine = result.calls
    assert str(failed.error).startswith('the answer is no stream of completions: {"choices"')
    assert fine.error is None
    saved = tmp_path / "run.json"
    saved.write_text(json.dumps(result.to_json(), allow_nan=False))
    assert [one.output_tokens for one in read_results(saved)[0].served] == [0, 4]


@pytest.mark.parametrize("counts", ["{}", "null", '{"prompt_tokens": 9}', '{"completion_tokens": null}',
                                    '{"completion_tokens": 0}'])  # fmt: skip
def test_an_answer_without_a_count_counts_its_pieces(counts: str, tmp_path: Path) -> None:
    with Loopback(usage(counts)) as server:
        result = load(server.url, work(1))
    (call,) = result.calls
    assert (call.error, call.counted, call.output_tokens) == (None, None, 4)
    assert call.prompt_tokens == (9 if "9" in counts else 3)
    assert any(said.key == "load.uncounted" for said in result.sentences())
    (tmp_path / "run.json").write_text(json.dumps(result.to_json(), allow_nan=False))
    assert read_results(tmp_path / "run.json")[0].served[0].good


def test_a_count_may_be_written_as_a_float() -> None:
    with Loopback(usage('{"completion_tokens": 3.0, "prompt_tokens": 9.0}')) as server:
        call = load(server.url, work(1)).calls[0]
    assert (call.error, call.counted, call.prompt_tokens, type(call.counted)) == (None, 3, 9, int)


def test_whatever_a_library_raises_costs_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2

    send = httpx2.AsyncClient.send

    async def fails(self: Any, request: Any, **more: Any) -> Any:
        if b"Say 0." in request.content:
            raise RuntimeError("a mistake of a library")
        return await send(self, request, **more)

    monkeypatch.setattr(httpx2.AsyncClient, "send", fails)
    with Loopback(good) as server:
        failed, fine = load(server.url, work(2)).calls
    assert str(failed.error) == "the answer is no stream of completions: RuntimeError: a mistake of a library"
    assert fine.error is None


# -------------------------------------------------------------------------------------- endpoints that never end


async def head_in_drops(body: dict[str, Any], answer: Answer) -> None:
    await answer.raw(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await answer.raw(b"x")
        await asyncio.sleep(0.05)


async def comments(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    while True:
        await answer.send(b": still here\n\n")
        await asyncio.sleep(0.05)


async def a_flood_of_comments(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.piece("one")
    while True:
        await answer.send(b": still here\n\n" * 500)


async def events_without_choices(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.piece("one")
    await answer.piece("two")
    while True:
        await answer.event({"choices": []})
        await asyncio.sleep(0.05)


async def tokens_for_ever(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    while True:
        await answer.piece("and ")


async def empty_tokens_for_ever(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    while True:
        await answer.piece("")


async def error_for_ever(body: dict[str, Any], answer: Answer) -> None:
    await answer.head("500 Internal Server Error", chunked=False)
    await answer.raw(b"out of order ")
    while True:
        await answer.raw(b" ")
        await asyncio.sleep(0.05)


async def a_flood_of_an_error(body: dict[str, Any], answer: Answer) -> None:
    await answer.head("500 Internal Server Error", chunked=False)
    while True:
        await answer.raw(b"out of order " * 5_000)


CUT = "the answer was cut beyond 72 tokens, where at most 4 were asked for"


@pytest.mark.parametrize(
    ("behave", "sentence", "pieces"),
    [
        (head_in_drops, "no answer came within 1 s", 0),
        (comments, "no token came for 1 s, after 0 pieces of the answer", 0),
        (a_flood_of_comments, "no token came for 1 s, after 1 piece of the answer|the answer was cut beyond", 1),
        (events_without_choices, "no token came for 1 s, after 2 pieces of the answer", 2),
        (error_for_ever, "the endpoint answered 500: out of order$", 0),
        (a_flood_of_an_error, "the endpoint answered 500: out of order out of order", 0),
        (tokens_for_ever, CUT, 72),
        (empty_tokens_for_ever, CUT, 72),
        (usage('{"completion_tokens": 73}'), CUT, 4),
    ],
)
def test_nothing_is_waited_for_without_a_limit(behave: Any, sentence: str, pieces: int) -> None:
    patience = 60.0 if sentence == CUT or "out of order out" in sentence else 1.0
    with Loopback(behave) as server:
        result = load(server.url, work(1), model="m", patience=patience)
    (call,) = result.calls
    assert re.match(sentence, str(call.error)), call.error
    assert len(call.times) == pieces
    assert result.to_json()["output_lens"] == [0]


def test_the_slack_of_an_answer() -> None:
    async def twice(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        for _ in range(most_pieces(body["max_tokens"]) - 1):
            await answer.piece("x")
        await answer.piece("y", "length")
        await answer.end()

    with Loopback(twice) as server:
        call = load(server.url, work(1)).calls[0]
    assert (call.error, len(call.times)) == (None, 72)


def test_an_answer_is_bounded_in_bytes() -> None:
    async def wide(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        while True:
            await answer.piece("x" * 500_000)

    with Loopback(wide) as server:
        call = load(server.url, work(1)).calls[0]
    assert str(call.error) == f"the answer was cut beyond {2**22 + 4 * 2**12} bytes"
    assert len(call.text) < 2**23


def test_tokens_without_a_text_and_thoughts_are_tokens() -> None:
    """Special tokens have no text: an answer that goes on with them has not stalled."""

    async def slow(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        for delta in ({"reasoning_content": "hm"}, {"reasoning": "so"}, {"content": ""}, {"content": "yes"}):
            await asyncio.sleep(0.25)
            await answer.event({"choices": [{"delta": delta}]})
        await answer.end()

    with Loopback(slow) as server:
        call = load(server.url, work(1), patience=0.8, chat=True).calls[0]
    assert str(call.error or "no token").startswith("no token")  # a slow machine may stall by itself
    if call.error is None:
        assert (call.text, len(call.times)) == ("hmsoyes", 4)


def ends_without_text(counted: int | None) -> Any:
    """Three tokens a twentieth of a second apart, then an event without a text that ends the answer."""

    async def behave(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        for _ in range(3):
            await answer.piece("a")
            await asyncio.sleep(0.1)
        await answer.piece("", "stop")
        if counted is not None:
            await answer.event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": counted}})
        await asyncio.sleep(30)

    return behave


@pytest.mark.parametrize(("counted", "times"), [(4, 4), (3, 3), (None, 3)])
def test_the_event_that_ends_an_answer_is_timed_where_it_is_a_token(counted: int | None, times: int) -> None:
    """And an answer whose finish and count have come waits no longer, though the connection stays open."""
    began = time.monotonic()
    with Loopback(ends_without_text(counted)) as server:
        result = load(server.url, work(1), model="m", patience=20.0)
        took = time.monotonic() - began
    (call,) = result.calls
    assert (call.error, call.output_tokens, len(call.times)) == (None, times, times)
    assert call.tpot == pytest.approx((call.times[-1] - call.times[0]) / (times - 1))
    assert (took < 1.9) == (counted is not None)
    assert result.seconds == call.end < 1.9


def test_an_answer_that_came_at_once_has_no_time_per_token(tmp_path: Path) -> None:
    async def at_once(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        await answer.event(
            {
                "choices": [{"text": "ab", "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 2},
            }
        )
        await answer.end()

    with Loopback(at_once) as server:
        result = load(server.url, work(2), model="m")
    assert all(call.output_tokens == 2 and math.isnan(call.tpot) for call in result.calls)
    saved = tmp_path / "at_once.json"
    saved.write_text(json.dumps(result.to_json()), "utf-8")
    assert "2 requests, 0 failed" in str(cbviz.doctor(saved))


def test_models_that_trickle() -> None:
    async def slow(body: dict[str, Any], answer: Answer) -> None:
        await answer.head(chunked=False)
        while True:
            await answer.raw(b" ")
            await asyncio.sleep(0.05)

    with Loopback(good, slow) as server, pytest.raises(AdapterError, match=r"\(no answer came within 1 s\); name"):
        load(server.url, work(1), patience=1.0)


# --------------------------------------------------------------------------------------------- ends and events


async def stays_open(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.piece("a", "stop")
    while True:
        await answer.send(b": still here\n\n")
        await asyncio.sleep(0.05)


async def breaks_after_its_end(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    await answer.piece("a", "stop")
    await answer.raw(b"50\r\ndata: {")


@pytest.mark.parametrize("behave", [stays_open, breaks_after_its_end])
def test_an_answer_is_complete_at_its_end_whatever_the_connection_does(behave: Any) -> None:
    with Loopback(behave) as server:
        call = load(server.url, work(1), patience=86_400).calls[0]
    assert (call.error, call.text) == (None, "a")


def test_an_end_that_is_empty_or_null_is_none_and_neither_is_such_an_error() -> None:
    async def behave(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        for reason in ("", None, "stop"):
            await answer.event({"error": None, "choices": [{"text": "a", "finish_reason": reason}]})
            await asyncio.sleep(0.01)
        await answer.end({"completion_tokens": 3})

    with Loopback(behave) as server:
        call = load(server.url, work(1)).calls[0]
    assert (call.error, call.text, call.counted) == (None, "aaa", 3)


@pytest.mark.parametrize("text", ["5", "[1]", '{"a": 1}', "true"])
def test_a_piece_that_is_no_text(text: str) -> None:
    async def behave(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        await answer.send(f'data: {{"choices": [{{"text": {text}}}]}}\n\n'.encode())

    with Loopback(behave) as server:
        assert "is no stream of completions" in str(load(server.url, work(1)).calls[0].error)


STREAM = (
    '\ufeff: hello\n\ndata: {"choices":\ndata:\ndata:  [{"text": "á"}]}\nid: 1\n\nevent: m\ndata:{"choices": [{"text":'
    ' "b"}]}\n\ndata: {"choices": [{"text": "c", "finish_reason": "stop"}]}\nretry\n\ndata: [DONE]\n\n'
)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_events_in_every_legal_form(end: str, size: int) -> None:
    raw, events = STREAM.replace("\n", end).encode(), Events()
    found = [event for n in range(0, len(raw), size) for event in (*events.feed(raw[n : n + size]), *events.feed(b""))]
    assert [json.loads(event)["choices"][0]["text"] for event in found[:-1]] == ["á", "b", "c"]
    assert found[-1] == b"[DONE]"
    assert events.end() == []


@pytest.mark.parametrize("end", ["\r", "\n"])
def test_a_stream_with_other_line_ends(end: str) -> None:
    async def behave(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        await answer.send(STREAM.replace("\n", end).encode())

    with Loopback(behave) as server:
        call = load(server.url, work(1)).calls[0]
    assert (call.error, call.text) == (None, "ábc")


def test_events_without_blank_lines_and_without_a_last_line_end() -> None:
    events = Events()
    assert events.feed(b'data: {"a": 1}\ndata: {"a": 2}\nda') == [b'{"a": 1}', b'{"a": 2}']
    assert events.feed(b"ta: [DONE]") == []
    assert events.end() == [b"[DONE]"]


@pytest.mark.parametrize("raw", [b"x" * (LONGEST_EVENT + 1), b"data: {" + b"\ndata: xxxxxxx" * (LONGEST_EVENT // 7)])
def test_an_event_that_never_ends(raw: bytes) -> None:
    with pytest.raises(NoEventsError):
        Events().feed(raw)
