"""HTTP as a load generator needs it: one request a connection, its events as they come, a sentence for every failure.

Nothing is waited for without a limit: not the head of an answer, however it trickles, nor the next token, though
comments keep the connection busy, nor the end of an error.

httpx2 speaks the protocol; transformers' hub client needs it, so a bare machine has it.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from cbviz.adapters.openai.key import VARIABLE, Key
from cbviz.adapters.openai.sse import Events, NoEventsError
from cbviz.checks import one_line, shown
from cbviz.errors import AdapterError
from cbviz.messages import Message
from cbviz.paths import printable

LONGEST_ERROR = 2**16
"""Bytes that are read of an error's body, in which its sentence stands."""
ANSWER_BYTES = 2**22
PER_TOKEN = 2**12
"""An answer may have `ANSWER_BYTES` bytes, and so many for each token that was asked for."""
SAID = 200
"""Characters of an answer that a sentence quotes."""


class CallError(Exception):
    """Why one request failed, as a sentence in every language."""

    def __init__(self, why: Message) -> None:
        super().__init__(str(why))
        self.why = why


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the requests go.

    Attributes
    ----------
    host, port, secure
        Of the server.
    base
        The path before `/completions`, such as "/v1".
    chat
        Whether prompts go to `/chat/completions`.
    query
        What follows the path in every request, such as "?api-version=1"; it may hold a key, so no sentence shows it.
    """

    host: str
    port: int
    secure: bool
    base: str
    chat: bool
    query: str = ""

    @staticmethod
    def of(url: object, chat: bool = False) -> Endpoint:
        """Read an address.

        Parameters
        ----------
        url
            Such as "http://localhost:8000", with or without "/v1", "/completions" or "/chat/completions", and a query.
        chat
            Whether to use the chat endpoint; an address that names it does so by itself.

        Returns
        -------
        Endpoint
            What to connect to.

        Raises
        ------
        AdapterError
            It is no http or https address, or holds a user name.
        """
        if isinstance(url, str) and "@" in re.split(r"[/?#]", url.partition("://")[2] or url, maxsplit=1)[0]:
            raise AdapterError(
                "the address must hold no user name and no password: leave out everything up to the @; a key goes into "
                f"the variable {VARIABLE}."
            )
        try:
            parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        plain = port != 0 and not parts.fragment and not any(c.isspace() for c in str(url))
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise AdapterError(f"the address must be one such as http://localhost:8000, not {shown(url)}.")
        path = parts.path.rstrip("/")
        for ending, is_chat in (("/chat/completions", True), ("/completions", False)):
            if path.endswith(ending):
                path, chat = path.removesuffix(ending), is_chat
                break
        secure = parts.scheme == "https"
        query = f"?{parts.query}" if parts.query else ""
        return Endpoint(parts.hostname, port or (443 if secure else 80), secure, path or "/v1", chat, query)

    @property
    def origin(self) -> str:
        """The server: the address without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"

    @property
    def _path(self) -> str:
        return f"{self.base}{'/chat' if self.chat else ''}/completions"

    @property
    def completions(self) -> str:
        """Where prompts go, on the server."""
        return self._path + self.query

    @property
    def models(self) -> str:
        """Where the server names its models."""
        return f"{self.base}/models{self.query}"

    def __str__(self) -> str:
        return self.origin + self._path


def client(endpoint: Endpoint, patience: float) -> httpx2.AsyncClient:
    """A client that opens a connection for each request, as many as are asked for, and talks to the endpoint itself.

    A connection that is kept could save a request the time to connect, which others pay; a proxy would be timed, too.

    Parameters
    ----------
    endpoint
        Where the requests go.
    patience
        Seconds to wait for anything.

    Returns
    -------
    AsyncClient
        For an `async with` block.
    """
    return httpx2.AsyncClient(
        base_url=endpoint.origin,
        timeout=patience,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        trust_env=False,
        verify=ssl.create_default_context() if endpoint.secure else False,
    )


