"""Sends a workload to an endpoint, on time, and takes down when each piece of each answer came."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, nullcontext
from typing import Any

from cbviz.adapters.openai.http import CallError, Endpoint, client, exchange, quote
from cbviz.adapters.openai.result import Call, LoadResult
from cbviz.checks import is_number, shown, whole
from cbviz.errors import AdapterError
from cbviz.limits import MOST_SLOTS
from cbviz.messages import Message
from cbviz.workload import Request, Workload

LONGEST_PATIENCE = 86_400.0
KEY = "OPENAI_API_KEY"
"""Environment variable: sent as a bearer token if it is set."""


def load(
    url: str,
    workload: Workload,
    *,
    model: str | None = None,
    concurrency: int | None = None,
    patience: float = 60.0,
    chat: bool = False,
    done: Callable[[Call], None] | None = None,
) -> LoadResult:
    """Send a workload to an OpenAI-compatible endpoint, streaming.

    A request is sent as its text, or as token ids where it has none, which vLLM and others accept. One that forces its
    output length asks for `ignore_eos`, an extension that they share.

    Parameters
    ----------
    url
        Such as "http://localhost:8000".
    workload
        What to send, at its arrivals in seconds.
    model
        The model's name; None asks the endpoint.
    concurrency
        The most requests that are open at once. With all arrivals at 0 this is a closed loop: one ends, one is sent.
    patience
        Seconds to wait for the connection and for each piece of an answer.
    chat
        Whether to use the chat endpoint.
    done
        Called with each request as it ends.

    Returns
    -------
    LoadResult
        One row a request, failed ones included, each with a sentence.

    Raises
    ------
    AdapterError
        An address, a workload or a number that makes no sense, or an endpoint that does not name its models.
    """
    endpoint = Endpoint.of(url, chat)
    if not isinstance(workload, Workload):
        raise AdapterError(f"workload must be a Workload, not {shown(workload)}.")
    if workload.arrival_unit != "seconds" and any(request.arrival for request in workload):
        raise AdapterError("an endpoint has no iterations that arrivals could count; count seconds.")
    if concurrency is not None:
        whole("concurrency", concurrency, 1, MOST_SLOTS, error=AdapterError)
    if not is_number(patience) or not 0 < patience <= LONGEST_PATIENCE:
        raise AdapterError(f"patience must be a number of seconds above 0 and up to 86,400, not {shown(patience)}.")
    textless = [request.id for request in workload if not request.text]
    if endpoint.chat and textless:
        raise AdapterError(f"request {textless[0]} has no text, which the chat endpoint needs; use completions.")
    generator = _Generator(endpoint, workload, model, concurrency, float(patience), done)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(generator.run())
    with ThreadPoolExecutor(1) as thread:  # a notebook has a loop of its own
        return thread.submit(asyncio.run, generator.run()).result()


class _Generator:
    """One run: its clock, and the tasks that wait for their arrivals."""

    def __init__(
        self,
        endpoint: Endpoint,
        workload: Workload,
        model: str | None,
        concurrency: int | None,
        patience: float,
        done: Callable[[Call], None] | None,
    ) -> None:
        self.endpoint, self.workload, self.patience = endpoint, workload, patience
        self.concurrency, self.done = concurrency, done
        self.model = model or ""
        self.key = os.environ.get(KEY, "")
        self.began = 0.0

    def now(self) -> float:
        return time.perf_counter() - self.began

    async def run(self) -> LoadResult:
        async with client(self.endpoint, self.patience) as self.http:
            if not self.model:
                self.model = await self._first_model()
            self.began = time.perf_counter()
            gate = asyncio.Semaphore(self.concurrency) if self.concurrency is not None else nullcontext()
            calls = await asyncio.gather(*(self._call(request, gate) for request in self.workload))
        return LoadResult(str(self.endpoint), self.model, self.workload, tuple(calls), self.now(), self.concurrency)

    async def _first_model(self) -> str:
        path = f"{self.endpoint.base}/models"
        try:
            async with aclosing(exchange(self.http, "GET", path, None, self.key, self.patience)) as lines:
                found = json.loads(b"\n".join([line async for line in lines]))
            return str(found["data"][0]["id"])
        except CallError as failed:
            raise AdapterError(f"{self.endpoint} does not name its models ({failed}); name one.") from None
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise AdapterError(f"{self.endpoint} does not name its models; name one.") from None

    async def _call(self, request: Request, gate: Any) -> Call:
        if (wait := request.arrival - self.now()) > 0:
            await asyncio.sleep(wait)
        async with gate:
            call = Call(request.id, request.arrival, self.now(), prompt_tokens=len(request.prompt))
            try:
                await self._stream(request, call)
            except CallError as failed:
                call.error = failed.why
            call.end = self.now()
        if self.done is not None:
            self.done(call)
        return call

    def _body(self, request: Request) -> dict[str, Any]:
        forced = request.output_length is not None
        prompt: dict[str, Any] = {"prompt": request.text or list(request.prompt)}
        if self.endpoint.chat:
            prompt = {"messages": [{"role": "user", "content": request.text}]}
        return {
            "model": self.model,
            **prompt,
            "max_tokens": request.output_length or request.max_new_tokens,
            "temperature": request.sampling.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            **({"ignore_eos": True} if forced else {}),
        }

    async def _stream(self, request: Request, call: Call) -> None:
        """Fill in a call from the server-sent events of its answer. Raises CallError."""
        sent = exchange(self.http, "POST", self.endpoint.completions, self._body(request), self.key, self.patience)
        async with aclosing(sent) as lines:
            ended = await self._answer(lines, call)
        if not ended:
            raise CallError(Message("load.cut", lines=len(call.times)))
        if not call.times:
            raise CallError(Message("load.empty"))

    async def _answer(self, lines: AsyncIterator[bytes], call: Call) -> bool:
        """Take in the events; whether the answer came to its end."""
        ended = False
        async for line in lines:
            if not line.startswith(b"data:"):
                if line.strip() and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                    raise CallError(Message("load.nonsense", found=quote(line)))
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return True
            ended |= self._event(data, call)
        return ended

    def _event(self, data: bytes, call: Call) -> bool:
        """One event; whether it ends the answer."""
        try:
            event = json.loads(data)
            if "error" in event:
                error = event["error"]
                said = error.get("message", error) if isinstance(error, dict) else error
                raise CallError(Message("load.reported", said=quote(str(said).encode())))
            usage = event.get("usage") or {}
            choice = (event.get("choices") or [{}])[0]
            piece = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
            if piece:
                call.times.append(self.now())
                call.text += str(piece)
            if usage:
                call.counted = int(usage["completion_tokens"])
                call.prompt_tokens = int(usage["prompt_tokens"])
            return choice.get("finish_reason") is not None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise CallError(Message("load.nonsense", found=quote(data))) from None
