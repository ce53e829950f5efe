"""Fetching a public trace: over https only, no larger than announced, and only if its checksum is the known one.

Nothing is unpacked or run. The file appears under its name when it is complete and right, and not before.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cbviz.checks import is_a, known_elsewhere, one_of, shown
from cbviz.errors import FileError, WorkloadError
from cbviz.paths import make_folder, new_file, sha256, short, why, write_whole

URL_SCHEMES = ("https",)
LARGEST_DOWNLOAD = 512 * 2**20
PATIENCE_SECONDS = 30
"""Without a byte for so long, a download is given up."""
PIECE = 2**20


@dataclass(frozen=True, slots=True)
class PublicTrace:
    """Where a trace is published, and what its file must be."""

    url: str
    sha256: str
    size: int
    licence: str
    cite: str


PUBLIC_TRACES: dict[str, PublicTrace] = {
    "azure-2023-conversation": PublicTrace(
        "https://raw.githubusercontent.com/Azure/AzurePublicDataset/master/data/AzureLLMInferenceTrace_conv.csv",
        "2f1e5b666d4e3055fdbba98598ce2ec307767b9064e03e2fa46676dbcc7d0bf8",
        719_188,
        "CC-BY-4.0",
        "Patel et al., Splitwise, ISCA 2024",
    ),
    "azure-2023-code": PublicTrace(
        "https://raw.githubusercontent.com/Azure/AzurePublicDataset/master/data/AzureLLMInferenceTrace_code.csv",
        "54e9a6d2a4bd06ba1e060304b900abbc74cbea53de96506e60fe5bb4f2277fb6",
        320_117,
        "CC-BY-4.0",
        "Patel et al., Splitwise, ISCA 2024",
    ),
    "mooncake-conversation": PublicTrace(
        "https://raw.githubusercontent.com/kvcache-ai/Mooncake/main/FAST25-release/traces/conversation_trace.jsonl",
        "b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df",
        3_029_533,
        "Apache-2.0",
        "Qin et al., Mooncake, FAST 2025",
    ),
}
"""Name → trace. A file whose publisher changed it is refused; `download` takes another checksum."""


def fetch_trace(name: str, folder: str | os.PathLike[str] = ".") -> Path:
    """Fetch one of the known public traces, unless the folder has it already.

    Parameters
    ----------
    name
        A name of `PUBLIC_TRACES`.
    folder
        Where to put it; made if necessary.

    Returns
    -------
    Path
        The file, ready for `read_traffic`.

    Raises
    ------
    WorkloadError
        There is no such trace, or what came is not the known file.
    FileError
        It cannot be fetched or written.
    """
    if is_a(name, str) and name not in PUBLIC_TRACES:
        known = f"{', '.join(PUBLIC_TRACES)}{known_elsewhere(name)}"
        raise WorkloadError(f"there is no public trace {shown(name)}; choose one of {known}.")
    trace = PUBLIC_TRACES[one_of("the name of a trace", name, PUBLIC_TRACES, error=WorkloadError)]
    path = make_folder(folder) / trace.url.rpartition("/")[2]
    if path.is_file() and path.stat().st_size == trace.size and sha256(path) == trace.sha256:
        return path
    return download(trace.url, path, trace.sha256, most=trace.size)


def download(url: str, path: str | os.PathLike[str], sha256: str, *, most: int = LARGEST_DOWNLOAD) -> Path:
    """Fetch a file whose checksum is known.

    Parameters
    ----------
    url
        An https address; redirections must stay on https.
    path
        The file to write.
    sha256
        Of the file, 64 hexadecimal digits.
    most
        Bytes after which the download is given up.

    Returns
    -------
    Path
        The file, complete and checked.

    Raises
    ------
    WorkloadError
        The address or the checksum is none, the file is larger than allowed, or it is another file.
    FileError
        The server cannot be reached, does not have it, breaks off, or the file cannot be written.
    """
    if not isinstance(url, str) or url.partition("://")[0].lower() not in URL_SCHEMES or "://" not in url:
        raise WorkloadError(f"an address must begin with https://, not {shown(url)}.")
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise WorkloadError(f"a SHA-256 checksum has 64 hexadecimal digits, not {shown(sha256)}.")
    target = new_file(path)
    content = _fetched(url, most)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise WorkloadError(
            f"{short(url)} is another file than expected: its SHA-256 is {found}, not {sha256.lower()}."
        )
    return write_whole(target, content)


def _fetched(url: str, most: int) -> bytes:
    # Imported here: a browser's Python has no ssl, and reading a file needs none of this.
    import http.client
    import urllib.error
    import urllib.request

    class StaysSafe(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> Any:
            if newurl.partition("://")[0].lower() not in URL_SCHEMES:
                raise WorkloadError(f"{short(url)} leads to {short(newurl)}, which is not https.")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    opener = urllib.request.build_opener(StaysSafe)
    try:
        with opener.open(url, timeout=PATIENCE_SECONDS) as answer:
            announced = answer.headers.get("Content-Length")
            pieces, seen = [], 0
            while piece := answer.read(PIECE):
                seen += len(piece)
                if seen > most:
                    raise WorkloadError(f"{short(url)} is larger than the {most:,} bytes allowed.")
                pieces.append(piece)
    except urllib.error.HTTPError as error:
        raise FileError(f"{short(url)} cannot be fetched: the server answers {error.code}.") from None
    except urllib.error.URLError as error:
        said = why(error.reason) if isinstance(error.reason, BaseException) else str(error.reason)
        raise FileError(f"{short(url)} cannot be fetched: {said}.") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, WorkloadError):
            raise
        raise FileError(f"{short(url)} cannot be fetched: {why(error)}.") from None
    if announced is not None and announced.isdigit() and int(announced) != seen:
        raise FileError(f"{short(url)} broke off after {seen:,} of {int(announced):,} bytes.")
    return b"".join(pieces)