class Exchange:
    """One request and its answer.

    Parameters
    ----------
    http
        Of `client`.
    key
        Sent, and kept out of sentences.
    patience
        Seconds to wait for the head of the answer, and then for whatever `renew` is called for.
    most
        Bytes that the answer may have.

    Attributes
    ----------
    pieces
        How many pieces of an answer came, for the sentence that it broke off; the caller counts them.
    """

    def __init__(self, http: httpx2.AsyncClient, key: Key, patience: float, most: int = ANSWER_BYTES) -> None:
        self.http, self.key, self.patience, self.most = http, key, patience, most
        self.pieces = self._taken = 0
        self._answered = self._at_once = False
        self._limit: asyncio.Timeout | None = None
        self.renew()

    def renew(self, most: float = math.inf) -> None:
        """What was waited for came: wait as long as patience again, or at most so many seconds."""
        if not self._at_once:
            self._until = asyncio.get_running_loop().time() + min(self.patience, most)

    def give_up(self) -> None:
        """Wait for nothing more, and end a wait that has begun."""
        self._until = asyncio.get_running_loop().time()
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(self._until)

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """Send a prompt.

        Parameters
        ----------
        path
            Where to.
        body
            Sent as JSON.

        Yields
        ------
        bytes
            The data of each event, as it comes.

        Raises
        ------
        CallError
            The server refused, answered with another status than 200, stalled, or cut the answer off.
        """
        parser = Events()
        try:
            async with aclosing(self._answer("POST", path, json.dumps(body).encode())) as pieces:
                async for piece in pieces:
                    for event in parser.feed(piece):
                        yield event
            for event in parser.end():
                yield event
        except NoEventsError as error:
            raise CallError(Message("load.nonsense", found=quote(error.found, self.key))) from None

    async def whole(self, path: str) -> bytes:
        """Ask for a document, which must be there in full within patience. Raises CallError, as `events` does."""
        self._at_once = True
        async with aclosing(self._answer("GET", path, b"")) as pieces:
            return b"".join([piece async for piece in pieces])

    async def _answer(self, method: str, path: str, content: bytes) -> AsyncGenerator[bytes, None]:
        """The body of an answer as it comes."""
        headers = {
            "Accept": "text/event-stream, application/json",
            "Accept-Encoding": "identity",  # what is packed comes in larger pieces than it was sent in
            "Content-Type": "application/json",
            "User-Agent": "cbviz",
        } | self.key.headers()
        response = None
        try:
            request = self.http.build_request(method, path, content=content, headers=headers)
            async with asyncio.timeout_at(self._until):
                response = await self.http.send(request, stream=True)
            self._answered = True
            self.renew()
            if response.status_code != 200:
                said = await self._error(response)
                raise CallError(Message("load.status", status=response.status_code, said=_said(said, self.key)))
            async with aclosing(self._pieces(response)) as pieces:
                async for piece in pieces:
                    yield piece
        except (TimeoutError, httpx2.TimeoutException):
            raise CallError(self._late()) from None
        except httpx2.ProtocolError as error:
            said_so = self._of_library(error)
            # A server that hangs up, in the middle of an answer or before it, breaks the protocol as well.
            if "peer closed connection" in said_so or "disconnected" in said_so:
                raise CallError(Message("load.cut", pieces=self.pieces)) from None
            raise CallError(Message("load.nonsense", found=said_so)) from None
        except (httpx2.ReadError, httpx2.WriteError, httpx2.CloseError):
            raise CallError(Message("load.cut", pieces=self.pieces)) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            key_of, fact = ("load.nonsense", "found") if self._answered else ("load.refused", "why")
            raise CallError(Message(key_of, **{fact: self._of_library(error)})) from None
        finally:
            if response is not None:
                await response.aclose()

    async def _pieces(self, response: httpx2.Response) -> AsyncGenerator[bytes, None]:
        """The bytes of a body. Raises TimeoutError when patience ends, however much comes that is not waited for."""
        clock = asyncio.get_running_loop().time
        async with aclosing(response.aiter_raw()) as raw:
            while True:
                if clock() > self._until:
                    raise TimeoutError
                try:
                    async with asyncio.timeout_at(self._until) as self._limit:
                        piece = await anext(raw)
                except StopAsyncIteration:
                    return
                finally:
                    self._limit = None
                self._taken += len(piece)
                if self._taken > self.most:
                    raise CallError(Message("load.too_long", bytes=self.most))
                yield piece

    async def _error(self, response: httpx2.Response) -> bytes:
        """The beginning of an error's body, as far as it comes in time."""
        said = b""
        with suppress(TimeoutError, httpx2.HTTPError, OSError):
            async with aclosing(self._pieces(response)) as pieces:
                async for piece in pieces:
                    said += piece
                    if len(said) >= LONGEST_ERROR:
                        break
        return said[:LONGEST_ERROR]

    def _late(self) -> Message:
        """What was waited for and did not come."""
        if self._at_once or not self._answered:
            return Message("load.silent", seconds=self.patience)
        return Message("load.stalled", seconds=self.patience, pieces=self.pieces)

    def _of_library(self, error: BaseException) -> str:
        return printable(self.key.scrub(one_line(error, LONGEST_ERROR)))[:SAID]


def _said(body: bytes, key: Key) -> str:
    """What the body of an error says, in one line."""
    try:
        found = json.loads(body)
        error = found.get("error", found) if isinstance(found, dict) else found
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")
    return printable(" ".join(key.scrub(text).split()))[:SAID] or "–"


def quote(raw: bytes, key: Key) -> str:
    """The beginning of an answer for a sentence: on one line, printable, at most 80 characters, without the key."""
    return printable(" ".join(key.scrub(raw.decode("utf-8", "replace"))[:SAID].split()))[:80]
