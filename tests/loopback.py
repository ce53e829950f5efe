"""An OpenAI-compatible server on this machine that behaves as each test wants."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

Behave = Callable[[dict[str, Any], "Answer"], Awaitable[None]]


class Answer:
    """One connection, for a behaviour to write to."""

    def __init__(self, writer: asyncio.StreamWriter, path: str) -> None:
        self.writer, self.path, self.chunked = writer, path, False

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: str = "200 OK", *, chunked: bool = True, more: str = "") -> None:
        self.chunked = chunked
        framing = "Transfer-Encoding: chunked\r\n" if chunked else ""
        await self.raw(f"HTTP/1.1 {status}\r\nContent-Type: text/event-stream\r\n{framing}{more}\r\n".encode())

    async def send(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)

    async def event(self, event: Any) -> None:
        await self.send(b"data: " + json.dumps(event).encode() + b"\n\n")

    async def piece(self, text: str, reason: str | None = None) -> None:
        where = {"delta": {"content": text}} if "chat" in self.path else {"text": text}
        await self.event({"choices": [{"index": 0, "finish_reason": reason, **where}]})

    async def end(self, usage: dict[str, Any] | None = None) -> None:
        if usage is not None:
            await self.event({"choices": [], "usage": usage})
        await self.send(b"data: [DONE]\n\n")
        if self.chunked:
            await self.raw(b"0\r\n\r\n")


class Loopback:
    """A server in a thread, for a `with` block. `url` is its address.

    Attributes
    ----------
    bodies
        What it was asked, in order.
    most_open
        The most connections that it served at once.
    """

    def __init__(self, behave: Behave, models: bytes | Behave = b'{"data": [{"id": "loop"}]}') -> None:
        self.behave, self.models = behave, models
        self.bodies: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.open = self.most_open = 0
        self.url = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Loopback:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            lengths = [line[15:] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
            body = await reader.readexactly(int(lengths[0]) if lengths else 0)
            answer = Answer(writer, head.split()[1])
            if answer.path.partition("?")[0].endswith("/models"):
                if not isinstance(self.models, bytes):
                    return await self.models({}, answer)
                await answer.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.models) + self.models)
                return
            self.bodies.append(json.loads(body))
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            try:
                await self.behave(self.bodies[-1], answer)
            finally:
                self.open -= 1
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client has left
        finally:
            writer.close()
