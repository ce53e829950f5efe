"""HTTP as a load generator needs it: one request a connection, its body as it comes, and a sentence for every failure.

httpx2 speaks the protocol; transformers' hub client needs it, so a bare machine has it.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from cbviz.checks import one_line, shown
from cbviz.errors import AdapterError
from cbviz.messages import Message
from cbviz.paths import printable

LONGEST_HEAD = 2**16
LONGEST_EVENT = 2**20
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
    """

    host: str
    port: int
    secure: bool
    base: str
    chat: bool

    @staticmethod
    def of(url: object, chat: bool = False) -> Endpoint:
        """Read an address.

        Parameters
        ----------
        url
            Such as "http://localhost:8000", with or without "/v1", "/completions" or "/chat/completions".
        chat
            Whether to use the chat endpoint; an address that names it does so by itself.

        Returns
        -------
        Endpoint
            What to connect to.

        Raises
        ------
        AdapterError
            It is no http or https address.
        """
        try:
            parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() for c in str(url)):
            raise AdapterError(f"the address must be one such as http://localhost:8000, not {shown(url)}.")
        path = parts.path.rstrip("/")
        for ending, is_chat in (("/chat/completions", True), ("/completions", False)):
            if path.endswith(ending):
                path, chat = path.removesuffix(ending), is_chat
                break
        secure = parts.scheme == "https"
        return Endpoint(parts.hostname, port or (443 if secure else 80), secure, path or "/v1", chat)

    @property
    def completions(self) -> str:
        """The path that takes prompts."""
        return f"{self.base}{'/chat' if self.chat else ''}/completions"

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.port}{self.completions}"


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
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return httpx2.AsyncClient(
        base_url=f"{'https' if endpoint.secure else 'http'}://{host}:{endpoint.port}",
        timeout=patience,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        trust_env=False,
        verify=ssl.create_default_context() if endpoint.secure else False,
    )


async def exchange(
    http: httpx2.AsyncClient, method: str, path: str, body: dict[str, Any] | None, key: str, patience: float
) -> AsyncGenerator[bytes, None]:
    """Send one request and yield the lines of the answer as they come.

    Parameters
    ----------
    http
        Of `client`.
    method, path
        Where to.
    body
        Sent as JSON; None sends nothing.
    key
        Sent as a bearer token; "" sends none.
    patience
        Seconds to wait for anything, for the sentence that says so.

    Yields
    ------
    bytes
        Lines without their ends.

    Raises
    ------
    CallError
        The server refused, answered with another status than 200, stalled, or cut the answer off.
    """
    headers = {
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",  # what is packed comes in larger pieces than it was sent in
        "Content-Type": "application/json",
        "User-Agent": "cbviz",
    } | ({"Authorization": f"Bearer {key}"} if key else {})
    lines, answered = 0, False
    try:
        content = b"" if body is None else json.dumps(body).encode()
        async with http.stream(method, path, content=content, headers=headers) as response:
            answered = True
            if response.status_code != 200:
                said = b""
                async for piece in response.aiter_raw():
                    said = (said + piece)[:LONGEST_HEAD]
                raise CallError(Message("load.status", status=response.status_code, said=_said(said)))
            rest = b""
            async for piece in response.aiter_raw():
                *whole, rest = (rest + piece).split(b"\n")
                if len(rest) > LONGEST_EVENT:
                    raise CallError(Message("load.nonsense", found=quote(rest)))
                for line in whole:
                    lines += bool(line.strip())
                    yield line.rstrip(b"\r")
            if rest.strip():
                yield rest
    except httpx2.TimeoutException:
        raise CallError(Message("load.stalled", seconds=patience, lines=lines)) from None
    except httpx2.ProtocolError as error:
        said_so = one_line(error)
        # A server that hangs up, in the middle of an answer or before it, breaks the protocol as well.
        if "peer closed connection" in said_so or "disconnected" in said_so:
            raise CallError(Message("load.cut", lines=lines)) from None
        raise CallError(Message("load.nonsense", found=printable(said_so))) from None
    except (httpx2.ReadError, httpx2.WriteError, httpx2.CloseError):
        raise CallError(Message("load.cut", lines=lines)) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        key_of = "load.nonsense" if answered else "load.refused"
        facts = {"found" if answered else "why": printable(one_line(error))}
        raise CallError(Message(key_of, **facts)) from None


def _said(body: bytes) -> str:
    """What the body of an error says, in one line."""
    try:
        found = json.loads(body)
        error = found.get("error", found) if isinstance(found, dict) else found
        text = error.get("message", error) if isinstance(error, dict) else error
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")
    return printable(" ".join(str(text).split()))[:SAID] or "–"


def quote(raw: bytes) -> str:
    """The beginning of an answer for a sentence: on one line, printable, at most 80 characters."""
    return printable(" ".join(raw[:SAID].decode("utf-8", "replace").split()))[:80]
