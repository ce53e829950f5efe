"""The wait of the load generator for an endpoint's count of tokens: it is the client's own, and bounded."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from itertools import pairwise
from typing import Any

import pytest

from cbviz.adapters.openai import generator, load
from tests.loopback import Answer, Loopback
from tests.test_adapters_openai import work

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


async def silent_after_its_end(body: dict[str, Any], answer: Answer) -> None:
    await answer.head()
    for n in range(4):
        await answer.piece(f" {n}", "length" if n == 3 else None)
    await asyncio.sleep(30)


@pytest.mark.parametrize("concurrency", [None, 1])
def test_the_wait_for_a_count_is_in_no_duration_and_holds_no_place(concurrency: int | None) -> None:
    with Loopback(silent_after_its_end) as server:
        result = load(server.url, work(6), model="m", concurrency=concurrency)
    assert [call.error for call in result.calls] == [None] * 6
    assert result.seconds == max(call.end for call in result.calls) < 1.9
    assert all(call.end == call.times[-1] for call in result.calls)
    facts = result.to_json()
    assert (facts["duration"], facts["output_throughput"]) == (result.seconds, 24 / result.seconds)
    assert result.results().duration == result.seconds
    if concurrency == 1:  # one at a time all the same
        ordered = sorted(result.calls, key=lambda call: call.sent)
        assert all(after.sent >= before.end for before, after in pairwise(ordered))


def test_a_count_that_comes_late_counts_and_holds_no_place() -> None:
    async def late(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        await answer.piece("a", "stop")
        await asyncio.sleep(0.5)
        await answer.end({"prompt_tokens": 9, "completion_tokens": 3})

    with Loopback(late) as server:
        result = load(server.url, work(6), model="m", concurrency=1)
    assert [(call.error, call.counted, call.prompt_tokens) for call in result.calls] == [(None, 3, 9)] * 6
    assert result.seconds < 6 * 0.5


def test_few_answers_wait_for_their_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "MOST_WAITING_FOR_COUNTS", 3)
    reported: list[float] = []
    began = time.monotonic()
    with Loopback(silent_after_its_end) as server:
        result = load(
            server.url, work(12), model="m", concurrency=1, done=lambda call: reported.append(time.monotonic() - began)
        )
    assert [(call.error, call.output_tokens) for call in result.calls] == [(None, 4)] * 12
    assert len(reported) == 12
    assert sorted(reported)[8] < generator.GRACE <= sorted(reported)[9]  # nine had to give up


@POSIX
def test_an_interrupt_while_a_count_is_awaited_keeps_the_answer() -> None:
    stop = threading.Event()

    async def behave(body: dict[str, Any], answer: Answer) -> None:
        await answer.head()
        await answer.piece("a")
        await answer.piece("", "stop")  # END, which is no token where nothing counts it
        stop.set()
        await asyncio.sleep(30)

    def interrupt() -> None:
        assert stop.wait(60)
        time.sleep(0.3)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with Loopback(behave) as server:
        threading.Thread(target=interrupt).start()
        result = load(server.url, work(1), model="m", patience=60.0)
    (call,) = result.calls
    assert (result.stopped, call.error, call.output_tokens, len(call.times)) == (True, None, 1, 1)
    assert result.seconds == call.end
