"""As much HTTP/1.1 as a load generator needs: one request a connection, and the body as it comes.

Written on asyncio's streams, so that a time stamp is taken where the bytes arrive, and a bare machine can run it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

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


async def exchange(
    endpoint: Endpoint, method: str, path: str, body: dict[str, Any] | None, key: str, patience: float
) -> AsyncGenerator[bytes, None]:
    """Send one request and yield the lines of the answer as they come.

    Parameters
    ----------
    endpoint, method, path
        Where to.
    body
        Sent as JSON; None sends nothing.
    key
        Sent as a bearer token; "" sends none.
    patience
        Seconds to wait for anything.

    Yields
    ------
    bytes
        Lines without their ends.

    Raises
    ------
    CallError
        The server refused, answered with another status than 200, stalled, or cut the answer off.
    """
    writer: asyncio.StreamWriter | None = None
    lines = 0
    try:
        context = ssl.create_default_context() if endpoint.secure else None
        connecting = asyncio.open_connection(endpoint.host, endpoint.port, ssl=context, limit=LONGEST_EVENT)
        reader, opened = await asyncio.wait_for(connecting, patience)
        writer = opened
        content = b"" if body is None else json.dumps(body).encode()
        head = {
            "Host": f"{endpoint.host}:{endpoint.port}",
            "Accept": "text/event-stream, application/json",
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Connection": "close",
            "User-Agent": "cbviz",
        } | ({"Authorization": f"Bearer {key}"} if key else {})
        opened.write(f"{method} {path} HTTP/1.1\r\n".encode())
        opened.write("".join(f"{name}: {value}\r\n" for name, value in head.items()).encode() + b"\r\n" + content)
        await asyncio.wait_for(opened.drain(), patience)
        status, headers = _head(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), patience))
        pieces = _body(reader, headers, patience)
        if status != 200:
            said = b"".join([piece async for piece in pieces])[:LONGEST_HEAD]
            raise CallError(Message("load.status", status=status, said=_said(said)))
        rest = b""
        async for piece in pieces:
            *whole, rest = (rest + piece).split(b"\n")
            if len(rest) > LONGEST_EVENT:
                raise CallError(Message("load.nonsense", found=quote(rest)))
            for line in whole:
                lines += bool(line.strip())
                yield line.rstrip(b"\r")
        if rest.strip():
            yield rest
    except TimeoutError:
        raise CallError(Message("load.stalled", seconds=patience, lines=lines)) from None
    except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError):
        raise CallError(Message("load.cut", lines=lines)) from None
    except (OSError, ssl.SSLError) as error:
        raise CallError(Message("load.refused", why=printable(one_line(error)))) from None
    except (ValueError, asyncio.LimitOverrunError) as error:
        raise CallError(Message("load.nonsense", found=printable(one_line(error)))) from None
    finally:
        if writer is not None:
            writer.close()


def _head(raw: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers. Raises ValueError for what is no HTTP."""
    first, *rest = raw[:LONGEST_HEAD].decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    if not version.startswith("HTTP/1.") or not status[:3].isdigit():
        raise ValueError(quote(raw))
    pairs = (line.partition(":") for line in rest if line)
    return int(status[:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: dict[str, str], patience: float) -> AsyncIterator[bytes]:
    """The body in the pieces in which it comes. Raises IncompleteReadError if it is cut off."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        while True:
            size = int((await asyncio.wait_for(reader.readuntil(b"\r\n"), patience)).split(b";")[0].strip() or b"x", 16)
            piece = await asyncio.wait_for(reader.readexactly(size + 2), patience)
            if not size:
                return
            yield piece[:-2]
    left = int(headers["content-length"]) if "content-length" in headers else None
    while left is None or left > 0:
        piece = await asyncio.wait_for(reader.read(2**16), patience)
        if not piece:
            if left:
                raise asyncio.IncompleteReadError(b"", left)
            return
        left = None if left is None else left - len(piece)
        yield piece


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
